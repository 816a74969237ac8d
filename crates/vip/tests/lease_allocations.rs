//! The lease thread allocates nothing once it was fed: memory that has to be found first would hold it up.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use khactl_sys::allocations::{Counting, of_this_thread};
use khactl_sys::clock::monotonic;
use khactl_vip::lease::{Feed, LeaseConfig, LeaseHandle, Member, VipPort, spawn};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What a host's port saw on the lease thread.
#[derive(Default)]
struct Seen {
    openings: AtomicU64,
    /// The thread's count at its first opening, and at its latest.
    first: AtomicU64,
    latest: AtomicU64,
}

struct Port(Arc<Seen>);

impl VipPort for Port {
    fn open(&mut self, until_boottime_ns: u64) -> io::Result<()> {
        if until_boottime_ns > 0 {
            let count = of_this_thread();
            if self.0.openings.fetch_add(1, Ordering::SeqCst) == 0 {
                self.0.first.store(count, Ordering::SeqCst);
            }
            self.0.latest.store(count, Ordering::SeqCst);
        }
        Ok(())
    }

    fn add_address(&mut self) {}

    fn remove_address(&mut self) {}

    fn announce(&mut self) {}
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let end = monotonic() + Duration::from_secs(30);
    while !condition() {
        assert!(monotonic() < end, "waited for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn holding_following_and_handing_over_allocate_nothing() {
    let before = of_this_thread();
    drop(Box::new(0_u8));
    assert!(of_this_thread() > before, "the count itself works");

    let folder = tempfile::tempdir().expect("temporary folder");
    let free = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = free.local_addr().expect("bound").port();
    drop(free);
    let address = |host: u8| SocketAddr::from(([127, 0, 0, host], port));
    let members: Vec<Member> = (1..=3)
        .map(|host| Member {
            id: host.into(),
            address: address(host),
            preference: 0,
            proposer: true,
        })
        .collect();
    let mut hosts: Vec<(LeaseHandle, Arc<Seen>)> = Vec::new();
    for host in 1..=3 {
        let seen = Arc::new(Seen::default());
        let config = LeaseConfig {
            host_id: host.into(),
            bind: address(host),
            cluster: [5; 16],
            record: folder.path().join(host.to_string()),
            boot_id: [9; 16],
        };
        let handle = spawn(config, Box::new(Port(seen.clone()))).expect("starts");
        handle.feed(Feed {
            epoch: 1,
            confirmed: true,
            key: [7; 32],
            members: members.clone(),
            lease_ms: 100,
        });
        handle.fit(true);
        hosts.push((handle, seen));
    }
    let holder = || hosts.iter().position(|(handle, _)| handle.status().holding);
    until("a holder", || holder().is_some());
    // Twice round: every host holds, follows, and holds again.
    for _ in 0..6 {
        let present = holder().expect("still there");
        let openings = || hosts[present].1.openings.load(Ordering::SeqCst);
        let before = openings();
        until("some renewals", || openings() >= before + 10);
        let next = (present + 1) % 3;
        hosts[present].0.hand_over(u64::try_from(next + 1).ok());
        until("the successor", || holder() == Some(next));
    }
    for (handle, seen) in &hosts {
        let counters = handle.status().counters;
        assert!(
            counters.acquired >= 2 && counters.received > 100,
            "{counters:?}"
        );
        assert!(seen.openings.load(Ordering::SeqCst) > 20);
        let first = seen.first.load(Ordering::SeqCst);
        assert_eq!(seen.latest.load(Ordering::SeqCst), first);
    }
}
