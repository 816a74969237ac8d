//! `khactl reset`: takes away everything that khactl made on this host, and nothing else.
//!
//! ```text
//! judged ─ state/reset written ─ khad's tasks ended ─ processes ended ─ kernel cleared ─ files removed ─▶ as before init
//!          └ from here on every start of khad, or `khad reset`, goes on with it          (state/reset is the last one)
//! ```
//!
//! It leaves what others may want still: logs, users, `/etc/khactl`, bundles, backups, sysctls, and every file that it
//! does not know.

use khactl_host::HostError;
use khactl_host::files::{self, Attributes};
use khactl_host::process::Processes;
use khactl_model::component::ComponentName;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use crate::agent::Agent;
use crate::config::Config;
use crate::departure::clear_kernel;
use crate::refused::{Refused, chain};

const DOING: &str = "clean this host";
/// Written before anything is taken away, removed after everything was.
const MARK: &str = "state/reset";
/// khavip hands the VIP over and drains; etcd writes its state out.
const GRACE: Duration = Duration::from_secs(5);
/// The folders below the data folder that are khactl's own, but for `state`, which goes last.
const OURS: [&str; 3] = ["etcd", "raft", "pki"];
/// Of the run folder, what khad itself has there while it runs.
const KHAD: &str = "khad.";
/// Who uses another's answers ends before it; khavip, which hands the VIP over, is the first.
const ORDER: [ComponentName; 5] = [
    ComponentName::Khavip,
    ComponentName::KubeScheduler,
    ComponentName::KubeControllerManager,
    ComponentName::KubeApiserver,
    ComponentName::Etcd,
];

/// Whether this host may be cleaned, as its running agent sees it.
///
/// # Errors
/// It is one of several hosts of a cluster that works, and nobody forces it.
pub async fn judge(agent: &Agent, force: bool) -> Result<(), Refused> {
    let Some(node) = agent.node() else {
        return Ok(());
    };
    if force || agent.departed.known().is_some() {
        return Ok(());
    }
    let state = node.state();
    // Without a quorum nobody is left who could count on this host.
    if state.hosts.len() < 2 || node.barrier().await.is_err() {
        return Ok(());
    }
    let state = node.state();
    let name = &node.member.host_name;
    if !state.hosts.contains_key(name) || node.standing.removed().is_some() {
        return Ok(());
    }
    let (hosts, rest) = (state.hosts.len(), state.hosts.len() - 1);
    Err(Refused::new(
        "KHA2090",
        DOING,
        format!(
            "{name} is one of {hosts} hosts of cluster {}, which works. Cleaned now, it stays a member that never \
             answers: the {rest} that are left bear the loss of {} more, and no host of its name can join",
            node.member.cluster_name,
            rest.saturating_sub(hosts / 2 + 1)
        ),
        "`khactl leave` first; or say `--force`, and `khactl remove` it on another host afterwards",
    ))
}

/// The same where no agent runs that could be asked.
///
/// # Errors
/// This host is a member as far as its disk tells, and nobody forces it.
pub async fn judge_offline(config: &Config, force: bool) -> Result<(), Refused> {
    let is_there = |below: &'static str| async move {
        let found = files::facts(config.data(below)).await;
        found
            .map(|found| found.is_some())
            .map_err(|error| failed(&error))
    };
    let free = force || is_there("state/departed.json").await? || is_there(MARK).await?;
    if free || !is_there("state/member.json").await? {
        return Ok(());
    }
    Err(Refused::new(
        "KHA2091",
        DOING,
        "this host is a member of a cluster, and khad does not run: nobody can tell whether the others count on it",
        "start khad, then `khactl leave` or `khactl reset`; or say `--force` if the cluster is gone, or this host was \
         removed",
    ))
}

/// From now on this host is being cleaned; khad's main loop goes on with it. Gives what will stay.
///
/// # Errors
/// The file system's.
pub async fn begin(agent: &Agent) -> Result<Vec<String>, Refused> {
    mark(&agent.config).await?;
    let kept = kept(&agent.config);
    agent.reset_asked.notify_one();
    Ok(kept)
}

/// Whether a reset was begun here and is not complete.
///
/// # Errors
/// The file system's.
pub async fn is_begun(config: &Config) -> Result<bool, Refused> {
    let found = files::facts(config.data(MARK)).await;
    Ok(found.map_err(|error| failed(&error))?.is_some())
}

async fn mark(config: &Config) -> Result<(), Refused> {
    for (folder, mode) in [
        (config.data_dir.clone(), 0o711),
        (config.data("state"), 0o700),
    ] {
        files::ensure_dir(folder, Attributes::mode(mode))
            .await
            .map_err(|error| failed(&error))?;
    }
    files::write(config.data(MARK), Vec::new(), Attributes::mode(0o600))
        .await
        .map_err(|error| failed(&error))
}

/// Takes everything away. No task of an agent runs any more. May be interrupted anywhere and called again.
///
/// # Errors
/// Something is there still.
pub async fn clean(config: &Config, processes: &Processes) -> Result<(), Refused> {
    mark(config).await?;
    processes
        .adopt_all("")
        .await
        .map_err(|error| failed(&error))?;
    for name in ORDER {
        processes
            .stop(name, GRACE)
            .await
            .map_err(|error| failed(&error))?;
    }
    processes.forget_cgroups().await;
    clear_kernel(&config.run_dir).await?;
    for name in names_in(&config.run_dir) {
        if !name.starts_with(KHAD) {
            remove(&config.run_dir.join(name)).await?;
        }
    }
    for below in OURS {
        remove(&config.data(below)).await?;
    }
    let (state, mark) = (config.data("state"), config.data(MARK));
    for name in names_in(&state) {
        let path = state.join(name);
        if path != mark {
            remove(&path).await?;
        }
    }
    remove(&mark).await?;
    remove(&state).await?;
    tracing::info!("this host is as it was before it became one of a cluster");
    Ok(())
}

/// What stays, for people.
pub fn kept(config: &Config) -> Vec<String> {
    let mut kept = vec![
        format!("{}: the components' logs", config.log_dir.display()),
        "/etc/khactl: what was put there".to_owned(),
        "the users khactl-*: the logs are theirs".to_owned(),
        "the sysctls arp_ignore and arp_announce, until the next boot".to_owned(),
    ];
    for name in names_in(&config.data_dir) {
        if name != "state" && !OURS.contains(&name.as_str()) {
            kept.push(config.data_dir.join(name).display().to_string());
        }
    }
    kept
}

/// Nothing where there is no such folder.
fn names_in(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

async fn remove(path: &Path) -> Result<(), Refused> {
    files::remove_tree(path)
        .await
        .map_err(|error| failed(&error))
}

fn failed(error: &HostError) -> Refused {
    Refused::new(
        "KHA2093",
        DOING,
        chain(error),
        "mend what is named, then run it again: it goes on where it stopped",
    )
}
