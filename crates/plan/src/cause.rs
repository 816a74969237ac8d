//! Why a process probably ended, read from how it ended and from its last words. A guess for people: nothing is
//! decided by it. What it knows are the words that etcd and Kubernetes have used for the same thing for years; what
//! is not among them has no cause, and no wrong one.

use khactl_model::component::ComponentName;
use khactl_model::facts::CauseFact;
use std::net::SocketAddr;

/// EADDRINUSE in words.
const IN_USE: &str = "address already in use";

/// What several patterns stand for.
struct Cause {
    code: &'static str,
    /// What is wrong, as the beginning of a sentence that goes on with the line that says so.
    text: &'static str,
    advice: &'static str,
    /// Any of these in a line, in lower case.
    words: &'static [&'static str],
}

/// The first that is found counts: the more exact ones stand before those that others bring about.
const CAUSES: [Cause; 7] = [
    Cause {
        code: PORT_TAKEN,
        text: "its port is taken",
        advice: "see who has it with `ss -ltnp` on that host, and end it: khactl ends nobody else's processes",
        words: &[IN_USE],
    },
    Cause {
        code: "KHA3122",
        text: "a certificate is not valid now",
        advice: "is the host's clock right? `khactl status` shows when certificates end; they are renewed while there is a leader",
        words: &["certificate has expired", "is not yet valid"],
    },
    Cause {
        code: "KHA3123",
        text: "a disk is full, or cannot be written",
        advice: "see `df -h` and `df -i` for /var/lib/khactl and /var/log/khactl on that host, and make room",
        words: &[
            "no space left on device",
            "disk quota exceeded",
            "read-only file system",
            "database space exceeded",
        ],
    },
    Cause {
        code: "KHA3124",
        text: "it does not know an argument, or not this value",
        advice: "correct extraArgs of this component in the spec and apply it: `khactl config apply -f cluster.yaml`",
        words: &[
            "unknown flag",
            "flag provided but not defined",
            "unknown shorthand flag",
            "invalid argument",
            "invalid value",
            "must be specified",
            "unknown feature gate",
            "unrecognized feature gate",
        ],
    },
    Cause {
        code: "KHA3125",
        text: "etcd is not reachable",
        advice: "it needs this host's own etcd: see that component first",
        words: &[
            "error creating storage factory: context deadline exceeded",
            "unable to create storage backend",
            "127.0.0.1:2379: connect: connection refused",
            "127.0.0.1:2379: i/o timeout",
            "etcdserver: no leader",
        ],
    },
    Cause {
        code: "KHA3126",
        text: "memory ran out",
        advice: "give the host more memory, or take something else off it",
        words: &["out of memory", "cannot allocate memory"],
    },
    Cause {
        code: "KHA3127",
        text: "a file is missing, or not its to read",
        advice: "khactl writes its files again by itself; what extraArgs name must be there on every host and belong to the component's user",
        words: &["no such file or directory", "permission denied"],
    },
];

/// The code of a taken port.
const PORT_TAKEN: &str = "KHA3121";

/// The address that a line complains of because it is in use: whoever has it can be named.
pub fn taken_address(line: &str) -> Option<SocketAddr> {
    if !line.to_lowercase().contains(IN_USE) {
        return None;
    }
    line.split(|c: char| c.is_whitespace() || c == '"')
        .find_map(|word| word.trim_end_matches(':').parse().ok())
}

/// The cause, if `how` or one of the last lines tells it. The newest line that tells one counts: older ones may be
/// of an earlier run. `stranger` is who has the port that is taken.
pub fn probable_cause(
    component: ComponentName,
    how: &str,
    last_lines: &[String],
    stranger: Option<&str>,
) -> Option<CauseFact> {
    let own = [how.to_owned()];
    last_lines.iter().rev().chain(&own).find_map(|line| {
        let lower = line.to_lowercase();
        let cause = CAUSES.iter().find(|cause| {
            // To itself etcd is always reachable.
            let about_etcd = cause.code == "KHA3125" && component == ComponentName::Etcd;
            !about_etcd && cause.words.iter().any(|word| lower.contains(word))
        })?;
        let by = stranger
            .filter(|_| cause.code == PORT_TAKEN)
            .map(|stranger| format!(" by {stranger}"))
            .unwrap_or_default();
        Some(CauseFact {
            code: cause.code.to_owned(),
            text: format!("{}{by}: {}", cause.text, shortened(line)),
            advice: cause.advice.to_owned(),
        })
    })
}

