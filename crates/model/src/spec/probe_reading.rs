//! `probes` of a component: its fields, and what they cannot be together.

use super::HealthScheme;
use super::fields::{Fields, Reader};
use super::probes::{Exec, HttpGet, ProbeAction, ProbeSpec, Probes, TcpSocket};
use super::problem::Code;
use super::scalars;
use crate::component::ComponentName;

const ACTIONS: [&str; 3] = ["httpGet", "tcpSocket", "exec"];
const FIELDS: [&str; 9] = [
    "enabled",
    "httpGet",
    "tcpSocket",
    "exec",
    "initialDelayMs",
    "periodMs",
    "timeoutMs",
    "successThreshold",
    "failureThreshold",
];

/// The probes below `parent`; `None` if they are the component's defaults.
pub(crate) fn probes(
    r: &mut Reader,
    parent: &Fields<'_>,
    component: ComponentName,
) -> Option<Probes> {
    let section = r.section(parent, "probes", &["startup", "liveness", "readiness"]);
    let default = Probes::of(component);
    let mut read = |name, default: &Option<ProbeSpec>| match default {
        Some(default) => probe(r, &section, name, default, component),
        None => None,
    };
    let probes = Probes {
        startup: read("startup", &default.startup),
        liveness: read("liveness", &default.liveness),
        readiness: read("readiness", &default.readiness),
    };
    for (name, probe) in [
        ("startup", &probes.startup),
        ("liveness", &probes.liveness),
        ("readiness", &probes.readiness),
    ] {
        if let Some(probe) = probe {
            check(r, &section.path(name), name, probe, component);
        }
    }
    order(r, &section, &probes);
    (probes != default).then_some(probes)
}

fn probe(
    r: &mut Reader,
    section: &Fields<'_>,
    name: &str,
    default: &ProbeSpec,
    component: ComponentName,
) -> Option<ProbeSpec> {
    let fields = r.section(section, name, &FIELDS);
    if !r.value(&fields, "enabled", true, scalars::flag) {
        if let Some(other) = FIELDS[1..].iter().find(|other| fields.has(other)) {
            r.problem(
                &fields.path(other),
                Code::Exclusive,
                format!("{other} is given, and enabled is false: the question is not asked"),
                "Keep one of the two.",
            );
        }
        return None;
    }
    let time = |low| scalars::number("a time in milliseconds", low..=600_000_u32);
    let count = |high| scalars::number("a number of answers", 1..=high);
    Some(ProbeSpec {
        action: action(r, &fields, default, component),
        initial_delay_ms: r.value(&fields, "initialDelayMs", default.initial_delay_ms, time(0)),
        period_ms: r.value(&fields, "periodMs", default.period_ms, time(100)),
        timeout_ms: r.value(&fields, "timeoutMs", default.timeout_ms, time(10)),
        success_threshold: r.value(
            &fields,
            "successThreshold",
            default.success_threshold,
            count(20_u16),
        ),
        failure_threshold: r.value(
            &fields,
            "failureThreshold",
            default.failure_threshold,
            count(1_000_u16),
        ),
    })
}

fn action(
    r: &mut Reader,
    fields: &Fields<'_>,
    default: &ProbeSpec,
    component: ComponentName,
) -> ProbeAction {
    let given: Vec<&str> = ACTIONS
        .into_iter()
        .filter(|name| fields.has(name))
        .collect();
    if let [first, second, ..] = given[..] {
        r.problem(
            &fields.path(second),
            Code::Exclusive,
            format!("{second} is given, and so is {first}"),
            "Keep one of the two: a probe asks one thing.",
        );
    }
    match given.first() {
        Some(&"httpGet") => {
            let get = r.section(fields, "httpGet", &["scheme", "path", "port"]);
            let path = match &default.action {
                ProbeAction::HttpGet(default) => default.path.clone(),
                _ => "/".to_owned(),
            };
            ProbeAction::HttpGet(HttpGet {
                scheme: r.value(
                    &get,
                    "scheme",
                    Probes::scheme_of(component),
                    scalars::scheme,
                ),
                path: r.value(&get, "path", path, scalars::request_path),
                port: r.optional(&get, "port", scalars::port),
            })
        }
        Some(&"tcpSocket") => {
            let socket = r.section(fields, "tcpSocket", &["port"]);
            ProbeAction::TcpSocket(TcpSocket {
                port: r.optional(&socket, "port", scalars::port),
            })
        }
        Some(_) => {
            let exec = r.section(fields, "exec", &["command"]);
            let command = r.list(&exec, "command", scalars::text).unwrap_or_default();
            let path = exec.path("command");
            if !command
                .first()
                .is_some_and(|program| program.starts_with('/'))
                && !r.is_broken(&path)
            {
                r.problem(
                    &path,
                    Code::Malformed,
                    "no program with an absolute path stands first",
                    "Write the program and its arguments, for example [/usr/bin/test, -e, /run/ready].",
                );
            }
            ProbeAction::Exec(Exec { command })
        }
        None => default.action.clone(),
    }
}

