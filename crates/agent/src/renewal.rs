//! The agent's own certificate: replaced in good time, while connections are served. The key stays the one that the host
//! was admitted with, since the others know the host by it.
//!
//! ```text
//! good ──two thirds of its life──► due: the leader signs ─┐
//!   ▲                                                     ├─► written ─► shown from the next handshake on
//!   └── not valid now: no other host listens, so this one ┘
//!       signs for itself what its record entitles it to
//! ```
//!
//! So a cluster whose hosts were all switched off until their certificates had ended finds itself again. A host whose clock is
//! wrong until the network sets it, as where the board keeps no time, goes on with what it has.

use khactl_model::status::Problem;
use khactl_pki::{LeafFacts, LeafKey, LeafKind, Pin};
use khactl_plan::renewal_s;
use std::sync::Arc;
use std::time::Duration;

use crate::agent::Agent;
use crate::issue;
use crate::keeping::Keeping;
use crate::net::{LiveCertificate, TlsFiles};
use crate::node::Node;
use crate::operation::now_s;
use crate::refused::{Refused, chain};
use crate::time;

const DOING: &str = "renew the agent's own certificate";
/// A good one is looked at so often, and once more when the wall clock has stepped.
const LOOK_EVERY: Duration = Duration::from_mins(1);
/// The wall clock is compared with the boot clock so often.
const COMPARE_EVERY: Duration = Duration::from_secs(1);
/// What they part by in a minute where nobody sets the wall clock is far less. In milliseconds.
const STEP_MS: u64 = 2_000;
/// After a renewal that failed.
const AGAIN: Duration = Duration::from_secs(5);

/// What is known of the agent's own certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnLeaf {
    /// When it ends, in seconds since the Unix epoch.
    pub not_after_s: Option<i64>,
    /// Why it was not renewed, although it should be.
    pub problem: Option<Problem>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    Nothing,
    Renewal,
    /// Nobody believes it.
    AnotherAtOnce,
}

impl Need {
    fn of(leaf: &LeafFacts, host_id: u64, now_s: i64) -> Self {
        if now_s < leaf.not_before_s || now_s >= leaf.not_after_s {
            Self::AnotherAtOnce
        } else if now_s >= renewal_s(leaf.not_before_s, leaf.not_after_s, host_id) {
            Self::Renewal
        } else {
            Self::Nothing
        }
    }
}

/// Looks after the certificate that `live` shows.
pub fn spawn(agent: &Arc<Agent>, node: &Arc<Node>, live: Arc<LiveCertificate>) {
    let stopping = agent.tasks.stopping();
    let (keeping, node) = (agent.keeping.clone(), Arc::clone(node));
    agent.tasks.spawn("renew the certificate", async move {
        tokio::select! {
            () = keep(&keeping, &node, &live) => {}
            () = stopping => {}
        }
    });
}

/// Ends when this host is none of the cluster's any more: then its keys go.
async fn keep(keeping: &Keeping, node: &Node, live: &LiveCertificate) {
    while node.standing.removed().is_none() {
        let outcome = look(keeping, node, live).await;
        let pause = if outcome.is_ok() { LOOK_EVERY } else { AGAIN };
        tell(node, outcome);
        rest(pause).await;
    }
}

/// Lets time pass, or less of it if the wall clock steps: a certificate that was good may be none by another clock.
async fn rest(pause: Duration) {
    let ahead_ms = || time::wall_ms().saturating_sub_unsigned(time::boot_ms());
    let began_ms = ahead_ms();
    let ends = khactl_sys::clock::boottime() + pause;
    while khactl_sys::clock::boottime() < ends && ahead_ms().abs_diff(began_ms) < STEP_MS {
        time::pause(COMPARE_EVERY).await;
    }
}

