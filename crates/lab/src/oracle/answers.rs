//! Who answered for which VIP from when to when, and where two did at once. Pure: sightings in,
//! spans and overlaps out.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use super::observer::SILENT_AFTER;
use super::sighting::{How, Mac, Sighting};

/// One machine answered for a VIP, never silent for longer than [`SILENT_AFTER`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The VIP.
    pub vip: IpAddr,
    /// The machine.
    pub mac: Mac,
    /// Its first answer.
    pub from: Duration,
    /// Its last answer.
    pub to: Duration,
    /// How many were ARP.
    pub arp: u32,
    /// How many were neighbour advertisements.
    pub ndp: u32,
    /// How many were IP.
    pub ip: u32,
}

/// Two machines answered for one VIP: each did before the other had ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overlap {
    /// The VIP.
    pub vip: IpAddr,
    /// The machines.
    pub macs: [Mac; 2],
    /// From here on both answered.
    pub from: Duration,
    /// The last moment of it; equal to `from` for a single stray answer.
    pub to: Duration,
}

impl fmt::Display for Overlap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [one, other] = self.macs;
        let ms = self.to.abs_diff(self.from).as_secs_f64() * 1000.0;
        write!(
            f,
            "{one} and {other} both answered for {} during {ms:.3} ms, from {:.6} s to {:.6} s",
            self.vip,
            self.from.as_secs_f64(),
            self.to.as_secs_f64()
        )
    }
}

/// Everything seen so far.
#[derive(Debug, Clone, Default)]
pub struct Answers {
    spans: Vec<Span>,
    /// The last span of each machine for each VIP.
    last: BTreeMap<(IpAddr, Mac), usize>,
}

impl Answers {
    /// Takes a sighting in.
    pub fn saw(&mut self, seen: &Sighting) {
        let key = (seen.vip, seen.mac);
        let running = self
            .last
            .get(&key)
            .copied()
            .filter(|at| self.spans[*at].to + SILENT_AFTER >= seen.at);
        let at = running.unwrap_or_else(|| {
            self.spans.push(Span {
                vip: seen.vip,
                mac: seen.mac,
                from: seen.at,
                to: seen.at,
                arp: 0,
                ndp: 0,
                ip: 0,
            });
            self.spans.len() - 1
        });
        self.last.insert(key, at);
        let span = &mut self.spans[at];
        // Two processors stamp their frames on their own: one may be read a little late.
        span.from = span.from.min(seen.at);
        span.to = span.to.max(seen.at);
        match seen.how {
            How::Arp => span.arp += 1,
            How::Ndp => span.ndp += 1,
            How::Ip => span.ip += 1,
        }
    }

    /// All spans, in the order in which they began.
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// The spans that reach into the time between two moments.
    pub fn between(&self, from: Duration, to: Duration) -> impl Iterator<Item = &Span> {
        self.spans
            .iter()
            .filter(move |span| span.from <= to && span.to >= from)
    }

    /// Where two machines answered at once between two moments.
    pub fn overlaps(&self, from: Duration, to: Duration) -> Vec<Overlap> {
        let spans: Vec<_> = self.between(from, to).collect();
        let mut found = Vec::new();
        for (number, one) in spans.iter().enumerate() {
            for other in &spans[number + 1..] {
                let (begin, end) = (
                    one.from.max(other.from).max(from),
                    one.to.min(other.to).min(to),
                );
                if one.vip == other.vip && one.mac != other.mac && begin <= end {
                    found.push(Overlap {
                        vip: one.vip,
                        macs: [one.mac, other.mac],
                        from: begin,
                        to: end,
                    });
                }
            }
        }
        found.sort_by_key(|overlap| overlap.from);
        found
    }

