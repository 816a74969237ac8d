//! Three members over loopback gRPC.

#[path = "group/node.rs"]
mod node;
#[path = "group/numbers.rs"]
mod numbers;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use khactl_proto::v1;
use khactl_proto::v1::raft_client::RaftClient;
use khactl_raft::{Config, Error, Peer, Raft};
use node::{CLUSTER, LONG, Loopback, Node, config};
use numbers::{HEAVY, HEAVY_BYTES, Numbers, add};
use tonic::Code;

/// Three voters; the first founded the group and leads.
async fn three(dir: &Path) -> Vec<Node> {
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

/// Learner, then voter.
async fn admit(leader: &Node, peer: &Peer) {
    leader.raft.add_learner(peer).await.expect("added");
    leader.raft.promote(peer.id).await.expect("promoted");
}

/// Repeats what says that it can be repeated.
async fn again<T, F: Future<Output = Result<T, Error>>>(mut work: impl FnMut() -> F) -> T {
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
async fn leader(nodes: &[Node]) -> &Node {
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

/// Waits until the member has applied `index`.
async fn applied(node: &Node, index: u64) {
    let mut applied = node.raft.applied();
    let found = tokio::time::timeout(LONG, applied.wait_for(|done| *done >= index)).await;
    found
        .unwrap_or_else(|_| panic!("{} never applied {index}", node.peer))
        .expect("it runs");
}

fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_members_replicate_and_outlive_their_leader() {
    let dir = temporary();
    let mut nodes = three(dir.path()).await;
    for number in 0..20 {
        let answer = nodes[0].raft.propose(add(number)).await.expect("accepted");
        assert_eq!(
            numbers::number(&answer),
            Some(number + 1),
            "how many there are now"
        );
    }
    let index = nodes[0]
        .raft
        .linearizable()
        .await
        .expect("a majority answers");
    for node in &nodes {
        applied(node, index).await;
        assert!(
            (0..20).all(|number| node.holds(number)),
            "{} lacks numbers",
            node.peer
        );
    }
    let first_term = nodes[0].raft.status().borrow().term;
    nodes.remove(0).stop().await;

    let next = leader(&nodes).await;
    next.raft
        .propose(add(20))
        .await
        .expect("two of three are a majority");
    assert!(
        (0..=20).all(|number| next.holds(number)),
        "something acknowledged is lost"
    );
    assert!(
        next.raft.status().borrow().term > first_term,
        "a new leader has a new term"
    );
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_was_away_catches_up_by_snapshot() {
    let dir = temporary();
    let mut nodes = three(dir.path()).await;
    let away = nodes.pop().expect("three");
    let peer = away.peer.clone();
    away.stop().await;
    // Far more than the log keeps after its snapshots, with a snapshot of several chunks.
    let lead = &nodes[0];
    let sent = HEAVY..HEAVY + 600;
    for number in sent.clone() {
        lead.raft.propose(add(number)).await.expect("accepted");
    }
    lead.until("a snapshot was taken", |status| status.snapshot >= 400)
        .await;
    let back = Node::start(config(3, dir.path()), Some(&peer)).await;
    let index = lead.raft.linearizable().await.expect("a majority answers");
    applied(&back, index).await;
    assert!(
        sent.clone().all(|number| back.holds(number)),
        "the snapshot lacks numbers"
    );
    let seen = back
        .until("it has a snapshot", |status| status.snapshot > 0)
        .await;
    assert!(
        seen.snapshot >= 400,
        "it was sent, not taken on the way: {seen:?}"
    );
    // The group's own entries, its members and its terms, are a few of those.
    let numbers = usize::try_from(seen.snapshot).expect("it is small") - 50;
    assert!(
        numbers * HEAVY_BYTES > 600 * 1024,
        "it fits into two chunks of 256 KiB: {seen:?}"
    );
    nodes.push(back);
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_passes_to_the_voter_it_is_sent_to() {
    let dir = temporary();
    let nodes = three(dir.path()).await;
    nodes[0].raft.propose(add(1)).await.expect("accepted");
    assert!(matches!(
        nodes[0].raft.transfer_leader(9).await,
        Err(Error::UnknownMember { id: 9 })
    ));
    // A member just started keeps out of elections for one lease.
    again(|| async {
        match nodes[0].raft.transfer_leader(3).await {
            Err(Error::Transfer { .. }) => Err(Error::ChangeInProgress),
            other => other,
        }
    })
    .await;
    assert!(nodes[2].raft.is_leader());
    // It leads by its vote before its first entry is committed; until then it takes nothing.
    again(|| async {
        match nodes[2].raft.propose(add(2)).await {
            Err(Error::NotLeader { leader: None }) => Err(Error::ChangeInProgress),
            other => other.map(drop),
        }
    })
    .await;
    nodes[0]
        .until("the third leads", |status| !status.is_leader)
        .await;
    let refused = nodes[0].raft.propose(add(3)).await;
    let Err(Error::NotLeader {
        leader: Some(leader),
    }) = refused
    else {
        panic!("a former leader accepts nothing: {refused:?}");
    };
    assert_eq!(leader, nodes[2].peer);
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_come_and_go_one_at_a_time() {
    let dir = temporary();
    let nodes = three(dir.path()).await;
    let lead = &nodes[0];
    let third = nodes[2].peer.clone();
    // What was done already is done.
    lead.raft
        .initialize(&lead.peer)
        .await
        .expect_err("others have joined");
    lead.raft
        .add_learner(&third)
        .await
        .expect("it is a member already");
    lead.raft.promote(3).await.expect("it votes already");
    assert!(matches!(
        lead.raft.promote(8).await,
        Err(Error::UnknownMember { id: 8 })
    ));
    let stolen = Peer {
        id: 3,
        address: "127.0.0.1:1".to_owned(),
    };
    assert!(matches!(
        lead.raft.add_learner(&stolen).await,
        Err(Error::Change { .. })
    ));
    assert!(matches!(
        nodes[1].raft.add_learner(&third).await,
        Err(Error::NotLeader { .. })
    ));

    lead.raft.remove(3).await.expect("two of three agree");
    let status = lead
        .until("two are left", |status| status.voters.len() == 2)
        .await;
    assert!(status.member(3).is_none(), "it is no learner either");
    lead.raft.remove(3).await.expect("it is gone already");
    lead.raft.remove(2).await.expect("both agree");
    assert!(
        matches!(lead.raft.remove(1).await, Err(Error::Change { .. })),
        "the last one"
    );
    lead.raft
        .propose(add(1))
        .await
        .expect("one is a majority of one");
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_without_majority_knows_it() {
    let dir = temporary();
    let mut nodes = three(dir.path()).await;
    let lease = Duration::from_secs(1);
    assert!(nodes[0].raft.last_quorum_acked().expect("it leads") < LONG);
    nodes.pop().expect("three").stop().await;
    nodes.pop().expect("two").stop().await;
    let refused = nodes[0].raft.linearizable().await;
    assert!(
        matches!(refused, Err(Error::NoQuorum { .. })),
        "{refused:?}"
    );
    // It still believes that it leads; the time since its majority answered tells otherwise.
    let told = tokio::time::timeout(LONG, async {
        while nodes[0]
            .raft
            .last_quorum_acked()
            .is_some_and(|age| age < lease)
        {
            tokio::time::sleep(lease / 10).await;
        }
    });
    told.await
        .expect("the time since the last acknowledgement grows");
    let refused = nodes[0].raft.propose(add(1)).await;
    assert!(
        matches!(
            refused,
            Err(Error::NoQuorum { .. } | Error::NotLeader { .. })
        ),
        "{refused:?}"
    );
    nodes.pop().expect("one").stop().await;
}

async fn raw(node: &Node) -> RaftClient<tonic::transport::Channel> {
    let uri = format!("http://{}", node.peer.address);
    RaftClient::connect(uri).await.expect("it listens")
}

fn route(cluster: &str, to: u64) -> v1::RaftRoute {
    v1::RaftRoute {
        cluster: cluster.to_owned(),
        from: 2,
        to,
    }
}

fn ballot(term: u64, committed: bool) -> v1::RaftBallot {
    v1::RaftBallot {
        term,
        voted_for: 2,
        committed,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_voter_takes_no_part_in_elections_for_one_lease() {
    let dir = temporary();
    let mut nodes = three(dir.path()).await;
    let third = nodes.pop().expect("three");
    let peer = third.peer.clone();
    third.stop().await;
    // A lease so long that the answers below surely come within it.
    let mut slow = config(3, dir.path());
    slow.election_timeout_ms = (2_000, 4_000);
    let third = Node::start(slow, Some(&peer)).await;
    let mut client = raw(&third).await;
    let vote = v1::RaftVoteRequest {
        route: Some(route(CLUSTER, 3)),
        vote: Some(ballot(1_000, false)),
        last_log_id: Some(v1::RaftLogId {
            term: 999,
            index: 1_000_000,
        }),
        leadership_transfer: false,
    };
    let refused = client.pre_vote(vote.clone()).await.expect_err("silent");
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    let mut transfer = vote.clone();
    transfer.leadership_transfer = true;
    let refused = client
        .vote(transfer)
        .await
        .expect_err("a transfer bypasses no silence");
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    let term = nodes[0].raft.status().borrow().term;
    assert!(
        third.raft.status().borrow().term <= term,
        "the refused vote left no trace"
    );

    // Afterwards it answers, and still honours its leader's lease.
    let answered = tokio::time::timeout(LONG, async {
        loop {
            match client.pre_vote(vote.clone()).await {
                Ok(answer) => return answer.into_inner(),
                Err(status) => assert_eq!(status.code(), Code::Unavailable, "{status}"),
            }
        }
    });
    let answer = answered.await.expect("the silence ends");
    assert!(!answer.granted, "the leader that it hears holds its lease");
    nodes.push(third);
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sole_voter_leads_at_once_after_a_restart() {
    let dir = temporary();
    // Nobody would wait this long.
    let mut alone = config(1, dir.path());
    alone.election_timeout_ms = (600_000, 900_000);
    let node = Node::start(alone.clone(), None).await;
    node.raft.initialize(&node.peer).await.expect("founded");
    node.raft
        .initialize(&node.peer)
        .await
        .expect("founded already");
    node.raft.propose(add(7)).await.expect("accepted");
    let peer = node.peer.clone();
    node.stop().await;
    let node = Node::start(alone, Some(&peer)).await;
    node.until("it leads", |status| status.is_leader).await;
    node.raft
        .linearizable()
        .await
        .expect("it is its own majority");
    assert!(node.holds(7), "what was acknowledged is there");
    assert_eq!(node.raft.last_quorum_acked(), Some(Duration::ZERO));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_meant_for_this_member_is_refused() {
    let dir = temporary();
    let node = Node::start(config(1, dir.path()), None).await;
    node.raft.initialize(&node.peer).await.expect("founded");
    let term = node.raft.status().borrow().term;
    let mut client = raw(&node).await;
    let append = |route, entries| v1::RaftAppendRequest {
        route,
        vote: Some(ballot(1_000, true)),
        prev_log_id: None,
        leader_commit: None,
        entries,
    };
    let cases = [
        ("no route", append(None, vec![]), Code::InvalidArgument),
        (
            "another cluster",
            append(Some(route("other", 1)), vec![]),
            Code::PermissionDenied,
        ),
        (
            "another member",
            append(Some(route(CLUSTER, 2)), vec![]),
            Code::PermissionDenied,
        ),
        (
            "a newer entry",
            append(Some(route(CLUSTER, 1)), vec![vec![9, 1, 2].into()]),
            Code::FailedPrecondition,
        ),
        (
            "an empty entry",
            append(Some(route(CLUSTER, 1)), vec![vec![].into()]),
            Code::InvalidArgument,
        ),
        (
            "a broken entry",
            append(Some(route(CLUSTER, 1)), vec![vec![1, 255].into()]),
            Code::InvalidArgument,
        ),
    ];
    for (what, request, code) in cases {
        let refused = client.append_entries(request).await.expect_err(what);
        assert_eq!(refused.code(), code, "{what}: {refused}");
        if code == Code::FailedPrecondition {
            assert!(refused.message().contains("version 9"), "{refused}");
        }
    }
    assert_eq!(
        node.raft.status().borrow().term,
        term,
        "nothing of it had an effect"
    );
    let oversized = node.raft.propose(vec![0; 2 * 1024 * 1024]).await;
    assert!(
        matches!(oversized, Err(Error::TooLarge { .. })),
        "{oversized:?}"
    );
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_is_opened_once_and_by_its_owner_alone() {
    let dir = temporary();
    let begin =
        |config: Config| Raft::start(config, Numbers::default(), Arc::new(Loopback::default()));
    let mut wrong = config(1, dir.path());
    wrong.heartbeat_ms = 5_000;
    let refused = begin(wrong).await;
    assert!(matches!(refused, Err(Error::Config { .. })), "{refused:?}");

    let node = Node::start(config(1, dir.path()), None).await;
    let refused = begin(config(1, dir.path())).await;
    assert!(matches!(refused, Err(Error::Open { .. })), "{refused:?}");
    node.stop().await;

    let mut other = config(1, dir.path());
    other.cluster = "other".to_owned();
    let refused = begin(other).await;
    assert!(matches!(refused, Err(Error::Foreign { .. })), "{refused:?}");
}
