//! Looking from inside a lab host without a process of its own there.

use std::fs::File;
use std::os::fd::AsFd;

use anyhow::Context;
use khactl_lab::LabHost;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The network of a host that was on when this was made.
#[derive(Debug)]
pub struct HostNetwork {
    namespace: File,
}

impl HostNetwork {
    /// Of this host.
    pub fn of(host: &LabHost) -> anyhow::Result<Self> {
        // `/proc/PID/root`, of the host's first process.
        let path = host.root_dir()?.with_file_name("ns").join("net");
        let namespace =
            File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        Ok(Self { namespace })
    }

    /// Moves the calling thread into it, for good.
    pub fn enter(&self) -> anyhow::Result<()> {
        move_into_link_name_space(self.namespace.as_fd(), Some(LinkNameSpaceType::Network))
            .context("cannot look from inside a lab host")
    }
}
