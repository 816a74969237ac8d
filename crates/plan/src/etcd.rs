//! This host's etcd member. The leader adds it to the cluster (`membership`); this file only
//! runs it, and never on an empty data folder that was once in service: such a member has
//! forgotten what it promised, and a first one would begin an empty cluster.

mod args;

use khactl_model::command::{Command, SetEtcdStage};
use khactl_model::component::ComponentName;
use khactl_model::state::EtcdStage;
use khactl_model::status::Problem;

use crate::component::{Component, Plan, Status};
use crate::cx::Cx;
use crate::effect::{Effect, ProcessSpec};
use crate::host_plan::hold;
use crate::{problem, process};

/// The etcd member.
#[derive(Debug)]
pub(crate) struct Etcd;

impl Component for Etcd {
    fn name(&self) -> &'static str {
        ComponentName::Etcd.as_str()
    }

    fn needs(&self) -> &'static [&'static str] {
        &["pki"]
    }

    fn plan(&self, cx: &Cx<'_>) -> Plan {
        if !cx.managed() {
            return process::absent(cx, ComponentName::Etcd);
        }
        let member = &cx.host.etcd;
        let mut plan = process::keep(cx, spec(cx));
        if member.stage == EtcdStage::Absent {
            let why = "the leader has not added this host to etcd yet".to_owned();
            return hold(cx, self.name(), plan, why);
        }
        if member.started && !cx.facts.etcd_data {
            let why = "its data folder is empty although it was in service".to_owned();
            plan = hold(cx, self.name(), plan, why);
            plan.problems.push(data_lost(cx));
            return plan;
        }
        if plan.status == Status::Ready && !member.started {
            plan.effects.push(Effect::Propose(in_service(cx)));
        }
        plan
    }
}

fn spec(cx: &Cx<'_>) -> ProcessSpec {
    ProcessSpec {
        name: ComponentName::Etcd,
        program: "etcd".to_owned(),
        args: args::render(cx),
        env: Vec::new(),
        user: ComponentName::Etcd.user().map(str::to_owned),
        bundle: cx.spec.control_plane.bundle.clone(),
    }
}

/// From now on an empty data folder is a loss.
fn in_service(cx: &Cx<'_>) -> Command {
    Command::SetEtcdStage(SetEtcdStage {
        host_name: cx.host.name.clone(),
        stage: cx.host.etcd.stage,
        member_id: 0,
        initial_cluster: String::new(),
        started: true,
    })
}

fn data_lost(cx: &Cx<'_>) -> Problem {
    let name = &cx.host.name;
    Problem {
        code: problem::ETCD_DATA_LOST.to_owned(),
        host: name.clone(),
        text: format!(
            "etcd data lost: {} holds no member, and this host's member was in service",
            cx.paths.etcd_data()
        ),
        advice: format!(
            "mount or put back that folder and etcd starts by itself; if it is lost for good, \
             `khactl remove {name}` on another host, then `khactl reset` and `khactl join` here"
        ),
    }
}
