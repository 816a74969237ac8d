//! The bundle that the spec names: that it is there, the right one, whole, and fits together.

use khactl_host::HostError;
use khactl_host::bundle::{Bundle, DigestCache, Manifest};
use khactl_model::preflight::BundleVersions;
use khactl_model::spec::ValidSpec;
use khactl_plan::preflight as judge;
use khactl_proto::v1::{Finding, finding::Level};

use super::{blocking, fine, judged};
use crate::refused::chain;

/// The bundle cannot be opened.
pub(super) const MISSING: &str = "KHA1106";
/// It is not there, and comes from the members.
const WILL_COME: &str = "KHA1112";

/// Makes of a bundle that is missing what it is on a host that joins: nothing that must be done.
pub(super) fn excuse(findings: &mut [Finding], folder: &str) {
    for finding in findings.iter_mut().filter(|f| f.code == MISSING) {
        finding.level = Level::Info.into();
        finding.code = WILL_COME.into();
        finding.finding =
            format!("the bundle {folder} is not on this host, and comes from the members");
        finding.cure = "nothing: this host fetches it when it joins, from a member that has it; or `khactl bundle import` here before"
            .into();
    }
}

pub(super) async fn findings(spec: &ValidSpec) -> Vec<Finding> {
    let Some(folder) = &spec.control_plane.bundle else {
        return Vec::new();
    };
    let wrong = |code: &str, text: String| {
        blocking(
            "bundle",
            code,
            text,
            "put the bundle of the spec's version there: `khactl bundle import`",
        )
    };
    let bundle = match Bundle::open(folder, &DigestCache::default()).await {
        Ok(bundle) => bundle,
        Err(error) => return vec![wrong(MISSING, chain(&error))],
    };
    let declared = spec
        .control_plane
        .kubernetes_version
        .map(|v| v.to_string())
        .unwrap_or_default();
    let holds = &bundle.manifest().kubernetes;
    if *holds != declared {
        return vec![wrong(
            "KHA1107",
            format!(
                "the spec asks for Kubernetes {declared}, and the bundle {folder} holds {holds}"
            ),
        )];
    }
    let faults = bundle.verify_all().await;
    let mut findings: Vec<_> = faults
        .iter()
        .map(|error| {
            let code = match error {
                HostError::ProgramAltered { .. } => "KHA1109",
                _ => "KHA1108",
            };
            wrong(code, chain(error))
        })
        .collect();
    for program in [
        "etcd",
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
    ] {
        if !bundle.manifest().programs.contains_key(program) {
            findings.push(wrong(
                "KHA1108",
                format!("the bundle {folder} does not list {program}"),
            ));
        }
    }
    if findings.is_empty() {
        findings.push(fine(
            "bundle",
            format!("Kubernetes {holds}, every program as its digest says"),
        ));
    }
    let versions = versions(folder, bundle.manifest());
    findings.extend(judge::bundle::judge(&versions).into_iter().map(judged));
    findings
}

fn versions(folder: &str, manifest: &Manifest) -> BundleVersions {
    let programs = manifest.programs.iter();
    BundleVersions {
        folder: folder.to_owned(),
        kubernetes: manifest.kubernetes.clone(),
        etcd: manifest.etcd.clone(),
        programs: programs
            .map(|(name, program)| (name.clone(), program.version.clone()))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_that_comes_from_the_members_blocks_nothing_and_anything_else_does() {
        let mut findings = [
            blocking("bundle", MISSING, "no manifest", "put it there"),
            blocking("ports", "KHA1105", "taken", "free it"),
        ];
        excuse(&mut findings, "/opt/bundle");
        let [bundle, port] = findings;
        assert_eq!(
            (bundle.level(), bundle.code.as_str()),
            (Level::Info, WILL_COME)
        );
        assert!(bundle.finding.contains("/opt/bundle"), "{bundle:?}");
        assert_eq!(
            (port.level(), port.code.as_str()),
            (Level::Blocking, "KHA1105")
        );
    }
}
