//! openraft's network: gRPC over the channels that the caller's [`Dial`] gives.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use khactl_proto::v1;
use khactl_proto::v1::raft_client::RaftClient;
use openraft::errors::{
    NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable,
};
use openraft::network::{RPCOption, RPCTypes};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{BasicNode, OptionalSend, RaftNetworkFactory, RaftNetworkV2};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::codec::{self, CodecError};
use crate::config::{MAX_MESSAGE_BYTES, SNAPSHOT_CHUNK_BYTES};
use crate::types::{Snapshot, Types, Vote};
use crate::{Config, Dial, Peer, convert};

/// Makes a [`Link`] to each peer.
pub(crate) struct Network {
    dial: Arc<dyn Dial>,
    cluster: String,
    me: u64,
    append_timeout: Duration,
}

impl Network {
    pub(crate) fn new(config: &Config, dial: Arc<dyn Dial>) -> Self {
        Self {
            dial,
            cluster: config.cluster.clone(),
            me: config.node_id,
            append_timeout: Duration::from_millis(config.election_timeout_ms.0),
        }
    }
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Link;

    async fn new_client(&mut self, target: u64, node: &BasicNode) -> Link {
        let channel = self.dial.channel(&Peer {
            id: target,
            address: node.addr.clone(),
        });
        Link {
            client: RaftClient::new(channel)
                .max_decoding_message_size(MAX_MESSAGE_BYTES)
                .max_encoding_message_size(MAX_MESSAGE_BYTES),
            cluster: self.cluster.clone(),
            me: self.me,
            target,
            append_timeout: self.append_timeout,
        }
    }
}

/// Sends to one peer.
pub(crate) struct Link {
    client: RaftClient<Channel>,
    cluster: String,
    me: u64,
    target: u64,
    append_timeout: Duration,
}

impl Link {
    fn route(&self) -> v1::RaftRoute {
        v1::RaftRoute {
            cluster: self.cluster.clone(),
            from: self.me,
            to: self.target,
        }
    }

    /// Runs one call under its deadline, here and on the other side.
    async fn call<T>(
        &self,
        action: RPCTypes,
        limit: Duration,
        call: impl Future<Output = Result<tonic::Response<T>, Status>>,
    ) -> Result<T, RPCError<Types>> {
        match tokio::time::timeout(limit, call).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(rpc_error(&status)),
            Err(_) => Err(RPCError::Timeout(Timeout {
                action,
                id: self.me,
                target: self.target,
                timeout: limit,
            })),
        }
    }
}

/// A request that tells the other side when nobody waits for it any more.
fn timed<T>(message: T, limit: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(limit);
    request
}

/// What openraft makes of a failed call: after `Unreachable` it backs off, after a network
/// error it tries again at once.
fn rpc_error(status: &Status) -> RPCError<Types> {
    let text = codec::chain(status);
    match status.code() {
        Code::Cancelled | Code::DeadlineExceeded | Code::Aborted => {
            RPCError::Network(NetworkError::from_string(text))
        }
        _ => RPCError::Unreachable(Unreachable::from_string(text)),
    }
}

fn malformed(error: &CodecError) -> RPCError<Types> {
    RPCError::Network(NetworkError::from_string(codec::chain(error)))
}

fn vote_request(route: v1::RaftRoute, request: &VoteRequest<Types>) -> v1::RaftVoteRequest {
    v1::RaftVoteRequest {
        route: Some(route),
        vote: Some(convert::vote_to(&request.vote)),
        last_log_id: request.last_log_id.as_ref().map(convert::log_id_to),
        leadership_transfer: request.leadership_transfer,
    }
}

fn vote_response(response: v1::RaftVoteResponse) -> Result<VoteResponse<Types>, RPCError<Types>> {
    let vote = response
        .vote
        .ok_or_else(|| malformed(&CodecError::Missing("vote")))?;
    Ok(VoteResponse::new(
        convert::vote_from(vote),
        response.last_log_id.map(convert::log_id_from),
        response.granted,
    ))
}

