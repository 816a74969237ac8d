//! Owns every task of the agent: each has a name, none outlives its owner.

use std::future::Future;
use std::sync::{Mutex, PoisonError};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{Instrument, info_span};

/// The agent's tasks. A panic in one is a bug and ends khad, whose components go on and are
/// adopted by the next one.
#[derive(Debug)]
pub struct Tasks {
    set: Mutex<JoinSet<&'static str>>,
    stop: watch::Sender<bool>,
}

impl Default for Tasks {
    fn default() -> Self {
        Self {
            set: Mutex::default(),
            stop: watch::channel(false).0,
        }
    }
}

impl Tasks {
    /// Starts a task. It must end soon after [`Tasks::stopping`] does.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let named = async move {
            let _guard = EndOnPanic(name);
            task.await;
            name
        }
        .instrument(info_span!("task", name));
        let mut set = self.set.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(ended) = set.try_join_next() {
            report(ended);
        }
        set.spawn(named);
    }

    /// Ends when the agent is to stop.
    pub fn stopping(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut stop = self.stop.subscribe();
        async move {
            // The sender lives as long as the agent; its end means the same.
            let _ = stop.wait_for(|stop| *stop).await;
        }
    }

    /// Tells every task to end and waits for them; those that do not end in time are dropped.
    pub async fn stop(&self, within: std::time::Duration) {
        self.stop.send_replace(true);
        let mut set = std::mem::take(&mut *self.set.lock().unwrap_or_else(PoisonError::into_inner));
        let all = async {
            while let Some(ended) = set.join_next().await {
                report(ended);
            }
        };
        if tokio::time::timeout(within, all).await.is_err() {
            tracing::warn!(
                left = set.len(),
                "tasks did not end in time and are dropped"
            );
        }
    }
}

/// A khad whose loop is gone looks alive and supervises nothing: better none, which whoever
/// started it starts again.
struct EndOnPanic(&'static str);

impl Drop for EndOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(task = self.0, "a task of khad panicked; khad ends");
            std::process::exit(70);
        }
    }
}

fn report(ended: Result<&'static str, tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a task of khad ended in a panic");
    }
}
