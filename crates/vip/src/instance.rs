//! One run of the lease with the address that goes with it: they are made together, since the
//! lease thread's port is prepared for one set of addresses, and are replaced together.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::address::{Acquaintance, Hold, Keeper, Observed, Port, Target};
use crate::error::{VipError, chain};
use crate::feed::WantedLease;
use crate::fence::{FencedProcess, ProcessId};
use crate::gate::GateWatch;
use crate::lease::{self, Farewell, Judge, LeaseConfig, LeaseHandle, LeaseStatus};

/// How long a hand-over may take before the thread is ended without one. A release is one
/// datagram; this leaves room for a thread without real-time priority on a busy machine.
const SHUTDOWN: Duration = Duration::from_secs(2);

/// What an instance was made for; if it changes, so does the instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Purpose {
    pub(crate) cluster: [u8; 16],
    pub(crate) host_id: u64,
    pub(crate) bind: SocketAddr,
    pub(crate) targets: Vec<Target>,
}

impl Purpose {
    /// The VIP, one of each family at the most.
    pub(crate) fn addresses(&self) -> Vec<IpAddr> {
        self.targets.iter().map(|target| target.address).collect()
    }

    /// The same where the VIP belongs now. Where no place was found it stays at the one of before, if the VIP is the same: an
    /// address that went comes back as a rule, and without the lease there would be no fence meanwhile.
    pub(crate) fn placed(
        self,
        found: Option<Vec<Target>>,
        vips: &[IpAddr],
        before: Option<&Self>,
    ) -> Self {
        let of_before = || {
            let lease = |purpose: &Self| (purpose.cluster, purpose.host_id, purpose.bind);
            let same = before.filter(|before| lease(before) == lease(&self))?;
            let mut targets = same.targets.iter();
            let wanted = targets.all(|target| vips.contains(&target.address));
            wanted.then(|| same.targets.clone())
        };
        let targets = found.or_else(of_before).unwrap_or_default();
        Self { targets, ..self }
    }
}

/// The running lease.
pub(crate) struct Instance {
    pub(crate) purpose: Purpose,
    /// The VIP's network is on no interface; it may be so for a moment only.
    pub(crate) displaced: bool,
    lease: LeaseHandle,
    keeper: Keeper,
    hold: Arc<Hold>,
    gate: GateWatch,
    fit: bool,
    /// What was last told to the fence; none before.
    fenced: Option<BTreeSet<ProcessId>>,
}

impl Instance {
    pub(crate) fn start(
        purpose: Purpose,
        run_dir: &Path,
        boot_id: [u8; 16],
    ) -> Result<Self, VipError> {
        let netlink = |cause| VipError::Netlink {
            doing: "preparing the VIP's address",
            cause,
        };
        let hold = Arc::new(Hold::new().map_err(netlink)?);
        // Closed, and there before the address can be.
        let (watch, gate) = GateWatch::stand(
            purpose
                .targets
                .iter()
                .map(|target| (target.index, target.interface.clone()))
                .collect(),
            purpose.addresses(),
        );
        let port = Port::new(&purpose.targets, hold.clone(), gate).map_err(netlink)?;
        let config = LeaseConfig {
            host_id: purpose.host_id,
            bind: purpose.bind,
            cluster: purpose.cluster,
            record: record(run_dir),
            boot_id,
        };
        let lease = lease::spawn(config, Box::new(port)).map_err(|cause| VipError::Lease {
            bind: purpose.bind,
            cause,
        })?;
        // The address of an instance before this one is gone by now, hence its gate may go too.
        if let Err(error) = watch.sweep() {
            tracing::warn!("{}", chain(&error));
        }
        let keeper = Keeper::start(purpose.targets.clone(), hold.clone(), lease.announcer())
            .map_err(netlink)?;
        Ok(Self {
            purpose,
            displaced: false,
            lease,
            keeper,
            hold,
            gate: watch,
            fit: false,
            fenced: None,
        })
    }

    pub(crate) fn feed(&self, wanted: &WantedLease) {
        self.lease.feed(wanted.feed.clone());
        let others = wanted
            .feed
            .members
            .iter()
            .filter(|m| m.id != wanted.host_id);
        self.keeper.meet(Acquaintance {
            bind: wanted.bind,
            members: others.map(|m| (m.id, m.address.ip())).collect(),
            judge: Judge::new(&wanted.feed.key, wanted.cluster, wanted.host_id),
        });
    }

