//! Lease threads on real sockets and the real clock, with a port that remembers when it was open.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use khactl_sys::clock;

use super::clock::{boottime_ns, slept_ns};
use super::*;

mod gate;

const CLUSTER: [u8; 16] = [5; 16];
const DEADLINE: Duration = Duration::from_secs(20);

/// What one host's port was told.
#[derive(Default)]
struct Told {
    /// From when to when the gate was open; the end moves until it is closed or passed.
    intervals: Vec<(u64, u64)>,
    address: bool,
    announcements: usize,
    removals: usize,
    /// The port holds the thread up for this long at the next opening, as a stalled process would be.
    stall: Option<Duration>,
    refuse: bool,
    /// So many times the gate cannot be closed.
    stuck: usize,
}

#[derive(Clone, Default)]
struct Port(Arc<Mutex<Told>>);

impl Port {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.0.lock().expect("not poisoned")
    }
}

impl VipPort for Port {
    fn open(&mut self, until: u64) -> io::Result<()> {
        let stall = self.told().stall.take().filter(|_| until > 0);
        if let Some(stall) = stall {
            std::thread::sleep(stall);
        }
        let mut told = self.told();
        if told.refuse && until > 0 {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        if until == 0 && told.stuck > 0 {
            told.stuck -= 1;
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        let now = boottime_ns();
        match told.intervals.last_mut() {
            Some(last) if last.1 > now => last.1 = if until == 0 { now } else { until },
            _ if until > now => told.intervals.push((now, until)),
            _ => {}
        }
        Ok(())
    }

    fn add_address(&mut self) {
        self.told().address = true;
    }

    fn remove_address(&mut self) {
        let mut told = self.told();
        (told.address, told.removals) = (false, told.removals + 1);
    }

    fn announce(&mut self) {
        self.told().announcements += 1;
    }
}

/// Three hosts at 127.0.0.1 to .3 on one port of this test's own.
struct Cluster {
    folder: tempfile::TempDir,
    port: u16,
    ports: Vec<Port>,
    handles: Vec<Option<LeaseHandle>>,
}

impl Cluster {
    /// The records say that the silence is over, so that no test waits for it.
    fn start(count: u8) -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        let free = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = free.local_addr().expect("bound").port();
        drop(free);
        let mut cluster = Self {
            folder,
            port,
            ports: Vec::new(),
            handles: Vec::new(),
        };
        for host in 1..=count {
            let config = cluster.config(host);
            let binding = khactl_lease::RecordBinding {
                boot_id: config.boot_id,
                cluster: CLUSTER,
                host: u64::from(host),
            };
            let (mut file, _) =
                RecordFile::open(&config.record, binding, slept_ns()).expect("opens");
            let past = khactl_lease::Record {
                ready: true,
                ..khactl_lease::Record::default()
            };
            file.write(&past).expect("writes");
            drop(file);
            cluster.ports.push(Port::default());
            cluster.handles.push(None);
        }
        for host in 1..=count {
            cluster.spawn(host);
        }
        cluster
    }

    fn address(&self, host: u8) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, host)), self.port)
    }

    fn record(&self, host: u8) -> PathBuf {
        self.folder.path().join(format!("lease-{host}.record"))
    }

    fn config(&self, host: u8) -> LeaseConfig {
        let (bind, record) = (self.address(host), self.record(host));
        LeaseConfig {
            host_id: host.into(),
            bind,
            cluster: CLUSTER,
            record,
            boot_id: [9; 16],
        }
    }

    fn feed(&self) -> Feed {
        let count = u8::try_from(self.ports.len()).expect("few");
        let members = (1..=count)
            .map(|host| Member {
                id: host.into(),
                address: self.address(host),
                preference: 0,
                proposer: true,
            })
            .collect();
        Feed {
            epoch: 1,
            confirmed: true,
            key: [7; 32],
            members,
            lease_ms: 250,
        }
    }

    fn spawn(&mut self, host: u8) {
        let place = usize::from(host) - 1;
        let handle = spawn(self.config(host), Box::new(self.ports[place].clone())).expect("starts");
        handle.feed(self.feed());
        handle.fit(true);
        self.handles[place] = Some(handle);
    }

    fn handle(&self, host: u8) -> &LeaseHandle {
        self.handles[usize::from(host) - 1].as_ref().expect("runs")
    }

    fn holder(&self) -> Option<u8> {
        let holding = self
            .handles
            .iter()
            .position(|h| h.as_ref().is_some_and(|h| h.status().holding))?;
        u8::try_from(holding + 1).ok()
    }

    fn await_holder(&self, other_than: Option<u8>) -> u8 {
        let found = || self.holder().filter(|holder| Some(*holder) != other_than);
        until("a holder", || found().is_some());
        found().expect("still there a moment later")
    }

    fn assert_never_two(&self) {
        let mut intervals: Vec<(u64, u64, usize)> = Vec::new();
        for (host, port) in self.ports.iter().enumerate() {
            intervals.extend(
                port.told()
                    .intervals
                    .iter()
                    .map(|&(from, to)| (from, to, host + 1)),
            );
        }
        intervals.sort_unstable();
        for pair in intervals.windows(2) {
            assert!(
                pair[0].2 == pair[1].2 || pair[0].1 <= pair[1].0,
                "two gates were open at once: {intervals:?}"
            );
        }
    }
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let end = clock::monotonic() + DEADLINE;
    while !condition() {
        assert!(clock::monotonic() < end, "waited for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn three_threads_have_one_holder_and_the_others_know_it() {
    let cluster = Cluster::start(3);
    let holder = cluster.await_holder(None);
    let everybody =
        || (1..=3).all(|host| cluster.handle(host).status().holder == Some(u64::from(holder)));
    until("all to know the holder", everybody);
    let told = || cluster.ports[usize::from(holder) - 1].told();
    until("the burst of announcements", || told().announcements == 4);
    assert!(told().address);
    cluster.assert_never_two();
}

#[test]
fn a_peer_that_is_heard_again_makes_the_holder_announce_again() {
    let mut cluster = Cluster::start(3);
    let holder = cluster.await_holder(None);
    let told = cluster.ports[usize::from(holder) - 1].clone();
    until("the burst of announcements", || {
        told.told().announcements >= 4
    });
    let peer = holder % 3 + 1;
    let silent = |peers: &[PeerSummary]| {
        let now = boottime_ns();
        let peer = peers.iter().find(|p| p.host == u64::from(peer));
        now - peer.expect("a member").heard_boottime_ns
    };
    drop(cluster.handles[usize::from(peer) - 1].take());
    until("the peer to be missed for a lease time", || {
        silent(&cluster.handle(holder).status().summary.peers) > 300_000_000
    });
    let before = told.told().announcements;
    cluster.spawn(peer);
    // The regular one comes every ten seconds; four more are a burst.
    until("another burst", || told.told().announcements >= before + 4);
    assert_eq!(cluster.holder(), Some(holder));
    cluster.assert_never_two();
}

#[test]
fn round_trips_and_lateness_show_in_the_status() {
    let cluster = Cluster::start(3);
    let holder = cluster.await_holder(None);
    until("figures of every peer", || {
        let summary = cluster.handle(holder).status().summary;
        let measured = summary.peers.iter().filter(|peer| peer.rtt_us_max > 0);
        measured.count() == 2 && summary.lateness_us_max > 0
    });
    let summary = cluster.handle(holder).status().summary;
    assert!(summary.lateness_us_p99 <= summary.lateness_us_max);
    for peer in summary.peers.iter().filter(|peer| peer.host != 0) {
        assert!(peer.rtt_us_p50 <= peer.rtt_us_max, "{peer:?}");
    }
}

#[test]
fn a_holder_that_ends_hands_over_and_never_two_hold() {
    let mut cluster = Cluster::start(3);
    let first = cluster.await_holder(None);
    let place = usize::from(first) - 1;
    let handle = cluster.handles[place].take().expect("runs");
    assert!(handle.shutdown(DEADLINE), "ends in time");
    assert!(!cluster.ports[place].told().address);
    let second = cluster.await_holder(Some(first));
    cluster.spawn(first);
    until("the first to take part again", || {
        cluster.handle(first).status().holder == Some(second.into())
    });
    assert_eq!(
        cluster.holder(),
        Some(second),
        "nobody takes the lease back"
    );
    cluster.assert_never_two();
}

#[test]
fn a_stalled_holder_is_replaced_and_its_late_opening_opens_nothing() {
    let cluster = Cluster::start(3);
    let first = cluster.await_holder(None);
    let port = &cluster.ports[usize::from(first) - 1];
    port.told().stall = Some(Duration::from_secs(1));
    let second = cluster.await_holder(Some(first));
    until("the first to go on", || {
        port.told().stall.is_none() && !port.told().address
    });
    until("the first to know", || {
        cluster.handle(first).status().holder == Some(second.into())
    });
    cluster.assert_never_two();
}

#[test]
fn a_hand_over_goes_to_the_named_successor() {
    let cluster = Cluster::start(3);
    for _ in 0..3 {
        let holder = cluster.await_holder(None);
        let successor = holder % 3 + 1;
        cluster.handle(holder).hand_over(Some(successor.into()));
        assert_eq!(cluster.await_holder(Some(holder)), successor);
    }
    cluster.assert_never_two();
}

#[test]
fn a_hand_over_takes_place_when_the_clients_are_gone_or_when_that_takes_too_long() {
    let cluster = Cluster::start(3);
    let first = cluster.await_holder(None);
    let second = first % 3 + 1;
    let endless = cluster.handle(first).farewell();
    cluster.handle(first).hand_over(Some(second.into()));
    assert_eq!(cluster.await_holder(Some(first)), second);
    let farewell = cluster.handle(second).farewell();
    cluster.handle(second).hand_over(Some(first.into()));
    drop(farewell);
    assert_eq!(cluster.await_holder(Some(second)), first);
    drop(endless);
    assert_eq!(cluster.holder(), Some(first), "a late word ends nothing");
    cluster.assert_never_two();
}

#[test]
fn an_unfit_host_never_tries_but_stays_the_holder() {
    let cluster = Cluster::start(3);
    let first = cluster.await_holder(None);
    cluster.handle(first).fit(false);
    let renewals = || cluster.handle(first).status().deadline_boottime_ns;
    let before = renewals();
    until("two renewals", || renewals() > before + 100_000_000);
    for host in (1..=3).filter(|host| *host != first) {
        cluster.handle(host).fit(false);
    }
    cluster.handle(first).hand_over(None);
    until("the end of the lease", || cluster.holder().is_none());
    let next = first % 3 + 1;
    cluster.handle(next).fit(true);
    assert_eq!(cluster.await_holder(None), next);
    cluster.assert_never_two();
}

#[test]
fn a_host_without_a_record_is_silent_and_two_of_three_go_on() {
    let cluster = Cluster::start(1);
    cluster.await_holder(None);
    let alone = cluster.handle(1).status();
    assert!(alone.ready && alone.past_silence);
    drop(cluster);

    let folder = tempfile::tempdir().expect("temporary folder");
    let other = Cluster {
        folder,
        port: 0,
        ports: vec![Port::default()],
        handles: vec![],
    };
    let config = LeaseConfig {
        bind: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0),
        ..other.config(1)
    };
    let handle = spawn(config, Box::new(other.ports[0].clone())).expect("starts");
    handle.feed(other.feed());
    handle.fit(true);
    until("readiness", || handle.status().ready);
    let status = handle.status();
    assert!(!status.past_silence && !status.holding);
    until("a holder after the silence", || handle.status().holding);
}

