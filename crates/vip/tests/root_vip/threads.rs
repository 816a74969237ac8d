//! Which of khavip's threads come before other programs.

use khactl_sys::process_stat::ProcessStat;

use crate::network::{Network, until};

/// How much sooner the balancer's threads come than the program that they belong to.
const NICER: i32 = -10;

#[test]
fn the_balancer_has_two_threads_where_there_are_two_processors_and_they_come_first() {
    let mut network = Network::new("thrd", 1);
    let host = network.host(1);
    host.start();
    let pid = host.pid().expect("runs");
    let own = ProcessStat::of_thread(pid, pid).expect("its first thread");
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let expected = vec![own.niceness + NICER; processors.min(2)];
    until("the balancer's threads come first", || {
        let balancing = host.threads().into_iter();
        let balancing = balancing.filter(|stat| stat.name == "balancer");
        let found: Vec<i32> = balancing.map(|stat| stat.niceness).collect();
        found == expected
    });
}
