//! What people ask: over the Unix socket as root, or over port 9443 as an admin.

use khactl_model::command::{AddToken, Command};
use khactl_model::spec::ClusterSpec;
use khactl_model::state::Role;
use khactl_model::status::{ClusterStatus, JournalEntry};
use khactl_pki::JoinToken;
use khactl_proto::v1::{self, admin_server::Admin};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{Request, Response, Status};

use crate::agent::Agent;
use crate::configure;
use crate::going_down;
use crate::issue;
use crate::logs;
use crate::net::{require_admin, require_local};
use crate::node::Node;
use crate::operation::{init, join, leave, remove};
use crate::overview::{View, overview};
use crate::preflight;
use crate::refused::Refused;
use crate::reset;
use crate::time;
use crate::transfer;
use crate::vip_client::VipClient;

/// A token lives a week at the most: one that is forgotten opens nothing for long.
const TTL_MAX_MS: u64 = 7 * 24 * 3600 * 1000;
/// Hosts that one token may admit.
const USES_MAX: u32 = 16;

/// Answers people.
#[derive(Debug)]
pub struct AdminService {
    agent: Arc<Agent>,
}

type ProgressStream = Pin<Box<dyn Stream<Item = Result<v1::Progress, Status>> + Send>>;

impl AdminService {
    /// For that agent.
    pub fn new(agent: Arc<Agent>) -> Self {
        Self { agent }
    }

    fn node(&self, doing: &str) -> Result<Arc<Node>, Refused> {
        self.agent.node().ok_or_else(|| {
            if let Some(departure) = self.agent.departed.known() {
                let problem = departure.problem();
                return Refused::new(&problem.code, doing, problem.text, problem.advice);
            }
            Refused::new(
                "KHA3050",
                doing,
                "this host is not a member of a cluster",
                "make it one: `khactl init -f cluster.yaml`, or `khactl join HOST:9443 --token T`",
            )
        })
    }

    /// The person who asks, as the audit log names them.
    fn actor<T>(&self, request: &Request<T>) -> Result<String, Status> {
        let name = require_admin(request)?;
        Ok(format!("{name}@{}", self.agent.config.host_name))
    }
}

#[tonic::async_trait]
impl Admin for AdminService {
    async fn preflight(
        &self,
        request: Request<v1::PreflightRequest>,
    ) -> Result<Response<v1::PreflightResponse>, Status> {
        require_admin(&request)?;
        let question = preflight::Question::try_from(request.into_inner())?;
        let findings = preflight::findings(&self.agent, &question).await;
        Ok(Response::new(v1::PreflightResponse { findings }))
    }

    type InitStream = ProgressStream;

