//! What is done to the holder. All of it is undone in the same trial.

use std::time::Duration;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::contender::Contender;

/// keepalived's usual configuration takes over after at most 3.7 s: three advertisements and a part of
/// one. Shorter faults would be over before.
const KEEPALIVED_LASTS: Duration = Duration::from_millis(4200);

/// Five times the lease of profile `lan`.
const KHACTL_LASTS: Duration = Duration::from_millis(1250);

/// For what is over at once: twice the lease of profile `lan`, in case that it is not.
const KHACTL_INSTANT: Duration = Duration::from_millis(500);

/// keepalived's usual script is given up twice, each time after up to 2 s, and the next host takes over a part of an
/// advertisement later. After 8 s at the earliest khad would end the apiserver and start another.
const KEEPALIVED_HUNG: Duration = Duration::from_secs(7);

/// Checks take up to 1.5 s to condemn an apiserver that says nothing.
const KHACTL_HUNG: Duration = Duration::from_secs(2);

/// One fault.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Fault {
    /// The holder is cut from the other hosts, both ways; the client still reaches it
    CutOff,
    /// The other hosts' frames do not reach the holder
    HearsNothing,
    /// The holder's frames do not reach the other hosts
    SaysNothing,
    /// keepalived, or khad and khavip, stand still (SIGSTOP)
    Stopped,
    /// keepalived, or khad and khavip, die (SIGKILL); the host lives
    Killed,
    /// khad alone dies
    KhadKilled,
    /// khavip alone dies
    KhavipKilled,
    /// keepalived or khavip is told to end (SIGTERM)
    OrderlyStop,
    /// `khactl vip transfer`
    Transfer,
    /// Somebody removes the address from the holder's interface
    AddressDeleted,
    /// The holder's own apiserver stands still (SIGSTOP): it takes connections and says nothing
    ApiserverHung,
    /// The holder's own apiserver dies
    ApiserverKilled,
    /// The same, seen by the programs of the holder, which ask at 127.0.0.1
    ApiserverKilledLoopback,
    /// The holder's host loses power
    HostLost,
}

impl Fault {
    /// All, the one that takes longest to recover from at the end.
    pub(crate) const ALL: [Self; 14] = [
        Self::CutOff,
        Self::HearsNothing,
        Self::SaysNothing,
        Self::Stopped,
        Self::Killed,
        Self::KhadKilled,
        Self::KhavipKilled,
        Self::OrderlyStop,
        Self::Transfer,
        Self::AddressDeleted,
        Self::ApiserverHung,
        Self::ApiserverKilled,
        Self::ApiserverKilledLoopback,
        Self::HostLost,
    ];

    /// For people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::CutOff => "holder cut off from its peers",
            Self::HearsNothing => "holder hears nothing of them",
            Self::SaysNothing => "they hear nothing of the holder",
            Self::Stopped => "its programs stopped",
            Self::Killed => "its programs killed",
            Self::KhadKilled => "khad killed",
            Self::KhavipKilled => "khavip killed",
            Self::OrderlyStop => "orderly stop",
            Self::Transfer => "transfer",
            Self::AddressDeleted => "address deleted by hand",
            Self::ApiserverHung => "own apiserver hung",
            Self::ApiserverKilled => "own apiserver killed",
            Self::ApiserverKilledLoopback => "own apiserver killed, by 127.0.0.1",
            Self::HostLost => "host lost",
        }
    }

    /// Of what follows when the fault is undone; none where that is no event of its own.
    pub(crate) fn name_of_end(self) -> Option<&'static str> {
        match self {
            Self::CutOff => Some("after the heal"),
            Self::Stopped => Some("after they go on"),
            Self::HostLost => Some("the host returns"),
            _ => None,
        }
    }

    /// Whether it can be done to this contender.
    pub(crate) fn suits(self, contender: Contender) -> bool {
        contender.is_khactl()
            || !matches!(
                self,
                Self::KhadKilled
                    | Self::KhavipKilled
                    | Self::Transfer
                    | Self::ApiserverKilledLoopback
            )
    }

    /// Whether the client stands on the holder and asks the balancer there, as its own programs do.
    pub(crate) fn is_seen_by_loopback(self) -> bool {
        self == Self::ApiserverKilledLoopback
    }

    /// Whether it lasts exactly as long for all who meet it, served or not; any other lasts at least until they are served.
    /// Where somebody may go on holding the address, so that their times with two holders compare; and where not all of
    /// keepalived's may be served before it is undone.
    pub(crate) fn ends_on_time(self) -> bool {
        self.leaves_a_holder() || matches!(self, Self::AddressDeleted | Self::ApiserverHung)
    }

    /// Whether somebody may go on holding the address who should not.
    fn leaves_a_holder(self) -> bool {
        matches!(
            self,
            Self::CutOff | Self::HearsNothing | Self::SaysNothing | Self::Stopped | Self::Killed
        )
    }

    /// How long it lasts at the least.
    pub(crate) fn lasts(self, khactl: bool) -> Duration {
        match self {
            Self::ApiserverHung if khactl => KHACTL_HUNG,
            Self::ApiserverHung => KEEPALIVED_HUNG,
            _ if !khactl => KEEPALIVED_LASTS,
            // Checks take a second to notice a dead apiserver.
            Self::ApiserverKilled | Self::ApiserverKilledLoopback => KHACTL_LASTS,
            _ if self.leaves_a_holder() => KHACTL_LASTS,
            _ => KHACTL_INSTANT,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keepalived_gets_every_fault_that_needs_no_khactl() {
        let count = |contender| {
            Fault::ALL
                .iter()
                .filter(|fault| fault.suits(contender))
                .count()
        };
        assert_eq!(count(Contender::KeepalivedFastest), 10);
        assert_eq!(count(Contender::KhactlFast), Fault::ALL.len());
    }

    #[test]
    fn words_of_earlier_journals_are_known_still() {
        for word in [
            "cut-off",
            "hears-nothing",
            "says-nothing",
            "stopped",
            "killed",
            "khad-killed",
            "khavip-killed",
            "orderly-stop",
            "transfer",
            "apiserver-killed",
            "apiserver-killed-loopback",
            "host-lost",
        ] {
            let known = serde_json::from_str::<Fault>(&format!("\"{word}\""));
            assert!(known.is_ok(), "{word}");
        }
    }
}
