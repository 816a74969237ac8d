//! Which of khavip's threads come before other programs.

use std::path::Path;

use crate::network::{Network, until};

/// How much sooner the balancer's threads come than the program that they belong to.
const NICER: i64 = -10;

/// A thread's name and niceness.
fn thread(task: &Path) -> Option<(String, i64)> {
    let stat = std::fs::read_to_string(task.join("stat")).ok()?;
    let (name, rest) = stat.split_once('(')?.1.rsplit_once(") ")?;
    let niceness = rest.split(' ').nth(16)?.parse().ok()?;
    Some((name.to_owned(), niceness))
}

#[test]
fn the_balancer_has_two_threads_where_there_are_two_processors_and_they_come_first() {
    let mut network = Network::new("thrd", 1);
    network.host(1).start();
    let pid = network.host(1).pid().expect("runs");
    let tasks = format!("/proc/{pid}/task");
    let (_, own) = thread(&Path::new(&tasks).join(pid.to_string())).expect("its first thread");
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let expected = vec![own + NICER; processors.min(2)];
    until("the balancer's threads come first", || {
        let threads = std::fs::read_dir(&tasks).expect("tasks");
        let found: Vec<i64> = threads
            .filter_map(|task| thread(&task.ok()?.path()))
            .filter(|(name, _)| name == "balancer")
            .map(|(_, niceness)| niceness)
            .collect();
        found == expected
    });
}
