//! Faults of the wire between the holder and the other hosts. The client reaches all of them.

use khactl_lab::Cut;
use khactl_tests::Cluster;

use crate::fault::Fault;

/// Cuts what the fault cuts, all at one instant; nothing if it is none of the wire's.
pub(crate) fn cut(cluster: &Cluster, fault: Fault, holder: &str) -> anyhow::Result<()> {
    let mut cuts = Vec::new();
    for peer in cluster.names().iter().filter(|name| *name != holder) {
        if matches!(fault, Fault::CutOff | Fault::HearsNothing) {
            cuts.push(Cut::new(peer, holder));
        }
        if matches!(fault, Fault::CutOff | Fault::SaysNothing) {
            cuts.push(Cut::new(holder, peer));
        }
    }
    Ok(cluster.lab().cut_each(&cuts)?)
}
