//! Applies one entry to the state, or refuses it and changes nothing but the audit trail.

use std::net::IpAddr;

use super::{
    AuditEntry, Cluster, ClusterState, EtcdMember, EtcdStage, Host, LeaseMembership, Operation,
    OperationState, Role, SpecRevision, Token, TokenFault,
};
use crate::command::{
    AddToken, AdmitHost, Command, CreateCluster, Entry, OperationKind, SetEtcdStage,
};

/// Audit entries kept in the state; older ones are in the logs of the hosts, which tell each one as
/// they apply it.
pub const AUDIT_MAX: usize = 500;
/// Tokens that may exist at once; expired ones are dropped first.
pub const TOKENS_MAX: usize = 200;
/// Hosts of one cluster: seven voters are the most that quorums bear well, two more for
/// replacing under way. The lease's fixed arrays have this size too.
pub const HOSTS_MAX: usize = 9;
/// Removed hosts kept, to refuse their certificates: those live a year, and nobody removes three
/// hosts a day for so long.
pub const REMOVED_MAX: usize = 1_000;
/// Revisions of the spec that are kept, to be looked at and gone back to.
const REVISIONS_MAX: usize = 50;
/// Operations kept in the journal.
const OPERATIONS_MAX: usize = 200;

/// Why a command was not applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// `KHA…`
    pub code: &'static str,
    /// What is wrong.
    pub wrong: String,
    /// What to try.
    pub advice: String,
}

impl Refused {
    pub(super) fn new(
        code: &'static str,
        wrong: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            code,
            wrong: wrong.into(),
            advice: advice.into(),
        }
    }
}

impl AuditEntry {
    /// What the audit trail says of an entry and its outcome; `None` for what is told elsewhere.
    pub fn of(entry: &Entry, outcome: &Result<u64, Refused>) -> Option<Self> {
        Some(Self {
            at_ms: entry.at_ms,
            actor: entry.actor.clone(),
            action: audit_text(&entry.command)?,
            outcome: outcome
                .as_ref()
                .map_or_else(|refused| refused.code.to_owned(), |_| "ok".to_owned()),
        })
    }
}

impl ClusterState {
    /// Applies an entry. The number is the id that was given, or 0.
    ///
    /// # Errors
    /// The refusal; the state is then unchanged but for the audit trail.
    pub fn apply(&mut self, entry: &Entry) -> Result<u64, Refused> {
        let outcome = self.execute(entry);
        if let Some(audit) = AuditEntry::of(entry, &outcome) {
            if self.audit.len() >= AUDIT_MAX {
                self.audit.pop_front();
            }
            self.audit.push_back(audit);
        }
        outcome
    }

    fn execute(&mut self, entry: &Entry) -> Result<u64, Refused> {
        match &entry.command {
            Command::CreateCluster(create) => self.create_cluster(entry, create),
            Command::AdmitHost(admit) => self.admit_host(admit, entry.at_ms),
            Command::AddToken(add) => self.add_token(add, entry.at_ms),
            Command::DropToken { id } => self.drop_token(id),
            Command::SetEtcdStage(set) => self.set_etcd_stage(set, entry.at_ms),
            Command::SetLease { epoch, members } => self.set_lease(*epoch, members, entry.at_ms),
            Command::StartOperation { kind, host_name } => {
                Ok(self.start_operation(entry, *kind, host_name))
            }
            Command::SetSpec { based_on, yaml } => self.set_spec(entry, *based_on, yaml),
            Command::ChangeArguments {
                based_on,
                yaml,
                why,
            } => self.change_arguments(entry, *based_on, yaml, why),
            Command::DrainHost { host_id, revision } => self.drain_host(*host_id, *revision),
            Command::StepArguments {
                host_id,
                revision,
                keep,
            } => self.step_arguments(*host_id, *revision, *keep),
            Command::StartRemoval {
                host_name,
                forced,
                leaves,
            } => self.start_removal(entry, host_name, *forced, *leaves),
            Command::AbortRemoval { operation } => self.abort_removal(entry, *operation),
            Command::FinishRemoval { host_id } => self.finish_removal(*host_id, entry.at_ms),
            Command::RecordStep {
                operation,
                step,
                state,
                text,
            } => {
                let known = self.operations.get_mut(operation).ok_or_else(|| {
                    Refused::new(
                        "KHA2001",
                        format!("operation {operation} is not in the journal"),
                        "run the command again",
                    )
                })?;
                known.record(step, *state, text, entry.at_ms);
                Ok(*operation)
            }
        }
    }

