//! What a host is entitled to: the content of each kind of leaf, out of what the cluster knows of the host and
//! never out of its request.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{AuthorityName, LeafKind, San};

/// What the cluster knows of a host and of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject<'a> {
    /// The host's name.
    pub host_name: &'a str,
    /// The addresses under which others reach it.
    pub host_addresses: &'a [IpAddr],
    /// The floating addresses.
    pub vip_addresses: &'a [IpAddr],
    /// The first address of the services' network.
    pub service_address: IpAddr,
    /// The services' DNS domain.
    pub cluster_domain: &'a str,
    /// `apiServer.extraSans`: names and addresses.
    pub extra_sans: &'a [String],
}

/// The content of a leaf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeafProfile {
    /// Who signs it.
    pub issuer: AuthorityName,
    /// CN
    pub common_name: String,
    /// O, by which Kubernetes and the agents know groups.
    pub organization: Option<&'static str>,
    /// Names and addresses, each once.
    pub sans: Vec<San>,
    /// Extended key usage: TLS server.
    pub server: bool,
    /// Extended key usage: TLS client.
    pub client: bool,
}

impl LeafProfile {
    /// The names and addresses as [`LeafFacts::sans`](crate::LeafFacts) shows them: sorted text.
    pub fn san_texts(&self) -> Vec<String> {
        let mut texts: Vec<String> = self.sans.iter().map(ToString::to_string).collect();
        texts.sort_unstable();
        texts
    }
}

/// The leaf of this kind for this host.
pub fn profile(kind: LeafKind, subject: &Subject<'_>) -> LeafProfile {
    let host = subject.host_name;
    let (common_name, organization) = match kind {
        LeafKind::Agent => (format!("khactl:host:{host}"), Some("khactl:hosts")),
        LeafKind::AdminIdentity => ("khactl:admin".to_owned(), Some("khactl:admins")),
        // etcd shows a peer's common name in its log: the host's tells most there.
        LeafKind::EtcdServer | LeafKind::EtcdPeer => (host.to_owned(), None),
        LeafKind::EtcdClient => ("khactl-etcd-client".to_owned(), None),
        LeafKind::ApiserverEtcdClient => ("kube-apiserver-etcd-client".to_owned(), None),
        LeafKind::Apiserver => ("kube-apiserver".to_owned(), None),
        // kubelets and the API server itself let this group do everything without RBAC being up.
        LeafKind::ApiserverKubeletClient => (
            "kube-apiserver-kubelet-client".to_owned(),
            Some("system:masters"),
        ),
        LeafKind::FrontProxyClient => ("front-proxy-client".to_owned(), None),
        LeafKind::ControllerManager => ("system:kube-controller-manager".to_owned(), None),
        LeafKind::ControllerManagerServing => ("kube-controller-manager".to_owned(), None),
        LeafKind::Scheduler => ("system:kube-scheduler".to_owned(), None),
        LeafKind::SchedulerServing => ("kube-scheduler".to_owned(), None),
        LeafKind::Admin => ("kubernetes-admin".to_owned(), Some("system:masters")),
    };
    // etcd's gateway and its peers use the serving certificate as clients too.
    let (server, client) = match kind {
        LeafKind::Agent | LeafKind::EtcdServer | LeafKind::EtcdPeer => (true, true),
        LeafKind::Apiserver | LeafKind::ControllerManagerServing | LeafKind::SchedulerServing => {
            (true, false)
        }
        _ => (false, true),
    };
    let sans = match kind {
        LeafKind::Apiserver => api_server_sans(subject),
        _ if server => host_sans(subject),
        _ => Vec::new(),
    };
    LeafProfile {
        issuer: kind.issuer(),
        common_name,
        organization,
        sans,
        server,
        client,
    }
}

fn host_sans(subject: &Subject<'_>) -> Vec<San> {
    let mut sans = vec![San::dns(subject.host_name), San::dns("localhost")];
    sans.extend(subject.host_addresses.iter().copied().map(San::Ip));
    sans.push(San::Ip(Ipv4Addr::LOCALHOST.into()));
    sans.push(San::Ip(Ipv6Addr::LOCALHOST.into()));
    once_each(sans)
}

fn api_server_sans(subject: &Subject<'_>) -> Vec<San> {
    let mut sans = host_sans(subject);
    sans.extend(["kubernetes", "kubernetes.default", "kubernetes.default.svc"].map(San::dns));
    sans.push(San::Dns(format!(
        "kubernetes.default.svc.{}",
        subject.cluster_domain
    )));
    sans.push(San::Ip(subject.service_address));
    sans.extend(subject.vip_addresses.iter().copied().map(San::Ip));
    sans.extend(subject.extra_sans.iter().map(|text| San::of(text)));
    once_each(sans)
}

fn once_each(sans: Vec<San>) -> Vec<San> {
    let mut kept = Vec::with_capacity(sans.len());
    for san in sans {
        if !kept.contains(&san) {
            kept.push(san);
        }
    }
    kept
}
