//! Faults that are the same for every contender: those of the wire.

use anyhow::bail;
use khactl_tests::Cluster;

use crate::fault::Fault;

/// Cuts what the fault cuts between the holder and the other hosts. The client stays reachable.
pub(crate) fn cut(cluster: &Cluster, fault: Fault, holder: &str) -> anyhow::Result<()> {
    let lab = cluster.lab();
    for peer in cluster.names().iter().filter(|name| *name != holder) {
        match fault {
            Fault::CutOff => lab.cut_pair(holder, peer)?,
            Fault::HearsNothing => lab.cut_one_way(peer, holder)?,
            Fault::SaysNothing => lab.cut_one_way(holder, peer)?,
            _ => bail!("{} cuts no wire", fault.name()),
        }
    }
    Ok(())
}
