//! What clients may take of the balancer.

use serde::Serialize;

/// `spec.balancer.limits`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BalancerLimits {
    /// Connections at one time, on each host; more wait until one ends.
    pub connections: u32,
    /// Of those, the ones that have said nothing yet; one more, and the oldest of them is reset.
    pub half_open: u32,
    /// How long a client may say nothing after it has connected, in milliseconds.
    pub half_open_ms: u32,
}

impl Default for BalancerLimits {
    fn default() -> Self {
        Self {
            connections: 20_000,
            half_open: 1_000,
            half_open_ms: 10_000,
        }
    }
}
