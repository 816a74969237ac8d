//! The process that the crash test kills.
//!
//! `raft-numbered-writer write DIR FIRST` runs a group of one on DIR and adds FIRST, FIRST+1, …
//! from several tasks at once until it is killed, printing each number after it was
//! acknowledged. `raft-numbered-writer list DIR` prints the numbers that DIR holds.

#[path = "../group/numbers.rs"]
mod numbers;

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use khactl_raft::{Config, Dial, Peer, Raft};
use numbers::Numbers;
use tokio::task::JoinSet;

/// Proposals under way at once: enough for several to share an fsync.
const WRITERS: usize = 8;

/// A group of one calls nobody.
struct Nobody;

impl Dial for Nobody {
    fn channel(&self, peer: &Peer) -> tonic::transport::Channel {
        unreachable!("a group of one has no peer {peer}")
    }
}

async fn start(dir: &str) -> anyhow::Result<Raft<Numbers>> {
    let mut config = Config::new(1, "crash-test", dir, 50, (150, 300));
    // Small, so that kills meet snapshots and purges too.
    config.snapshot_every = 200;
    let raft = Raft::start(config, Numbers::default(), Arc::new(Nobody)).await?;
    raft.initialize(&Peer {
        id: 1,
        address: "127.0.0.1:1".to_owned(),
    })
    .await?;
    raft.linearizable().await?;
    Ok(raft)
}

async fn write(raft: Raft<Numbers>, next: Arc<AtomicU64>) -> anyhow::Result<()> {
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        raft.propose(numbers::add(number)).await?;
        let mut out = std::io::stdout().lock();
        writeln!(out, "{number}")?;
        out.flush()?;
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["write", dir, first] => {
            let raft = start(dir).await?;
            let next = Arc::new(AtomicU64::new(first.parse()?));
            let mut writers = JoinSet::new();
            for _ in 0..WRITERS {
                writers.spawn(write(raft.clone(), next.clone()));
            }
            while let Some(ended) = writers.join_next().await {
                ended??;
            }
            Ok(())
        }
        ["list", dir] => {
            let raft = start(dir).await?;
            let held = raft.with_machine(|machine| machine.0.clone());
            let mut out = std::io::stdout().lock();
            for number in held {
                writeln!(out, "{number}")?;
            }
            drop(out);
            raft.shutdown().await?;
            Ok(())
        }
        _ => anyhow::bail!("usage: raft-numbered-writer write DIR FIRST | list DIR"),
    }
}
