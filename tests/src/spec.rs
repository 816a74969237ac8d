//! A cluster's spec as text, with what a test wants to be wrong in it.

use std::fmt::Write as _;

use khactl_lab::VIP;

/// A spec. By default one that a lab's hosts accept.
#[derive(Debug, Clone)]
pub struct SpecText {
    /// The cluster's name.
    pub name: String,
    /// The VIP, with its prefix length.
    pub vip: String,
    /// The bundle's folder inside the hosts.
    pub bundle: String,
    /// The Kubernetes version of the bundle.
    pub version: String,
    /// The profile of lease times; none: khactl's own choice.
    pub profile: Option<String>,
    /// `retryPeriod` of kube-scheduler's election; none: khactl's own choice.
    pub scheduler_retry: Option<String>,
}

impl SpecText {
    /// For a lab's hosts, with the bundle at this path inside them.
    pub fn new(name: &str, bundle: &str) -> Self {
        Self {
            name: name.to_owned(),
            vip: format!("{VIP}/24"),
            bundle: bundle.to_owned(),
            version: "v1.20.2".to_owned(),
            profile: None,
            scheduler_retry: None,
        }
    }

    /// The same with another VIP.
    #[must_use]
    pub fn vip(mut self, vip: &str) -> Self {
        vip.clone_into(&mut self.vip);
        self
    }

    /// The same with another bundle.
    #[must_use]
    pub fn bundle(mut self, bundle: &str) -> Self {
        bundle.clone_into(&mut self.bundle);
        self
    }

    /// The same with this profile of lease times.
    #[must_use]
    pub fn profile(mut self, profile: &str) -> Self {
        self.profile = Some(profile.to_owned());
        self
    }

    /// The same with this `retryPeriod` of kube-scheduler's election.
    #[must_use]
    pub fn scheduler_retry(mut self, period: &str) -> Self {
        self.scheduler_retry = Some(period.to_owned());
        self
    }

    /// The file's text.
    pub fn yaml(&self) -> String {
        let mut text = String::from("apiVersion: khactl.io/v1alpha1\nkind: Cluster\n");
        let profile = self
            .profile
            .as_ref()
            .map(|profile| format!("    profile: {profile}\n"))
            .unwrap_or_default();
        // Writing into a string does not fail.
        let _ = write!(
            text,
            "metadata:\n  name: {}\nspec:\n  vip:\n    addresses: [{}]\n{profile}  controlPlane:\n    \
             kubernetesVersion: {}\n    bundle: {}\n",
            self.name, self.vip, self.version, self.bundle
        );
        if let Some(period) = &self.scheduler_retry {
            let _ = writeln!(
                text,
                "    scheduler:\n      leaderElection: {{retryPeriod: {period}}}"
            );
        }
        text
    }
}
