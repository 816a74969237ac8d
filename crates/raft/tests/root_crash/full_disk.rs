//! A full disk stops writing, loses nothing, and is said.

use std::path::{Path, PathBuf};

use khactl_raft::{Config, Error};
use tokio::task::JoinSet;

use crate::loop_disk::LoopDisk;
use crate::node::{self, Node};
use crate::numbers::add;

/// Takes all the space there is, and gives it back when dropped.
struct Filler(PathBuf);

impl Filler {
    fn fill(disk: &Path) -> Self {
        let path = disk.join("filler");
        let mut file = std::fs::File::create(&path).expect("a file");
        let block = vec![1; 64 * 1024];
        // Until the disk says that it is full, with ever smaller pieces.
        for size in [64 * 1024, 4 * 1024, 512] {
            while std::io::Write::write_all(&mut file, &block[..size]).is_ok() {}
        }
        Self(path)
    }

    /// Gives back so many bytes.
    fn leave(&self, bytes: u64) {
        let file = std::fs::OpenOptions::new()
            .write(true)
            .open(&self.0)
            .expect("it is there");
        let filled = file.metadata().expect("its length").len();
        file.set_len(filled - bytes).expect("shortened");
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).expect("space is given back");
    }
}

fn on(disk: &LoopDisk) -> Config {
    node::config(1, &disk.path())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_on_a_full_disk_refuses_and_goes_on_when_there_is_room() {
    let disk = LoopDisk::create("full", 96);
    let node = Node::start(on(&disk), None).await;
    node.raft.initialize(&node.peer).await.expect("founded");
    node.raft.propose(add(1)).await.expect("there is room");
    let filler = Filler::fill(&disk.path());
    let refused = node.raft.propose(add(2)).await;
    let Err(Error::DiskFull { free, need, .. }) = refused else {
        panic!("a full disk is said: {refused:?}");
    };
    assert!(free < need);
    node.raft
        .linearizable()
        .await
        .expect("it can still be read");
    drop(filler);
    node.raft
        .propose(add(3))
        .await
        .expect("it goes on by itself");
    let peer = node.peer.clone();
    node.stop().await;
    let node = Node::start(on(&disk), Some(&peer)).await;
    node.until("it leads", |status| status.is_leader).await;
    node.raft.linearizable().await.expect("it leads");
    assert_eq!(
        [1, 2, 3].map(|number| node.holds(number)),
        [true, false, true]
    );
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_fills_up_under_a_write_stops_the_member_and_loses_nothing() {
    let disk = LoopDisk::create("stop", 64);
    // Without a reserve, the write itself meets the end of the disk.
    let mut careless = on(&disk);
    careless.reserve_bytes = 0;
    let node = Node::start(careless, None).await;
    node.raft.initialize(&node.peer).await.expect("founded");
    let mut acknowledged = Vec::new();
    for number in 1_000..1_010 {
        node.raft.propose(add(number)).await.expect("there is room");
        acknowledged.push(number);
    }
    let filler = Filler::fill(&disk.path());
    filler.leave(2 * 1024 * 1024);
    // Each of them fits, so that none is refused beforehand; all of them do not.
    let mut proposals = JoinSet::new();
    for number in 0..64 {
        let raft = node.raft.clone();
        let mut command = add(number);
        // The machine reads the first eight bytes; the rest takes space.
        command.resize(128 * 1024, 0);
        proposals.spawn(async move { (number, raft.propose(command).await) });
    }
    let mut stopped = 0;
    for (number, answer) in proposals.join_all().await {
        match answer {
            Ok(_) => acknowledged.push(number),
            Err(Error::Stopped { reason }) => {
                assert!(reason.contains("No space left"), "{reason}");
                stopped += 1;
            }
            Err(Error::DiskFull { .. }) => {}
            Err(error) => panic!("not what a full disk gets: {error}"),
        }
    }
    assert!(stopped > 0, "the write never met the end of the disk");
    let said = node.raft.stopped().await;
    assert!(said.contains("No space left"), "{said}");
    eprintln!(
        "{} were acknowledged, {stopped} were not",
        acknowledged.len()
    );
    let peer = node.peer.clone();
    node.stop().await;
    drop(filler);
    let node = Node::start(on(&disk), Some(&peer)).await;
    node.until("it leads", |status| status.is_leader).await;
    node.raft.linearizable().await.expect("it leads");
    let lost: Vec<_> = acknowledged
        .iter()
        .filter(|number| !node.holds(**number))
        .collect();
    assert!(
        lost.is_empty(),
        "{} of {} are lost",
        lost.len(),
        acknowledged.len()
    );
    node.raft.propose(add(99_999)).await.expect("it goes on");
    node.stop().await;
}
