//! kube-scheduler: on every host, one of them leads. It reaches the API through this host's
//! balancer, never through the VIP.

mod args;

use khactl_model::component::ComponentName;

use crate::component::{Component, Plan};
use crate::cx::Cx;
use crate::effect::ProcessSpec;
use crate::khavip::{HTTP2_CHECKS, hold_without_api};
use crate::process;

/// The scheduler.
#[derive(Debug)]
pub(crate) struct Scheduler;

impl Component for Scheduler {
    fn name(&self) -> &'static str {
        ComponentName::KubeScheduler.as_str()
    }

    fn needs(&self) -> &'static [&'static str] {
        &["pki", "khavip"]
    }

    fn plan(&self, cx: &Cx<'_>) -> Plan {
        if !cx.serves_api() {
            return process::absent(cx, ComponentName::KubeScheduler);
        }
        hold_without_api(cx, self.name(), process::keep_fenced(cx, spec(cx)))
    }
}

fn spec(cx: &Cx<'_>) -> ProcessSpec {
    ProcessSpec {
        name: ComponentName::KubeScheduler,
        program: "kube-scheduler".to_owned(),
        args: args::render(cx),
        env: HTTP2_CHECKS
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        user: ComponentName::KubeScheduler.user().map(str::to_owned),
        bundle: cx.spec.control_plane.bundle.clone(),
    }
}
