//! Every component there is. Their order comes from what they need, not from this list.

use crate::component::Component;

/// The components of a host.
pub fn components() -> &'static [&'static dyn Component] {
    &[
        &crate::khavip::Khavip,
        &crate::scheduler::Scheduler,
        &crate::controller_manager::ControllerManager,
        &crate::apiserver::Apiserver,
        &crate::etcd::Etcd,
        &crate::pki::Pki,
    ]
}
