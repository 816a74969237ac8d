//! From a tree to a `ClusterSpec`: which fields there are, where, and what is in force where one is absent.

use super::AddressPrefix;
use super::cluster::{
    API_VERSION, ApiServerSpec, BalancerSpec, ClusterSpec, ComponentSpec, ControlPlaneSpec,
    ExternalSpec, HealthSpec, Interface, KIND, Mode, NetworkSpec, Profile, RaftSpec, VipSpec,
};
use super::fields::{Fields, Reader, Refusal, Scalar};
use super::leader_election;
use super::limits::BalancerLimits;
use super::probe_reading;
use super::problem::Code;
use super::scalars;
use super::tree::{Node, Tree};
use crate::component::ComponentName;
use crate::leader_lease;

/// What could be read; as long as `reader` has problems, fields that could not be read stand at their defaults.
pub(crate) struct Reading {
    pub(crate) spec: ClusterSpec,
    pub(crate) reader: Reader,
}

pub(crate) fn read(text: &str) -> Reading {
    let tree = Tree::read(text);
    let mut reader = Reader {
        problems: tree.problems,
        truncated: tree.truncated,
        ..Reader::default()
    };
    let spec = cluster(&mut reader, tree.root.as_ref());
    Reading { spec, reader }
}

fn cluster(r: &mut Reader, root: Option<&Node>) -> ClusterSpec {
    let top = r.root(root, &["apiVersion", "kind", "metadata", "spec"]);
    let kind_cure =
        format!("Begin the file with \"apiVersion: {API_VERSION}\" and \"kind: {KIND}\".");
    r.required(&top, "apiVersion", &kind_cure, constant(API_VERSION));
    r.required(&top, "kind", &kind_cure, constant(KIND));
    let metadata = r.section(&top, "metadata", &["name"]);
    let name = r.required(
        &metadata,
        "name",
        "Name the cluster, for example prod.",
        scalars::cluster_name,
    );
    let spec = r.section(
        &top,
        "spec",
        &["vip", "balancer", "raft", "controlPlane", "network"],
    );
    let read = ClusterSpec {
        name: name.unwrap_or_default(),
        vip: vip(r, &spec),
        balancer: balancer(r, &spec),
        raft: raft(r, &spec),
        control_plane: control_plane(r, &spec),
        network: network(r, &spec),
    };
    if read.control_plane.mode == Mode::External && spec.has("network") {
        r.problem(
            &spec.path("network"),
            Code::ModeConflict,
            "network is given, and mode is external: something else chose the cluster's networks",
            "Remove it: khactl has no use for it here.",
        );
    }
    read
}

/// A field that says what kind of document this is.
fn constant(only: &'static str) -> impl Fn(Scalar<'_>) -> Result<(), Refusal> {
    move |scalar| {
        if scalar.text == only {
            return Ok(());
        }
        Err(Refusal {
            message: format!("is not {only}"),
            cure: format!("Write {only}, or use a khactl that knows this document."),
            code: Code::WrongKind,
        })
    }
}

fn vip(r: &mut Reader, spec: &Fields<'_>) -> VipSpec {
    let known = [
        "addresses",
        "interface",
        "profile",
        "leaseMs",
        "preference",
        "failback",
    ];
    let vip = r.section(spec, "vip", &known);
    let addresses = r.list(&vip, "addresses", scalars::vip).unwrap_or_default();
    if !vip.has("addresses") {
        r.missing(
            &vip.path("addresses"),
            "Write the floating address, for example [10.77.0.100/24].",
        );
    }
    let profile = r.optional(&vip, "profile", scalars::profile);
    // docs/lease.md bounds T from below by what a busy host can keep, from above by T_MAX.
    let lease_ms = r.optional(
        &vip,
        "leaseMs",
        scalars::number("a lease time in milliseconds", 40_u32..=2000),
    );
    let said = vip.has("profile") || vip.has("leaseMs");
    VipSpec {
        addresses,
        interface: r.value(&vip, "interface", Interface::Auto, scalars::interface),
        profile: profile.or((!said).then_some(Profile::default())),
        lease_ms,
        preference: r
            .list(&vip, "preference", scalars::host_name)
            .unwrap_or_default(),
        failback: r.value(&vip, "failback", false, scalars::flag),
    }
}

