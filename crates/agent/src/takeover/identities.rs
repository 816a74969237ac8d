//! Whose identity the Lease of a component of this host named while a certain process of it ran. With the report of the
//! fence it tells the others whose death they may count on: a process that was started later has another identity.

use khactl_model::component::ComponentName;
use khactl_model::facts::{FencedComponent, ProcessFact};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The newest of each component; nothing of it outlives this khad.
#[derive(Debug, Default)]
pub struct Identities(Mutex<BTreeMap<ComponentName, Seen>>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    pid: u32,
    start_ticks: u64,
    holder: String,
}

impl Identities {
    /// `holder` had the Lease at some time before `process` was found running, and is of this machine.
    pub fn seen(&self, component: ComponentName, process: &ProcessFact, holder: &str) {
        let seen = Seen {
            pid: process.pid,
            start_ticks: process.start_ticks,
            holder: holder.to_owned(),
        };
        self.known().insert(component, seen);
    }

    /// Puts the identities to the processes that they were seen of.
    pub fn complete(&self, fenced: &mut [FencedComponent]) {
        let known = self.known();
        for process in fenced {
            let seen = known
                .get(&process.name)
                .filter(|seen| (seen.pid, seen.start_ticks) == (process.pid, process.start_ticks));
            process.identity = seen.map(|seen| seen.holder.clone());
        }
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<ComponentName, Seen>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: ComponentName = ComponentName::KubeScheduler;

    fn fenced(pid: u32, start_ticks: u64) -> FencedComponent {
        FencedComponent {
            name: NAME,
            pid,
            start_ticks,
            identity: None,
        }
    }

    #[test]
    fn an_identity_is_told_only_of_the_process_that_ran_when_it_was_seen() {
        let identities = Identities::default();
        let process = ProcessFact {
            pid: 70,
            running: true,
            digest: String::new(),
            started_at_ms: 5,
            start_ticks: 9,
            exit: None,
            last_exit: None,
            quick_exits: 0,
        };
        identities.seen(NAME, &process, "cp1_a");
        for (pid, start_ticks, identity) in [(70, 9, Some("cp1_a")), (71, 9, None), (70, 10, None)]
        {
            let mut told = [fenced(pid, start_ticks)];
            identities.complete(&mut told);
            assert_eq!(told[0].identity.as_deref(), identity);
        }
        let mut other = [FencedComponent {
            name: ComponentName::KubeControllerManager,
            ..fenced(70, 9)
        }];
        identities.complete(&mut other);
        assert_eq!(other[0].identity, None);
    }
}
