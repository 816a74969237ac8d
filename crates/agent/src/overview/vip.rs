//! What the status says of the VIP: how its holder is enforced, whether the hosts bear the lease, and why a host does
//! not hold it.

use khactl_model::facts::{HostReport, VipFact};
use khactl_model::spec::Profile;
use khactl_model::state::{ClusterState, Host};
use khactl_model::status::Problem;
use khactl_plan::Delay;

use super::{SILENT_MS, View};

/// A host's own words.
pub(super) fn standing(vip: &VipFact) -> String {
    if vip.holding {
        "holds".to_owned()
    } else {
        vip.reason.clone()
    }
}

/// The kernel's part on every host that tells.
pub(super) fn fencing(view: &View<'_>) -> String {
    let gates: Vec<_> = fresh(view)
        .filter(|(_, vip)| !vip.gate.kind.is_empty())
        .collect();
    let weaker = |kind: &str| -> Vec<String> {
        gates
            .iter()
            .filter(|(_, vip)| vip.gate.kind == kind)
            .map(|(id, _)| name(view.state, *id))
            .collect()
    };
    let (nft, none) = (weaker("nft"), weaker("none"));
    let mut words = match gates.len() - nft.len() - none.len() {
        0 => Vec::new(),
        _ => vec!["kernel gate".to_owned()],
    };
    if !nft.is_empty() {
        words.push(format!("nftables' timeout on {}", nft.join(", ")));
    }
    if !none.is_empty() {
        words.push(format!("weak on {}", none.join(", ")));
    }
    words.join("; ")
}

/// The quickest profile that every host bears that tells.
pub(super) fn bears(view: &View<'_>) -> String {
    let delays: Vec<_> = fresh(view).filter_map(|(_, vip)| Delay::of(vip)).collect();
    let all = |profile: &Profile| delays.iter().all(|delay| delay.bears(profile.lease_ms()));
    [Profile::Fast, Profile::Lan, Profile::Wan]
        .into_iter()
        .find(|profile| !delays.is_empty() && all(profile))
        .map(|profile| profile.name().to_owned())
        .unwrap_or_default()
}

/// What weakens the VIP on a host.
pub(super) fn problems(view: &View<'_>, host: &Host, report: &HostReport) -> Vec<Problem> {
    let Some(vip) = &report.vip else {
        return Vec::new();
    };
    let mut problems = Vec::new();
    if vip.gate.kind == "none" {
        problems.push(Problem {
            code: "KHA3004".into(),
            host: host.name.clone(),
            text: format!(
                "fencing is weak: no gate of the kernel holds the VIP's packets back: {}",
                vip.gate.reason
            ),
            advice: "a khavip that stands still keeps the VIP until the address' lifetime ends; mend what is \
                     named, or install nftables"
                .into(),
        });
    }
    let delay = Delay::of(vip).filter(|delay| view.lease_ms > 0 && !delay.bears(view.lease_ms));
    if let Some(delay) = delay {
        let bears = delay
            .profile()
            .map_or("no profile".to_owned(), |p| format!("profile {}", p.name()));
        problems.push(Problem {
            code: "KHA3005".into(),
            host: host.name.clone(),
            text: format!(
                "a lease of {} ms is too short here: a majority answers within {} and the lease thread wakes up \
                 {} late at the worst; it bears {bears}",
                view.lease_ms,
                millis(delay.round_trip_us),
                millis(delay.lateness_us)
            ),
            advice: "see what delays the host or its network, or take the slower profile: `khactl config apply -f \
                     cluster.yaml`"
                .into(),
        });
    }
    problems
}

fn fresh<'a>(view: &View<'a>) -> impl Iterator<Item = (u64, &'a VipFact)> {
    view.reports
        .values()
        .filter(|(_, age)| *age < SILENT_MS)
        .filter_map(|(report, _)| Some((report.host_id, report.vip.as_ref()?)))
}

fn name(state: &ClusterState, id: u64) -> String {
    state
        .host_by_id(id)
        .map_or_else(|| format!("host {id}"), |host| host.name.clone())
}

fn millis(us: u32) -> String {
    format!("{}.{} ms", us / 1_000, us % 1_000 / 100)
}
