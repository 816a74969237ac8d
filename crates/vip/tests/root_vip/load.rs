//! The shortest lease on a machine that has other things to do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use khactl_sys::clock::monotonic;

use crate::network::{Host, Network, feed_for, until};

const ALL: [u64; 3] = [1, 2, 3];

/// Twice the processors of the smallest machine that the tests run on.
const LOOPS: usize = 4;

/// Processor time of each of the process's threads by name, in kernel ticks.
fn ticks(host: &Host) -> Vec<(String, u64)> {
    let threads = host.threads().into_iter();
    threads.map(|stat| (stat.name, stat.spent_ticks)).collect()
}

#[test]
fn the_shortest_profile_keeps_its_holder_while_the_processors_are_busy() {
    let soak = std::env::var_os("KHACTL_SOAK").is_some();
    let span = Duration::from_secs(if soak { 600 } else { 8 });
    let mut network = Network::new("load", 3);
    for id in ALL {
        let mut feed = feed_for(id, &ALL);
        feed.lease_ms = 60;
        network.host(id).serve();
        network.host(id).start();
        network.host(id).feed(feed);
    }
    let mut holder = 0;
    until("a holder", || {
        let found = network.hosts.iter().find(|host| host.is_holding());
        holder = found.map_or(0, |host| host.id);
        holder != 0
    });
    let busy = Arc::new(AtomicBool::new(true));
    let loops: Vec<_> = (0..LOOPS)
        .map(|_| {
            let busy = busy.clone();
            std::thread::spawn(move || {
                while busy.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            })
        })
        .collect();
    let before: Vec<_> = network.hosts.iter().map(ticks).collect();
    let end = monotonic() + span;
    while monotonic() < end {
        assert!(network.host(holder).is_holding());
        std::thread::sleep(Duration::from_millis(100));
    }
    for (host, before) in network.hosts.iter().zip(&before) {
        let lease = host.status().lease.expect("lease");
        println!(
            "host {}: woke late by {} µs in 99 of 100 times, {} µs at most; peers {:?}; ticks before {before:?}, after {:?}",
            host.id,
            lease.lateness_us_p99,
            lease.lateness_us_max,
            lease.peers,
            ticks(host)
        );
        assert_eq!((lease.holder_id, lease.ended), (holder, 0), "{lease:?}");
        assert!(lease.realtime && lease.locked, "{lease:?}");
    }
    busy.store(false, Ordering::Relaxed);
    for thread in loops {
        thread.join().expect("no panic");
    }
}