impl RaftNetworkV2<Types> for Link {
    type SnapshotData = Bytes;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        use v1::raft_append_response::Outcome;
        // openraft gives every append the time of one heartbeat. That fits a heartbeat; an
        // append with entries waits for the follower's fsync, and cutting it off would only
        // have it sent again.
        let limit = if rpc.entries.is_empty() {
            option.hard_ttl()
        } else {
            option.hard_ttl().max(self.append_timeout)
        };
        let message = v1::RaftAppendRequest {
            route: Some(self.route()),
            vote: Some(convert::vote_to(&rpc.vote)),
            prev_log_id: rpc.prev_log_id.as_ref().map(convert::log_id_to),
            leader_commit: rpc.leader_commit.as_ref().map(convert::log_id_to),
            entries: rpc
                .entries
                .iter()
                .map(|e| convert::entry_to_bytes(e).into())
                .collect(),
        };
        let mut client = self.client.clone();
        let response = self
            .call(
                RPCTypes::AppendEntries,
                limit,
                client.append_entries(timed(message, limit)),
            )
            .await?;
        match response
            .outcome
            .ok_or_else(|| malformed(&CodecError::Missing("outcome")))?
        {
            Outcome::Success(_) => Ok(AppendEntriesResponse::Success),
            // openraft answers a conflict with the entry before those it sent.
            Outcome::Conflict(_) if rpc.prev_log_id.is_some() => {
                Ok(AppendEntriesResponse::Conflict)
            }
            Outcome::Conflict(_) => Err(malformed(&CodecError::Invalid(
                "a conflict before the first entry".to_owned(),
            ))),
            Outcome::HigherVote(vote) => {
                Ok(AppendEntriesResponse::HigherVote(convert::vote_from(vote)))
            }
        }
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let limit = option.hard_ttl();
        let message = vote_request(self.route(), &rpc);
        let mut client = self.client.clone();
        let response = self
            .call(RPCTypes::Vote, limit, client.vote(timed(message, limit)))
            .await?;
        vote_response(response)
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let limit = option.hard_ttl();
        let message = vote_request(self.route(), &rpc);
        let mut client = self.client.clone();
        let response = self
            .call(
                RPCTypes::Vote,
                limit,
                client.pre_vote(timed(message, limit)),
            )
            .await?;
        vote_response(response)
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        let limit = option.hard_ttl();
        let message = v1::RaftTransferRequest {
            route: Some(self.route()),
            from_leader: Some(convert::vote_to(req.from_leader())),
            to_node: *req.to_node_id(),
            last_log_id: req.last_log_id().map(convert::log_id_to),
        };
        let mut client = self.client.clone();
        let response = self
            .call(
                RPCTypes::TransferLeader,
                limit,
                client.transfer_leader(timed(message, limit)),
            )
            .await?;
        if response.accepted {
            return Ok(Ok(()));
        }
        Err(RPCError::Network(NetworkError::from_string(
            response.reason,
        )))
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let limit = option.hard_ttl();
        let head = v1::RaftSnapshotHead {
            route: Some(self.route()),
            vote: Some(convert::vote_to(&vote)),
            meta: Some(convert::meta_to(&snapshot.meta)),
            size: snapshot.snapshot.len() as u64,
            format: u32::from(codec::FORMAT),
        };
        let mut client = self.client.clone();
        let call = client.install_snapshot(timed(chunks(head, snapshot.snapshot), limit));
        let answered = tokio::select! {
            closed = cancel => return Err(StreamingError::Closed(closed)),
            answered = self.call(RPCTypes::InstallSnapshot, limit, call) => answered,
        };
        let response = answered.map_err(|error| match error {
            RPCError::Timeout(timeout) => StreamingError::Timeout(timeout),
            RPCError::Unreachable(unreachable) => StreamingError::Unreachable(unreachable),
            RPCError::Network(network) => StreamingError::Network(network),
            RPCError::RemoteError(remote) => {
                StreamingError::Network(NetworkError::from_string(remote))
            }
        })?;
        let vote = response.vote.ok_or_else(|| {
            StreamingError::Network(NetworkError::from_string("the answer has no vote"))
        })?;
        Ok(SnapshotResponse::new(convert::vote_from(vote)))
    }
}

/// The snapshot in pieces, sharing its memory; the first carries the head.
fn chunks(
    head: v1::RaftSnapshotHead,
    data: Bytes,
) -> impl futures::Stream<Item = v1::RaftSnapshotChunk> {
    let pieces = data.len().div_ceil(SNAPSHOT_CHUNK_BYTES).max(1);
    let mut head = Some(head);
    futures::stream::iter((0..pieces).map(move |piece| {
        let start = piece * SNAPSHOT_CHUNK_BYTES;
        let end = data.len().min(start + SNAPSHOT_CHUNK_BYTES);
        v1::RaftSnapshotChunk {
            head: head.take(),
            data: data.slice(start..end),
        }
    }))
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;

    #[test]
    fn chunks_carry_the_whole_snapshot_and_one_head() {
        for size in [0, 1, SNAPSHOT_CHUNK_BYTES, SNAPSHOT_CHUNK_BYTES * 2 + 7] {
            let data = Bytes::from(vec![7; size]);
            let sent: Vec<_> = futures::executor::block_on(
                chunks(v1::RaftSnapshotHead::default(), data).collect(),
            );
            assert_eq!(
                sent.iter().map(|chunk| chunk.data.len()).sum::<usize>(),
                size
            );
            assert!(sent[0].head.is_some());
            assert!(sent[1..].iter().all(|chunk| chunk.head.is_none()));
            assert!(
                sent.iter()
                    .all(|chunk| chunk.data.len() <= SNAPSHOT_CHUNK_BYTES)
            );
        }
    }
}
