//! The other threads' end of the lease thread: feeds it, asks it, ends it. It never steps the machine.

use std::io;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use khactl_lease::RecordBinding;

use super::clock::slept_ns;
use super::command::{Commands, HandOver};
use super::contact_file::ContactFile;
use super::feed::Prepared;
use super::record_file::RecordFile;
use super::status::Board;
use super::thread::{Parts, live};
use super::{Feed, LeaseConfig, LeaseStatus, VipPort};
use crate::fence::FencedProcess;

/// Dropped when the thread ends, however it does. Nothing is ever sent.
struct Ending {
    board: Arc<Board>,
    _sender: SyncSender<()>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.board.fail("its thread panicked".to_owned());
        }
    }
}

/// What is older is told anew.
const STALE: u64 = 50_000_000;

/// The running lease thread. Dropping it makes the thread hand over and end, without waiting for it.
pub struct LeaseHandle {
    host: u64,
    commands: Arc<Commands>,
    board: Arc<Board>,
    thread: Option<std::thread::JoinHandle<()>>,
    ended: Receiver<()>,
}

/// What the rest of the address's care needs of the lease thread.
#[derive(Clone)]
pub struct Announcer {
    commands: Arc<Commands>,
    board: Arc<Board>,
    host: u64,
}

/// Somebody lets this host's clients go: a hand-over that is wished for waits until this is dropped, but no longer than a
/// few milliseconds.
#[must_use = "a hand-over waits for its drop"]
pub struct Farewell {
    commands: Arc<Commands>,
    number: u64,
}

/// Starts the lease thread: locks the record, binds the socket, closes the gate and removes a leftover address.
///
/// Fails with [`io::ErrorKind::WouldBlock`] if another process of this host has the record (P10), or with the error of
/// opening the record or binding the socket. The thread takes part once it is fed, and tries to hold once it is fit.
pub fn spawn(config: LeaseConfig, port: Box<dyn VipPort>) -> io::Result<LeaseHandle> {
    let binding = RecordBinding {
        boot_id: config.boot_id,
        cluster: config.cluster,
        host: config.host_id,
    };
    let (record_file, record) = RecordFile::open(&config.record, binding, slept_ns())?;
    // After the record's lock: it has one writer.
    let contact_path = config.record.with_extension("contact");
    let (contact_file, contact) = ContactFile::open(&contact_path, binding)?;
    let socket = UdpSocket::bind(config.bind)?;
    socket.set_nonblocking(true)?;
    let commands = Arc::new(Commands::new()?);
    let board = Arc::new(Board::default());
    let host = config.host_id;
    let parts = Parts {
        config,
        port,
        socket,
        record_file,
        record,
        contact_file,
        contact,
        commands: commands.clone(),
        board: board.clone(),
        incarnation: khactl_sys::entropy::seed()? | 1,
        seed: khactl_sys::entropy::seed()?,
    };
    let (sender, ended) = sync_channel(1);
    let ending = Ending {
        board: board.clone(),
        _sender: sender,
    };
    let thread = std::thread::Builder::new()
        .name("lease".to_owned())
        .spawn(move || {
            let _ending = ending;
            live(parts);
        })?;
    Ok(LeaseHandle {
        host,
        commands,
        board,
        thread: Some(thread),
        ended,
    })
}

impl LeaseHandle {
    /// Tells who takes part (A9, P6). One that cannot be is ignored, and `refused_feed` of the status says why.
    pub fn feed(&self, feed: Feed) {
        let prepared = Prepared::try_from(feed);
        self.board
            .refuse_feed(prepared.as_ref().err().map(ToString::to_string));
        if let Ok(prepared) = prepared {
            self.commands
                .wish(|wishes| wishes.feed = Some(Box::new(prepared)));
        }
    }

    /// Tells whether this host can serve. It cannot until told; a holder that cannot stays the holder.
    pub fn fit(&self, fit: bool) {
        self.commands.wish(|wishes| wishes.fit = Some(fit));
    }

    /// Which processes of this host end when no majority answers (docs/fence.md): these, and no others any more.
    pub(crate) fn fence(&self, processes: Box<[FencedProcess]>) {
        self.commands.wish(|wishes| wishes.fenced = Some(processes));
    }

    /// To be taken before a hand-over or [`Self::shutdown`], and dropped when the clients have been told.
    pub fn farewell(&self) -> Farewell {
        Farewell {
            number: self.commands.begin_farewell(),
            commands: self.commands.clone(),
        }
    }

    /// Gives the lease away (P9) if this host holds it: to `successor`, or to whoever is first.
    pub fn hand_over(&self, successor: Option<u64>) {
        self.commands
            .wish(|wishes| wishes.hand_over = Some(HandOver { successor }));
    }

    /// For whoever notices that the address should be announced again.
    pub fn announcer(&self) -> Announcer {
        Announcer {
            commands: self.commands.clone(),
            board: self.board.clone(),
            host: self.host,
        }
    }

    /// The lease as this host sees it now. A thread that has told nothing for a while, since nothing happened, is woken to
    /// tell it to the next one who asks.
    pub fn status(&self) -> LeaseStatus {
        let status = self.board.read();
        if status.read_boottime_ns > status.told_boottime_ns.saturating_add(STALE) {
            self.commands.wish(|_| {});
        }
        status
    }

    /// Hands over (P9) and ends the thread. False if it did not end within `deadline`; its gate's deadline then ends
    /// what it holds.
    pub fn shutdown(mut self, deadline: Duration) -> bool {
        self.commands.wish(|wishes| wishes.end = true);
        // Nothing is ever sent: the channel closes when the thread ends.
        let ended = self.ended.recv_timeout(deadline)
            == Err(std::sync::mpsc::RecvTimeoutError::Disconnected);
        if ended && let Some(thread) = self.thread.take() {
            // A panic of the thread was reported when it happened.
            let _panicked = thread.join();
        }
        ended
    }
}

impl Drop for Farewell {
    fn drop(&mut self) {
        self.commands.end_farewell(self.number);
    }
}

impl Announcer {
    /// Something happened on the link. The lease thread announces again if this host holds, and not too often.
    pub fn announce(&self) {
        self.commands.wish(|wishes| wishes.announce = true);
    }

    /// The other member that holds the lease now, as far as this host knows.
    pub fn other_holder(&self) -> Option<u64> {
        let holder = self.board.read().holder;
        holder.filter(|holder| *holder != self.host)
    }
}

impl Drop for LeaseHandle {
    fn drop(&mut self) {
        self.commands.wish(|wishes| wishes.end = true);
    }
}
