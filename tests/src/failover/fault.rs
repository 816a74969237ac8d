//! What can befall the holder, and what has to follow. Pure: does nothing to anybody.

use std::time::Duration;

use crate::soak;

/// Several times the lease of profile `lan`: who lost it is replaced long before.
const SHORT: Duration = Duration::from_millis(1500);

/// As long as the old ways of keeping an address held it twice.
const LONG: Duration = Duration::from_secs(10);

/// One fault of the host that holds the VIP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// SIGKILL to `khad`.
    KhadKilled,
    /// SIGKILL to `khavip`; `khad` releases for it.
    KhavipKilled,
    /// SIGKILL to both: nobody on the host lets go of anything.
    BothKilled,
    /// SIGSTOP to both; later they go on.
    BothStopped,
    /// A power cut; later the host boots.
    HostLost,
    /// SIGKILL to the holder's own apiserver.
    ApiserverKilled,
    /// SIGSTOP to it; later it goes on.
    ApiserverHung,
    /// No frame between the holder and the other hosts; the client reaches it all the while.
    CutOff,
    /// The holder hears the others; they do not hear it.
    ReceivingOnly,
    /// The others hear the holder; it does not hear them.
    SendingOnly,
    /// Somebody removes the address from the interface.
    AddressDeleted,
    /// SIGTERM to `khavip`.
    KhavipEnded,
    /// `khactl vip transfer` to another host, while more programs want to run than there are cores.
    Transferred,
    /// The host's programs end in order, then its power goes; later it boots.
    HostShutDown,
    /// The holder is cut off, and another voter's `khavip` dies and starts again while the lease runs.
    VoterRestarted,
}

/// Where the VIP is after a fault, before it is mended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Where it was: the fault is none of the VIP's.
    Stays,
    /// On another host: this one cannot have it.
    Moves,
    /// On any host.
    Anywhere,
}

impl Fault {
    /// All, those at the end from which a host takes longest to recover.
    pub const ALL: [Self; 15] = [
        Self::KhadKilled,
        Self::KhavipKilled,
        Self::KhavipEnded,
        Self::Transferred,
        Self::AddressDeleted,
        Self::CutOff,
        Self::ReceivingOnly,
        Self::SendingOnly,
        Self::VoterRestarted,
        Self::BothStopped,
        Self::BothKilled,
        Self::ApiserverHung,
        Self::ApiserverKilled,
        Self::HostShutDown,
        Self::HostLost,
    ];

    /// For people, and for KHACTL_FAULTS.
    pub fn name(self) -> &'static str {
        match self {
            Self::KhadKilled => "khad killed",
            Self::KhavipKilled => "khavip killed",
            Self::BothKilled => "both killed",
            Self::BothStopped => "both stopped",
            Self::HostLost => "host lost",
            Self::ApiserverKilled => "own apiserver killed",
            Self::ApiserverHung => "own apiserver hung",
            Self::CutOff => "cut off from its peers",
            Self::ReceivingOnly => "receiving only",
            Self::SendingOnly => "sending only",
            Self::AddressDeleted => "address deleted",
            Self::KhavipEnded => "khavip told to end",
            Self::Transferred => "transfer under load",
            Self::HostShutDown => "host shut down",
            Self::VoterRestarted => "cut off and a voter restarted",
        }
    }

    /// Those of several whose names KHACTL_FAULTS lists, separated by commas; all if it is not set. Panics at the name of
    /// no fault.
    #[track_caller]
    pub fn chosen(among: &[Self]) -> Vec<Self> {
        let Ok(text) = std::env::var("KHACTL_FAULTS") else {
            return among.to_vec();
        };
        let names: Vec<_> = text.split(',').map(str::trim).collect();
        for name in &names {
            assert!(
                Self::ALL.iter().any(|fault| fault.name() == *name),
                "KHACTL_FAULTS: there is no fault named {name:?}"
            );
        }
        let mut chosen = among.to_vec();
        chosen.retain(|fault| names.contains(&fault.name()));
        chosen
    }

    /// Where the VIP is to be found while the fault lasts.
    pub fn then(self) -> Then {
        match self {
            Self::KhadKilled
            | Self::AddressDeleted
            | Self::ApiserverKilled
            | Self::ApiserverHung => Then::Stays,
            Self::KhavipKilled => Then::Anywhere,
            _ => Then::Moves,
        }
    }

    /// Whether a VIP that moved may be on the host that it befell again, once it is mended. As no host is preferred, only
    /// where the others may have lost etcd's leader with it: until they have another one, it may be the first that can
    /// serve.
    pub fn may_return(self) -> bool {
        matches!(
            self,
            Self::CutOff | Self::ReceivingOnly | Self::SendingOnly | Self::VoterRestarted
        )
    }

    /// How long it lasts before it is mended, once the client is served.
    pub fn lasts(self) -> Duration {
        match self {
            Self::BothStopped => LONG,
            Self::ApiserverHung if soak() => LONG,
            Self::BothKilled
            | Self::ApiserverHung
            | Self::CutOff
            | Self::ReceivingOnly
            | Self::SendingOnly
            | Self::VoterRestarted => SHORT,
            _ => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_can_be_named_in_a_list() {
        let names: std::collections::BTreeSet<_> = Fault::ALL.map(Fault::name).into();
        assert_eq!(names.len(), Fault::ALL.len());
        assert!(names.iter().all(|name| !name.contains(',')));
    }
}
