//! Lets another kube-controller-manager or kube-scheduler lead before the Lease of a dead one has run out: `own` for the
//! processes of this host, `lost` for those of a host that went. Both look, judge by `khactl_plan::takeover`, and clear at
//! the most; nobody waits for them, a start least of all.

mod fences;
mod identities;
mod lost;
mod own;
mod watched_lease;

use khactl_host::HostError;
use khactl_host::files;
use khactl_host::leader_lease::LeaseClient;
use khactl_host::tls::TlsMaterial;
use khactl_model::component::ComponentName;
use khactl_model::leader_lease::ELECTING;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::agent::Agent;
use crate::node::Node;

pub use fences::Fences;
pub use identities::Identities;

/// Of one call to the API. The balancer gives up a dead API server sooner.
const CALL_TIMEOUT: Duration = Duration::from_secs(1);
/// Of a certificate or a key.
const PEM_BYTES_MAX: u64 = 256 * 1024;

/// Starts the tasks.
pub fn spawn(agent: &Arc<Agent>, node: &Arc<Node>) {
    for component in ELECTING {
        own::spawn(agent, node, component);
    }
    lost::spawn(agent, node);
}

/// What this machine calls itself, as the components that run here see it.
pub fn machine() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

/// A client of a component's Lease by that component's own certificate, through this host's balancer.
async fn client(
    node: &Node,
    component: ComponentName,
    port: u16,
) -> Result<LeaseClient, HostError> {
    let leaf = match component {
        ComponentName::KubeControllerManager => "controller-manager",
        _ => "scheduler",
    };
    let read = |file: String| async move {
        let path = node.config.data(&format!("pki/{component}/{file}"));
        files::read(path, PEM_BYTES_MAX)
            .await
            .map(Option::unwrap_or_default)
    };
    let material = TlsMaterial {
        ca_pem: read("kubernetes-ca.crt".to_owned()).await?,
        identity: Some((
            read(format!("{leaf}.crt")).await?,
            read(format!("{leaf}.key")).await?,
        )),
    };
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    LeaseClient::new(component, address, &material, CALL_TIMEOUT)
}
