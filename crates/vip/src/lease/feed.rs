//! What `khad` tells the lease: who takes part, with which key, at which pace.

use std::net::SocketAddr;

use khactl_lease::{Configuration, Timing};

use super::authentication::Authentication;

/// One host that takes part in the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// The host's id.
    pub id: u64,
    /// Where its lease thread receives datagrams.
    pub address: SocketAddr,
    /// Place in the order of preference; 0 is the most preferred. Equal places are ordered by id.
    pub preference: u8,
    /// False for a witness, which only accepts.
    pub proposer: bool,
}

/// One configuration of the lease, as the cluster state has it.
#[derive(Clone, PartialEq, Eq)]
pub struct Feed {
    /// The configuration's number; it only rises. An older one than the last is ignored.
    pub epoch: u64,
    /// True if `khad` learned this epoch by a linearizable read made after this boot (A8).
    pub confirmed: bool,
    /// The cluster's lease key, for HMAC-SHA256.
    pub key: [u8; 32],
    /// All members, at most nine, this host among them unless it has left.
    pub members: Vec<Member>,
    /// The lease time T in milliseconds, 40 to 2000.
    pub lease_ms: u32,
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Feed")
            .field("epoch", &self.epoch)
            .field("confirmed", &self.confirmed)
            .field("members", &self.members)
            .field("lease_ms", &self.lease_ms)
            .finish_non_exhaustive()
    }
}

/// A feed that cannot be one; it is ignored and shown in the status.
#[derive(Debug, thiserror::Error)]
pub(super) enum FeedError {
    /// Epoch or members.
    #[error(transparent)]
    Configuration(#[from] khactl_lease::ConfigurationError),
    /// The lease time.
    #[error(transparent)]
    Timing(#[from] khactl_lease::TimingError),
}

/// A feed made ready outside the lease thread, which then only takes it over.
pub(super) struct Prepared {
    pub(super) configuration: Configuration,
    pub(super) timing: Timing,
    pub(super) confirmed: bool,
    pub(super) authentication: Authentication,
    addresses: Vec<(u64, SocketAddr)>,
}

impl Prepared {
    /// Where a member receives datagrams.
    pub(super) fn address(&self, id: u64) -> Option<SocketAddr> {
        self.addresses
            .iter()
            .find(|(member, _)| *member == id)
            .map(|(_, address)| *address)
    }
}

impl TryFrom<Feed> for Prepared {
    type Error = FeedError;

    fn try_from(feed: Feed) -> Result<Self, FeedError> {
        let members: Vec<_> = feed
            .members
            .iter()
            .map(
                |&Member {
                     id,
                     preference,
                     proposer,
                     ..
                 }| khactl_lease::Member {
                    id,
                    preference,
                    proposer,
                },
            )
            .collect();
        Ok(Self {
            configuration: Configuration::new(feed.epoch, &members)?,
            timing: Timing::from_lease_ms(feed.lease_ms)?,
            confirmed: feed.confirmed,
            authentication: Authentication::new(&feed.key),
            addresses: feed
                .members
                .iter()
                .map(|member| (member.id, member.address))
                .collect(),
        })
    }
}
