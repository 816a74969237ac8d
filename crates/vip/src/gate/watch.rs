//! The gate's making and care, on the control side: which kind a host bears, that it stays where it
//! was put, that it leaves interfaces which carry no VIP any more. It never opens the gate.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use khactl_sys::own_network::within_own_network;

use crate::error::{VipError, chain};
use crate::gate::bpf::BpfGate;
use crate::gate::channel::Channel;
use crate::gate::set::OpenSet;
use crate::gate::{Gate, Lock, ahead, filter, nft};

/// The only interface of every new network.
const LOOPBACK: u32 = 1;

/// What the gate is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GateKind {
    /// Programs that compare with an absolute deadline.
    Bpf,
    /// A set with a timeout: weaker.
    Nft,
    /// Nothing but the address keeps this host silent.
    None,
}

/// What there is to tell about the gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GateStatus {
    /// What it is made of.
    pub kind: GateKind,
    /// Why it is not the best kind; empty if it is.
    pub reason: String,
    /// Where it stands, by name.
    pub interfaces: Vec<String>,
}

/// The gate's maker.
#[derive(Debug)]
pub struct GateWatch {
    interfaces: Vec<(u32, String)>,
    vips: Vec<IpAddr>,
    bpf: Option<BpfGate>,
    status: GateStatus,
}

impl GateKind {
    /// As status names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bpf => "bpf",
            Self::Nft => "nft",
            Self::None => "none",
        }
    }
}

impl GateWatch {
    /// Puts a closed gate for these VIPs at these interfaces (number and name), of the best kind
    /// that the host bears. There is none where none is possible: the watch then says why.
    pub fn stand(interfaces: Vec<(u32, String)>, vips: Vec<IpAddr>) -> (Self, Gate) {
        let interfaces: Vec<(u32, String)> = interfaces
            .into_iter()
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        let names = interfaces.iter().map(|(_, name)| name.clone()).collect();
        let mut watch = Self {
            interfaces,
            vips,
            bpf: None,
            status: GateStatus {
                kind: GateKind::None,
                reason: String::new(),
                interfaces: names,
            },
        };
        if watch.interfaces.is_empty() {
            "no interface carries a VIP".clone_into(&mut watch.status.reason);
            return (watch, Gate::without());
        }
        let gate = watch.stand_bpf().unwrap_or_else(|bpf| {
            watch.status.reason = chain(&bpf);
            watch.stand_nft().unwrap_or_else(|nft| {
                watch.status.reason = both(&bpf, &nft);
                watch.status.interfaces.clear();
                Gate::without()
            })
        });
        let GateStatus { kind, reason, .. } = &watch.status;
        match kind {
            GateKind::Bpf => tracing::info!("the gate stands"),
            GateKind::Nft => tracing::warn!(reason, "the gate is made of nftables"),
            GateKind::None => tracing::warn!(reason, "there is no gate"),
        }
        (watch, gate)
    }