/// What one probe cannot be.
fn check(r: &mut Reader, path: &str, name: &str, probe: &ProbeSpec, component: ComponentName) {
    let threshold = format!("{path}.successThreshold");
    if name != "readiness" && probe.success_threshold != 1 && !r.is_broken(&threshold) {
        r.problem(
            &threshold,
            Code::OutOfRange,
            format!(
                "successThreshold is {}, and one good answer is all that {name} waits for",
                probe.success_threshold
            ),
            "Write 1, or leave it out.",
        );
    }
    let own = Probes::scheme_of(component);
    let scheme = format!("{path}.httpGet.scheme");
    if let ProbeAction::HttpGet(get) = &probe.action
        && get.port.is_none()
        && get.scheme != own
        && !r.is_broken(&scheme)
    {
        r.problem(
            &scheme,
            Code::Exclusive,
            format!(
                "scheme is {}, and {component} speaks {} at its own port",
                get.scheme.name(),
                own.name()
            ),
            "Leave it out, or write the port that speaks it.",
        );
    }
}

/// Who is taken for dead must have been out of service before.
fn order(r: &mut Reader, section: &Fields<'_>, probes: &Probes) {
    let (Some(liveness), Some(readiness)) = (&probes.liveness, &probes.readiness) else {
        return;
    };
    let path = section.path("liveness");
    let broken = r.is_broken(&path) || r.is_broken(&section.path("readiness"));
    if liveness.patience_ms() < readiness.patience_ms() && !broken {
        r.problem(
            &path,
            Code::TimingOrder,
            format!(
                "liveness restarts it after {} ms of failures, and readiness takes it out of service only after {} ms",
                liveness.patience_ms(),
                readiness.patience_ms()
            ),
            "Raise liveness' failureThreshold, or lower readiness'.",
        );
    }
}

