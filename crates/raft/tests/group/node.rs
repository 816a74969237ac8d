//! A member of a group in this process, talking gRPC over loopback.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use khactl_raft::{Config, Dial, Peer, Raft, Status};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Channel, Endpoint, Server};

use crate::numbers::Numbers;

/// Nothing here takes longer, even on a busy machine.
pub(crate) const LONG: Duration = Duration::from_mins(1);
pub(crate) const CLUSTER: &str = "test";

/// One lazy channel per peer, over plain TCP.
#[derive(Default)]
pub(crate) struct Loopback {
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
pub(crate) struct Node {
    pub(crate) peer: Peer,
    pub(crate) raft: Raft<Numbers>,
    stop: oneshot::Sender<()>,
    server: JoinSet<()>,
}

/// Settings with times that a loaded machine can keep.
pub(crate) fn config(id: u64, dir: &Path) -> Config {
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
    pub(crate) async fn start(config: Config, at: Option<&Peer>) -> Self {
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
            let ended = Server::builder()
                .add_service(service)
                .serve_with_incoming_shutdown(TcpListenerStream::new(listener), async {
                    // Ends either way: told to, or the test let go of the node.
                    let _ = stopped.await;
                });
            ended.await.expect("the server ends in peace");
        });
        Self {
            peer,
            raft,
            stop,
            server,
        }
    }

    /// Takes the member away: its server first, so that the others see it gone.
    pub(crate) async fn stop(mut self) {
        // Its peers' connections would otherwise outlive it in this process.
        drop(self.stop);
        let _ = tokio::time::timeout(LONG, self.server.join_next()).await;
        self.raft.shutdown().await.expect("the store closes");
    }

    /// Waits for a status that pleases.
    pub(crate) async fn until(&self, what: &str, pleases: impl FnMut(&Status) -> bool) -> Status {
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

    pub(crate) fn holds(&self, number: u64) -> bool {
        self.raft
            .with_machine(|machine| machine.0.contains(&number))
    }
}
