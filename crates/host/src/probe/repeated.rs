//! A probe that is asked again and again by one connection: a TLS handshake for every question would cost more than all
//! else that an idle agent does.
//!
//! A connection judges the process at its other end alone: make a new one of these for every process.

use std::time::Duration;

use super::line::Line;
use super::{Probe, Readiness};

/// A question to one process, with the connection that it was asked by the last time.
#[derive(Debug)]
pub struct RepeatedProbe {
    probe: Probe,
    kept: Option<Line>,
}

impl RepeatedProbe {
    /// Nobody is connected to yet.
    pub fn new(probe: Probe) -> Self {
        Self { probe, kept: None }
    }

    /// As [`Probe::run`]. After any failure the next question is asked by a new connection. A connection that broke is no
    /// failure yet: servers close what lies idle, so the question is asked once more by a new one, within the same time.
    pub async fn run(&mut self, timeout: Duration) -> Readiness {
        // Taken out, so that nothing is kept of a question whose time ended or that nobody waited for.
        let kept = self.kept.take().filter(|line| !line.is_worn());
        let (readiness, kept) = self.probe.run_by(kept, timeout).await;
        self.kept = kept;
        readiness
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::task::JoinSet;

    const PATIENCE: Duration = Duration::from_secs(20);
    const GOOD: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    const BAD: &str = "HTTP/1.1 500 Oh\r\ncontent-length: 2\r\n\r\nno";

    /// Gives these answers on each connection and closes it after the last; an empty one is silence. Counts connections.
    async fn server(
        answers: &'static [&'static str],
    ) -> (SocketAddr, Arc<AtomicUsize>, JoinSet<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listens");
        let address = listener.local_addr().expect("an address");
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = connections.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut each = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                each.spawn(serve(stream, answers));
            }
        });
        (address, connections, tasks)
    }

    async fn serve(mut stream: TcpStream, answers: &'static [&'static str]) {
        let mut request = [0; 1024];
        for answer in answers {
            if !matches!(stream.read(&mut request).await, Ok(1..)) {
                return;
            }
            if answer.is_empty() {
                std::future::pending::<()>().await;
            }
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    }

    #[tokio::test]
    async fn many_questions_are_asked_by_one_connection() {
        let (address, connections, _tasks) = server(&[GOOD; 8]).await;
        let mut probe = RepeatedProbe::new(Probe::http(address, "/readyz"));
        for _ in 0..8 {
            assert_eq!(probe.run(PATIENCE).await, Readiness::Ready);
        }
        assert_eq!(connections.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_connection_that_the_server_closed_is_no_failure() {
        let (address, connections, _tasks) = server(&[GOOD; 2]).await;
        let mut probe = RepeatedProbe::new(Probe::http(address, "/readyz"));
        for _ in 0..5 {
            assert_eq!(probe.run(PATIENCE).await, Readiness::Ready);
        }
        assert_eq!(connections.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn a_bad_answer_counts_at_once_and_the_next_question_is_asked_by_a_new_connection() {
        let (address, connections, _tasks) = server(&[GOOD, BAD, GOOD]).await;
        let mut probe = RepeatedProbe::new(Probe::http(address, "/readyz"));
        assert!(probe.run(PATIENCE).await.is_ready());
        assert!(!probe.run(PATIENCE).await.is_ready());
        assert_eq!(connections.load(Ordering::SeqCst), 1);
        assert!(probe.run(PATIENCE).await.is_ready());
        assert_eq!(connections.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_process_that_hangs_fails_by_the_kept_connection_and_is_asked_by_a_new_one_then() {
        let (address, connections, _tasks) = server(&[GOOD, ""]).await;
        let mut probe = RepeatedProbe::new(Probe::http(address, "/readyz"));
        assert!(probe.run(PATIENCE).await.is_ready());
        let answer = probe.run(Duration::from_millis(50)).await;
        let Readiness::NotReady { reason } = answer else {
            panic!("silence is not readiness");
        };
        assert!(reason.contains("within 50 ms"), "{reason}");
        assert!(probe.run(PATIENCE).await.is_ready());
        assert_eq!(connections.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_server_that_went_away_is_a_failure() {
        let (address, _connections, mut tasks) = server(&[GOOD; 8]).await;
        let mut probe = RepeatedProbe::new(Probe::http(address, "/readyz"));
        assert!(probe.run(PATIENCE).await.is_ready());
        tasks.shutdown().await;
        let Readiness::NotReady { reason } = probe.run(PATIENCE).await else {
            panic!("nobody is there");
        };
        assert!(reason.contains("connecting to"), "{reason}");
    }
}
