//! The one-shot `khavip release`, which khad runs for a khavip that it saw die (rules K2 to K5):
//! what the dead one held is given back at once instead of after a whole lease. And the one-shot
//! `khavip gate remove`, after which nothing of a khavip is left in the kernel.

use std::net::IpAddr;
use std::path::Path;

use khactl_proto::v1;
use prost::Message;

use crate::address::{Hold, Leftover, Netlink, Port, clear_neighbours};
use crate::control::place;
use crate::error::VipError;
use crate::feed::Wanted;
use crate::gate::{self, Gate};
use crate::instance::record;
use crate::lease::{DeadRelease, LeaseConfig, release_dead};
use crate::run::{boot_id, lock};

/// Closes the gate, removes the address and releases the ballot in use. `encoded` is what the dead process was last
/// fed, as an encoded `VipFeedRequest`. Refused while a khavip lives in the run folder.
pub fn release(run_dir: &Path, encoded: &[u8]) -> Result<(), VipError> {
    let _lock = lock(run_dir)?;
    // K2, wherever a gate stands and whatever the feed says.
    let gate = Gate::leftover()?;
    // K3 for what the file remembers, wherever it stands now; the port does it once more below.
    Leftover::new(run_dir).clear()?;
    let fed = v1::VipFeedRequest::decode(encoded).map_err(|error| VipError::Feed {
        field: "encoding",
        reason: error.to_string(),
    })?;
    let wanted = Wanted::try_from(&fed)?;
    let Some(lease) = wanted.lease else {
        return Ok(());
    };
    let netlink = |cause| VipError::Netlink {
        doing: "removing the VIP of a dead khavip",
        cause,
    };
    // An interface that is gone has no address either.
    let targets = place(&wanted.vips).unwrap_or_default();
    let addresses: Vec<IpAddr> = wanted.vips.iter().map(|vip| vip.address).collect();
    Leftover::new(run_dir).remember(&addresses)?;
    let hold = Hold::new().map_err(netlink)?;
    let mut port = Port::new(&targets, hold.into(), gate).map_err(netlink)?;
    let config = LeaseConfig {
        host_id: lease.host_id,
        bind: lease.bind,
        cluster: lease.cluster,
        record: record(run_dir),
        boot_id: boot_id()?,
    };
    let released = release_dead(&config, &lease.feed, &mut port)
        .map_err(|cause| VipError::Release { cause })?;
    match released {
        DeadRelease::Released(ballot) => tracing::info!(?ballot, "released"),
        DeadRelease::NothingInUse => tracing::info!("the dead khavip held nothing"),
    }
    Ok(())
}

/// Takes the VIP, the peers' neighbour entries and then the gate away. Refused while a khavip lives in the run folder.
pub fn remove_gate(run_dir: &Path) -> Result<(), VipError> {
    let _lock = lock(run_dir)?;
    let _closed = Gate::leftover()?;
    Leftover::new(run_dir).clear()?;
    let neighbours = |cause| VipError::Netlink {
        doing: "removing the peers' neighbour entries",
        cause,
    };
    let mut netlink = Netlink::open().map_err(neighbours)?;
    clear_neighbours(&mut netlink).map_err(neighbours)?;
    gate::remove()
}
