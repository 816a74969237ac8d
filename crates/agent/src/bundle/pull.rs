//! Fetches the bundle that the spec names from the members that have it, and keeps at it until it is there.
//!
//! What comes is believed only after its digest was verified. A member that gives wrong bytes costs time and
//! nothing else.

use khactl_bundle::Staging;
use khactl_host::bundle::Manifest;
use khactl_model::status::Problem;
use khactl_proto::v1::{self, bundle_client::BundleClient};
use std::fs::File;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tonic::transport::Channel;

use super::Wanted;
use crate::agent::Agent;
use crate::carry;
use crate::node::Node;
use crate::refused::{Refused, chain};
use crate::time;

const DOING: &str = "fetch the bundle from the other hosts";
/// A member answers with a manifest in milliseconds, or is away.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// So long a stream may stand still.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(10);
/// After no member had it, or none could give it.
const AGAIN: Duration = Duration::from_secs(2);
/// A bundle that is there is looked for so often; an entry of the log wakes the loop too.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Starts the loop.
pub fn spawn(agent: &Arc<Agent>, node: &Arc<Node>) {
    let stopping = agent.tasks.stopping();
    let node = Arc::clone(node);
    agent.tasks.spawn("fetch the bundle", async move {
        tokio::select! {
            () = keep(&node) => {}
            () = stopping => {}
        }
    });
}

async fn keep(node: &Node) {
    let mut applied = node.raft.applied();
    loop {
        applied.borrow_and_update();
        let missing = match Wanted::of_state(&node.state()) {
            Some(wanted) if wanted.manifest().await.is_none() => Some(wanted),
            _ => None,
        };
        let problem = match missing {
            None => None,
            Some(wanted) => match fetch(node, &wanted).await {
                Ok(()) => {
                    tracing::info!(folder = %wanted.folder.display(), "the bundle is there");
                    node.changed.notify_one();
                    None
                }
                Err(refused) => Some(carry::problem(&node.member.host_name, &refused)),
            },
        };
        let pause = if problem.is_some() { AGAIN } else { LOOK_EVERY };
        tell(node, problem);
        let _ = tokio::time::timeout(pause, applied.changed()).await;
    }
}

/// Logs a problem once, and lets whoever waits see it.
fn tell(node: &Node, problem: Option<Problem>) {
    node.bundle_problem.send_if_modified(|known| {
        if *known == problem {
            return false;
        }
        if let Some(problem) = &problem {
            tracing::warn!(code = problem.code, "{}", problem.text);
        }
        *known = problem;
        true
    });
}

/// Asks one member after the other, the leader first, as it has the spec's bundle if anybody has.
async fn fetch(node: &Node, wanted: &Wanted) -> Result<(), Refused> {
    let leader = node.leader_address();
    let mut members: Vec<(String, SocketAddr)> = node
        .state()
        .hosts
        .values()
        .filter(|host| host.id != node.member.host_id)
        .map(|host| (host.name.clone(), host.agent_address()))
        .collect();
    members.sort_by_key(|(_, address)| Some(*address) != leader);
    let mut why = Vec::new();
    for (name, address) in &members {
        match fetch_from(node, wanted, *address).await {
            Ok(()) => return Ok(()),
            Err(reason) => why.push(format!("{name}: {reason}")),
        }
    }
    let why = if why.is_empty() {
        "there is no other host".to_owned()
    } else {
        why.join("; ")
    };
    Err(Refused::new(
        "KHA3071",
        DOING,
        format!("{} is not there. {why}", wanted.folder.display()),
        "import it on one host with `khactl bundle import`; the others fetch it by themselves",
    ))
}

/// All of it from one member; what another one gave before is gone on from.
async fn fetch_from(node: &Node, wanted: &Wanted, address: SocketAddr) -> Result<(), String> {
    // Connections of its own: a program of 130 MB would hold up the heartbeats on the others'.
    let channel = node.peers.channel_apart(address);
    let mut client = BundleClient::new(channel);
    let text = client
        .describe(time::within(ANSWER_TIMEOUT, v1::DescribeBundleRequest {}))
        .await
        .map_err(|status| Refused::of_call(DOING, &status).wrong)?
        .into_inner()
        .manifest;
    if text.is_empty() {
        return Err("it has none".to_owned());
    }
    let manifest = Manifest::parse(&text)?;
    if manifest.kubernetes != wanted.kubernetes {
        return Err(format!(
            "its bundle is of Kubernetes {}, and {} is wanted",
            manifest.kubernetes, wanted.kubernetes
        ));
    }
    let target = wanted.folder.clone();
    let staging = blocking(move || Staging::begin(&target, &text)).await?;
    let staging = Arc::new(staging);
    for program in manifest.programs.keys() {
        pull(&mut client, &staging, program).await?;
        let (verifying, name) = (Arc::clone(&staging), program.clone());
        blocking(move || verifying.verify(&name)).await?;
    }
    let staging = Arc::into_inner(staging).ok_or("it is still being verified")?;
    blocking(move || staging.commit()).await
}

/// The rest of one program.
async fn pull(
    client: &mut BundleClient<Channel>,
    staging: &Staging,
    program: &str,
) -> Result<(), String> {
    let size = staging
        .manifest()
        .programs
        .get(program)
        .map_or(0, |entry| entry.size);
    let (mut file, mut have) = staging.open(program).map_err(|error| chain(&error))?;
    if have >= size {
        return Ok(());
    }
    let ask = v1::PullProgramRequest {
        digest: staging.digest().to_owned(),
        program: program.to_owned(),
        offset: have,
    };
    let asked = tokio::time::timeout(CHUNK_TIMEOUT, client.pull(ask)).await;
    let mut stream = asked
        .map_err(|_| "it does not answer".to_owned())?
        .map_err(|status| Refused::of_call(DOING, &status).wrong)?
        .into_inner();
    while have < size {
        let chunk = tokio::time::timeout(CHUNK_TIMEOUT, stream.message())
            .await
            .map_err(|_| format!("{program} stood still after {have} of {size} bytes"))?
            .map_err(|status| format!("{program} broke off: {}", status.message()))?
            .ok_or_else(|| format!("{program} ended after {have} of {size} bytes"))?;
        have += chunk.data.len() as u64;
        file = blocking(move || append(file, &chunk.data)).await?;
    }
    Ok(())
}

fn append(mut file: File, data: &[u8]) -> io::Result<File> {
    file.write_all(data)?;
    Ok(file)
}

/// Work on the disk, beside the threads that serve.
async fn blocking<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, String>
where
    T: Send + 'static,
    E: std::error::Error + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|error| chain(&error)),
        Err(error) => Err(chain(&error)),
    }
}
