//! What the cluster is like, asked of its agents and seen from the machine.

use std::collections::BTreeMap;
use std::net::IpAddr;

use khactl_lab::VIP;
use khactl_model::status::ClusterStatus;
use serde::Deserialize;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::{LONG, SOON, until};

/// Every supervised process of a control-plane host, by its program's name.
pub const COMPONENTS: [&str; 5] = [
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "khavip",
];

impl Cluster {
    /// The status as one host's agent gives it, as a program reads it; none while it gives none.
    pub fn status_json(&self, host: &str) -> Option<Value> {
        let mut command = self.lab().host(host).ok()?.exec("khactl").ok()?;
        let answer = command.args(["status", "-o", "json"]).output().ok()?;
        serde_json::from_slice(&answer.stdout).ok()
    }

    /// The same, read into its type.
    pub fn status(&self, host: &str) -> Option<ClusterStatus> {
        ClusterStatus::deserialize(self.status_json(host)?).ok()
    }

    /// The leader's own view, from whichever host can tell.
    pub fn leaders_status(&self) -> Option<ClusterStatus> {
        self.names().iter().find_map(|host| {
            let status = self.status(host)?;
            let leader = status.leader.clone()?;
            self.status(&leader)
                .filter(|status| status.leader.as_deref() == Some(leader.as_str()))
        })
    }

    /// The leader's name; waits for one.
    #[track_caller]
    pub fn leader(&self) -> String {
        until("the agents have a leader", SOON, || {
            self.leaders_status()?.leader
        })
    }

    /// The hosts on whose interface the VIP is at this moment, as the kernel tells. Panics if there are
    /// two: one host's address is looked at after the other's, so two are two only if both are still
    /// there at a second look.
    #[track_caller]
    pub fn holders(&self) -> Vec<String> {
        let look = || -> Vec<String> {
            self.lab()
                .hosts()
                .iter()
                .filter(|host| {
                    host.addresses()
                        .is_ok_and(|addresses| addresses.contains(&IpAddr::V4(VIP)))
                })
                .map(|host| host.name().to_owned())
                .collect()
        };
        let first = look();
        if first.len() < 2 {
            return first;
        }
        let second = look();
        let both: Vec<_> = first.iter().filter(|host| second.contains(host)).collect();
        assert!(both.len() < 2, "the VIP is on several hosts: {both:?}");
        second
    }

    /// The one host that has the VIP; waits for it.
    #[track_caller]
    pub fn holder(&self) -> String {
        until("exactly one host holds the VIP", SOON, || {
            match self.holders().as_slice() {
                [one] => Some(one.clone()),
                _ => None,
            }
        })
    }

    /// Waits until all `hosts` hosts are ready, and the VIP is on the one host of which the leader says
    /// so. The leader goes by each host's last report for some seconds: after a host was killed,
    /// [`Cluster::await_silent`] comes first.
    #[track_caller]
    pub fn await_ready(&self, hosts: usize) {
        until(&format!("all {hosts} hosts are ready"), LONG, || {
            let status = self.leaders_status()?;
            let ready = status
                .hosts
                .iter()
                .filter(|host| host.state == "ready")
                .count();
            let holder = status.vip.holder?;
            let all = status.hosts.len() == hosts && ready == hosts && self.holders() == [holder];
            all.then_some(())
        });
        self.step(&format!("all {hosts} hosts are ready"));
    }

    /// Waits until the leader has noticed that a host is silent.
    #[track_caller]
    pub fn await_silent(&self, host: &str) {
        until(&format!("the status calls {host} silent"), SOON, || {
            let status = self.leaders_status()?;
            let found = status.hosts.into_iter().find(|found| found.name == host)?;
            (found.state == "silent").then_some(())
        });
    }

    /// The processes of a host's components, by program, as the machine numbers them.
    #[track_caller]
    pub fn component_pids(&self, host: &str) -> BTreeMap<String, Vec<u32>> {
        let mut pids: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        for process in self.host(host).processes() {
            if COMPONENTS.contains(&process.name.as_str()) {
                pids.entry(process.name).or_default().push(process.pid);
            }
        }
        for found in pids.values_mut() {
            found.sort_unstable();
        }
        pids
    }
}
