//! The balancer on two threads, as khavip runs it: what one of them does while the other one judges.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::server::{Server, config, connect, free_port, run, until, until_healthy, who};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const TURNS: usize = 5;
const CLIENTS: usize = 4;
/// Connections that each client holds: all ends of them are this process's.
const HELD: usize = 8;

/// Connects again and again, and holds the last connections.
async fn come_and_stay(port: u16, over: Arc<AtomicBool>) -> VecDeque<TcpStream> {
    let mut held = VecDeque::new();
    while !over.load(Ordering::Relaxed) {
        let mut stream = connect(port).await;
        // One that is cut while it asks comes again, as any client does.
        if who(&mut stream).await.is_ok() {
            held.push_back(stream);
        }
        if held.len() > HELD
            && let Some(oldest) = held.pop_front()
        {
            // Closed by a reset: no port stays in TIME_WAIT.
            oldest.set_zero_linger().expect("set");
        }
    }
    held
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_who_comes_while_a_backend_is_condemned_is_left_with_it() {
    let (a, b) = (
        Server::start("a", None).await,
        Server::start("b", None).await,
    );
    let port = free_port().await;
    let mut settings = config(port, vec![a.config("a"), b.config("b")]);
    // No warning: until the verdict it gets its share.
    settings.health.fall = 1;
    let (balancer, _owner) = run(settings);
    for _ in 0..TURNS {
        until_healthy(&balancer, 2).await;
        let over = Arc::new(AtomicBool::new(false));
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            clients.spawn(come_and_stay(port, over.clone()));
        }
        until(&balancer, |status| status.backends[0].connections_open > 0).await;
        a.ready.store(false, Ordering::SeqCst);
        until_healthy(&balancer, 1).await;
        over.store(true, Ordering::Relaxed);
        let held = clients.join_all().await;
        until(&balancer, |status| status.backends[0].connections_open == 0).await;
        assert!(*balancer.any_healthy().borrow());
        drop(held);
        a.ready.store(true, Ordering::SeqCst);
    }
}
