//! Connecting to the first backend that answers. The backends are asked one after another, but nobody waits long
//! for one: the next is asked when the first has refused, or has been silent for longer than usual (RFC 8305 does
//! so with addresses), and whoever answers first is taken. Sends no byte.
//!
//! ```text
//! first ──SYN──▶ · · · · · · · · · · · · · (a lost host says nothing)
//!            stagger │ second ──SYN──▶ answers ─▶ taken; the first is closed and suspected
//! ```

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use khactl_sys::clock::monotonic;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::backend::{Backend, Choice, Open};
use crate::listener::tune;

/// Many times what a connect takes within one network, and a small part of the patience of any client; a busy
/// host answers later now and then, which costs one connect too many.
const STAGGER_MIN: Duration = Duration::from_millis(25);

/// RFC 8305's recommended delay: nobody is worth waiting for longer while another one is there.
const STAGGER_MAX: Duration = Duration::from_millis(250);

/// By when the last one asked must have answered. The kernel repeats a lost SYN after one second and after three.
const PATIENCE: Duration = Duration::from_millis(3500);

/// A connection to a backend.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) stream: TcpStream,
    /// Changes when the connection is to end; watched from before the choice, so that a verdict
    /// that turned meanwhile is not missed.
    pub(crate) cut: watch::Receiver<u64>,
    /// Counts it, and knows its backend.
    pub(crate) open: Open,
}

/// One backend that was asked, and what came of it.
type Attempt = (usize, std::io::Result<Link>);

/// A connection to the first backend that answers; none if nobody does.
pub(crate) async fn dial(order: &[Choice]) -> Option<Link> {
    let mut attempts = FuturesUnordered::new();
    let mut silent: Vec<usize> = Vec::new();
    let mut not_asked = order.iter().enumerate();
    loop {
        let wait = match not_asked.next() {
            Some((index, choice)) => {
                attempts.push(attempt(index, choice));
                silent.push(index);
                stagger(choice.backend.connects.time())
            }
            None if attempts.is_empty() => return None,
            None => PATIENCE,
        };
        let wait = if not_asked.len() == 0 { PATIENCE } else { wait };
        tokio::select! {
            // An answer that came while this program was held up counts, however late it is read.
            biased;
            Some((index, result)) = attempts.next() => match result {
                Ok(link) => {
                    // Those asked later had less time: they have not lost.
                    for &earlier in silent.iter().filter(|&&asked| asked < index) {
                        let slower = &order[earlier].backend;
                        failed(slower, "another backend answered a connect sooner");
                    }
                    return Some(link);
                }
                Err(error) => {
                    silent.retain(|&asked| asked != index);
                    failed(&order[index].backend, &error.to_string());
                }
            },
            () = sleep(wait) => if not_asked.len() == 0 {
                for &asked in &silent {
                    failed(&order[asked].backend, "it did not answer a connect");
                }
                return None;
            },
        }
    }
}

/// How long a backend may be silent before the next one is asked too: a distant one longer than a near one.
fn stagger(usual: Duration) -> Duration {
    (usual * 3).clamp(STAGGER_MIN, STAGGER_MAX)
}

async fn attempt(index: usize, choice: &Choice) -> Attempt {
    let backend = &choice.backend;
    let open = Open::count(backend);
    let stream = connect(backend.address()).await;
    let link = stream.map(|(stream, took)| {
        backend.connects.took(took);
        backend.counters.total.fetch_add(1, Ordering::Relaxed);
        Link {
            stream,
            cut: choice.cut.clone(),
            open,
        }
    });
    (index, link)
}

async fn connect(address: SocketAddr) -> std::io::Result<(TcpStream, Duration)> {
    let began = monotonic();
    let stream = TcpStream::connect(address).await?;
    let took = monotonic().saturating_sub(began);
    tune(&stream)?;
    Ok((stream, took))
}

fn failed(backend: &Backend, why: &str) {
    backend
        .counters
        .connects_failed
        .fetch_add(1, Ordering::Relaxed);
    backend.suspect(why);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::net::TcpListener;

    use super::*;
    use crate::config::{BackendConfig, HealthConfig};

    #[tokio::test]
    async fn a_verdict_that_turns_between_the_choice_and_the_connect_is_not_missed() {
        let server = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let config = BackendConfig {
            host: "a".to_owned(),
            address: server.local_addr().expect("an address"),
            weight: 1,
            local: false,
            draining: false,
        };
        let backend = Arc::new(Backend::new(config, &HealthConfig::default()));
        let choice = Choice::of(&backend);
        backend.cut();
        let late = Choice::of(&backend);
        assert!(is_cut(choice).await);
        assert!(!is_cut(late).await);
    }

    /// Whether the connection that comes of a choice is to end at once.
    async fn is_cut(choice: Choice) -> bool {
        let link = dial(&[choice]).await.expect("it listens");
        link.cut.has_changed().expect("the backend lives")
    }

    #[test]
    fn a_distant_backend_is_waited_for_longer_than_a_near_one() {
        assert_eq!(stagger(Duration::ZERO), STAGGER_MIN);
        assert_eq!(stagger(Duration::from_micros(300)), STAGGER_MIN);
        assert_eq!(
            stagger(Duration::from_millis(40)),
            Duration::from_millis(120)
        );
        assert_eq!(stagger(Duration::from_secs(2)), STAGGER_MAX);
    }
}
