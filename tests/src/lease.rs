//! What each host's khavip says of its lease, asked at its own socket: what `khactl status` tells is a
//! report some seconds old.

use std::time::Duration;

use hyper_util::rt::TokioIo;
use khactl_proto::v1::vip_client::VipClient;
use khactl_proto::v1::{VipLease, VipStatusRequest, VipStatusResponse};
use tokio::net::UnixStream;
use tonic::transport::{Endpoint, Uri};

use crate::cluster::Cluster;

/// khavip answers from memory; one that takes longer is as good as away.
const WITHIN: Duration = Duration::from_secs(1);

impl Cluster {
    /// The status of a host's khavip; none while it does not answer.
    pub fn vip_status(&self, host: &str) -> Option<VipStatusResponse> {
        let socket = self.lab().host(host).ok()?.run_dir().ok()?;
        let socket = socket.join("khavip.sock");
        let connector = tower::service_fn(move |_: Uri| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        let asked = async {
            // The address is never looked up: the connector knows its path.
            let channel = Endpoint::from_static("http://khavip")
                .connect_with_connector(connector)
                .await
                .ok()?;
            let answer = VipClient::new(channel).status(VipStatusRequest {}).await;
            Some(answer.ok()?.into_inner())
        };
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .ok()?
            .block_on(async { tokio::time::timeout(WITHIN, asked).await.ok()? })
    }

    /// The one host that holds the lease, if at this moment all `hosts` hosts take part in it, each could
    /// hold it, and all agree on who does.
    pub fn whole_lease(&self, hosts: usize) -> Option<String> {
        let leases: Vec<(String, VipLease)> = self
            .names()
            .into_iter()
            .filter_map(|name| {
                let lease = self.vip_status(&name)?.lease?;
                Some((name, lease))
            })
            .collect();
        holder_of_whole(&leases, hosts)
    }
}

fn holder_of_whole(leases: &[(String, VipLease)], hosts: usize) -> Option<String> {
    let whole = leases.len() == hosts
        && leases
            .iter()
            .all(|(_, lease)| lease.ready && lease.fit && lease.epoch == lease.fence);
    let agreed = leases
        .windows(2)
        .all(|pair| pair[0].1.holder_id == pair[1].1.holder_id);
    let mut holding = leases.iter().filter(|(_, lease)| lease.holding);
    let holder = holding.next()?;
    (whole && agreed && holding.next().is_none()).then(|| holder.0.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(holding: bool) -> VipLease {
        VipLease {
            running: true,
            holder_id: 1,
            holding,
            epoch: 3,
            fence: 3,
            ready: true,
            fit: true,
            ..VipLease::default()
        }
    }

    fn holder(leases: [VipLease; 3]) -> Option<String> {
        let named = ["cp1", "cp2", "cp3"].map(str::to_owned);
        let leases: Vec<_> = named.into_iter().zip(leases).collect();
        holder_of_whole(&leases, 3)
    }

    #[test]
    fn a_lease_is_whole_when_every_host_could_take_over_now() {
        let whole = || [lease(true), lease(false), lease(false)];
        assert_eq!(holder(whole()).as_deref(), Some("cp1"));
        let broken: [fn(&mut VipLease); 4] = [
            |lease| lease.ready = false,
            |lease| lease.fit = false,
            |lease| lease.fence = 2,
            |lease| lease.holder_id = 2,
        ];
        for breaking in broken {
            let mut leases = whole();
            breaking(&mut leases[2]);
            assert_eq!(holder(leases), None);
        }
        assert_eq!(holder([lease(false), lease(false), lease(false)]), None);
        assert_eq!(holder([lease(true), lease(true), lease(false)]), None);
    }
}