#[test]
fn a_second_thread_on_the_same_record_is_refused() {
    let cluster = Cluster::start(1);
    let second = spawn(cluster.config(1), Box::new(Port::default()))
        .err()
        .map(|error| error.kind());
    assert_eq!(second, Some(io::ErrorKind::WouldBlock));
}

/// Whatever it is asked for, the thread does not survive it.
struct Broken;

impl VipPort for Broken {
    fn open(&mut self, _until_boottime_ns: u64) -> io::Result<()> {
        panic!("on purpose")
    }
    fn add_address(&mut self) {}
    fn remove_address(&mut self) {}
    fn announce(&mut self) {}
}

#[test]
fn a_thread_that_panics_is_known_to_have_ended() {
    let cluster = Cluster::start(1);
    let config = LeaseConfig {
        bind: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0),
        record: cluster.folder.path().join("broken.record"),
        ..cluster.config(1)
    };
    let handle = spawn(config, Box::new(Broken)).expect("starts");
    until("its end is told", || handle.status().failure.is_some());
}

#[test]
fn a_thread_that_has_nothing_to_do_tells_anew_when_it_is_asked_again() {
    let cluster = Cluster::start(1);
    let config = LeaseConfig {
        bind: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0),
        record: cluster.folder.path().join("idle.record"),
        ..cluster.config(1)
    };
    // Nobody feeds it.
    let handle = spawn(config, Box::new(Port::default())).expect("starts");
    until("its first word", || handle.status().told_boottime_ns > 0);
    let before = handle.status().told_boottime_ns;
    until("it tells anew", || {
        let status = handle.status();
        assert!(status.told_boottime_ns <= status.read_boottime_ns);
        status.told_boottime_ns > before
    });
}

