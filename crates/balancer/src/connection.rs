//! One client's connection, from the choice of its backend to its end. Passes bytes through and keeps none that
//! were answered.
//!
//! ```text
//! accepted ─▶ dial ─▶ opening ──first byte of the backend──▶ relay ─▶ closed
//!              │ ▲       │ ended or silent, and what the client        │ backend or listener cut
//!              │ └───────┘ said may be repeated: the next backend      │
//!              └─nobody answers──▶ reset ◀─────────────────────────────┘
//! ```

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use khactl_sys::clock::monotonic;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::backend::Backend;
use crate::balancer::Shared;
use crate::dial::{Link, dial};
use crate::past::Past;
use crate::relay::relay;
use crate::said::Said;
use crate::scout::{Scout, look_after};
use crate::silence::Silence;

/// A client that has said something and hears nothing for so long makes its backend a suspect; a handshake takes
/// milliseconds. If all are slow, all are suspects, and that is as if none were.
const SLOW: Duration = Duration::from_millis(250);

/// How long after the connection was made its loss is its backend's end rather than an answer to its silence:
/// a server ends clients that say nothing, but not so soon.
const UNANSWERED_MAX: Duration = Duration::from_secs(3);

/// Bytes asked for at a time while the connection opens: a greeting takes less.
const GREETING_BYTES: usize = 2048;

/// A client that was accepted.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    /// Its own address.
    pub(crate) address: SocketAddr,
    /// The listener that it came by, as configured.
    pub(crate) listener: SocketAddr,
    /// Changes when those who came by that address are to go. The last field, dropped after the stream: when nobody
    /// watches any more, every stream is closed.
    pub(crate) cut: watch::Receiver<u64>,
}

/// How the opening of a connection ended.
#[derive(Debug)]
enum Opened {
    /// The backend has answered, so long after it was asked if that is known: from now on bytes only pass.
    Answered(Option<Duration>),
    /// The same before it has.
    Passing,
    /// The backend ended it in order before it said anything.
    Ended,
    /// It broke, or its backend was to be left, before the backend said anything.
    Lost,
    /// The backend says nothing to anybody, and another one may: this client is the first to look, or follows one that was.
    Left(Option<Scout>),
    /// The client broke it off, or its address leaves this host.
    Cut,
    /// The client has been silent for too long, or too many are.
    Silent,
}

/// Serves one client until either side is done.
pub(crate) async fn serve(shared: Arc<Shared>, mut client: Client) {
    let mut silence = Some(shared.await_first_word());
    let mut said = Said::default();
    let mut past = Past::default();
    loop {
        let order = shared.order(&client, &past);
        // In boxes of their own: a connection that lies idle for hours keeps no room for how it began.
        let link = tokio::select! {
            biased;
            _ = client.cut.changed() => None,
            link = Box::pin(dial(&order)) => link,
        };
        let Some(mut link) = link else {
            reset(&client.stream);
            return;
        };
        drop(order);
        let began = monotonic();
        let told = shared.tell_of(&client, &link.stream);
        let opening = Opening {
            client: &client.stream,
            link: &mut link,
            said: &mut said,
            silence: &mut silence,
            past: &past,
            shared: &shared,
        };
        let opened = if told {
            Box::pin(opening.run(&mut client.cut)).await
        } else {
            Opened::Lost
        };
        match opened {
            Opened::Answered(took) => {
                if let Some(took) = took {
                    past.end(link.open.backend(), took);
                } else {
                    drop(past);
                }
                break pass(client, link, said).await;
            }
            Opened::Passing => {
                drop(past);
                break pass(client, link, said).await;
            }
            Opened::Left(scout) => {
                let backend = link.open.backend();
                backend.counters.unanswered.fetch_add(1, Ordering::Relaxed);
                past.pass_by(backend, scout);
                said.passed = 0;
                reset(&link.stream);
            }
            Opened::Cut | Opened::Silent => {
                reset(&client.stream);
                reset(&link.stream);
                return;
            }
            Opened::Ended | Opened::Lost => {
                // A client that is left with this learns of it as if it were connected itself.
                let give_up = || {
                    if matches!(opened, Opened::Lost) {
                        reset(&client.stream);
                    }
                };
                let backend = link.open.backend();
                backend.counters.unanswered.fetch_add(1, Ordering::Relaxed);
                if monotonic().saturating_sub(began) >= UNANSWERED_MAX {
                    give_up();
                    return;
                }
                backend.suspect("a connection to it ended unanswered");
                if !said.may_be_repeated(shared.backends_speak_tls()) {
                    give_up();
                    return;
                }
                past.fail(backend);
                said.passed = 0;
            }
        }
    }
}

