//! `leaderElection` of kube-controller-manager and kube-scheduler: Kubernetes' names, and its rules between the times.

use serde::{Serialize, Serializer};

use super::fields::{Fields, Reader, Refusal, Scalar};
use super::problem::Code;

/// The arguments that `leaderElection` renders.
const ARGUMENTS: [(&str, &str); 3] = [
    ("leaseDuration", "leader-elect-lease-duration"),
    ("renewDeadline", "leader-elect-renew-deadline"),
    ("retryPeriod", "leader-elect-retry-period"),
];

/// How long who leads, and how soon another one does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LeaderElection {
    /// A leader that has not renewed its Lease for so long is replaced; in milliseconds.
    #[serde(rename = "leaseDuration", serialize_with = "duration")]
    pub lease_duration_ms: u32,
    /// A leader that could not renew it for so long ends; in milliseconds.
    #[serde(rename = "renewDeadline", serialize_with = "duration")]
    pub renew_deadline_ms: u32,
    /// Between two tries to renew it; the others try to get it after one to 2.2 of these. In milliseconds.
    #[serde(rename = "retryPeriod", serialize_with = "duration")]
    pub retry_period_ms: u32,
}

impl Default for LeaderElection {
    /// Kubernetes' own but for the last: a Lease that is free is taken within 1.1 s instead of 4.4 s. It costs the leader
    /// two writes in a second instead of one in two.
    fn default() -> Self {
        Self {
            lease_duration_ms: 15_000,
            renew_deadline_ms: 10_000,
            retry_period_ms: 500,
        }
    }
}

/// A time as Kubernetes writes it: `15s`, `500ms`.
pub fn duration_text(ms: u32) -> String {
    if ms.is_multiple_of(1_000) {
        format!("{}s", ms / 1_000)
    } else {
        format!("{ms}ms")
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes every field by reference"
)]
fn duration<S: Serializer>(ms: &u32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&duration_text(*ms))
}

/// `leaderElection` below `parent`; `None` if it is the default.
pub(crate) fn leader_election(r: &mut Reader, parent: &Fields<'_>) -> Option<LeaderElection> {
    let names = ARGUMENTS.map(|(name, _)| name);
    let section = r.section(parent, "leaderElection", &names);
    let default = LeaderElection::default();
    let read = LeaderElection {
        // The Lease holds whole seconds, one at the least.
        lease_duration_ms: r.value(
            &section,
            "leaseDuration",
            default.lease_duration_ms,
            time(1_000),
        ),
        renew_deadline_ms: r.value(
            &section,
            "renewDeadline",
            default.renew_deadline_ms,
            time(200),
        ),
        retry_period_ms: r.value(&section, "retryPeriod", default.retry_period_ms, time(100)),
    };
    order(r, &section, &read);
    (read != default).then_some(read)
}

/// What the components check themselves before they start.
fn order(r: &mut Reader, section: &Fields<'_>, read: &LeaderElection) {
    let [lease, deadline, retry] = ARGUMENTS.map(|(name, _)| section.path(name));
    let (lease_ms, deadline_ms) = (read.lease_duration_ms, read.renew_deadline_ms);
    if lease_ms <= deadline_ms && !r.is_broken(&lease) && !r.is_broken(&deadline) {
        r.problem(
            &deadline,
            Code::TimingOrder,
            format!(
                "renewDeadline is {}, and leaseDuration {}: another would lead while this leader still tries",
                duration_text(deadline_ms),
                duration_text(lease_ms)
            ),
            "Write a shorter renewDeadline, or a longer leaseDuration.",
        );
    }
    // 1.2 is the jitter of the tries.
    let jittered_ms = u64::from(read.retry_period_ms) * 12 / 10;
    if u64::from(deadline_ms) <= jittered_ms && !r.is_broken(&deadline) && !r.is_broken(&retry) {
        r.problem(
            &retry,
            Code::TimingOrder,
            format!(
                "retryPeriod is {}, and 1.2 of it must be less than renewDeadline, {}",
                duration_text(read.retry_period_ms),
                duration_text(deadline_ms)
            ),
            "Write a shorter retryPeriod, or a longer renewDeadline.",
        );
    }
}

/// What the arguments of such a component cannot be.
pub(crate) fn check_arguments(
    r: &mut Reader,
    component: &Fields<'_>,
    argument: impl Fn(&str) -> Option<String>,
) {
    let off = component.path("extraArgs.leader-elect");
    if argument("leader-elect").is_some_and(|value| value != "true") {
        r.problem(
            &off,
            Code::Exclusive,
            "leader-elect is not true, and every host runs one: all of them would act",
            "Remove it.",
        );
    }
    if !component.has("leaderElection") {
        return;
    }
    for (name, flag) in ARGUMENTS {
        if argument(flag).is_some() {
            r.problem(
                &component.path(&format!("extraArgs.{flag}")),
                Code::Exclusive,
                format!("{flag} is given, and so is leaderElection"),
                format!("Write it as leaderElection.{name}."),
            );
        }
    }
}

