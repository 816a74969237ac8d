//! Carries a host's effects out, one after the other, deciding nothing.

use khactl_host::bundle::{Bundle, DigestCache};
use khactl_host::files::{self, Attributes, Owner};
use khactl_host::process::Processes;
use khactl_host::users;
use khactl_model::status::Problem;
use khactl_pki::LeafKey;
use khactl_plan::effect::{Content, Effect, ProcessSpec};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::agent::Agent;
use crate::issue;
use crate::node::Node;
use crate::refused::{Refused, chain};

/// Carries effects out for one host.
#[derive(Debug)]
pub struct Carrier {
    agent: Arc<Agent>,
    node: Arc<Node>,
    digests: DigestCache,
}

impl Carrier {
    /// For that member.
    pub fn new(agent: Arc<Agent>, node: Arc<Node>) -> Self {
        Self {
            agent,
            node,
            digests: DigestCache::default(),
        }
    }

    /// Carries one effect out.
    ///
    /// # Errors
    /// What went wrong; the next plan will ask for the effect again.
    pub async fn carry(&self, effect: Effect) -> Result<(), Problem> {
        let outcome = match effect {
            Effect::EnsureFolder { path, mode, owner } => {
                let attributes = self.attributes(mode, owner).await;
                match attributes {
                    Ok(attributes) => files::ensure_dir(path, attributes)
                        .await
                        .map_err(|error| host_refused("make a folder", &error)),
                    Err(refused) => Err(refused),
                }
            }
            Effect::WriteFile {
                path,
                mode,
                owner,
                content,
            } => self.write(path, mode, owner, &content).await,
            Effect::IssueCertificate {
                leaf,
                cert,
                key,
                owner,
            } => self.issue(leaf, cert, key, owner).await,
            Effect::EnsureProcess(spec) => ensure(&self.agent.processes, &self.digests, spec).await,
            Effect::StopProcess { name, grace_ms } => self
                .agent
                .processes
                .stop(name, Duration::from_millis(grace_ms))
                .await
                .map_err(|error| host_refused("stop a component", &error)),
            Effect::EndHung {
                name,
                pid,
                grace_ms,
                why,
            } => self
                .agent
                .processes
                .end_hung(name, pid, Duration::from_millis(grace_ms), &why)
                .await
                .map_err(|error| host_refused("end a component that hangs", &error)),
            Effect::Propose(command) => {
                let actor = format!("host:{}", self.node.member.host_name);
                self.node.propose(&actor, command).await.map(drop)
            }
            // khavip's loop and the leader's carry these out.
            Effect::FeedVip(_)
            | Effect::RaftAddLearner { .. }
            | Effect::RaftPromote { .. }
            | Effect::RaftRemove { .. }
            | Effect::RaftTransfer { .. }
            | Effect::EtcdAddLearner { .. }
            | Effect::EtcdPromote { .. }
            | Effect::EtcdRemove { .. } => Ok(()),
        };
        outcome.map_err(|refused| problem(&self.node.member.host_name, &refused))
    }

    async fn owner(&self, user: Option<&str>) -> Result<Owner, Refused> {
        match user {
            None => Ok(Owner::ROOT),
            Some(name) => users::ensure(name)
                .await
                .map(|user| user.owner())
                .map_err(|error| host_refused("make a component's user", &error)),
        }
    }

    async fn attributes(&self, mode: u32, user: Option<&str>) -> Result<Attributes, Refused> {
        Ok(Attributes::owned(mode, self.owner(user).await?))
    }

    async fn write(
        &self,
        path: String,
        mode: u32,
        owner: Option<&'static str>,
        content: &Content,
    ) -> Result<(), Refused> {
        let bytes = match content {
            Content::Text(text) => text.clone().into_bytes(),
            Content::AuthorityKey(name) => {
                issue::authority_key(&self.node.state(), &self.node.sealing, name)?
                    .as_bytes()
                    .to_vec()
            }
            Content::Secret(name) => {
                issue::secret(&self.node.state(), &self.node.sealing, name)?.to_vec()
            }
        };
        files::write(path, bytes, self.attributes(mode, owner).await?)
            .await
            .map_err(|error| host_refused("write a file", &error))
    }

    /// The key is made here and stays here; the leader signs.
    async fn issue(
        &self,
        leaf: &'static str,
        cert: String,
        key_path: String,
        owner: Option<&'static str>,
    ) -> Result<(), Refused> {
        let doing = format!("have the certificate `{leaf}` issued");
        let key = LeafKey::generate(leaf).map_err(|e| issue::pki_refused(&doing, &e))?;
        let csr_pem = key
            .request(&self.node.member.host_name)
            .map_err(|e| issue::pki_refused(&doing, &e))?;
        let certificate = issue::signed(&self.node, leaf, csr_pem).await?;
        // The old certificate goes first: one that stands beside a key that is not its own
        // would be taken for whole after a crash.
        files::remove(&cert)
            .await
            .map_err(|error| host_refused(&doing, &error))?;
        files::write(
            key_path,
            key.pem().as_bytes().to_vec(),
            self.attributes(0o600, owner).await?,
        )
        .await
        .map_err(|error| host_refused(&doing, &error))?;
        files::write(
            cert,
            certificate.into_bytes(),
            self.attributes(0o644, owner).await?,
        )
        .await
        .map_err(|error| host_refused(&doing, &error))
    }
}

