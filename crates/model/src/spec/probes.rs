//! How a component is asked: has it come up, is it alive, does it serve. The names and their meaning are those of
//! Kubernetes; times are in milliseconds, as everywhere in the spec. What follows from the answers is decided by
//! `khactl_plan`, never here.

use serde::{Serialize, Serializer};

use super::HealthScheme;
use crate::component::ComponentName;

/// Period and timeout of the question whether a component serves. Each costs it a TLS handshake, and balancers have
/// checks of their own.
const READINESS_MS: [u32; 2] = [2_000, 1_000];

/// The three questions to one component; `None`: it is not asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Probes {
    /// Has it come up? The other two are asked from then on.
    #[serde(serialize_with = "written")]
    pub startup: Option<ProbeSpec>,
    /// Is it alive? If not, it is started anew.
    #[serde(serialize_with = "written")]
    pub liveness: Option<ProbeSpec>,
    /// Does it serve?
    #[serde(serialize_with = "written")]
    pub readiness: Option<ProbeSpec>,
}

/// One question: what is asked, how often, and how many answers count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProbeSpec {
    /// What is asked.
    #[serde(flatten)]
    pub action: ProbeAction,
    /// From the start of the process to the first question.
    pub initial_delay_ms: u32,
    /// Between two questions.
    pub period_ms: u32,
    /// After that time without an answer a question has failed.
    pub timeout_ms: u32,
    /// Good answers in a row that count.
    pub success_threshold: u16,
    /// Failures in a row that count.
    pub failure_threshold: u16,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ProbeAction {
    /// A request that must be answered with 200.
    HttpGet(HttpGet),
    /// A connection that must be accepted.
    TcpSocket(TcpSocket),
    /// A program that must exit with 0; it runs as the component's user.
    Exec(Exec),
}

/// `httpGet`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpGet {
    /// With or without TLS.
    pub scheme: HealthScheme,
    /// Begins with a slash.
    pub path: String,
    /// `None`: the one that the component has for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

/// `tcpSocket`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TcpSocket {
    /// `None`: the one that the component has for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

/// `exec`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Exec {
    /// The program with an absolute path, and its arguments.
    pub command: Vec<String>,
}

impl ProbeSpec {
    /// From a fault to the moment at which it counts, in milliseconds, beside the first period.
    pub fn patience_ms(&self) -> u64 {
        u64::from(self.failure_threshold) * u64::from(self.period_ms.max(self.timeout_ms))
    }
}

impl Probes {
    /// Nothing is asked.
    pub const NONE: Self = Self {
        startup: None,
        liveness: None,
        readiness: None,
    };

    /// What is in force where the spec says nothing.
    ///
    /// Liveness asks only for what a restart can mend: that an apiserver lacks its etcd, or an etcd its quorum, is no
    /// reason to end it. An apiserver that hangs is found within ten seconds, so that it is restarted within fifteen;
    /// the others have longer, since nobody waits for their answers.
    pub fn of(component: ComponentName) -> Self {
        match component {
            ComponentName::Khavip => Self::NONE,
            ComponentName::Etcd => Self {
                // /health fails while there is no leader; /metrics answers as long as the process does. A member
                // that reads a large log comes up late.
                startup: Some(get(component, "/metrics", [1_000, 1_000], 600)),
                liveness: Some(get(component, "/metrics", [5_000, 3_000], 3)),
                readiness: Some(get(component, "/health", READINESS_MS, 2)),
            },
            ComponentName::KubeApiserver => Self {
                startup: Some(get(component, "/livez?exclude=etcd", [1_000, 1_000], 300)),
                liveness: Some(get(component, "/livez?exclude=etcd", [2_000, 2_000], 4)),
                readiness: Some(get(component, "/readyz", READINESS_MS, 2)),
            },
            ComponentName::KubeControllerManager | ComponentName::KubeScheduler => Self {
                startup: Some(get(component, "/healthz", [1_000, 1_000], 300)),
                liveness: Some(get(component, "/healthz", [5_000, 3_000], 3)),
                readiness: Some(get(component, "/healthz", READINESS_MS, 2)),
            },
        }
    }

    /// How a component speaks at its own port.
    pub(crate) fn scheme_of(component: ComponentName) -> HealthScheme {
        match component {
            ComponentName::Etcd => HealthScheme::Http,
            _ => HealthScheme::Https,
        }
    }
}

fn get(
    component: ComponentName,
    path: &str,
    [period_ms, timeout_ms]: [u32; 2],
    failure_threshold: u16,
) -> ProbeSpec {
    ProbeSpec {
        action: ProbeAction::HttpGet(HttpGet {
            scheme: Probes::scheme_of(component),
            path: path.to_owned(),
            port: None,
        }),
        initial_delay_ms: 0,
        period_ms,
        timeout_ms,
        success_threshold: 1,
        failure_threshold,
    }
}

/// A question that is not asked is written as `{enabled: false}`: left out, its default would be in force.
#[expect(clippy::ref_option, reason = "serde passes a reference to the field")]
fn written<S: Serializer>(probe: &Option<ProbeSpec>, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Off {
        enabled: bool,
    }
    match probe {
        Some(probe) => probe.serialize(serializer),
        None => Off { enabled: false }.serialize(serializer),
    }
}
