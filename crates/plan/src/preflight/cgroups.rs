//! Whether components get cgroups of their own, and a share of the processors with them.

use khactl_model::preflight::CgroupFacts;

use super::{Finding, Level};

const CHECK: &str = "cgroups";
/// There is no unified hierarchy for the components.
const NONE: &str = "KHA1120";
/// The unified hierarchy lacks a controller.
const CONTROLLER: &str = "KHA1121";

/// The controllers by which the heartbeats of the lease and of etcd come before everything else.
const WANTED: [&str; 2] = ["cpu", "io"];

/// What follows from the hierarchy that the host has.
pub fn judge(facts: &CgroupFacts) -> Finding {
    let Some(unified) = &facts.unified else {
        return none("the unified hierarchy (cgroup v2) is not mounted");
    };
    if !facts.writable {
        return none(&format!("no cgroup can be made below {unified}"));
    }
    let missing: Vec<&str> = WANTED
        .into_iter()
        .filter(|wanted| !facts.controllers.contains(*wanted))
        .collect();
    if missing.is_empty() {
        return Finding::fine(
            CHECK,
            format!("components get cgroups of their own below {unified}"),
        );
    }
    Finding::new(
        Level::Info,
        CHECK,
        CONTROLLER,
        format!(
            "components get cgroups of their own below {unified}, and no share by them of: {}; the old hierarchies may have it",
            missing.join(", ")
        ),
        "nothing while the host is not busy; boot with systemd.unified_cgroup_hierarchy=1 to have it shared out",
    )
}

fn none(why: &str) -> Finding {
    Finding::new(
        Level::Warning,
        CHECK,
        NONE,
        format!(
            "components get no cgroups of their own: {why}; they run in process groups, and a busy host may hold up heartbeats"
        ),
        "boot with systemd.unified_cgroup_hierarchy=1, and let khad write to /sys/fs/cgroup",
    )
}

#[cfg(test)]
mod tests {
    use super::super::weighed;
    use super::*;

    fn facts(controllers: &[&str]) -> CgroupFacts {
        CgroupFacts {
            unified: Some("/sys/fs/cgroup".to_owned()),
            writable: true,
            controllers: controllers.iter().map(|c| (*c).to_owned()).collect(),
        }
    }

    #[test]
    fn a_unified_hierarchy_with_its_controllers_is_fine() {
        let found = judge(&facts(&["cpu", "cpuset", "io", "memory"]));
        assert_eq!(weighed(&[found]), [(Level::Fine, "")]);
    }

    #[test]
    fn a_controller_that_is_elsewhere_is_named_and_no_more() {
        let found = judge(&facts(&["cpu"]));
        assert!(found.finding.contains("of: io;"), "{}", found.finding);
        assert_eq!(weighed(&[found]), [(Level::Info, "KHA1121")]);
    }

    #[test]
    fn without_a_hierarchy_that_can_be_written_to_it_is_warned() {
        let unwritable = CgroupFacts {
            writable: false,
            ..facts(&["cpu", "io"])
        };
        for facts in [CgroupFacts::default(), unwritable] {
            assert_eq!(weighed(&[judge(&facts)]), [(Level::Warning, "KHA1120")]);
        }
    }
}