fn balancer(r: &mut Reader, spec: &Fields<'_>) -> BalancerSpec {
    let default = BalancerSpec::default();
    let known = [
        "port",
        "method",
        "health",
        "weights",
        "proxyProtocol",
        "limits",
    ];
    let balancer = r.section(spec, "balancer", &known);
    let known = [
        "scheme",
        "path",
        "caFile",
        "periodMs",
        "timeoutMs",
        "rise",
        "fall",
    ];
    let health = r.section(&balancer, "health", &known);
    BalancerSpec {
        port: r.value(&balancer, "port", default.port, scalars::port),
        method: r.value(&balancer, "method", default.method, scalars::method),
        weights: r.map(
            &balancer,
            "weights",
            scalars::host_name,
            scalars::number("a weight", 1_u8..=100),
        ),
        health: health_spec(r, &health, default.health),
        proxy_protocol: r.value(
            &balancer,
            "proxyProtocol",
            default.proxy_protocol,
            scalars::flag,
        ),
        limits: limits(r, &balancer, &default.limits),
    }
}

fn limits(r: &mut Reader, balancer: &Fields<'_>, default: &BalancerLimits) -> BalancerLimits {
    let limits = r.section(
        balancer,
        "limits",
        &["connections", "halfOpen", "halfOpenMs"],
    );
    let count = || scalars::number("a number of connections", 16_u32..=100_000);
    let time = scalars::number("a time in milliseconds", 100_u32..=600_000);
    let connections = r.value(&limits, "connections", default.connections, count());
    BalancerLimits {
        connections,
        half_open: r.value(
            &limits,
            "halfOpen",
            default.half_open.min(connections),
            count(),
        ),
        half_open_ms: r.value(&limits, "halfOpenMs", default.half_open_ms, time),
    }
}

fn health_spec(r: &mut Reader, health: &Fields<'_>, default: HealthSpec) -> HealthSpec {
    let time = || scalars::number("a time in milliseconds", 10_u32..=60_000);
    let count = || scalars::number("a number of probes", 1_u8..=20);
    HealthSpec {
        scheme: r.value(health, "scheme", default.scheme, scalars::scheme),
        path: r.value(health, "path", default.path, scalars::request_path),
        ca_file: r.value(
            health,
            "caFile",
            default.ca_file,
            scalars::absolute_path_or_empty,
        ),
        period_ms: r.value(health, "periodMs", default.period_ms, time()),
        timeout_ms: r.value(health, "timeoutMs", default.timeout_ms, time()),
        rise: r.value(health, "rise", default.rise, count()),
        fall: r.value(health, "fall", default.fall, count()),
    }
}

fn raft(r: &mut Reader, spec: &Fields<'_>) -> RaftSpec {
    let default = RaftSpec::default();
    let raft = r.section(spec, "raft", &["heartbeatMs", "electionTimeoutMs"]);
    let time = || scalars::number("a time in milliseconds", 10_u32..=60_000);
    let heartbeat_ms = r.value(&raft, "heartbeatMs", default.heartbeat_ms, time());
    let range = r.list(&raft, "electionTimeoutMs", time());
    let path = raft.path("electionTimeoutMs");
    let election_timeout_ms = match range.as_deref() {
        None => default.election_timeout_ms,
        Some(&[min, max]) => [min, max],
        Some(other) => {
            if !r.is_broken(&path) {
                r.problem(
                    &path,
                    Code::Malformed,
                    format!("{} numbers stand here, and two belong here", other.len()),
                    "Write the shortest and the longest time, for example [500, 1000].",
                );
            }
            default.election_timeout_ms
        }
    };
    RaftSpec {
        heartbeat_ms,
        election_timeout_ms,
    }
}

fn control_plane(r: &mut Reader, spec: &Fields<'_>) -> ControlPlaneSpec {
    let known = [
        "mode",
        "external",
        "kubernetesVersion",
        "bundle",
        "apiServer",
        "controllerManager",
        "scheduler",
        "etcd",
    ];
    let plane = r.section(spec, "controlPlane", &known);
    let mode = r.value(&plane, "mode", Mode::Managed, scalars::mode);
    let mode_is_known = !r.is_broken(&plane.path("mode"));
    let external = r.section(&plane, "external", &["backends"]);
    let backends = r
        .list(&external, "backends", scalars::socket_address)
        .unwrap_or_default();
    let kubernetes_version = r.optional(&plane, "kubernetesVersion", scalars::kubernetes_version);
    let bundle = r.optional(&plane, "bundle", scalars::absolute_path);
    if mode == Mode::Managed && mode_is_known {
        if !plane.has("kubernetesVersion") {
            r.missing(
                &plane.path("kubernetesVersion"),
                "Write the version in the bundle, for example v1.20.2.",
            );
        }
        if !plane.has("bundle") {
            r.missing(
                &plane.path("bundle"),
                "Write where the bundle lies on every host, for example /opt/khactl/bundles/v1.20.2.",
            );
        }
    }
    let api_server = api_server(r, &plane);
    let control_plane = ControlPlaneSpec {
        mode,
        external: (mode == Mode::External || plane.has("external"))
            .then_some(ExternalSpec { backends }),
        kubernetes_version,
        bundle,
        api_server,
        controller_manager: component(
            r,
            &plane,
            "controllerManager",
            ComponentName::KubeControllerManager,
        ),
        scheduler: component(r, &plane, "scheduler", ComponentName::KubeScheduler),
        etcd: component(r, &plane, "etcd", ComponentName::Etcd),
    };
    if mode_is_known {
        refuse_fields_of_the_other_mode(r, &plane, &control_plane);
    }
    control_plane
}

