//! Who acts as the leader of the control plane's controllers and of its scheduling, while their hosts die, stand still and
//! are cut off: never two at once, and in the end always one.
//!
//! A witness runs in the place of every kube-controller-manager and kube-scheduler: khad starts, probes, releases and
//! fences it like the real one, and it writes down every other millisecond in which it believes that it leads. One that
//! reaches no API server meanwhile believes in vain, and is held to what it believes once it reaches one again. How long
//! nobody led is printed; what is asserted are states and counts.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use khactl_lab::{Cut, LabError, LabHost, Signal};
use khactl_sys::clock;
use khactl_tests::acting::{Blind, Term, overlaps, seeing, terms};
use khactl_tests::{BundleCopy, Cluster, HostNetwork, SOON, soak, until};
use serde_json::Value;

const HOSTS: usize = 3;
const CONTROLLER_MANAGER: &str = "kube-controller-manager";
/// With upstream's own period between two renewals: one that is alive writes so seldom that its silence proves nothing.
const SCHEDULER: &str = "kube-scheduler";
/// As long as a machine may be paused and believe afterwards that nothing happened; and far longer than whoever waits for
/// silence waits.
const STOPPED: Duration = Duration::from_secs(10);
/// Who has led for so long has been seen to lead by its khad, and told of to the others.
const KNOWN: Duration = Duration::from_secs(3);
/// What supervises and what guards, on every host.
const BOTH: [&str; 2] = ["khad", "khavip"];
/// The balancer's, on every host.
const PORT: u16 = 6443;

/// What befalls the host whose witness leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// SIGKILL to the witness.
    ProcessKilled,
    /// A power cut; the host comes back once another leads.
    HostLost,
    /// The host goes down in order; it comes back once another leads.
    HostShutDown,
    /// No frame between the host and the others until another leads.
    CutOff,
    /// Every process of the host stands still, and goes on as if nothing had been.
    HostStopped,
    /// SIGKILL to khad and khavip; they are started again once another leads.
    BothKilled,
    /// SIGSTOP to khad and khavip; they go on once another leads.
    BothStopped,
    /// SIGTERM to khavip, which khad starts again.
    KhavipEnded,
    /// The host's own address is taken away until another leads.
    AddressGone,
    /// Nothing passes at 9443, by UDP or TCP, while the API is in reach: the host's next witness leads unguarded.
    PortsDropped,
}

impl Fault {
    const ALL: [Self; 10] = [
        Self::ProcessKilled,
        Self::CutOff,
        Self::HostStopped,
        Self::BothKilled,
        Self::BothStopped,
        Self::KhavipEnded,
        Self::AddressGone,
        Self::PortsDropped,
        Self::HostShutDown,
        Self::HostLost,
    ];

    /// For the second component, which is treated like the first: what tells one process from the next, and what ends one.
    const SOME: [Self; 3] = [Self::PortsDropped, Self::CutOff, Self::ProcessKilled];

    /// The one that led may go on leading, or be followed by nobody but itself.
    fn may_stay(self) -> bool {
        matches!(self, Self::HostStopped | Self::KhavipEnded)
    }
}

#[test]
fn never_do_two_act_at_once_and_always_somebody_acts_again() {
    let rounds = if soak() { 20 } else { 1 };
    let cluster = Cluster::boot("e2etakeover", HOSTS);
    let bundle = BundleCopy::make();
    for name in [CONTROLLER_MANAGER, SCHEDULER] {
        bundle.replace(name, Path::new(env!("CARGO_BIN_EXE_khactl-witness")));
    }
    for host in cluster.lab().hosts() {
        prepare(host);
    }
    let spec = cluster.spec().bundle(&bundle.path());
    cluster.form(&spec.scheduler_retry("2s"));
    let mut controllers = Trials::of(&cluster, CONTROLLER_MANAGER);
    for fault in Fault::ALL {
        for _ in 0..rounds {
            controllers.run(fault);
        }
    }
    let mut scheduling = Trials::of(&cluster, SCHEDULER);
    for fault in Fault::SOME {
        for _ in 0..rounds {
            scheduling.run(fault);
        }
    }
    for trials in [&controllers, &scheduling] {
        cluster.step(&format!("takeovers of {}:\n{}", trials.name, trials.told));
        assert_eq!(overlaps(&trials.all()), [""; 0], "two acted at once");
    }
    controllers.one_that_is_robbed_while_it_stands_still_is_seen_to_act_too();
}

