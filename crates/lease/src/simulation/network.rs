//! Datagrams between simulated hosts: lost, delayed, doubled, overtaken, cut off one way.

use crate::random::Random;
use crate::timing::MS;

/// Directed links and their weather.
pub(super) struct Network {
    cut: Vec<Vec<bool>>,
    pub(super) loss_percent: u64,
    pub(super) late_percent: u64,
}

impl Network {
    pub(super) fn new(hosts: usize) -> Self {
        Self {
            cut: vec![vec![false; hosts]; hosts],
            loss_percent: 0,
            late_percent: 0,
        }
    }

    /// Stops what `from` says to `to`.
    pub(super) fn cut(&mut self, from: usize, to: usize) {
        self.cut[from][to] = true;
    }

    pub(super) fn heal(&mut self) {
        self.cut.iter_mut().flatten().for_each(|cut| *cut = false);
    }

    /// After how long the copies of one datagram arrive: none, one or two.
    pub(super) fn deliveries(
        &self,
        random: &mut Random,
        from: usize,
        to: usize,
        lease: u64,
    ) -> [Option<u64>; 2] {
        if self.cut[from][to] || random.below(100) < self.loss_percent {
            return [None, None];
        }
        let mut delay = || {
            let late = random.below(100) < self.late_percent;
            let reach = if late {
                if random.below(2) == 0 {
                    lease / 10
                } else {
                    3 * lease / 2
                }
            } else {
                MS / 2
            };
            MS / 20 + random.below(reach)
        };
        let once = delay();
        let again = delay();
        let twice = self.late_percent > 0 && random.below(20) == 0;
        [Some(once), twice.then_some(again)]
    }
}