/// A connection until the backend has said something, or the client so much that it is not kept.
struct Opening<'a> {
    client: &'a TcpStream,
    link: &'a mut Link,
    said: &'a mut Said,
    silence: &'a mut Option<Silence>,
    past: &'a Past,
    shared: &'a Shared,
}

impl Opening<'_> {
    async fn run(self, listener_cut: &mut watch::Receiver<u64>) -> Opened {
        let Self {
            client,
            link,
            said,
            silence,
            past,
            shared,
        } = self;
        let (stream, cut, backend) = (&link.stream, &mut link.cut, link.open.backend());
        let mut waiting: Option<Waiting> = None;
        let mut look = pin!(sleep(SLOW));
        let mut doubted = false;
        let mut first = [0; 1];
        loop {
            tokio::select! {
                biased;
                answer = stream.peek(&mut first) => match answer {
                    Ok(0) => return Opened::Ended,
                    Err(_) => return Opened::Lost,
                    Ok(_) => {
                        backend.answered();
                        *silence = None;
                        let took = waiting.map(|waiting| waiting.time(monotonic()));
                        if let Some(took) = took {
                            backend.answers.took(took);
                        }
                        return Opened::Answered(took);
                    }
                },
                _ = cut.changed() => {
                    reset(stream);
                    return Opened::Lost;
                }
                _ = listener_cut.changed() => return Opened::Cut,
                step = advance(client, stream, said) => {
                    *silence = None;
                    match step {
                        Step::Heard if said.room() == 0 => return Opened::Passing,
                        Step::Heard => {}
                        Step::Passed => {
                            let begins = Waiting::begin(backend, monotonic());
                            look.set(sleep(begins.look_after));
                            waiting = Some(begins);
                        }
                        Step::ClientDone => return Opened::Passing,
                        Step::ClientGone => return Opened::Cut,
                        Step::BackendGone => return Opened::Lost,
                    }
                }
                () = Silence::over(silence.as_mut()) => return Opened::Silent,
                () = &mut look, if waiting.is_some() => {
                    let Some(waits) = &mut waiting else { continue };
                    let now = monotonic();
                    let speak_tls = shared.backends_speak_tls();
                    let may_leave = said.asks()
                        && said.may_be_repeated(speak_tls)
                        && !past.has_passed_by(backend);
                    if may_leave
                        && shared.another_is_well(backend, past)
                        && let Some(leaving) = waits.leave(backend, now)
                    {
                        return leaving;
                    }
                    let rest = SLOW.saturating_sub(waits.time(now));
                    if rest.is_zero() {
                        // Half a greeting is waited for by the best of them.
                        if !doubted && (said.asks() || !speak_tls) {
                            doubted = true;
                            backend.suspect("a client's first words are not answered");
                        }
                        if may_leave {
                            look.set(sleep(SLOW));
                        } else {
                            waiting = None;
                        }
                        continue;
                    }
                    look.set(sleep(if may_leave { waits.look_after.min(rest) } else { rest }));
                }
            }
        }
    }
}

/// A client whose words have been passed on, until they are answered.
struct Waiting {
    since: Duration,
    /// What its backend had said to anybody when it was last looked at.
    heard: u64,
    look_after: Duration,
}

impl Waiting {
    fn begin(backend: &Backend, now: Duration) -> Self {
        Self {
            since: now,
            heard: backend.heard(),
            look_after: look_after(backend.connects.time(), backend.answers.time()),
        }
    }

    fn time(&self, now: Duration) -> Duration {
        now.saturating_sub(self.since)
    }

    /// Whether the client leaves a backend that has said nothing to anybody since the last look.
    fn leave(&mut self, backend: &Arc<Backend>, now: Duration) -> Option<Opened> {
        let heard = backend.heard();
        if heard != self.heard {
            self.heard = heard;
            return None;
        }
        if backend.is_suspect() {
            return Some(Opened::Left(None));
        }
        if !backend.takes_scout(now) {
            return None;
        }
        // It takes at least so long: who always does is looked after later.
        let waited = self.time(now);
        backend.answers.took(waited);
        Some(Opened::Left(Some(Scout::new(backend, heard, waited))))
    }
}

/// What came of one step of the client's first words on their way.
enum Step {
    Heard,
    Passed,
    /// It will say no more, but hear.
    ClientDone,
    ClientGone,
    BackendGone,
}

