//! khad: idle until it is told, then a member of one cluster.
//!
//! ```text
//! idle ──init / join──► member ──(next start)──► member
//! ```

use khactl_host::process::Processes;
use khactl_model::state::ClusterState;
use khactl_proto::v1;
use khactl_proto::v1::admin_server::AdminServer;
use khactl_proto::v1::bundle_server::BundleServer;
use khactl_proto::v1::enrol_server::EnrolServer;
use khactl_proto::v1::peer_server::PeerServer;
use khactl_raft::{Dial, Peer, Raft};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{Mutex, Notify, watch};
use tonic::service::Routes;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

use crate::bundle::{self, BundleService};
use crate::config::Config;
use crate::departure::{self, Departed};
use crate::keeping::Keeping;
use crate::machine::ClusterMachine;
use crate::member::Member;
use crate::net::{LiveCertificate, NetError, Peers, TlsListener, UnixSocket, require_admin};
use crate::node::{Node, raft_refused};
use crate::refused::{Refused, chain};
use crate::service::{admin::AdminService, enrol::EnrolService, peer::PeerService};
use crate::standing::{self, require_standing};
use crate::takeover;
use crate::tasks::Tasks;
use crate::time::{boot_ms, pause};
use crate::{cluster_loop, host_loop, placement_loop, renewal};

/// How long an orderly end may take.
const STOP_TIMEOUT: Duration = Duration::from_secs(8);

/// A request to join holds a certificate request and a few short texts.
const ENROL_BYTES_MAX: usize = 64 * 1024;

/// How long a killed agent may have its socket still.
const PREDECESSOR_ENDS_MS: u64 = 2_000;

/// The agent of this host.
#[derive(Debug)]
pub struct Agent {
    /// How it was started.
    pub config: Arc<Config>,
    /// What it keeps on the disk for itself.
    pub keeping: Keeping,
    /// The supervised processes.
    pub processes: Processes,
    /// Its tasks.
    pub tasks: Tasks,
    /// Whether this host left its cluster.
    pub departed: Departed,
    /// `khactl reset` may clean this host: khad ends, cleans and starts anew.
    pub reset_asked: Notify,
    /// The host goes down: its API server is to get nothing new.
    pub going_down: AtomicBool,
    /// One init or join at a time.
    pub operation: Mutex<()>,
    node: watch::Sender<Option<Arc<Node>>>,
}

struct PeersDial(Arc<Peers>);

impl Dial for PeersDial {
    fn channel(&self, peer: &Peer) -> Channel {
        // An address that does not parse never gets into the membership: `AdmitHost` holds an
        // `IpAddr`. Nothing listens at the discard port, so that calls fail and are tried again.
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
        self.0.channel(peer.address.parse().unwrap_or(nowhere))
    }
}

impl Agent {
    /// An idle agent.
    pub fn new(config: Config, processes: Processes) -> Arc<Self> {
        let config = Arc::new(config);
        Arc::new(Self {
            keeping: Keeping::new(&config),
            config,
            processes,
            tasks: Tasks::default(),
            departed: Departed::default(),
            reset_asked: Notify::new(),
            going_down: AtomicBool::new(false),
            operation: Mutex::default(),
            node: watch::channel(None).0,
        })
    }

    /// The running member, if this host is one.
    pub fn node(&self) -> Option<Arc<Node>> {
        self.node.borrow().clone()
    }

    /// Takes the Unix socket, so that no second khad starts beside this one. Whoever calls there
    /// waits until [`Agent::serve_root`]. A predecessor that was killed has it for some
    /// milliseconds more: the kernel closes what a process had one by one, and waits for packet sockets.
    ///
    /// # Errors
    /// Another khad has the socket still after two seconds, or it cannot be made.
    pub async fn bind_root(&self) -> Result<UnixSocket, NetError> {
        let give_up = boot_ms() + PREDECESSOR_ENDS_MS;
        loop {
            match UnixSocket::bind(&self.config.socket()) {
                Err(NetError::AlreadyRunning { .. }) if boot_ms() < give_up => {
                    pause(Duration::from_millis(10)).await;
                }
                bound => return bound,
            }
        }
    }

