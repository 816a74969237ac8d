//! A TCP balancer over apiservers: listens on the VIP and on loopback, passes each connection to
//! a healthy backend, and lets go of a backend that fails at once.
//!
//! [`Balancer`] is the handle, [`BalancerTask`] the work; the owner of a runtime runs the latter.
//! It never terminates TLS and knows neither lease nor VIP.

mod backend;
mod balancer;
mod check;
mod config;
mod connection;
mod dial;
mod error;
mod health;
mod listener;
mod parting;
mod past;
mod pick;
mod proxy;
mod relay;
mod rendezvous;
mod room;
mod said;
mod scout;
mod silence;
mod suspicion;
mod task;
mod tls;
mod usual;

pub use backend::BackendStatus;
pub use balancer::{Balancer, BalancerStatus};
pub use config::{BackendConfig, BalancerConfig, HealthConfig, Limits, Method, Scheme};
pub use error::BalancerError;
pub use health::Health;
pub use parting::Parting;
pub use pick::{Candidate, Picker};
pub use suspicion::{Evidence, Suspicion};
pub use task::BalancerTask;