/// Makes sure that a component runs. A program of a bundle is compared with the bundle's manifest first,
/// at every start: what was altered since is not run, and one that runs is not ended for its sake.
async fn ensure(
    processes: &Processes,
    digests: &DigestCache,
    spec: ProcessSpec,
) -> Result<(), Refused> {
    let doing = format!("start {}", spec.name);
    let program = match &spec.bundle {
        Some(folder) => {
            let bundle = Bundle::open(folder, digests)
                .await
                .map_err(|error| host_refused(&doing, &error))?;
            bundle
                .verify(&spec.program)
                .await
                .map_err(|error| host_refused(&doing, &error))?
                .path
        }
        None => beside_khad(&spec.program),
    };
    // Before the one that runs is ended: without its user there is no other.
    if let Some(user) = &spec.user {
        users::ensure(user)
            .await
            .map_err(|error| host_refused("make a component's user", &error))?;
    }
    processes
        .ensure(khactl_host::process::ProcessSpec {
            name: spec.name,
            program,
            digest: khactl_plan::digest(&spec),
            args: spec.args,
            env: spec.env,
            user: spec.user,
        })
        .await
        .map(drop)
        .map_err(|error| host_refused(&doing, &error))
}

/// A program that is installed in the same folder as khad.
pub fn beside_khad(program: &str) -> PathBuf {
    std::env::current_exe()
        .ok()
        .and_then(|khad| khad.parent().map(|folder| folder.join(program)))
        .unwrap_or_else(|| PathBuf::from("/usr/bin").join(program))
}

/// Something of the host crate's that failed.
pub fn host_refused(doing: &str, error: &khactl_host::HostError) -> Refused {
    Refused::new(
        "KHA3061",
        doing,
        chain(error),
        "mend what is named; the agent tries again by itself",
    )
}

/// A refusal as a problem of a host.
pub fn problem(host: &str, refused: &Refused) -> Problem {
    Problem {
        code: refused.code.clone(),
        host: host.to_owned(),
        text: format!("{}: {}", refused.doing, refused.wrong),
        advice: refused.advice.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use khactl_host::bundle::host_arch;
    use khactl_host::digest;
    use khactl_model::component::ComponentName;
    use khactl_model::facts::ProcessFact;

    use super::*;

    const ETCD: ComponentName = ComponentName::Etcd;
    /// A program that runs is ended at once: nothing here needs to end in order.
    const GRACE: Duration = Duration::ZERO;

    /// In etcd's place: it does nothing for as long as it is told.
    const PROGRAM: &str = "#!/bin/sh\nexec sleep $1\n";
    /// The same, but for the digest.
    const ALTERED: &str = "#!/bin/sh\nexec sleep $1 \n";

    fn bundle(folder: &Path) -> PathBuf {
        let program = folder.join("etcd");
        put(&program, PROGRAM);
        let manifest = serde_json::json!({
            "kubernetes": "v1.20.2", "etcd": "3.5.16", "arch": host_arch(),
            "programs": {"etcd": {
                "file": "etcd", "version": "3.5.16",
                "sha256": digest::of_bytes(PROGRAM.as_bytes()), "size": PROGRAM.len(),
            }},
        });
        fs::write(folder.join("manifest.json"), manifest.to_string()).unwrap();
        program
    }

    fn put(program: &Path, text: &str) {
        let new = program.with_extension("new");
        fs::write(&new, text).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(&new, program).unwrap();
    }

    fn etcd(bundle: &Path, arguments: &[&str]) -> ProcessSpec {
        ProcessSpec {
            name: ETCD,
            program: "etcd".to_owned(),
            args: arguments.iter().map(|&text| text.to_owned()).collect(),
            env: Vec::new(),
            user: None,
            bundle: Some(bundle.display().to_string()),
        }
    }

    fn fact(processes: &Processes) -> ProcessFact {
        processes.facts()[&ETCD].clone()
    }

    #[tokio::test]
    async fn a_program_that_was_altered_while_it_ran_is_not_started_again() {
        let dir = tempfile::tempdir().unwrap();
        let (state, log) = (dir.path().join("state"), dir.path().join("log"));
        let processes = Processes::open(&state, &log).await.unwrap();
        processes.adopt_all("c").await.unwrap();
        let digests = DigestCache::default();
        let program = bundle(dir.path());
        let wanted = || etcd(dir.path(), &["600"]);
        ensure(&processes, &digests, wanted()).await.unwrap();
        let running = fact(&processes);
        assert!(running.running);

        put(&program, ALTERED);
        let altered = |refused: Refused| {
            assert_eq!(refused.code, "KHA3061");
            assert_eq!(refused.doing, "start etcd");
            for text in [PROGRAM, ALTERED] {
                let digest = digest::of_bytes(text.as_bytes());
                assert!(refused.wrong.contains(&digest), "{}", refused.wrong);
            }
        };
        // Neither the same process again, nor another one in its place; the one that runs stays.
        for wanted in [wanted(), etcd(dir.path(), &["601"])] {
            altered(ensure(&processes, &digests, wanted).await.unwrap_err());
            assert_eq!(fact(&processes), running);
        }
        processes.stop(ETCD, GRACE).await.unwrap();
        altered(ensure(&processes, &digests, wanted()).await.unwrap_err());
        let ended = fact(&processes);
        assert!(!ended.running && ended.pid == running.pid, "{ended:?}");

        put(&program, PROGRAM);
        ensure(&processes, &digests, wanted()).await.unwrap();
        assert!(fact(&processes).running, "it is the manifest's again");
        processes.stop(ETCD, GRACE).await.unwrap();
    }
}
