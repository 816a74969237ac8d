//! The leaves: issued when missing, again at two thirds of their life, and when the apiserver's
//! lacks a name that this host is entitled to.

use khactl_model::component::ComponentName;
use khactl_model::facts::LeafFact;
use khactl_model::status::Problem;
use std::net::IpAddr;

use super::stands;
use crate::cx::{Cx, Paths};
use crate::effect::Effect;
use crate::problem;

/// The parts of a life by which hosts come one after another: about 22 hours of a year, so that
/// a mistake in renewing meets one host and not all of them.
const STAGGER_PARTS: i64 = 400;
/// Hosts with one stagger in common; a cluster has at most nine.
const STAGGER_HOSTS: i64 = 9;

/// A leaf and where it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeafPlace {
    /// `khactl_pki::LeafKind`'s name.
    pub leaf: &'static str,
    /// The certificate, 0644.
    pub cert: String,
    /// The key, 0600.
    pub key: String,
    /// The user who owns both; `None`: root.
    pub owner: Option<&'static str>,
}

/// What is to be done about this host's leaves.
pub(super) struct Leaves {
    /// Without these nothing starts.
    pub(super) missing: Vec<Effect>,
    /// Those serve still.
    pub(super) renewals: Vec<Effect>,
    /// When the next one is due.
    pub(super) wake: Option<u64>,
    pub(super) problems: Vec<Problem>,
}

/// Which leaves a host needs.
pub(super) fn places(paths: &Paths, serves_api: bool) -> Vec<LeafPlace> {
    let place = |leaf, folder: &str, file: &str, owner| {
        let folder = paths.pki(folder);
        LeafPlace {
            leaf,
            cert: format!("{folder}/{file}.crt"),
            key: format!("{folder}/{file}.key"),
            owner,
        }
    };
    let of = |name: ComponentName, leaf| place(leaf, name.as_str(), leaf, name.user());
    let etcd = ComponentName::Etcd.user();
    let mut places = vec![
        place("etcd-server", "etcd", "server", etcd),
        place("etcd-peer", "etcd", "peer", etcd),
        place("etcd-client", "khad", "etcd-client", None),
    ];
    if serves_api {
        places.extend([
            of(ComponentName::KubeApiserver, "apiserver"),
            of(ComponentName::KubeApiserver, "apiserver-etcd-client"),
            of(ComponentName::KubeApiserver, "apiserver-kubelet-client"),
            of(ComponentName::KubeApiserver, "front-proxy-client"),
            of(ComponentName::KubeControllerManager, "controller-manager"),
            of(ComponentName::KubeScheduler, "scheduler"),
            place("admin", "khad", "admin", None),
        ]);
    }
    places
}

/// Compares the leaves with those that there should be.
pub(super) fn plan(cx: &Cx<'_>, places: &[LeafPlace]) -> Leaves {
    let mut leaves = Leaves {
        missing: Vec::new(),
        renewals: Vec::new(),
        wake: None,
        problems: Vec::new(),
    };
    for place in places {
        let issue = Effect::IssueCertificate {
            leaf: place.leaf,
            cert: place.cert.clone(),
            key: place.key.clone(),
            owner: place.owner,
        };
        let Some(fact) = present(cx, place) else {
            leaves.missing.push(issue);
            continue;
        };
        if cx.wall_s >= fact.not_after_s {
            leaves.missing.push(issue);
            leaves.problems.push(ended(cx, place));
            continue;
        }
        let due_s = renewal_s(fact.not_before_s, fact.not_after_s, cx.host.id);
        if cx.wall_s >= due_s || (place.leaf == "apiserver" && lacks_a_name(cx, fact)) {
            leaves.renewals.push(issue);
        } else {
            let left_ms = u64::try_from(due_s - cx.wall_s).unwrap_or(0) * 1000;
            let wake = cx.now_ms.saturating_add(left_ms);
            leaves.wake = Some(leaves.wake.map_or(wake, |other| other.min(wake)));
        }
    }
    leaves
}

/// The leaf as it is. One whose key others could read is as good as none: it gets a new key.
fn present<'a>(cx: &Cx<'a>, place: &LeafPlace) -> Option<&'a LeafFact> {
    let sound =
        stands(cx, &place.key, 0o600, place.owner) && stands(cx, &place.cert, 0o644, place.owner);
    cx.facts.leaves.get(place.leaf).filter(|_| sound)
}

/// When a leaf of that host is to be renewed, as its ends in seconds since the Unix epoch: at two thirds of its life, and later
/// from host to host.
pub fn renewal_s(not_before_s: i64, not_after_s: i64, host_id: u64) -> i64 {
    let life_s = not_after_s.saturating_sub(not_before_s).max(0);
    let place = i64::try_from(host_id % STAGGER_HOSTS.unsigned_abs()).unwrap_or(0);
    not_before_s + life_s / 3 * 2 + life_s / STAGGER_PARTS * place
}

/// Whether the apiserver's leaf lacks something that clients may call it by. What never changes
/// for a host, such as `kubernetes.default`, is not looked for.
fn lacks_a_name(cx: &Cx<'_>, fact: &LeafFact) -> bool {
    let has = |wanted: &str| fact.sans.iter().any(|san| same_name(san, wanted));
    let vips = cx
        .spec
        .vip
        .addresses
        .iter()
        .map(|vip| vip.address().to_string());
    let service = cx.spec.network.first_service_address();
    let extra = cx.spec.control_plane.api_server.extra_sans.iter().cloned();
    let mut wanted = vips.chain(extra).chain([
        cx.host.name.clone(),
        cx.host.address.to_string(),
        service.to_string(),
    ]);
    wanted.any(|name| !has(&name))
}

/// Addresses have many spellings, and the case of a name says nothing.
fn same_name(one: &str, other: &str) -> bool {
    match (one.parse::<IpAddr>(), other.parse::<IpAddr>()) {
        (Ok(one), Ok(other)) => one == other,
        _ => one.eq_ignore_ascii_case(other),
    }
}

fn ended(cx: &Cx<'_>, place: &LeafPlace) -> Problem {
    let name = &cx.host.name;
    Problem {
        code: problem::CERTIFICATE_ENDED.to_owned(),
        host: name.clone(),
        text: format!(
            "the certificate {} of {name} has ended: {}",
            place.leaf, place.cert
        ),
        advice: format!(
            "it is renewed as soon as there is a leader; if it stays, look at the clock of {name} \
             and at `khactl status` on another host"
        ),
    }
}
