//! What kind of gate this host bears for the VIP's packets, for preflight: `khavip gate check` knows.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use khactl_proto::v1::{Finding, finding::Level};
use tokio::process::Command;

/// It loads a program into the kernel and starts `nft` at most.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Asks this host's khavip.
pub async fn finding(khavip: &Path) -> Finding {
    let asked = Command::new(khavip)
        .args(["gate", "check"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output();
    match tokio::time::timeout(TIMEOUT, asked).await {
        Ok(Ok(output)) if output.status.success() => {
            judge(String::from_utf8_lossy(&output.stdout).trim())
        }
        _ => weak(&format!("{} gate check gave no answer", khavip.display())),
    }
}

/// One line: "bpf", "nft: REASON", or "none: REASON".
fn judge(line: &str) -> Finding {
    match line.split_once(": ") {
        None if line == "bpf" => Finding {
            level: Level::Ok.into(),
            check: "fencing".into(),
            finding: "the kernel itself will hold the VIP's packets back after each lease".into(),
            ..Finding::default()
        },
        Some(("nft", reason)) => Finding {
            finding: format!(
                "fencing will be weaker than it could be: nftables count a timeout instead of a deadline, since {reason}"
            ),
            ..weak("")
        },
        Some(("none", reason)) => weak(reason),
        _ => weak(&format!("khavip said {line:?}")),
    }
}

fn weak(reason: &str) -> Finding {
    Finding {
        level: Level::Warning.into(),
        check: "fencing".into(),
        finding: format!(
            "fencing will be weak: no gate of the kernel would hold the VIP's packets back if khavip stood still: {reason}"
        ),
        cure: "run khad as root on Linux 5.8 or newer, or install nftables on Linux 5.16 or newer"
            .into(),
        code: "KHA1190".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_khavip_says_becomes_a_finding_with_its_reason() {
        let best = judge("bpf");
        assert_eq!((best.level(), best.code.as_str()), (Level::Ok, ""));
        for (line, expected) in [
            ("nft: no right", "since no right"),
            (
                "none: no right; and no nft",
                "stood still: no right; and no nft",
            ),
            ("", "khavip said \"\""),
        ] {
            let found = judge(line);
            assert_eq!(
                (found.level(), found.code.as_str()),
                (Level::Warning, "KHA1190")
            );
            assert!(found.finding.ends_with(expected), "{}", found.finding);
            assert!(!found.cure.is_empty());
        }
    }

    #[tokio::test]
    async fn a_khavip_that_does_not_answer_is_a_finding_too() {
        let found = finding(Path::new("/nonexistent/khavip")).await;
        assert!(
            found.finding.contains("gave no answer"),
            "{}",
            found.finding
        );
    }
}
