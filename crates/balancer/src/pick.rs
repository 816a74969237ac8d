//! Which backend gets the next connection: a choice from what is known of each. Never connects, never reads a
//! clock; what it remembers is whose turn it is.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use crate::config::Method;
use crate::rendezvous;

/// What the choice looks at, one per backend, in the configuration's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Where it listens; no two have the same.
    pub address: SocketAddr,
    /// Its share; 0 counts as 1.
    pub weight: u8,
    /// Its checks say so.
    pub healthy: bool,
    /// Something speaks against it since its last check.
    pub suspect: bool,
    /// It is about to be stopped.
    pub draining: bool,
    /// It is to come before the others for this client.
    pub preferred: bool,
    /// Connections that it has, with those being made.
    pub open: u64,
}

/// Chooses, and remembers whose turn it is.
#[derive(Debug, Clone, Default)]
pub struct Picker {
    /// By how much each is behind (above zero) or ahead of its share: smooth weighted round robin, which mixes
    /// the turns of heavy and light backends evenly.
    credits: BTreeMap<SocketAddr, i64>,
}

impl Picker {
    /// The order in which to try the backends, as indices into `candidates`.
    ///
    /// Healthy ones that are not about to be stopped; if there are none, healthy ones; if there are none
    /// either, all: a wrong check must not be what takes the service down. Suspects come last.
    pub fn order(
        &mut self,
        method: Method,
        candidates: &[Candidate],
        client: IpAddr,
    ) -> Vec<usize> {
        let mut order = usable(candidates);
        self.take_turn(method, candidates, &order);
        let credit = |index: usize| {
            let address = &candidates[index].address;
            self.credits.get(address).copied().unwrap_or(0)
        };
        let by_method = |a: usize, b: usize| match method {
            Method::RoundRobin | Method::WeightedRoundRobin => Ordering::Equal,
            Method::LeastConnections => by_load(&candidates[a], &candidates[b]),
            Method::SourceHash => {
                let distance = |index: usize| {
                    let candidate = &candidates[index];
                    rendezvous::distance(client, candidate.address, candidate.weight)
                };
                distance(a).total_cmp(&distance(b))
            }
        };
        // Stable: of equals the first in the configuration comes first.
        order.sort_by(|&a, &b| {
            let rank = |index: usize| {
                let candidate = &candidates[index];
                (candidate.suspect, !candidate.preferred)
            };
            rank(a)
                .cmp(&rank(b))
                .then_with(|| by_method(a, b))
                .then_with(|| credit(b).cmp(&credit(a)))
        });
        if let Some(&first) = order.first() {
            self.pay(method, candidates, first, &order);
        }
        order
    }

    /// Forgets backends that are gone.
    pub fn retain(&mut self, addresses: &[SocketAddr]) {
        self.credits.retain(|known, _| addresses.contains(known));
    }

    /// Everybody whose turn it might be comes nearer to it by its share.
    fn take_turn(&mut self, method: Method, candidates: &[Candidate], order: &[usize]) {
        let turning = in_turn(candidates, order);
        let most = 2 * total(method, candidates, &turning);
        for index in turning {
            let candidate = &candidates[index];
            let credit = self.credits.entry(candidate.address).or_default();
            *credit = (*credit + share(method, candidate)).min(most);
        }
    }

    /// The one that was chosen goes back by all of them.
    fn pay(&mut self, method: Method, candidates: &[Candidate], first: usize, order: &[usize]) {
        let total = total(method, candidates, &in_turn(candidates, order));
        let credit = self.credits.entry(candidates[first].address).or_default();
        *credit = (*credit - total).max(-2 * total);
    }
}

fn usable(candidates: &[Candidate]) -> Vec<usize> {
    let those = |wanted: &dyn Fn(&Candidate) -> bool| -> Vec<usize> {
        (0..candidates.len())
            .filter(|&index| wanted(&candidates[index]))
            .collect()
    };
    let mut order = those(&|candidate| candidate.healthy && !candidate.draining);
    if order.is_empty() {
        order = those(&|candidate| candidate.healthy);
    }
    if order.is_empty() {
        order = those(&|_| true);
    }
    order
}

/// Those of the best rank: a backend that cannot be first must not save up turns meanwhile.
fn in_turn(candidates: &[Candidate], order: &[usize]) -> Vec<usize> {
    let rank = |index: usize| (candidates[index].suspect, !candidates[index].preferred);
    let best = order.iter().map(|&index| rank(index)).min();
    order
        .iter()
        .copied()
        .filter(|&index| Some(rank(index)) == best)
        .collect()
}

/// Twice this is more than anybody's credit where turns alone decide; where something else does, it bounds what
/// the one that always comes first owes to the others.
fn total(method: Method, candidates: &[Candidate], turning: &[usize]) -> i64 {
    turning
        .iter()
        .map(|&index| share(method, &candidates[index]))
        .sum()
}

fn share(method: Method, candidate: &Candidate) -> i64 {
    match method {
        Method::WeightedRoundRobin => i64::from(candidate.weight.max(1)),
        // Only turns among equals.
        Method::RoundRobin | Method::LeastConnections | Method::SourceHash => 1,
    }
}

