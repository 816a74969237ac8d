//! Whether the versions in a bundle fit each other, and khactl. That it is the one that the spec asks for, and that its
//! programs are what its manifest says, is checked where it is opened.

use khactl_model::preflight::BundleVersions;

use super::{Finding, Level};

const CHECK: &str = "versions";
/// This etcd cannot be a member here.
const ETCD_OLD: &str = "KHA1151";
/// Upstream advises against this etcd.
const ETCD_BAD: &str = "KHA1152";
/// The bundle's programs are of different versions.
const MIXED: &str = "KHA1153";

/// Members join as learners, which came with 3.4.
const ETCD_OLDEST: (u32, u32) = (3, 4);
/// 3.5.0 to 3.5.2 may become inconsistent when they are killed under load; upstream's notice asks for 3.5.3.
const ETCD_BAD_PATCH_MAX: u32 = 2;

/// The programs that must be of one version: an API server beside a scheduler of another release is an upgrade half done.
const OF_KUBERNETES: [&str; 3] = [
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
];

/// What follows from the versions that a manifest tells.
pub fn judge(bundle: &BundleVersions) -> Vec<Finding> {
    let mut findings: Vec<Finding> = etcd(bundle).into_iter().collect();
    findings.extend(mixed(bundle));
    if findings.is_empty() {
        findings.push(Finding::fine(
            CHECK,
            format!("Kubernetes {} with etcd {}", bundle.kubernetes, bundle.etcd),
        ));
    }
    findings
}

fn etcd(bundle: &BundleVersions) -> Option<Finding> {
    let BundleVersions { folder, etcd, .. } = bundle;
    let version = numbers(etcd);
    if version.is_none_or(|(major, minor, _)| (major, minor) < ETCD_OLDEST) {
        return Some(Finding::new(
            Level::Blocking,
            CHECK,
            ETCD_OLD,
            format!(
                "the bundle {folder} holds etcd {etcd}, and hosts cannot join one before {}.{}",
                ETCD_OLDEST.0, ETCD_OLDEST.1
            ),
            "make the bundle again with a newer etcd: `khactl bundle create`",
        ));
    }
    let bad = version.is_some_and(|(major, minor, patch)| {
        (major, minor) == (3, 5) && patch <= ETCD_BAD_PATCH_MAX
    });
    bad.then(|| {
        Finding::new(
            Level::Warning,
            CHECK,
            ETCD_BAD,
            format!(
                "the bundle {folder} holds etcd {etcd}, whose members may come to hold different data when they are killed"
            ),
            "make the bundle again with etcd 3.5.3 or newer: `khactl bundle create`",
        )
    })
}

fn mixed(bundle: &BundleVersions) -> Option<Finding> {
    let expected = OF_KUBERNETES
        .map(|program| (program, bundle.kubernetes.as_str()))
        .into_iter()
        .chain([("etcd", bundle.etcd.as_str())]);
    let wrong: Vec<String> = expected
        .filter_map(|(program, expected)| {
            let found = bundle.programs.get(program)?;
            (plain(found) != plain(expected)).then(|| format!("{program} {found}, not {expected}"))
        })
        .collect();
    (!wrong.is_empty()).then(|| {
        Finding::new(
            Level::Warning,
            CHECK,
            MIXED,
            format!(
                "the manifest of the bundle {} contradicts itself: {}",
                bundle.folder,
                wrong.join("; ")
            ),
            "make the bundle again: `khactl bundle create`",
        )
    })
}

/// Some write `v3.5.16`, some `3.5.16`.
fn plain(version: &str) -> &str {
    version.strip_prefix('v').unwrap_or(version)
}

fn numbers(version: &str) -> Option<(u32, u32, u32)> {
    let mut parts = plain(version).split(|c: char| !c.is_ascii_digit());
    let mut number = || parts.next()?.parse().ok();
    Some((number()?, number()?, number()?))
}

#[cfg(test)]
mod tests {
    use super::super::weighed;
    use super::*;

    fn bundle(etcd: &str, apiserver: &str) -> BundleVersions {
        let programs = [
            ("kube-apiserver", apiserver),
            ("kube-scheduler", "v1.30.1"),
            ("kubectl", "v1.29.0"),
            ("etcd", etcd),
        ];
        BundleVersions {
            folder: "/opt/bundle".to_owned(),
            kubernetes: "v1.30.1".to_owned(),
            etcd: etcd.to_owned(),
            programs: programs
                .map(|(name, version)| (name.to_owned(), version.to_owned()))
                .into(),
        }
    }

    #[test]
    fn etcd_is_judged_by_its_release() {
        for (etcd, expected) in [
            ("3.5.16", (Level::Fine, "")),
            ("v3.6.0-rc.1", (Level::Fine, "")),
            ("3.4.23", (Level::Fine, "")),
            ("3.5.3", (Level::Fine, "")),
            ("3.5.2", (Level::Warning, "KHA1152")),
            ("3.3.27", (Level::Blocking, "KHA1151")),
            ("none", (Level::Blocking, "KHA1151")),
        ] {
            let found = judge(&bundle(etcd, "1.30.1"));
            assert_eq!(weighed(&found), [expected], "{etcd}");
        }
    }

    #[test]
    fn a_program_of_another_release_is_named_and_the_client_is_free() {
        let found = judge(&bundle("3.5.16", "v1.29.9"));
        assert!(
            found[0]
                .finding
                .ends_with("itself: kube-apiserver v1.29.9, not v1.30.1"),
            "{found:?}"
        );
        assert_eq!(weighed(&found), [(Level::Warning, "KHA1153")]);
    }
}
