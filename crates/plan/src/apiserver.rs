//! kube-apiserver. It uses its own host's etcd member only, and starts no sooner than that is a
//! voter whose service is recorded: nothing is acknowledged that a lost data folder could take
//! back unnoticed.

mod args;

use khactl_model::component::ComponentName;
use khactl_model::state::EtcdStage;

use crate::component::{Component, Plan};
use crate::cx::Cx;
use crate::effect::ProcessSpec;
use crate::host_plan::hold;
use crate::process;

/// The apiserver.
#[derive(Debug)]
pub(crate) struct Apiserver;

impl Component for Apiserver {
    fn name(&self) -> &'static str {
        ComponentName::KubeApiserver.as_str()
    }

    fn needs(&self) -> &'static [&'static str] {
        &["pki", "etcd"]
    }

    fn plan(&self, cx: &Cx<'_>) -> Plan {
        if !cx.serves_api() {
            return process::absent(cx, ComponentName::KubeApiserver);
        }
        let plan = process::keep(cx, spec(cx));
        let member = &cx.host.etcd;
        if member.stage != EtcdStage::Voter || !member.started {
            let why = "this host's etcd member has no vote yet, or was never ready".to_owned();
            return hold(cx, self.name(), plan, why);
        }
        plan
    }
}

fn spec(cx: &Cx<'_>) -> ProcessSpec {
    ProcessSpec {
        name: ComponentName::KubeApiserver,
        program: "kube-apiserver".to_owned(),
        args: args::render(cx),
        env: Vec::new(),
        user: ComponentName::KubeApiserver.user().map(str::to_owned),
        bundle: cx.spec.control_plane.bundle.clone(),
    }
}
