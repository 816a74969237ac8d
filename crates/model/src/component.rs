//! The components that an agent supervises.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A supervised process, in the order in which people name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ComponentName {
    /// The balancer and the VIP.
    Khavip,
    /// The etcd member of this host.
    Etcd,
    /// kube-apiserver.
    KubeApiserver,
    /// kube-controller-manager.
    KubeControllerManager,
    /// kube-scheduler.
    KubeScheduler,
}

impl ComponentName {
    /// Every component.
    pub const ALL: [Self; 5] = [
        Self::Khavip,
        Self::Etcd,
        Self::KubeApiserver,
        Self::KubeControllerManager,
        Self::KubeScheduler,
    ];

    /// The program's name in the bundle, the log's and the process record's.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Khavip => "khavip",
            Self::Etcd => "etcd",
            Self::KubeApiserver => "kube-apiserver",
            Self::KubeControllerManager => "kube-controller-manager",
            Self::KubeScheduler => "kube-scheduler",
        }
    }

    /// The component of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|c| c.as_str() == name)
    }

    /// The unprivileged user it runs as; `None`: root.
    pub fn user(self) -> Option<&'static str> {
        match self {
            Self::Khavip => None,
            Self::Etcd => Some("khactl-etcd"),
            Self::KubeApiserver => Some("khactl-apiserver"),
            Self::KubeControllerManager => Some("khactl-controller-manager"),
            Self::KubeScheduler => Some("khactl-scheduler"),
        }
    }
}

impl fmt::Display for ComponentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
