//! The fence: when this host's own controller-manager and scheduler are killed, because no majority of the lease's
//! members has answered for [`SILENCE`]. Decides only; time is `CLOCK_BOOTTIME` in nanoseconds and comes from the lease
//! thread, which asks, hears and kills. The rules and what follows from them are in docs/fence.md.
//!
//! ```text
//!            fed            a majority answered what was asked since      SILENCE without
//! unknown ─────────▶ waiting ───────────────────────────────────▶ armed ─────────────────▶ killed
//!     │                                                             ▲
//!     └── fed to a khavip that knew of none yet ────────────────────┘
//! ```
//!
//! For what a new khavip is fed first, silence counts as if the one before had never ended: from the last contact that it
//! has left, and from the boot if it has left none.

mod process;

use khactl_lease::{Configuration, MEMBERS_MAX};

pub(crate) use process::FencedProcess;
pub use process::ProcessId;

const MS: u64 = 1_000_000;

/// F: so long after the last question that a majority answered was sent, what is armed is killed.
pub const SILENCE: u64 = 1_000 * MS;

/// Between two questions: four may be lost in a row.
const ASK: u64 = 200 * MS;

/// A majority that answers later than this would have processes killed between two answers: nothing is armed by it.
const PROMPT: u64 = SILENCE / 2;

/// What could not be killed is tried again after so long.
const AGAIN: u64 = 100 * MS;

/// The most processes that can be fenced.
pub const FENCED_MAX: usize = 4;

/// Questions whose answers may still count: more than fit into [`SILENCE`].
const ASKED_MAX: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Armed,
    Killed,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    process: ProcessId,
    /// When it was first fed: what was asked before proves nothing of it.
    since: u64,
    /// From when silence counts for it, if there is no later contact.
    counts_from: u64,
    state: State,
}

impl Place {
    /// When it is to be killed, if there is no later contact.
    fn due(&self, contact: u64) -> u64 {
        contact.max(self.counts_from).saturating_add(SILENCE)
    }
}

/// A fenced process as it is told to others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PlaceView {
    /// Which; pid 0 for an unused place.
    pub process: ProcessId,
    /// It will be killed when a majority is silent.
    pub armed: bool,
    /// It was.
    pub killed: bool,
}

/// What there is to tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FenceView {
    /// When the last question that a majority answered was sent; 0 if there was none.
    pub contact: u64,
    /// Nothing has to be asked: this host is its own majority.
    pub alone: bool,
    /// The processes.
    pub places: [PlaceView; FENCED_MAX],
    /// How many were killed so far.
    pub fired: u64,
    /// How long a majority had been silent when the last one was, in nanoseconds.
    pub fired_after: u64,
    /// Processes were named since the start, be it none at all; what was overdue among the first was killed.
    pub guarding: bool,
}

/// The decision. Fixed size: the thread that asks it does not allocate.
#[derive(Debug)]
pub(crate) struct Fence {
    own: u64,
    members: Configuration,
    /// Some feed since the start was confirmed: the members are those of the cluster, not of before a reboot.
    confirmed: bool,
    /// Per member, when the latest question that it answered was sent; 0 while there was none.
    answered: [u64; MEMBERS_MAX],
    contact: u64,
    /// The contact of the khavip before this one.
    inherited: u64,
    first_seq: u64,
    asked: u64,
    sent: [u64; ASKED_MAX],
    next_ask: u64,
    places: [Option<Place>; FENCED_MAX],
    fed: bool,
    fired: u64,
    fired_after: u64,
    not_before: u64,
}

impl Fence {
    /// `first_seq` is different after every start, so that nobody answers a question of an earlier process. `inherited` is
    /// the contact that this process' predecessor of the same boot has left, 0 if there is none to show.
    pub(crate) fn new(own: u64, first_seq: u64, inherited: u64) -> Self {
        Self {
            own,
            members: Configuration::default(),
            confirmed: false,
            answered: [0; MEMBERS_MAX],
            contact: 0,
            inherited,
            first_seq,
            asked: 0,
            sent: [0; ASKED_MAX],
            next_ask: 0,
            places: [None; FENCED_MAX],
            fed: false,
            fired: 0,
            fired_after: 0,
            not_before: 0,
        }
    }

    /// Whose majority counts. An older epoch than the present is ignored, as by the lease.
    pub(crate) fn feed(&mut self, members: Configuration, confirmed: bool, now: u64) {
        // What the members so far are worth counts up to now: who was alone was never asked.
        self.look(now);
        if members.epoch() > self.members.epoch() {
            let mut answered = [0; MEMBERS_MAX];
            for (place, member) in answered.iter_mut().zip(members.members()) {
                *place = self.place(member.id).map_or(0, |old| self.answered[old]);
            }
            (self.members, self.answered) = (members, answered);
        }
        self.confirmed |= confirmed;
        self.look(now);
    }

    /// Which processes are fenced from now on; those that were already stay as they are.
    ///
    /// What the first feed names may have been armed by the khavip before this one: it is armed at once, and overdue at once
    /// if that one's last contact is too long ago.
    pub(crate) fn guard(&mut self, processes: impl Iterator<Item = ProcessId>, now: u64) {
        let before = self.places;
        let (state, counts_from) = if std::mem::replace(&mut self.fed, true) {
            (State::Waiting, now)
        } else {
            (State::Armed, self.inherited)
        };
        self.places = [None; FENCED_MAX];
        for (place, process) in self.places.iter_mut().zip(processes) {
            let mut known = before.iter().flatten();
            *place = Some(
                known
                    .find(|known| known.process == process)
                    .copied()
                    .unwrap_or(Place {
                        process,
                        since: now,
                        counts_from,
                        state,
                    }),
            );
        }
        self.look(now);
    }

