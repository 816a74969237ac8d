//! A witness in the place of kube-controller-manager: it takes that program's arguments, takes part in its leader
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
use std::process::ExitCode;

use anyhow::Context;
use khactl_sys::entropy;
use khactl_tests::{Api, credentials};

use election::Elector;
use flags::Flags;

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
    let flags = Flags::parse(env::args().skip(1))?;
    let kubeconfig = fs::read_to_string(&flags.kubeconfig)
        .with_context(|| format!("cannot read {}", flags.kubeconfig))?;
    health::serve(credentials(&kubeconfig)?)?;
    let host = rustix::system::uname();
    let host = host.nodename().to_string_lossy();
    let random = u64::from_le_bytes(entropy::bytes()?);
    let identity = format!("{host}_{random:016x}");
    let mut elector = Elector::new(Api::new(&kubeconfig)?, identity.clone(), flags.times);
    elector.acquire()?;
    eprintln!("successfully acquired lease as {identity}");
    acting::begin(identity)?;
    elector.renew();
    Ok(())
}
