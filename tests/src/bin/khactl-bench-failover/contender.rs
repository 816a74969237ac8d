//! Who is measured, and where each has its address.

use std::net::{Ipv4Addr, SocketAddr};

use clap::ValueEnum;
use khactl_lab::VIP;
use serde::{Deserialize, Serialize};

/// One way to keep an address in front of three apiservers.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Contender {
    /// keepalived as most guides have it: VRRPv2, an advertisement every second, a script every second
    KeepalivedUsual,
    /// keepalived as fast as it is stable: VRRPv3, an advertisement every 10 ms, real-time priority, a track file
    KeepalivedFastest,
    /// keepalived as usual, over a haproxy on every host
    KeepalivedHaproxy,
    /// khactl with profile lan, its default
    KhactlLan,
    /// khactl with profile fast
    KhactlFast,
}

impl Contender {
    /// All, in the order of the report.
    pub(crate) const ALL: [Self; 5] = [
        Self::KeepalivedUsual,
        Self::KeepalivedFastest,
        Self::KeepalivedHaproxy,
        Self::KhactlLan,
        Self::KhactlFast,
    ];

    /// For people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::KeepalivedUsual => "keepalived, usual",
            Self::KeepalivedFastest => "keepalived, fastest",
            Self::KeepalivedHaproxy => "keepalived + haproxy",
            Self::KhactlLan => "khactl, lan",
            Self::KhactlFast => "khactl, fast",
        }
    }

    /// For files and processes.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::KeepalivedUsual => "usual",
            Self::KeepalivedFastest => "fastest",
            Self::KeepalivedHaproxy => "haproxy",
            Self::KhactlLan => "lan",
            Self::KhactlFast => "fast",
        }
    }

    pub(crate) fn is_khactl(self) -> bool {
        matches!(self, Self::KhactlLan | Self::KhactlFast)
    }

    /// Its address. Those of keepalived lie beside the VIP of khactl, on the same hosts.
    pub(crate) fn vip(self) -> Ipv4Addr {
        match self {
            Self::KeepalivedUsual => Ipv4Addr::new(10, 77, 0, 101),
            Self::KeepalivedFastest => Ipv4Addr::new(10, 77, 0, 102),
            Self::KeepalivedHaproxy => Ipv4Addr::new(10, 77, 0, 103),
            Self::KhactlLan | Self::KhactlFast => VIP,
        }
    }

    /// Where a client asks. haproxy cannot have the port of the apiserver on its own host.
    pub(crate) fn target(self) -> SocketAddr {
        let port = match self {
            Self::KeepalivedHaproxy => 8443,
            _ => 6443,
        };
        SocketAddr::from((self.vip(), port))
    }
}