    /// Tells the fence which processes to end when no majority answers; one that has ended already is none of them. Only a
    /// change is told. The first time it is told all or nothing: what is missing then would pass for never armed later.
    pub(crate) fn fence(&mut self, wanted: &WantedLease) -> Result<(), VipError> {
        let ids: BTreeSet<ProcessId> = wanted.fenced.keys().copied().collect();
        if self.fenced.as_ref() == Some(&ids) {
            return Ok(());
        }
        let mut processes = Vec::with_capacity(ids.len());
        let mut failure = None;
        for (id, component) in &wanted.fenced {
            match FencedProcess::open(*id) {
                Ok(process) => processes.extend(process),
                Err(cause) => {
                    failure = Some(VipError::Fence {
                        component: component.clone(),
                        pid: id.pid,
                        cause,
                    });
                }
            }
        }
        if let Some(failure) = failure.take_if(|_| !self.is_guarding()) {
            return Err(failure);
        }
        self.lease.fence(processes.into());
        // Told again, if one could not be opened.
        self.fenced = failure.is_none().then_some(ids);
        failure.map_or(Ok(()), Err)
    }

    /// The fence has taken over what it was first told, and has killed what was overdue of it.
    pub(crate) fn is_guarding(&self) -> bool {
        self.lease.status().fencing.guarding
    }

    /// Tells the lease whether this host can serve. Only a change is told.
    pub(crate) fn set_fit(&mut self, unfit: &[String]) {
        let fit = unfit.is_empty();
        if self.fit != fit {
            self.fit = fit;
            tracing::info!(
                fit,
                reason = unfit.join("; "),
                "whether this host can serve has changed"
            );
            self.lease.fit(fit);
        }
    }

    pub(crate) fn is_fit(&self) -> bool {
        self.fit
    }

    /// To be taken before a hand-over or [`Self::shutdown`], which waits a moment for its end.
    pub(crate) fn farewell(&self) -> Farewell {
        self.lease.farewell()
    }

    pub(crate) fn hand_over(&self, successor: Option<u64>) {
        self.lease.hand_over(successor);
    }

    pub(crate) fn status(&self) -> LeaseStatus {
        self.lease.status()
    }

    pub(crate) fn observed(&self) -> watch::Receiver<Observed> {
        self.keeper.observed()
    }

    /// What keeps this host silent while it does not hold.
    pub(crate) fn gate(&self) -> &GateWatch {
        &self.gate
    }

    /// The address stands here by the lease's will.
    pub(crate) fn is_address_wanted(&self) -> bool {
        self.hold.is_wanted()
    }

    /// What went wrong when the address was last added.
    pub(crate) fn add_problem(&self) -> Option<VipError> {
        let cause = self.hold.add_error()?;
        let address = self.purpose.targets.first()?.address;
        Some(VipError::Add { address, cause })
    }

    /// Hands the lease over (rule P9) and ends the threads. Waits for both.
    pub(crate) fn shutdown(self) {
        if !self.lease.shutdown(SHUTDOWN) {
            tracing::warn!("the lease thread did not end in time; the VIP ends with its lifetime");
        }
        drop(self.keeper);
    }
}

/// Where the lease keeps its record: on tmpfs, as the run folder is.
pub(crate) fn record(run_dir: &Path) -> PathBuf {
    run_dir.join("lease.record")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn purpose(port: u16, targets: &[Target]) -> Purpose {
        Purpose {
            cluster: [7; 16],
            host_id: 1,
            bind: SocketAddr::from(([10, 99, 0, 11], port)),
            targets: targets.to_vec(),
        }
    }

    #[test]
    fn a_lease_whose_place_is_not_found_stays_where_it_was_unless_it_is_another_one() {
        let target = |index| Target {
            address: IpAddr::from([10, 99, 0, 100]),
            index,
            interface: "eth0".to_owned(),
            mac: [2; 6],
        };
        let (vips, before) = ([target(7).address], purpose(9443, &[target(7)]));
        let at = |port, found: Option<Vec<Target>>, vips: &[IpAddr], before: Option<&Purpose>| {
            purpose(port, &[]).placed(found, vips, before)
        };
        assert_eq!(at(9443, None, &vips, Some(&before)), before);
        let elsewhere = Some(vec![target(8)]);
        assert_eq!(
            at(9443, elsewhere, &vips, Some(&before)),
            purpose(9443, &[target(8)])
        );
        assert_eq!(at(9443, None, &vips, None), purpose(9443, &[]));
        assert_eq!(at(9444, None, &vips, Some(&before)), purpose(9444, &[]));
        let other = [IpAddr::from([10, 99, 0, 101])];
        assert_eq!(at(9443, None, &other, Some(&before)), purpose(9443, &[]));
    }
}
