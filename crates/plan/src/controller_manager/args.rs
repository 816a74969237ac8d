//! kube-controller-manager's arguments by version.

use khactl_model::component::ComponentName;

use crate::cx::Cx;
use crate::flags::Flags;

/// The arguments of this host's controller-manager.
pub(super) fn render(cx: &Cx<'_>) -> Vec<String> {
    let pki = cx.paths.pki("kube-controller-manager");
    let kubeconfig = cx.paths.kubeconfig(ComponentName::KubeControllerManager);
    let network = &cx.spec.network;
    let mut flags = Flags::default();
    flags
        .set("bind-address", "127.0.0.1")
        .set("kubeconfig", &kubeconfig)
        .set("authentication-kubeconfig", &kubeconfig)
        .set("authorization-kubeconfig", &kubeconfig)
        .set("client-ca-file", format!("{pki}/kubernetes-ca.crt"))
        .set(
            "requestheader-client-ca-file",
            format!("{pki}/front-proxy-ca.crt"),
        )
        .set("root-ca-file", format!("{pki}/kubernetes-ca.crt"))
        .set(
            "cluster-signing-cert-file",
            format!("{pki}/kubernetes-ca.crt"),
        )
        .set(
            "cluster-signing-key-file",
            format!("{pki}/kubernetes-ca.key"),
        )
        .set(
            "service-account-private-key-file",
            format!("{pki}/service-account.key"),
        )
        .set("use-service-account-credentials", "true")
        .set("controllers", "*,bootstrapsigner,tokencleaner")
        .set("cluster-name", &cx.spec.name)
        .set("allocate-node-cidrs", "true")
        .set("cluster-cidr", network.pod_cidr.to_string())
        .set("service-cluster-ip-range", network.service_cidr.to_string())
        .set("leader-elect", "true");
    flags.leader_election(
        cx.spec
            .control_plane
            .leader_election(ComponentName::KubeControllerManager),
    );
    // The insecure port went away in 1.24, and its flag with it.
    if cx.kubernetes().minor < 24 {
        flags.set("port", "0");
    }
    flags.over(&cx.spec.control_plane.controller_manager.extra_args)
}