/// An apiserver that answers nobody without a certificate answers no probe either, and would be restarted for ever.
pub(crate) fn check_anonymous(
    r: &mut Reader,
    server: &Fields<'_>,
    probes: Option<&Probes>,
    anonymous_auth: Option<&String>,
) {
    if anonymous_auth.is_none_or(|value| value != "false") {
        return;
    }
    let default = Probes::of(ComponentName::KubeApiserver);
    let probes = probes.unwrap_or(&default);
    let asks = [&probes.startup, &probes.liveness, &probes.readiness]
        .into_iter()
        .flatten()
        .any(|probe| {
            matches!(&probe.action, ProbeAction::HttpGet(get)
                if get.port.is_none() && get.scheme == HealthScheme::Https)
        });
    if asks {
        r.problem(
            &server.path("extraArgs.anonymous-auth"),
            Code::Exclusive,
            "anonymous-auth is false, and the probes ask without a certificate",
            "Remove it, or write tcpSocket: {} for startup, liveness and readiness.",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{ClusterSpec, ValidSpec};
    use ComponentName::{Etcd, KubeApiserver, KubeScheduler};

    fn spec(control_plane: &str) -> String {
        format!(
            "apiVersion: khactl.io/v1alpha1\nkind: Cluster\nmetadata: {{name: prod}}\nspec:\n  \
             vip: {{addresses: [10.77.0.100/24]}}\n  controlPlane:\n    kubernetesVersion: v1.20.2\n    \
             bundle: /opt/b\n    {control_plane}\n"
        )
    }

    fn valid(control_plane: &str) -> ValidSpec {
        ClusterSpec::parse(&spec(control_plane)).unwrap_or_else(|problems| panic!("{problems}"))
    }

    /// Path and code of everything that is refused.
    fn refused(control_plane: &str) -> Vec<(String, Code)> {
        ClusterSpec::parse(&spec(control_plane))
            .expect_err(control_plane)
            .problems
            .into_iter()
            .map(|problem| {
                let path = problem.path.strip_prefix("spec.controlPlane.");
                (path.unwrap_or(&problem.path).to_owned(), problem.code)
            })
            .collect()
    }

    #[test]
    fn what_is_not_written_is_as_the_component_has_it() {
        let spec = valid("apiServer: {probes: {liveness: {periodMs: 700}}}");
        let probes = spec.control_plane.probes(KubeApiserver);
        let default = Probes::of(KubeApiserver);
        let liveness = probes.liveness.unwrap();
        assert_eq!(liveness.period_ms, 700);
        assert_eq!(liveness.action, default.liveness.unwrap().action);
        assert_eq!(probes.readiness, default.readiness);
        assert_eq!(spec.control_plane.probes(Etcd), Probes::of(Etcd));
    }

    #[test]
    fn defaults_that_are_written_out_are_the_defaults() {
        let spec = valid("scheduler: {probes: {readiness: {periodMs: 2000}}}");
        assert_eq!(spec.control_plane.scheduler.probes, None);
    }

    #[test]
    fn the_canonical_text_of_every_kind_of_probe_is_the_same_spec() {
        let spec = valid(
            "scheduler: {probes: {startup: {exec: {command: [/bin/true, x]}}, liveness: {enabled: false}, \
             readiness: {tcpSocket: {port: 10259}}}}\n    \
             apiServer: {probes: {readiness: {httpGet: {scheme: http, port: 8080}, successThreshold: 3}}}",
        );
        let again = ClusterSpec::parse(&spec.to_yaml()).unwrap_or_else(|p| panic!("{p}"));
        assert_eq!(again, spec);
        assert_eq!(spec.control_plane.probes(KubeScheduler).liveness, None);
    }

    #[test]
    fn contradictions_are_refused_with_their_place() {
        for (text, path, code) in [
            (
                "etcd: {probes: {liveness: {httpGet: {path: /health}, tcpSocket: {port: 2381}}}}",
                "etcd.probes.liveness.tcpSocket",
                Code::Exclusive,
            ),
            (
                "etcd: {probes: {liveness: {enabled: false, periodMs: 500}}}",
                "etcd.probes.liveness.periodMs",
                Code::Exclusive,
            ),
            (
                "etcd: {probes: {liveness: {successThreshold: 2}}}",
                "etcd.probes.liveness.successThreshold",
                Code::OutOfRange,
            ),
            (
                "etcd: {probes: {liveness: {periodMs: 10}}}",
                "etcd.probes.liveness.periodMs",
                Code::OutOfRange,
            ),
            (
                "etcd: {probes: {liveness: {httpGet: {scheme: https}}}}",
                "etcd.probes.liveness.httpGet.scheme",
                Code::Exclusive,
            ),
            (
                "scheduler: {probes: {readiness: {exec: {command: [true]}}}}",
                "scheduler.probes.readiness.exec.command",
                Code::Malformed,
            ),
            (
                "apiServer: {probes: {liveness: {periodMs: 500, timeoutMs: 500, failureThreshold: 1}}}",
                "apiServer.probes.liveness",
                Code::TimingOrder,
            ),
            (
                "apiServer: {probes: {liveness: {period: 500}}}",
                "apiServer.probes.liveness.period",
                Code::UnknownField,
            ),
            (
                "apiServer: {extraArgs: {anonymous-auth: 'false'}}",
                "apiServer.extraArgs.anonymous-auth",
                Code::Exclusive,
            ),
        ] {
            assert_eq!(refused(text), [(path.to_owned(), code)], "{text}");
        }
        let tcp = "{tcpSocket: {}}";
        valid(&format!(
            "apiServer: {{extraArgs: {{anonymous-auth: 'false'}}, probes: {{startup: {tcp}, liveness: {tcp}, readiness: {tcp}}}}}"
        ));
    }
}
