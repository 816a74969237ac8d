//! What the lease thread notices in passing: how late it wakes, how long its peers take to answer, and when each was
//! heard last. It shapes no decision about the lease; people and `khad` choose a profile by it.

use khactl_lease::{Configuration, MEMBERS_MAX, Message};

use super::distribution::Distribution;

const SECOND: u64 = 1_000_000_000;

/// After this a distribution begins a new window.
const WINDOW: u64 = 60 * SECOND;

/// Questions whose answers may still come; a propose every T/5, and a query now and then.
const ASKED_MAX: usize = 16;

/// One peer, summed up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PeerSummary {
    /// The member's id; 0 for an unused place.
    pub host: u64,
    /// Median of question to answer over the last minute or two, in microseconds; 0 while there was none.
    pub rtt_us_p50: u32,
    /// The longest of them.
    pub rtt_us_max: u32,
    /// `CLOCK_BOOTTIME` of its last datagram that was believed, in nanoseconds; 0 if there was none.
    pub heard_boottime_ns: u64,
}

/// All of it, summed up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// How much later than asked for the thread woke, in microseconds: 99 in 100 times not more than this.
    pub lateness_us_p99: u32,
    /// At most.
    pub lateness_us_max: u32,
    /// The other members.
    pub peers: [PeerSummary; MEMBERS_MAX],
}

#[derive(Clone, Copy)]
struct Peer {
    host: u64,
    heard: u64,
    round_trips: Distribution,
}

impl Peer {
    const NONE: Self = Self {
        host: 0,
        heard: 0,
        round_trips: Distribution::EMPTY,
    };
}

/// Fixed size: the thread that fills it does not allocate.
pub(super) struct Observation {
    lateness: Distribution,
    peers: [Peer; MEMBERS_MAX],
    /// Sequence numbers of the latest questions, and when they were sent.
    asked: [(u64, u64); ASKED_MAX],
    asked_next: usize,
    turned: u64,
    summed_up: u64,
    summary: Summary,
}

impl Observation {
    pub(super) fn new(now: u64) -> Self {
        Self {
            lateness: Distribution::EMPTY,
            peers: [Peer::NONE; MEMBERS_MAX],
            asked: [(0, 0); ASKED_MAX],
            asked_next: 0,
            turned: now,
            summed_up: 0,
            summary: Summary::default(),
        }
    }

    /// Who is to be observed from now on; who stays keeps what is known.
    pub(super) fn watch(&mut self, configuration: &Configuration, own: u64) {
        let before = self.peers;
        self.peers = [Peer::NONE; MEMBERS_MAX];
        let others = configuration.members().iter().filter(|m| m.id != own);
        for (place, member) in self.peers.iter_mut().zip(others) {
            let known = before.iter().find(|peer| peer.host == member.id);
            *place = known.copied().unwrap_or(Peer {
                host: member.id,
                ..Peer::NONE
            });
        }
        self.summed_up = 0;
    }

    /// The timer went off that had been set to `wanted`.
    pub(super) fn woke(&mut self, wanted: u64, now: u64) {
        self.lateness.add(microseconds(now.saturating_sub(wanted)));
    }

    /// A message left. The same question goes to every member, and only its first leaving counts.
    pub(super) fn sent(&mut self, message: &Message, now: u64) {
        let (Message::Query { seq } | Message::Propose { seq, .. }) = *message else {
            return;
        };
        if self.asked.iter().all(|(asked, _)| *asked != seq) {
            self.asked[self.asked_next] = (seq, now);
            self.asked_next = (self.asked_next + 1) % ASKED_MAX;
        }
    }

    /// A message was believed. Gives for how long nothing had been heard of its sender; `u64::MAX` for the first time.
    pub(super) fn heard(&mut self, sender: u64, message: &Message, now: u64) -> u64 {
        let Some(peer) = self.peers.iter_mut().find(|peer| peer.host == sender) else {
            return 0;
        };
        let silence = match peer.heard {
            0 => u64::MAX,
            heard => now.saturating_sub(heard),
        };
        peer.heard = now;
        if let Message::Accepted { seq, .. } | Message::State { seq, .. } = *message {
            let asked = self.asked.iter().find(|(asked, _)| *asked == seq);
            if let Some((_, at)) = asked.filter(|_| seq != 0) {
                peer.round_trips.add(microseconds(now.saturating_sub(*at)));
            }
        }
        silence
    }

