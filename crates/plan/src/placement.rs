//! Which host should hold the VIP, where the one that holds it should give it up: fitness, then preference. Decided by
//! the leader from the hosts' reports, carried out as a hand-over (docs/lease.md, P9); who takes a VIP that nobody holds is
//! the lease's own matter.
//!
//! ```text
//! the holder leaves,   another has been fit for 1 s                         -> to the most preferred of these
//! the holder is fit,   failback is off, or nobody preferred to it is steady -> it stays
//! the holder is fit,   one preferred to it has been fit for 10 s            -> to that one
//! the holder is unfit, another has been fit for 1 s                         -> to the most preferred of these
//! the holder is unfit, nobody is fit                                        -> it stays
//! ```
//!
//! A host that was fit and ceased to be has to be fit for twice as long the next time: what toggles gets the VIP ever
//! more rarely. It never moves the VIP to a host that does not answer.

use khactl_model::facts::{HostReport, VipFact};
use khactl_model::spec::ValidSpec;
use khactl_model::state::{ClusterState, Host, Role};
use std::collections::BTreeMap;

/// Two reports may be lost; a host that is silent for longer takes nothing over.
const HEARD_MS: u64 = 2_500;
/// How long a preferred host has been fit before it takes the VIP back. A control plane that has just started is busy.
const FAILBACK_MS: u64 = 10_000;
/// How long another one has been fit before it relieves a holder that cannot serve: longer than the holder's own
/// checks need to fail and recover.
const RELIEF_MS: u64 = 1_000;
/// The holder has been unfit for so long: two checks of a backend at the usual pace.
const UNFIT_MS: u64 = 1_000;
/// Falls beyond these lengthen nothing more: 10 s * 2^5 is more than five minutes.
const FALLS_MAX: u32 = 5;
/// A host that has been fit for so long is as good as one that never fell.
const FORGIVEN_MS: u64 = 600_000;
/// Between two hand-overs at the least, for reports to tell of the first.
const SETTLE_MS: u64 = 5_000;

/// Since when each host is fit or is not, as one leader saw it; a new one begins afresh.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Steadiness {
    hosts: BTreeMap<u64, Steady>,
    moved_ms: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Steady {
    fit: bool,
    since_ms: u64,
    falls: u32,
}

/// What the decision is made from.
#[derive(Debug, Clone, Copy)]
pub struct PlacementCx<'a> {
    /// The spec in force.
    pub spec: &'a ValidSpec,
    /// The cluster state as the leader has applied it.
    pub state: &'a ClusterState,
    /// The newest report of each host by its id, with its age in milliseconds, the leader's own included.
    pub reports: &'a BTreeMap<u64, (HostReport, u64)>,
    /// Updated with the same reports.
    pub steadiness: &'a Steadiness,
    /// Milliseconds of CLOCK_BOOTTIME.
    pub now_ms: u64,
}

/// A hand-over that should be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// The holder's id.
    pub from: u64,
    /// The successor's id.
    pub to: u64,
    /// For people.
    pub why: String,
}

impl Steadiness {
    /// Takes the newest reports in.
    pub fn observe(
        &mut self,
        state: &ClusterState,
        reports: &BTreeMap<u64, (HostReport, u64)>,
        now_ms: u64,
    ) {
        self.hosts.retain(|id, _| state.lease.members.contains(id));
        for &id in &state.lease.members {
            let fit = heard(reports, id).is_some_and(|vip| vip.fit && vip.ready);
            let fresh = Steady {
                fit,
                since_ms: now_ms,
                falls: 0,
            };
            let host = self.hosts.entry(id).or_insert(fresh);
            if host.fit == fit {
                let long = now_ms.saturating_sub(host.since_ms) >= FORGIVEN_MS;
                if fit && long {
                    host.falls = 0;
                }
                continue;
            }
            let falls = host.falls + u32::from(!fit);
            *host = Steady { falls, ..fresh };
        }
    }

