//! Members of a group in one process, talking gRPC over loopback.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use khactl_raft::{Config, Dial, Error, Peer, Raft, Status};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Channel, Endpoint, Server};

use crate::numbers::Numbers;

/// Nothing here takes longer, even on a busy machine.
pub const LONG: Duration = Duration::from_secs(60);
pub const CLUSTER: &str = "test";

/// One lazy channel per peer, over plain TCP.
#[derive(Default)]
pub struct Loopback {
    channels: Mutex<HashMap<u64, Channel>>,
}

impl Dial for Loopback {
    fn channel(&self, peer: &Peer) -> Channel {
        let mut channels = self.channels.lock().expect("no test panics while dialling");
        let made = channels.entry(peer.id).or_insert_with(|| {
            let uri = format!("http://{}", peer.address);
            Endpoint::from_shared(uri)
                .expect("an address")
                .connect_lazy()
        });
        made.clone()
    }
}

/// A member and its server.
pub struct Node {
    pub peer: Peer,
    pub raft: Raft<Numbers>,
    stop: oneshot::Sender<()>,
    server: JoinSet<()>,
}

/// Settings with times that a loaded machine can keep.
pub fn config(id: u64, dir: &Path) -> Config {
    let mut config = Config::new(
        id,
        CLUSTER,
        dir.join(format!("node-{id}")),
        100,
        (500, 1000),
    );
    config.snapshot_every = 100;
    config
}

impl Node {
    /// Starts on a free port, or again on that of `at`.
    pub async fn start(config: Config, at: Option<&Peer>) -> Self {
        let address = at.map_or("127.0.0.1:0", |peer| &peer.address);
        let listener = TcpListener::bind(address).await.expect("a port");
        let bound: SocketAddr = listener.local_addr().expect("its address");
        let peer = Peer {
            id: config.node_id,
            address: bound.to_string(),
        };
        let raft = Raft::start(config, Numbers::default(), Arc::new(Loopback::default()))
            .await
            .expect("the member starts");
        let (stop, stopped) = oneshot::channel::<()>();
        let mut server = JoinSet::new();
        let service = raft.service();
        server.spawn(async move {
            let served = Server::builder()
                .add_service(service)
                .serve_with_incoming_shutdown(TcpListenerStream::new(listener), async {
                    // Ends either way: told to, or the test let go of the node.
                    let _ = stopped.await;
                });
            served.await.expect("the server ends in peace");
        });
        Self {
            peer,
            raft,
            stop,
            server,
        }
    }

    /// Takes the member away: its server first, so that the others see it gone.
    pub async fn stop(mut self) {
        // Its peers' connections would otherwise outlive it in this process.
        drop(self.stop);
        let _ = tokio::time::timeout(LONG, self.server.join_next()).await;
        self.raft.shutdown().await.expect("the store closes");
    }

    /// Waits for a status that pleases.
    pub async fn until(&self, what: &str, pleases: impl FnMut(&Status) -> bool) -> Status {
        let mut status = self.raft.status();
        let found = tokio::time::timeout(LONG, status.wait_for(pleases)).await;
        let found = found.unwrap_or_else(|_| {
            panic!(
                "{} never saw that {what}: {:?}",
                self.peer,
                self.raft.status().borrow().clone()
            )
        });
        found.expect("the member runs").clone()
    }

    /// Waits until the machine has applied `index`.
    pub async fn applied(&self, index: u64) {
        let mut applied = self.raft.applied();
        let found = tokio::time::timeout(LONG, applied.wait_for(|done| *done >= index)).await;
        found
            .unwrap_or_else(|_| panic!("{} never applied {index}", self.peer))
            .expect("it runs");
    }

    pub fn holds(&self, number: u64) -> bool {
        self.raft
            .with_machine(|machine| machine.0.contains(&number))
    }
}

/// Three voters; the first founded the group and leads.
pub async fn three(dir: &Path) -> Vec<Node> {
    let mut nodes = Vec::new();
    for id in 1..=3 {
        nodes.push(Node::start(config(id, dir), None).await);
    }
    nodes[0]
        .raft
        .initialize(&nodes[0].peer.clone())
        .await
        .expect("founded");
    for id in [1, 2] {
        let peer = nodes[id].peer.clone();
        admit(&nodes[0], &peer).await;
    }
    nodes
}

/// Learner, then voter; a new leader may have to be asked twice.
pub async fn admit(leader: &Node, peer: &Peer) {
    again(|| leader.raft.add_learner(peer)).await;
    again(|| leader.raft.promote(peer.id)).await;
}

/// Repeats what says that it can be repeated.
pub async fn again<T, F: Future<Output = Result<T, Error>>>(mut work: impl FnMut() -> F) -> T {
    let tried = tokio::time::timeout(LONG, async {
        loop {
            match work().await {
                Ok(done) => return done,
                Err(Error::ChangeInProgress) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
    });
    tried.await.expect("it never worked")
}

/// The member among `nodes` that leads with a majority behind it.
pub async fn leader(nodes: &[Node]) -> &Node {
    let found = tokio::time::timeout(LONG, async {
        loop {
            for node in nodes {
                if node.raft.is_leader() && node.raft.linearizable().await.is_ok() {
                    return node;
                }
            }
            // Somebody's status changes when somebody is elected.
            let mut status = nodes[0].raft.status();
            let _ = tokio::time::timeout(Duration::from_millis(100), status.changed()).await;
        }
    });
    found.await.expect("nobody was elected")
}
