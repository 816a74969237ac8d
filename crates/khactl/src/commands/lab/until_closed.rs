//! The end of a measurement: its standard input closes.

use tokio::io::AsyncReadExt;

/// Returns when standard input is closed; what comes before is skipped.
pub(super) async fn until_closed() {
    let mut stdin = tokio::io::stdin();
    let mut skipped = [0; 64];
    while stdin.read(&mut skipped).await.is_ok_and(|read| read > 0) {}
}
