//! How long `site.yml` takes from three prepared hosts to a cluster that serves, how much of that is khactl's own, and how
//! large the package is that it installs.
//!
//! Prepared is a host with systemd, sshd and Python, with what the package depends on, and with the bundle.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use anyhow::{Context, ensure};
use khactl_lab::measure::now_us;
use khactl_tests::{Hosts, Packages};
use serde_json::json;

use crate::figure::{Figure, Target, Unit};
use crate::milestone::seconds_between;

const HOSTS: [&str; 3] = ["cp1", "cp2", "cp3"];
const SITE_S_MAX: f64 = 60.0;
const OWN_S_MAX: f64 = 25.0;
const DEB_MIB_MAX: f64 = 30.0;
/// The tasks in which Ansible waits for khactl. All else is Ansible's own, the copies' and apt's.
const OWN: [&str; 9] = [
    "Wait for the agent",
    "Ask each agent for its cluster",
    "Let khactl check the host",
    "Import the file",
    "Found the cluster, or go on with it",
    "Get a token for this host",
    "Join",
    "Compare the spec with the one in force",
    "Wait until all hosts are ready and one holds the VIP",
];

/// What the rounds gave so far.
#[derive(Debug, Default)]
pub(crate) struct Rollouts {
    site_s: Vec<f64>,
    own_s: Vec<f64>,
    deb_mib: Vec<f64>,
}

impl Rollouts {
    /// So many roll-outs, each on new hosts.
    pub(crate) fn measure(&mut self, rounds: usize) -> anyhow::Result<()> {
        let deb = Packages::released().context("there is no package: run `make package` first")?;
        let bytes = fs::metadata(&deb)
            .with_context(|| format!("cannot look at {}", deb.display()))?
            .len();
        let kib = u32::try_from(bytes.div_ceil(1 << 10)).context("the package is too large")?;
        self.deb_mib.push(f64::from(kib) / 1024.0);
        for round in 1..=rounds {
            eprintln!("roll-out, round {round} of {rounds}");
            let hosts = Hosts::up("bench", HOSTS.len());
            let inventory = hosts.inventory(&HOSTS, &json!({ "khactl_package": deb }));
            // Makes Ansible's own environment where it is missing, and changes nothing.
            hosts.playbook("site", &inventory, &["--check"]).ok();
            let began_us = now_us();
            let mut site = hosts
                .playbook_command("bench", "site", &inventory, &[])
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .spawn()
                .context("the playbook does not start")?;
            let output = site.stdout.take().context("it has no output")?;
            let lines: Vec<_> = BufReader::new(output)
                .lines()
                .map_while(Result::ok)
                .map(|line| (now_us(), line))
                .collect();
            let status = site.wait().context("the playbook is lost")?;
            let ended_us = now_us();
            ensure!(status.success(), "the playbook failed: {lines:?}");
            self.site_s.push(seconds_between(began_us, ended_us));
            self.own_s.push(own_s(&lines));
        }
        Ok(())
    }

    pub(crate) fn figures(self) -> Vec<Figure> {
        vec![
            Figure::new("site.yml: three hosts serve", Unit::Seconds, self.site_s)
                .target(Target::ValueMax(SITE_S_MAX)),
            Figure::new("  of which khactl's own", Unit::Seconds, self.own_s)
                .target(Target::ValueMax(OWN_S_MAX)),
            Figure::new("package: size", Unit::Mebibytes, self.deb_mib)
                .target(Target::ValueMax(DEB_MIB_MAX)),
        ]
    }
}

/// Seconds that passed in khactl's tasks, out of a playbook's lines and when each came: a task lasts until the next headline.
fn own_s(lines: &[(u64, String)]) -> f64 {
    let mut own = 0.0;
    let mut since_us = None;
    for (at_us, line) in lines {
        let task = line.starts_with("TASK [");
        if !task && !line.starts_with("PLAY ") {
            continue;
        }
        if let Some(since_us) = since_us.take() {
            own += seconds_between(since_us, *at_us);
        }
        since_us = (task && OWN.contains(&name_of(line))).then_some(*at_us);
    }
    own
}

/// `Join` of `TASK [khactl.cluster.khactl : Join] ****`.
fn name_of(headline: &str) -> &str {
    let inside = headline.split(['[', ']']).nth(1).unwrap_or_default();
    inside.rsplit(" : ").next().unwrap_or(inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_in_khactls_tasks_is_counted_and_nothing_else() {
        let lines = [
            (0, "PLAY [Make the hosts one control plane] ***"),
            (1_000_000, "TASK [khactl.cluster.khactl : Install it] ***"),
            (5_000_000, "changed: [cp1]"),
            (6_000_000, "TASK [khactl.cluster.khactl : Join] ***"),
            (8_000_000, "changed: [cp2] => [Join]"),
            (9_000_000, ""),
            (9_500_000, "TASK [Wait for the agent] ***"),
            (
                10_000_000,
                "TASK [khactl.cluster.khactl : End the turn] ***",
            ),
            (12_000_000, "PLAY RECAP ***"),
        ]
        .map(|(at_us, line)| (at_us, line.to_owned()));
        assert!((own_s(&lines) - 4.0).abs() < 1e-9);
    }

    #[test]
    fn khactls_tasks_are_tasks_of_the_role() {
        let folder = khactl_tests::repository().join("ansible/roles/khactl/tasks");
        let texts: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap())
            .collect();
        for name in OWN {
            let headline = format!("- name: {name}\n");
            let found = texts.iter().any(|text| text.contains(&headline));
            assert!(found, "no task is called {name:?}");
        }
    }
}