/// Looks once, and renews what needs it. Gives when the one ends that is shown then.
async fn look(keeping: &Keeping, node: &Node, live: &LiveCertificate) -> Result<i64, Refused> {
    let files = keeping.tls().await?;
    let facts = facts_of(&files.cert_pem)?;
    let host_id = node.member.host_id;
    let need = Need::of(&facts, host_id, now_s());
    if need == Need::Nothing {
        return Ok(facts.not_after_s);
    }
    node.leaf
        .send_modify(|known| known.not_after_s = Some(facts.not_after_s));
    let key = LeafKey::from_pem("agent", &files.key_pem)
        .map_err(|error| issue::pki_refused(DOING, &error))?;
    let host_name = &node.member.host_name;
    let csr_pem = key
        .request(host_name)
        .map_err(|error| issue::pki_refused(DOING, &error))?;
    let leaf = LeafKind::Agent.name();
    let certificate_pem = match need {
        Need::AnotherAtOnce => {
            require_a_time_of_the_cluster(&facts_of(&files.ca_pem)?, now_s())?;
            issue::sign(&node.state(), &node.sealing, host_name, leaf, &csr_pem)?
        }
        _ if node.raft.leader().is_none() => {
            return Err(Refused::new(
                "KHA3014",
                DOING,
                "the agents have no leader, who signs it",
                "see `khactl status` for what is wrong with the agents",
            ));
        }
        _ => issue::signed(node, leaf, csr_pem).await?,
    };
    let not_after_s = take(
        keeping,
        live,
        files,
        &certificate_pem,
        key.pin(),
        (host_id, now_s()),
    )
    .await?;
    tracing::info!(
        before = issue::wall_text(facts.not_after_s * 1000),
        now = issue::wall_text(not_after_s * 1000),
        "the agent's certificate was renewed: it ends later"
    );
    Ok(not_after_s)
}

/// Puts a new certificate into the old one's place, on the disk and in service, if it is this key's and any better.
async fn take(
    keeping: &Keeping,
    live: &LiveCertificate,
    files: TlsFiles,
    certificate_pem: &str,
    key: Pin,
    (host_id, now_s): (u64, i64),
) -> Result<i64, Refused> {
    let new = facts_of(certificate_pem)?;
    if new.pin != key || Need::of(&new, host_id, now_s) != Need::Nothing {
        return Err(Refused::new(
            "KHA3064",
            DOING,
            format!(
                "the one that was signed lives from {} to {}, and it is {} here",
                issue::wall_text(new.not_before_s * 1000),
                issue::wall_text(new.not_after_s * 1000),
                issue::wall_text(now_s * 1000)
            ),
            "compare this host's clock with the leader's; the agent tries again by itself",
        ));
    }
    let files = TlsFiles {
        cert_pem: format!("{certificate_pem}{}", files.ca_pem),
        ..files
    };
    // First on the disk: a start after a crash shows the same.
    keeping.keep_certificate(&files.cert_pem).await?;
    live.replace(&files).map_err(|error| {
        Refused::new(
            "KHA3040",
            DOING,
            chain(&error),
            "report this as a bug if it comes again",
        )
    })?;
    Ok(new.not_after_s)
}

fn facts_of(pem: &str) -> Result<LeafFacts, Refused> {
    LeafFacts::from_pem(pem).map_err(|error| issue::pki_refused(DOING, &error))
}

/// By a clock that stands before the cluster's own beginning a good certificate would give way to one that nobody believes, this
/// host neither, as soon as the clock is right.
fn require_a_time_of_the_cluster(authority: &LeafFacts, now_s: i64) -> Result<(), Refused> {
    if now_s >= authority.not_before_s {
        return Ok(());
    }
    Err(Refused::new(
        "KHA3064",
        DOING,
        format!(
            "it is {} here, and the cluster has been there since {}",
            issue::wall_text(now_s * 1000),
            issue::wall_text(authority.not_before_s * 1000)
        ),
        "set this host's clock, by NTP; the agent goes on with the certificate that it has",
    ))
}

