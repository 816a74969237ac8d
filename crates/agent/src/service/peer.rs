//! What the other agents ask.

use khactl_model::facts::HostReport;
use khactl_proto::entry;
use khactl_proto::v1::{self, peer_server::Peer};
use std::pin::Pin;
use std::sync::Arc;
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use crate::issue;
use crate::logs;
use crate::net;
use crate::node::{Node, raft_refused};
use crate::operation::remove;
use crate::preflight;
use crate::refused::Refused;
use crate::standing::require_standing;
use crate::time;
use crate::transfer;

/// Answers the other agents.
#[derive(Debug)]
pub struct PeerService {
    node: Arc<Node>,
}

impl PeerService {
    /// For that member.
    pub fn new(node: Arc<Node>) -> Self {
        Self { node }
    }

    /// The caller's record; its certificate says who it is.
    fn caller<T>(&self, request: &Request<T>) -> Result<String, Status> {
        let name = require_standing(&self.node, request)?;
        let key_pin = net::caller(request).key_pin;
        // The name alone may be that of a host which was removed and joined anew.
        let known = self.node.raft.with_machine(|machine| {
            let host = machine.state().hosts.get(&name);
            host.is_some_and(|host| Some(&host.key_pin) == key_pin.as_ref())
        });
        if known || name == self.node.member.host_name {
            Ok(name)
        } else {
            Err(Refused::new(
                "KHA3020",
                "answer another agent",
                format!("{name} is not a host of this cluster"),
                "let it join again",
            )
            .into())
        }
    }
}

#[tonic::async_trait]
impl Peer for PeerService {
    async fn propose(
        &self,
        request: Request<v1::ProposeRequest>,
    ) -> Result<Response<v1::ProposeResponse>, Status> {
        let doing = "pass a change to the leader";
        let caller = self.caller(&request)?;
        let mut entry = entry::decode(&request.into_inner().entry)
            .map_err(|error| Refused::new("KHA3011", doing, error, "upgrade khad"))?;
        entry.actor = actor_of(&caller, entry.actor);
        entry.at_ms = time::wall_ms();
        let answer = self
            .node
            .raft
            .propose(entry::encode(&entry))
            .await
            .map_err(|error| raft_refused(doing, &error))?;
        Ok(Response::new(v1::ProposeResponse {
            answer: answer.into(),
        }))
    }

    async fn barrier(
        &self,
        request: Request<v1::BarrierRequest>,
    ) -> Result<Response<v1::BarrierResponse>, Status> {
        self.caller(&request)?;
        let index = self
            .node
            .raft
            .linearizable()
            .await
            .map_err(|error| raft_refused("confirm a read", &error))?;
        Ok(Response::new(v1::BarrierResponse { index }))
    }

    async fn report(
        &self,
        request: Request<v1::ReportRequest>,
    ) -> Result<Response<v1::ReportResponse>, Status> {
        let caller = self.caller(&request)?;
        let report: HostReport = serde_json::from_str(&request.into_inner().json)
            .map_err(|error| Status::invalid_argument(format!("the report: {error}")))?;
        let own = self.node.raft.with_machine(|machine| {
            machine
                .state()
                .hosts
                .get(&caller)
                .is_some_and(|h| h.id == report.host_id)
        });
        if !own {
            return Err(Status::permission_denied(format!(
                "host {caller} reports for host id {}",
                report.host_id
            )));
        }
        let now_ms = time::boot_ms();
        self.node.fences.reported(&report, now_ms);
        let unready = self.node.heard(report, now_ms);
        Ok(Response::new(v1::ReportResponse {
            fences: self.node.fences.to_json(now_ms),
            unready: unready.into_iter().collect(),
        }))
    }

    async fn sign(
        &self,
        request: Request<v1::SignRequest>,
    ) -> Result<Response<v1::SignResponse>, Status> {
        let caller = self.caller(&request)?;
        let request = request.into_inner();
        let state = self.node.state();
        let certificate_pem = issue::sign(
            &state,
            &self.node.sealing,
            &caller,
            &request.leaf,
            &request.csr_pem,
        )?;
        Ok(Response::new(v1::SignResponse { certificate_pem }))
    }

    async fn remove(
        &self,
        request: Request<v1::RemoveRequest>,
    ) -> Result<Response<v1::RemoveResponse>, Status> {
        let caller = self.caller(&request)?;
        let request = request.into_inner();
        let actor = actor_of(&caller, request.actor);
        let ask = remove::Ask {
            host_name: request.host_name,
            force: request.force,
            leaves: request.leaves,
        };
        let operation = remove::begin(&self.node, &actor, &ask).await?;
        Ok(Response::new(v1::RemoveResponse { operation }))
    }

    async fn status(
        &self,
        request: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusResponse>, Status> {
        self.caller(&request)?;
        Ok(Response::new(v1::StatusResponse {
            json: crate::service::admin::status_json(&self.node)?,
        }))
    }

    type LogsStream = Pin<Box<dyn Stream<Item = Result<v1::LogChunk, Status>> + Send>>;

    async fn logs(
        &self,
        request: Request<v1::LogsRequest>,
    ) -> Result<Response<Self::LogsStream>, Status> {
        self.caller(&request)?;
        let stream = logs::read(&self.node.config, &request.into_inner()).await?;
        Ok(Response::new(stream))
    }

    async fn vip_view(
        &self,
        request: Request<v1::VipViewRequest>,
    ) -> Result<Response<v1::VipViewResponse>, Status> {
        self.caller(&request)?;
        let view = transfer::own_view(&self.node).await;
        let json = view.and_then(|view| serde_json::to_string(&view).ok());
        Ok(Response::new(v1::VipViewResponse {
            json: json.unwrap_or_default(),
        }))
    }

    async fn try_paths(
        &self,
        request: Request<v1::TryPathsRequest>,
    ) -> Result<Response<v1::TryPathsResponse>, Status> {
        self.caller(&request)?;
        let paths = preflight::paths_from(&self.node).await;
        let json = serde_json::to_string(&paths)
            .map_err(|error| Status::internal(format!("the paths: {error}")))?;
        Ok(Response::new(v1::TryPathsResponse { json }))
    }

    async fn hand_over_vip(
        &self,
        request: Request<v1::HandOverVipRequest>,
    ) -> Result<Response<v1::HandOverVipResponse>, Status> {
        let caller = self.caller(&request)?;
        let successor_id = request.into_inner().successor_id;
        tracing::info!(caller, successor_id, "asked to hand the VIP over");
        let held = transfer::own_hand_over(&self.node, successor_id).await?;
        Ok(Response::new(v1::HandOverVipResponse { held }))
    }

    async fn transfer_leader(
        &self,
        request: Request<v1::TransferRequest>,
    ) -> Result<Response<v1::TransferResponse>, Status> {
        let caller = self.caller(&request)?;
        let host = request.into_inner().host;
        tracing::info!(caller, host, "asked to hand the leadership over");
        Ok(Response::new(
            transfer::leader_here(&self.node, &host).await?,
        ))
    }
}

/// A host speaks for itself and for the people on it, and for no other host.
fn actor_of(caller: &str, claimed: String) -> String {
    if claimed.ends_with(&format!("@{caller}")) {
        claimed
    } else {
        format!("host:{caller}")
    }
}
