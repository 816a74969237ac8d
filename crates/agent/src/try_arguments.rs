//! Asks a component's own program whether it knows arguments, before any host takes them: each of the programs reads
//! its arguments before it does what `--version` says. It looks into no file for that, and starts nothing.

use khactl_host::bundle::{Bundle, DigestCache};
use khactl_host::probe::{Probe, Readiness};
use khactl_host::users;
use khactl_model::component::ComponentName;
use khactl_model::spec::ValidSpec;
use khactl_plan::SpecChange;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use crate::refused::{Refused, chain};

/// Far longer than a program takes to print its version.
const TIMEOUT: Duration = Duration::from_secs(20);

/// On every host.
const NOBODY: &str = "nobody";

/// Refuses arguments that a program does not know, or values that it does not take, among those that change. A bundle
/// that is not on this host cannot be asked: the first host that takes the arguments shows it then.
///
/// # Errors
/// All that are refused, with their place in the spec and what the program says of them.
pub async fn refuse_unknown(
    doing: &str,
    next: &ValidSpec,
    changes: &[SpecChange],
) -> Result<(), Refused> {
    let Some(folder) = &next.control_plane.bundle else {
        return Ok(());
    };
    let digests = DigestCache::default();
    let mut refused = Vec::new();
    for (component, path, arguments) in components(next) {
        let asked: Vec<&str> = changes
            .iter()
            .filter(|change| !change.after.is_empty())
            .filter_map(|change| change.path.strip_prefix(&format!("{path}.")))
            .collect();
        if asked.is_empty() {
            continue;
        }
        let verified = match Bundle::open(folder, &digests).await {
            Ok(bundle) => bundle.verify(component.as_str()).await,
            Err(error) => Err(error),
        };
        let program = match verified {
            Ok(program) => program.path,
            Err(error) => {
                tracing::warn!(%component, error = %chain(&error), "it is not asked for its arguments");
                continue;
            }
        };
        // One by one: the program names the first that it does not know, and what is wrong with it.
        for name in asked {
            if let Some(value) = arguments.get(name)
                && let Err(reason) = ask(&program, &format!("--{name}={value}")).await
            {
                refused.push(format!("{path}.{name}: {reason}"));
            }
        }
    }
    if refused.is_empty() {
        return Ok(());
    }
    Err(Refused::new(
        "KHA2331",
        doing,
        refused.join("\n"),
        "correct them, or leave them out; nothing was changed",
    ))
}

/// Everything that a new cluster's spec has, as if it were a change.
pub fn all_of(spec: &ValidSpec) -> Vec<SpecChange> {
    let mut all = Vec::new();
    for (_, path, arguments) in components(spec) {
        all.extend(arguments.iter().map(|(name, value)| SpecChange {
            path: format!("{path}.{name}"),
            before: String::new(),
            after: value.clone(),
            refusal: None,
        }));
    }
    all
}

fn components(spec: &ValidSpec) -> [(ComponentName, &'static str, &BTreeMap<String, String>); 4] {
    let plane = &spec.control_plane;
    [
        (
            ComponentName::KubeApiserver,
            "spec.controlPlane.apiServer.extraArgs",
            &plane.api_server.extra_args,
        ),
        (
            ComponentName::KubeControllerManager,
            "spec.controlPlane.controllerManager.extraArgs",
            &plane.controller_manager.extra_args,
        ),
        (
            ComponentName::KubeScheduler,
            "spec.controlPlane.scheduler.extraArgs",
            &plane.scheduler.extra_args,
        ),
        (
            ComponentName::Etcd,
            "spec.controlPlane.etcd.extraArgs",
            &plane.etcd.extra_args,
        ),
    ]
}

/// As the user who owns nothing; a host without one shows it when it takes the arguments.
async fn ask(program: &Path, argument: &str) -> Result<(), String> {
    let Ok(Some(user)) = users::lookup(NOBODY).await else {
        return Ok(());
    };
    let command = vec![
        program.to_string_lossy().into_owned(),
        argument.to_owned(),
        "--version".to_owned(),
    ];
    match Probe::exec(command, Some(user.name)).run(TIMEOUT).await {
        Readiness::Ready => Ok(()),
        // After the first line some explain all that they know.
        Readiness::NotReady { reason } => Err(reason
            .split(" Usage:")
            .next()
            .unwrap_or_default()
            .trim()
            .to_owned()),
    }
}