    /// As it was within the last second, but for the times when peers were heard, which are of this moment.
    pub(super) fn summary(&mut self, now: u64) -> Summary {
        if now >= self.turned.saturating_add(WINDOW) {
            self.turned = now;
            self.lateness.turn();
            for peer in &mut self.peers {
                peer.round_trips.turn();
            }
        }
        if self.summed_up == 0 || now >= self.summed_up.saturating_add(SECOND) {
            self.summed_up = now;
            self.summary.lateness_us_p99 = self.lateness.percentile(99);
            self.summary.lateness_us_max = self.lateness.longest();
            for (place, peer) in self.summary.peers.iter_mut().zip(&self.peers) {
                place.host = peer.host;
                place.rtt_us_p50 = peer.round_trips.percentile(50);
                place.rtt_us_max = peer.round_trips.longest();
            }
        }
        for (place, peer) in self.summary.peers.iter_mut().zip(&self.peers) {
            place.heard_boottime_ns = peer.heard;
        }
        self.summary
    }
}

fn microseconds(nanoseconds: u64) -> u32 {
    u32::try_from(nanoseconds / 1_000).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use khactl_lease::{Ballot, Member};

    use super::*;

    const MS: u64 = 1_000_000;

    fn members(epoch: u64, ids: &[u64]) -> Configuration {
        let members: Vec<Member> = ids
            .iter()
            .map(|id| Member {
                id: *id,
                preference: 0,
                proposer: true,
            })
            .collect();
        Configuration::new(epoch, &members).expect("valid")
    }

    fn accepted(seq: u64) -> Message {
        Message::Accepted {
            ballot: Ballot::NONE,
            seq,
            fitness: 255,
        }
    }

    #[test]
    fn an_answer_counts_from_the_first_sending_of_its_question() {
        let mut observed = Observation::new(0);
        observed.watch(&members(1, &[1, 2, 3]), 1);
        let question = Message::Query { seq: 7 };
        observed.sent(&question, 10 * MS);
        observed.sent(&question, 11 * MS);
        assert_eq!(observed.heard(2, &accepted(7), 12 * MS), u64::MAX);
        assert_eq!(observed.heard(2, &accepted(99), 15 * MS), 3 * MS);
        assert_eq!(observed.heard(9, &accepted(7), 15 * MS), 0, "a stranger");
        let summary = observed.summary(2_000 * MS);
        assert_eq!(summary.peers[0].host, 2);
        assert_eq!(summary.peers[0].rtt_us_max, 2_000);
        assert_eq!(summary.peers[0].heard_boottime_ns, 15 * MS);
        assert_eq!(summary.peers[1].rtt_us_max, 0);
    }

    #[test]
    fn who_stays_keeps_what_is_known_and_who_leaves_is_forgotten() {
        let mut observed = Observation::new(0);
        observed.watch(&members(1, &[1, 2, 3]), 1);
        observed.heard(3, &accepted(1), 5 * MS);
        observed.watch(&members(2, &[1, 3]), 1);
        let summary = observed.summary(6 * MS);
        assert_eq!(summary.peers[0].host, 3);
        assert_eq!(summary.peers[0].heard_boottime_ns, 5 * MS);
        assert_eq!(summary.peers[1].host, 0);
    }

    #[test]
    fn lateness_is_summed_up_and_forgotten_after_two_windows() {
        let mut observed = Observation::new(0);
        observed.woke(10 * MS, 13 * MS);
        assert_eq!(observed.summary(MS).lateness_us_max, 3_000);
        let mut now = MS;
        for _ in 0..3 {
            now += WINDOW;
            observed.summary(now);
        }
        assert_eq!(observed.summary(now).lateness_us_max, 0);
    }
}