/// Logs a problem once, and lets whoever reports see it.
fn tell(node: &Node, outcome: Result<i64, Refused>) {
    node.leaf.send_if_modified(|known| {
        let told = match outcome {
            Ok(not_after_s) => OwnLeaf {
                not_after_s: Some(not_after_s),
                problem: None,
            },
            Err(refused) => OwnLeaf {
                not_after_s: known.not_after_s,
                problem: Some(problem(&node.member.host_name, &refused)),
            },
        };
        if *known == told {
            return false;
        }
        if let Some(problem) = &told.problem {
            tracing::warn!(code = problem.code, "{}", problem.text);
        }
        *known = told;
        true
    });
}

fn problem(host: &str, refused: &Refused) -> Problem {
    Problem {
        code: "KHA3063".to_owned(),
        host: host.to_owned(),
        text: format!(
            "the agent's own certificate is to be renewed, and is not yet: {} ({})",
            refused.wrong, refused.code
        ),
        advice: refused.advice.clone(),
    }
}

#[cfg(test)]
mod tests {
    use khactl_pki::{Authority, AuthorityName, CheckedRequest, LeafProfile, SealingKey, Serial};
    use rustls::client::ResolvesClientCert;
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject;

    use super::*;
    use crate::config::Config;

    const DAY_S: i64 = 24 * 3600;
    /// Some time in 2027.
    const NOW_S: i64 = 1_800_000_000;
    const ID: u64 = 1;

    fn leaf(authority: &Authority, key: &LeafKey, begins_s: i64) -> String {
        let request = CheckedRequest::from_pem(&key.request("cp1").unwrap()).unwrap();
        let profile = LeafProfile {
            issuer: AuthorityName::Agents,
            common_name: "khactl:host:cp1".to_owned(),
            organization: Some("khactl:hosts"),
            sans: Vec::new(),
            server: true,
            client: true,
        };
        authority
            .sign(&request, &profile, begins_s, Serial::new([7; 16]))
            .unwrap()
    }

    struct Bench {
        authority: Authority,
        key: LeafKey,
        keeping: Keeping,
        live: Arc<LiveCertificate>,
        _folder: tempfile::TempDir,
    }

    impl Bench {
        /// A host whose certificate began so long ago.
        async fn with_a_leaf_of(age_s: i64) -> Self {
            let serial = Serial::new([1; 16]);
            let authority =
                Authority::generate(AuthorityName::Agents, "prod", NOW_S - age_s, serial).unwrap();
            let key = LeafKey::generate("agent").unwrap();
            let folder = tempfile::tempdir().unwrap();
            let below = |name: &str| folder.path().join(name);
            let keeping = Keeping::new(&Config {
                data_dir: below("data"),
                run_dir: below("run"),
                log_dir: below("log"),
                host_name: "cp1".to_owned(),
                advertise_address: None,
            });
            keeping.prepare().await.unwrap();
            let certificate_pem = leaf(&authority, &key, NOW_S - age_s);
            let files = TlsFiles {
                cert_pem: format!("{certificate_pem}{}", authority.certificate_pem()),
                ca_pem: authority.certificate_pem().to_owned(),
                key_pem: key.pem(),
            };
            let sealing = SealingKey::new([3; 32]);
            keeping.keep_identity(&files, &sealing).await.unwrap();
            Self {
                authority,
                key,
                live: LiveCertificate::new(&files).unwrap(),
                keeping,
                _folder: folder,
            }
        }

        async fn take(&self, certificate_pem: &str) -> Result<i64, Refused> {
            let files = self.keeping.tls().await.unwrap();
            take(
                &self.keeping,
                &self.live,
                files,
                certificate_pem,
                self.key.pin(),
                (ID, NOW_S),
            )
            .await
        }

        async fn on_disk(&self) -> String {
            self.keeping.tls().await.unwrap().cert_pem
        }
    }