/// The witnesses run as users of their own.
#[track_caller]
fn prepare(host: &LabHost) {
    let folder = host.etc_dir().join("witness");
    let made = fs::create_dir_all(&folder)
        .and_then(|()| fs::set_permissions(&folder, PermissionsExt::from_mode(0o777)));
    if let Err(error) = made {
        panic!("{}: {error}", folder.display());
    }
}

/// The trials of one component.
struct Trials<'a> {
    cluster: &'a Cluster,
    name: &'static str,
    /// Who reached no API server, and when.
    blind: Vec<Blind>,
    /// A line for each.
    told: String,
}

impl<'a> Trials<'a> {
    fn of(cluster: &'a Cluster, name: &'static str) -> Self {
        Self {
            cluster,
            name,
            blind: Vec::new(),
            told: String::new(),
        }
    }

    /// Inflicts a fault on the leader's host, waits until somebody acts, mends it, and waits until all is well.
    #[track_caller]
    fn run(&mut self, fault: Fault) {
        let cluster = self.cluster;
        cluster.await_ready(HOSTS);
        let before = until("somebody has led for a while", SOON, || {
            let term = self.acting();
            (term.to.saturating_sub(term.from) >= KNOWN).then_some(term)
        });
        let host = cluster.host(host_of(&before));
        cluster.step(&format!("{fault:?}: {before}"));
        let khavip = host
            .processes_named("khavip")
            .first()
            .map(|first| first.pid);
        let struck = clock::monotonic();
        self.strike(fault, host);
        let next = match fault {
            _ if fault.may_stay() => until("somebody acts", SOON, || self.now_acting()),
            // That one leads while the fault lasts.
            Fault::PortsDropped => self.unguarded(host, &before),
            _ => until("another one acts", SOON, || {
                self.now_acting()
                    .filter(|term| term.identity != before.identity)
            }),
        };
        let blind_from = self.mend(fault, host, (struck, khavip));
        if let Some(from) = blind_from {
            let to = served(host);
            self.blind.push(Blind {
                identity: before.identity.clone(),
                from,
                to,
            });
        }
        cluster.await_ready(HOSTS);
        let after = self.all();
        assert_eq!(overlaps(&after), [""; 0], "{fault:?}: two acted at once");
        // The first that began after it; between them nobody acted.
        let gap = after
            .iter()
            .find(|term| term.from > struck)
            .map(|term| term.from.saturating_sub(struck));
        let gap = gap.map_or_else(
            || "nobody took over".to_owned(),
            |gap| format!("another began after {:.2} s", gap.as_secs_f64()),
        );
        let (one, other) = (host_of(&before), host_of(&next));
        let line = format!("{fault:?}: {one} then {other}: {gap}");
        cluster.step(&line);
        self.told.push_str(&line);
        self.told.push('\n');
    }

