//! The Lease of one component as this host sees it: read and cleared with the component's own certificate. Whether it may
//! be cleared is not decided here.

use khactl_host::leader_lease::{Cleared, LeaseClient, ReadLease};
use khactl_model::component::ComponentName;
use khactl_plan::takeover::Sightings;

use super::client;
use crate::chain;
use crate::node::Node;
use crate::time;

/// What was seen of it, and the way to it.
#[derive(Debug)]
pub(super) struct WatchedLease {
    component: ComponentName,
    client: Option<LeaseClient>,
    sightings: Sightings,
}

impl WatchedLease {
    pub(super) fn of(component: ComponentName) -> Self {
        Self {
            component,
            client: None,
            sightings: Sightings::default(),
        }
    }

    pub(super) fn sightings(&self) -> &Sightings {
        &self.sightings
    }

    /// Nothing was seen yet.
    pub(super) fn forget(&mut self) {
        self.sightings = Sightings::default();
    }

    /// Reads it by the balancer at that port, and keeps what was seen; `None`: there is none.
    pub(super) async fn look(
        &mut self,
        node: &Node,
        port: u16,
    ) -> Result<Option<ReadLease>, String> {
        // One that failed is made anew: its certificate may have been renewed.
        let mut client = match self.client.take() {
            Some(client) => client,
            None => client(node, self.component, port)
                .await
                .map_err(|error| chain(&error))?,
        };
        let read = client.read().await.map_err(|error| chain(&error))?;
        self.client = Some(client);
        let lease = read.as_ref().map(|read| read.lease.clone());
        self.sightings
            .note(lease.unwrap_or_default(), time::boot_ms());
        Ok(read)
    }

    /// Clears it as it was read, if that is what was judged and nobody has written to it since.
    pub(super) async fn clear(
        &mut self,
        read: &ReadLease,
        judged: &str,
    ) -> Result<Cleared, String> {
        if read.lease.resource_version != judged {
            return Ok(Cleared::Conflict);
        }
        let Some(mut client) = self.client.take() else {
            return Ok(Cleared::Conflict);
        };
        let cleared = client.clear(read).await.map_err(|error| chain(&error))?;
        self.client = Some(client);
        Ok(cleared)
    }
}