    #[test]
    fn a_certificate_is_renewed_at_two_thirds_of_its_year_and_one_that_nobody_believes_at_once() {
        let serial = Serial::new([1; 16]);
        let authority = Authority::generate(AuthorityName::Agents, "prod", NOW_S, serial).unwrap();
        let key = LeafKey::generate("agent").unwrap();
        let facts = facts_of(&leaf(&authority, &key, NOW_S)).unwrap();
        let need = |host_id, day: i64| Need::of(&facts, host_id, NOW_S + day * DAY_S);
        assert_eq!(need(ID, -1), Need::AnotherAtOnce);
        assert_eq!(need(ID, 0), Need::Nothing);
        assert_eq!(need(ID, 242), Need::Nothing);
        assert_eq!(need(ID, 246), Need::Renewal);
        // One host after the other.
        assert_eq!(need(8, 246), Need::Nothing);
        assert_eq!(need(8, 252), Need::Renewal);
        assert_eq!(need(ID, 364), Need::Renewal);
        assert_eq!(need(ID, 365), Need::AnotherAtOnce);
    }

    #[tokio::test]
    async fn a_new_certificate_is_kept_with_its_authority_and_shown() {
        let bench = Bench::with_a_leaf_of(300 * DAY_S).await;
        let new = leaf(&bench.authority, &bench.key, NOW_S);
        let ends_s = bench.take(&new).await.unwrap();
        assert_eq!(ends_s, NOW_S + 365 * DAY_S);
        let shown = bench.live.resolve(&[], &[]).unwrap();
        let der = CertificateDer::from_pem_slice(new.as_bytes()).unwrap();
        assert_eq!(shown.cert[0], der);
        let kept = bench.on_disk().await;
        assert_eq!(kept, format!("{new}{}", bench.authority.certificate_pem()));
        assert_eq!(
            bench.keeping.key().await.unwrap().unwrap(),
            *bench.key.pem()
        );
    }

    #[tokio::test]
    async fn a_certificate_that_is_no_better_or_another_keys_changes_nothing() {
        let bench = Bench::with_a_leaf_of(300 * DAY_S).await;
        let before = bench.on_disk().await;
        let stranger = LeafKey::generate("agent").unwrap();
        for (what, certificate) in [
            ("another key's", leaf(&bench.authority, &stranger, NOW_S)),
            (
                "by a clock that is behind",
                leaf(&bench.authority, &bench.key, NOW_S - 290 * DAY_S),
            ),
            (
                "by a clock that is ahead",
                leaf(&bench.authority, &bench.key, NOW_S + DAY_S),
            ),
        ] {
            assert_eq!(
                bench.take(&certificate).await.unwrap_err().code,
                "KHA3064",
                "{what}"
            );
            assert_eq!(bench.on_disk().await, before, "{what}");
        }
    }

    #[test]
    fn a_clock_that_stands_before_the_clusters_beginning_has_nothing_signed() {
        let serial = Serial::new([1; 16]);
        let authority = Authority::generate(AuthorityName::Agents, "prod", NOW_S, serial).unwrap();
        let authority = facts_of(authority.certificate_pem()).unwrap();
        for unset_s in [0, NOW_S - DAY_S] {
            let refused = require_a_time_of_the_cluster(&authority, unset_s).unwrap_err();
            assert_eq!(refused.code, "KHA3064");
        }
        for now_s in [NOW_S, NOW_S + 4 * 366 * DAY_S] {
            assert_eq!(require_a_time_of_the_cluster(&authority, now_s), Ok(()));
        }
    }

    #[test]
    fn a_problem_tells_its_cause() {
        let refused = Refused::new("KHA3014", DOING, "there is no leader", "wait");
        let problem = problem("cp1", &refused);
        assert_eq!(
            (problem.code.as_str(), problem.advice.as_str()),
            ("KHA3063", "wait")
        );
        assert!(
            problem.text.contains("there is no leader (KHA3014)"),
            "{}",
            problem.text
        );
    }
}
