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
    /// A process cannot be held.
    #[error(
        "{component} (process {pid}) cannot be ended if no majority answers, since it has no descriptor here: another \
         host leads in its place only once its Lease has run out"
    )]
    Fence {
        /// Which component.
        component: String,
        /// Its process.
        pid: u32,
        /// What the kernel said.
        #[source]
        cause: io::Error,
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
    /// The kernel does not let this process have BPF programs.
    #[error(
        "khavip may not load BPF programs for the gate: \
         run it with CAP_BPF and CAP_NET_ADMIN, as root has them"
    )]
    BpfNotPermitted {
        /// What the kernel said.
        #[source]
        cause: io::Error,
    },
    /// The kernel does not take the gate's programs.
    #[error(
        "this kernel refuses the gate's BPF programs{}: Linux 5.8 or later is needed",
        said(verdict)
    )]
    BpfRefused {
        /// The last words of its verifier.
        verdict: String,
        /// What the kernel said.
        #[source]
        cause: io::Error,
    },
    /// The gate's programs do not do what they are for.
    #[error(
        "the gate's BPF programs let packets of the VIP {vip} pass at the wrong time: \
         is khavip in a time namespace?"
    )]
    BpfMisjudges {
        /// Whose packets.
        vip: IpAddr,
    },
    /// The programs are loaded, but the interface does not take them.
    #[error(
        "the gate's BPF programs cannot be attached to the VIP's interface: does the kernel have \
         `clsact` and `cls_bpf`, and is preference 1 free (`tc filter show dev IF ingress`)?"
    )]
    BpfNotAttached {
        /// What the kernel said.
        #[source]
        cause: io::Error,
    },
    /// The program `nft` is not there.
    #[error("there is no program `nft` to make the gate of nftables: install nftables")]
    NftMissing,
    /// nftables do not let this process have a table.
    #[error("khavip may not make a table of nftables for the gate (CAP_NET_ADMIN): {reason}")]
    NftNotPermitted {
        /// What `nft` said.
        reason: String,
    },
    /// `nft` does not take the gate's rules.
    #[error(
        "nftables refuse the gate's rules: {reason}; Linux 5.16 or later is needed, \
         with `netdev` chains at ingress and egress"
    )]
    NftRefused {
        /// What `nft` said.
        reason: String,
    },
    /// `nft` or the kernel's nftables could not be spoken to.
    #[error("speaking to nftables for the gate failed")]
    Nft {
        /// What went wrong.
        #[source]
        cause: io::Error,
    },
    /// A gate that stands could not be closed, or not be taken away.
    #[error("a gate that khavip left behind cannot be {doing}: does this run as root?")]
    GateLeft {
        /// What was being done.
        doing: &'static str,
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
    /// The khavip that runs did not take a hand-over, or there is none.
    #[error("handing the VIP over at {} failed; where no khavip runs there is nothing to hand over", path.display())]
    HandOver {
        /// Its socket.
        path: PathBuf,
        /// The way to it, or its own word.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
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

/// In brackets, if there is anything.
fn said(words: &str) -> String {
    match words {
        "" => String::new(),
        words => format!(" ({words})"),
    }
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
