//! khad: the agent of a control-plane host. It owns the loops and their tasks, serves people
//! and the other agents, and leaves every decision to `khactl_plan`.

pub mod agent;
pub mod bundle;
pub mod carry;
pub mod cluster_loop;
pub mod config;
pub mod configure;
pub mod current_spec;
pub mod delay;
pub mod departure;
pub mod external;
pub mod fencing;
pub mod founding;
pub mod going_down;
pub mod health_ca;
pub mod host_loop;
pub mod issue;
pub mod keeping;
pub mod logs;
pub mod machine;
pub mod member;
pub mod net;
pub mod node;
pub mod observe;
pub mod operation;
pub mod overview;
pub mod placement_loop;
pub mod preflight;
pub mod prober;
pub mod refused;
pub mod reports;
pub mod reset;
pub mod service;
pub mod spare_sockets;
pub mod standing;
pub mod takeover;
pub mod tasks;
pub mod time;
pub mod transfer;
pub mod try_arguments;
pub mod unready;
pub mod vip_client;
pub mod vip_loop;
pub mod vip_release;

pub use refused::chain;
