//! When the address is announced again because something happened on the link: a peer that returned, a link that came
//! up, another machine that answered for it. The lease's own announcements after a takeover do not come from here.

const MS: u64 = 1_000_000;

/// Switches and neighbours that were away may miss the first.
const AT: [u64; 4] = [0, 20 * MS, 100 * MS, 500 * MS];

/// Between the beginnings of two bursts: two machines that insist on one address must not flood the link.
const QUIET: u64 = 1_000 * MS;

/// At most one burst runs, and one more waits.
#[derive(Debug, Default)]
pub(super) struct Burst {
    /// When the present or last one began; 0 before the first.
    begun: u64,
    /// How many of the present one have been said; none runs when it is `None`.
    said: Option<usize>,
    again: bool,
}

impl Burst {
    /// Something happened: announce at once, or as soon as the last burst is long enough ago.
    pub(super) fn ask(&mut self, now: u64) {
        if self.said.is_some() {
            self.again = true;
            return;
        }
        let earliest = if self.begun == 0 {
            0
        } else {
            self.begun + QUIET
        };
        (self.begun, self.said) = (now.max(earliest), Some(0));
    }

    /// Nothing more to announce.
    pub(super) fn stop(&mut self) {
        (self.said, self.again) = (None, false);
    }

    /// When the next one is due; `u64::MAX` if none is.
    pub(super) fn next(&self) -> u64 {
        self.said
            .and_then(|said| AT.get(said))
            .map_or(u64::MAX, |at| self.begun + at)
    }

    /// True if one is due now; it then counts as said.
    pub(super) fn take(&mut self, now: u64) -> bool {
        if now < self.next() {
            return false;
        }
        let said = self.said.map_or(0, |said| said + 1);
        if said < AT.len() {
            self.said = Some(said);
        } else if std::mem::take(&mut self.again) {
            (self.begun, self.said) = (now.max(self.begun + QUIET), Some(0));
        } else {
            self.said = None;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(burst: &mut Burst) -> Vec<u64> {
        let mut said = Vec::new();
        while burst.next() < u64::MAX {
            let at = burst.next();
            assert!(burst.take(at));
            said.push(at / MS);
        }
        said
    }

    #[test]
    fn what_happens_is_announced_at_once_and_three_times_more() {
        let mut burst = Burst::default();
        assert!(!burst.take(u64::MAX - 1));
        burst.ask(7_000 * MS);
        assert_eq!(run(&mut burst), [7_000, 7_020, 7_100, 7_500]);
    }

    #[test]
    fn however_often_it_happens_a_burst_begins_once_a_second() {
        let mut burst = Burst::default();
        burst.ask(1_000 * MS);
        for _ in 0..50 {
            burst.ask(1_001 * MS);
        }
        let said = run(&mut burst);
        assert_eq!(
            said,
            [1_000, 1_020, 1_100, 1_500, 2_000, 2_020, 2_100, 2_500]
        );
        burst.ask(2_600 * MS);
        assert_eq!(burst.next(), 3_000 * MS);
        burst.stop();
        assert_eq!(run(&mut burst), Vec::<u64>::new());
    }
}
