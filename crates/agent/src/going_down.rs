//! The end of this host's components when the host itself goes down: each before what it needs.
//!
//! ```text
//! drained ──▶ scheduler, controller-manager ──▶ API server ──▶ etcd ──▶ khavip
//! ```
//!
//! First no balancer sends the API server anything new. The controllers have their Leases given back through an API that
//! still answers. An API server takes itself off the list of API servers and finishes what it was asked: it needs its
//! etcd for both. khavip, by which this host's components reach the API, and which the lease's other members count, is
//! the last. The VIP is handed over before all of this, by `khavip hand-over`.

use futures::future::join_all;
use khactl_host::process::Processes;
use khactl_model::component::ComponentName;
use khactl_model::facts::VipFact;
use khactl_model::state::Host;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::agent::Agent;
use crate::carry::host_refused;
use crate::node::Node;
use crate::refused::Refused;
use crate::time::pause;
use crate::transfer;

/// So long balancers are waited for: hosts hear from the leader once a second, and one that cannot be told holds nothing
/// up for long.
const DRAIN: Duration = Duration::from_secs(3);
/// Between two looks at them.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Who ends with whom, and how long they may take. Together it is less than `TimeoutStopSec` of
/// `khactl-shutdown.service`.
const ORDER: [(&[ComponentName], Duration); 4] = [
    (
        &[
            ComponentName::KubeScheduler,
            ComponentName::KubeControllerManager,
        ],
        Duration::from_secs(5),
    ),
    // It refuses nothing for up to 5 s more (`--shutdown-delay-duration`); then come the requests that it has.
    (&[ComponentName::KubeApiserver], Duration::from_secs(20)),
    // A leader hands over first.
    (&[ComponentName::Etcd], Duration::from_secs(10)),
    // It drains for 2 s.
    (&[ComponentName::Khavip], Duration::from_secs(5)),
];

/// What the khad of a host that goes down does.
///
/// # Errors
/// Those of [`end_components`].
pub async fn go_down(agent: &Agent) -> Result<(), Refused> {
    let serves = agent
        .processes
        .facts()
        .get(&ComponentName::KubeApiserver)
        .is_some_and(|process| process.running);
    if let Some(node) = agent.node().filter(|_| serves) {
        agent.going_down.store(true, Ordering::Relaxed);
        node.changed.notify_one();
        let drained = tokio::time::timeout(DRAIN, drain(&node)).await.is_ok();
        tracing::info!(drained, "this host's API server gets nothing new");
    }
    end_components(&agent.processes).await
}

/// Waits until no balancer sends this host's API server anything new; it is the host's loop that tells the leader.
async fn drain(node: &Node) {
    loop {
        let hosts: Vec<Host> = node.state().hosts.values().cloned().collect();
        let views = transfer::views(node, &hosts).await;
        if is_drained(&views, &node.member.host_name) {
            return;
        }
        pause(LOOK_EVERY).await;
    }
}

/// A khavip that does not answer cannot be told anything either.
fn is_drained(views: &BTreeMap<u64, VipFact>, host: &str) -> bool {
    let drains = |view: &VipFact| view.draining.iter().any(|drained| drained == host);
    views.values().all(drains)
}

