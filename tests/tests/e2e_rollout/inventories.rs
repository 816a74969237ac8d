//! Inventories that cannot work, or are unwise: what is said of them, and that nothing was changed by then.

use khactl_tests::Hosts;
use serde_json::{Value, json};

use crate::HOSTS;

/// `good` is laid over what every inventory has; with it alone a roll-out works.
#[track_caller]
pub(crate) fn that_cannot_work_change_nothing(hosts: &Hosts, good: &Value) {
    let inventory = hosts.inventory(&HOSTS, good);
    let told = hosts.playbook("site", &inventory, &["--check"]).ok();
    assert!(!told.contains("WARNING: "), "three hosts are fine: {told}");
    let inventory = hosts.inventory(&HOSTS[..2], good);
    let told = hosts.playbook("site", &inventory, &["--check"]).ok();
    assert!(
        told.contains("WARNING: 2 HOSTS BEAR THE LOSS OF NONE"),
        "{told}"
    );

    let refused: [(&[&str], Value, &str); 7] = [
        (
            &HOSTS[..],
            json!({ "khactl_address": "10.77.0.11" }),
            "have the same address 10.77.0.11",
        ),
        (
            &HOSTS[..],
            json!({ "khactl_vip_addresses": ["10.99.0.100/24"] }),
            "is not in the network of cp1",
        ),
        (
            &HOSTS[..],
            json!({ "khactl_package": "/nowhere.deb" }),
            "there is no /nowhere.deb",
        ),
        // There is no such host on the wire.
        (&["cp1", "cp2", "cp4"][..], json!({}), "[cp4]: UNREACHABLE!"),
        (
            &HOSTS[..],
            json!({ "khactl_bundle_digest": "0".repeat(64) }),
            "it is another bundle, or an altered one",
        ),
        (
            &HOSTS[..],
            json!({ "khactl_kubernetes_version": "v1.21.0" }),
            "khactl_kubernetes_version asks for v1.21.0",
        ),
        (
            &HOSTS[..],
            json!({ "khactl_bundle_source": "/nowhere.tar.gz" }),
            "there is no /nowhere.tar.gz",
        ),
    ];
    for (names, changes, words) in refused {
        let inventory = hosts.inventory(names, &but(good, &changes));
        let refused = hosts.playbook("site", &inventory, &[]);
        assert!(!refused.is_ok(), "{words}: {refused}");
        assert!(refused.stdout.contains(words), "{words}: {refused}");
    }
    let ours =
        "ls -d /etc/khactl /usr/bin/khad /opt/khactl/release /run/khactl* 2>/dev/null || true";
    for host in HOSTS {
        assert_eq!(hosts.sh(host, ours).ok(), "", "changed on {host}");
    }
}

/// The same variables with some of them changed.
pub(crate) fn but(good: &Value, changes: &Value) -> Value {
    let mut all = good.clone();
    for (key, value) in changes.as_object().into_iter().flatten() {
        all[key] = value.clone();
    }
    all
}

#[test]
fn changed_variables_win_and_the_others_stay() {
    let changed = but(&json!({ "a": 1, "b": 2 }), &json!({ "b": 3, "c": 4 }));
    assert_eq!(changed, json!({ "a": 1, "b": 3, "c": 4 }));
}
