//! The spec while the cluster runs: its revisions, what another one would change, and putting it in force.

use khactl_model::command::Command;
use khactl_model::spec::{BalanceMethod, ClusterSpec, ValidSpec};
use khactl_model::state::ClusterState;
use khactl_plan::{SpecChange, changes_arguments, refuse_weights_of_strangers, spec_changes};
use khactl_proto::v1;
use khactl_proto::v1::apply_config_request::Mode;

use crate::node::Node;
use crate::preflight::spec_refused;
use crate::refused::Refused;
use crate::try_arguments;

const DOING: &str = "change the cluster's spec";

/// The revisions that are kept, as a quorum knows them.
///
/// # Errors
/// No quorum answered.
pub async fn read(node: &Node) -> Result<v1::ReadConfigResponse, Refused> {
    node.barrier().await?;
    let revisions = node
        .state()
        .specs
        .into_iter()
        .map(|spec| v1::SpecRevision {
            revision: spec.revision,
            yaml: spec.yaml,
            actor: spec.actor,
            at_ms: spec.at_ms,
        })
        .collect();
    Ok(v1::ReadConfigResponse { revisions })
}

/// Judges a spec and, if so asked, puts it in force: in the log, from where every host takes it.
///
/// # Errors
/// What is wrong with the spec, what of it cannot change while the cluster runs, or that another change was quicker.
pub async fn apply(
    node: &Node,
    actor: &str,
    request: &v1::ApplyConfigRequest,
) -> Result<v1::ApplyConfigResponse, Refused> {
    let next = ClusterSpec::parse(&request.spec_yaml)
        .map_err(|problems| spec_refused(&problems, &request.file, DOING))?;
    node.barrier().await?;
    let state = node.state();
    let (revision, present) = in_force(&state)?;
    if request.based_on != 0 && request.based_on != revision {
        return Err(Refused::new(
            "KHA2302",
            DOING,
            format!(
                "revision {revision} is in force, and the spec was made from {}",
                request.based_on
            ),
            "look at what has changed: `khactl config history`, `khactl config diff -f`",
        ));
    }
    let mut changes = spec_changes(&present, &next);
    refuse_weights_of_strangers(&mut changes, |host| state.hosts.contains_key(host));
    let mode = request.mode();
    if mode != Mode::Compare {
        refuse(&changes)?;
        try_arguments::refuse_unknown(DOING, &next, &changes).await?;
    }
    let restarts = changes_arguments(&changes);
    let revision = if mode == Mode::Apply && !changes.is_empty() {
        let (based_on, yaml) = (revision, next.to_yaml());
        let command = if restarts {
            Command::ChangeArguments {
                based_on,
                yaml,
                why: String::new(),
            }
        } else {
            Command::SetSpec { based_on, yaml }
        };
        let number = node
            .propose(actor, command)
            .await
            .map_err(|refused| refused.while_doing(DOING))?;
        let paths: Vec<_> = changes.iter().map(|change| change.path.as_str()).collect();
        tracing::info!(revision = number, actor, changed = ?paths, "the spec was changed");
        number
    } else {
        revision
    };
    Ok(v1::ApplyConfigResponse {
        revision,
        notes: notes(&state, &next, restarts),
        changes: changes.into_iter().map(shown).collect(),
    })
}

fn in_force(state: &ClusterState) -> Result<(u64, ValidSpec), Refused> {
    state
        .specs
        .last()
        .and_then(|spec| Some((spec.revision, ClusterSpec::parse(&spec.yaml).ok()?)))
        .ok_or_else(|| {
            Refused::new(
                "KHA2301",
                DOING,
                "this khad cannot read the spec in force",
                "install the same version of khad on all hosts",
            )
        })
}

fn refuse(changes: &[SpecChange]) -> Result<(), Refused> {
    let refused: Vec<_> = changes
        .iter()
        .filter_map(|change| Some((change, change.refusal?)))
        .collect();
    let code = match refused.as_slice() {
        [] => return Ok(()),
        [(_, only)] => only.code,
        _ => "KHA2300",
    };
    let lines: Vec<_> = refused
        .iter()
        .map(|(change, refusal)| {
            format!(
                "{}: it stays {}: {} ({})",
                change.path,
                or_absent(&change.before),
                refusal.reason,
                refusal.code
            )
        })
        .collect();
    Err(Refused::new(
        code,
        DOING,
        lines.join("\n"),
        "write these fields as `khactl config show` has them; nothing was changed",
    ))
}

fn or_absent(text: &str) -> &str {
    if text.is_empty() { "unset" } else { text }
}

/// What is allowed and yet hardly meant.
fn notes(state: &ClusterState, next: &ValidSpec, restarts: bool) -> Vec<String> {
    let turns = "components whose arguments change are restarted on one host after the other: \
                 `khactl status` shows how far it is";
    next.vip
        .preference
        .iter()
        .filter(|name| !state.hosts.contains_key(*name))
        .map(|name| format!("spec.vip.preference names {name}, which is no host of this cluster"))
        .chain(idle_weights(next))
        .chain(restarts.then(|| turns.to_owned()))
        .collect()
}

fn idle_weights(next: &ValidSpec) -> Option<String> {
    let idle =
        next.balancer.method == BalanceMethod::RoundRobin && !next.balancer.weights.is_empty();
    idle.then(|| {
        "spec.balancer.weights changes nothing while spec.balancer.method is round-robin: \
         weighted-round-robin, least-connections and source-hash look at it"
            .to_owned()
    })
}

fn shown(change: SpecChange) -> v1::ConfigChange {
    let (code, reason) = change
        .refusal
        .map_or(("", ""), |refusal| (refusal.code, refusal.reason));
    v1::ConfigChange {
        path: change.path,
        before: change.before,
        after: change.after,
        code: code.to_owned(),
        reason: reason.to_owned(),
    }
}