/// Ends them; what does not end in its time is killed. From then on none is started.
///
/// # Errors
/// One survived even that. The others have been ended all the same.
pub async fn end_components(processes: &Processes) -> Result<(), Refused> {
    processes.close();
    let mut outcome = Ok(());
    for (names, grace) in ORDER {
        let ends = names
            .iter()
            .copied()
            .map(|name| processes.stop(name, grace));
        for ended in join_all(ends).await {
            if let Err(error) = ended {
                let refused = host_refused("end this host's components", &error);
                tracing::warn!(code = refused.code, "{refused}");
                outcome = Err(refused);
            }
        }
    }
    outcome
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::sync::Arc;

    use khactl_host::HostError;
    use khactl_host::process::ProcessSpec;
    use khactl_proto::v1::EndComponentsRequest;
    use khactl_proto::v1::admin_server::Admin;
    use khactl_sys::clock;
    use tokio::task::JoinSet;
    use tonic::Request;

    use super::*;
    use crate::config::Config;
    use crate::net::{Caller, Identity};
    use crate::service::admin::AdminService;

    /// Far longer than anything here takes on an idle machine.
    const PATIENCE: Duration = Duration::from_mins(1);

    /// In a component's place: told to end, it does so after a while, and says when.
    fn stand_in(name: ComponentName, said: &Path) -> ProcessSpec {
        // An API server takes longest: what did not wait for it would have ended before it.
        let takes = if name == ComponentName::KubeApiserver {
            "0.5"
        } else {
            "0"
        };
        let said = said.display();
        let script = format!(
            "trap 'sleep {takes}; echo {name} >> {said}; exit 0' TERM; echo up; while :; do sleep 0.05; done"
        );
        ProcessSpec {
            name,
            program: "/bin/sh".into(),
            digest: "a".to_owned(),
            args: vec!["-c".to_owned(), script],
            env: Vec::new(),
            user: None,
        }
    }

    async fn until(what: &str, holds: impl Fn() -> bool) {
        let deadline = clock::monotonic() + PATIENCE;
        while !holds() {
            assert!(clock::monotonic() < deadline, "never: {what}");
            tokio::task::yield_now().await;
        }
    }

    async fn until_up(log_dir: &Path, name: ComponentName) {
        let log = log_dir.join(format!("{name}.log"));
        let is_up = || fs::read_to_string(&log).is_ok_and(|text| text.contains("up"));
        until(&format!("{name} is up"), is_up).await;
    }

    #[tokio::test]
    async fn what_others_need_ends_after_them_and_nothing_is_started_again() {
        let folder = tempfile::tempdir().unwrap();
        let (state, log) = (folder.path().join("state"), folder.path().join("log"));
        let said = folder.path().join("said");
        let processes = Processes::open(&state, &log).await.unwrap();
        processes.adopt_all("c").await.unwrap();
        for name in ComponentName::ALL {
            processes.ensure(stand_in(name, &said)).await.unwrap();
            until_up(&log, name).await;
        }

        end_components(&processes).await.unwrap();

        let text = fs::read_to_string(&said).unwrap();
        let mut ended: Vec<&str> = text.lines().collect();
        // These two end at the same time.
        ended[..2].sort_unstable();
        assert_eq!(
            ended,
            [
                "kube-controller-manager",
                "kube-scheduler",
                "kube-apiserver",
                "etcd",
                "khavip"
            ]
        );
        assert!(processes.facts().values().all(|process| !process.running));

        let refused = processes
            .ensure(stand_in(ComponentName::Etcd, &said))
            .await
            .unwrap_err();
        assert!(matches!(refused, HostError::GoingDown { .. }), "{refused}");
        end_components(&processes).await.unwrap();
    }

    #[tokio::test]
    async fn a_host_is_ended_though_whoever_asked_for_it_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let below = |name: &str| folder.path().join(name);
        let (log, said) = (below("log"), below("said"));
        let processes = Processes::open(&below("state"), &log).await.unwrap();
        processes.adopt_all("c").await.unwrap();
        for name in [ComponentName::KubeApiserver, ComponentName::Etcd] {
            processes.ensure(stand_in(name, &said)).await.unwrap();
            until_up(&log, name).await;
        }
        let config = Config {
            data_dir: below("data"),
            run_dir: below("run"),
            log_dir: log,
            host_name: "cp1".to_owned(),
            advertise_address: None,
        };
        let agent = Agent::new(config, processes.clone());
        let mut request = Request::new(EndComponentsRequest {});
        request.extensions_mut().insert(Caller {
            identity: Identity::Admin {
                name: "root".to_owned(),
            },
            local: true,
            ..Caller::default()
        });
        let service = AdminService::new(Arc::clone(&agent));
        let mut asking = JoinSet::new();
        asking.spawn(async move { service.end_components(request).await });
        until("it has begun", || processes.is_closed()).await;
        // While the API server, for which etcd waits, still takes its time.
        asking.shutdown().await;

        until("etcd has ended too", || {
            !processes.facts()[&ComponentName::Etcd].running
        })
        .await;
        assert_eq!(fs::read_to_string(&said).unwrap(), "kube-apiserver\netcd\n");
    }

    #[test]
    fn a_host_is_drained_when_every_khavip_that_answers_says_so() {
        let view = |draining: &[&str]| VipFact {
            draining: draining.iter().map(|&host| host.to_owned()).collect(),
            ..VipFact::default()
        };
        let mut views = BTreeMap::from([(1, view(&["cp2"])), (2, view(&[]))]);
        assert!(!is_drained(&views, "cp2"));
        views.insert(2, view(&["cp1", "cp2"]));
        assert!(is_drained(&views, "cp2") && !is_drained(&views, "cp1"));
        assert!(is_drained(&BTreeMap::new(), "cp2"), "nobody balances");
    }

    #[test]
    fn all_components_are_ended_and_in_less_time_than_the_host_gives_them() {
        let mut named: Vec<_> = ORDER.iter().flat_map(|(names, _)| names.to_vec()).collect();
        named.sort_unstable();
        let mut all = ComponentName::ALL.to_vec();
        all.sort_unstable();
        assert_eq!(named, all);
        let unit = include_str!("../../../packaging/units/khactl-shutdown.service");
        let limit = unit
            .lines()
            .find_map(|line| line.strip_prefix("TimeoutStopSec="))
            .and_then(|seconds| seconds.parse().ok())
            .map(Duration::from_secs)
            .unwrap();
        let graces: Duration = ORDER.iter().map(|(_, grace)| *grace).sum();
        // `khavip hand-over` takes 5 s at the most.
        assert!(graces + DRAIN + Duration::from_secs(5) < limit);
    }
}
