//! The loop: wait for a datagram, a wish or the time; step the machine; carry its effects out in their order.
//!
//! It decides nothing, and after its start it logs nothing: a full pipe would hold it up.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use khactl_lease::{
    DATAGRAM_LEN, Datagram, Effect, Effects, Identity, Input, Lease, Message, Record, Replay,
    encode,
};
use khactl_sys::realtime::{Permit, fifo_thread, lock_memory};
use rustix::event::{PollFd, PollFlags, poll};

use super::burst::Burst;
use super::clock::{Watch, boottime_ns};
use super::command::Commands;
use super::contact_file::ContactFile;
use super::feed::Prepared;
use super::fencing::Fencing;
use super::judge::judge;
use super::observation::Observation;
use super::parting::{Leaving, Parting};
use super::record_file::RecordFile;
use super::status::{Board, Counters, Snapshot};
use super::timer::Timer;
use super::unclosed::{AGAIN, Unclosed};
use super::{LeaseConfig, VipPort};
use crate::fence::Fence;

/// Above ordinary threads, below the kernel's own.
const PRIORITY: i32 = 50;

/// How many datagrams are taken before time and wishes are looked at again.
const BATCH: usize = 64;

/// When a snapshot could not be left because somebody was reading one.
const PUBLISH_AGAIN: u64 = 1_000_000;

/// What the thread is made of.
pub(super) struct Parts {
    pub(super) config: LeaseConfig,
    pub(super) port: Box<dyn VipPort>,
    pub(super) socket: UdpSocket,
    pub(super) record_file: RecordFile,
    pub(super) record: Option<Record>,
    pub(super) contact_file: ContactFile,
    /// What was in it.
    pub(super) contact: u64,
    pub(super) commands: Arc<Commands>,
    pub(super) board: Arc<Board>,
    pub(super) incarnation: u64,
    pub(super) seed: u64,
}

struct Worker {
    host: u64,
    cluster: [u8; 16],
    incarnation: u64,
    counter: u64,
    port: Box<dyn VipPort>,
    socket: UdpSocket,
    record_file: RecordFile,
    feed: Option<Box<Prepared>>,
    replay: Replay,
    watch: Watch,
    counters: Counters,
    observation: Observation,
    burst: Burst,
    open_until: u64,
    unclosed: Unclosed,
    parting: Parting,
    fencing: Fencing,
}

/// Runs until told to end or until the record or the timer fail; both ends close the gate and remove the address. One that
/// was not told to end also kills what it guards.
pub(super) fn live(parts: Parts) {
    let Parts {
        config,
        port,
        socket,
        record_file,
        record,
        contact_file,
        contact,
        commands,
        board,
        incarnation,
        seed,
    } = parts;
    let realtime = permit(fifo_thread(PRIORITY), &board);
    let locked = permit(lock_memory(), &board);
    // Of before a sleep if the record is: then the first step begins with a jump, also when nobody was there to see it.
    let watch = Watch::start(record_file.slept());
    let mut worker = Worker {
        host: config.host_id,
        cluster: config.cluster,
        incarnation,
        counter: 0,
        port,
        socket,
        record_file,
        feed: None,
        replay: Replay::default(),
        watch,
        counters: Counters::default(),
        observation: Observation::new(boottime_ns()),
        burst: Burst::default(),
        open_until: 0,
        unclosed: Unclosed::inherited(boottime_ns()),
        parting: Parting::default(),
        fencing: Fencing::new(
            Fence::new(config.host_id, incarnation, contact),
            contact_file,
        ),
    };
    let identity = Identity {
        host: config.host_id,
        incarnation,
        seed,
    };
    let snapshot = Snapshot {
        realtime,
        locked,
        ..Snapshot::default()
    };
    if let Err((action, error)) = worker.run(identity, record.as_ref(), &commands, &board, snapshot)
    {
        worker.close();
        worker.port.remove_address();
        worker.fencing.give_up();
        board.fail(format!("the lease could not {action}: {error}"));
    }
    worker.leave_closed();
}

fn permit(permit: Permit, board: &Board) -> bool {
    let granted = permit.is_granted();
    if let Permit::Refused(reason) = permit {
        tracing::warn!(%reason, "the lease runs with less than it asks for");
        board.deny(reason);
    }
    granted
}

