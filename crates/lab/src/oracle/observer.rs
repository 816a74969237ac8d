//! A machine on the switch that asks every host for the VIP, over and over, whether it holds it or not.

use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use khactl_sys::clock;
use rustix::net::SendFlags;

use super::question::{Asker, questions};
use super::sighting::{Mac, mac_of};
use crate::error::{LabError, Result};
use crate::lab::Lab;
use crate::layout::{HostLayout, observer_of};
use crate::switch::Switch;
use crate::tool;

/// Between two rounds of questions.
pub const ASK_EVERY: Duration = Duration::from_millis(4);

/// Who has not answered for so long has stopped answering: six rounds.
pub const SILENT_AFTER: Duration = Duration::from_millis(25);

/// The observer's place on the switch. Dropped, it is gone.
#[derive(Debug)]
pub(super) struct Observer {
    layout: HostLayout,
    switch: Switch,
    asker: Asker,
}

impl Observer {
    /// Plugs it in. What an earlier one left is removed first.
    pub(super) fn plug_in(lab: &Lab) -> Result<Self> {
        let layout = observer_of(lab.name());
        let mac = mac_of(&layout.mac).ok_or_else(|| LabError::Oracle {
            failure: format!("{} is no hardware address", layout.mac),
        })?;
        let observer = Self {
            asker: Asker {
                mac,
                address: layout.address,
                address6: link_local(mac),
            },
            switch: lab.switch().clone(),
            layout,
        };
        observer.remove();
        tool::run("ip", &["netns", "add", &observer.layout.netns])?;
        observer.switch.plug(&observer.layout)?;
        Ok(observer)
    }

    pub(super) fn netns_file(&self) -> PathBuf {
        self.layout.netns_file()
    }

    /// One round: every machine is asked for every VIP.
    pub(super) fn questions(&self, machines: &[Mac], vips: &[IpAddr]) -> Vec<Vec<u8>> {
        let of = |machine: &Mac| {
            let machine = *machine;
            vips.iter()
                .flat_map(move |vip| questions(&self.asker, machine, *vip))
        };
        machines.iter().flat_map(of).collect()
    }

    fn remove(&self) {
        // Most often there is nothing to remove; what there is goes with the lab at the latest.
        let _ = self.switch.unplug(&self.layout.name);
        let _ = tool::run("ip", &["netns", "del", &self.layout.netns]);
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Asks one round, and rests until it is time for the next.
pub(super) fn ask(socket: &OwnedFd, questions: &[Vec<u8>]) -> io::Result<()> {
    let next = clock::monotonic() + ASK_EVERY;
    for question in questions {
        match rustix::net::send(socket, question, SendFlags::DONTWAIT) {
            // A queue that is full has questions enough in it.
            Ok(_) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::NOBUFS) => {}
            Err(error) => return Err(error.into()),
        }
    }
    thread::sleep(next.saturating_sub(clock::monotonic()));
    Ok(())
}

/// The address that the kernel gives an interface of this MAC (RFC 4291, appendix A).
fn link_local(mac: Mac) -> Ipv6Addr {
    let mut address = [0; 16];
    address[..2].copy_from_slice(&[0xfe, 0x80]);
    address[8..11].copy_from_slice(&mac.0[..3]);
    address[8] ^= 2;
    address[11..13].copy_from_slice(&[0xff, 0xfe]);
    address[13..].copy_from_slice(&mac.0[3..]);
    Ipv6Addr::from(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_local_address_is_the_kernels() {
        let mac = Mac([2, 0x6b, 0x68, 0, 0, 0x0b]);
        assert_eq!(link_local(mac).to_string(), "fe80::6b:68ff:fe00:b");
    }
}
