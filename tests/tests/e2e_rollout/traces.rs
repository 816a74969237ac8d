//! What khactl has on a host: its components, and every file, address, rule and cgroup.

use std::collections::BTreeSet;

use khactl_tests::{Hosts, SOON, until};

/// The components, to `pgrep -x`: the kernel keeps 15 characters of a name.
const COMPONENTS: &str = "etcd|kube-apiserver|kube-controller|kube-scheduler|khavip";
/// What stays by design (bundles, logs, what Ansible brought), and what others write all the time.
const NOT_OURS: [&str; 9] = [
    "/var/lib/khactl/bundles",
    "/var/log",
    "/opt/khactl/release",
    "/var/cache",
    "/var/lib/apt",
    "/var/lib/dpkg",
    "/var/lib/systemd",
    "/var/tmp",
    "*/__pycache__",
];

/// One line for each thing, as its own tool shows it; a host's own address is the same on all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Traces(BTreeSet<String>);

impl Traces {
    #[track_caller]
    pub(crate) fn of(hosts: &Hosts, host: &str) -> Self {
        let pruned = NOT_OURS.map(|path| format!("-path '{path}'")).join(" -o ");
        let script = format!(
            "pgrep -x -l '{COMPONENTS}' | cut -d' ' -f2; \
             ip -4 -o addr show | awk '{{print $2, $4}}'; ip neigh show nud permanent; \
             for at in ingress egress; do tc filter show dev eth0 $at 2>/dev/null; done; \
             tc qdisc show dev eth0; nft list ruleset; \
             find /sys/fs/cgroup/khactl /sys/fs/cgroup/unified/khactl -mindepth 1 -type d 2>/dev/null; \
             find /etc /opt /usr /var -xdev \\( {pruned} \\) -prune -o -printf '%y %p %m %u\\n'; \
             find /run/khactl -printf '%y %p %m %u\\n' 2>/dev/null; true"
        );
        let own = format!("10.77.0.1{}/", host.trim_start_matches("cp"));
        let shown = hosts.sh(host, &script).ok().replace(&own, "own/");
        Self(shown.lines().map(str::to_owned).collect())
    }

    /// What is there now and was not there `before`, and what is not there any more.
    pub(crate) fn differences(&self, before: &Self) -> Vec<String> {
        let more = self.0.difference(&before.0).map(|line| format!("+ {line}"));
        let less = before.0.difference(&self.0).map(|line| format!("- {line}"));
        more.chain(less).collect()
    }

    /// Waits until khad is alone on a host again, which then has these traces and no others.
    #[track_caller]
    pub(crate) fn await_again(&self, hosts: &Hosts, host: &str, after: &str) {
        let alone = format!("test -S /run/khactl/khad.sock && ! pgrep -x '{COMPONENTS}'");
        until(
            &format!("khad is alone on {host} after {after}"),
            SOON,
            || hosts.sh(host, &alone).is_ok().then_some(()),
        );
        let differences = Self::of(hosts, host).differences(self);
        assert!(
            differences.is_empty(),
            "{host} is not as it was before, after {after}: {differences:#?}"
        );
    }
}

#[test]
fn what_came_and_what_went_are_both_told() {
    let traces = |lines: &[&str]| Traces(lines.iter().map(|line| (*line).to_owned()).collect());
    let before = traces(&["f /etc/kept", "f /etc/gone"]);
    let after = traces(&["f /etc/kept", "khavip"]);
    assert_eq!(after.differences(&before), ["+ khavip", "- f /etc/gone"]);
    assert!(after.differences(&after).is_empty());
}
