//! From nothing to a cluster on lab hosts: boot, init on the first, join on all others at once.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;

use khactl_lab::{Lab, LabOptions, VIP};
use khactl_model::status::ClusterStatus;
use serde::Deserialize;

use super::called::called;
use super::failed;
use crate::failure::{Failure, chain};
use crate::output::line;

/// Where the client machine has its kubeconfig.
pub(super) const KUBECONFIG: &str = "/etc/khactl/kubeconfig";
/// Where the first host has the spec.
const SPEC: &str = "/etc/khactl/cluster.yaml";
/// The API's port on the VIP.
pub(super) const PORT: u16 = 6443;
const BUNDLE: &str = "kube/bundles/v1.20.2";

/// What the lab needs to know of a bundle.
#[derive(Deserialize)]
struct Manifest {
    kubernetes: String,
}

/// Boots the hosts; their agents are idle.
pub(super) fn boot(
    name: &str,
    hosts: usize,
    bundle: Option<&Path>,
    keep: bool,
) -> Result<Lab, Failure> {
    let bundle = match bundle {
        Some(bundle) => bundle.to_owned(),
        None => default_bundle()?,
    };
    manifest(&bundle)?;
    line(&format!("lab {name}: booting {hosts} hosts"))?;
    let options = LabOptions {
        hosts,
        programs_dir: Some(programs_dir()?),
        bundle: Some(bundle),
        keep,
        ..LabOptions::default()
    };
    Lab::up(name, options).map_err(failed("bring the lab up"))
}

/// init on the first host, join on the others at the same moment, and the client's kubeconfig.
pub(super) fn form(lab: &Lab) -> Result<(), Failure> {
    let first = &lab.hosts()[0];
    let write = |path: &Path, text: &str| {
        write_private(path, text).map_err(|error| {
            Failure::new(
                "KHA0924",
                format!("write {}", path.display()),
                chain(&error),
                "see whether the disk is full",
            )
        })
    };
    write(&first.etc_dir().join("cluster.yaml"), &spec(lab)?)?;
    khactl(lab, first.name(), &["init", "-f", SPEC])?;

    let others = &lab.hosts()[1..];
    if !others.is_empty() {
        let uses = others.len().to_string();
        let token = ask(lab, first.name(), &["token", "create", "--uses", &uses])?;
        let member = format!("{}:9443", first.address());
        let join = ["join", &member, "--token", token.trim()];
        thread::scope(|scope| {
            let joins: Vec<_> = others
                .iter()
                .map(|host| scope.spawn(|| khactl(lab, host.name(), &join)))
                .collect();
            joins.into_iter().try_for_each(|join| {
                join.join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
        })?;
    }
    let kubeconfig = ask(lab, first.name(), &["kubeconfig"])?;
    write(&lab.client().etc_dir().join("kubeconfig"), &kubeconfig)
}

/// What a person can do now, to be run as it is printed.
pub(super) fn how_to_use(lab: &Lab) -> String {
    let name = match lab.name().as_str() {
        "lab" => String::new(),
        name => format!(" --name {name}"),
    };
    let khactl = called();
    format!(
        "\nthe API answers at https://{VIP}:{PORT}; from the machine outside the cluster:\n\
         \x20 {khactl} lab exec{name} client -- kubectl get namespaces\n\
         the cluster, and the lab:\n\
         \x20 {khactl} lab exec{name} cp1 -- khactl status\n\
         \x20 {khactl} lab status{name}\n\
         cut a host's power and give it back:\n\
         \x20 {khactl} lab kill{name} cp1\n\
         \x20 {khactl} lab start{name} cp1\n\
         take everything down:\n\
         \x20 {khactl} lab down{name}"
    )
}

/// The cluster's status as one host's agent gives it; `None` while it gives none.
pub(super) fn status(lab: &Lab, host: &str) -> Option<ClusterStatus> {
    let answer = lab
        .exec(host, "khactl")
        .ok()?
        .args(["status", "-o", "json"])
        .stderr(Stdio::null())
        .output()
        .ok()?;
    serde_json::from_slice(&answer.stdout).ok()
}

/// Runs `khactl` in a host and shows its lines with the host's name.
fn khactl(lab: &Lab, host: &str, arguments: &[&str]) -> Result<(), Failure> {
    let doing = format!("khactl {} on {host}", arguments[0]);
    let mut command = lab.exec(host, "khactl").map_err(failed(&doing))?;
    let unrunnable = |error: std::io::Error| {
        Failure::new(
            "KHA0924",
            &doing,
            chain(&error),
            "build all programs into one folder",
        )
    };
    let mut child = command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(unrunnable)?;
    // Errors come after the progress, and are few: no pipe fills up.
    if let Some(stdout) = child.stdout.take() {
        for text in BufReader::new(stdout).lines().map_while(Result::ok) {
            line(&format!("{host}: {text}"))?;
        }
    }
    let mut wrong = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        // What could not be read is not shown; that it failed is known anyway.
        let _ = stderr.read_to_string(&mut wrong);
    }
    if child.wait().map_err(unrunnable)?.success() {
        return Ok(());
    }
    Err(unfinished(&doing, &wrong))
}

/// Runs `khactl` in a host and gives what it prints.
fn ask(lab: &Lab, host: &str, arguments: &[&str]) -> Result<String, Failure> {
    let doing = format!("khactl {} on {host}", arguments[0]);
    let answer = lab
        .exec(host, "khactl")
        .map_err(failed(&doing))?
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Failure::new("KHA0924", &doing, chain(&error), "build all programs"))?;
    if answer.status.success() {
        return Ok(String::from_utf8_lossy(&answer.stdout).into_owned());
    }
    Err(unfinished(&doing, &String::from_utf8_lossy(&answer.stderr)))
}

