//! A program's arguments as `--name=value`, over which an operator's own are laid by name.

use khactl_model::spec::{LeaderElection, duration_text};
use std::collections::BTreeMap;

/// Arguments in the order in which they were set.
#[derive(Debug, Default)]
pub(crate) struct Flags(Vec<(String, String)>);

impl Flags {
    /// Adds an argument.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<String>) -> &mut Self {
        self.0.push((name.to_owned(), value.into()));
        self
    }

    /// Adds how long a leader leads, and how soon another one does.
    pub(crate) fn leader_election(&mut self, times: LeaderElection) -> &mut Self {
        self.set(
            "leader-elect-lease-duration",
            duration_text(times.lease_duration_ms),
        )
        .set(
            "leader-elect-renew-deadline",
            duration_text(times.renew_deadline_ms),
        )
        .set(
            "leader-elect-retry-period",
            duration_text(times.retry_period_ms),
        )
    }

    /// The arguments with the operator's: one of the same name takes the other's place, the
    /// rest come at the end in the order of their names.
    pub(crate) fn over(self, extra: &BTreeMap<String, String>) -> Vec<String> {
        let mut args: Vec<String> = Vec::with_capacity(self.0.len() + extra.len());
        for (name, value) in &self.0 {
            let value = extra.get(name).unwrap_or(value);
            args.push(format!("--{name}={value}"));
        }
        for (name, value) in extra {
            if !self.0.iter().any(|(known, _)| known == name) {
                args.push(format!("--{name}={value}"));
            }
        }
        args
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operators_argument_takes_the_place_of_the_one_it_overrides() {
        let mut flags = Flags::default();
        flags.set("a", "1").set("b", "2");
        let extra = [("b", "3"), ("v", "4")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        assert_eq!(flags.over(&extra), ["--a=1", "--b=3", "--v=4"]);
    }
}
