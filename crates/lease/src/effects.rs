//! What a step asks for. The order is part of the rules, so it is fixed here and not left to who fills the buffer.

use crate::Message;

/// More than any one step sends: two rounds to eight peers, a release, a survey and an answer.
const SENDS_MAX: usize = 64;

/// One thing to do. The caller does them in the order of [`Effects::iter`] and stops at the first that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Close the gate; done when the kernel has acknowledged it.
    CloseGate,
    /// Take the address away; done when it is gone.
    RemoveAddress,
    /// Write `Lease::record` (A7). Nothing may be sent and no gate opened before it is written.
    Record,
    /// Let the address pass until this absolute time (G1). When that fails, step [`crate::Input::OpenFailed`].
    OpenGate(u64),
    /// Put the address on the interface, unless the gate's deadline has passed meanwhile.
    AddAddress,
    /// Announce the address once.
    Announce,
    /// Send to a member of the configuration.
    Send {
        /// The member's id.
        to: u64,
        /// What.
        message: Message,
    },
    /// Answer the datagram of this step to where it came from.
    Answer(Message),
}

/// The effects of one step. Made once and used again for every step.
#[derive(Debug, Clone)]
pub struct Effects {
    close: bool,
    record: bool,
    open: Option<u64>,
    add: bool,
    announce: bool,
    answer: Option<Message>,
    sends: [(u64, Message); SENDS_MAX],
    count: usize,
}

impl Default for Effects {
    fn default() -> Self {
        Self::new()
    }
}

impl Effects {
    /// An empty buffer.
    pub fn new() -> Self {
        Self {
            close: false,
            record: false,
            open: None,
            add: false,
            announce: false,
            answer: None,
            sends: [(0, Message::Query { seq: 0 }); SENDS_MAX],
            count: 0,
        }
    }

    /// What to do, in the order to do it in: close before the record, the record before everything that others or the
    /// kernel can see, the address before the messages.
    pub fn iter(&self) -> impl Iterator<Item = Effect> + '_ {
        let close = self
            .close
            .then_some([Effect::CloseGate, Effect::RemoveAddress]);
        close
            .into_iter()
            .flatten()
            .chain(self.record.then_some(Effect::Record))
            .chain(self.open.map(Effect::OpenGate))
            .chain(self.add.then_some(Effect::AddAddress))
            .chain(self.announce.then_some(Effect::Announce))
            .chain(self.answer.map(Effect::Answer))
            .chain(
                self.sends[..self.count]
                    .iter()
                    .map(|&(to, message)| Effect::Send { to, message }),
            )
    }

    pub(crate) fn clear(&mut self) {
        (self.close, self.record, self.add, self.announce) = (false, false, false, false);
        (self.open, self.answer, self.count) = (None, None, 0);
    }

    /// Closing wins over an opening of the same step.
    pub(crate) fn close(&mut self) {
        (self.close, self.open, self.add, self.announce) = (true, None, false, false);
    }

    pub(crate) fn record(&mut self) {
        self.record = true;
    }

    pub(crate) fn open(&mut self, until: u64) {
        if !self.close {
            self.open = Some(until);
        }
    }

    pub(crate) fn add_address(&mut self) {
        self.add = !self.close;
    }

    pub(crate) fn announce(&mut self) {
        self.announce = !self.close;
    }

    pub(crate) fn answer(&mut self, message: Message) {
        self.answer = Some(message);
    }

    /// A message too many is a message lost, which the protocol bears.
    pub(crate) fn send(&mut self, to: u64, message: Message) {
        if let Some(place) = self.sends.get_mut(self.count) {
            *place = (to, message);
            self.count += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_comes_before_the_record_and_the_record_before_everything_others_see() {
        let mut effects = Effects::new();
        let message = Message::Query { seq: 1 };
        effects.send(2, message);
        effects.answer(message);
        effects.record();
        effects.open(5);
        effects.add_address();
        let opened: Vec<_> = effects.iter().collect();
        let send = Effect::Send { to: 2, message };
        let answer = Effect::Answer(message);
        assert_eq!(
            opened,
            [
                Effect::Record,
                Effect::OpenGate(5),
                Effect::AddAddress,
                answer,
                send
            ]
        );
        effects.close();
        effects.open(6);
        let closed: Vec<_> = effects.iter().collect();
        assert_eq!(
            closed,
            [
                Effect::CloseGate,
                Effect::RemoveAddress,
                Effect::Record,
                answer,
                send
            ]
        );
        effects.clear();
        assert_eq!(effects.iter().next(), None);
    }
}
