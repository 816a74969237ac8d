//! kube-scheduler's arguments by version.

use khactl_model::component::ComponentName;

use crate::cx::Cx;
use crate::flags::Flags;

/// The arguments of this host's scheduler.
pub(super) fn render(cx: &Cx<'_>) -> Vec<String> {
    let pki = cx.paths.pki("kube-scheduler");
    let kubeconfig = cx.paths.kubeconfig(ComponentName::KubeScheduler);
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
        .set("leader-elect", "true");
    flags.leader_election(
        cx.spec
            .control_plane
            .leader_election(ComponentName::KubeScheduler),
    );
    // The insecure port went away in 1.24, and its flag with it.
    if cx.kubernetes().minor < 24 {
        flags.set("port", "0");
    }
    flags.over(&cx.spec.control_plane.scheduler.extra_args)
}
