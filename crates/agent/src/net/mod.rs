//! The agents' channel: gRPC over mutual TLS on port 9443, and over the Unix socket for root.
//!
//! It says who calls and carries the call. It never decides what a caller may do beyond the
//! role that a service asks for, and it holds no cluster state.
//!
//! ```text
//! TCP 9443 ── handshake (its own task, deadline, cap) ── Connection{stream, Caller} ─┐
//! Unix socket ── SO_PEERCRED ── Connection{stream, Caller} ──────────────────────────┴─ tonic
//! ```

mod caller;
mod certificate;
mod connection;
mod dial;
mod error;
mod identity;
mod listener;
mod peers;
mod pinned;
mod probe;
mod refusal;
mod serving;
mod tls;
mod unix;

pub use caller::{Caller, caller, identity, require_admin, require_host, require_local};
pub use certificate::{LiveCertificate, TlsFiles};
pub use dial::DialError;
pub use error::NetError;
pub use identity::Identity;
pub use listener::TlsListener;
pub use peers::Peers;
pub use pinned::connect_pinned;
pub use probe::{ProbeAnswer, probe_back};
pub use refusal::{refusal, status};
pub use unix::UnixSocket;
