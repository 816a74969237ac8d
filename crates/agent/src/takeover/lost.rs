//! The Leases of a host that went. Every host watches while its khavip does not hear another one, so that whoever leads
//! the agents next has seen what it needs to; the leader alone clears.

use futures::future::join_all;
use khactl_host::leader_lease::{Cleared, ReadLease};
use khactl_model::component::ComponentName;
use khactl_model::facts::VipFact;
use khactl_model::leader_lease::ELECTING;
use khactl_model::spec::{Mode, ValidSpec};
use khactl_model::state::{ClusterState, Host, Role};
use khactl_plan::takeover::{LostCx, Refusal, SILENCE_MS, Verdict, Voice, judge_lost};
use khactl_proto::v1;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::watched_lease::WatchedLease;
use crate::agent::Agent;
use crate::chain;
use crate::current_spec::CurrentSpec;
use crate::node::Node;
use crate::time;
use crate::vip_client::VipClient;

/// Between two looks at this host's khavip.
const LISTEN_EVERY: Duration = Duration::from_millis(250);
/// The same while something is about to be decided.
const DECIDE_EVERY: Duration = Duration::from_millis(100);
/// A host that was not heard for so long is watched: long before it counts as lost, so that its Lease has been seen.
const SUSPECT_MS: u64 = 500;
/// What is not to be decided soon is looked at again after so long.
const REST_MS: u64 = 2_000;
/// A decision that is waited for longer than Kubernetes' own would take is no longer worth the looking.
const DECIDE_MS_MAX: u64 = 20_000;
/// Of one question to another agent.
const ASK_TIMEOUT: Duration = Duration::from_millis(400);

/// Starts the task.
pub(super) fn spawn(agent: &Arc<Agent>, node: &Arc<Node>) {
    let watch = Watch {
        node: Arc::clone(node),
        spec: CurrentSpec::default(),
        vip: VipClient::new(&agent.config.vip_socket()),
        leases: ELECTING.map(Watched::of),
        suspects: BTreeSet::new(),
        suspected_ms: 0,
        rest_until_ms: 0,
    };
    let stopping = agent.tasks.stopping();
    agent.tasks.spawn("lost hosts' Leases", async move {
        tokio::select! {
            () = watch.run() => {}
            () = stopping => {}
        }
    });
}

/// One Lease as this host sees it.
struct Watched {
    component: ComponentName,
    lease: WatchedLease,
    /// What was logged last, so that it is logged once.
    said: Option<(String, Refusal)>,
}

impl Watched {
    fn of(component: ComponentName) -> Self {
        Self {
            component,
            lease: WatchedLease::of(component),
            said: None,
        }
    }
}

/// What this host's khavip said, when it was asked, and when the answer came.
struct Heard {
    fact: VipFact,
    asked_ms: u64,
    told_ms: u64,
}

/// By what is judged in one turn.
struct Ground<'a> {
    spec: &'a ValidSpec,
    state: &'a ClusterState,
    heard: &'a Heard,
}

struct Watch {
    node: Arc<Node>,
    /// The spec in force, parsed once per revision.
    spec: CurrentSpec,
    vip: VipClient,
    leases: [Watched; ELECTING.len()],
    /// Who is not heard.
    suspects: BTreeSet<u64>,
    /// Since when it is these.
    suspected_ms: u64,
    rest_until_ms: u64,
}

impl Watch {
    async fn run(mut self) {
        loop {
            let pause = if self.turn().await {
                DECIDE_EVERY
            } else {
                LISTEN_EVERY
            };
            time::pause(pause).await;
        }
    }

    /// Whether something is about to be decided.
    async fn turn(&mut self) -> bool {
        if self.node.standing.removed().is_some() {
            return false;
        }
        let asked_ms = time::boot_ms();
        let Some(fact) = self.vip.status().await else {
            return false;
        };
        let told_ms = time::boot_ms();
        // Who runs nothing that leads has nothing to be cleared, and no reason to say anything either.
        let armed = self.node.fences.armed();
        let leads = |id: u64| {
            armed
                .get(&id)
                .is_some_and(|told| !told.components.is_empty())
        };
        let suspects: BTreeSet<u64> = fact
            .measured
            .peers
            .iter()
            .filter(|peer| u64::from(peer.silent_ms) >= SUSPECT_MS && leads(peer.host_id))
            .map(|peer| peer.host_id)
            .collect();
        if suspects != self.suspects {
            self.suspects = suspects;
            self.suspected_ms = told_ms;
            self.rest_until_ms = 0;
            for watched in &mut self.leases {
                watched.lease.forget();
                watched.said = None;
            }
        }
        if self.suspects.is_empty() || told_ms < self.rest_until_ms {
            return false;
        }
        let state = self.node.state();
        let spec = self.spec.of(&state);
        let runs = state
            .host_by_id(self.node.member.host_id)
            .is_some_and(|host| host.role == Role::ControlPlane);
        let managed = spec.filter(|spec| runs && spec.control_plane.mode == Mode::Managed);
        let Some(spec) = managed else {
            self.rest_until_ms = told_ms + REST_MS;
            return false;
        };
        let heard = Heard {
            fact,
            asked_ms,
            told_ms,
        };
        let ground = Ground {
            spec: &spec,
            state: &state,
            heard: &heard,
        };
        let deciding = self.see_to(&ground).await && told_ms < self.suspected_ms + DECIDE_MS_MAX;
        if !deciding {
            self.rest_until_ms = time::boot_ms() + REST_MS;
        }
        deciding
    }