/// Passes on what the client said, or else hears more of it; cancelled, it has done nothing.
async fn advance(client: &TcpStream, backend: &TcpStream, said: &mut Said) -> Step {
    if said.rest().is_empty() {
        return match hear(client, said).await {
            Ok(0) => Step::ClientDone,
            Err(_) => Step::ClientGone,
            Ok(_) => Step::Heard,
        };
    }
    match pass_rest(backend, said).await {
        Ok(()) => Step::Passed,
        Err(_) => Step::BackendGone,
    }
}

async fn pass_rest(backend: &TcpStream, said: &mut Said) -> io::Result<()> {
    loop {
        match backend.try_write(said.rest()) {
            Ok(written) => {
                said.passed += written;
                return Ok(());
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => backend.writable().await?,
            Err(error) => return Err(error),
        }
    }
}

async fn hear(client: &TcpStream, said: &mut Said) -> io::Result<usize> {
    loop {
        client.readable().await?;
        let room = said.room().min(GREETING_BYTES);
        said.bytes.reserve_exact(room);
        match client.try_read_buf(&mut said.bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            heard => return heard,
        }
    }
}

/// From the backend's first byte to the end.
async fn pass(mut client: Client, mut link: Link, mut said: Said) {
    let counters = &link.open.backend().counters;
    counters
        .bytes_to_backend
        .fetch_add(said.passed as u64, Ordering::Relaxed);
    let rest = said.bytes.split_off(said.passed);
    drop(said);
    let in_order = tokio::select! {
        ended = relay(&mut client.stream, &mut link.stream, rest, counters) => ended.is_ok(),
        _ = link.cut.changed() => false,
        _ = client.cut.changed() => false,
    };
    // What breaks on one side breaks on the other: half an answer must not pass for a whole one. And a connection
    // to a backend that this side ends in order keeps its port for a minute, of which there are 28,000.
    if !in_order {
        reset(&client.stream);
        reset(&link.stream);
    }
}

/// Makes the close that follows a reset, so that the peer learns at once.
fn reset(stream: &TcpStream) {
    // Fails only if the socket is dead already.
    let _dead = stream.set_zero_linger();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{BackendConfig, HealthConfig};

    const NOW: Duration = Duration::from_secs(5);
    const LATER: Duration = Duration::from_millis(5_010);

    fn backend() -> Arc<Backend> {
        let config = BackendConfig {
            host: "a".to_owned(),
            address: SocketAddr::from(([127, 0, 0, 1], 6443)),
            weight: 1,
            local: false,
            draining: false,
        };
        Arc::new(Backend::new(config, &HealthConfig::default()))
    }

    #[test]
    fn a_backend_that_speaks_to_anybody_keeps_its_clients() {
        let backend = backend();
        let mut waiting = Waiting::begin(&backend, NOW);
        for _ in 0..3 {
            backend
                .counters
                .bytes_to_client
                .fetch_add(1, Ordering::Relaxed);
            assert!(waiting.leave(&backend, LATER).is_none());
        }
        assert!(waiting.leave(&backend, LATER).is_some());
    }

    #[test]
    fn of_those_who_wait_one_goes_first_and_the_others_follow_if_he_is_answered() {
        let backend = backend();
        let mut first = Waiting::begin(&backend, NOW);
        let mut second = Waiting::begin(&backend, NOW);
        let Some(Opened::Left(Some(scout))) = first.leave(&backend, LATER) else {
            panic!("nobody goes");
        };
        assert!(second.leave(&backend, LATER).is_none());
        scout.was_answered(&self::backend(), Duration::ZERO);
        let Some(Opened::Left(None)) = second.leave(&backend, LATER) else {
            panic!("the second one does not follow");
        };
    }

    fn scout_of(backend: &Arc<Backend>) -> Scout {
        match Waiting::begin(backend, NOW).leave(backend, LATER) {
            Some(Opened::Left(Some(scout))) => scout,
            other => panic!("nobody goes: {other:?}"),
        }
    }

    #[test]
    fn a_backend_that_spoke_while_its_scout_was_away_is_no_suspect() {
        let backend = backend();
        let scout = scout_of(&backend);
        backend
            .counters
            .bytes_to_client
            .fetch_add(1, Ordering::Relaxed);
        scout.was_answered(&self::backend(), Duration::ZERO);
        assert!(!backend.is_suspect());
    }

    #[test]
    fn a_backend_is_no_suspect_for_its_own_answer_nor_for_one_that_took_as_long() {
        let backend = backend();
        scout_of(&backend).was_answered(&backend, Duration::ZERO);
        assert!(!backend.is_suspect());
        let other = self::backend();
        scout_of(&other).was_answered(&self::backend(), Duration::from_secs(1));
        assert!(!other.is_suspect());
    }
}