    async fn init(
        &self,
        request: Request<v1::InitRequest>,
    ) -> Result<Response<Self::InitStream>, Status> {
        require_local(&request)?;
        let actor = self.actor(&request)?;
        let (sender, receiver) = mpsc::channel(64);
        let agent = Arc::clone(&self.agent);
        let request = request.into_inner();
        self.agent.tasks.spawn("init", async move {
            let stopping = agent.tasks.stopping();
            let run = init::run(&agent, &actor, &request, &sender);
            tokio::select! {
                outcome = run => if let Err(refused) = outcome {
                    tracing::warn!(%refused, "init ended");
                    let _ = sender.send(Err(refused.into())).await;
                },
                () = stopping => {}
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    type JoinStream = ProgressStream;

    async fn join(
        &self,
        request: Request<v1::JoinClusterRequest>,
    ) -> Result<Response<Self::JoinStream>, Status> {
        require_local(&request)?;
        self.actor(&request)?;
        let (sender, receiver) = mpsc::channel(64);
        let agent = Arc::clone(&self.agent);
        let request = request.into_inner();
        self.agent.tasks.spawn("join", async move {
            let stopping = agent.tasks.stopping();
            let run = join::run(&agent, &request, &sender);
            tokio::select! {
                outcome = run => if let Err(refused) = outcome {
                    tracing::warn!(%refused, "join ended");
                    let _ = sender.send(Err(refused.into())).await;
                },
                () = stopping => {}
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    type RemoveStream = ProgressStream;

    async fn remove(
        &self,
        request: Request<v1::RemoveHostRequest>,
    ) -> Result<Response<Self::RemoveStream>, Status> {
        let actor = self.actor(&request)?;
        let (sender, receiver) = mpsc::channel(64);
        let agent = Arc::clone(&self.agent);
        let request = request.into_inner();
        self.agent.tasks.spawn("remove", async move {
            let stopping = agent.tasks.stopping();
            let run = remove::run(&agent, &actor, &request, &sender);
            tokio::select! {
                outcome = run => if let Err(refused) = outcome {
                    tracing::warn!(%refused, "remove ended");
                    let _ = sender.send(Err(refused.into())).await;
                },
                () = stopping => {}
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    type LeaveStream = ProgressStream;

    async fn leave(
        &self,
        request: Request<v1::LeaveRequest>,
    ) -> Result<Response<Self::LeaveStream>, Status> {
        require_local(&request)?;
        let actor = self.actor(&request)?;
        let (sender, receiver) = mpsc::channel(64);
        let agent = Arc::clone(&self.agent);
        let request = request.into_inner();
        self.agent.tasks.spawn("leave", async move {
            let stopping = agent.tasks.stopping();
            let run = leave::run(&agent, &actor, &request, &sender);
            tokio::select! {
                outcome = run => if let Err(refused) = outcome {
                    tracing::warn!(%refused, "leave ended");
                    let _ = sender.send(Err(refused.into())).await;
                },
                () = stopping => {}
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn reset(
        &self,
        request: Request<v1::ResetRequest>,
    ) -> Result<Response<v1::ResetResponse>, Status> {
        require_local(&request)?;
        let actor = self.actor(&request)?;
        let force = request.into_inner().force;
        reset::judge(&self.agent, force).await?;
        tracing::info!(actor, force, "asked to clean this host");
        let kept = reset::begin(&self.agent).await?;
        Ok(Response::new(v1::ResetResponse { kept }))
    }

    async fn end_components(
        &self,
        request: Request<v1::EndComponentsRequest>,
    ) -> Result<Response<v1::EndComponentsResponse>, Status> {
        require_local(&request)?;
        let actor = self.actor(&request)?;
        tracing::info!(actor, "this host goes down: its components are ended");
        let (sender, mut receiver) = mpsc::channel(1);
        let agent = Arc::clone(&self.agent);
        // Seen through, also where whoever asked is killed over it: a host that is drained and not ended, or half ended,
        // would stay so, since nothing is started any more.
        self.agent
            .tasks
            .spawn("end this host's components", async move {
                let stopping = agent.tasks.stopping();
                tokio::select! {
                    outcome = going_down::go_down(&agent) => drop(sender.send(outcome).await),
                    () = stopping => {}
                }
            });
        let outcome = receiver.recv().await;
        outcome.ok_or_else(|| Status::unavailable("khad ends over it"))??;
        Ok(Response::new(v1::EndComponentsResponse {}))
    }

    async fn read_journal(
        &self,
        request: Request<v1::ReadJournalRequest>,
    ) -> Result<Response<v1::ReadJournalResponse>, Status> {
        let doing = "read the journal";
        require_admin(&request)?;
        let node = self.node(doing)?;
        node.barrier().await.map_err(|r| r.while_doing(doing))?;
        let operations = node.state().operations;
        let entries: Vec<JournalEntry> = operations
            .into_iter()
            .rev()
            .map(|(id, operation)| JournalEntry { id, operation })
            .collect();
        let json = serde_json::to_string(&entries)
            .map_err(|error| Refused::new("KHA3051", doing, error, "report this as a bug"))?;
        Ok(Response::new(v1::ReadJournalResponse { json }))
    }

    async fn abort_operation(
        &self,
        request: Request<v1::AbortOperationRequest>,
    ) -> Result<Response<v1::AbortOperationResponse>, Status> {
        let doing = "abort an operation";
        let actor = self.actor(&request)?;
        let operation = request.into_inner().operation;
        self.node(doing)?
            .propose(&actor, Command::AbortRemoval { operation })
            .await
            .map_err(|r| r.while_doing(doing))?;
        Ok(Response::new(v1::AbortOperationResponse {}))
    }

    async fn create_token(
        &self,
        request: Request<v1::CreateTokenRequest>,
    ) -> Result<Response<v1::CreateTokenResponse>, Status> {
        let doing = "create a token";
        let actor = self.actor(&request)?;
        let node = self.node(doing)?;
        let request = request.into_inner();
        let role = if request.role.is_empty() {
            Some(Role::ControlPlane)
        } else {
            Role::parse(&request.role)
        };
        let Some(role) = role else {
            return Err(Refused::new(
                "KHA2040",
                doing,
                format!("there is no role `{}`", request.role),
                "use control-plane or witness",
            )
            .into());
        };
        if request.ttl_ms == 0 || request.ttl_ms > TTL_MAX_MS {
            return Err(Refused::new(
                "KHA2041",
                doing,
                format!("a life of {} ms", request.ttl_ms),
                "give it between 1s and 168h",
            )
            .into());
        }
        if request.uses == 0 || request.uses > USES_MAX {
            return Err(Refused::new(
                "KHA2042",
                doing,
                format!("{} uses", request.uses),
                format!("give it between 1 and {USES_MAX}"),
            )
            .into());
        }
        let state = node.state();
        let token = JoinToken::new(&issue::entropy()?, issue::agent_pin(&state)?);
        let expires_at_ms =
            time::wall_ms().saturating_add(i64::try_from(request.ttl_ms).unwrap_or(i64::MAX));
        node.propose(
            &actor,
            Command::AddToken(AddToken {
                id: token.id().to_owned(),
                secret_hash: token.secret_hash().to_vec(),
                role,
                host_name: (!request.host_name.is_empty()).then_some(request.host_name),
                expires_at_ms,
                uses: request.uses,
            }),
        )
        .await
        .map_err(|r| r.while_doing(doing))?;
        Ok(Response::new(v1::CreateTokenResponse {
            id: token.id().to_owned(),
            token: token.text().to_string(),
            expires_at_ms,
        }))
    }

    async fn list_tokens(
        &self,
        request: Request<v1::ListTokensRequest>,
    ) -> Result<Response<v1::ListTokensResponse>, Status> {
        require_admin(&request)?;
        let node = self.node("list the tokens")?;
        node.barrier().await?;
        let tokens = node
            .state()
            .tokens
            .into_values()
            .map(|token| v1::Token {
                id: token.id,
                role: token.role.as_str().to_owned(),
                host_name: token.host_name.unwrap_or_default(),
                expires_at_ms: token.expires_at_ms,
                uses_left: token.uses_left,
                revoked: token.revoked,
                used_by: token.used_by.into_iter().map(|(name, _)| name).collect(),
            })
            .collect();
        Ok(Response::new(v1::ListTokensResponse { tokens }))
    }

    async fn revoke_token(
        &self,
        request: Request<v1::RevokeTokenRequest>,
    ) -> Result<Response<v1::RevokeTokenResponse>, Status> {
        let doing = "revoke a token";
        let actor = self.actor(&request)?;
        self.node(doing)?
            .propose(
                &actor,
                Command::DropToken {
                    id: request.into_inner().id,
                },
            )
            .await
            .map_err(|r| r.while_doing(doing))?;
        Ok(Response::new(v1::RevokeTokenResponse {}))
    }

    async fn status(
        &self,
        request: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusResponse>, Status> {
        require_admin(&request)?;
        if let Some(departure) = self.agent.departed.known() {
            let json = json_of(&departure.status())?;
            return Ok(Response::new(v1::StatusResponse { json }));
        }
        let node = self.node("show the status")?;
        if let Some(leader) = node.leader_address() {
            let asked = node
                .peer(leader)
                .status(time::within(Duration::from_secs(2), v1::StatusRequest {}))
                .await;
            match asked {
                Ok(response) => return Ok(response),
                Err(error) => {
                    tracing::debug!(%error, "the leader did not answer; showing this host's view");
                }
            }
        }
        Ok(Response::new(v1::StatusResponse {
            json: status_json(&node)?,
        }))
    }

    async fn kubeconfig(
        &self,
        request: Request<v1::KubeconfigRequest>,
    ) -> Result<Response<v1::KubeconfigResponse>, Status> {
        let doing = "make a kubeconfig";
        require_admin(&request)?;
        let node = self.node(doing)?;
        let user = request.into_inner().user;
        if !user.is_empty() && user != "kubernetes-admin" {
            return Err(Refused::new(
                "KHA2050",
                doing,
                format!("there is no user `{user}`"),
                "leave --user out: kubernetes-admin is the one there is",
            )
            .into());
        }
        let yaml = issue::admin_kubeconfig(&node)?;
        Ok(Response::new(v1::KubeconfigResponse { yaml }))
    }

    type LogsStream = logs::LogStream;

    async fn logs(
        &self,
        request: Request<v1::LogsRequest>,
    ) -> Result<Response<Self::LogsStream>, Status> {
        let doing = "read a component's log";
        require_admin(&request)?;
        let mut request = request.into_inner();
        if request.host.is_empty() || request.host == self.agent.config.host_name {
            return Ok(Response::new(
                logs::read(&self.agent.config, &request).await?,
            ));
        }
        let node = self.node(doing)?;
        let Some(host) = node.state().hosts.get(&request.host).cloned() else {
            return Err(Refused::new(
                "KHA2020",
                doing,
                format!("there is no host {}", request.host),
                "`khactl status` shows those there are",
            )
            .into());
        };
        request.host.clear();
        let stream = node
            .peer(host.agent_address())
            .logs(request)
            .await
            .map_err(|s| Refused::of_call(doing, &s))?
            .into_inner();
        Ok(Response::new(Box::pin(stream)))
    }

    async fn transfer_vip(
        &self,
        request: Request<v1::TransferRequest>,
    ) -> Result<Response<v1::TransferResponse>, Status> {
        let actor = self.actor(&request)?;
        let node = self.node("hand the VIP over")?;
        let host = request.into_inner().host;
        tracing::info!(actor, host, "asked to hand the VIP over");
        Ok(Response::new(transfer::vip(&node, &host).await?))
    }

    async fn transfer_leader(
        &self,
        request: Request<v1::TransferRequest>,
    ) -> Result<Response<v1::TransferResponse>, Status> {
        let actor = self.actor(&request)?;
        let node = self.node("hand the leadership over")?;
        let host = request.into_inner().host;
        tracing::info!(actor, host, "asked to hand the leadership over");
        Ok(Response::new(transfer::leader(&node, &host).await?))
    }

    async fn read_config(
        &self,
        request: Request<v1::ReadConfigRequest>,
    ) -> Result<Response<v1::ReadConfigResponse>, Status> {
        require_admin(&request)?;
        let node = self.node("show the spec")?;
        Ok(Response::new(configure::read(&node).await?))
    }

    async fn apply_config(
        &self,
        request: Request<v1::ApplyConfigRequest>,
    ) -> Result<Response<v1::ApplyConfigResponse>, Status> {
        let actor = self.actor(&request)?;
        let node = self.node("change the cluster's spec")?;
        let request = request.into_inner();
        Ok(Response::new(
            configure::apply(&node, &actor, &request).await?,
        ))
    }

    async fn backends(
        &self,
        request: Request<v1::BackendsRequest>,
    ) -> Result<Response<v1::BackendsResponse>, Status> {
        require_admin(&request)?;
        let khavip = VipClient::new(&self.agent.config.vip_socket());
        let balancer = khavip.balancer().await.ok_or_else(|| {
            Refused::new(
                "KHA3052",
                "show the balancer",
                "this host's khavip does not answer",
                "`khactl logs khavip` says why; `khactl status` whether it is to run",
            )
        })?;
        Ok(Response::new(balancer))
    }
}

/// The status as this host sees it; on the leader that is the cluster's.
///
/// # Errors
/// None in practice: the status has no foreign types.
pub fn status_json(node: &Node) -> Result<String, Refused> {
    let state = node.state();
    let raft = node.raft_view();
    let now_ms = time::boot_ms();
    let view = node.host_view.borrow().clone();
    let mut reports: BTreeMap<_, _> = node.reports().aged(now_ms);
    if let Some(own) = view.report {
        reports.insert(node.member.host_id, (own, 0));
    }
    let (vip, lease_ms) = state
        .spec_yaml()
        .and_then(|yaml| ClusterSpec::parse(yaml).ok())
        .map(|spec| {
            let addresses = spec.vip.addresses.iter().map(ToString::to_string).collect();
            ((addresses, spec.balancer.port), spec.vip.lease_ms())
        })
        .unwrap_or_default();
    let leader_view = node.leader_view.borrow().clone();
    let status = overview(&View {
        state: &state,
        raft: &raft,
        reports: &reports,
        vip,
        lease_ms,
        seen_by: &node.member.host_name,
        waiting: leader_view.waiting,
        problems: leader_view.problems,
    });
    json_of(&status)
}

fn json_of(status: &ClusterStatus) -> Result<String, Refused> {
    serde_json::to_string(status)
        .map_err(|error| Refused::new("KHA3051", "show the status", error, "report this as a bug"))
}
