//! Files, keys and certificates.

use khactl_model::state::Role;
use khactl_plan::effect::{Content, Effect};
use khactl_plan::{Status, problem, watched};

use crate::fake::{FakeCluster, WALL_S, YEAR_S, spec, status};

fn settled() -> FakeCluster {
    let mut cluster = FakeCluster::new(spec("v1.20.2"));
    cluster.settle(20, |_| 1);
    cluster
}

fn issued(cluster: &FakeCluster) -> Vec<&'static str> {
    cluster
        .plan("cp1")
        .effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::IssueCertificate { leaf, .. } => Some(*leaf),
            _ => None,
        })
        .collect()
}

fn written(cluster: &FakeCluster) -> Vec<String> {
    cluster
        .plan("cp1")
        .effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::WriteFile { path, .. } => Some(path.clone()),
            _ => None,
        })
        .collect()
}

#[test]
fn keys_are_0600_in_0700_folders_of_the_one_who_needs_them() {
    let mut cluster = FakeCluster::new(spec("v1.20.2"));
    cluster.settle(20, |_| 1);
    let files = &cluster.facts["cp1"].files;
    let keys: Vec<_> = files
        .iter()
        .filter(|(path, _)| path.rsplit_once('.').is_some_and(|(_, end)| end == "key"))
        .collect();
    assert!(keys.len() > 10);
    for (path, key) in keys {
        assert_eq!(key.mode, 0o600, "{path}");
        let folder = &files[path.rsplit_once('/').unwrap().0];
        assert_eq!((folder.mode, &folder.owner), (0o700, &key.owner), "{path}");
    }
    assert_eq!(
        files["/var/lib/khactl/pki/kube-scheduler/kubeconfig"].mode,
        0o600
    );
}

#[test]
fn folders_come_before_what_lies_in_them() {
    let cluster = FakeCluster::new(spec("v1.20.2"));
    let mut folders = Vec::new();
    for effect in cluster.plan("cp1").effects {
        let path = match effect {
            Effect::EnsureFolder { path, .. } => {
                folders.push(path);
                continue;
            }
            Effect::WriteFile { path, .. } => path,
            Effect::IssueCertificate { cert, .. } => cert,
            _ => continue,
        };
        let folder = path.rsplit_once('/').unwrap().0;
        assert!(folders.iter().any(|known| known == folder), "{path}");
    }
}

#[test]
fn all_that_is_planned_is_watched() {
    let cluster = FakeCluster::new(spec("v1.20.2"));
    let watched = watched(
        &cluster.spec,
        &cluster.state,
        cluster.host("cp1"),
        &cluster.paths,
    );
    for effect in cluster.plan("cp1").effects {
        match effect {
            Effect::EnsureFolder { path, .. } => assert!(watched.folders.contains(&path)),
            Effect::WriteFile { path, .. } => assert!(watched.files.contains(&path)),
            Effect::IssueCertificate {
                leaf, cert, key, ..
            } => {
                assert!(watched.leaves.iter().any(|place| place.leaf == leaf));
                assert!(watched.files.contains(&cert) && watched.files.contains(&key));
            }
            _ => {}
        }
    }
}

#[test]
fn a_file_that_was_altered_or_opened_is_written_again() {
    let mut cluster = settled();
    let ca = "/var/lib/khactl/pki/etcd/ca.crt";
    let config = "/var/lib/khactl/pki/kube-scheduler/kubeconfig";
    let files = &mut cluster.facts.get_mut("cp1").unwrap().files;
    files.get_mut(ca).unwrap().sha256 = "another".to_owned();
    files.get_mut(config).unwrap().mode = 0o644;
    let written = written(&cluster);
    assert_eq!(written.len(), 2);
    assert!(written.iter().any(|path| path == ca) && written.iter().any(|path| path == config));
}

#[test]
fn a_sealed_key_is_written_again_before_its_public_half_when_that_changes() {
    let mut cluster = settled();
    let secret = cluster.state.secrets.get_mut("service-account").unwrap();
    secret.public_pem = "another key\n".to_owned();
    let written = written(&cluster);
    let of = |file: &str| written.iter().position(|path| path.ends_with(file));
    assert_eq!(written.len(), 4, "{written:?}");
    assert!(of("kube-apiserver/service-account.key") < of("kube-apiserver/service-account.pub"));
}

#[test]
fn a_key_that_others_could_read_is_replaced() {
    let mut cluster = settled();
    let key = "/var/lib/khactl/pki/etcd/peer.key";
    cluster
        .facts
        .get_mut("cp1")
        .unwrap()
        .files
        .get_mut(key)
        .unwrap()
        .mode = 0o640;
    assert_eq!(issued(&cluster), ["etcd-peer"]);
}

#[test]
fn a_leaf_is_renewed_past_two_thirds_of_its_life_while_everything_goes_on() {
    let mut cluster = settled();
    cluster.wall_s = WALL_S + YEAR_S / 3 * 2 - 24 * 3600;
    assert!(issued(&cluster).is_empty());
    assert!(cluster.plan("cp1").wake.is_some());
    cluster.wall_s = WALL_S + YEAR_S / 3 * 2 + 24 * 3600;
    assert_eq!(issued(&cluster).len(), 10);
    let plan = cluster.plan("cp1");
    assert_eq!(status(&plan, "pki"), &Status::Ready);
    assert_eq!(plan.effects.len(), 10);
    cluster.settle(3, |_| 1);
}

#[test]
fn hosts_renew_one_after_another() {
    let mut cluster = settled();
    cluster.admit(2, Role::ControlPlane);
    cluster.settle(60, |_| 1);
    let first = cluster.plan("cp1").wake.unwrap();
    let second = cluster.plan("cp2").wake.unwrap();
    assert!(second > first + 12 * 3600 * 1000);
}

#[test]
fn an_ended_certificate_is_a_problem_until_it_is_renewed() {
    let mut cluster = settled();
    cluster.wall_s = WALL_S + 2 * YEAR_S;
    let plan = cluster.plan("cp1");
    assert!(
        plan.problems
            .iter()
            .any(|p| p.code == problem::CERTIFICATE_ENDED)
    );
    assert!(matches!(status(&plan, "pki"), Status::Starting { .. }));
    cluster.settle(3, |_| 1);
    assert!(cluster.plan("cp1").problems.is_empty());
}

#[test]
fn a_name_that_the_apiservers_leaf_lacks_makes_a_new_one() {
    let mut cluster = settled();
    let leaf = cluster
        .facts
        .get_mut("cp1")
        .unwrap()
        .leaves
        .get_mut("apiserver")
        .unwrap();
    leaf.sans.retain(|san| san != "api.example.org");
    assert_eq!(issued(&cluster), ["apiserver"]);
    let leaf = cluster
        .facts
        .get_mut("cp1")
        .unwrap()
        .leaves
        .get_mut("apiserver")
        .unwrap();
    leaf.sans.push("API.example.org".to_owned());
    assert!(issued(&cluster).is_empty());
}

#[test]
fn kubeconfigs_point_at_the_hosts_own_balancer() {
    let cluster = FakeCluster::new(spec("v1.20.2"));
    let text = cluster
        .plan("cp1")
        .effects
        .into_iter()
        .find_map(|effect| match effect {
            Effect::WriteFile {
                path,
                content: Content::Text(text),
                ..
            } if path.ends_with("kube-controller-manager/kubeconfig") => Some(text),
            _ => None,
        })
        .unwrap();
    insta::assert_snapshot!(text);
}
