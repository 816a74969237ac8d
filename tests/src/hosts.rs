//! Hosts with systemd and sshd, as `scripts/hosts` makes them, and what a person does on them or from beside them.
//! Dropped, all of it goes; if that is because a test fails, the hosts' journals are printed first.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use khactl_lab::measure::now_us;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::outcome::Outcome;
use crate::programs::{bundle, cache, programs_dir};
use crate::running::Running;
use crate::wait::until;
use crate::{LONG, SOON};

/// A playbook over all hosts, on a machine that builds the root tree and Ansible's environment for the first time.
const PLAYBOOK: Duration = Duration::from_mins(8);
/// A bundle is packed on a machine that is busy with more than it has cores.
const PACK: Duration = Duration::from_mins(3);
/// The end of each host's journal, in lines.
const JOURNAL_LINES: &str = "60";
/// The bundle as every host has it, read-only.
const BUNDLE: &str = "/opt/khactl/bundles/v1.20.2";

/// The hosts of one test.
#[derive(Debug)]
pub struct Hosts {
    name: &'static str,
    scratch: TempDir,
    began_us: u64,
}

impl Hosts {
    /// Boots `count` hosts, `cp1` at 10.77.0.11 and so on.
    #[track_caller]
    pub fn up(name: &'static str, count: usize) -> Self {
        let hosts = Self {
            name,
            scratch: tempfile::tempdir().expect("a folder for what the test writes"),
            began_us: now_us(),
        };
        // What an earlier run that was killed left behind.
        hosts.script("down", &[]).ok();
        hosts.script("up", &[&count.to_string()]).ok();
        hosts.step(&format!("{count} hosts answer"));
        // Here, since there is no way to a registry from beside the hosts.
        let mut ansible = Command::new(repository().join("scripts/ansible"));
        ansible.arg("collection");
        Running::start("scripts/ansible collection", ansible)
            .wait(PLAYBOOK)
            .ok();
        hosts
    }

    /// Says what the test does now.
    pub fn step(&self, text: &str) {
        let seconds = Duration::from_micros(now_us().saturating_sub(self.began_us)).as_secs();
        eprintln!("[{seconds:4} s] {text}");
    }

    /// A folder for what the test writes.
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// Runs `scripts/hosts VERB` for these hosts.
    #[track_caller]
    pub fn script(&self, verb: &str, more: &[&str]) -> Outcome {
        let mut command = Command::new(repository().join("scripts/hosts"));
        command.args([verb, self.name]).args(more);
        Running::start(&format!("scripts/hosts {verb}"), command).wait(PLAYBOOK)
    }

    /// Runs a shell's script on a host, or in the machine beside them (`client`).
    #[track_caller]
    pub fn sh(&self, host: &str, script: &str) -> Outcome {
        let mut command = Command::new(repository().join("scripts/hosts"));
        command.args(["exec", self.name, host]);
        if host == "client" {
            command.args(["sh", "-c"]);
        }
        command.arg(script);
        Running::start(&format!("{script:?} on {host}"), command).wait(LONG + SOON)
    }

