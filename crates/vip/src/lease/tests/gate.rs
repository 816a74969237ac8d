//! A gate that the kernel does not open or close.

use super::*;

#[test]
fn a_holder_whose_gate_does_not_open_leaves_the_lease_to_others() {
    let cluster = Cluster::start(3);
    let first = cluster.await_holder(None);
    cluster.ports[usize::from(first) - 1].told().refuse = true;
    cluster.await_holder(Some(first));
    cluster.assert_never_two();
}

#[test]
fn a_gate_that_does_not_close_is_closed_again_before_its_deadline_and_nothing_is_released_early() {
    let cluster = Cluster::start(3);
    let first = cluster.await_holder(None);
    let port = &cluster.ports[usize::from(first) - 1];
    port.told().stuck = 5;
    let earned = || cluster.handle(first).status().deadline_boottime_ns;
    let deadline = earned();
    cluster.handle(first).hand_over(None);
    until("the gate to be closed at last", || {
        let told = port.told();
        told.stuck == 0
            && told
                .intervals
                .last()
                .is_some_and(|open| open.1 <= boottime_ns())
    });
    let closed = port.told().intervals.last().expect("was open").1;
    assert!(closed < deadline, "it did not wait for the deadline");
    // On a busy machine that may be the first one again, once its rest is over.
    cluster.await_holder(None);
    cluster.assert_never_two();
}

#[test]
fn a_thread_that_ends_waits_for_the_deadline_of_a_gate_that_it_cannot_close() {
    let mut cluster = Cluster::start(3);
    let first = cluster.await_holder(None);
    let place = usize::from(first) - 1;
    cluster.ports[place].told().stuck = usize::MAX;
    let handle = cluster.handles[place].take().expect("runs");
    let deadline = handle.status().deadline_boottime_ns;
    assert!(handle.shutdown(DEADLINE), "ends in time");
    assert!(
        boottime_ns() >= deadline,
        "nobody else would have closed it"
    );
    assert!(!cluster.ports[place].told().address);
    cluster.await_holder(Some(first));
    cluster.assert_never_two();
}