    /// Its id. Two may begin the same at once, and one may ask twice: one that runs goes on.
    pub(super) fn start_operation(
        &mut self,
        entry: &Entry,
        kind: OperationKind,
        host_name: &str,
    ) -> u64 {
        if let Some((id, known)) = self.operation_of(kind, host_name)
            && known.state == OperationState::Running
        {
            return id;
        }
        let id = self.next_operation_id.max(1);
        self.next_operation_id = id + 1;
        while self.operations.len() >= OPERATIONS_MAX {
            self.operations.pop_first();
        }
        self.operations.insert(
            id,
            Operation {
                kind,
                host_name: host_name.to_owned(),
                actor: entry.actor.clone(),
                started_at_ms: entry.at_ms,
                steps: Vec::new(),
                state: OperationState::Running,
            },
        );
        id
    }

    fn create_cluster(&mut self, entry: &Entry, create: &CreateCluster) -> Result<u64, Refused> {
        if let Some(cluster) = &self.cluster {
            return Err(Refused::new(
                "KHA2002",
                format!("this host is already a member of cluster {}", cluster.name),
                "use `khactl status` to see it",
            ));
        }
        self.cluster = Some(Cluster {
            id: create.id.clone(),
            name: create.name.clone(),
            created_at_ms: entry.at_ms,
        });
        self.specs.push(SpecRevision {
            revision: 1,
            yaml: create.spec_yaml.clone(),
            actor: entry.actor.clone(),
            at_ms: entry.at_ms,
        });
        for authority in &create.authorities {
            self.authorities
                .insert(authority.name.clone(), authority.clone());
        }
        for secret in &create.secrets {
            self.secrets.insert(secret.name.clone(), secret.clone());
        }
        let id = 1;
        self.next_host_id = 2;
        let stage = if self.runs_etcd() {
            EtcdStage::Voter
        } else {
            EtcdStage::Absent
        };
        let mut host = Host {
            id,
            name: create.host_name.clone(),
            address: create.address,
            role: Role::ControlPlane,
            key_pin: create.key_pin.clone(),
            etcd: EtcdMember {
                stage,
                member_id: 0,
                initial_cluster: String::new(),
                started: false,
            },
            admitted_at_ms: entry.at_ms,
            removal: None,
        };
        if stage == EtcdStage::Voter {
            host.etcd.initial_cluster = format!("{}={}", host.name, host.etcd_peer_url());
        }
        self.hosts.insert(create.host_name.clone(), host);
        self.lease = LeaseMembership {
            epoch: 1,
            members: vec![id],
        };
        Ok(id)
    }

    fn admit_host(&mut self, admit: &AdmitHost, now_ms: i64) -> Result<u64, Refused> {
        let Some(token) = self.tokens.get(&admit.token_id) else {
            return Err(Refused::new(
                "KHA2010",
                format!("token {} is not known", admit.token_id),
                "make a new one on a member: `khactl token create`",
            ));
        };
        if let Some(host) = self.hosts.get(&admit.host_name) {
            // The same key is a resumption, not a second use; with another token too, for the
            // first one may have run out before the answer arrived.
            let same = host.key_pin == admit.key_pin && host.address == admit.address;
            return if host.removal.is_some() {
                Err(Refused::new(
                    "KHA2082",
                    format!("{} is being removed from the cluster", host.name),
                    "wait until `khactl status` does not show it any more",
                ))
            } else if same && token.revoked {
                Err(token_refused(token, TokenFault::Revoked, &admit.host_name))
            } else if same {
                Ok(host.id)
            } else {
                Err(Refused::new(
                    "KHA2014",
                    format!(
                        "a host named {} is already a member, at {}",
                        host.name, host.address
                    ),
                    "give the new host another name (`khad --host-name`), or remove the old one first",
                ))
            };
        }
        if let Some(host) = self.hosts.values().find(|h| h.address == admit.address) {
            return Err(Refused::new(
                "KHA2015",
                format!(
                    "{} is already the address of host {}",
                    admit.address, host.name
                ),
                "start khad with the host's own address (`--advertise-address`)",
            ));
        }
        if let Err(fault) = token.check(&admit.host_name, now_ms) {
            return Err(token_refused(token, fault, &admit.host_name));
        }
        if self.hosts.len() >= HOSTS_MAX {
            return Err(Refused::new(
                "KHA2016",
                format!("the cluster has {HOSTS_MAX} hosts, the most it can have"),
                "remove one first; three or five serve best",
            ));
        }
        let id = self.next_host_id;
        self.next_host_id += 1;
        let token = self
            .tokens
            .get_mut(&admit.token_id)
            .expect("looked up above");
        token.uses_left -= 1;
        token
            .used_by
            .push((admit.host_name.clone(), admit.key_pin.clone()));
        let role = token.role;
        // A host that was removed and is let in again with its old key is no stranger any more.
        self.removed.retain(|_, host| host.key_pin != admit.key_pin);
        self.hosts.insert(
            admit.host_name.clone(),
            Host {
                id,
                name: admit.host_name.clone(),
                address: admit.address,
                role,
                key_pin: admit.key_pin.clone(),
                etcd: EtcdMember {
                    stage: EtcdStage::Absent,
                    member_id: 0,
                    initial_cluster: String::new(),
                    started: false,
                },
                admitted_at_ms: now_ms,
                removal: None,
            },
        );
        Ok(id)
    }