    /// Serves root on this host. Only after [`Agent::resume`]: a member that is not up yet would
    /// pass for a host that is none.
    pub fn serve_root(self: &Arc<Self>, socket: UnixSocket) {
        let routes = Routes::new(AdminServer::new(AdminService::new(Arc::clone(self))));
        let stopping = self.tasks.stopping();
        self.tasks.spawn("serve root", async move {
            if let Err(error) = socket.serve(routes, stopping).await {
                tracing::error!(error = %chain(&error), "serving the Unix socket ended");
            }
        });
    }

    /// Goes on as the member that this host was before.
    ///
    /// # Errors
    /// What is on the disk cannot be used.
    pub async fn resume(self: &Arc<Self>) -> Result<(), Refused> {
        if let Some(departure) = self.keeping.departure().await? {
            self.processes
                .adopt_all(departure.cluster_id())
                .await
                .map_err(|error| {
                    crate::carry::host_refused("find the components that run", &error)
                })?;
            self.departed.set(departure.clone());
            let stopping = self.tasks.stopping();
            let agent = Arc::clone(self);
            self.tasks.spawn("depart", async move {
                tokio::select! {
                    () = departure::see_to(&agent, departure) => {}
                    () = stopping => {}
                }
            });
            return Ok(());
        }
        if let Some(member) = self.keeping.member().await? {
            self.start_member(member).await?;
        }
        Ok(())
    }

    /// Starts consensus, the loops and the agents' port.
    ///
    /// # Errors
    /// The store, the certificate or the port cannot be used.
    pub async fn start_member(self: &Arc<Self>, member: Member) -> Result<Arc<Node>, Refused> {
        let doing = "start as a member";
        let files = self.keeping.tls().await?;
        let net = |error: crate::net::NetError| {
            Refused::new(
                "KHA3040",
                doing,
                chain(&error),
                "free the port, or mend what is named",
            )
        };
        let live = LiveCertificate::new(&files).map_err(net)?;
        let listener = TlsListener::bind(
            SocketAddr::new(member.address, khactl_model::AGENT_PORT),
            &live,
        )
        .await
        .map_err(net)?;
        let peers = Peers::new(Arc::clone(&live));
        peers.set_members(
            member
                .contacts
                .iter()
                .map(|contact| (contact.address, contact.name.clone())),
        );
        let config = khactl_raft::Config::new(
            member.host_id,
            member.cluster_id.clone(),
            self.config.data("raft"),
            member.raft.heartbeat_ms,
            (member.raft.election_min_ms, member.raft.election_max_ms),
        );
        self.processes
            .adopt_all(&member.cluster_id)
            .await
            .map_err(|error| crate::carry::host_refused("find the components that run", &error))?;
        let raft = Raft::start(
            config,
            ClusterMachine::default(),
            Arc::new(PeersDial(Arc::clone(&peers))),
        )
        .await
        .map_err(|error| raft_refused(doing, &error))?;
        let node = Arc::new(Node::new(
            Arc::clone(&self.config),
            member,
            raft,
            peers,
            self.keeping.sealing_key().await?,
        ));
        self.serve_agents(&node, listener);
        self.follow_members(&node);
        takeover::spawn(self, &node);
        host_loop::spawn(self, &node);
        cluster_loop::spawn(self, &node);
        placement_loop::spawn(self, &node);
        standing::spawn(self, &node);
        bundle::spawn(self, &node);
        renewal::spawn(self, &node, live);
        self.watch_consensus(&node);
        self.confirm(&node);
        self.node.send_replace(Some(Arc::clone(&node)));
        tracing::info!(
            host = node.member.host_name,
            cluster = node.member.cluster_name,
            id = node.member.host_id,
            "started as a member"
        );
        Ok(node)
    }

    fn serve_agents(self: &Arc<Self>, node: &Arc<Node>, listener: TlsListener) {
        let judging = Arc::clone(node);
        let for_hosts = move |request: tonic::Request<()>| {
            require_standing(&judging, &request)?;
            Ok(request)
        };
        let for_admins = |request: tonic::Request<()>| {
            require_admin(&request)?;
            Ok(request)
        };
        // Before a message is read: whoever has no certificate reaches `Enrol` alone, with
        // small messages.
        let routes = Routes::new(InterceptedService::new(
            node.raft.service(),
            for_hosts.clone(),
        ))
        .add_service(InterceptedService::new(
            PeerServer::new(PeerService::new(Arc::clone(node))),
            for_hosts.clone(),
        ))
        .add_service(InterceptedService::new(
            BundleServer::new(BundleService::new(Arc::clone(node))),
            for_hosts,
        ))
        .add_service(
            EnrolServer::new(EnrolService::new(Arc::clone(node)))
                .max_decoding_message_size(ENROL_BYTES_MAX),
        )
        .add_service(InterceptedService::new(
            AdminServer::new(AdminService::new(Arc::clone(self))),
            for_admins,
        ));
        let stopping = self.tasks.stopping();
        self.tasks.spawn("serve agents", async move {
            if let Err(error) = listener.serve(routes, stopping).await {
                tracing::error!(error = %chain(&error), "serving the agents' port ended");
            }
        });
    }

