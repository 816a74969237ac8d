//! The gRPC service that other agents' consensus talks to.
//!
//! It validates and bounds what comes in, keeps the silence after a start, and refuses
//! entries while the disk is full. Who may call is the caller's business: it sees the
//! certificates.

use std::fmt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use khactl_proto::v1;
use khactl_proto::v1::raft_server::{Raft as Served, RaftServer};
use openraft::EntryPayload;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest, VoteRequest, VoteResponse,
};
use tonic::{Request, Response, Status, Streaming};

use crate::codec::{self, CodecError};
use crate::config::{MAX_ENTRIES_PER_APPEND, MAX_MESSAGE_BYTES, MAX_SNAPSHOT_BYTES};
use crate::headroom::Headroom;
use crate::silence::Silence;
use crate::state_machine::StateMachine;
use crate::types::{Entry, LogId, Snapshot, Types};
use crate::{Config, Machine, convert};

/// What the service needs of its member.
pub(crate) struct Member<M: Machine> {
    pub(crate) raft: openraft::Raft<Types, StateMachine<M>>,
    pub(crate) config: Config,
    pub(crate) silence: Silence,
    pub(crate) headroom: Headroom,
}

/// Answers other agents' consensus. Made by [`crate::Raft::service`].
pub struct Service<M: Machine> {
    member: Arc<Member<M>>,
}

impl<M: Machine> fmt::Debug for Service<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("node_id", &self.member.config.node_id)
            .finish()
    }
}

impl<M: Machine> Service<M> {
    pub(crate) fn server(member: Arc<Member<M>>) -> RaftServer<Self> {
        RaftServer::new(Self { member })
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// Refuses what was not meant for this member.
    fn admit(&self, route: Option<v1::RaftRoute>) -> Result<(), Status> {
        let route = route.ok_or_else(|| refuse(&CodecError::Missing("route")))?;
        let config = &self.member.config;
        if route.cluster != config.cluster {
            return Err(Status::permission_denied(format!(
                "this agent belongs to cluster {}, the request to cluster {}",
                config.cluster, route.cluster
            )));
        }
        if route.to != config.node_id {
            return Err(Status::permission_denied(format!(
                "this agent is node {}, the request is for node {}",
                config.node_id, route.to
            )));
        }
        Ok(())
    }

    fn unless_silent(&self) -> Result<(), Status> {
        match self.member.silence.remaining(khactl_sys::clock::boottime()) {
            None => Ok(()),
            Some(left) => Err(Status::unavailable(format!(
                "this agent has just started and keeps out of elections for another {} ms",
                left.as_millis()
            ))),
        }
    }

    fn vote_request(&self, request: v1::RaftVoteRequest) -> Result<VoteRequest<Types>, Status> {
        self.admit(request.route)?;
        self.unless_silent()?;
        let vote = request
            .vote
            .ok_or_else(|| refuse(&CodecError::Missing("vote")))?;
        let last_log_id = request.last_log_id.map(convert::log_id_from);
        let mut vote = VoteRequest::new(convert::vote_from(vote), last_log_id);
        vote.leadership_transfer = request.leadership_transfer;
        Ok(vote)
    }

    fn entries(sent: &[Bytes], previous: Option<LogId>) -> Result<Vec<Entry>, Status> {
        if sent.len() as u64 > MAX_ENTRIES_PER_APPEND {
            return Err(Status::invalid_argument(format!(
                "{} entries in one append, {MAX_ENTRIES_PER_APPEND} at the most",
                sent.len()
            )));
        }
        let mut before = previous;
        let mut entries = Vec::with_capacity(sent.len());
        for bytes in sent {
            let entry = convert::entry_from_bytes(bytes).map_err(|error| refuse(&error))?;
            let id = entry.log_id;
            let follows = match before {
                None => id.index == 0,
                Some(prev) => {
                    prev.index.checked_add(1) == Some(id.index) && prev.leader_id <= id.leader_id
                }
            };
            if !follows {
                return Err(Status::invalid_argument(format!(
                    "entry {id} does not follow its previous one"
                )));
            }
            if let EntryPayload::Normal(command) = &entry.payload {
                M::check_command(&command.0).map_err(|reason| {
                    Status::failed_precondition(format!(
                        "entry {id} cannot be applied here: {reason}"
                    ))
                })?;
            }
            before = Some(id);
            entries.push(entry);
        }
        Ok(entries)
    }

    async fn receive(
        &self,
        mut chunks: Streaming<v1::RaftSnapshotChunk>,
    ) -> Result<(v1::RaftBallot, Snapshot), Status> {
        let first = chunks
            .message()
            .await?
            .ok_or_else(|| Status::invalid_argument("no chunk"))?;
        let head = first
            .head
            .ok_or_else(|| refuse(&CodecError::Missing("head")))?;
        self.admit(head.route)?;
        if head.format != u32::from(codec::FORMAT) {
            let found = u8::try_from(head.format).unwrap_or(u8::MAX);
            return Err(refuse(&CodecError::Newer { found }));
        }
        if head.size > MAX_SNAPSHOT_BYTES {
            return Err(Status::invalid_argument(format!(
                "a snapshot of {} bytes, {MAX_SNAPSHOT_BYTES} at the most",
                head.size
            )));
        }
        let size =
            usize::try_from(head.size).map_err(|e| Status::invalid_argument(e.to_string()))?;
        self.room(size)?;
        let vote = head
            .vote
            .ok_or_else(|| refuse(&CodecError::Missing("vote")))?;
        let meta = head
            .meta
            .ok_or_else(|| refuse(&CodecError::Missing("meta")))?;
        let meta = convert::meta_from(meta).map_err(|error| refuse(&error))?;
        // Grows with what really arrives, not with what the head promises.
        let mut data = BytesMut::from(first.data);
        while let Some(chunk) = chunks.message().await? {
            data.extend_from_slice(&chunk.data);
            if data.len() > size {
                break;
            }
        }
        if data.len() != size {
            return Err(Status::data_loss(format!(
                "{} of {size} bytes arrived",
                data.len()
            )));
        }
        let data = data.freeze();
        M::check_snapshot(&data).map_err(|reason| {
            Status::failed_precondition(format!("the snapshot cannot be restored here: {reason}"))
        })?;
        Ok((
            vote,
            Snapshot {
                meta,
                snapshot: data,
            },
        ))
    }

    fn room(&self, bytes: usize) -> Result<(), Status> {
        self.member
            .headroom
            .check(bytes)
            .map_err(|error| Status::resource_exhausted(codec::chain(&error)))
    }
}

fn refuse(error: &CodecError) -> Status {
    match error {
        CodecError::Newer { .. } => Status::failed_precondition(format!(
            "the message was refused: {}; upgrade khad on this host",
            codec::chain(error)
        )),
        _ => Status::invalid_argument(codec::chain(error)),
    }
}

fn stopped(error: &dyn std::error::Error) -> Status {
    Status::unavailable(format!(
        "consensus has stopped on this host: {}",
        codec::chain(error)
    ))
}

fn vote_response(response: &VoteResponse<Types>) -> Response<v1::RaftVoteResponse> {
    Response::new(v1::RaftVoteResponse {
        vote: Some(convert::vote_to(&response.vote)),
        granted: response.vote_granted,
        last_log_id: response.last_log_id.as_ref().map(convert::log_id_to),
    })
}

#[tonic::async_trait]
impl<M: Machine> Served for Service<M> {
    async fn append_entries(
        &self,
        request: Request<v1::RaftAppendRequest>,
    ) -> Result<Response<v1::RaftAppendResponse>, Status> {
        use v1::raft_append_response::{Conflict, Done, Outcome};
        let request = request.into_inner();
        self.admit(request.route)?;
        let vote = request
            .vote
            .ok_or_else(|| refuse(&CodecError::Missing("vote")))?;
        if !vote.committed {
            return Err(Status::invalid_argument(
                "only a leader appends, and its vote is committed",
            ));
        }
        let prev_log_id = request.prev_log_id.map(convert::log_id_from);
        if !request.entries.is_empty() {
            self.room(request.entries.iter().map(Bytes::len).sum())?;
        }
        let rpc = AppendEntriesRequest {
            vote: convert::vote_from(vote),
            prev_log_id,
            entries: Self::entries(&request.entries, prev_log_id)?,
            leader_commit: request.leader_commit.map(convert::log_id_from),
        };
        let answer = self
            .member
            .raft
            .append_entries(rpc)
            .await
            .map_err(|e| stopped(&e))?;
        let outcome = match answer {
            // The receiving side never answers with a part.
            AppendEntriesResponse::Success | AppendEntriesResponse::PartialSuccess(_) => {
                Outcome::Success(Done {})
            }
            AppendEntriesResponse::Conflict => Outcome::Conflict(Conflict {}),
            AppendEntriesResponse::HigherVote(vote) => Outcome::HigherVote(convert::vote_to(&vote)),
        };
        Ok(Response::new(v1::RaftAppendResponse {
            outcome: Some(outcome),
        }))
    }

