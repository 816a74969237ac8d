//! Which backend gets the next connection: a pure choice. Never connects, never reads a clock.

use crate::config::Method;

/// What the choice looks at, one per backend, in the configuration's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Its checks say so.
    pub healthy: bool,
}

/// The order in which to try the backends, as indices into `candidates`.
///
/// Healthy ones alone; but if none is healthy, all: a wrong check must not be what takes the
/// service down. `cursor` counts connections and turns the order by one each time.
pub fn pick(method: Method, candidates: &[Candidate], cursor: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..candidates.len())
        .filter(|&index| candidates[index].healthy)
        .collect();
    if order.is_empty() {
        order = (0..candidates.len()).collect();
    }
    match method {
        Method::RoundRobin => {
            let turn = cursor.checked_rem(order.len()).unwrap_or(0);
            order.rotate_left(turn);
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(healthy: &[bool]) -> Vec<Candidate> {
        healthy
            .iter()
            .map(|&healthy| Candidate { healthy })
            .collect()
    }

    #[test]
    fn round_robin_starts_with_each_healthy_backend_in_turn() {
        let three = candidates(&[true, true, true]);
        let firsts: Vec<usize> = (0..6)
            .map(|cursor| pick(Method::RoundRobin, &three, cursor)[0])
            .collect();
        assert_eq!(firsts, [0, 1, 2, 0, 1, 2]);
        assert_eq!(pick(Method::RoundRobin, &three, 1), [1, 2, 0]);
    }

    #[test]
    fn an_unhealthy_backend_is_left_out_while_another_is_healthy() {
        let two_of_three = candidates(&[true, false, true]);
        for cursor in 0..10 {
            let order = pick(Method::RoundRobin, &two_of_three, cursor);
            assert_eq!(order.len(), 2);
            assert!(!order.contains(&1));
        }
    }

    #[test]
    fn all_are_tried_when_none_is_healthy() {
        assert_eq!(
            pick(Method::RoundRobin, &candidates(&[false, false]), 3),
            [1, 0]
        );
    }

    #[test]
    fn no_backend_gives_an_empty_order() {
        assert!(pick(Method::RoundRobin, &[], 7).is_empty());
    }
}
