//! The quick start on three hosts, by hand and by Ansible: the commands of the page, as they are typed.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use khactl_tests::{Hosts, Packages, quick_start, repository};

use crate::{HOSTS, api_answers_at_the_vip};

/// The page and the example inventory name the package of this version.
const VERSION: &str = env!("CARGO_PKG_VERSION");

#[test]
fn by_hand_it_works_word_for_word() {
    let hosts = Hosts::up("e2equick", HOSTS.len());
    let package = Packages::build(hosts.scratch(), VERSION, false).deb;
    let name = package.file_name().unwrap_or_default().to_string_lossy();
    for host in HOSTS {
        hosts.bring(host, &package, &name);
    }
    let blocks = quick_start("Three hosts, by hand");
    assert!(blocks.len() > 5, "only {} blocks found", blocks.len());
    let mut token = String::new();
    for block in blocks {
        assert!(!block.hosts.is_empty(), "where is it typed? {block:?}");
        for host in &block.hosts {
            hosts.step(&format!("{host}: {}", block.script.replace('\n', "; ")));
            let typed = block.script.replace("TOKEN", &token);
            let printed = hosts.sh(host, &format!("set -e\n{typed}")).ok();
            if block.script.contains("token create") {
                // The last line; what goes before is the progress of init.
                token = printed.lines().last().unwrap_or_default().to_owned();
            }
        }
    }
    hosts.await_ready("cp1", HOSTS.len());
    api_answers_at_the_vip(&hosts, "cp1");
}

#[test]
fn with_ansible_it_works_word_for_word() {
    let hosts = Hosts::up("e2equickans", HOSTS.len());
    Packages::build(hosts.scratch(), VERSION, false);
    let (file, _) = hosts.bundle_file();
    // In one folder, under the names that the example has.
    fs::rename(file, hosts.scratch().join("v1.20.2.tar.gz")).expect("the bundle's file");
    let files = format!("{}/", hosts.scratch().display());

    let blocks = quick_start("With Ansible");
    let [prepared, rolled_out] = &blocks[..] else {
        panic!("the page has other blocks: {blocks:?}");
    };
    let vagrant = quick_start("With Vagrant");
    let collection = prepared.script.lines().next().expect("a line");
    assert!(
        vagrant
            .iter()
            .any(|block| block.script.contains(collection)),
        "it is another line with Vagrant: {collection}"
    );
    let clone = a_clone(&hosts);
    hosts.admin_types(&clone, &prepared.script).ok();
    let inventory = clone.join("inventory.yml");
    let example = fs::read_to_string(&inventory).expect("the inventory");
    // The hosts are those of the example; the reader says where his files are.
    let said = example.replace("/srv/khactl/", &files);
    assert_ne!(said, example, "the example names no files");
    fs::write(&inventory, said).expect("the inventory is changed");
    let told = hosts.admin_types(&clone, &rolled_out.script).ok();
    assert!(
        told.contains("ok      ports: all that are needed are free"),
        "{told}"
    );
    hosts.await_ready("cp1", HOSTS.len());
    api_answers_at_the_vip(&hosts, "cp1");
}

/// What a clone of the repository has for Ansible.
#[track_caller]
fn a_clone(hosts: &Hosts) -> PathBuf {
    let clone = hosts.scratch().join("clone");
    fs::create_dir(&clone).expect("a folder");
    let copied = Command::new("cp")
        .arg("-r")
        .arg(repository().join("ansible"))
        .arg(&clone)
        .status();
    assert!(copied.is_ok_and(|status| status.success()), "cp");
    clone
}
