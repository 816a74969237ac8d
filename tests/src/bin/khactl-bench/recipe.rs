//! How khactl runs a host's programs: their arguments, and the certificates made for them. Taken from a
//! living host, so that the same can be done by hand.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use khactl_lab::LabHost;
use khactl_tests::Cluster;
use tempfile::TempDir;

/// The server in the kubeconfigs that khactl makes: the balancer on loopback, which nobody runs by
/// hand.
const BALANCER: &str = "https://127.0.0.1:6443";

/// One host's programs and certificates.
#[derive(Debug)]
pub(crate) struct Recipe {
    /// By program: its path and arguments.
    commands: BTreeMap<String, Vec<String>>,
    pki: TempDir,
}

impl Recipe {
    /// Of a host on which every component runs.
    pub(crate) fn of(cluster: &Cluster, host: &str) -> anyhow::Result<Self> {
        let mut commands = BTreeMap::new();
        for (component, pids) in cluster.component_pids(host) {
            ensure!(pids.len() == 1, "{component} runs {} times", pids.len());
            commands.insert(component, command_line(pids[0])?);
        }
        // Only root may enter it.
        let pki = tempfile::tempdir().context("no temporary folder for certificates")?;
        copy(&cluster.host(host).data_dir().join("pki"), pki.path())?;
        Ok(Self { commands, pki })
    }

    /// The same with upstream's own times for leader election.
    #[must_use]
    pub(crate) fn with_upstream_election(mut self) -> Self {
        for command in self.commands.values_mut() {
            command.retain(|argument| !argument.starts_with("--leader-elect-"));
        }
        self
    }

    /// A component's program and arguments. An etcd that is to be the `first` member begins a cluster,
    /// any other meets one.
    pub(crate) fn command(&self, component: &str, first: bool) -> anyhow::Result<Vec<String>> {
        let command = self
            .commands
            .get(component)
            .with_context(|| format!("khactl runs no {component}"))?;
        Ok(command
            .iter()
            .map(|argument| {
                if argument.starts_with("--initial-cluster-state=") {
                    let state = if first { "new" } else { "existing" };
                    format!("--initial-cluster-state={state}")
                } else {
                    argument.clone()
                }
            })
            .collect())
    }

    /// Puts the certificates where the arguments expect them; the components reach the API at their own
    /// host's apiserver.
    pub(crate) fn lay_out(&self, host: &LabHost) -> anyhow::Result<()> {
        let pki = host.data_dir().join("pki");
        fs::create_dir_all(&pki).with_context(|| format!("cannot make {}", pki.display()))?;
        copy(self.pki.path(), &pki)?;
        for component in ["kube-controller-manager", "kube-scheduler"] {
            let path = pki.join(component).join("kubeconfig");
            let text = fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            let text = point(&text, &format!("{}", host.address()))
                .with_context(|| format!("{} does not name {BALANCER}", path.display()))?;
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }
}

/// The kubeconfig with another server; none if it has not the expected one.
fn point(kubeconfig: &str, address: &str) -> Option<String> {
    kubeconfig
        .contains(BALANCER)
        .then(|| kubeconfig.replace(BALANCER, &format!("https://{address}:6443")))
}

fn command_line(pid: u32) -> anyhow::Result<Vec<String>> {
    let path = format!("/proc/{pid}/cmdline");
    let line = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let command: Vec<_> = line.split_terminator('\0').map(str::to_owned).collect();
    ensure!(!command.is_empty(), "process {pid} has ended");
    Ok(command)
}

/// What is in one folder into another, with owners and modes.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let status = Command::new("cp")
        .arg("-a")
        .arg(from.join("."))
        .arg(to)
        .status()
        .context("cannot run cp")?;
    ensure!(status.success(), "cannot copy {}", from.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe() -> Recipe {
        let etcd = ["/b/etcd", "--name=cp1", "--initial-cluster-state=existing"];
        Recipe {
            commands: BTreeMap::from([("etcd".into(), etcd.map(str::to_owned).to_vec())]),
            pki: tempfile::tempdir().unwrap(),
        }
    }

    #[test]
    fn the_first_member_begins_a_cluster_whatever_khactl_runs_it_with_now() {
        let first = recipe().command("etcd", true).unwrap();
        assert_eq!(
            first,
            ["/b/etcd", "--name=cp1", "--initial-cluster-state=new"]
        );
        let second = recipe().command("etcd", false).unwrap();
        assert_eq!(second[2], "--initial-cluster-state=existing");
        assert!(recipe().command("kube-proxy", false).is_err());
    }

    #[test]
    fn times_of_leader_election_are_left_to_upstream() {
        let mut recipe = recipe();
        let scheduler = [
            "/b/s",
            "--leader-elect=true",
            "--leader-elect-retry-period=1s",
        ];
        let command = scheduler.map(str::to_owned).to_vec();
        recipe.commands.insert("s".into(), command);
        let upstream = recipe.with_upstream_election().command("s", true).unwrap();
        assert_eq!(upstream, ["/b/s", "--leader-elect=true"]);
    }

    #[test]
    fn a_kubeconfig_is_pointed_at_the_hosts_own_apiserver() {
        let text = "clusters:\n- cluster:\n    server: \"https://127.0.0.1:6443\"\n";
        let pointed = point(text, "10.77.0.11").unwrap();
        assert!(pointed.contains("server: \"https://10.77.0.11:6443\"\n"));
        assert_eq!(
            point("server: https://10.77.0.100:6443", "10.77.0.11"),
            None
        );
    }

    #[test]
    fn a_command_line_is_read_argument_by_argument() {
        let read = command_line(std::process::id()).unwrap();
        assert_eq!(read, std::env::args().collect::<Vec<_>>());
    }
}