fn unfinished(doing: &str, wrong: &str) -> Failure {
    let wrong = wrong.trim();
    Failure::new(
        "KHA0924",
        doing,
        if wrong.is_empty() {
            "it ended without a word"
        } else {
            wrong.strip_prefix("error: ").unwrap_or(wrong)
        },
        "khactl lab exec HOST -- khactl status, and there the agent's log: \
         /var/log/khactl/khad.log",
    )
}

fn spec(lab: &Lab) -> Result<String, Failure> {
    let inside = lab.bundle_inside().unwrap_or_default();
    let root = lab.hosts()[0]
        .root_dir()
        .map_err(failed("find the bundle in the lab"))?;
    let outside = root.join(inside.strip_prefix("/").unwrap_or(&inside));
    let version = manifest(&outside)?.kubernetes;
    Ok(format!(
        "apiVersion: khactl.io/v1alpha1\n\
         kind: Cluster\n\
         metadata:\n\
         \x20 name: {name}\n\
         spec:\n\
         \x20 vip:\n\
         \x20   addresses: [{VIP}/24]\n\
         \x20 controlPlane:\n\
         \x20   kubernetesVersion: {version}\n\
         \x20   bundle: {bundle}\n",
        name = lab.name(),
        bundle = inside.display(),
    ))
}

fn manifest(bundle: &Path) -> Result<Manifest, Failure> {
    let path = bundle.join("manifest.json");
    let unusable = |wrong: String| {
        Failure::new(
            "KHA0925",
            format!("read {}", path.display()),
            wrong,
            "build the bundle with make kube, or name one with --bundle",
        )
    };
    let text = fs::read(&path).map_err(|error| unusable(chain(&error)))?;
    serde_json::from_slice(&text).map_err(|error| unusable(chain(&error)))
}

/// What `make kube` builds, where it builds it.
fn default_bundle() -> Result<PathBuf, Failure> {
    if let Some(cache) = std::env::var_os("KHACTL_CACHE") {
        return Ok(Path::new(&cache).join(BUNDLE));
    }
    let home = std::env::var_os("HOME").ok_or_else(|| {
        Failure::new(
            "KHA0925",
            "find the bundle",
            "neither KHACTL_CACHE nor HOME is set",
            "name it with --bundle",
        )
    })?;
    Ok(Path::new(&home).join(".cache/khactl").join(BUNDLE))
}

/// `khad` and `khavip` lie beside `khactl`.
fn programs_dir() -> Result<PathBuf, Failure> {
    let unknown = |wrong: String| {
        Failure::new(
            "KHA0924",
            "find khad and khavip",
            wrong,
            "put khactl, khad and khavip into one folder",
        )
    };
    let program = std::env::current_exe().map_err(|error| unknown(chain(&error)))?;
    let dir = program.parent().unwrap_or(Path::new("/")).to_owned();
    for name in ["khad", "khavip"] {
        if !dir.join(name).is_file() {
            return Err(unknown(format!("there is no {name} in {}", dir.display())));
        }
    }
    Ok(dir)
}

/// Specs and kubeconfigs are nobody else's business, from the moment they exist.
pub(super) fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    fs::OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?
        .write_all(text.as_bytes())
}
