//! The Leases of a host that went. Every host watches while its khavip does not hear another one, so that whoever leads
//! the agents next has seen what it needs to; the leader alone clears.

use futures::future::join_all;
use khactl_host::leader_lease::{Cleared, LeaseClient, ReadLease};
use khactl_model::component::ComponentName;
use khactl_model::facts::VipFact;
use khactl_model::leader_lease::ELECTING;
use khactl_model::spec::{Mode, ValidSpec};
use khactl_model::state::{ClusterState, Host, Role};
use khactl_plan::takeover::{LostCx, Refusal, SILENCE_MS, Sightings, Verdict, Voice, judge_lost};
use khactl_proto::v1;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::client;
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
        leases: BTreeMap::new(),
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
#[derive(Default)]
struct Watched {
    client: Option<LeaseClient>,
    sightings: Sightings,
    /// What was logged last, so that it is logged once.
    said: Option<(String, Refusal)>,
}

struct Watch {
    node: Arc<Node>,
    /// The spec in force, parsed once per revision.
    spec: CurrentSpec,
    vip: VipClient,
    leases: BTreeMap<ComponentName, Watched>,
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
        let suspects: BTreeSet<u64> = fact
            .measured
            .peers
            .iter()
            .filter(|peer| u64::from(peer.silent_ms) >= SUSPECT_MS)
            .map(|peer| peer.host_id)
            .collect();
        if suspects != self.suspects {
            self.suspects = suspects;
            self.suspected_ms = told_ms;
            self.rest_until_ms = 0;
            for watched in self.leases.values_mut() {
                watched.sightings = Sightings::default();
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
        let own = (fact, asked_ms, told_ms);
        let deciding =
            self.see_to(&spec, &state, &own).await && told_ms < self.suspected_ms + DECIDE_MS_MAX;
        if !deciding {
            self.rest_until_ms = time::boot_ms() + REST_MS;
        }
        deciding
    }

    /// Looks at both Leases; whether one is about to be decided.
    async fn see_to(
        &mut self,
        spec: &ValidSpec,
        state: &ClusterState,
        own: &(VipFact, u64, u64),
    ) -> bool {
        let mut deciding = false;
        for component in ELECTING {
            let looked_ms = time::boot_ms();
            let mut watched = self.leases.remove(&component).unwrap_or_default();
            let read = look(&self.node, component, spec, &mut watched).await;
            deciding |= match read {
                Ok(Some(read)) => {
                    self.judge(spec, state, own, component, &mut watched, &read, looked_ms)
                        .await
                }
                Ok(None) => false,
                Err(error) => {
                    tracing::debug!(%component, error, "the Lease was not read");
                    true
                }
            };
            self.leases.insert(component, watched);
        }
        deciding
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "what one judgement needs, each from another place"
    )]
    async fn judge(
        &self,
        spec: &ValidSpec,
        state: &ClusterState,
        own: &(VipFact, u64, u64),
        component: ComponentName,
        watched: &mut Watched,
        read: &ReadLease,
        looked_ms: u64,
    ) -> bool {
        let holder = read
            .lease
            .holder_host()
            .and_then(|name| state.hosts.get(name));
        let Some(lost) = holder.filter(|host| self.suspects.contains(&host.id)) else {
            return false;
        };
        let leads = self.node.raft.status().borrow().is_leader;
        let voices = if leads {
            self.voices(state, own, lost).await
        } else {
            BTreeMap::new()
        };
        let verdict = judge_lost(&LostCx {
            spec,
            state,
            component,
            sightings: &watched.sightings,
            armed: &self.node.fences.armed(),
            voices: &voices,
            looked_ms,
        });
        let (host, holder) = (&lost.name, &read.lease.holder);
        match verdict {
            Verdict::Wait(refusal) => {
                tracing::debug!(%component, host, holder, reason = %refusal, "a lost host's Lease is watched");
                true
            }
            Verdict::Leave(refusal) => {
                let said = Some((holder.clone(), refusal.clone()));
                if leads && watched.said != said {
                    tracing::info!(%component, host, holder, reason = %refusal, "a lost host's Lease is left to run out");
                }
                watched.said = said;
                false
            }
            Verdict::Clear { .. } => {
                let Some(client) = &mut watched.client else {
                    return true;
                };
                match client.clear(read).await {
                    Ok(Cleared::Done) => {
                        tracing::info!(%component, host, holder, "a lost host's Lease was cleared: its fence has ended the holder");
                        false
                    }
                    Ok(Cleared::Conflict) => true,
                    Err(error) => {
                        tracing::debug!(%component, error = %chain(&error), "a lost host's Lease was not cleared yet");
                        watched.client = None;
                        true
                    }
                }
            }
        }
    }

    /// How long the members have not heard that one; the others are asked once this host's own khavip has not for long
    /// enough.
    async fn voices(
        &self,
        state: &ClusterState,
        (fact, asked_ms, told_ms): &(VipFact, u64, u64),
        lost: &Host,
    ) -> BTreeMap<u64, Voice> {
        let own_id = self.node.member.host_id;
        let mut voices = BTreeMap::new();
        let Some(own) = voice(fact, lost.id, *asked_ms, *told_ms) else {
            return voices;
        };
        voices.insert(own_id, own);
        if own.silent_ms < SILENCE_MS {
            return voices;
        }
        let others: Vec<&Host> = state
            .hosts
            .values()
            .filter(|host| {
                ![own_id, lost.id].contains(&host.id) && state.lease.members.contains(&host.id)
            })
            .collect();
        let asked = others
            .into_iter()
            .map(|host| async move { (host.id, ask(&self.node, host, lost.id).await) });
        let answers = join_all(asked).await;
        voices.extend(
            answers
                .into_iter()
                .filter_map(|(id, voice)| Some((id, voice?))),
        );
        voices
    }
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

/// Reads a Lease and keeps what was seen.
async fn look(
    node: &Node,
    component: ComponentName,
    spec: &ValidSpec,
    watched: &mut Watched,
) -> Result<Option<ReadLease>, String> {
    let mut client = match watched.client.take() {
        Some(client) => client,
        None => client(node, component, spec.balancer.port)
            .await
            .map_err(|error| chain(&error))?,
    };
    let read = client.read().await.map_err(|error| chain(&error))?;
    watched.client = Some(client);
    let lease = read.as_ref().map(|read| read.lease.clone());
    watched
        .sightings
        .note(lease.unwrap_or_default(), time::boot_ms());
    Ok(read)
}
