//! Who acts as the leader of the control plane's controllers, while their hosts die, stand still and are cut off:
//! never two at once, and in the end always one.
//!
//! A witness runs in the place of every kube-controller-manager: khad starts, probes, releases and fences it like
//! the real one, and it writes down every other millisecond in which it believes that it leads. How long nobody led is
//! printed; what is asserted are states and counts.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use khactl_lab::{Cut, LabError, LabHost, Signal};
use khactl_sys::clock;
use khactl_tests::acting::{RECORDS, Term, overlaps, terms};
use khactl_tests::{BundleCopy, Cluster, SOON, soak, until};
use serde_json::Value;

const HOSTS: usize = 3;
const NAME: &str = "kube-controller-manager";
/// As long as a machine may be paused and believe afterwards that nothing happened.
const STOPPED: Duration = Duration::from_secs(10);

/// What befalls the host whose witness leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// SIGKILL to the witness.
    ProcessKilled,
    /// A power cut; the host comes back once another leads.
    HostLost,
    /// No frame between the host and the others until another leads.
    CutOff,
    /// Every process of the host stands still, and goes on as if nothing had been.
    HostStopped,
}

impl Fault {
    const ALL: [Self; 4] = [
        Self::ProcessKilled,
        Self::CutOff,
        Self::HostStopped,
        Self::HostLost,
    ];
}

#[test]
fn never_do_two_act_at_once_and_always_somebody_acts_again() {
    let rounds = if soak() { 20 } else { 1 };
    let cluster = Cluster::boot("e2etakeover", HOSTS);
    let bundle = BundleCopy::make();
    bundle.replace(NAME, Path::new(env!("CARGO_BIN_EXE_khactl-witness")));
    for host in cluster.lab().hosts() {
        prepare(host);
    }
    cluster.form(&cluster.spec().bundle(&bundle.path()));
    let mut told = String::new();
    for fault in Fault::ALL {
        for _ in 0..rounds {
            told += &trial(&cluster, fault);
        }
    }
    cluster.step(&format!("takeovers of {NAME}:\n{told}"));
    let found = overlaps(&all(&cluster));
    assert_eq!(found, [""; 0], "two acted at once");
    one_that_is_robbed_while_it_stands_still_is_seen_to_act_too(&cluster);
}

/// The witnesses run as a user of their own.
#[track_caller]
fn prepare(host: &LabHost) {
    let folder = host.etc_dir().join("witness");
    let made = fs::create_dir_all(&folder)
        .and_then(|()| fs::set_permissions(&folder, PermissionsExt::from_mode(0o777)));
    if let Err(error) = made {
        panic!("{}: {error}", folder.display());
    }
}

/// Inflicts a fault on the leader's host, waits until somebody acts, mends it, and waits until all is well. Gives a
/// line about it.
#[track_caller]
fn trial(cluster: &Cluster, fault: Fault) -> String {
    cluster.await_ready(HOSTS);
    let before = acting(cluster);
    let name = host_of(&before).to_owned();
    let host = cluster.host(&name);
    cluster.step(&format!("{fault:?}: {before}"));
    let struck = clock::monotonic();
    match fault {
        Fault::ProcessKilled => assert_eq!(host.signal(NAME, Signal::KILL), 1),
        Fault::HostLost => done(host.kill()),
        Fault::CutOff => {
            let others = cluster.names().into_iter().filter(|other| *other != name);
            let cuts: Vec<_> = others
                .flat_map(|other| [Cut::new(&name, &other), Cut::new(&other, &name)])
                .collect();
            done(cluster.lab().cut_each(&cuts));
        }
        Fault::HostStopped => {
            done(host.pause());
            thread::sleep(STOPPED);
            done(host.resume());
        }
    }
    // Who only stood still may lead still, or be replaced by nobody but itself.
    let next = if fault == Fault::HostStopped {
        until("somebody acts", SOON, || now_acting(cluster))
    } else {
        until("another one acts", SOON, || {
            now_acting(cluster).filter(|term| term.identity != before.identity)
        })
    };
    match fault {
        Fault::ProcessKilled | Fault::HostStopped => {}
        Fault::HostLost => done(host.start()),
        Fault::CutOff => done(cluster.lab().heal_all()),
    }
    cluster.await_ready(HOSTS);
    let after = all(cluster);
    let found = overlaps(&after);
    assert_eq!(found, [""; 0], "{fault:?}: two acted at once");
    // The first that began after it; between them nobody acted.
    let gap = after
        .iter()
        .find(|term| term.from > struck)
        .map(|term| term.from.saturating_sub(struck));
    let gap = gap.map_or_else(
        || "nobody took over".to_owned(),
        |gap| format!("another began after {:.2} s", gap.as_secs_f64()),
    );
    let line = format!("{fault:?}: {} then {}: {gap}\n", name, host_of(&next));
    cluster.step(line.trim_end());
    line
}

/// The control of it all: a Lease that is taken from a leader that merely stands still gives two that act, and they are
/// seen.
fn one_that_is_robbed_while_it_stands_still_is_seen_to_act_too(cluster: &Cluster) {
    cluster.await_ready(HOSTS);
    let before = acting(cluster);
    let host = cluster.host(host_of(&before));
    cluster.step(&format!(
        "control: the Lease of {} is cleared",
        before.identity
    ));
    assert_eq!(host.signal(NAME, Signal::STOP), 1);
    let patch = r#"{"spec":{"holderIdentity":""}}"#;
    let arguments = ["-n", "kube-system", "patch", "lease", NAME, "-p", patch];
    cluster.kubectl_until(&arguments, SOON);
    until("another one acts", SOON, || {
        now_acting(cluster).filter(|term| term.identity != before.identity)
    });
    assert_eq!(host.signal(NAME, Signal::CONT), 1, "it was ended meanwhile");
    let found = until("two are seen to act at once", SOON, || {
        Some(overlaps(&all(cluster))).filter(|found| !found.is_empty())
    });
    cluster.step(&format!("control: {}", found.join("; ")));
}

/// Whose Lease it is and who acts, once that is the same; waits for it.
#[track_caller]
fn acting(cluster: &Cluster) -> Term {
    until("the one whose Lease it is acts", SOON, || {
        let term = now_acting(cluster)?;
        let arguments = ["-n", "kube-system", "get", "lease", NAME, "-o", "json"];
        let lease: Value = serde_json::from_str(&cluster.kubectl(&arguments).stdout).ok()?;
        (lease["spec"]["holderIdentity"] == term.identity.as_str()).then_some(term)
    })
}

/// The last that acts, if it still does.
fn now_acting(cluster: &Cluster) -> Option<Term> {
    let first = all(cluster).pop()?;
    let looked = clock::monotonic();
    // Several of its lines.
    thread::sleep(Duration::from_millis(20));
    let term = all(cluster).pop()?;
    (term.identity == first.identity && term.to > looked).then_some(term)
}

fn all(cluster: &Cluster) -> Vec<Term> {
    let name = Path::new(RECORDS)
        .strip_prefix("/etc/khactl")
        .unwrap_or(Path::new(RECORDS));
    let files: Vec<_> = cluster
        .lab()
        .hosts()
        .iter()
        .map(|host| fs::read(host.etc_dir().join(name)).unwrap_or_default())
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .collect();
    terms(files.iter().map(String::as_str))
}

fn host_of(term: &Term) -> &str {
    term.identity.split('_').next().unwrap_or_default()
}

#[track_caller]
fn done(result: Result<(), LabError>) {
    if let Err(error) = result {
        panic!("{error}");
    }
}
