//! The lease thread's hands: everything is prepared when the port is made, so that adding,
//! removing and announcing are one system call each and allocate nothing.

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::net::SendFlags;

use crate::address::announcement::announcement;
use crate::address::hold::Hold;
use crate::address::netlink::{Netlink, Request};
use crate::address::target::Target;
use crate::gate::Gate;
use crate::lease::VipPort;

/// How long the kernel keeps the address without being asked again, in whole seconds: a backstop
/// for a process that died with nobody to clean up after it. It is renewed every half second, so
/// two seconds bear a keeper that is held up for more than one.
pub(crate) const VALID_S: u32 = 2;

/// Carries out on this host what the lease decides.
#[derive(Debug)]
pub struct Port {
    netlink: Netlink,
    installed: Vec<Installed>,
    hold: Arc<Hold>,
    gate: Gate,
}

/// One address with all that it takes.
#[derive(Debug)]
struct Installed {
    add: Request,
    remove: Request,
    address: IpAddr,
    wire: OwnedFd,
}

impl Port {
    /// Prepares everything; touches nothing yet.
    pub fn new(targets: &[Target], hold: Arc<Hold>, gate: Gate) -> io::Result<Self> {
        let installed = targets
            .iter()
            .map(|target| {
                Ok(Installed {
                    add: Request::add(target.index, target.address, VALID_S),
                    remove: Request::remove(target.index, target.address),
                    address: target.address,
                    wire: khactl_sys::packet::frame_socket(target.index)?,
                })
            })
            .collect::<io::Result<_>>()?;
        for (place, target) in targets.iter().enumerate() {
            hold.set_mac(place, target.mac);
        }
        Ok(Self {
            netlink: Netlink::open()?,
            installed,
            hold,
            gate,
        })
    }

    fn install(&mut self) {
        let mut result = Ok(());
        for installed in &self.installed {
            if let Err(error) = self.netlink.carry_out(&installed.add) {
                result = Err(error);
            }
        }
        self.hold.set_add_result(&result);
    }
}

impl VipPort for Port {
    /// The gate first. The deadline is kept for the keeper too, which also mends an address that
    /// somebody else removed: that may have to wait, and this thread must not.
    fn open(&mut self, until_boottime_ns: u64) -> io::Result<()> {
        self.gate.open(until_boottime_ns)?;
        self.hold.set_until(until_boottime_ns);
        Ok(())
    }

    fn add_address(&mut self) {
        self.hold.set_wanted(true);
        self.install();
        self.hold.ring();
    }

    fn remove_address(&mut self) {
        self.hold.set_wanted(false);
        for installed in &self.installed {
            // EADDRNOTAVAIL: it is not there, which is what is wanted.
            let _absent = self.netlink.carry_out(&installed.remove);
        }
        self.hold.ring();
    }

    fn announce(&mut self) {
        for (place, installed) in self.installed.iter().enumerate() {
            let frame = announcement(installed.address, self.hold.mac(place));
            // A full queue or a link that is down: the next of the burst, or the link's return, mends it.
            let _unsent = rustix::net::send(&installed.wire, frame.bytes(), SendFlags::DONTWAIT);
        }
    }
}
