//! A cgroup for each component, where the kernel lets us make one: outside of the supervisor's own, with a share of
//! processor and disk by what hangs on it. Without one components run in their process groups all the same. What
//! the host has not handed to the unified hierarchy is not taken for it: then the kernel shares the processors out by
//! session, if it does (autogroup), and each component's session has a niceness that comes to the same share.

use std::fs::{self, OpenOptions};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use khactl_model::component::ComponentName;

/// Where the unified hierarchy is mounted, below the machine's root: alone, or beside the old ones.
const ROOTS: [&str; 2] = ["sys/fs/cgroup", "sys/fs/cgroup/unified"];

/// The folder of all of them.
const PARENT: &str = "khactl";

/// What a process has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It comes up, and nobody is served by it.
    Starting,
    /// It serves, or has served.
    Serving,
}

/// Shares of processor and disk, of which 100 is the kernel's own default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Weights {
    cpu: u16,
    io: u16,
}

impl Weights {
    /// The heartbeats of the lease and of etcd must not wait behind a busy apiserver: a late one costs the cluster
    /// a leader. Controllers can wait. An apiserver that starts computes for seconds on end: those that serve come first.
    /// An etcd is waited for by its group.
    fn of(component: ComponentName, stage: Stage) -> Self {
        let (cpu, io) = match (component, stage) {
            (ComponentName::Khavip, _) => (1_000, 100),
            (ComponentName::Etcd, _) => (500, 500),
            (ComponentName::KubeApiserver, Stage::Serving) => (200, 100),
            (
                ComponentName::KubeControllerManager | ComponentName::KubeScheduler,
                Stage::Serving,
            ) => (100, 100),
            (_, Stage::Starting) => (50, 100),
        };
        Self { cpu, io }
    }
}

/// Gives the session that this process leads the component's share of the processors. Where a cgroup or nothing at all
/// shares them out, it changes nothing.
pub(crate) fn prefer_session(pid: u32, component: ComponentName, stage: Stage) {
    let niceness = niceness(Weights::of(component, stage).cpu);
    if let Err(error) = fs::write(format!("/proc/{pid}/autogroup"), niceness.to_string()) {
        tracing::debug!(%component, %error, "no share of the processors by session");
    }
}

/// Gives the component's cgroup, if it has one, what it has the right to at that stage.
pub(crate) fn prefer(name: &str, component: ComponentName, stage: Stage) {
    if let Some(parent) = root().map(|root| root.join(PARENT)) {
        let folder = parent.join(name);
        if folder.exists() {
            weigh(&parent, &folder, Weights::of(component, stage));
        }
    }
}

/// A step of niceness is a quarter of the share (sched(7)); 0 is the share that 100 stands for.
fn niceness(weight: u16) -> i8 {
    let steps = (f64::from(weight) / 100.0).ln() / 1.25_f64.ln();
    // Within the kernel's own range before it is cut off.
    #[expect(clippy::cast_possible_truncation, reason = "between -20 and 19")]
    let niceness = (-steps).round().clamp(-20.0, 19.0) as i8;
    niceness
}

/// Makes the cgroup `khactl/NAME` below the root of the unified hierarchy, outside of any service's,
/// and opens its `cgroup.procs` for a child to move itself there. `None` where that is not possible.
pub(crate) fn prepare(name: &str, component: ComponentName) -> Option<OwnedFd> {
    prepare_below(&root()?, name, Weights::of(component, Stage::Starting))
}

fn prepare_below(root: &Path, name: &str, weights: Weights) -> Option<OwnedFd> {
    let parent = root.join(PARENT);
    let folder = parent.join(name);
    fs::create_dir_all(&folder).ok()?;
    weigh(&parent, &folder, weights);
    let procs = OpenOptions::new()
        .write(true)
        .open(folder.join("cgroup.procs"))
        .ok()?;
    Some(procs.into())
}

/// Best effort: a controller that the host keeps for the old hierarchies, or for itself, weighs nothing here.
fn weigh(parent: &Path, folder: &Path, weights: Weights) {
    let given = fs::read_to_string(parent.join("cgroup.controllers")).unwrap_or_default();
    for (controller, weight) in [("cpu", weights.cpu), ("io", weights.io)] {
        if !given.split_whitespace().any(|found| found == controller) {
            continue;
        }
        let weighed = fs::write(
            parent.join("cgroup.subtree_control"),
            format!("+{controller}"),
        )
        .and_then(|()| {
            fs::write(
                folder.join(format!("{controller}.weight")),
                weight.to_string(),
            )
        });
        if let Err(error) = weighed {
            tracing::debug!(folder = %folder.display(), controller, %error, "no weight");
        }
    }
}

