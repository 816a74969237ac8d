//! Generated wire and log formats, and their conversion into `khactl_model`.
//!
//! Never decides anything: a message that does not convert is refused with the field's name.

pub mod entry;

/// khactl's own messages and services (`/proto/khactl/v1`).
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::pedantic,
    reason = "generated code"
)]
pub mod v1 {
    tonic::include_proto!("khactl.v1");
}

/// The part of etcd's API that khactl uses (`/proto/etcd`).
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::pedantic,
    reason = "generated code"
)]
pub mod etcdserverpb {
    tonic::include_proto!("etcdserverpb");
}
