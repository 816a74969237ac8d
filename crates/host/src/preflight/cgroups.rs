//! The unified hierarchy that a machine has, if it has one.

use khactl_model::preflight::CgroupFacts;
use rustix::fs::{Access, access};
use std::fs;
use std::path::Path;

use crate::process::cgroup;

pub(super) fn facts(machine: &Path) -> CgroupFacts {
    let Some(unified) = cgroup::unified(machine) else {
        return CgroupFacts::default();
    };
    let controllers = fs::read_to_string(unified.join("cgroup.controllers")).unwrap_or_default();
    CgroupFacts {
        // Root passes every mode, and no read-only mount.
        writable: access(unified.as_path(), Access::WRITE_OK).is_ok(),
        controllers: controllers.split_whitespace().map(str::to_owned).collect(),
        unified: Some(super::shown(machine, &unified)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hierarchy_is_found_alone_and_beside_the_old_ones() {
        for place in ["sys/fs/cgroup", "sys/fs/cgroup/unified"] {
            let machine = tempfile::tempdir().unwrap();
            let folder = machine.path().join(place);
            fs::create_dir_all(&folder).unwrap();
            // The old hierarchies' root has no such file.
            assert_eq!(facts(machine.path()), CgroupFacts::default());
            fs::write(folder.join("cgroup.controllers"), "cpu io\n").unwrap();
            let expected = CgroupFacts {
                unified: Some(format!("/{place}")),
                writable: true,
                controllers: ["cpu", "io"].map(str::to_owned).into(),
            };
            assert_eq!(facts(machine.path()), expected);
        }
    }
}
