//! The spec against one host: what can be known only there. Pure: the facts are given.

use std::net::{IpAddr, SocketAddr};

use super::cluster::Mode;
use super::problem::{Code, Problem};
use super::{AddressPrefix, Interface, ValidSpec};

/// What the check must know of a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostFactsForSpec {
    /// Every interface, loopback too.
    pub interfaces: Vec<InterfaceFacts>,
    /// The address under which the other hosts reach this one.
    pub own_address: Option<IpAddr>,
    /// Every TCP listener that is not khactl's own.
    pub listeners: Vec<SocketAddr>,
}

/// One interface of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceFacts {
    /// Its name.
    pub name: String,
    /// Its addresses with their prefixes, less those that khactl itself put there.
    pub addresses: Vec<AddressPrefix>,
    /// Is it administratively up?
    pub up: bool,
}

/// Everything about the spec that this host cannot carry; empty if it can.
pub fn check_on_host(spec: &ValidSpec, host: &HostFactsForSpec) -> Vec<Problem> {
    let mut check = Check {
        spec,
        host,
        problems: Vec::new(),
    };
    check.interface();
    for (index, vip) in spec.vip.addresses.iter().enumerate() {
        let path = spec.positions.item("spec.vip.addresses", index);
        check.vip(*vip, &path);
    }
    if spec.control_plane.mode == Mode::Managed {
        check.own_address();
    }
    check.ports();
    check.problems
}

/// The interface that the VIP goes to: the named one, or the one that is up and whose network holds the address;
/// of several the one with the same prefix, then the one with the longest.
pub fn vip_interface<'h>(
    spec: &ValidSpec,
    vip: AddressPrefix,
    host: &'h HostFactsForSpec,
) -> Option<&'h str> {
    if let Interface::Named(name) = &spec.vip.interface {
        return host
            .interfaces
            .iter()
            .find(|interface| interface.name == *name)
            .map(|interface| interface.name.as_str());
    }
    host.interfaces
        .iter()
        .filter(|interface| interface.up)
        .flat_map(|interface| {
            interface
                .addresses
                .iter()
                .map(move |address| (interface, address))
        })
        .filter(|(_, network)| holds(**network, vip.address()))
        .max_by_key(|(_, network)| (network.prefix() == vip.prefix(), network.prefix()))
        .map(|(interface, _)| interface.name.as_str())
}

/// Is `address` a neighbour in this network? The host's own address alone is no network.
fn holds(network: AddressPrefix, address: IpAddr) -> bool {
    network.host_bits() > 0 && !network.address().is_loopback() && network.contains(address)
}

struct Check<'a> {
    spec: &'a ValidSpec,
    host: &'a HostFactsForSpec,
    problems: Vec<Problem>,
}

impl Check<'_> {
    fn problem(&mut self, path: &str, code: Code, message: String, cure: &str) {
        self.problems.push(Problem {
            position: self.spec.positions.find(path),
            path: path.to_owned(),
            message,
            code,
            cure: cure.to_owned(),
        });
    }

    fn named(&self) -> Option<&str> {
        match &self.spec.vip.interface {
            Interface::Auto => None,
            Interface::Named(name) => Some(name),
        }
    }

    fn interface(&mut self) {
        const PATH: &str = "spec.vip.interface";
        let Some(name) = self.named().map(str::to_owned) else {
            return;
        };
        match self
            .host
            .interfaces
            .iter()
            .find(|interface| interface.name == name)
        {
            None => {
                let there: Vec<&str> = self
                    .host
                    .interfaces
                    .iter()
                    .map(|interface| interface.name.as_str())
                    .collect();
                let message = format!(
                    "{name} is not an interface of this host, which has {}",
                    there.join(", ")
                );
                self.problem(
                    PATH,
                    Code::InterfaceMissing,
                    message,
                    "Write one of them, or auto.",
                );
            }
            Some(interface) if !interface.up => {
                let message = format!("{name} is down");
                self.problem(
                    PATH,
                    Code::InterfaceDown,
                    message,
                    "Set it up with `ip link set NAME up`, or take another.",
                );
            }
            Some(_) => {}
        }
    }

    fn vip(&mut self, vip: AddressPrefix, path: &str) {
        let owner = self
            .host
            .interfaces
            .iter()
            .find(|interface| {
                interface
                    .addresses
                    .iter()
                    .any(|own| own.address() == vip.address())
            })
            .map(|interface| interface.name.clone());
        if let Some(owner) = owner
            .or_else(|| (self.host.own_address == Some(vip.address())).then(|| "it".to_owned()))
        {
            let message = format!("{vip} is this host's own address already (on {owner})");
            let cure = "Take a free address of the network, or remove it from the interface if it is left over.";
            self.problem(path, Code::VipIsHostAddress, message, cure);
            return;
        }
        let candidates: Vec<_> = self
            .host
            .interfaces
            .iter()
            .filter(|interface| match self.named() {
                Some(name) => interface.name == name,
                None => interface.up,
            })
            .collect();
        if candidates.is_empty() && self.named().is_some() {
            return; // the interface is missing, and that is said
        }
        let networks: Vec<AddressPrefix> = candidates
            .iter()
            .flat_map(|interface| interface.addresses.iter().copied())
            .filter(|network| network.address().is_ipv4() == vip.address().is_ipv4())
            .filter(|network| !network.address().is_loopback())
            .collect();
        if networks
            .iter()
            .any(|network| holds(*network, vip.address()))
        {
            return;
        }
        let shown: Vec<String> = networks.iter().map(ToString::to_string).collect();
        let shown = if shown.is_empty() {
            "no address of this family".to_owned()
        } else {
            shown.join(", ")
        };
        let message = match self.named() {
            Some(name) => format!("{vip} lies outside the network of {name}, which has {shown}"),
            None => format!(
                "{vip} lies in no network of this host's interfaces that are up, which have {shown}"
            ),
        };
        self.problem(
            path,
            Code::VipOutsideNetwork,
            message,
            "Take a free address of the hosts' network.",
        );
    }

    fn own_address(&mut self) {
        let Some(own) = self.host.own_address else {
            return;
        };
        let network = &self.spec.network;
        for (path, whose, cidr) in [
            ("spec.network.podCidr", "pods'", network.pod_cidr),
            (
                "spec.network.serviceCidr",
                "services'",
                network.service_cidr,
            ),
        ] {
            if cidr.contains(own) {
                let message = format!("the {whose} network {cidr} holds this host's address {own}");
                let cure = "Take a network that no host and no client lives in.";
                self.problem(path, Code::HostInsideClusterNetwork, message, cure);
            }
        }
    }

    fn ports(&mut self) {
        let plane = &self.spec.control_plane;
        let managed = plane.mode == Mode::Managed;
        let mut seen = Vec::new();
        for (path, port, asked) in [
            ("spec.balancer.port", self.spec.balancer.port, true),
            (
                "spec.controlPlane.apiServer.port",
                plane.api_server.port,
                managed,
            ),
        ] {
            let wildcard = self
                .host
                .listeners
                .iter()
                .find(|listener| listener.port() == port && listener.ip().is_unspecified())
                .copied();
            if let (true, Some(listener), false) = (asked, wildcard, seen.contains(&port)) {
                seen.push(port);
                let message = format!(
                    "port {port} is taken: something listens on {listener}, that is on every address"
                );
                let cure = if managed {
                    "Stop it, bind it to the host's own address, or take another port."
                } else {
                    "If that is the API server, as kubeadm sets it up, give the balancer a port of its own, for example 8443."
                };
                self.problem(path, Code::PortTaken, message, cure);
            }
        }
    }
}
