//! Admits hosts. On the leader it decides; elsewhere it passes the request on.

use khactl_model::command::{AdmitHost, Command, OperationKind};
use khactl_pki::JoinToken;
use khactl_proto::v1::{self, enrol_client::EnrolClient, enrol_server::Enrol};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tonic::{Request, Response, Status};

use crate::bundle;
use crate::config::is_dns_label;
use crate::issue;
use crate::net;
use crate::node::Node;
use crate::refused::Refused;
use crate::time;

const DOING: &str = "admit a host";
/// Leases and certificates stand two clocks that differ by no more.
const CLOCK_SKEW_MAX_MS: u64 = 2_000;

/// Answers hosts that join.
#[derive(Debug)]
pub struct EnrolService {
    node: Arc<Node>,
}

impl EnrolService {
    /// For that member.
    pub fn new(node: Arc<Node>) -> Self {
        Self { node }
    }

    async fn decide(&self, request: &v1::AdmitRequest) -> Result<v1::AdmitResponse, Refused> {
        let received_ms = time::wall_ms();
        let address: IpAddr = request.address.parse().map_err(|_| {
            Refused::new(
                "KHA2030",
                DOING,
                format!("`{}` is not an IP address", request.address),
                "start khad with --advertise-address",
            )
        })?;
        if !is_dns_label(&request.host_name) {
            return Err(Refused::new(
                "KHA2034",
                DOING,
                "the host's name is no DNS label",
                "start khad there with --host-name NAME: lower-case letters, digits and hyphens",
            ));
        }
        // The token comes first: without it a caller learns nothing else.
        let state = self.node.state();
        let token_valid = state.tokens.get(&request.token_id).is_some_and(|token| {
            JoinToken::verify_secret(&request.token_secret, &token.secret_hash)
        });
        if !token_valid {
            return Err(Refused::new(
                "KHA2010",
                DOING,
                "the token is not known to this cluster",
                "make a new one on a member: `khactl token create`",
            ));
        }
        if request.version != env!("CARGO_PKG_VERSION") {
            return Err(Refused::new(
                "KHA2031",
                DOING,
                format!(
                    "the host runs khad {}, the cluster {}",
                    request.version,
                    env!("CARGO_PKG_VERSION")
                ),
                "install the same version on both",
            ));
        }
        if request.clock_ms.abs_diff(received_ms) > CLOCK_SKEW_MAX_MS {
            return Err(Refused::new(
                "KHA2032",
                DOING,
                format!(
                    "the clocks differ: {} on the host that joins, {} here",
                    issue::wall_text(request.clock_ms),
                    issue::wall_text(received_ms)
                ),
                "set both by NTP, then try again",
            ));
        }
        let key_pin = issue::key_pin(&request.csr_pem)?;
        let command = AdmitHost {
            token_id: request.token_id.clone(),
            host_name: request.host_name.clone(),
            address,
            key_pin: key_pin.clone(),
        };
        // What the state would refuse is refused before the host is asked back.
        let mut rehearsal = state.clone();
        rehearsal
            .apply(&khactl_model::command::Entry {
                actor: String::new(),
                at_ms: received_ms,
                command: Command::AdmitHost(command.clone()),
            })
            .map_err(|r| Refused::new(r.code, DOING, r.wrong, r.advice))?;
        let back = SocketAddr::new(address, khactl_model::AGENT_PORT);
        if !state.hosts.contains_key(&request.host_name) {
            net::probe_back(back, &key_pin).await.map_err(|error| {
                Refused::new(
                    "KHA2033",
                    DOING,
                    format!(
                        "{back}, the address that the host gave, does not lead back to it: {}",
                        crate::refused::chain(&error)
                    ),
                    "check --advertise-address there, and that port 9443 is open between the hosts",
                )
            })?;
        }
        if request.rehearse {
            return Ok(v1::AdmitResponse {
                cluster_name: self.node.member.cluster_name.clone(),
                spec_yaml: state.spec_yaml().unwrap_or_default().to_owned(),
                bundle_arch: bundle::own_arch(&state).await,
                ..Default::default()
            });
        }
        let actor = format!("host:{}", request.host_name);
        let host_id = self
            .node
            .propose(&actor, Command::AdmitHost(command))
            .await
            .map_err(|r| r.while_doing(DOING))?;
        let state = self.node.state();
        if state
            .operation_of(OperationKind::Join, &request.host_name)
            .is_none()
        {
            self.node
                .propose(
                    &actor,
                    Command::StartOperation {
                        kind: OperationKind::Join,
                        host_name: request.host_name.clone(),
                    },
                )
                .await?;
        }
        let certificate_pem = issue::sign(
            &state,
            &self.node.sealing,
            &request.host_name,
            khactl_pki::LeafKind::Agent.name(),
            &request.csr_pem,
        )?;
        self.node.cluster_changed.notify_one();
        let cluster = state
            .cluster
            .clone()
            .unwrap_or_else(|| unreachable_cluster(&self.node));
        Ok(v1::AdmitResponse {
            cluster_id: cluster.id,
            cluster_name: cluster.name,
            host_id,
            certificate_pem,
            authority_pem: state
                .authorities
                .get(issue::AGENT_AUTHORITY)
                .map(|a| a.certificate_pem.clone())
                .unwrap_or_default(),
            sealing_key: self.node.sealing.bytes().to_vec().into(),
            members: state
                .hosts
                .values()
                .filter(|h| h.id != host_id)
                .map(|h| v1::Member {
                    id: h.id,
                    name: h.name.clone(),
                    address: h.agent_address().to_string(),
                })
                .collect(),
            spec_yaml: state.spec_yaml().unwrap_or_default().to_owned(),
            bundle_arch: bundle::own_arch(&state).await,
        })
    }
}

/// A state without a cluster admits nobody; a member knows its cluster's name all the same.
fn unreachable_cluster(node: &Node) -> khactl_model::state::Cluster {
    khactl_model::state::Cluster {
        id: node.member.cluster_id.clone(),
        name: node.member.cluster_name.clone(),
        created_at_ms: 0,
    }
}

#[tonic::async_trait]
impl Enrol for EnrolService {
    async fn admit(
        &self,
        request: Request<v1::AdmitRequest>,
    ) -> Result<Response<v1::AdmitResponse>, Status> {
        // Passed on once: two agents that each take the other for the leader end it here.
        let passed_on = matches!(net::identity(&request), net::Identity::Host { .. });
        if let Some(leader) = self.node.leader_address()
            && !passed_on
        {
            let mut client = EnrolClient::new(self.node.peers.channel(leader));
            return client
                .admit(time::within(Duration::from_secs(30), request.into_inner()))
                .await;
        }
        Ok(Response::new(self.decide(&request.into_inner()).await?))
    }
}