    fn add_token(&mut self, add: &AddToken, now_ms: i64) -> Result<u64, Refused> {
        self.tokens.retain(|_, t| t.expires_at_ms > now_ms);
        if self.tokens.len() >= TOKENS_MAX {
            self.tokens.retain(|_, t| !t.revoked);
        }
        if self.tokens.len() >= TOKENS_MAX {
            return Err(Refused::new(
                "KHA2017",
                format!("there are {TOKENS_MAX} tokens, the most there can be"),
                "revoke some, or wait until they expire",
            ));
        }
        if self.tokens.contains_key(&add.id) {
            return Err(Refused::new(
                "KHA2018",
                format!("a token {} exists already", add.id),
                "run the command again",
            ));
        }
        self.tokens.insert(
            add.id.clone(),
            Token {
                id: add.id.clone(),
                secret_hash: add.secret_hash.clone(),
                role: add.role,
                host_name: add.host_name.clone(),
                expires_at_ms: add.expires_at_ms,
                uses_left: add.uses,
                revoked: false,
                used_by: Vec::new(),
            },
        );
        Ok(0)
    }

    fn drop_token(&mut self, id: &str) -> Result<u64, Refused> {
        let token = self.tokens.get_mut(id).ok_or_else(|| {
            Refused::new(
                "KHA2010",
                format!("token {id} is not known"),
                "`khactl token list` shows those there are",
            )
        })?;
        token.revoked = true;
        Ok(0)
    }

    fn set_etcd_stage(&mut self, set: &SetEtcdStage, at_ms: i64) -> Result<u64, Refused> {
        let host = self.hosts.get_mut(&set.host_name).ok_or_else(|| {
            Refused::new(
                "KHA2020",
                format!("there is no host {}", set.host_name),
                "`khactl status` shows those there are",
            )
        })?;
        // A host's own report may come after the leader's record of the next stage: who joins only
        // goes on, who leaves only goes back.
        host.etcd.stage = if host.removal.is_none() {
            host.etcd.stage.max(set.stage)
        } else {
            host.etcd.stage.min(set.stage)
        };
        if set.member_id != 0 {
            host.etcd.member_id = set.member_id;
        }
        if !set.initial_cluster.is_empty() {
            host.etcd.initial_cluster.clone_from(&set.initial_cluster);
        }
        host.etcd.started |= set.started;
        let (id, gone) = (host.id, host.etcd.stage == EtcdStage::Absent);
        if gone {
            self.journal_removal_of(id, "etcd", at_ms);
        }
        Ok(id)
    }

    fn set_lease(&mut self, epoch: u64, members: &[u64], at_ms: i64) -> Result<u64, Refused> {
        if epoch != self.lease.epoch + 1 {
            return Err(Refused::new(
                "KHA2021",
                format!(
                    "lease epoch {epoch} does not follow the present one, {}",
                    self.lease.epoch
                ),
                "nothing to do: another leader was quicker",
            ));
        }
        // Who is leaving, or gone, does not enter.
        if let Some(host) = members.iter().find(|id| {
            let stays = self.host_by_id(**id).is_some_and(|h| h.removal.is_none());
            !stays && !self.lease.members.contains(id)
        }) {
            return Err(Refused::new(
                "KHA2022",
                format!("a lease change that adds host id {host}, which is not to stay"),
                "nothing to do: the leader plans anew",
            ));
        }
        // M1: one voter added or removed per change.
        let added = members
            .iter()
            .filter(|m| !self.lease.members.contains(m))
            .count();
        let removed = self
            .lease
            .members
            .iter()
            .filter(|m| !members.contains(m))
            .count();
        if added + removed != 1 || members.is_empty() {
            return Err(Refused::new(
                "KHA2022",
                format!("a lease change of {added} added and {removed} removed members"),
                "change one member at a time",
            ));
        }
        let before = std::mem::replace(
            &mut self.lease,
            LeaseMembership {
                epoch,
                members: members.to_vec(),
            },
        );
        for id in before.members.iter().filter(|id| !members.contains(id)) {
            self.journal_removal_of(*id, "lease", at_ms);
        }
        Ok(epoch)
    }

