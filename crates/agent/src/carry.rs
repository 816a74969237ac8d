//! Carries a host's effects out, one after the other, deciding nothing.

use khactl_host::bundle::{Bundle, DigestCache};
use khactl_host::files::{self, Attributes, Owner};
use khactl_host::users;
use khactl_model::status::Problem;
use khactl_pki::LeafKey;
use khactl_plan::effect::{Content, Effect, ProcessSpec};
use khactl_proto::v1;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::agent::Agent;
use crate::issue;
use crate::node::Node;
use crate::refused::{Refused, chain};
use crate::time;

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
            Effect::EnsureProcess(spec) => self.ensure(spec).await,
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
        let certificate = match self.node.leader_address() {
            Some(leader) => {
                self.node
                    .peer(leader)
                    .sign(time::within(
                        Duration::from_secs(5),
                        v1::SignRequest {
                            leaf: leaf.to_owned(),
                            csr_pem,
                        },
                    ))
                    .await
                    .map_err(|status| Refused::of_call(&doing, &status))?
                    .into_inner()
                    .certificate_pem
            }
            None => issue::sign(
                &self.node.state(),
                &self.node.sealing,
                &self.node.member.host_name,
                leaf,
                &csr_pem,
            )?,
        };
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

    async fn ensure(&self, spec: ProcessSpec) -> Result<(), Refused> {
        let doing = format!("start {}", spec.name);
        let program = match &spec.bundle {
            Some(folder) => {
                let bundle = Bundle::open(folder, &self.digests)
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
        if let Some(user) = &spec.user {
            self.owner(Some(user)).await?;
        }
        self.agent
            .processes
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
