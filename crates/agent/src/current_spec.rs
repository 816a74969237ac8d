//! The spec in force, parsed once per revision: every loop looks at it at each turn.

use khactl_model::spec::{ClusterSpec, ValidSpec};
use khactl_model::state::ClusterState;
use std::sync::Arc;

/// The newest revision that was looked at; no spec if this khad cannot read it.
#[derive(Debug, Default)]
pub struct CurrentSpec {
    known: Option<(u64, Option<Arc<ValidSpec>>)>,
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
}