    /// A hand-over was made.
    pub fn moved(&mut self, now_ms: u64) {
        self.moved_ms = Some(now_ms);
    }

    fn fit_for(&self, id: u64, now_ms: u64, least_ms: u64) -> bool {
        self.hosts.get(&id).is_some_and(|host| {
            let least_ms = least_ms << host.falls.min(FALLS_MAX);
            host.fit && now_ms.saturating_sub(host.since_ms) >= least_ms
        })
    }

    fn unfit_for(&self, id: u64, now_ms: u64, least_ms: u64) -> bool {
        self.hosts
            .get(&id)
            .is_some_and(|host| !host.fit && now_ms.saturating_sub(host.since_ms) >= least_ms)
    }

    fn settled(&self, now_ms: u64) -> bool {
        self.moved_ms
            .is_none_or(|moved_ms| now_ms.saturating_sub(moved_ms) >= SETTLE_MS)
    }
}

/// The hand-over that should be made now, if one should.
pub fn place(cx: &PlacementCx<'_>) -> Option<Move> {
    if !cx.steadiness.settled(cx.now_ms) {
        return None;
    }
    let holder = holder(cx)?;
    let mut others: Vec<&Host> = cx
        .state
        .lease
        .members
        .iter()
        .filter_map(|id| cx.state.host_by_id(*id))
        .filter(|host| host.id != holder.id && host.role == Role::ControlPlane)
        .filter(|host| host.removal.is_none())
        .collect();
    others.sort_by_key(|host| (preference(cx.spec, host), host.id));
    let after = |least_ms: u64, eligible: &dyn Fn(&Host) -> bool| {
        others
            .iter()
            .find(|host| eligible(host) && cx.steadiness.fit_for(host.id, cx.now_ms, least_ms))
            .copied()
    };
    if holder.removal.is_some() {
        let to = after(RELIEF_MS, &|_| true)?;
        let why = format!("{} leaves the cluster", holder.name);
        return Some(Move {
            from: holder.id,
            to: to.id,
            why,
        });
    }
    if cx.steadiness.unfit_for(holder.id, cx.now_ms, UNFIT_MS) {
        let to = after(RELIEF_MS, &|_| true)?;
        let why = format!("{} cannot serve, and {} can", holder.name, to.name);
        return Some(Move {
            from: holder.id,
            to: to.id,
            why,
        });
    }
    let own = preference(cx.spec, holder);
    let preferred = |host: &Host| preference(cx.spec, host) < own;
    let to = if cx.spec.vip.failback {
        after(FAILBACK_MS, &preferred)?
    } else {
        return None;
    };
    let why = format!(
        "{} is preferred to {} and steady again",
        to.name, holder.name
    );
    Some(Move {
        from: holder.id,
        to: to.id,
        why,
    })
}

/// The one host that says of itself that it holds. While two reports say so, one of them is older than the last move.
fn holder<'a>(cx: &PlacementCx<'a>) -> Option<&'a Host> {
    let mut holding = cx
        .state
        .lease
        .members
        .iter()
        .filter(|id| heard(cx.reports, **id).is_some_and(|vip| vip.holding));
    let one = holding.next()?;
    if holding.next().is_some() {
        return None;
    }
    cx.state.host_by_id(*one)
}

fn heard(reports: &BTreeMap<u64, (HostReport, u64)>, id: u64) -> Option<&VipFact> {
    let (report, age_ms) = reports.get(&id)?;
    report.vip.as_ref().filter(|_| *age_ms <= HEARD_MS)
}

/// The host's place in the spec's list; behind all of them where it is not named.
pub(crate) fn preference(spec: &ValidSpec, host: &Host) -> u8 {
    let place = spec
        .vip
        .preference
        .iter()
        .position(|name| *name == host.name);
    place.map_or(u8::MAX, |place| {
        u8::try_from(place).map_or(u8::MAX - 1, |place| place.min(u8::MAX - 1))
    })
}
