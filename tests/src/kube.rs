//! Kubernetes as a user outside the cluster has it: kubectl in the client, through the VIP.

use std::time::Duration;

use crate::SOON;
use crate::cluster::Cluster;
use crate::outcome::Outcome;
use crate::wait::try_until;

/// Where the client has its kubeconfig.
pub(crate) const KUBECONFIG: &str = "/etc/khactl/kubeconfig";
/// Where it has what kubectl creates.
const MANIFEST: &str = "/etc/khactl/manifest.json";

impl Cluster {
    /// Gives the client the kubeconfig that a member prints.
    #[track_caller]
    pub fn client_kubeconfig(&self, member: &str) {
        let text = self.run(member, "khactl", &["kubeconfig"]).ok();
        self.write("client", KUBECONFIG, &text);
    }

    /// Runs kubectl once.
    #[track_caller]
    pub fn kubectl(&self, arguments: &[&str]) -> Outcome {
        let mut all = vec![
            "--kubeconfig",
            KUBECONFIG,
            "--cache-dir",
            "/run/khactl/kube",
            "--request-timeout",
            "10s",
        ];
        all.extend(arguments);
        let mut outcome = self.run("client", "kubectl", &all);
        outcome.command = format!("kubectl {}", arguments.join(" "));
        outcome
    }

    /// Runs kubectl until it succeeds; gives what it printed.
    #[track_caller]
    pub fn kubectl_until(&self, arguments: &[&str], within: Duration) -> String {
        let mut last = String::new();
        let printed = try_until(within, || {
            let outcome = self.kubectl(arguments);
            last = outcome.to_string();
            outcome.is_ok().then_some(outcome.stdout)
        });
        match printed {
            Some(printed) => printed,
            None => panic!("waited {} s in vain: {last}", within.as_secs()),
        }
    }

    /// Creates what a manifest describes; panics unless the API acknowledges it in time. A try that
    /// took effect without an answer counts.
    #[track_caller]
    pub fn create(&self, manifest: &serde_json::Value) {
        self.write("client", MANIFEST, &manifest.to_string());
        let mut last = String::new();
        let taken = try_until(SOON, || {
            let outcome = self.kubectl(&["create", "-f", MANIFEST]);
            last = outcome.to_string();
            (outcome.is_ok() || outcome.stderr.contains("AlreadyExists")).then_some(())
        });
        assert!(
            taken.is_some(),
            "the API does not take {}: {last}",
            manifest["metadata"]["name"]
        );
    }

    /// Writes a ConfigMap of this name through the VIP.
    #[track_caller]
    pub fn put(&self, name: &str) {
        self.create(&config_map(name, "through the VIP"));
    }

    /// Tries once to write a ConfigMap of this name and text.
    #[track_caller]
    pub fn try_put(&self, name: &str, text: &str) -> Outcome {
        self.write("client", MANIFEST, &config_map(name, text).to_string());
        self.kubectl(&["create", "-f", MANIFEST])
    }

    /// Panics unless all these ConfigMaps can be read through the VIP.
    #[track_caller]
    pub fn assert_there(&self, names: &[&str]) {
        let listed = self.kubectl_until(&["get", "configmaps", "-o", "name"], SOON);
        for name in names {
            let line = format!("configmap/{name}");
            assert!(
                listed.lines().any(|listed| listed == line),
                "ConfigMap {name} was acknowledged and is lost; there are:\n{listed}"
            );
        }
    }
}

fn config_map(name: &str, text: &str) -> serde_json::Value {
    serde_json::json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name},
        "data": {"written": text},
    })
}