    #[track_caller]
    fn strike(&self, fault: Fault, host: &LabHost) {
        match fault {
            Fault::ProcessKilled => assert_eq!(host.signal(self.name, Signal::KILL), 1),
            Fault::HostLost => done(host.kill()),
            Fault::HostShutDown => {
                let cleared = self.cleared_by(host);
                done(host.stop(SOON));
                let known = self.cleared_by(host);
                assert!(known > cleared, "the Lease was left to run out");
            }
            Fault::CutOff => {
                let name = host.name();
                let others = self.others(host);
                let cuts: Vec<_> = others
                    .iter()
                    .flat_map(|other| [Cut::new(name, other), Cut::new(other, name)])
                    .collect();
                done(self.cluster.lab().cut_each(&cuts));
            }
            Fault::HostStopped => {
                done(host.pause());
                thread::sleep(STOPPED);
                done(host.resume());
            }
            Fault::BothKilled => assert_eq!(host.signal_each(&BOTH, Signal::KILL), 2),
            Fault::BothStopped => assert_eq!(host.signal_each(&BOTH, Signal::STOP), 2),
            Fault::KhavipEnded => assert_eq!(host.signal("khavip", Signal::TERM), 1),
            Fault::AddressGone => self.address(host, "del"),
            Fault::PortsDropped => {
                // So that nobody else can lead meanwhile.
                for other in self.others(host) {
                    let other = self.cluster.host(&other);
                    // One that has just come back may not run everything yet.
                    until("the other one stands still", SOON, || {
                        (other.signal(self.name, Signal::STOP) == 1).then_some(())
                    });
                }
                let wall = "add table inet wall; \
                            add chain inet wall in { type filter hook input priority 0; }; \
                            add chain inet wall out { type filter hook output priority 0; }; \
                            add rule inet wall in udp dport 9443 drop; \
                            add rule inet wall in tcp dport 9443 drop; \
                            add rule inet wall out udp dport 9443 drop; \
                            add rule inet wall out tcp dport 9443 drop";
                self.cluster.run(host.name(), "nft", &[wall]).ok();
            }
        }
    }

    /// Since when the one that led has reached no API server, if it is alive for all that is known.
    #[track_caller]
    fn mend(
        &self,
        fault: Fault,
        host: &LabHost,
        (struck, khavip): (Duration, Option<u32>),
    ) -> Option<Duration> {
        match fault {
            Fault::ProcessKilled | Fault::HostStopped => None,
            Fault::HostLost | Fault::HostShutDown => {
                done(host.start());
                None
            }
            Fault::CutOff => {
                done(self.cluster.lab().heal_all());
                None
            }
            Fault::BothKilled => {
                until("khad is gone", SOON, || {
                    host.processes_named("khad").is_empty().then_some(())
                });
                self.cluster.start_agent(host.name());
                Some(struck)
            }
            Fault::BothStopped => {
                assert_eq!(host.signal_each(&BOTH, Signal::CONT), 2);
                Some(struck)
            }
            // It is served until that khavip has ended.
            Fault::KhavipEnded => until("khavip has ended", SOON, || {
                let processes = host.processes_named("khavip");
                let ended = processes.iter().all(|process| Some(process.pid) != khavip);
                ended.then(|| Some(clock::monotonic()))
            }),
            Fault::AddressGone => {
                self.address(host, "add");
                None
            }
            Fault::PortsDropped => {
                let wall = ["delete table inet wall"];
                self.cluster.run(host.name(), "nft", &wall).ok();
                None
            }
        }
    }

    /// The witness that leads on a host whose fence nobody hears of, after it was given the time to be robbed in.
    #[track_caller]
    fn unguarded(&self, host: &LabHost, before: &Term) -> Term {
        let next = until("the host's next witness acts", SOON, || {
            self.now_acting()
                .filter(|term| term.identity != before.identity && host_of(term) == host.name())
        });
        for other in self.others(host) {
            // Its khad may have replaced one that did not answer.
            self.cluster.host(&other).signal(self.name, Signal::CONT);
        }
        thread::sleep(STOPPED);
        let now = self.acting();
        assert_eq!(now.identity, next.identity, "its Lease was taken from it");
        next
    }

    /// How often the host's khad gave the Lease of an ended process of its own back.
    fn cleared_by(&self, host: &LabHost) -> usize {
        let log = fs::read_to_string(host.log_dir().join("khad.log")).unwrap_or_default();
        log.lines()
            .filter(|line| line.contains("its Lease was cleared") && line.contains(self.name))
            .count()
    }

