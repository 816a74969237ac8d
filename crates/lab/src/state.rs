//! What separate runs have to know of a lab: `/run/khactl-lab/<lab>/state.json`.
//!
//! Only what was asked for is written down. What is true at the moment (which host is on, which
//! cuts there are) is always read from the kernel.

use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::{LabError, Result};
use crate::host::Power;
use crate::layout::state_dir;
use crate::name::LabName;
use crate::processes::start_time;
use crate::programs::Programs;
use crate::switch::Cut;

/// The process that a lab must not outlive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Owner {
    pub(crate) pid: u32,
    /// Clock ticks since boot: tells the owner from a later process with its number.
    pub(crate) start_time: u64,
}

impl Owner {
    /// This process.
    pub(crate) fn this_process() -> Option<Self> {
        let pid = std::process::id();
        Some(Self {
            pid,
            start_time: start_time(pid)?,
        })
    }

    /// Does the owner still run?
    pub(crate) fn is_alive(self) -> bool {
        start_time(self.pid) == Some(self.start_time)
    }
}

/// The state file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LabState {
    pub(crate) name: LabName,
    pub(crate) hosts: usize,
    pub(crate) programs: Programs,
    /// None: the lab is kept until somebody takes it down.
    pub(crate) owner: Option<Owner>,
}

impl LabState {
    /// Reads the state of a lab that is up.
    pub(crate) fn read(name: &LabName) -> Result<Self> {
        let path = file_of(name);
        let text = match fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(LabError::NotUp {
                    name: name.to_string(),
                });
            }
            read => read.map_err(LabError::file("read", &path))?,
        };
        serde_json::from_slice(&text).map_err(|source| LabError::State { path, source })
    }

    /// Writes it in one step.
    pub(crate) fn write(&self) -> Result<()> {
        let path = file_of(&self.name);
        let fresh = path.with_extension("new");
        let text = serde_json::to_vec_pretty(self).map_err(|source| LabError::State {
            path: path.clone(),
            source,
        })?;
        fs::write(&fresh, text).map_err(LabError::file("write", &fresh))?;
        fs::rename(&fresh, &path).map_err(LabError::file("name", &path))
    }
}

fn file_of(name: &LabName) -> PathBuf {
    state_dir(name).join("state.json")
}

/// One host, as `khactl lab status` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HostStatus {
    /// `cp1`, … or `client`.
    pub name: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// On, off or paused.
    pub power: Power,
    /// Names of its processes, sorted, without the lab's own.
    pub processes: Vec<String>,
}

/// A lab, as `khactl lab status` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LabStatus {
    /// The lab's name.
    pub name: LabName,
    /// The control-plane hosts in order, then the client.
    pub hosts: Vec<HostStatus>,
    /// Every direction that is cut.
    pub cuts: Vec<Cut>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_with_a_reused_number_is_dead() {
        let owner = Owner::this_process().unwrap();
        assert!(owner.is_alive());
        assert!(
            !Owner {
                start_time: owner.start_time + 1,
                ..owner
            }
            .is_alive()
        );
    }

    #[test]
    fn the_state_file_reads_back_as_it_was_written() {
        let state = LabState {
            name: LabName::new("lab").unwrap(),
            hosts: 3,
            programs: Programs {
                bundle: Some("/b/v1.20.2".into()),
                ..Programs::default()
            },
            owner: Some(Owner {
                pid: 7,
                start_time: 9,
            }),
        };
        let text = serde_json::to_string(&state).unwrap();
        assert_eq!(serde_json::from_str::<LabState>(&text).unwrap(), state);
        assert!(serde_json::from_str::<LabState>(&text.replace("\"lab\"", "\"../x\"")).is_err());
    }
}
