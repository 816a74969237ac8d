//! The switch: a bridge in a namespace of its own, and the cuts on it.
//!
//! A cut drops all frames (IPv4, IPv6, ARP) from one port to another in the bridge's forward
//! hook. Cuts belong to ports, so they hold through a host's power cut and boot.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::layout::{HostLayout, NETNS_DIR, PREFIX_LEN, switch_netns};
use crate::name::LabName;
use crate::tool;

/// Frames of `from` do not reach `to`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cut {
    /// The host whose frames are dropped.
    pub from: String,
    /// The host that misses them.
    pub to: String,
}

impl Cut {
    /// One direction.
    pub fn new(from: &str, to: &str) -> Self {
        Self {
            from: from.to_owned(),
            to: to.to_owned(),
        }
    }

    fn touches(&self, host: &str) -> bool {
        self.from == host || self.to == host
    }
}

const WIRE: &str = "table bridge part {
 set cut { type ifname . ifname; }
 chain wire {
  type filter hook forward priority 0;
  iifname . oifname @cut drop
 }
}
";

/// The bridge of one lab.
#[derive(Debug, Clone)]
pub(crate) struct Switch {
    netns: String,
}

impl Switch {
    pub(crate) fn new(lab: &LabName) -> Self {
        Self {
            netns: switch_netns(lab),
        }
    }

    /// The file that stands for its namespace.
    pub(crate) fn netns_file(&self) -> PathBuf {
        Path::new(NETNS_DIR).join(&self.netns)
    }

    /// Makes namespace, bridge and the empty table of cuts.
    pub(crate) fn create(&self) -> Result<()> {
        tool::run("ip", &["netns", "add", &self.netns])?;
        // Without a forwarding delay a port carries frames at once.
        self.ip("link add br0 type bridge forward_delay 0\nlink set br0 up\nlink set lo up\n")?;
        self.nft(WIRE).map(drop)
    }

    /// Plugs a host in: its namespace exists, its `eth0` is made, addressed and up.
    pub(crate) fn plug(&self, host: &HostLayout) -> Result<()> {
        let HostLayout {
            name,
            address,
            netns,
            mac,
            ..
        } = host;
        self.ip(&format!(
            "link add {name} type veth peer name eth0 address {mac} netns {netns}\n\
             link set {name} master br0 up\n"
        ))?;
        let inside = format!(
            "link set lo up\naddr add {address}/{PREFIX_LEN} brd + dev eth0\nlink set eth0 up\n"
        );
        tool::feed("ip", &["-n", netns, "-batch", "-"], &inside).map(drop)
    }

    /// Takes the port down; nothing passes from this instant on.
    pub(crate) fn port_down(&self, host: &str) -> Result<()> {
        self.ip(&format!("link set {host} down\n"))
    }

    /// Removes the port, and with it the host's `eth0` and its addresses.
    pub(crate) fn unplug(&self, host: &str) -> Result<()> {
        self.ip(&format!("link del {host}\n"))
    }

    /// Adds cuts; those that are there stay.
    pub(crate) fn cut(&self, cuts: &BTreeSet<Cut>) -> Result<()> {
        self.change("add", cuts)
    }

    /// Removes the cuts that touch a host.
    pub(crate) fn heal(&self, host: &str) -> Result<()> {
        let healed = self
            .cuts()?
            .into_iter()
            .filter(|cut| cut.touches(host))
            .collect();
        self.change("delete", &healed)
    }

    /// Removes all cuts.
    pub(crate) fn heal_all(&self) -> Result<()> {
        self.nft("flush set bridge part cut\n").map(drop)
    }

    /// The cuts of this moment.
    pub(crate) fn cuts(&self) -> Result<BTreeSet<Cut>> {
        let listed = tool::run(
            "ip",
            &[
                "netns",
                "exec",
                &self.netns,
                "nft",
                "list",
                "set",
                "bridge",
                "part",
                "cut",
            ],
        )?;
        Ok(parse_cuts(&listed))
    }

    fn change(&self, verb: &str, cuts: &BTreeSet<Cut>) -> Result<()> {
        if cuts.is_empty() {
            return Ok(());
        }
        let pairs: Vec<_> = cuts
            .iter()
            .map(|cut| format!("\"{}\" . \"{}\"", cut.from, cut.to))
            .collect();
        self.nft(&format!(
            "{verb} element bridge part cut {{ {} }}\n",
            pairs.join(", ")
        ))
        .map(drop)
    }

    fn ip(&self, batch: &str) -> Result<()> {
        tool::feed("ip", &["-n", &self.netns, "-batch", "-"], batch).map(drop)
    }

    fn nft(&self, ruleset: &str) -> Result<String> {
        tool::feed(
            "ip",
            &["netns", "exec", &self.netns, "nft", "-f", "-"],
            ruleset,
        )
    }
}

/// Reads `"cp1" . "cp2"` pairs out of nft's listing of the set.
fn parse_cuts(listed: &str) -> BTreeSet<Cut> {
    let Some((_, elements)) = listed.split_once("elements = {") else {
        return BTreeSet::new();
    };
    let elements = elements.split('}').next().unwrap_or_default();
    elements
        .split(',')
        .filter_map(|pair| {
            let (from, to) = pair.split_once(" . ")?;
            let bare = |name: &str| name.trim().trim_matches('"').to_owned();
            Some(Cut {
                from: bare(from),
                to: bare(to),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_are_read_back_from_the_listing_over_several_lines() {
        let listed = "table bridge part {\n\tset cut {\n\t\ttype ifname . ifname\n\t\telements = { \"cp1\" . \"cp2\",\n\t\t\t     \"cp2\" . \"client\" }\n\t}\n}\n";
        assert_eq!(
            parse_cuts(listed),
            BTreeSet::from([Cut::new("cp1", "cp2"), Cut::new("cp2", "client")])
        );
        assert!(
            parse_cuts("table bridge part {\n\tset cut {\n\t\ttype ifname . ifname\n\t}\n}\n")
                .is_empty()
        );
    }
}
