//! Datagrams between simulated hosts: lost, delayed, doubled, overtaken, cut off one way, recorded and played again.

use super::host::Arrival;
use super::world::{Event, World};
use crate::random::Random;
use crate::timing::MS;
use crate::{Datagram, Message, decode, encode};

/// How many datagrams the recorder keeps; newer ones take the place of random older ones.
const TAPE: usize = 64;

/// A recorded datagram and for whom it was.
type Recorded = (Arrival, usize);

/// Directed links and their weather.
#[derive(Default)]
pub(super) struct Network {
    /// By the sending host: a bit for everyone who does not hear it.
    cut: [u16; super::HOSTS_MAX],
    pub(super) loss_percent: u64,
    pub(super) late_percent: u64,
    /// How late the late ones are at the most, in nanoseconds.
    pub(super) latest: u64,
    tape: Vec<Recorded>,
}

impl Network {
    pub(super) fn new(latest: u64) -> Self {
        Self {
            latest,
            ..Self::default()
        }
    }

    /// Stops what `from` says to `to`.
    pub(super) fn cut(&mut self, from: usize, to: usize) {
        self.cut[from] |= 1 << to;
    }

    pub(super) fn heal(&mut self) {
        self.cut = [0; super::HOSTS_MAX];
    }

    fn record(&mut self, random: &mut Random, recorded: Recorded) {
        if self.tape.len() < TAPE {
            self.tape.push(recorded);
        } else if random.below(8) == 0 {
            let place = usize::try_from(random.below(TAPE as u64)).unwrap_or(0);
            self.tape[place] = recorded;
        }
    }

    pub(super) fn recorded(&self, random: &mut Random) -> Option<Recorded> {
        let place = usize::try_from(random.below(self.tape.len() as u64)).ok()?;
        self.tape.get(place).copied()
    }

    /// After how long the copies of one datagram arrive: none, one or two.
    fn deliveries(&self, random: &mut Random, from: usize, to: usize) -> [Option<u64>; 2] {
        let draw = random.next();
        if self.cut[from] & (1 << to) != 0 || draw % 100 < self.loss_percent {
            return [None, None];
        }
        let prompt = MS / 20 + (draw >> 8) % (MS / 2);
        if self.late_percent == 0 {
            return [Some(prompt), None];
        }
        let mut delay = || {
            let late = random.below(100) < self.late_percent;
            let reach = [MS, self.latest / 10, self.latest];
            let reach = reach[usize::try_from(random.below(3)).unwrap_or(0)];
            if late {
                prompt + random.below(reach)
            } else {
                prompt
            }
        };
        let (once, again) = (delay(), delay());
        [Some(once), (draw >> 40).is_multiple_of(16).then_some(again)]
    }
}

impl World {
    /// Sends a message as the bytes it ships as.
    pub(super) fn transmit(
        &mut self,
        from: usize,
        to: usize,
        (incarnation, counter): (u64, u64),
        message: Message,
    ) {
        let bytes = encode(&Datagram {
            cluster: super::CLUSTER,
            sender: self.hosts[from].id,
            incarnation,
            counter,
            message,
        });
        let datagram = decode(&bytes).expect("what is sent can be read");
        if self.scenario.replays() {
            self.network
                .record(&mut self.random, ((datagram, from), to));
        }
        for delay in self
            .network
            .deliveries(&mut self.random, from, to)
            .into_iter()
            .flatten()
        {
            let arrival = (datagram, from);
            self.schedule(delay, Event::Deliver { to, arrival });
        }
    }
}
