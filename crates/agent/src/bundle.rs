//! The bundle that the spec names: where this host lacks it, it comes from the hosts that have it, so that one
//! import is enough for a cluster.
//!
//! ```text
//! there ──▶ nothing to do
//! missing ─▶ ask a member for its manifest ─▶ pull each program, from where it broke off ─▶ verify ─▶ rename
//!              ▲───────── the next member, when this one has none or what came is wrong ◀──────┘
//! ```

mod pull;
mod serve;

use khactl_host::bundle::{MANIFEST, MANIFEST_BYTES_MAX, Manifest};
use khactl_host::files;
use khactl_model::spec::{ClusterSpec, ValidSpec};
use khactl_model::state::ClusterState;
use std::path::{Path, PathBuf};

use crate::node::Node;

pub use pull::spawn;
pub use serve::BundleService;

/// What a spec says of its bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    folder: PathBuf,
    kubernetes: String,
}

impl Wanted {
    fn of(spec: &ValidSpec) -> Option<Self> {
        Some(Self {
            folder: PathBuf::from(spec.control_plane.bundle.as_ref()?),
            kubernetes: spec.control_plane.kubernetes_version?.to_string(),
        })
    }

    /// Of the spec in force; none before the first, and where something else runs the control plane.
    fn of_state(state: &ClusterState) -> Option<Self> {
        Self::of(&ClusterSpec::parse(state.spec_yaml()?).ok()?)
    }

    /// The manifest's bytes, if the bundle is there.
    async fn manifest(&self) -> Option<Vec<u8>> {
        files::read(self.folder.join(MANIFEST), MANIFEST_BYTES_MAX)
            .await
            .ok()
            .flatten()
    }
}

/// Whether a host without the spec's bundle may count on getting it: nothing is in its place, and a member has one for
/// this processor.
pub async fn will_come(spec: &ValidSpec, member_arch: &str) -> bool {
    let Some(wanted) = Wanted::of(spec) else {
        return false;
    };
    member_arch == khactl_host::bundle::host_arch() && wanted.manifest().await.is_none()
}

/// The processor that this host's own bundle is for; empty if it has none.
pub async fn own_arch(state: &ClusterState) -> String {
    let Some(wanted) = Wanted::of_state(state) else {
        return String::new();
    };
    let text = wanted.manifest().await.unwrap_or_default();
    Manifest::parse(&text).map_or_else(|_| String::new(), |manifest| manifest.arch)
}

/// The folder of the bundle that the spec names, if it is not there.
pub async fn missing(node: &Node) -> Option<PathBuf> {
    let wanted = Wanted::of_state(&node.state())?;
    wanted.manifest().await.is_none().then_some(wanted.folder)
}

/// Whether it has come meanwhile, or what is in its way.
///
/// # Errors
/// What is in its way.
pub fn came(node: &Node, folder: &Path) -> Result<(), String> {
    if folder.join(MANIFEST).exists() {
        return Ok(());
    }
    let problem = node.bundle_problem.borrow();
    Err(problem.as_ref().map_or_else(
        || "it comes from the other hosts".to_owned(),
        |problem| problem.text.clone(),
    ))
}