    /// Keeps the known peers equal to the cluster's hosts, and wakes the loops at every entry.
    fn follow_members(self: &Arc<Self>, node: &Arc<Node>) {
        let node = Arc::clone(node);
        let stopping = self.tasks.stopping();
        self.tasks.spawn("follow the log", async move {
            let mut applied = node.raft.applied();
            let mut known = Vec::new();
            let follow = async {
                loop {
                    applied.borrow_and_update();
                    let hosts = node.raft.with_machine(|m| members_of(m.state()));
                    if !hosts.is_empty() && hosts != known {
                        node.peers.set_members(hosts.clone());
                        known = hosts;
                    }
                    node.changed.notify_one();
                    node.vip_changed.notify_one();
                    node.cluster_changed.notify_one();
                    if applied.changed().await.is_err() {
                        return;
                    }
                }
            };
            tokio::select! {
                () = follow => {}
                () = stopping => {}
            }
        });
    }

    /// Reads once through a quorum: what this host has on its disk may be old, and the lease
    /// takes part only in an epoch that is confirmed (docs/lease.md, A8).
    fn confirm(self: &Arc<Self>, node: &Arc<Node>) {
        let node = Arc::clone(node);
        let stopping = self.tasks.stopping();
        self.tasks.spawn("confirm the state", async move {
            let confirm = async {
                while node.barrier().await.is_err() {
                    if node.standing.removed().is_some() {
                        return;
                    }
                    crate::time::pause(Duration::from_millis(100)).await;
                }
                node.confirmed.store(true, Ordering::Release);
                node.vip_changed.notify_one();
            };
            tokio::select! {
                () = confirm => {}
                () = stopping => {}
            }
        });
    }

    /// Consensus that stopped (a disk that failed) cannot be started again inside this
    /// process: khad ends, its supervisor starts it anew, and the components go on meanwhile.
    fn watch_consensus(self: &Arc<Self>, node: &Arc<Node>) {
        let node = Arc::clone(node);
        let stopping = self.tasks.stopping();
        self.tasks.spawn("watch consensus", async move {
            tokio::select! {
                why = node.raft.stopped() => {
                    tracing::error!(%why, "consensus stopped; khad ends and must be started again");
                    std::process::exit(70);
                }
                () = stopping => {}
            }
        });
    }

    /// Ends in order: leadership first, then the services, then the store. Touches neither
    /// components nor the VIP.
    pub async fn stop(&self) {
        if let Some(node) = self.node() {
            hand_leadership_over(&node).await;
        }
        self.tasks.stop(STOP_TIMEOUT).await;
        if let Some(node) = self.node()
            && let Err(error) = node.raft.shutdown().await
        {
            tracing::warn!(error = %chain(&error), "the store did not close in time");
        }
    }
}

async fn hand_leadership_over(node: &Node) {
    let status = node.raft.status().borrow().clone();
    if !status.is_leader {
        return;
    }
    // Only to a voter that has everything: a transfer to a lagging one once cost seconds.
    let successor = status
        .voters
        .iter()
        .find(|p| p.id != node.member.host_id && status.behind(p.id) == 0);
    if let Some(successor) = successor
        && let Err(error) = node.raft.transfer_leader(successor.id).await
    {
        tracing::warn!(error = %chain(&error), "leadership was not handed over");
    }
}

fn members_of(state: &ClusterState) -> Vec<(SocketAddr, String)> {
    state
        .hosts
        .values()
        .map(|host| (host.agent_address(), host.name.clone()))
        .collect()
}

/// A progress line's sender; a person who went away stops nothing.
pub type ProgressSender = tokio::sync::mpsc::Sender<Result<v1::Progress, tonic::Status>>;
