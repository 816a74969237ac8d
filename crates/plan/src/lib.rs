//! Pure decisions: (spec, cluster state, host facts, now) -> effects, status and the next
//! wake-up. One file per component; never reads a clock, a file or the network, and keeps no
//! state of its own.
//!
//! [`plan_host`] says what one host has to do for itself, [`plan_cluster`] what the leader has
//! to do for all. Both are level-triggered: they compare what is with what should be, so that
//! an effect which was lost or carried out twice does no harm.

pub mod effect;

mod apiserver;
mod cause;
mod component;
mod controller_manager;
mod cx;
mod digest;
mod etcd;
mod flags;
mod host_plan;
mod khavip;
mod lease_profile;
mod membership;
mod pki;
mod placement;
pub mod preflight;
mod probing;
pub mod problem;
mod process;
mod registry;
mod scheduler;
mod spec_change;
pub mod takeover;

pub use cause::{probable_cause, taken_address};
pub use component::{Component, Plan, Status};
pub use cx::{Cx, Paths};
pub use digest::{digest, feed_digest, sha256_hex};
pub use host_plan::{HostPlan, plan_host};
pub use khavip::{plan_khavip, vip_feed};
pub use lease_profile::{Delay, majority_round_trip};
pub use membership::{
    ClusterCx, LEASE_S_MS, REPORT_FRESH_MS, RaftFacts, Verdict, fence_majority, judge_removal,
    plan_cluster,
};
pub use pki::{LeafPlace, Watched, renewal_s, watched};
pub use placement::{Move, PlacementCx, Steadiness, place};
pub use probing::{ProbeKind, Probing};
pub use process::crash_of;
pub use registry::components;
pub use spec_change::{
    ChangeRefusal, SpecChange, changes_arguments, refuse_weights_of_strangers, spec_changes,
    with_arguments_of,
};