    async fn vote(
        &self,
        request: Request<v1::RaftVoteRequest>,
    ) -> Result<Response<v1::RaftVoteResponse>, Status> {
        let rpc = self.vote_request(request.into_inner())?;
        let answer = self.member.raft.vote(rpc).await.map_err(|e| stopped(&e))?;
        Ok(vote_response(&answer))
    }

    async fn pre_vote(
        &self,
        request: Request<v1::RaftVoteRequest>,
    ) -> Result<Response<v1::RaftVoteResponse>, Status> {
        let rpc = self.vote_request(request.into_inner())?;
        let answer = self
            .member
            .raft
            .pre_vote(rpc)
            .await
            .map_err(|e| stopped(&e))?;
        Ok(vote_response(&answer))
    }

    async fn transfer_leader(
        &self,
        request: Request<v1::RaftTransferRequest>,
    ) -> Result<Response<v1::RaftTransferResponse>, Status> {
        let request = request.into_inner();
        self.admit(request.route)?;
        if request.to_node == self.member.config.node_id {
            self.unless_silent()?;
        }
        let from = request
            .from_leader
            .ok_or_else(|| refuse(&CodecError::Missing("leader")))?;
        let rpc = TransferLeaderRequest::new(
            convert::vote_from(from),
            request.to_node,
            request.last_log_id.map(convert::log_id_from),
        );
        let answer = self
            .member
            .raft
            .handle_transfer_leader(rpc)
            .await
            .map_err(|e| stopped(&e))?;
        Ok(Response::new(match answer {
            Ok(()) => v1::RaftTransferResponse {
                accepted: true,
                reason: String::new(),
            },
            Err(error) => v1::RaftTransferResponse {
                accepted: false,
                reason: codec::chain(&error),
            },
        }))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<v1::RaftSnapshotChunk>>,
    ) -> Result<Response<v1::RaftSnapshotResponse>, Status> {
        let (vote, snapshot) = self.receive(request.into_inner()).await?;
        let answer = self
            .member
            .raft
            .install_full_snapshot(convert::vote_from(vote), snapshot)
            .await
            .map_err(|e| stopped(&e))?;
        Ok(Response::new(v1::RaftSnapshotResponse {
            vote: Some(convert::vote_to(&answer.vote)),
        }))
    }
}
