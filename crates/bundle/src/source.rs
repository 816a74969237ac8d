//! Where programs come from, and under which names they lie there.

use std::path::PathBuf;

use crate::error::BundleError;

/// Kubernetes' programs in a bundle; each has a file of its own upstream.
pub(crate) const KUBERNETES: [&str; 4] = [
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubectl",
];
/// etcd's programs that every release has, in one archive.
pub(crate) const ETCD: [&str; 2] = ["etcd", "etcdctl"];
/// Since etcd 3.5.
pub(crate) const ETCD_SINCE_3_5: &str = "etcdutl";

const KUBERNETES_SITE: &str = "https://dl.k8s.io";
const ETCD_SITE: &str = "https://github.com";

/// Where programs are fetched from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The sites where the projects publish their releases.
    Upstream,
    /// One site with the paths of both: `/release/…` and `/etcd-io/etcd/releases/download/…`.
    Mirror(String),
    /// A folder of this machine with the programs in it, or a bundle's.
    Folder(PathBuf),
}

impl Source {
    /// From what a person gave: nothing, an address or a folder.
    pub fn of(from: Option<&str>) -> Self {
        match from {
            None => Self::Upstream,
            Some(from) if from.starts_with("http://") || from.starts_with("https://") => {
                Self::Mirror(from.trim_end_matches('/').to_owned())
            }
            Some(from) => Self::Folder(PathBuf::from(from)),
        }
    }

    /// A program of Kubernetes; its checksum lies beside it, with `.sha256`.
    pub(crate) fn kubernetes(&self, version: &str, arch: &str, program: &str) -> String {
        let site = match self {
            Self::Mirror(site) => site,
            _ => KUBERNETES_SITE,
        };
        format!("{site}/release/{version}/bin/linux/{arch}/{program}")
    }

    /// The folder of an etcd release.
    pub(crate) fn etcd(&self, version: &str) -> String {
        let site = match self {
            Self::Mirror(site) => site,
            _ => ETCD_SITE,
        };
        format!("{site}/etcd-io/etcd/releases/download/v{version}")
    }
}

/// `1.30.1` of `v1.30.1` or `1.30.1`, with what follows a dash.
pub(crate) fn version(what: &'static str, text: &str) -> Result<String, BundleError> {
    let plain = text.strip_prefix('v').unwrap_or(text);
    let (numbers, rest) = plain
        .split_once('-')
        .map_or((plain, None), |(n, r)| (n, Some(r)));
    let parts: Vec<_> = numbers.split('.').collect();
    let number =
        |part: &&str| (1..=5).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    let word = |text: &str| {
        (1..=40).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-')
    };
    if parts.len() == 3 && parts.iter().all(number) && rest.is_none_or(word) {
        Ok(plain.to_owned())
    } else {
        Err(BundleError::Argument {
            what,
            value: text.to_owned(),
            advice: "write it as a release is named, for example v1.30.1",
        })
    }
}

/// A processor in Debian's words, as the projects name their releases.
pub(crate) fn arch(text: &str) -> Result<String, BundleError> {
    if ["amd64", "arm64"].contains(&text) {
        Ok(text.to_owned())
    } else {
        Err(BundleError::Argument {
            what: "the processor",
            value: text.to_owned(),
            advice: "khactl runs on amd64 and arm64",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_of_the_projects() {
        let upstream = Source::of(None);
        assert_eq!(
            upstream.kubernetes("v1.30.1", "amd64", "kubectl"),
            "https://dl.k8s.io/release/v1.30.1/bin/linux/amd64/kubectl"
        );
        assert_eq!(
            upstream.etcd("3.5.16"),
            "https://github.com/etcd-io/etcd/releases/download/v3.5.16"
        );
        let mirror = Source::of(Some("http://mirror:80/up/"));
        assert_eq!(
            mirror.etcd("3.5.16"),
            "http://mirror:80/up/etcd-io/etcd/releases/download/v3.5.16"
        );
        assert_eq!(Source::of(Some("/srv/x")), Source::Folder("/srv/x".into()));
    }

    #[test]
    fn what_is_no_version_does_not_get_into_an_address() {
        assert_eq!(version("x", "v1.30.1").unwrap(), "1.30.1");
        assert_eq!(version("x", "1.31.0-rc.1").unwrap(), "1.31.0-rc.1");
        for text in [
            "",
            "v",
            "1.30",
            "1.30.x",
            "1.30.1/../..",
            "1.30.1-",
            "1.30.1-a/b",
            "latest",
        ] {
            assert_eq!(version("x", text).unwrap_err().code(), "KHA1201", "{text}");
        }
    }
}