fn refuse_fields_of_the_other_mode(r: &mut Reader, plane: &Fields<'_>, read: &ControlPlaneSpec) {
    if read.mode == Mode::Managed {
        if plane.has("external") {
            r.problem(
                &plane.path("external"),
                Code::ModeConflict,
                "external is given, and mode is managed",
                "Remove it, or write mode: external.",
            );
        }
        return;
    }
    let mut refused = vec![
        "kubernetesVersion",
        "bundle",
        "etcd",
        "controllerManager",
        "scheduler",
    ];
    refused.retain(|name| plane.has(name));
    for name in refused {
        r.problem(
            &plane.path(name),
            Code::ModeConflict,
            format!("{name} is given, and mode is external: something else runs the control plane"),
            "Remove it, or write mode: managed.",
        );
    }
    for (name, given) in [
        (
            "apiServer.extraSans",
            !read.api_server.extra_sans.is_empty(),
        ),
        (
            "apiServer.extraArgs",
            !read.api_server.extra_args.is_empty(),
        ),
        ("apiServer.probes", read.api_server.probes.is_some()),
    ] {
        if given {
            r.problem(
                &plane.path(name),
                Code::ModeConflict,
                format!(
                    "{name} is given, and mode is external: something else runs the API server"
                ),
                "Remove it, and set it where the API server is set up.",
            );
        }
    }
}

fn api_server(r: &mut Reader, plane: &Fields<'_>) -> ApiServerSpec {
    let default = ApiServerSpec::default();
    let known = ["port", "extraSans", "extraArgs", "probes"];
    let server = r.section(plane, "apiServer", &known);
    let extra_args = r.map(&server, "extraArgs", scalars::argument_name, scalars::text);
    let probes = probe_reading::probes(r, &server, ComponentName::KubeApiserver);
    probe_reading::check_anonymous(
        r,
        &server,
        probes.as_ref(),
        extra_args.get("anonymous-auth"),
    );
    ApiServerSpec {
        port: r.value(&server, "port", default.port, scalars::port),
        extra_sans: r
            .list(&server, "extraSans", scalars::alternative_name)
            .unwrap_or_default(),
        extra_args,
        probes,
    }
}

fn component(
    r: &mut Reader,
    plane: &Fields<'_>,
    name: &str,
    component: ComponentName,
) -> ComponentSpec {
    let elects = leader_lease::ELECTING.contains(&component);
    let known: &[&str] = if elects {
        &["extraArgs", "probes", "leaderElection"]
    } else {
        &["extraArgs", "probes"]
    };
    let section = r.section(plane, name, known);
    let extra_args = r.map(&section, "extraArgs", scalars::argument_name, scalars::text);
    let mut election = None;
    if elects {
        election = leader_election::leader_election(r, &section);
        leader_election::check_arguments(r, &section, |name| extra_args.get(name).cloned());
    }
    ComponentSpec {
        extra_args,
        probes: probe_reading::probes(r, &section, component),
        leader_election: election,
    }
}

fn network(r: &mut Reader, spec: &Fields<'_>) -> NetworkSpec {
    let network = r.section(
        spec,
        "network",
        &["podCidr", "serviceCidr", "clusterDomain"],
    );
    let [pods, services] = default_networks();
    NetworkSpec {
        pod_cidr: r.value(&network, "podCidr", pods, scalars::network("10.244.0.0/16")),
        service_cidr: r.value(
            &network,
            "serviceCidr",
            services,
            scalars::network("10.96.0.0/12"),
        ),
        cluster_domain: r.value(
            &network,
            "clusterDomain",
            "cluster.local".to_owned(),
            scalars::dns_domain,
        ),
    }
}

/// The pods' and the services' networks that kubeadm and flannel made customary.
fn default_networks() -> [AddressPrefix; 2] {
    [([10, 244, 0, 0], 16), ([10, 96, 0, 0], 12)].map(|(address, prefix)| {
        AddressPrefix::new(address.into(), prefix).expect("a prefix shorter than 32")
    })
}
