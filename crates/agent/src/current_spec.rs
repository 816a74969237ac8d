//! The spec in force, parsed once per revision: every loop looks at it at each turn.

use khactl_model::spec::{ClusterSpec, ValidSpec};
use khactl_model::state::ClusterState;
use khactl_plan::with_arguments_of;
use std::sync::Arc;

/// The newest revision that was looked at; no spec if this khad cannot read it.
#[derive(Debug, Default)]
pub struct CurrentSpec {
    known: Option<(u64, Option<Arc<ValidSpec>>)>,
    /// With the newest revision and the one whose arguments it has.
    on_host: Option<((u64, u64), Arc<ValidSpec>)>,
}

impl CurrentSpec {
    /// The spec of the state's newest revision; none before the first, or if it cannot be read.
    pub fn of(&mut self, state: &ClusterState) -> Option<Arc<ValidSpec>> {
        let newest = state.specs.last()?;
        match &self.known {
            Some((revision, spec)) if *revision == newest.revision => spec.clone(),
            _ => {
                let spec = ClusterSpec::parse(&newest.yaml)
                    .map(Arc::new)
                    .inspect_err(|problems| {
                        // It was valid to the agent that put it into the log.
                        tracing::error!(%problems, "this khad cannot read the cluster's spec: upgrade it");
                    })
                    .ok();
                self.known = Some((newest.revision, spec.clone()));
                spec
            }
        }
    }

    /// The same as one host goes by it: with the arguments of components that it has, until it is that host's turn
    /// to take the newest.
    pub fn on_host(&mut self, state: &ClusterState, host_id: u64) -> Option<Arc<ValidSpec>> {
        let newest = self.of(state)?;
        let revision = state.specs.last()?.revision;
        // A revision that is no longer kept is older than any that a host goes by.
        let own = state
            .arguments_of(host_id)
            .and_then(|own| state.specs.iter().find(|spec| spec.revision == own));
        let Some(own) = own else {
            return Some(newest);
        };
        let key = (revision, own.revision);
        if let Some((known, spec)) = &self.on_host
            && *known == key
        {
            return Some(Arc::clone(spec));
        }
        let merged = ClusterSpec::parse(&own.yaml)
            .ok()
            .and_then(|own| with_arguments_of(&newest, &own))
            .map_or(newest, Arc::new);
        self.on_host = Some((key, Arc::clone(&merged)));
        Some(merged)
    }
}