    /// A command beside the hosts, in their network.
    pub fn beside(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &format!("hosts-{}-client", self.name)]);
        command.arg(program);
        command
    }

    /// Copies a file from this machine to a host.
    #[track_caller]
    pub fn bring(&self, host: &str, file: &Path, to: &str) {
        let shell = format!(
            "{} exec {} {host} 'cat > {to}' < {}",
            repository().join("scripts/hosts").display(),
            self.name,
            file.display()
        );
        let mut command = Command::new("sh");
        command.args(["-c", &shell]);
        Running::start(&format!("copying to {host}"), command)
            .wait(SOON)
            .ok();
    }

    /// The status as a host's agent gives it; none while it gives none.
    pub fn status(&self, host: &str) -> Option<Value> {
        let answer = self.sh(host, "khactl -o json status");
        serde_json::from_str(&answer.stdout).ok()
    }

    /// Waits until this many hosts are members, all are ready, and one holds the VIP.
    #[track_caller]
    pub fn await_ready(&self, by: &str, count: usize) {
        until(&format!("all {count} hosts are ready"), LONG, || {
            let status = self.status(by)?;
            let hosts = status["hosts"].as_array()?;
            let ready = hosts.iter().filter(|host| host["state"] == "ready").count();
            (hosts.len() == count && ready == count && status["vip"]["holder"].is_string())
                .then_some(())
        });
        self.step(&format!("all {count} hosts are ready"));
    }

    /// The pid of a program on a host.
    #[track_caller]
    pub fn pid(&self, host: &str, program: &str) -> String {
        // The kernel keeps 15 characters of a name.
        let short: String = program.chars().take(15).collect();
        self.sh(host, &format!("pgrep -x {short}"))
            .ok()
            .trim()
            .to_owned()
    }

    /// Writes an inventory of these hosts; `vars` are laid over what a roll-out needs.
    #[track_caller]
    pub fn inventory(&self, hosts: &[&str], vars: &Value) -> PathBuf {
        let mut all = json!({
            "ansible_user": "root",
            "ansible_python_interpreter": "/usr/bin/python3",
            "ansible_ssh_private_key_file": cache().join("hosts/id_ed25519"),
            "khactl_cluster_name": "rollout",
            "khactl_vip_addresses": ["10.77.0.100/24"],
            "khactl_kubernetes_version": "v1.20.2",
            "khactl_bundle": BUNDLE,
        });
        for (key, value) in vars.as_object().into_iter().flatten() {
            all[key] = value.clone();
        }
        let listed: serde_json::Map<String, Value> = hosts
            .iter()
            .map(|host| {
                let number = host.trim_start_matches("cp");
                let address = json!({ "ansible_host": format!("10.77.0.1{number}") });
                ((*host).to_owned(), address)
            })
            .collect();
        let inventory = json!({ "khactl_hosts": { "hosts": listed, "vars": all } });
        let file = self.scratch().join(format!("inventory-{}.json", now_us()));
        std::fs::write(&file, inventory.to_string()).expect("an inventory is written");
        file
    }

    /// The bundle as one file, and its digest.
    #[track_caller]
    pub fn bundle_file(&self) -> (PathBuf, String) {
        let (kubernetes, etcd) = bundle_versions();
        let file = self.scratch().join("bundle.tar.gz");
        let mut command = Command::new(programs_dir().join("khactl"));
        command
            .args(["-o", "json", "bundle", "create", "--kubernetes"])
            .args([kubernetes.as_str(), "--etcd", etcd.as_str(), "--from"])
            .arg(bundle())
            .arg("--out")
            .arg(&file);
        let made = Running::start("khactl bundle create", command)
            .wait(PACK)
            .ok();
        let made: Value = serde_json::from_str(&made).expect("what was made, as JSON");
        self.step("the bundle is one file");
        let digest = made["digest"].as_str().unwrap_or_default().to_owned();
        (file, digest)
    }

    /// A playbook of the collection, as `user` would run it.
    pub fn playbook_command(
        &self,
        user: &str,
        name: &str,
        inventory: &Path,
        more: &[&str],
    ) -> Command {
        let mut command = self.beside(repository().join("scripts/ansible"));
        command
            .args(["playbook", "-i"])
            .arg(inventory)
            .arg(format!("khactl.cluster.{name}"))
            .args(more)
            .env_remove("SUDO_USER")
            .env("USER", user);
        self.with_access(&mut command);
        command
    }

    /// Gives Ansible the key to the hosts.
    fn with_access(&self, command: &mut Command) {
        command
            .env("ANSIBLE_NOCOLOR", "1")
            .env("ANSIBLE_PIPELINING", "1")
            .env("ANSIBLE_PRIVATE_KEY_FILE", cache().join("hosts/id_ed25519"))
            .env("ANSIBLE_SSH_CONTROL_PATH_DIR", self.scratch().join("ssh"))
            .env(
                "ANSIBLE_SSH_ARGS",
                "-o ControlMaster=auto -o ControlPersist=30s -o ServerAliveInterval=2 -o ServerAliveCountMax=3 \
                 -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR",
            );
    }

    /// Runs a shell's script in the machine beside the hosts, as somebody who has Ansible, the key to the hosts, and `home`
    /// as home and folder.
    #[track_caller]
    pub fn admin_types(&self, home: &Path, script: &str) -> Outcome {
        let programs = cache().join("tools/ansible/bin");
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = self.beside("bash");
        command
            .args(["-ec", script])
            .current_dir(home)
            .env("HOME", home)
            .env("PATH", format!("{}:{path}", programs.display()))
            .env_remove("ANSIBLE_COLLECTIONS_PATH");
        self.with_access(&mut command);
        Running::start(script, command).wait(PLAYBOOK)
    }

    /// Starts a playbook of the collection as `user`.
    #[track_caller]
    pub fn start_playbook(
        &self,
        user: &str,
        name: &str,
        inventory: &Path,
        more: &[&str],
    ) -> Running {
        let command = self.playbook_command(user, name, inventory, more);
        Running::start(&format!("the playbook {name}"), command)
    }

    /// Runs a playbook of the collection to its end.
    #[track_caller]
    pub fn playbook(&self, name: &str, inventory: &Path, more: &[&str]) -> Outcome {
        let outcome = self
            .start_playbook("admin", name, inventory, more)
            .wait(PLAYBOOK);
        self.step(&format!("the playbook {name} has ended"));
        outcome
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for host in ["cp1", "cp2", "cp3"] {
                let told = Command::new(repository().join("scripts/hosts"))
                    .args(["exec", self.name, host])
                    .arg(format!(
                        "khactl status; journalctl --no-pager -n {JOURNAL_LINES}"
                    ))
                    .output();
                if let Ok(told) = told {
                    eprintln!("-- {host}:\n{}", String::from_utf8_lossy(&told.stdout));
                }
            }
        }
        // The next run begins with it too.
        let _ = Command::new(repository().join("scripts/hosts"))
            .args(["down", self.name])
            .status();
    }
}

/// The versions of Kubernetes and etcd in the bundle under test.
#[track_caller]
pub fn bundle_versions() -> (String, String) {
    let manifest = std::fs::read_to_string(bundle().join("manifest.json")).expect("a manifest");
    let manifest: Value = serde_json::from_str(&manifest).expect("the manifest is JSON");
    let word = |field: &str| manifest[field].as_str().unwrap_or_default().to_owned();
    (word("kubernetes"), word("etcd"))
}

/// The repository's root.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the repository is around the tests")
        .to_owned()
}