/// Connections per weight, compared without a division.
fn by_load(a: &Candidate, b: &Candidate) -> Ordering {
    let crossed =
        |own: &Candidate, other: &Candidate| u128::from(own.open) * u128::from(other.weight.max(1));
    crossed(a, b).cmp(&crossed(b, a))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 77, 0, 200));

    fn three() -> [Candidate; 3] {
        [11, 12, 13].map(|last| Candidate {
            address: SocketAddr::from(([10, 77, 0, last], 6443)),
            weight: 1,
            healthy: true,
            suspect: false,
            draining: false,
            preferred: false,
            open: 0,
        })
    }

    fn firsts(method: Method, candidates: &[Candidate], turns: usize) -> Vec<usize> {
        let mut picker = Picker::default();
        (0..turns)
            .map(|_| picker.order(method, candidates, CLIENT)[0])
            .collect()
    }

    #[test]
    fn round_robin_starts_with_each_healthy_backend_in_turn() {
        assert_eq!(firsts(Method::RoundRobin, &three(), 6), [0, 1, 2, 0, 1, 2]);
        let mut picker = Picker::default();
        assert_eq!(
            picker.order(Method::RoundRobin, &three(), CLIENT),
            [0, 1, 2]
        );
        assert_eq!(
            picker.order(Method::RoundRobin, &three(), CLIENT),
            [1, 2, 0]
        );
    }

    #[test]
    fn weights_are_kept_exactly_and_mixed_evenly() {
        let mut weighted = three();
        weighted[0].weight = 5;
        assert_eq!(
            firsts(Method::WeightedRoundRobin, &weighted, 7),
            [0, 0, 1, 0, 2, 0, 0]
        );
        assert_eq!(firsts(Method::RoundRobin, &weighted, 3), [0, 1, 2]);
        let mut extreme = three();
        extreme[0].weight = 100;
        let of_first = firsts(Method::WeightedRoundRobin, &extreme, 1020)
            .into_iter()
            .filter(|&first| first == 0)
            .count();
        assert_eq!(of_first, 1000);
    }

    #[test]
    fn the_one_with_the_fewest_connections_for_its_weight_comes_first() {
        let mut loaded = three();
        loaded[0].open = 4;
        loaded[1].open = 3;
        loaded[2].open = 9;
        assert_eq!(firsts(Method::LeastConnections, &loaded, 2), [1, 1]);
        loaded[2].weight = 4;
        assert_eq!(firsts(Method::LeastConnections, &loaded, 1), [2]);
        // Equals take turns.
        assert_eq!(firsts(Method::LeastConnections, &three(), 4), [0, 1, 2, 0]);
    }

    #[test]
    fn a_client_keeps_its_backend_when_another_one_goes() {
        let all = three();
        let mut kept = 0;
        for last in 0..=255 {
            let client = IpAddr::from([192, 0, 2, last]);
            let mut picker = Picker::default();
            let before = picker.order(Method::SourceHash, &all, client);
            assert_eq!(picker.order(Method::SourceHash, &all, client), before);
            let mut fewer = all;
            fewer[before[1]].healthy = false;
            assert_eq!(
                picker.order(Method::SourceHash, &fewer, client),
                [before[0], before[2]]
            );
            kept += 1;
        }
        assert_eq!(kept, 256);
    }

    #[test]
    fn an_unhealthy_backend_is_left_out_while_another_is_healthy() {
        let mut two_of_three = three();
        two_of_three[1].healthy = false;
        let mut picker = Picker::default();
        for _ in 0..10 {
            let order = picker.order(Method::RoundRobin, &two_of_three, CLIENT);
            assert_eq!(order.len(), 2);
            assert!(!order.contains(&1));
        }
    }

    #[test]
    fn all_are_tried_when_none_is_healthy() {
        let none = three().map(|candidate| Candidate {
            healthy: false,
            ..candidate
        });
        assert_eq!(
            Picker::default().order(Method::RoundRobin, &none, CLIENT),
            [0, 1, 2]
        );
    }

    #[test]
    fn a_suspect_is_tried_last_and_saves_up_no_turns() {
        let mut candidates = three();
        candidates[0].suspect = true;
        let mut picker = Picker::default();
        for _ in 0..10 {
            let order = picker.order(Method::RoundRobin, &candidates, CLIENT);
            assert_eq!(order.last(), Some(&0));
        }
        candidates[0].suspect = false;
        let after: Vec<usize> = (0..6)
            .map(|_| picker.order(Method::RoundRobin, &candidates, CLIENT)[0])
            .collect();
        assert_eq!(after.iter().filter(|&&first| first == 0).count(), 2);
        let all_suspect = candidates.map(|candidate| Candidate {
            suspect: true,
            ..candidate
        });
        assert_eq!(firsts(Method::RoundRobin, &all_suspect, 3), [0, 1, 2]);
    }

    #[test]
    fn one_that_is_about_to_stop_gets_nothing_new_unless_it_is_the_last() {
        let mut candidates = three();
        candidates[0].draining = true;
        assert_eq!(firsts(Method::RoundRobin, &candidates, 4), [1, 2, 1, 2]);
        candidates[1].healthy = false;
        candidates[2].healthy = false;
        assert_eq!(firsts(Method::RoundRobin, &candidates, 2), [0, 0]);
    }

    #[test]
    fn the_preferred_one_comes_first_until_it_is_suspect() {
        for method in [
            Method::RoundRobin,
            Method::WeightedRoundRobin,
            Method::LeastConnections,
            Method::SourceHash,
        ] {
            let mut candidates = three();
            candidates[2].preferred = true;
            candidates[2].open = 1000;
            assert_eq!(firsts(method, &candidates, 3), [2, 2, 2], "{method:?}");
            candidates[2].suspect = true;
            assert!(!firsts(method, &candidates, 3).contains(&2), "{method:?}");
        }
    }

    #[test]
    fn no_backend_gives_an_empty_order() {
        let mut picker = Picker::default();
        assert!(picker.order(Method::RoundRobin, &[], CLIENT).is_empty());
    }
}