    /// The number of a question that is due now, for every other member. It counts as sent at `now`, which has to be
    /// read before it is.
    pub(crate) fn ask(&mut self, now: u64) -> Option<u64> {
        if !self.asks() || now < self.next_ask {
            return None;
        }
        self.next_ask = now + ASK;
        self.asked += 1;
        self.sent[slot(self.asked)] = now;
        Some(self.seq(self.asked))
    }

    /// Somebody answered the question of that number.
    pub(crate) fn answered(&mut self, from: u64, seq: u64, now: u64) {
        let latest = (0..ASKED_MAX as u64).map_while(|back| self.asked.checked_sub(back));
        let question = latest
            .filter(|asked| *asked > 0)
            .find(|asked| self.seq(*asked) == seq);
        let (Some(question), Some(place)) = (question, self.place(from)) else {
            return;
        };
        let sent = self.sent[slot(question)];
        self.answered[place] = self.answered[place].max(sent);
        self.look(now);
    }

    /// Which place's process is to be killed now. To be asked before anything else that a moment brings: what has run out
    /// is over, whatever arrived meanwhile.
    pub(crate) fn overdue(&mut self, now: u64) -> impl Iterator<Item = (usize, ProcessId)> + use<> {
        self.look(now);
        let (contact, alone, free) = (self.contact, self.is_alone(), now >= self.not_before);
        self.places
            .into_iter()
            .enumerate()
            .filter_map(|(place, kept)| Some((place, kept?)))
            .filter(move |(_, kept)| kept.state == State::Armed && free && !alone)
            .filter(move |(_, kept)| now >= kept.due(contact))
            .map(|(place, kept)| (place, kept.process))
    }

    /// Which places' processes others may count on the end of: to be killed by a thread that cannot go on.
    pub(crate) fn armed(&self) -> impl Iterator<Item = (usize, ProcessId)> + use<> {
        let alone = self.is_alone();
        self.places
            .into_iter()
            .enumerate()
            .filter_map(|(place, kept)| Some((place, kept?)))
            .filter(move |(_, kept)| kept.state == State::Armed && !alone)
            .map(|(place, kept)| (place, kept.process))
    }

    /// The process was sent its end, or could not be.
    pub(crate) fn fired(&mut self, place: usize, done: bool, now: u64) {
        let Some(kept) = self.places.get_mut(place).and_then(Option::as_mut) else {
            return;
        };
        if !done {
            self.not_before = now + AGAIN;
            return;
        }
        kept.state = State::Killed;
        self.fired += 1;
        self.fired_after = now.saturating_sub(self.contact.max(kept.counts_from));
    }

    /// The earliest time at which there is something to do.
    pub(crate) fn wake(&self) -> u64 {
        if !self.asks() {
            return u64::MAX;
        }
        let armed = self.places.iter().flatten();
        armed
            .filter(|kept| kept.state == State::Armed)
            .map(|kept| kept.due(self.contact).max(self.not_before))
            .fold(self.next_ask, u64::min)
    }

    /// What there is to tell.
    pub(crate) fn view(&self) -> FenceView {
        let mut places = [PlaceView::default(); FENCED_MAX];
        for (told, kept) in places.iter_mut().zip(self.places.iter().flatten()) {
            *told = PlaceView {
                process: kept.process,
                // Without a confirmed epoch it may be a majority of the wrong hosts that keeps it alive.
                armed: kept.state == State::Armed && self.confirmed && self.contact >= kept.since,
                killed: kept.state == State::Killed,
            };
        }
        FenceView {
            contact: self.contact,
            alone: self.is_alone(),
            places,
            fired: self.fired,
            fired_after: self.fired_after,
            guarding: self.fed,
        }
    }

    /// Counts the majority again, and arms what it allows to.
    fn look(&mut self, now: u64) {
        let mut times = [0; MEMBERS_MAX];
        for ((time, answered), member) in times
            .iter_mut()
            .zip(self.answered)
            .zip(self.members.members())
        {
            *time = if member.id == self.own { now } else { answered };
        }
        times.sort_unstable_by(|a, b| b.cmp(a));
        if self.members.epoch() > 0 {
            self.contact = self.contact.max(times[self.members.majority() - 1]);
        }
        let prompt = now.saturating_sub(self.contact) <= PROMPT;
        for kept in self.places.iter_mut().flatten() {
            if kept.state == State::Waiting
                && self.confirmed
                && prompt
                && self.contact >= kept.since
            {
                kept.state = State::Armed;
            }
        }
    }

    fn is_alone(&self) -> bool {
        self.members.members().len() == 1 && self.place(self.own).is_some()
    }

    fn asks(&self) -> bool {
        self.members.epoch() > 0 && !self.is_alone() && self.places.iter().any(Option::is_some)
    }

    fn place(&self, id: u64) -> Option<usize> {
        self.members.members().iter().position(|m| m.id == id)
    }

    /// The lease numbers its own questions from 1 and never comes to the upper half.
    fn seq(&self, asked: u64) -> u64 {
        self.first_seq.wrapping_add(asked) | 1 << 63
    }
}

fn slot(asked: u64) -> usize {
    usize::try_from(asked % ASKED_MAX as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests;