type Fatal = (&'static str, io::Error);

impl Worker {
    fn run(
        &mut self,
        identity: Identity,
        record: Option<&Record>,
        commands: &Commands,
        board: &Board,
        mut snapshot: Snapshot,
    ) -> Result<(), Fatal> {
        let mut effects = Effects::new();
        let timer = Timer::new().map_err(|error| ("make its timer", error))?;
        let mut lease = Lease::start(identity, boottime_ns(), record, &mut effects);
        self.carry_out(&mut lease, &effects, None)?;
        loop {
            let view = lease.view(boottime_ns());
            self.counters
                .count_change(snapshot.view.holding, view.holding);
            (snapshot.view, snapshot.counters) = (view, self.counters);
            let now = boottime_ns();
            (snapshot.told, snapshot.summary) = (now, self.observation.summary(now));
            snapshot.fencing = self.fencing.tell();
            let published = board.publish(&snapshot);
            let wake = lease.wake().min(self.burst.next()).min(self.parting.next());
            let mut wake = wake.min(self.unclosed.next()).min(self.fencing.wake());
            if !published {
                wake = wake.min(now + PUBLISH_AGAIN);
            }
            timer.set(wake).map_err(|error| ("set its timer", error))?;
            let rang = self
                .wait(commands, &timer)
                .map_err(|error| ("wait", error))?;
            // One that was set to the past says nothing about how the thread is scheduled.
            if rang && wake > now {
                self.observation.woke(wake, boottime_ns());
            }
            // Time first: what has run out is over, whatever arrived meanwhile.
            self.fencing.enforce();
            self.step(&mut lease, Input::Tick, None, &mut effects)?;
            for _ in 0..BATCH {
                let Some((datagram, from)) = self.receive() else {
                    break;
                };
                let Datagram {
                    sender,
                    incarnation,
                    message,
                    ..
                } = datagram;
                self.notice(sender, &message);
                self.step(
                    &mut lease,
                    Input::Datagram {
                        sender,
                        incarnation,
                        message,
                    },
                    Some(from),
                    &mut effects,
                )?;
            }
            let wishes = commands.take();
            let leaving = wishes.leaving();
            if let Some(feed) = wishes.feed {
                let Prepared {
                    configuration,
                    timing,
                    confirmed,
                    ..
                } = *feed;
                self.observation.watch(&configuration, self.host);
                self.fencing.feed(configuration, confirmed);
                self.feed = Some(feed);
                self.step(
                    &mut lease,
                    Input::Feed {
                        configuration,
                        timing,
                        confirmed,
                    },
                    None,
                    &mut effects,
                )?;
            }
            if let Some(fenced) = wishes.fenced {
                self.fencing.guard(fenced);
            }
            if wishes.announce {
                self.burst.ask(boottime_ns());
            }
            if let Some(fit) = wishes.fit {
                self.step(
                    &mut lease,
                    Input::Fit { fit, handicap: 0 },
                    None,
                    &mut effects,
                )?;
            }
            let now = boottime_ns();
            if let Some(leaving) = leaving {
                self.parting.wish(leaving, now);
            }
            let holding = lease.view(now).holding;
            if let Some(leaving) = self.parting.due(holding, commands.in_farewell(), now) {
                self.leave(&mut lease, leaving, &mut effects)?;
                if leaving.end {
                    snapshot.view = lease.view(boottime_ns());
                    board.publish(&snapshot);
                    return Ok(());
                }
            }
            self.announce_again();
            self.close_again();
            self.ask_for_fence();
        }
    }

    /// P9. Who ends does not try to take it again in between.
    fn leave(
        &mut self,
        lease: &mut Lease,
        leaving: Leaving,
        effects: &mut Effects,
    ) -> Result<(), Fatal> {
        if leaving.end {
            let (fit, handicap) = (false, 0);
            self.step(lease, Input::Fit { fit, handicap }, None, effects)?;
        }
        let successor = leaving.successor;
        self.step(lease, Input::HandOver { successor }, None, effects)
    }

    /// Asks every other member what changes nothing, if it is time to.
    fn ask_for_fence(&mut self) {
        let Some(seq) = self.fencing.ask() else {
            return;
        };
        let Some(configuration) = self.feed.as_ref().map(|feed| feed.configuration) else {
            return;
        };
        for member in configuration.members() {
            let to = self.feed.as_ref().and_then(|feed| feed.address(member.id));
            if let Some(to) = to.filter(|_| member.id != self.host) {
                self.send(to, Message::Query { seq });
            }
        }
    }

    /// A peer that comes back may be one of a part of the network that was cut off, where others have answered for the
    /// address meanwhile; a holder hears each of its peers many times within a lease time.
    fn notice(&mut self, sender: u64, message: &Message) {
        let now = boottime_ns();
        let silence = self.observation.heard(sender, message, now);
        if let Message::State { seq, .. } = *message {
            self.fencing.answered(sender, seq, now);
        }
        let lease_ns = self
            .feed
            .as_ref()
            .map_or(u64::MAX, |feed| feed.timing.lease());
        if now < self.open_until && silence >= lease_ns {
            self.burst.ask(now);
        }
    }

    /// What is said outside the lease's own bursts, and only while the gate is open.
    fn announce_again(&mut self) {
        let now = boottime_ns();
        if now >= self.open_until {
            self.burst.stop();
        } else if self.burst.take(now) {
            self.port.announce();
        }
    }

    fn close(&mut self) {
        let closed = self.port.open(0).is_ok();
        let open_until = std::mem::take(&mut self.open_until);
        self.unclosed.tried(closed, open_until, boottime_ns());
    }

    fn close_again(&mut self) {
        if boottime_ns() >= self.unclosed.next() {
            self.close();
        }
    }

    /// Nobody comes after this thread to close what it could not.
    fn leave_closed(&mut self) {
        while self.unclosed.is_pending(boottime_ns()) {
            std::thread::sleep(Duration::from_nanos(AGAIN));
            self.close_again();
        }
    }

    fn step(
        &mut self,
        lease: &mut Lease,
        input: Input,
        from: Option<SocketAddr>,
        effects: &mut Effects,
    ) -> Result<(), Fatal> {
        // Read before the watch looks, so that a jump is known before any time after it is used.
        let mut now = boottime_ns();
        if self.watch.jumped() {
            now = boottime_ns();
            self.record_file.set_slept(self.watch.slept());
            lease.step(now, Input::ClockJump, effects);
            self.carry_out(lease, effects, None)?;
        }
        lease.step(now, input, effects);
        if !self.carry_out(lease, effects, from)? {
            lease.step(boottime_ns(), Input::OpenFailed, effects);
            self.carry_out(lease, effects, None)?;
        }
        Ok(())
    }

    /// False if the gate could not be opened; what comes after it is then left out.
    fn carry_out(
        &mut self,
        lease: &mut Lease,
        effects: &Effects,
        from: Option<SocketAddr>,
    ) -> Result<bool, Fatal> {
        for effect in effects.iter() {
            match effect {
                Effect::CloseGate => self.close(),
                Effect::RemoveAddress => self.port.remove_address(),
                Effect::Record => {
                    self.record_file
                        .write(&lease.record())
                        .map_err(|error| ("write its record", error))?;
                }
                Effect::OpenGate(until) => {
                    // Whether one that failed is open all the same, nobody can tell.
                    self.open_until = until;
                    if self.port.open(until).is_err() {
                        return Ok(false);
                    }
                    self.unclosed.opened();
                }
                Effect::AddAddress => {
                    if boottime_ns() < self.open_until {
                        self.port.add_address();
                    }
                }
                Effect::Announce => self.port.announce(),
                // A gate that may be open still: nothing is given away that it may be serving.
                Effect::Send {
                    message: Message::Release { .. },
                    ..
                }
                | Effect::Answer(_)
                    if self.unclosed.is_pending(boottime_ns()) => {}
                Effect::Send { to, message } => {
                    if let Some(to) = self.feed.as_ref().and_then(|feed| feed.address(to)) {
                        self.send(to, message);
                    }
                }
                Effect::Answer(message) => {
                    if let Some(from) = from {
                        self.send(from, message);
                    }
                }
            }
        }
        Ok(true)
    }

    fn send(&mut self, to: SocketAddr, message: Message) {
        let Some(feed) = &self.feed else { return };
        self.counter += 1;
        let Self {
            cluster,
            host,
            incarnation,
            counter,
            ..
        } = *self;
        let mut bytes = encode(&Datagram {
            cluster,
            sender: host,
            incarnation,
            counter,
            message,
        });
        feed.authentication.sign(&mut bytes);
        match self.socket.send_to(&bytes, to) {
            Ok(_) => {
                self.counters.sent += 1;
                self.observation.sent(&message, boottime_ns());
            }
            Err(_) => self.counters.unsent += 1,
        }
    }

    /// The next believable datagram; none when the socket is empty. Before the first feed nothing is believed.
    fn receive(&mut self) -> Option<(Datagram, SocketAddr)> {
        // One byte more, so that an oversized datagram does not look whole.
        let mut bytes = [0; DATAGRAM_LEN + 1];
        for _ in 0..BATCH {
            let (length, from) = match self.socket.recv_from(&mut bytes) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                // The echo of a send to a host that is not there.
                Err(_) => continue,
            };
            let datagram = self.judge(&bytes[..length]);
            match datagram {
                Some(datagram)
                    if self.replay.is_new(
                        datagram.sender,
                        datagram.incarnation,
                        datagram.counter,
                    ) =>
                {
                    self.counters.received += 1;
                    return Some((datagram, from));
                }
                Some(_) => self.counters.replayed += 1,
                None => self.counters.refused += 1,
            }
        }
        None
    }

    fn judge(&self, bytes: &[u8]) -> Option<Datagram> {
        let feed = self.feed.as_ref()?;
        judge(&feed.authentication, &self.cluster, self.host, bytes)
    }

    /// True if the timer went off.
    fn wait(&self, commands: &Commands, timer: &Timer) -> io::Result<bool> {
        let mut watched = [
            PollFd::new(&self.socket, PollFlags::IN),
            PollFd::new(commands.bell(), PollFlags::IN),
            PollFd::new(timer, PollFlags::IN),
        ];
        match poll(&mut watched, None) {
            Ok(_) => Ok(!watched[2].revents().is_empty()),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }
}
