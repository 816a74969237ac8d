//! Tells who answered for the VIP, and whether two machines ever did at once.
//!
//! ```text
//!   observer: asks every host's own MAC for the VIP ──▶ bridge ──▶ hosts
//!   capture:  hears at the bridge's ports what hosts send ──▶ sightings ──▶ answers ──▶ overlaps
//! ```
//!
//! A frozen holder that nobody asks is silent; the observer makes it show itself. The capture hears a
//! frame once, where it enters the switch, so that what the switch forwards counts for nobody else;
//! cuts come after it, so that an answer that reaches nobody counts too. Both threads are real-time
//! where that is permitted, and the times are the kernel's.
//!
//! What it never does: ask a host how it sees things, or change anything on one.

mod answers;
mod filter;
mod observer;
mod question;
mod sighting;

use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use khactl_sys::capture::Capture;
use khactl_sys::realtime::{Permit, fifo_thread};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

pub use answers::{Answers, Overlap, Span};
pub use observer::{ASK_EVERY, SILENT_AFTER};
pub use sighting::{How, Mac, Sighting};

use crate::error::{LabError, Result};
use crate::host::LabHost;
use crate::lab::Lab;
use crate::layout::HostLayout;
use observer::Observer;

/// Above everything that is under test: an instrument that waits for its patient sees nothing.
const PRIORITY: i32 = 60;

/// Between two looks at whether the capture is to end.
const REST: Duration = Duration::from_millis(20);

/// Headers up to the last byte that tells anything, a neighbour advertisement's target.
const FRAME_LEN: usize = 128;

/// A running oracle. Dropped, it ends, and its observer leaves the switch.
#[derive(Debug)]
pub struct Oracle {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    realtime: Permit,
    observer: Observer,
}

/// What the threads leave for the reader.
#[derive(Debug, Default)]
struct Shared {
    ended: AtomicBool,
    answers: Mutex<Answers>,
    /// Why a thread could not go on.
    failure: Mutex<Option<String>>,
}

impl Oracle {
    /// Watches the lab's hosts for these VIPs from now on.
    pub fn start(lab: &Lab, vips: &[IpAddr]) -> Result<Self> {
        let observer = Observer::plug_in(lab)?;
        let mut oracle = Self {
            shared: Arc::new(Shared::default()),
            threads: Vec::new(),
            realtime: Permit::Granted,
            observer,
        };
        oracle.start_capture(&lab.switch().netns_file(), vips)?;
        let hosts: Vec<_> = lab.hosts().iter().map(LabHost::layout).collect();
        oracle.start_observer(&hosts, vips)?;
        Ok(oracle)
    }

    /// Who has answered so far. Fails if a thread could not go on, or if frames were lost: what was
    /// not seen cannot be judged.
    pub fn answers(&self) -> Result<Answers> {
        if let Some(failure) = lock(&self.shared.failure).clone() {
            return Err(LabError::Oracle { failure });
        }
        Ok(lock(&self.shared.answers).clone())
    }

    /// Whether its threads are real-time.
    pub fn realtime(&self) -> &Permit {
        &self.realtime
    }

    fn start_capture(&mut self, switch: &Path, vips: &[IpAddr]) -> Result<()> {
        let vips = vips.to_vec();
        self.start_thread("oracle-capture", switch, move |shared| {
            let capture = Capture::open(&filter::program(&vips))?;
            let bridge = index_of("br0")?;
            Ok(move || {
                while !shared.ended.load(Ordering::Relaxed) {
                    if capture.wait(REST)? {
                        hear(&capture, bridge, &vips, &shared.answers)?;
                    }
                }
                Ok(())
            })
        })
    }

    fn start_observer(&mut self, hosts: &[&HostLayout], vips: &[IpAddr]) -> Result<()> {
        let asked: Vec<Mac> = hosts
            .iter()
            .filter_map(|host| sighting::mac_of(&host.mac))
            .collect();
        let questions = self.observer.questions(&asked, vips);
        let netns = self.observer.netns_file();
        self.start_thread("oracle-observer", &netns, move |shared| {
            let socket = khactl_sys::packet::frame_socket(index_of("eth0")?)?;
            Ok(move || {
                while !shared.ended.load(Ordering::Relaxed) {
                    observer::ask(&socket, &questions)?;
                }
                Ok(())
            })
        })
    }

    /// Starts a thread in a namespace: `prepare` opens what it needs and gives what it then does.
    fn start_thread<L>(
        &mut self,
        name: &str,
        netns: &Path,
        prepare: impl FnOnce(Arc<Shared>) -> io::Result<L> + Send + 'static,
    ) -> Result<()>
    where
        L: FnOnce() -> io::Result<()>,
    {
        let namespace = File::open(netns).map_err(LabError::file("open", netns))?;
        let shared = Arc::clone(&self.shared);
        let (prepared, ready) = mpsc::channel();
        let body = move || {
            let entered =
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                    .map_err(io::Error::from)
                    .and_then(|()| prepare(Arc::clone(&shared)));
            let live = match entered {
                Ok(live) => live,
                Err(error) => {
                    // The starter waits for this; it is there.
                    let _ = prepared.send(Err(error));
                    return;
                }
            };
            let _ = prepared.send(Ok(fifo_thread(PRIORITY)));
            if let Err(error) = live() {
                *lock(&shared.failure) = Some(error.to_string());
            }
        };
        let failed = |source| LabError::OracleStart {
            thread: name.to_owned(),
            source,
        };
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(body)
            .map_err(failed)?;
        self.threads.push(thread);
        let ended = || io::Error::other("the thread ended");
        self.realtime = ready.recv().map_err(|_| failed(ended()))?.map_err(failed)?;
        Ok(())
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // One that panicked has said so.
            let _ = thread.join();
        }
    }
}

/// Takes in what there is.
fn hear(
    capture: &Capture,
    bridge: u32,
    vips: &[IpAddr],
    answers: &Mutex<Answers>,
) -> io::Result<()> {
    let mut frame = [0; FRAME_LEN];
    loop {
        let heard = match capture.next(&mut frame) {
            Ok(Some(heard)) => heard,
            Ok(None) => break,
            // A port went down, as it does with every power cut.
            Err(error) if error.raw_os_error() == Some(NETWORK_DOWN) => continue,
            Err(error) => return Err(error),
        };
        // What the bridge itself is given came in by a port before.
        if heard.interface == bridge {
            continue;
        }
        if let Some(seen) = Sighting::read(&frame[..heard.len], heard.at, vips) {
            lock(answers).saw(&seen);
        }
    }
    match capture.dropped()? {
        0 => Ok(()),
        dropped => Err(io::Error::other(format!(
            "{dropped} frames came faster than they were read"
        ))),
    }
}

/// ENETDOWN
const NETWORK_DOWN: i32 = rustix::io::Errno::NETDOWN.raw_os_error();

/// The number of an interface in the calling thread's namespace.
fn index_of(name: &str) -> io::Result<u32> {
    khactl_sys::interfaces::list()?
        .into_iter()
        .find(|interface| interface.name == name)
        .map(|interface| interface.index)
        .ok_or_else(|| io::Error::other(format!("there is no {name}")))
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
