//! Every kind of leaf there is, with the name by which plans, files and the state speak of it.

use std::fmt;
use std::str::FromStr;

use crate::{AuthorityName, PkiError};

/// A kind of leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LeafKind {
    /// The agent on 9443, as server and as client.
    Agent,
    /// An administrator on 9443.
    AdminIdentity,
    /// etcd towards its clients.
    EtcdServer,
    /// etcd among its members.
    EtcdPeer,
    /// The agent's own health checks and membership calls on etcd.
    EtcdClient,
    /// kube-apiserver towards etcd.
    ApiserverEtcdClient,
    /// kube-apiserver's serving certificate.
    Apiserver,
    /// kube-apiserver towards kubelets.
    ApiserverKubeletClient,
    /// kube-apiserver towards extension API servers.
    FrontProxyClient,
    /// kube-controller-manager towards kube-apiserver.
    ControllerManager,
    /// kube-controller-manager's secure port.
    ControllerManagerServing,
    /// kube-scheduler towards kube-apiserver.
    Scheduler,
    /// kube-scheduler's secure port.
    SchedulerServing,
    /// The administrator of Kubernetes.
    Admin,
}

impl LeafKind {
    /// Every kind.
    pub const ALL: [Self; 14] = [
        Self::Agent,
        Self::AdminIdentity,
        Self::EtcdServer,
        Self::EtcdPeer,
        Self::EtcdClient,
        Self::ApiserverEtcdClient,
        Self::Apiserver,
        Self::ApiserverKubeletClient,
        Self::FrontProxyClient,
        Self::ControllerManager,
        Self::ControllerManagerServing,
        Self::Scheduler,
        Self::SchedulerServing,
        Self::Admin,
    ];

    /// The stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::AdminIdentity => "admin-identity",
            Self::EtcdServer => "etcd-server",
            Self::EtcdPeer => "etcd-peer",
            Self::EtcdClient => "etcd-client",
            Self::ApiserverEtcdClient => "apiserver-etcd-client",
            Self::Apiserver => "apiserver",
            Self::ApiserverKubeletClient => "apiserver-kubelet-client",
            Self::FrontProxyClient => "front-proxy-client",
            Self::ControllerManager => "controller-manager",
            Self::ControllerManagerServing => "controller-manager-serving",
            Self::Scheduler => "scheduler",
            Self::SchedulerServing => "scheduler-serving",
            Self::Admin => "admin",
        }
    }

    /// The authority that issues it.
    pub const fn issuer(self) -> AuthorityName {
        match self {
            Self::Agent | Self::AdminIdentity => AuthorityName::Agents,
            Self::EtcdServer | Self::EtcdPeer | Self::EtcdClient | Self::ApiserverEtcdClient => {
                AuthorityName::Etcd
            }
            Self::FrontProxyClient => AuthorityName::FrontProxy,
            Self::Apiserver
            | Self::ApiserverKubeletClient
            | Self::ControllerManager
            | Self::ControllerManagerServing
            | Self::Scheduler
            | Self::SchedulerServing
            | Self::Admin => AuthorityName::Kubernetes,
        }
    }

    /// May a witness have it? A witness runs an agent and an etcd member, and nothing of Kubernetes.
    pub const fn is_for_witness(self) -> bool {
        matches!(
            self,
            Self::Agent | Self::EtcdServer | Self::EtcdPeer | Self::EtcdClient
        )
    }
}

impl fmt::Display for LeafKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for LeafKind {
    type Err = PkiError;

    fn from_str(name: &str) -> Result<Self, PkiError> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| PkiError::UnknownLeafKind {
                name: name.to_owned(),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_by_its_name_alone() {
        for kind in LeafKind::ALL {
            assert_eq!(kind.name().parse::<LeafKind>().unwrap(), kind);
        }
        assert!("Agent".parse::<LeafKind>().is_err());
    }

    #[test]
    fn a_witness_gets_nothing_of_kubernetes() {
        for kind in LeafKind::ALL
            .into_iter()
            .filter(|kind| kind.is_for_witness())
        {
            assert!(matches!(
                kind.issuer(),
                AuthorityName::Agents | AuthorityName::Etcd
            ));
        }
    }
}
