//! Everything that can go wrong in khavip outside the lease thread.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

/// A failed action of khavip.
#[derive(Debug, thiserror::Error)]
pub enum VipError {
    /// A feed that cannot be meant.
    #[error("the feed's {field} is refused: {reason}")]
    Feed {
        /// Which field.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The named interface is not there.
    #[error(
        "the VIP {vip} belongs on interface {interface}, which this host does not have: \
         create it or correct `vip.interface`"
    )]
    NoInterface {
        /// The VIP.
        vip: String,
        /// The interface asked for.
        interface: String,
    },
    /// No interface is in the VIP's network.
    #[error(
        "no interface of this host has an address in the network of the VIP {vip}: \
         give it one, or name the interface in `vip.interface`"
    )]
    NoNetwork {
        /// The VIP.
        vip: String,
    },
    /// The interface cannot carry announcements.
    #[error("interface {interface} for the VIP {vip} has no Ethernet address: name another one")]
    NoEthernet {
        /// The VIP.
        vip: String,
        /// The interface.
        interface: String,
    },
    /// The address could not be put on its interface.
    #[error("the VIP {address} cannot be added to its interface: does khavip run as root?")]
    Add {
        /// The VIP.
        address: IpAddr,
        /// What the kernel said.
        #[source]
        cause: io::Error,
    },
    /// The kernel refused to talk about addresses.
    #[error("{doing} failed: does khavip run as root (CAP_NET_ADMIN, CAP_NET_RAW)?")]
    Netlink {
        /// What was being done.
        doing: &'static str,
        /// What the kernel said.
        #[source]
        cause: io::Error,
    },
    /// A kernel setting could not be changed.
    #[error(
        "{} cannot be set, so that other interfaces may answer ARP for the VIP: set it by hand",
        path.display()
    )]
    Setting {
        /// The setting's file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        cause: io::Error,
    },
    /// The file that remembers the VIP.
    #[error("{} cannot be read or written: is the run folder there, and root's?", path.display())]
    Leftover {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        cause: io::Error,
    },
    /// Another khavip runs here (rule P10).
    #[error("another khavip holds {}: stop it first", path.display())]
    AlreadyRunning {
        /// The lock's file.
        path: PathBuf,
    },
    /// The lock or the socket could not be made.
    #[error("{} cannot be made: is the run folder there, and root's?", path.display())]
    RunFile {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        cause: io::Error,
    },
    /// The lease thread did not start.
    #[error(
        "the lease cannot be started at {bind}: is the address this host's own, and the port free?"
    )]
    Lease {
        /// Where its datagrams arrive.
        bind: std::net::SocketAddr,
        /// What the kernel said.
        #[source]
        cause: io::Error,
    },
    /// What a dead khavip held could not be given back.
    #[error("giving back what a dead khavip held failed: its lease ends by itself instead")]
    Release {
        /// What the kernel said.
        #[source]
        cause: io::Error,
    },
    /// The lease thread ended by itself.
    #[error("the lease thread ended: {reason}; khavip ends too, so that it is started afresh")]
    LeaseEnded {
        /// What it said.
        reason: String,
    },
    /// The Unix socket's server ended.
    #[error("serving {} failed", path.display())]
    Serve {
        /// The socket.
        path: PathBuf,
        /// What went wrong.
        #[source]
        cause: tonic::transport::Error,
    },
    /// Threads or signals could not be had.
    #[error("{doing} failed")]
    Runtime {
        /// What was being done.
        doing: &'static str,
        /// What the kernel said.
        #[source]
        cause: io::Error,
    },
}

/// An error with all its causes, on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
