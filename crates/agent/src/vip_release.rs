//! Gives up, for a khavip that is proven dead, what it held: the gate is closed, the address removed and the lease
//! released, so that the others need not wait it out (docs/lease.md, K1 to K5). The one-shot `khavip release` does it.

use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// The one-shot sends a few datagrams and some netlink requests.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Runs `khavip release` with the encoded feed that says who the others are. It needs not be the one that the dead
/// process worked with: a release names the ballot that the record in `run_dir` has, and no other.
///
/// # Errors
/// The one-shot could not be run, or it failed: then nothing was released, and the lease runs out.
pub async fn release_dead(khavip: &Path, run_dir: &Path, feed: &[u8]) -> io::Result<()> {
    let mut child = Command::new(khavip)
        .arg("release")
        .arg("--run-dir")
        .arg(run_dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let stdin = child.stdin.take();
    // One that stands still before it reads takes no more than a pipe holds.
    let ended = async {
        if let Some(mut stdin) = stdin {
            stdin.write_all(feed).await?;
        }
        child.wait().await
    };
    match tokio::time::timeout(TIMEOUT, ended).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(io::Error::other(format!("it ended with {status}"))),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(io::Error::other("it did not end in time")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[tokio::test]
    async fn a_one_shot_that_reads_nothing_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("khavip");
        std::fs::write(&program, "#!/bin/sh\nexec sleep 60\n").unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        // More than a pipe holds.
        let feed = vec![0; 1 << 20];
        let error = release_dead(&program, folder.path(), &feed)
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), "it did not end in time");
    }
}