/// A line may be a whole stack trace in JSON.
fn shortened(line: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 300;
    let mut shown: String = line.trim().chars().take(SHOWN_CHARS_MAX).collect();
    if line.trim().chars().count() > SHOWN_CHARS_MAX {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use ComponentName::{Etcd, KubeApiserver, KubeScheduler};

    fn code(component: ComponentName, how: &str, lines: &[&str]) -> Option<String> {
        let lines: Vec<String> = lines.iter().map(|&line| line.to_owned()).collect();
        probable_cause(component, how, &lines, None).map(|cause| cause.code)
    }

    #[test]
    fn the_words_of_the_programs_are_understood() {
        for (component, line, wanted) in [
            (
                KubeApiserver,
                "Error: failed to create listener: failed to listen on 10.77.0.11:6443: listen tcp 10.77.0.11:6443: bind: address already in use",
                "KHA3121",
            ),
            (
                KubeScheduler,
                "failed to create listener: failed to listen on 127.0.0.1:10259: listen tcp 127.0.0.1:10259: bind: address already in use",
                "KHA3121",
            ),
            (
                Etcd,
                r#"{"level":"fatal","msg":"failed to start etcd","error":"listen tcp 127.0.0.1:2379: bind: address already in use"}"#,
                "KHA3121",
            ),
            (
                KubeApiserver,
                "x509: certificate has expired or is not yet valid: current time 2027-11-23T06:00:00Z is after 2027-11-22T06:00:00Z",
                "KHA3122",
            ),
            (
                Etcd,
                r#"{"level":"fatal","msg":"failed to save","error":"write wal: no space left on device"}"#,
                "KHA3123",
            ),
            (
                KubeApiserver,
                "Error: unknown flag: --no-such-flag",
                "KHA3124",
            ),
            (
                Etcd,
                "flag provided but not defined: -no-such-flag",
                "KHA3124",
            ),
            (
                KubeApiserver,
                "Error: error creating storage factory: context deadline exceeded; dial tcp 127.0.0.1:2379: connect: connection refused",
                "KHA3125",
            ),
        ] {
            assert_eq!(
                code(component, "exit code 1", &["I1123 starting", line]).as_deref(),
                Some(wanted),
                "{line}"
            );
        }
    }

    #[test]
    fn who_has_the_port_is_named() {
        let line = "failed to listen on 127.0.0.1:10259: listen tcp 127.0.0.1:10259: bind: address already in use";
        assert_eq!(
            taken_address(line),
            Some("127.0.0.1:10259".parse().unwrap())
        );
        let json = r#"{"error":"listen tcp [::1]:2379: bind: address already in use"}"#;
        assert_eq!(taken_address(json), Some("[::1]:2379".parse().unwrap()));
        assert_eq!(taken_address("dial tcp 127.0.0.1:2379: refused"), None);
        let lines = [line.to_owned()];
        let cause = probable_cause(KubeScheduler, "exit code 1", &lines, Some("nc (pid 7)"));
        assert!(
            cause
                .unwrap()
                .text
                .starts_with("its port is taken by nc (pid 7): ")
        );
    }

    #[test]
    fn what_is_not_understood_has_no_cause() {
        assert_eq!(code(Etcd, "signal 9", &[]), None);
        assert_eq!(
            code(KubeApiserver, "exit code 255", &["panic: runtime error"]),
            None
        );
        let line = "dial tcp 127.0.0.1:2379: connect: connection refused";
        assert_eq!(code(Etcd, "exit code 1", &[line]), None);
    }

    #[test]
    fn the_newest_line_counts_and_how_it_ended_comes_last() {
        let lines = ["bind: address already in use", "unknown flag: --x"];
        assert_eq!(
            code(KubeApiserver, "exit code 1", &lines).as_deref(),
            Some("KHA3124")
        );
        let how = "could not be started: Permission denied (os error 13)";
        assert_eq!(code(Etcd, how, &[]).as_deref(), Some("KHA3127"));
    }

    #[test]
    fn a_long_line_is_cut() {
        let line = format!("unknown flag: --{}", "x".repeat(5_000));
        let cause = probable_cause(KubeApiserver, "exit code 1", &[line], None).unwrap();
        assert!(cause.text.chars().count() < 400);
    }
}
