//! kube-controller-manager: on every host, one of them leads. It reaches the API through this
//! host's balancer, never through the VIP.

mod args;

use khactl_model::component::ComponentName;

use crate::component::{Component, Plan};
use crate::cx::Cx;
use crate::effect::ProcessSpec;
use crate::khavip::{HTTP2_CHECKS, hold_without_api};
use crate::process;

/// The controller-manager.
#[derive(Debug)]
pub(crate) struct ControllerManager;

impl Component for ControllerManager {
    fn name(&self) -> &'static str {
        ComponentName::KubeControllerManager.as_str()
    }

    fn needs(&self) -> &'static [&'static str] {
        &["pki", "khavip"]
    }

    fn plan(&self, cx: &Cx<'_>) -> Plan {
        if !cx.serves_api() {
            return process::absent(cx, ComponentName::KubeControllerManager);
        }
        hold_without_api(cx, self.name(), process::keep_fenced(cx, spec(cx)))
    }
}

fn spec(cx: &Cx<'_>) -> ProcessSpec {
    ProcessSpec {
        name: ComponentName::KubeControllerManager,
        program: "kube-controller-manager".to_owned(),
        args: args::render(cx),
        env: HTTP2_CHECKS
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        user: ComponentName::KubeControllerManager
            .user()
            .map(str::to_owned),
        bundle: cx.spec.control_plane.bundle.clone(),
    }
}
