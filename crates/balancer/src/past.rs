//! What a client has gone through until a backend answers it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::backend::Backend;
use crate::scout::Scout;

/// Kept until the client is answered.
#[derive(Debug, Default)]
pub(crate) struct Past {
    failed: Vec<SocketAddr>,
    passed_by: Vec<SocketAddr>,
    scouts: Vec<Scout>,
}

impl Past {
    /// Its connection there came to nothing.
    pub(crate) fn fail(&mut self, backend: &Backend) {
        self.failed.push(backend.address());
    }

    /// It did not wait there any longer, perhaps as a scout.
    pub(crate) fn pass_by(&mut self, backend: &Backend, scout: Option<Scout>) {
        self.passed_by.push(backend.address());
        self.scouts.extend(scout);
    }

    /// It is not to go there again.
    pub(crate) fn has_failed(&self, backend: &Backend) -> bool {
        self.failed.contains(&backend.address())
    }

    /// It goes there again if nobody else is left, and then it waits.
    pub(crate) fn has_passed_by(&self, backend: &Backend) -> bool {
        self.passed_by.contains(&backend.address())
    }

    /// This backend has answered it, so long after it was asked.
    pub(crate) fn end(self, by: &Arc<Backend>, took: Duration) {
        for scout in self.scouts {
            scout.was_answered(by, took);
        }
    }
}