    /// What kind of gate this host bears, and why no better one. Touches no interface of the host, and leaves nothing
    /// behind.
    pub fn check() -> GateStatus {
        let vips = [
            IpAddr::from(Ipv4Addr::new(192, 0, 2, 100)),
            IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x100)),
        ];
        let loopback = [(LOOPBACK, "lo".to_owned())];
        let tried = BpfGate::load(&vips).and_then(|bpf| try_out(&bpf));
        let (kind, reason) = match tried {
            Ok(()) => (GateKind::Bpf, String::new()),
            Err(bpf) => match nft::check(&loopback, &vips) {
                Ok(()) => (GateKind::Nft, chain(&bpf)),
                Err(nft) => (GateKind::None, both(&bpf, &nft)),
            },
        };
        GateStatus {
            kind,
            reason,
            interfaces: Vec::new(),
        }
    }

    /// What there is to tell.
    pub fn status(&self) -> &GateStatus {
        &self.status
    }

    /// Puts back what somebody took away, or came before, with the deadline that it has; true if there
    /// was something to put back. For every second.
    pub fn mend(&self) -> bool {
        match self.put_back() {
            Ok(true) => {
                tracing::warn!("somebody took the gate away, or came before it; it stands again");
            }
            Ok(false) => return false,
            Err(error) => tracing::warn!("{}", chain(&error)),
        }
        true
    }

    fn put_back(&self) -> Result<bool, VipError> {
        match (self.status.kind, &self.bpf) {
            (GateKind::Bpf, Some(bpf)) => {
                let indices = self.indices();
                let mut channel = Channel::route().map_err(attach_failed)?;
                if bpf
                    .is_attached(&mut channel, &indices)
                    .map_err(attach_failed)?
                {
                    return Ok(false);
                }
                bpf.attach(&mut channel, &indices).map_err(attach_failed)?;
                Ok(true)
            }
            (GateKind::Nft, _) => {
                let standing = OpenSet::new().and_then(|mut set| set.is_standing());
                if standing.map_err(|cause| VipError::Nft { cause })? {
                    return Ok(false);
                }
                nft::set_up(&self.interfaces, &self.vips)?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Takes away the gates of interfaces that are not ours any more, and those of another kind.
    /// The VIP must be gone from there before.
    pub fn sweep(&self) -> Result<(), VipError> {
        let failed = |cause| VipError::GateLeft {
            doing: "removed",
            cause,
        };
        if self.interfaces.is_empty() {
            return Ok(());
        }
        let mut channel = Channel::route().map_err(failed)?;
        let indices = self.indices();
        let unwanted =
            |interface| self.status.kind != GateKind::Bpf || !indices.contains(&interface);
        for standing in filter::standing(&mut channel).map_err(failed)? {
            if unwanted(standing.interface) {
                filter::detach(&mut channel, standing.interface).map_err(failed)?;
            }
        }
        ahead::detach(unwanted).map_err(failed)?;
        if self.status.kind != GateKind::Nft
            && let Ok(mut set) = OpenSet::new()
            && set.is_standing().map_err(failed)?
        {
            set.remove().map_err(failed)?;
        }
        Ok(())
    }

    fn stand_bpf(&mut self) -> Result<Gate, VipError> {
        let bpf = BpfGate::load(&self.vips)?;
        let word = bpf.word()?;
        let mut channel = Channel::route().map_err(attach_failed)?;
        bpf.attach(&mut channel, &self.indices())
            .map_err(attach_failed)?;
        self.bpf = Some(bpf);
        self.status.kind = GateKind::Bpf;
        Ok(Gate::with(Lock::Word(word)))
    }

    fn stand_nft(&mut self) -> Result<Gate, VipError> {
        nft::set_up(&self.interfaces, &self.vips)?;
        let set = OpenSet::new().map_err(|cause| VipError::Nft { cause })?;
        self.status.kind = GateKind::Nft;
        Ok(Gate::with(Lock::Set(Box::new(set))))
    }

    fn indices(&self) -> Vec<u32> {
        self.interfaces.iter().map(|(index, _)| *index).collect()
    }
}

impl Gate {
    fn with(lock: Lock) -> Self {
        Self {
            locks: vec![lock],
            foreign: false,
        }
    }

    /// Always open: the address alone decides.
    fn without() -> Self {
        Self {
            locks: Vec::new(),
            foreign: false,
        }
    }
}

/// A kernel that loads the programs may still have nothing that they could be attached to.
fn try_out(bpf: &BpfGate) -> Result<(), VipError> {
    let attached = within_own_network(|| {
        let mut channel = Channel::route()?;
        bpf.attach(&mut channel, &[LOOPBACK])
    });
    match attached {
        Ok(attached) => attached.map_err(attach_failed),
        // Nowhere to try it without disturbing anybody: what was loaded is believed.
        Err(error) => {
            tracing::debug!(%error, "there is no network to try the gate in");
            Ok(())
        }
    }
}

fn both(bpf: &VipError, nft: &VipError) -> String {
    format!("{}; and {}", chain(bpf), chain(nft))
}

fn attach_failed(cause: io::Error) -> VipError {
    match cause.kind() {
        io::ErrorKind::PermissionDenied => VipError::BpfNotPermitted { cause },
        _ => VipError::BpfNotAttached { cause },
    }
}
