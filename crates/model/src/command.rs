//! The commands that change the replicated state: what a log entry holds once it is read.

use serde::{Deserialize, Serialize};
use std::net::IpAddr;

use crate::state::{EtcdStage, Role};

/// A command with who asked and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Who asked: `root@cp1`, `host:cp2`.
    pub actor: String,
    /// The proposer's wall clock in milliseconds since the Unix epoch. The state machine
    /// takes its time from here, so that every host applies the same.
    pub at_ms: i64,
    /// What to do.
    pub command: Command,
}

/// A change of the replicated state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// The first entry of every cluster.
    CreateCluster(CreateCluster),
    /// Admits a host and consumes its token.
    AdmitHost(AdmitHost),
    /// A new join token.
    AddToken(AddToken),
    /// Revokes a join token.
    DropToken {
        /// The token's id.
        id: String,
    },
    /// How far a host's etcd member is.
    SetEtcdStage(SetEtcdStage),
    /// The next lease membership.
    SetLease {
        /// The present epoch plus one.
        epoch: u64,
        /// Host ids.
        members: Vec<u64>,
    },
    /// Opens an operation in the journal.
    StartOperation {
        /// What it does.
        kind: OperationKind,
        /// The host it is about.
        host_name: String,
    },
    /// A step of an operation in the journal.
    RecordStep {
        /// The operation's id.
        operation: u64,
        /// The step's stable name.
        step: String,
        /// How far it is.
        state: StepState,
        /// A detail for people, or why it failed.
        text: String,
    },
    /// The next revision of the spec.
    SetSpec {
        /// The revision that it was judged against and follows.
        based_on: u64,
        /// The spec as validated.
        yaml: String,
    },
    /// The next revision of the spec, which changes arguments of components: each host takes them in its turn.
    ChangeArguments {
        /// The revision that it was judged against and follows.
        based_on: u64,
        /// The spec as validated.
        yaml: String,
        /// Why it takes the last change of arguments back; empty: it does not.
        why: String,
    },
    /// It is a host's turn to take other arguments: no balancer sends its apiserver anything new until that is over.
    DrainHost {
        /// The host's id.
        host_id: u64,
        /// The revision of the spec that has them.
        revision: u64,
    },
    /// A host takes other arguments, or its turn with them ends.
    StepArguments {
        /// The host's id.
        host_id: u64,
        /// The revision of the spec that has them.
        revision: u64,
        /// It runs with them: the next host may take them. Else it is to take them now.
        keep: bool,
    },
    /// From now on a host is on its way out, as an operation in the journal. Gives the operation's id.
    StartRemoval {
        /// The host.
        host_name: String,
        /// Also if fewer faults are borne afterwards; the leader judges that before it proposes.
        forced: bool,
        /// The host itself asked for it: the journal calls that leaving.
        leaves: bool,
    },
    /// A removal that is not past its point of no return is given up: the host stays.
    AbortRemoval {
        /// Its operation.
        operation: u64,
    },
    /// A host that has left everything else loses its record.
    FinishRemoval {
        /// The host's id.
        host_id: u64,
    },
}

/// See [`Command::CreateCluster`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateCluster {
    /// 32 hexadecimal digits.
    pub id: String,
    /// `metadata.name` of the spec.
    pub name: String,
    /// The spec as validated, revision 1.
    pub spec_yaml: String,
    /// The first host's name.
    pub host_name: String,
    /// The first host's address.
    pub address: IpAddr,
    /// SHA-256 of the first agent's public key, in hexadecimal.
    pub key_pin: String,
    /// Authorities with sealed keys.
    pub authorities: Vec<SealedAuthority>,
    /// Other secrets, sealed.
    pub secrets: Vec<SealedSecret>,
}

/// An authority's certificate and its private key, encrypted with the cluster's sealing key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedAuthority {
    /// `khactl-ca`, `kubernetes`, `front-proxy`, `etcd`.
    pub name: String,
    /// Its certificate.
    pub certificate_pem: String,
    /// Its key, sealed.
    pub sealed_key: Vec<u8>,
}

/// A secret encrypted with the cluster's sealing key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedSecret {
    /// `service-account`, `lease-key`.
    pub name: String,
    /// The secret, sealed.
    pub sealed: Vec<u8>,
    /// The public half of a key pair; empty for a plain secret.
    pub public_pem: String,
}

/// See [`Command::AdmitHost`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdmitHost {
    /// The token that admits it.
    pub token_id: String,
    /// Its name.
    pub host_name: String,
    /// Its own address.
    pub address: IpAddr,
    /// SHA-256 of its agent's public key, in hexadecimal: the same key with the same token
    /// is a resumption.
    pub key_pin: String,
}

/// See [`Command::AddToken`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddToken {
    /// Six characters, public.
    pub id: String,
    /// Hash of the secret; the secret itself is stored nowhere.
    pub secret_hash: Vec<u8>,
    /// What the host becomes.
    pub role: Role,
    /// The only host that may use it; `None`: any.
    pub host_name: Option<String>,
    /// Milliseconds since the Unix epoch.
    pub expires_at_ms: i64,
    /// How many hosts it admits.
    pub uses: u32,
}

/// See [`Command::SetEtcdStage`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetEtcdStage {
    /// The host.
    pub host_name: String,
    /// Its member's stage.
    pub stage: EtcdStage,
    /// etcd's id of the member; 0 while it is not known.
    pub member_id: u64,
    /// `name=url,…` for the member's first start; kept when empty.
    pub initial_cluster: String,
    /// Its data folder has been in service: from now on an empty one is a loss.
    pub started: bool,
}

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OperationKind {
    /// Makes the first host.
    Init,
    /// Adds a host.
    Join,
    /// Takes a host out.
    Remove,
    /// The same, asked for by the host itself.
    Leave,
}

impl OperationKind {
    /// Its name in the log and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Join => "join",
            Self::Remove => "remove",
            Self::Leave => "leave",
        }
    }

    /// The kind of that name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Init, Self::Join, Self::Remove, Self::Leave]
            .into_iter()
            .find(|k| k.as_str() == name)
    }
}

/// How far a step of an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepState {
    /// Begun; after a crash it is begun again.
    Started,
    /// Complete.
    Finished,
    /// Complete, and with it the whole operation.
    Done,
    /// Given up; the text says why.
    Failed,
}

impl StepState {
    /// Its name in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Finished => "finished",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }

    /// The state of that name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Started, Self::Finished, Self::Done, Self::Failed]
            .into_iter()
            .find(|s| s.as_str() == name)
    }
}
