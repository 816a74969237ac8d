//! Folders, certificates, keys and kubeconfigs of this host: made when missing, mended when
//! another mode or owner shows, written again when the cluster state says otherwise.
//!
//! A plan cannot know the digest of what is sealed. A private half is therefore written together
//! with its public half and before it: the public half on the disk says which private one is.
//! Kubeconfigs name the certificate's files instead of holding them: clients read those again
//! when they are renewed, and nothing secret has to pass through a plan.

mod leaf;
mod wanted;

use crate::component::{Component, Plan, Status};
use crate::cx::Cx;
use crate::digest::sha256_hex;
use crate::effect::{Content, Effect};
use wanted::{File, Wanted};

pub use leaf::{LeafPlace, renewal_s};
pub use wanted::{Watched, watched};

/// What the other components read.
#[derive(Debug)]
pub(crate) struct Pki;

impl Component for Pki {
    fn name(&self) -> &'static str {
        "pki"
    }

    fn plan(&self, cx: &Cx<'_>) -> Plan {
        let wanted = Wanted::of(cx.spec, cx.state, cx.host, cx.paths);
        if wanted.folders.is_empty() {
            return Plan::only(Status::Absent);
        }
        let mut effects: Vec<Effect> = wanted
            .folders
            .iter()
            .filter(|folder| !stands(cx, &folder.path, folder.mode, folder.owner))
            .map(|folder| Effect::EnsureFolder {
                path: folder.path.clone(),
                mode: folder.mode,
                owner: folder.owner,
            })
            .collect();
        let leaves = leaf::plan(cx, &wanted.leaves);
        let leaves_missing = leaves.missing.len();
        effects.extend(leaves.missing);
        effects.extend(files(cx, &wanted));
        let status = match (
            leaves_missing,
            effects.len() - leaves_missing,
            &wanted.unknown[..],
        ) {
            (0, 0, []) => Status::Ready,
            (_, _, [unknown, ..]) => {
                Status::waiting(format!("the cluster state does not hold {unknown} yet"))
            }
            (certificates, files, []) => Status::starting(format!(
                "{certificates} certificates and {files} folders and files are still to be made"
            )),
        };
        effects.extend(leaves.renewals);
        Plan {
            effects,
            status,
            wake: leaves.wake,
            problems: leaves.problems,
        }
    }
}

fn files(cx: &Cx<'_>, wanted: &Wanted) -> Vec<Effect> {
    let mut effects = Vec::new();
    for pair in &wanted.pairs {
        let public_stands = holds(cx, &pair.public);
        if !public_stands
            || !stands(
                cx,
                &pair.private.path,
                pair.private.mode,
                pair.private.owner,
            )
        {
            effects.push(write(&pair.private));
        }
        if !public_stands {
            effects.push(write(&pair.public));
        }
    }
    effects.extend(
        wanted
            .texts
            .iter()
            .filter(|file| !holds(cx, file))
            .map(write),
    );
    effects
}

fn write(file: &File) -> Effect {
    Effect::WriteFile {
        path: file.path.clone(),
        mode: file.mode,
        owner: file.owner,
        content: file.content.clone(),
    }
}

/// Whether a path is there with this mode and owner.
fn stands(cx: &Cx<'_>, path: &str, mode: u32, owner: Option<&str>) -> bool {
    cx.facts
        .files
        .get(path)
        .is_some_and(|fact| fact.mode == mode && fact.owner == owner.unwrap_or("root"))
}

/// Whether a file of known text is as it should be.
fn holds(cx: &Cx<'_>, file: &File) -> bool {
    let Content::Text(text) = &file.content else {
        return false;
    };
    stands(cx, &file.path, file.mode, file.owner)
        && cx.facts.files[&file.path].sha256 == sha256_hex(text.as_bytes())
}