    /// For how long, between two moments, more than one machine answered for some VIP.
    pub fn two_holders(&self, from: Duration, to: Duration) -> Duration {
        let mut total = Duration::ZERO;
        let mut counted = Duration::ZERO;
        for overlap in self.overlaps(from, to) {
            let begin = overlap.from.max(counted);
            total += overlap.to.saturating_sub(begin);
            counted = counted.max(overlap.to);
        }
        total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: u8 = 0xa;
    const B: u8 = 0xb;

    fn ms(at: u64) -> Duration {
        Duration::from_millis(at)
    }

    fn all(answers: &Answers) -> Vec<Overlap> {
        answers.overlaps(Duration::ZERO, Duration::MAX)
    }

    fn seen(at: u64, machine: u8, vip: &str) -> Sighting {
        Sighting {
            at: ms(at),
            mac: Mac([2, 0, 0, 0, 0, machine]),
            vip: vip.parse().unwrap(),
            how: How::Arp,
        }
    }

    /// Answers at these moments, in milliseconds.
    fn answers(seen_by: &[(u8, &[u64])]) -> Answers {
        let mut all: Vec<_> = seen_by
            .iter()
            .flat_map(|(machine, at)| at.iter().map(|at| seen(*at, *machine, "10.77.0.100")))
            .collect();
        all.sort_by_key(|seen| seen.at);
        let mut answers = Answers::default();
        for seen in &all {
            answers.saw(seen);
        }
        answers
    }

    #[test]
    fn one_after_the_other_is_no_overlap_however_close() {
        let answers = answers(&[(A, &[0, 4, 8]), (B, &[9, 13])]);
        assert_eq!(all(&answers), []);
        assert_eq!(answers.spans().len(), 2);
        assert_eq!(answers.two_holders(Duration::ZERO, Duration::MAX), ms(0));
    }

    #[test]
    fn a_frozen_holder_that_still_answers_overlaps_with_its_successor() {
        let answers = answers(&[(A, &[0, 4, 8, 12, 16]), (B, &[9, 13, 17])]);
        let found = all(&answers);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].from, found[0].to), (ms(9), ms(16)));
        assert_eq!(answers.two_holders(ms(0), ms(100)), ms(7));
        let text = found[0].to_string();
        assert!(
            text.contains("02:00:00:00:00:0a and 02:00:00:00:00:0b both answered for 10.77.0.100 during 7.000 ms"),
            "{text}"
        );
    }

    #[test]
    fn a_single_stray_answer_counts_although_it_takes_no_time() {
        let answers = answers(&[(A, &[0, 4, 8, 12]), (B, &[9])]);
        let found = all(&answers);
        assert_eq!((found.len(), found[0].from, found[0].to), (1, ms(9), ms(9)));
    }

    #[test]
    fn a_holder_that_comes_back_after_a_silence_did_not_hold_meanwhile() {
        let back = answers(&[(A, &[0, 4, 200, 204]), (B, &[20, 40, 60])]);
        assert_eq!(all(&back), []);
        assert_eq!(back.spans().len(), 3);
        // Whoever is silent for less than that holds on.
        let held = answers(&[(A, &[0, 20]), (B, &[10])]);
        assert_eq!(all(&held).len(), 1);
    }

    #[test]
    fn two_vips_may_be_answered_for_by_two_machines() {
        let mut answers = Answers::default();
        for at in 0..5 {
            answers.saw(&seen(at, A, "10.77.0.100"));
            answers.saw(&seen(at, B, "fd77::100"));
        }
        assert_eq!(all(&answers), []);
    }

    #[test]
    fn an_overlap_is_counted_where_it_lies_and_three_at_once_only_once() {
        let three = answers(&[(A, &[0, 10, 20]), (B, &[0, 10, 20]), (0xc, &[0, 10, 20])]);
        assert_eq!(all(&three).len(), 3);
        assert_eq!(three.two_holders(ms(0), ms(100)), ms(20));
        assert_eq!(three.two_holders(ms(5), ms(12)), ms(7));
        assert_eq!(three.overlaps(ms(30), ms(50)), []);
    }

    #[test]
    fn a_frame_that_is_read_a_little_late_still_belongs_to_its_span() {
        let mut answers = Answers::default();
        for at in [10, 8, 12] {
            answers.saw(&seen(at, A, "10.77.0.100"));
        }
        assert_eq!(answers.spans().len(), 1);
        assert_eq!(answers.spans()[0].from, ms(8));
    }
}