/// Reads `15s` or `500ms`; ten minutes at the most.
fn time(low_ms: u32) -> impl Fn(Scalar<'_>) -> Result<u32, Refusal> {
    const HIGH_MS: u32 = 600_000;
    move |scalar| {
        let range = format!(
            "a time of {} to {}",
            duration_text(low_ms),
            duration_text(HIGH_MS)
        );
        let cure = format!("Write {range}, for example 15s or 500ms.");
        let (digits, unit_ms) = match scalar.text.strip_suffix("ms") {
            Some(digits) => (digits, 1),
            None => (scalar.text.strip_suffix('s').unwrap_or(""), 1_000),
        };
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Refusal::malformed("is not a time with its unit", cure));
        }
        digits
            .parse::<u32>()
            .ok()
            .and_then(|number| number.checked_mul(unit_ms))
            .filter(|ms| (low_ms..=HIGH_MS).contains(ms))
            .ok_or_else(|| Refusal::out_of_range(format!("is not {range}"), cure))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::ComponentName;
    use crate::spec::{ClusterSpec, SpecProblems, ValidSpec};

    fn read(control_plane: &str) -> Result<ValidSpec, SpecProblems> {
        ClusterSpec::parse(&format!(
            "apiVersion: khactl.io/v1alpha1\nkind: Cluster\nmetadata: {{name: prod}}\nspec:\n  \
             vip: {{addresses: [10.77.0.100/24]}}\n  controlPlane:\n    kubernetesVersion: v1.20.2\n    \
             bundle: /opt/b\n    {control_plane}\n"
        ))
    }

    #[test]
    fn times_are_written_as_kubernetes_writes_them() {
        let spec = read(
            "scheduler: {leaderElection: {leaseDuration: 6s, renewDeadline: 4s, retryPeriod: 250ms}}",
        )
        .unwrap_or_else(|problems| panic!("{problems}"));
        let plane = &spec.control_plane;
        let scheduler = plane.leader_election(ComponentName::KubeScheduler);
        assert_eq!(
            scheduler,
            LeaderElection {
                lease_duration_ms: 6_000,
                renew_deadline_ms: 4_000,
                retry_period_ms: 250,
            }
        );
        let other = plane.leader_election(ComponentName::KubeControllerManager);
        assert_eq!(other, LeaderElection::default());
        let again = ClusterSpec::parse(&spec.to_yaml()).unwrap_or_else(|p| panic!("{p}"));
        assert_eq!(again, spec);
    }

    #[test]
    fn what_a_component_would_refuse_itself_is_refused_with_its_place() {
        for (text, path, code) in [
            (
                "leaderElection: {leaseDuration: 10s}",
                "leaderElection.renewDeadline",
                Code::TimingOrder,
            ),
            (
                "leaderElection: {renewDeadline: 600ms}",
                "leaderElection.retryPeriod",
                Code::TimingOrder,
            ),
            (
                "leaderElection: {retryPeriod: 99ms}",
                "leaderElection.retryPeriod",
                Code::OutOfRange,
            ),
            (
                "leaderElection: {leaseDuration: 999ms}",
                "leaderElection.leaseDuration",
                Code::OutOfRange,
            ),
            (
                "leaderElection: {leaseDuration: 99999999s}",
                "leaderElection.leaseDuration",
                Code::OutOfRange,
            ),
            (
                "leaderElection: {retryPeriod: 2}",
                "leaderElection.retryPeriod",
                Code::Malformed,
            ),
            (
                "leaderElection: {retryPeriod: 1m}",
                "leaderElection.retryPeriod",
                Code::Malformed,
            ),
            (
                "leaderElection: {retry: 2s}",
                "leaderElection.retry",
                Code::UnknownField,
            ),
            (
                "extraArgs: {leader-elect: 'false'}",
                "extraArgs.leader-elect",
                Code::Exclusive,
            ),
            (
                "leaderElection: {retryPeriod: 2s}, extraArgs: {leader-elect-retry-period: 1s}",
                "extraArgs.leader-elect-retry-period",
                Code::Exclusive,
            ),
        ] {
            for component in ["controllerManager", "scheduler"] {
                let problems = read(&format!("{component}: {{{text}}}"))
                    .expect_err(text)
                    .problems;
                let found: Vec<_> = problems
                    .iter()
                    .map(|problem| (problem.path.as_str(), problem.code))
                    .collect();
                let path = format!("spec.controlPlane.{component}.{path}");
                assert_eq!(found, [(path.as_str(), code)], "{text}");
            }
        }
        assert!(read("etcd: {leaderElection: {retryPeriod: 2s}}").is_err());
    }
}
