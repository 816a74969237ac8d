//! The release for a dead process (K2 to K5): what `khavip release` does in the name of `khad`.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use khactl_lease::{Ballot, Datagram, Message, RecordBinding, encode};

use super::clock::slept_ns;
use super::feed::Prepared;
use super::record_file::RecordFile;
use super::{Feed, LeaseConfig, VipPort};

/// How often the release is said: a lost one costs the others a whole lease time.
const TIMES: u64 = 3;

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeadRelease {
    /// The dead process left no ballot in use; gate and address are gone all the same.
    NothingInUse,
    /// This ballot was released.
    Released(Ballot),
}

/// Closes the gate, removes the address, records and releases, in this order (K2 to K5).
///
/// The caller has proof that the process is dead (K1); the lock on the record proves it again. Fails with
/// [`io::ErrorKind::WouldBlock`] while a process of this host has the record, and with the cause if the gate cannot be
/// closed or the record not be written: then nothing is released.
pub fn release_dead(
    config: &LeaseConfig,
    feed: &Feed,
    port: &mut dyn VipPort,
) -> io::Result<DeadRelease> {
    let binding = RecordBinding {
        boot_id: config.boot_id,
        cluster: config.cluster,
        host: config.host_id,
    };
    let (mut file, record) = RecordFile::open(&config.record, binding, slept_ns())?;
    port.open(0)?;
    port.remove_address();
    let Some(mut record) = record else {
        return Ok(DeadRelease::NothingInUse);
    };
    let Some(ballot) = record.release_for_dead_process() else {
        return Ok(DeadRelease::NothingInUse);
    };
    file.write(&record)?;
    let prepared = Prepared::try_from(feed.clone())
        .map_err(|cause| io::Error::new(io::ErrorKind::InvalidInput, cause))?;
    let socket = UdpSocket::bind(SocketAddr::new(config.bind.ip(), 0))?;
    let incarnation = khactl_sys::entropy::seed()? | 1;
    let mut counter = 0;
    for _ in 0..TIMES {
        for member in feed
            .members
            .iter()
            .filter(|member| member.id != config.host_id)
        {
            counter += 1;
            let message = Message::Release {
                ballot,
                successor: 0,
            };
            let (cluster, sender) = (config.cluster, config.host_id);
            let mut bytes = encode(&Datagram {
                cluster,
                sender,
                incarnation,
                counter,
                message,
            });
            prepared.authentication.sign(&mut bytes);
            // A member that cannot be reached waits its lock out.
            let _unsent = socket.send_to(&bytes, member.address);
        }
    }
    Ok(DeadRelease::Released(ballot))
}