/// Kills whatever is in the cgroup, where there is one and the kernel can (5.14).
pub(crate) fn kill(name: &str) {
    if let Some(root) = root() {
        // Without it the processes are found by their marks and their session.
        let _ = OpenOptions::new()
            .write(true)
            .open(root.join(PARENT).join(name).join("cgroup.kill"))
            .and_then(|mut file| std::io::Write::write_all(&mut file, b"1"));
    }
}

/// Removes the cgroup if nothing is in it.
pub(crate) fn forget(name: &str) {
    if let Some(root) = root() {
        // Refused while a process is in it, and no harm if it stays.
        let _ = fs::remove_dir(root.join(PARENT).join(name));
    }
}

/// Removes the folder of all of them, unless another supervisor on this machine has one there.
pub(crate) fn forget_parent() {
    if let Some(root) = root() {
        // Refused while there is one.
        let _ = fs::remove_dir(root.join(PARENT));
    }
}

fn root() -> Option<PathBuf> {
    unified(Path::new("/"))
}

/// The unified hierarchy of the machine whose root is that folder.
pub(crate) fn unified(machine: &Path) -> Option<PathBuf> {
    // `cgroup.procs` alone is in the old hierarchies too.
    ROOTS
        .into_iter()
        .map(|root| machine.join(root))
        .find(|root| root.join("cgroup.controllers").exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel would have made, with these controllers for the children of `khactl`.
    fn pretended(controllers: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("khactl/etcd-1");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("cgroup.procs"), "").unwrap();
        fs::write(root.path().join("khactl/cgroup.controllers"), controllers).unwrap();
        root
    }

    fn read(root: &Path, file: &str) -> Option<String> {
        fs::read_to_string(root.join("khactl").join(file)).ok()
    }

    #[test]
    fn a_niceness_comes_to_the_share_of_a_weight() {
        assert_eq!(niceness(100), 0);
        assert_eq!(niceness(125), -1);
        let of = |component| niceness(Weights::of(component, Stage::Serving).cpu);
        assert_eq!(of(ComponentName::Khavip), -10);
        assert_eq!(of(ComponentName::Etcd), -7);
        assert_eq!(of(ComponentName::KubeApiserver), -3);
        assert_eq!((niceness(1), niceness(u16::MAX)), (19, -20));
    }

    #[test]
    fn controllers_that_the_host_hands_down_get_their_weights() {
        let root = pretended("cpuset cpu io memory pids\n");
        let weights = Weights::of(ComponentName::Etcd, Stage::Starting);
        assert!(prepare_below(root.path(), "etcd-1", weights).is_some());
        let read = |file| read(root.path(), file);
        assert_eq!(read("etcd-1/cpu.weight").as_deref(), Some("500"));
        assert_eq!(read("etcd-1/io.weight").as_deref(), Some("500"));
    }

    #[test]
    fn controllers_of_the_old_hierarchies_are_left_there_and_the_component_has_its_cgroup_all_the_same()
     {
        let root = pretended("memory pids\n");
        let weights = Weights::of(ComponentName::Etcd, Stage::Starting);
        assert!(prepare_below(root.path(), "etcd-1", weights).is_some());
        assert_eq!(read(root.path(), "cgroup.subtree_control"), None);
        assert_eq!(read(root.path(), "etcd-1/cpu.weight"), None);
    }

    #[test]
    fn nobody_waits_behind_those_who_wait_for_him() {
        let cpu = |component| Weights::of(component, Stage::Serving).cpu;
        let order = [
            ComponentName::Khavip,
            ComponentName::Etcd,
            ComponentName::KubeApiserver,
            ComponentName::KubeScheduler,
        ];
        assert!(order.windows(2).all(|pair| cpu(pair[0]) > cpu(pair[1])));
    }

    #[test]
    fn who_starts_yields_to_all_who_serve() {
        let cpu = |component, stage| Weights::of(component, stage).cpu;
        let starting = cpu(ComponentName::KubeApiserver, Stage::Starting);
        let serving = ComponentName::ALL.map(|component| cpu(component, Stage::Serving));
        assert!(serving.into_iter().all(|share| share > starting));
        // Whose group waits for it is no burden to it.
        assert!(
            cpu(ComponentName::Etcd, Stage::Starting)
                > cpu(ComponentName::KubeApiserver, Stage::Serving)
        );
    }
}
