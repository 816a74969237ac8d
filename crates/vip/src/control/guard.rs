//! That nothing is served which other hosts may count as dead: it is dead here, or a lease thread guards it.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use khactl_sys::clock::boottime;
use tokio::time::sleep;

use super::{State, note};
use crate::error::VipError;
use crate::feed::WantedLease;
use crate::fence::{FencedProcess, ProcessId};

/// How long the lease thread may take to take over what it is to guard; it needs microseconds.
const GUARD: Duration = Duration::from_secs(1);

/// Whether nothing lives that another fence may have armed and none guards now; `told` says that the present one was told of
/// all that it is to guard. Where no lease thread can be had this is brought about at once: nothing but being named when this
/// process began, or when the lease thread ended, tells what was armed.
pub(super) async fn is_guarded(
    state: &mut State,
    wanted: Option<&WantedLease>,
    told: bool,
) -> bool {
    let Some(wanted) = wanted else { return true };
    if state.instance.is_none() {
        if !state.disarmed {
            match end_unguarded(&wanted.fenced) {
                Ok(()) => state.disarmed = true,
                Err(error) => note(&mut state.problems, &error),
            }
        }
        return state.disarmed;
    }
    state.disarmed = false;
    let deadline = boottime() + GUARD;
    while !state.is_guarding() {
        if !told {
            return false;
        }
        if boottime() >= deadline {
            let problem = "the lease thread does not take over what it is to guard";
            tracing::warn!(problem, "khavip is hindered");
            state.problems.push(problem.to_owned());
            return false;
        }
        sleep(Duration::from_millis(2)).await;
    }
    true
}

/// Kills these processes, whoever started them.
fn end_unguarded(processes: &BTreeMap<ProcessId, String>) -> Result<(), VipError> {
    for (id, component) in processes {
        let failed = |cause| VipError::Fence {
            component: component.clone(),
            pid: id.pid,
            cause,
        };
        let Some(process) = FencedProcess::open(*id).map_err(failed)? else {
            continue;
        };
        if !process.kill() {
            return Err(failed(io::ErrorKind::PermissionDenied.into()));
        }
        tracing::warn!(
            component,
            pid = id.pid,
            "ended: no lease thread guards it, and others may count on its end"
        );
    }
    Ok(())
}