    pub(super) fn set_spec(
        &mut self,
        entry: &Entry,
        based_on: u64,
        yaml: &str,
    ) -> Result<u64, Refused> {
        let present = self.specs.last().map_or(0, |spec| spec.revision);
        if based_on != present {
            return Err(Refused::new(
                "KHA2302",
                format!("revision {present} is in force, and the change was made for {based_on}"),
                "somebody else was quicker: `khactl config diff -f` shows what is left to change",
            ));
        }
        let revision = present + 1;
        self.specs.push(SpecRevision {
            revision,
            yaml: yaml.to_owned(),
            actor: entry.actor.clone(),
            at_ms: entry.at_ms,
        });
        let old = self.specs.len().saturating_sub(REVISIONS_MAX);
        self.specs.drain(..old);
        Ok(revision)
    }

    /// Whether an address is a host's own.
    pub fn is_host_address(&self, address: IpAddr) -> bool {
        self.hosts.values().any(|h| h.address == address)
    }
}

fn token_refused(token: &Token, fault: TokenFault, host_name: &str) -> Refused {
    let id = &token.id;
    let again = "make a new one on a member: `khactl token create`";
    match fault {
        TokenFault::Expired => Refused::new("KHA2011", format!("token {id} has expired"), again),
        TokenFault::Revoked => Refused::new("KHA2012", format!("token {id} was revoked"), again),
        TokenFault::Used => Refused::new(
            "KHA2013",
            format!("token {id} has already admitted the hosts it was made for"),
            again,
        ),
        TokenFault::OtherHost => Refused::new(
            "KHA2019",
            format!(
                "token {id} is for host {}, not for {host_name}",
                token.host_name.as_deref().unwrap_or("?")
            ),
            "join from that host, or make a token without --host",
        ),
    }
}

fn audit_text(command: &Command) -> Option<String> {
    Some(match command {
        Command::CreateCluster(c) => format!("create cluster {} with host {}", c.name, c.host_name),
        Command::AdmitHost(a) => format!(
            "admit host {} at {} with token {}",
            a.host_name, a.address, a.token_id
        ),
        Command::AddToken(t) => format!("create {} token {}", t.role.as_str(), t.id),
        Command::DropToken { id } => format!("revoke token {id}"),
        Command::SetEtcdStage(s) => {
            format!("etcd member of {} is {}", s.host_name, s.stage.as_str())
        }
        Command::SetLease { epoch, members } => format!("lease epoch {epoch}: hosts {members:?}"),
        Command::StartOperation { kind, host_name } => {
            format!("start {} of {host_name}", kind.as_str())
        }
        Command::SetSpec { based_on, .. } => format!("change the spec of revision {based_on}"),
        Command::ChangeArguments { based_on, why, .. } if why.is_empty() => {
            format!("change the spec of revision {based_on}, arguments too")
        }
        Command::ChangeArguments { why, .. } => format!("take the arguments back: {why}"),
        Command::DrainHost { host_id, revision } => {
            format!("host id {host_id} is drained for the arguments of revision {revision}")
        }
        Command::StepArguments {
            host_id,
            revision,
            keep,
        } => {
            let does = if *keep { "keeps" } else { "takes" };
            format!("host id {host_id} {does} the arguments of revision {revision}")
        }
        Command::StartRemoval {
            host_name,
            forced,
            leaves,
        } => {
            let how = if *forced { " by force" } else { "" };
            if *leaves {
                format!("host {host_name} leaves{how}")
            } else {
                format!("remove host {host_name}{how}")
            }
        }
        Command::AbortRemoval { operation } => format!("abort operation {operation}"),
        Command::FinishRemoval { host_id } => format!("host id {host_id} is removed"),
        // The journal itself tells the steps.
        Command::RecordStep { .. } => return None,
    })
}
