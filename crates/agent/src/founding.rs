//! What a new cluster begins with: authorities, secrets and the first host's leaf. Kept
//! sealed in `state/founding.json` until the log holds it, so that an interrupted init goes on
//! with the same. In external mode there is nothing of Kubernetes in it.

use khactl_host::files::{self, Attributes};
use khactl_model::command::{SealedAuthority, SealedSecret};
use khactl_model::spec::{Mode, ValidSpec};
use khactl_pki::{Authority, AuthorityName, LeafKey, LeafKind, SealingKey, ServiceAccountKeys};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::path::PathBuf;

use crate::agent::Agent;
use crate::issue;
use crate::net::TlsFiles;
use crate::operation::now_s;
use crate::refused::{Refused, chain};

const DOING: &str = "make the authorities of a new cluster";
const BYTES_MAX: u64 = 1 << 20;
/// The lease's shared key in the replicated secrets.
pub const LEASE_KEY: &str = "lease-key";

/// Everything that `CreateCluster` holds and that must not change between two tries.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Founding {
    /// 32 hexadecimal digits.
    pub cluster_id: String,
    host_name: String,
    address: IpAddr,
    /// SHA-256 of the first agent's public key.
    pub key_pin: String,
    /// With sealed keys.
    pub authorities: Vec<SealedAuthority>,
    /// Sealed.
    pub secrets: Vec<SealedSecret>,
}

fn path(agent: &Agent) -> PathBuf {
    agent.config.data("state/founding.json")
}

impl Founding {
    /// What an earlier try left, or a new one.
    ///
    /// # Errors
    /// The disk's or the cryptography's.
    pub async fn prepare(
        agent: &Agent,
        spec: &ValidSpec,
        host_name: &str,
        address: IpAddr,
    ) -> Result<Self, Refused> {
        agent.keeping.prepare().await?;
        let left = files::read(path(agent), BYTES_MAX)
            .await
            .map_err(|error| disk(&error))?
            .and_then(|bytes| serde_json::from_slice::<Self>(&bytes).ok());
        // Only what belongs to the identity that stands beside it: between the two tries this
        // host may have begun to join elsewhere.
        let beside = agent.keeping.tls().await.ok().map(|tls| tls.ca_pem);
        let ours = |left: &Self| {
            left.authorities.iter().any(|a| {
                a.name == issue::AGENT_AUTHORITY && Some(&a.certificate_pem) == beside.as_ref()
            })
        };
        if let Some(left) = left
            && left.host_name == host_name
            && left.address == address
            && ours(&left)
        {
            return Ok(left);
        }
        let founding = Self::make(agent, spec, host_name, address).await?;
        let text = serde_json::to_vec(&founding).expect("a founding has no foreign types");
        files::write(path(agent), text, Attributes::mode(0o600))
            .await
            .map_err(|error| disk(&error))?;
        Ok(founding)
    }

    /// The log has it: the file goes.
    ///
    /// # Errors
    /// The disk's.
    pub async fn forget(agent: &Agent) -> Result<(), Refused> {
        files::remove(path(agent))
            .await
            .map_err(|error| disk(&error))
    }

    async fn make(
        agent: &Agent,
        spec: &ValidSpec,
        host_name: &str,
        address: IpAddr,
    ) -> Result<Self, Refused> {
        let pki = |error: khactl_pki::PkiError| issue::pki_refused(DOING, &error);
        let cluster_id = issue::hex(&issue::entropy::<16>()?);
        let sealing = SealingKey::new(issue::entropy()?);
        let now_s = now_s();
        let mut authorities = Vec::new();
        let mut agents = None;
        let managed = spec.control_plane.mode == Mode::Managed;
        let wanted = |name: &AuthorityName| managed || *name == AuthorityName::Agents;
        for name in AuthorityName::ALL.into_iter().filter(wanted) {
            let authority =
                Authority::generate(name, &spec.name, now_s, issue::serial()?).map_err(pki)?;
            authorities.push(SealedAuthority {
                name: name.as_str().to_owned(),
                certificate_pem: authority.certificate_pem().to_owned(),
                sealed_key: authority
                    .seal(&sealing, &cluster_id, issue::entropy()?)
                    .map_err(pki)?,
            });
            if name == AuthorityName::Agents {
                agents = Some(authority);
            }
        }
        let agents = agents.expect("the list of authorities holds khactl-ca");
        let sealed = |name: &str, public_pem: String, secret: &[u8]| -> Result<_, Refused> {
            Ok(SealedSecret {
                name: name.to_owned(),
                sealed: sealing
                    .seal(&cluster_id, name, issue::entropy()?, secret)
                    .map_err(pki)?,
                public_pem,
            })
        };
        let mut secrets = vec![sealed(LEASE_KEY, String::new(), &issue::entropy::<32>()?)?];
        if managed {
            let keys = ServiceAccountKeys::generate().map_err(pki)?;
            secrets.push(sealed(
                ServiceAccountKeys::NAME,
                keys.public_pem,
                keys.private_pem.as_bytes(),
            )?);
        }

        let key = LeafKey::generate("agent").map_err(pki)?;
        let csr = key.request(host_name).map_err(pki)?;
        let certificate =
            issue::sign_with(&agents, LeafKind::Agent, spec, (host_name, address), &csr)?;
        let tls = TlsFiles {
            cert_pem: format!("{certificate}{}", agents.certificate_pem()),
            ca_pem: agents.certificate_pem().to_owned(),
            key_pem: key.pem(),
        };
        agent.keeping.keep_identity(&tls, &sealing).await?;
        Ok(Self {
            cluster_id,
            host_name: host_name.to_owned(),
            address,
            key_pin: key.pin().to_hex(),
            authorities,
            secrets,
        })
    }
}

fn disk(error: &khactl_host::HostError) -> Refused {
    Refused::new(
        "KHA3042",
        DOING,
        chain(error),
        "see that the disk has room and the folder belongs to root",
    )
}
