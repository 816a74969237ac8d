//! Real-time priority where the thread's own cgroup has no budget for it. Needs root.

use std::path::Path;
use std::time::Duration;

use khactl_sys::clock::monotonic;
use khactl_sys::realtime::{Permit, fifo_thread};

#[test]
fn a_group_without_a_budget_is_given_one() {
    let cpu = Path::new("/sys/fs/cgroup/cpu");
    let group = cpu.join(format!("khactl-test-{}", std::process::id()));
    // Without the old cpu hierarchy there are no budgets, and root is granted at once.
    let has_groups = cpu.join("cpu.rt_runtime_us").exists();
    if has_groups {
        std::fs::create_dir(&group).expect("a cgroup");
    }
    let inside = group.clone();
    let granted = std::thread::spawn(move || {
        if has_groups {
            let thread = std::fs::read_link("/proc/thread-self").expect("this thread");
            let id = thread.file_name().expect("its number").to_string_lossy();
            std::fs::write(inside.join("tasks"), id.as_bytes()).expect("moved");
            let budget = std::fs::read_to_string(inside.join("cpu.rt_runtime_us"));
            assert_eq!(budget.expect("readable").trim(), "0");
        }
        fifo_thread(1)
    })
    .join()
    .expect("no panic");
    if has_groups {
        let budget = std::fs::read_to_string(group.join("cpu.rt_runtime_us")).expect("readable");
        // The kernel keeps a thread in its group for a moment after its end.
        let end = monotonic() + Duration::from_secs(10);
        while let Err(error) = std::fs::remove_dir(&group) {
            assert!(monotonic() < end, "{}: {error}", group.display());
            std::thread::yield_now();
        }
        assert_ne!(budget.trim(), "0");
    }
    assert_eq!(granted, Permit::Granted);
}
