//! A client that opens a fresh connection every 2 ms, sends a request on it and waits for the answer.
//!
//! It asks through, to the apiserver behind the address: a balancer takes connections also when there
//! is nobody behind it. The request is plain HTTP on a TLS port, which the apiserver answers at once with
//! one line; a TLS handshake would cost it more than everything that is measured. No try waits for another.
//!
//! It runs in a thread of this process inside the client's network, with real-time priority where the
//! machine gives it: a probe that is late measures itself.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, anyhow};
use khactl_lab::LabHost;
use khactl_lab::measure::{Sample, SampleKind, now_us};
use khactl_sys::realtime::{Permit, fifo_thread};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::network::HostNetwork;

/// Between two tries.
const EVERY: Duration = Duration::from_millis(2);

/// Longer than any answer on a switch; bounds how many tries are open at once.
const TIMEOUT: Duration = Duration::from_millis(300);

/// Above everything that has no real-time priority, below what the programs under test ask for.
const PRIORITY: i32 = 2;

const REQUEST: &[u8] = b"GET /livez HTTP/1.0\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/";

/// A running probe. Dropped, it ends.
#[derive(Debug)]
pub struct Probe {
    target: SocketAddr,
    samples: Arc<Mutex<Vec<Sample>>>,
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Probe {
    /// Begins to ask `target` from inside a host.
    pub fn start(from: &LabHost, target: SocketAddr) -> anyhow::Result<Self> {
        let network = HostNetwork::of(from)?;
        let samples = Arc::new(Mutex::new(Vec::new()));
        let ending = Arc::new(AtomicBool::new(false));
        let (told, over) = (Arc::clone(&samples), Arc::clone(&ending));
        let thread = thread::Builder::new()
            .name("probe".to_owned())
            .spawn(move || {
                network.enter()?;
                if let Permit::Refused(reason) = fifo_thread(PRIORITY) {
                    eprintln!("the probe of {target} may be late: {reason}");
                }
                tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .context("no runtime for the probe")?
                    .block_on(ask(target, &told, &over));
                Ok(())
            })
            .context("no thread for the probe")?;
        Ok(Self {
            target,
            samples,
            ending,
            thread: Some(thread),
        })
    }

    /// What it asks.
    pub fn target(&self) -> SocketAddr {
        self.target
    }

    /// The tries that ended so far and were not forgotten, in the order of their ends.
    pub fn samples(&self) -> Vec<Sample> {
        lock(&self.samples).clone()
    }

    /// Forgets what ended before this moment, in microseconds since boot.
    pub fn forget_before(&self, us: u64) {
        lock(&self.samples).retain(|sample| sample.done_us() >= us);
    }

    /// How many tries have succeeded without a failure after them, of those that began at this moment or
    /// later.
    pub fn successes_in_a_row(&self, from_us: u64) -> usize {
        lock(&self.samples)
            .iter()
            .rev()
            .filter(|sample| sample.at_us >= from_us)
            .take_while(|sample| sample.ok)
            .count()
    }

    /// An error if it has ended by itself.
    pub fn check(&mut self) -> anyhow::Result<()> {
        match self.thread.take_if(|thread| thread.is_finished()) {
            None => Ok(()),
            Some(ended) => match ended.join() {
                Ok(Ok(())) => Err(anyhow!("the probe of {} has ended", self.target)),
                Ok(Err(error)) => Err(error),
                Err(_said_already) => Err(anyhow!("the probe of {} panicked", self.target)),
            },
        }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Whatever it has to complain of, nobody listens any more.
            let _ = thread.join();
        }
    }
}

async fn ask(target: SocketAddr, samples: &Mutex<Vec<Sample>>, ending: &AtomicBool) {
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut tries = JoinSet::new();
    while !ending.load(Ordering::Relaxed) {
        tokio::select! {
            _ = tick.tick() => {
                tries.spawn(try_once(target));
            }
            // A try neither panics nor is it cancelled.
            Some(Ok(sample)) = tries.join_next() => lock(samples).push(sample),
        }
    }
}

async fn try_once(target: SocketAddr) -> Sample {
    let at_us = now_us();
    let error = match tokio::time::timeout(TIMEOUT, answered(target)).await {
        Ok(Ok(())) => String::new(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no answer".to_owned(),
    };
    Sample {
        kind: SampleKind::Connect,
        at_us,
        took_us: now_us().saturating_sub(at_us),
        ok: error.is_empty(),
        name: String::new(),
        error,
    }
}

async fn answered(target: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(target).await?;
    // Closed by a reset: no port of the client stays in TIME_WAIT.
    stream.set_zero_linger()?;
    stream.write_all(REQUEST).await?;
    let mut answer = [0; ANSWER.len()];
    stream.read_exact(&mut answer).await?;
    if answer == ANSWER {
        Ok(())
    } else {
        Err(std::io::Error::other("an answer that is not HTTP"))
    }
}

fn lock(samples: &Mutex<Vec<Sample>>) -> MutexGuard<'_, Vec<Sample>> {
    samples.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// One try at a server that gives this answer and closes.
    fn tried(answer: &'static [u8]) -> Sample {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let target = listener.local_addr().unwrap();
                let serve = async {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    let mut request = [0; REQUEST.len()];
                    stream.read_exact(&mut request).await.unwrap();
                    assert_eq!(request, REQUEST);
                    stream.write_all(answer).await.unwrap();
                };
                tokio::join!(try_once(target), serve).0
            })
    }

    #[test]
    fn only_a_try_that_was_answered_from_behind_the_address_succeeds() {
        assert!(tried(b"HTTP/1.0 400 Bad Request\r\n\r\n").ok);
        let closed = tried(b"");
        assert!(!closed.ok && !closed.error.is_empty());
        assert!(!tried(b"\x15\x03\x01\x00\x02").ok);
    }
}
