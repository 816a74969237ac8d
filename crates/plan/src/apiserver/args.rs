//! kube-apiserver's arguments by version. Nothing in them depends on how many hosts there are:
//! a host that joins must not restart the others' apiservers.

use crate::cx::Cx;
use crate::flags::Flags;

/// Readiness is taken back this much earlier than connections: at the most, however slowly the
/// balancers check.
const SHUTDOWN_DELAY_MAX_MS: u32 = 5_000;

/// The arguments of this host's apiserver.
pub(super) fn render(cx: &Cx<'_>) -> Vec<String> {
    let pki = cx.paths.pki("kube-apiserver");
    let spec = cx.spec;
    let api = &spec.control_plane.api_server;
    let address = cx.host.address.to_string();
    let issuer = format!(
        "https://kubernetes.default.svc.{}",
        spec.network.cluster_domain
    );
    let mut flags = Flags::default();
    flags
        .set("advertise-address", &address)
        // Never 0.0.0.0: the balancer has the same port on the VIP and on loopback.
        .set("bind-address", &address)
        .set("secure-port", api.port.to_string())
        .set("allow-privileged", "true")
        .set("authorization-mode", "Node,RBAC")
        .set("enable-admission-plugins", "NodeRestriction")
        .set("enable-bootstrap-token-auth", "true")
        .set("client-ca-file", format!("{pki}/kubernetes-ca.crt"))
        .set("tls-cert-file", format!("{pki}/apiserver.crt"))
        .set("tls-private-key-file", format!("{pki}/apiserver.key"))
        .set("etcd-servers", "https://127.0.0.1:2379")
        .set("etcd-cafile", format!("{pki}/etcd-ca.crt"))
        .set("etcd-certfile", format!("{pki}/apiserver-etcd-client.crt"))
        .set("etcd-keyfile", format!("{pki}/apiserver-etcd-client.key"))
        .set(
            "kubelet-client-certificate",
            format!("{pki}/apiserver-kubelet-client.crt"),
        )
        .set(
            "kubelet-client-key",
            format!("{pki}/apiserver-kubelet-client.key"),
        )
        .set(
            "kubelet-preferred-address-types",
            "InternalIP,ExternalIP,Hostname",
        )
        .set(
            "proxy-client-cert-file",
            format!("{pki}/front-proxy-client.crt"),
        )
        .set(
            "proxy-client-key-file",
            format!("{pki}/front-proxy-client.key"),
        )
        .set("requestheader-allowed-names", "front-proxy-client")
        .set(
            "requestheader-client-ca-file",
            format!("{pki}/front-proxy-ca.crt"),
        )
        .set("requestheader-extra-headers-prefix", "X-Remote-Extra-")
        .set("requestheader-group-headers", "X-Remote-Group")
        .set("requestheader-username-headers", "X-Remote-User")
        .set("service-account-issuer", issuer)
        .set(
            "service-account-key-file",
            format!("{pki}/service-account.pub"),
        )
        .set(
            "service-account-signing-key-file",
            format!("{pki}/service-account.key"),
        )
        .set(
            "service-cluster-ip-range",
            spec.network.service_cidr.to_string(),
        )
        .set("shutdown-delay-duration", shutdown_delay(cx));
    // Up to 1.23 the flag is there and 0 its only value; 1.24 removed it.
    if cx.kubernetes().minor < 24 {
        flags.set("insecure-port", "0");
    }
    flags.over(&api.extra_args)
}

/// Long enough for every balancer to see that this apiserver is going, and no longer.
fn shutdown_delay(cx: &Cx<'_>) -> String {
    let health = &cx.spec.balancer.health;
    let seen_ms = health
        .period_ms
        .saturating_mul(u32::from(health.fall))
        .saturating_add(health.timeout_ms);
    format!("{}ms", seen_ms.min(SHUTDOWN_DELAY_MAX_MS))
}