    fn others(&self, host: &LabHost) -> Vec<String> {
        let mut names = self.cluster.names();
        names.retain(|name| name != host.name());
        names
    }

    #[track_caller]
    fn address(&self, host: &LabHost, change: &str) {
        let address = format!("{}/24", host.address());
        let arguments = ["addr", change, &address, "dev", "eth0"];
        self.cluster.run(host.name(), "ip", &arguments).ok();
    }

    /// The control of it all: a Lease that is taken from a leader that merely stands still gives two that act, and they are
    /// seen.
    #[track_caller]
    fn one_that_is_robbed_while_it_stands_still_is_seen_to_act_too(&self) {
        let cluster = self.cluster;
        cluster.await_ready(HOSTS);
        let before = self.acting();
        let host = cluster.host(host_of(&before));
        cluster.step(&format!(
            "control: the Lease of {} is cleared",
            before.identity
        ));
        assert_eq!(host.signal(self.name, Signal::STOP), 1);
        let patch = r#"{"spec":{"holderIdentity":""}}"#;
        let arguments = [
            "-n",
            "kube-system",
            "patch",
            "lease",
            self.name,
            "-p",
            patch,
        ];
        cluster.kubectl_until(&arguments, SOON);
        until("another one acts", SOON, || {
            self.now_acting()
                .filter(|term| term.identity != before.identity)
        });
        let gone_on = host.signal(self.name, Signal::CONT);
        assert_eq!(gone_on, 1, "it was ended meanwhile");
        let found = until("two are seen to act at once", SOON, || {
            Some(overlaps(&self.all())).filter(|found| !found.is_empty())
        });
        cluster.step(&format!("control: {}", found.join("; ")));
    }

    /// Whose Lease it is and who acts, once that is the same; waits for it.
    #[track_caller]
    fn acting(&self) -> Term {
        until("the one whose Lease it is acts", SOON, || {
            let term = self.now_acting()?;
            let arguments = ["-n", "kube-system", "get", "lease", self.name, "-o", "json"];
            let lease: Value =
                serde_json::from_str(&self.cluster.kubectl(&arguments).stdout).ok()?;
            (lease["spec"]["holderIdentity"] == term.identity.as_str()).then_some(term)
        })
    }

    /// The last that began to act, if it still does.
    fn now_acting(&self) -> Option<Term> {
        let first = self.believing().pop()?;
        let looked = clock::monotonic();
        // Several of its lines.
        thread::sleep(Duration::from_millis(20));
        let term = self.believing().pop()?;
        (term.identity == first.identity && term.to > looked).then_some(term)
    }

    /// All that acted.
    fn all(&self) -> Vec<Term> {
        seeing(self.believing(), &self.blind)
    }

    /// All that believed that they led.
    fn believing(&self) -> Vec<Term> {
        let files: Vec<_> = self
            .cluster
            .lab()
            .hosts()
            .iter()
            .map(|host| host.etc_dir().join("witness").join(self.name))
            .map(|path| fs::read(path).unwrap_or_default())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .collect();
        terms(files.iter().map(String::as_str))
    }
}

/// When an API server was seen to answer through the host's balancer, which has to be again by then.
#[track_caller]
fn served(host: &LabHost) -> Duration {
    let network = HostNetwork::of(host).expect("the host is on");
    let looking = thread::spawn(move || {
        network.enter().expect("root may");
        until("the host's balancer serves", SOON, || {
            answered().then(clock::monotonic)
        })
    });
    looking
        .join()
        .expect("the host's balancer serves again in time")
}

/// Any word of an API server: that this is not how it is spoken to.
fn answered() -> bool {
    let ask = || -> std::io::Result<usize> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, PORT))?;
        stream.set_read_timeout(Some(Duration::from_millis(500)))?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        stream.read(&mut [0; 16])
    };
    ask().is_ok_and(|read| read > 0)
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