    /// Looks at both Leases; whether one is about to be decided.
    async fn see_to(&mut self, ground: &Ground<'_>) -> bool {
        let mut deciding = false;
        for watched in &mut self.leases {
            let looked_ms = time::boot_ms();
            let port = ground.spec.balancer.port;
            deciding |= match watched.lease.look(&self.node, port).await {
                Ok(Some(read)) => {
                    let holder = read.lease.holder_host();
                    let host = holder.and_then(|name| ground.state.hosts.get(name));
                    match host.filter(|host| self.suspects.contains(&host.id)) {
                        Some(lost) => {
                            judge(&self.node, ground, lost, watched, &read, looked_ms).await
                        }
                        None => false,
                    }
                }
                Ok(None) => false,
                Err(error) => {
                    tracing::debug!(component = %watched.component, error, "the Lease was not read");
                    true
                }
            };
        }
        deciding
    }
}

/// Clears the Lease if the lost host's fence has ended its holder; whether that is about to be decided.
async fn judge(
    node: &Node,
    ground: &Ground<'_>,
    lost: &Host,
    watched: &mut Watched,
    read: &ReadLease,
    looked_ms: u64,
) -> bool {
    let component = watched.component;
    // One that was cut off leads no more, though nobody has told it: its epoch may be an old one.
    let leads = node.raft_view().leading;
    let voices = if leads {
        voices(node, ground, lost).await
    } else {
        BTreeMap::new()
    };
    let verdict = judge_lost(&LostCx {
        spec: ground.spec,
        state: ground.state,
        component,
        sightings: watched.lease.sightings(),
        armed: &node.fences.armed(),
        voices: &voices,
        looked_ms,
    });
    let (host, holder) = (&lost.name, &read.lease.holder);
    let judged = match verdict {
        Verdict::Clear { resource_version } => resource_version,
        Verdict::Wait(refusal) => {
            tracing::debug!(%component, host, holder, reason = %refusal, "a lost host's Lease is watched");
            return true;
        }
        Verdict::Leave(refusal) => {
            let said = Some((holder.clone(), refusal.clone()));
            if leads && watched.said != said {
                tracing::info!(%component, host, holder, reason = %refusal, "a lost host's Lease is left to run out");
            }
            watched.said = said;
            return false;
        }
    };
    if let Err(error) = confirm(node, ground).await {
        tracing::debug!(%component, host, holder, error, "a lost host's Lease was not cleared yet");
        return true;
    }
    match watched.lease.clear(read, &judged).await {
        Ok(Cleared::Done) => {
            tracing::info!(%component, host, holder, "a lost host's Lease was cleared: its fence has ended the holder");
            false
        }
        Ok(Cleared::Conflict) => true,
        Err(error) => {
            tracing::debug!(%component, error, "a lost host's Lease was not cleared yet");
            true
        }
    }
}

/// That the members by which was judged are the cluster's now, and not those of before this host lost its lead.
async fn confirm(node: &Node, ground: &Ground<'_>) -> Result<(), String> {
    let confirmed = tokio::time::timeout(ASK_TIMEOUT, node.raft.linearizable()).await;
    match confirmed {
        Ok(Ok(_)) if node.state().lease == ground.state.lease => Ok(()),
        Ok(Ok(_)) => Err("the lease's members have changed".to_owned()),
        Ok(Err(error)) => Err(chain(&error)),
        Err(_) => Err("no majority of the agents has answered in time".to_owned()),
    }
}

/// How long the members have not heard that one; the others are asked once this host's own khavip has not for long
/// enough.
async fn voices(node: &Node, ground: &Ground<'_>, lost: &Host) -> BTreeMap<u64, Voice> {
    let own_id = node.member.host_id;
    let mut voices = BTreeMap::new();
    let Heard {
        fact,
        asked_ms,
        told_ms,
    } = ground.heard;
    let Some(own) = voice(fact, lost.id, *asked_ms, *told_ms) else {
        return voices;
    };
    voices.insert(own_id, own);
    if own.silent_ms < SILENCE_MS {
        return voices;
    }
    let members = &ground.state.lease.members;
    let others: Vec<&Host> = ground
        .state
        .hosts
        .values()
        .filter(|host| ![own_id, lost.id].contains(&host.id) && members.contains(&host.id))
        .collect();
    let asked = others
        .into_iter()
        .map(|host| async move { (host.id, ask(node, host, lost.id).await) });
    let answers = join_all(asked).await;
    voices.extend(
        answers
            .into_iter()
            .filter_map(|(id, voice)| Some((id, voice?))),
    );
    voices
}

/// How long another member has not heard the one that may be lost.
async fn ask(node: &Node, host: &Host, lost: u64) -> Option<Voice> {
    let asked_ms = time::boot_ms();
    let answer = node
        .peer(host.agent_address())
        .vip_view(time::within(ASK_TIMEOUT, v1::VipViewRequest {}))
        .await
        .ok()?;
    let told_ms = time::boot_ms();
    let fact: VipFact = serde_json::from_str(&answer.into_inner().json).ok()?;
    voice(&fact, lost, asked_ms, told_ms)
}

fn voice(fact: &VipFact, lost: u64, asked_ms: u64, told_ms: u64) -> Option<Voice> {
    let peers = &fact.measured.peers;
    let peer = peers.iter().find(|peer| peer.host_id == lost)?;
    // A khavip that never heard it may have started just now, and the one before may have answered it.
    if peer.silent_ms == u32::MAX {
        return None;
    }
    Some(Voice {
        asked_ms,
        told_ms,
        silent_ms: u64::from(peer.silent_ms),
        epoch: fact.epoch,
    })
}
