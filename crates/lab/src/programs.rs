//! Where a host finds programs: the same fixed paths on each, whatever the machine has them in.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// `khad`, `khavip` and `khactl` inside a host.
pub const PROGRAMS_DIR: &str = "/opt/khactl/bin";

/// The bundles inside a host; each keeps the name of its folder on the machine.
pub const BUNDLES_DIR: &str = "/opt/khactl/bundles";

/// What of the machine's files a lab shows to its hosts, read-only for all that matters: the
/// users of the components cannot reach a bundle that lies under somebody's home.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Programs {
    /// The folder with `khad`, `khavip` and `khactl`.
    pub(crate) dir: Option<PathBuf>,
    /// The folder of one bundle.
    pub(crate) bundle: Option<PathBuf>,
    /// Further arguments for every `khad`.
    pub(crate) agent_args: Vec<String>,
}

impl Programs {
    /// The bundle's path inside a host.
    pub(crate) fn bundle_inside(&self) -> Option<PathBuf> {
        Some(Path::new(BUNDLES_DIR).join(self.bundle.as_ref()?.file_name()?))
    }

    /// The search path of commands in a host.
    pub(crate) fn path_variable(&self) -> String {
        let system = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        match self.bundle_inside() {
            Some(bundle) => format!("{PROGRAMS_DIR}:{}:{system}", bundle.display()),
            None => format!("{PROGRAMS_DIR}:{system}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_keeps_its_name_and_comes_before_the_machines_own_programs() {
        let programs = Programs {
            bundle: Some("/home/x/kube/bundles/v1.20.2".into()),
            ..Programs::default()
        };
        assert_eq!(
            programs.bundle_inside(),
            Some(PathBuf::from("/opt/khactl/bundles/v1.20.2"))
        );
        assert!(
            programs
                .path_variable()
                .starts_with("/opt/khactl/bin:/opt/khactl/bundles/v1.20.2:/usr/local/sbin:")
        );
        assert_eq!(Programs::default().bundle_inside(), None);
    }
}
