//! Everything that status tells, gathered at one moment, and what of it is a problem, in words for people.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use khactl_balancer::BalancerStatus;
use rustix::fs::statfs;

use super::Control;
use crate::address::Netlink;
use crate::error::chain;
use crate::fence::ProcessId;
use crate::gate::GateStatus;
use crate::instance::Instance;
use crate::lease::LeaseStatus;
use crate::reason::Situation;

/// Everything that status tells, read at one moment.
pub struct Snapshot {
    /// Whether khad has fed this process, and with what (SHA-256 of the feed).
    pub digest: Option<Vec<u8>>,
    /// The lease, if it runs.
    pub lease: Option<LeaseStatus>,
    /// What was last told to the lease about serving.
    pub fit: bool,
    /// Why this host does not hold the VIP; empty if it does.
    pub reason: String,
    /// Names of the lease's members.
    pub names: BTreeMap<u64, String>,
    /// What the fenced processes are called.
    pub fenced: BTreeMap<ProcessId, String>,
    /// Per VIP: where it belongs, whether there is carrier, whether it stands there.
    pub addresses: Vec<AddressSnapshot>,
    /// The gate; none while there is no lease, or no interface for the VIP.
    pub gate: Option<GateStatus>,
    /// The balancer.
    pub balancer: BalancerStatus,
    /// What hinders, in words for the operator.
    pub problems: Vec<String>,
}

/// One VIP on this host.
pub struct AddressSnapshot {
    /// The address.
    pub address: IpAddr,
    /// Its interface; none while no interface fits.
    pub interface: Option<String>,
    /// The interface is up and has carrier.
    pub carrier: bool,
    /// The kernel has the address now.
    pub present: bool,
}

impl Control {
    /// What there is to tell.
    pub async fn snapshot(&self) -> Snapshot {
        let state = self.state.lock().await;
        let balancer = self.balancer.status();
        let mut problems = state.problems.clone();
        problems.extend(balancer.problems.iter().cloned());
        let present = Netlink::open().and_then(|mut netlink| netlink.addresses());
        if let Err(error) = &present {
            problems.push(format!("addresses cannot be listed: {error}"));
        }
        let present = present.unwrap_or_default();
        let instance = state.instance.as_ref();
        if let Some(error) = instance.and_then(Instance::add_problem) {
            problems.push(chain(&error));
        }
        let lease = instance.map(Instance::status);
        if let Some(lease) = &lease {
            if let Some(refused) = &lease.refused_feed {
                problems.push(format!("the lease refuses what it was fed: {refused}"));
            }
            if let Some(problem) = on_disk(&self.run_dir) {
                problems.push(problem);
            }
            for denied in &lease.denied {
                problems.push(format!("the lease may be held up by other work: {denied}"));
            }
        }
        if let Some(instance) = instance {
            let conflicts = instance.observed().borrow().conflicts();
            problems.extend(conflicts.into_iter().map(|conflict| {
                format!("{conflict}, which is none of the cluster's hosts: take it away there, or choose another VIP")
            }));
        }
        let without_carrier = instance
            .map(|instance| instance.observed().borrow().without_carrier.clone())
            .unwrap_or_default();
        let addresses: Vec<AddressSnapshot> = state
            .wanted
            .iter()
            .flat_map(|wanted| &wanted.vips)
            .map(|vip| {
                let target = instance.and_then(|instance| {
                    let mut targets = instance.purpose.targets.iter();
                    targets.find(|target| target.address == vip.address)
                });
                AddressSnapshot {
                    address: vip.address,
                    interface: target.map(|target| target.interface.clone()),
                    carrier: target.is_some_and(|t| !without_carrier.contains(&t.index)),
                    present: present.iter().any(|found| found.address == vip.address),
                }
            })
            .collect();
        for address in addresses.iter().filter(|address| !address.carrier) {
            if let Some(interface) = &address.interface {
                problems.push(format!("{interface}, the VIP's interface, has no carrier"));
            }
        }
        let wanted = state
            .wanted
            .as_ref()
            .and_then(|wanted| wanted.lease.as_ref());
        let situation = Situation {
            fed: state.wanted.is_some(),
            wanted,
            lease: lease.as_ref(),
            unfit: &state.unfit,
        };
        Snapshot {
            digest: state.wanted.as_ref().map(|_| state.digest.clone()),
            reason: situation.reason(),
            names: wanted
                .map(|wanted| wanted.names.clone())
                .unwrap_or_default(),
            fenced: wanted
                .map(|wanted| wanted.fenced.clone())
                .unwrap_or_default(),
            lease,
            fit: instance.is_some_and(Instance::is_fit),
            addresses,
            gate: instance
                .filter(|instance| !instance.purpose.targets.is_empty())
                .map(|instance| instance.gate().status().clone()),
            balancer,
            problems,
        }
    }
}

/// The lease's record is written before every answer, and no disk is that quick.
fn on_disk(run_dir: &Path) -> Option<String> {
    /// `TMPFS_MAGIC` and `RAMFS_MAGIC` of linux/magic.h.
    const IN_MEMORY: [i64; 2] = [0x0102_1994, 0x8584_58f6];
    let found = statfs(run_dir).ok()?;
    (!IN_MEMORY.contains(&found.f_type)).then(|| {
        format!(
            "{} is not on tmpfs: the lease waits for a disk, and its record may outlive a restart of the machine",
            run_dir.display()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_folder_that_is_not_in_memory_is_a_problem() {
        assert_eq!(on_disk(Path::new("/dev/shm")), None);
        let problem = on_disk(Path::new("/proc")).expect("no tmpfs");
        assert!(problem.starts_with("/proc is not on tmpfs"), "{problem}");
    }
}
