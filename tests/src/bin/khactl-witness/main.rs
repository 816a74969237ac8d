//! A witness in the place of kube-controller-manager or kube-scheduler, by whichever name it is called: it takes that program's arguments, takes part in its leader
//! election as client-go does, is probed like it, and while it believes that it leads writes down that it acts.
//!
//! It controls nothing. It never gives its Lease back and never doubts what the election told it: whoever wants no
//! two to act at once must see to it from outside.
//!
//! ```text
//!  follows ──Lease free or run out──▶ leads (acts) ──no renewal within the deadline──▶ ends
//! ```

mod acting;
mod election;
mod flags;
mod health;
mod observed;

use std::env;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use khactl_sys::entropy;
use khactl_tests::{Api, credentials};

use election::Elector;
use flags::Flags;

/// In whose place it can be, and the port at which that one is asked how it is.
const PLACES: [(&str, u16); 2] = [
    ("kube-controller-manager", 10257),
    ("kube-scheduler", 10259),
];

fn main() -> ExitCode {
    match run() {
        Ok(()) => {
            eprintln!("leaderelection lost");
            ExitCode::from(255)
        }
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Returns when it no longer leads.
fn run() -> anyhow::Result<()> {
    let mut arguments = env::args();
    let program = arguments.next().unwrap_or_default();
    let (component, port) = PLACES
        .into_iter()
        .find(|(name, _)| Path::new(&program).ends_with(name))
        .with_context(|| format!("{program} is no program of a control plane that elects"))?;
    let flags = Flags::parse(arguments)?;
    let kubeconfig = fs::read_to_string(&flags.kubeconfig)
        .with_context(|| format!("cannot read {}", flags.kubeconfig))?;
    health::serve(port, credentials(&kubeconfig)?)?;
    let host = rustix::system::uname();
    let host = host.nodename().to_string_lossy();
    let random = u64::from_le_bytes(entropy::bytes()?);
    let identity = format!("{host}_{random:016x}");
    let api = Api::new(&kubeconfig)?;
    let mut elector = Elector::new(api, component, identity.clone(), flags.times);
    elector.acquire()?;
    eprintln!("successfully acquired lease as {identity}");
    acting::begin(component, identity)?;
    elector.renew();
    Ok(())
}