#[test]
fn strangers_and_replays_are_counted_and_not_believed() {
    let cluster = Cluster::start(1);
    cluster.await_holder(None);
    let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("binds");
    let message = khactl_lease::Message::Query { seq: 1 };
    let datagram = khactl_lease::Datagram {
        cluster: CLUSTER,
        sender: 2,
        incarnation: 3,
        counter: 4,
        message,
    };
    let mut signed = khactl_lease::encode(&datagram);
    let mut forged = signed;
    authentication::Authentication::new(&[7; 32]).sign(&mut signed);
    authentication::Authentication::new(&[8; 32]).sign(&mut forged);
    let lengths = [
        &signed[..],
        &signed[..],
        &forged[..],
        &signed[..100],
        &[signed.as_slice(), &[0]].concat(),
    ];
    for bytes in lengths {
        socket.send_to(bytes, cluster.address(1)).expect("sends");
    }
    until("all to be counted", || {
        let counters = cluster.handle(1).status().counters;
        (counters.received, counters.replayed, counters.refused) == (1, 1, 3)
    });
}

#[test]
fn an_impossible_feed_is_refused_with_its_reason() {
    let cluster = Cluster::start(1);
    let handle = cluster.handle(1);
    handle.feed(Feed {
        lease_ms: 5,
        ..cluster.feed()
    });
    let reason = handle.status().refused_feed.expect("refused");
    assert!(reason.contains("5 ms"), "{reason}");
    handle.feed(cluster.feed());
    assert_eq!(handle.status().refused_feed, None);
}

#[test]
fn a_dead_process_lease_is_released_for_it_and_taken_at_once() {
    let mut cluster = Cluster::start(3);
    let first = cluster.await_holder(None);
    let place = usize::from(first) - 1;
    // What SIGKILL leaves: the record as it was while the process held.
    let kept = std::fs::read(cluster.record(first)).expect("readable");
    drop(cluster.handles[place].take());
    until("the thread's end", || !cluster.ports[place].told().address);
    let config = LeaseConfig {
        record: cluster.folder.path().join("dead.record"),
        ..cluster.config(first)
    };
    std::fs::write(&config.record, kept).expect("writable");
    let mut port = Port::default();
    let released = release_dead(&config, &cluster.feed(), &mut port).expect("released");
    assert!(matches!(released, DeadRelease::Released(ballot) if ballot.host == u64::from(first)));
    assert_eq!(port.told().removals, 1);
    let again = release_dead(&config, &cluster.feed(), &mut port).expect("nothing to do");
    assert_eq!(again, DeadRelease::NothingInUse);
    cluster.await_holder(Some(first));
    cluster.assert_never_two();
}
