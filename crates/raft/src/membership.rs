//! Changes of the group: one at a time, by the leader, each safe to repeat.

use std::collections::BTreeSet;
use std::time::Duration;

use openraft::{BasicNode, ChangeMembers};

use crate::raft::{stopped, write_error};
use crate::{Error, Machine, Peer, Raft, Status};

/// Entries that a learner may lack when it gets its vote: what is written while it is asked.
const LAG_MAX: u64 = 64;
/// A learner gets this long to copy a snapshot and the log; then the caller tries again.
const CATCH_UP_MAX: Duration = Duration::from_secs(30);

impl<M: Machine> Raft<M> {
    /// Adds a member without a vote; it starts copying the log. Does nothing if it is a member
    /// at that address already.
    pub async fn add_learner(&self, peer: &Peer) -> Result<(), Error> {
        let _one = self.one_change()?;
        let status = self.leading().await?;
        if status.member(peer.id) == Some(peer) {
            return Ok(());
        }
        if let Some(known) = status.member(peer.id) {
            return Err(Error::Change {
                reason: format!(
                    "id {} belongs to {}; ids are never reused",
                    peer.id, known.address
                ),
            });
        }
        let node = BasicNode::new(&peer.address);
        let added = self.inner.member.raft.add_learner(peer.id, node, false);
        self.in_time(added).await?.map_err(write_error)?;
        self.seen(|status| status.member(peer.id).is_some()).await?;
        tracing::info!(%peer, "added a learner to the agents' group");
        Ok(())
    }

    /// Gives a learner its vote once it has caught up. Does nothing if it has one.
    pub async fn promote(&self, id: u64) -> Result<(), Error> {
        let _one = self.one_change()?;
        let status = self.leading().await?;
        if status.is_voter(id) && !status.changing {
            return Ok(());
        }
        if status.member(id).is_none() {
            return Err(Error::UnknownMember { id });
        }
        self.caught_up(id, LAG_MAX, CATCH_UP_MAX).await?;
        self.change(ChangeMembers::AddVoterIds(BTreeSet::from([id])), true)
            .await?;
        self.seen(|status| status.is_voter(id)).await?;
        tracing::info!(id, "gave a learner its vote in the agents' group");
        Ok(())
    }

    /// Removes a member, voter or learner. Does nothing if it is none. A leader that removes
    /// itself goes on for a moment and then hands over.
    pub async fn remove(&self, id: u64) -> Result<(), Error> {
        let _one = self.one_change()?;
        let status = self.leading().await?;
        if status.member(id).is_none() && !status.changing {
            return Ok(());
        }
        if status.voters.len() == 1 && status.is_voter(id) {
            return Err(Error::Change {
                reason: "the last voter cannot be removed".to_owned(),
            });
        }
        if status.is_voter(id) || status.changing {
            self.change(ChangeMembers::RemoveVoters(BTreeSet::from([id])), false)
                .await?;
        } else {
            self.change(ChangeMembers::RemoveNodes(BTreeSet::from([id])), false)
                .await?;
        }
        self.seen(|status| status.member(id).is_none()).await?;
        tracing::info!(id, "removed a member from the agents' group");
        Ok(())
    }

    /// Hands leadership to a voter that has the whole log, and returns when it leads. Does
    /// nothing if it leads already.
    ///
    /// This bypasses the lease: give up first whatever depends on leading.
    pub async fn transfer_leader(&self, id: u64) -> Result<(), Error> {
        if self.leader().is_some_and(|leader| leader.id == id) {
            return Ok(());
        }
        let _one = self.one_change()?;
        let status = self.leading().await?;
        if !status.is_voter(id) {
            return Err(Error::UnknownMember { id });
        }
        let lease = Duration::from_millis(self.inner.member.config.lease_ms());
        // To one that lags it would take elections, with nobody leading meanwhile.
        self.caught_up(id, 0, lease).await?;
        let raft = &self.inner.member.raft;
        raft.trigger()
            .transfer_leader(id)
            .await
            .map_err(|error| stopped(&error))?;
        // The target's election, and one more after it should that fail.
        let waited = lease * 4;
        let leads = |status: &Status| status.leader.as_ref().is_some_and(|leader| leader.id == id);
        match self.wait(waited, leads).await? {
            Some(_) => Ok(()),
            None => Err(Error::Transfer { id, waited }),
        }
    }

    fn one_change(&self) -> Result<tokio::sync::MutexGuard<'_, ()>, Error> {
        self.inner
            .changing
            .try_lock()
            .map_err(|_| Error::ChangeInProgress)
    }

    /// The status of this member, which leads and has a majority behind it.
    async fn leading(&self) -> Result<Status, Error> {
        let status = self.inner.status.borrow().clone();
        if let Some(reason) = status.stopped {
            return Err(Error::Stopped { reason });
        }
        // openraft refuses changes until the leader has committed an entry of its own term;
        // this waits for that, and finds out beforehand whether a majority answers.
        self.linearizable().await?;
        Ok(self.inner.status.borrow().clone())
    }

    async fn caught_up(&self, id: u64, lag: u64, waited: Duration) -> Result<(), Error> {
        let settled = |status: &Status| !status.is_leader || status.behind(id) <= lag;
        match self.wait(waited, settled).await? {
            Some(status) if status.is_leader => Ok(()),
            Some(status) => Err(Error::NotLeader {
                leader: status.leader,
            }),
            None => {
                let behind = self.inner.status.borrow().behind(id);
                Err(Error::Behind { id, behind, waited })
            }
        }
    }

    /// A change is committed a moment before the status shows it; whoever asks for the next one
    /// is judged by the status. What does not show in time shows later: the change itself holds.
    async fn seen(&self, shows: impl Fn(&Status) -> bool) -> Result<(), Error> {
        let lease = Duration::from_millis(self.inner.member.config.lease_ms());
        self.wait(lease, |status| !status.is_leader || shows(status))
            .await
            .map(drop)
    }

    async fn change(
        &self,
        change: ChangeMembers<u64, BasicNode>,
        retain: bool,
    ) -> Result<(), Error> {
        let changed = self.inner.member.raft.change_membership(change, retain);
        self.in_time(changed).await?.map_err(write_error)?;
        Ok(())
    }
}
