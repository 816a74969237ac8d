//! Clients that have connected and said nothing yet. They cost a connection to a backend each, so that there may be
//! only so many and only for so long; who has said a word is none of them any more.

use std::collections::BTreeMap;
use std::future::pending;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Sleep, sleep};

/// All of them, in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct SilentClients {
    waiting: Mutex<Waiting>,
    ended: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    by_number: BTreeMap<u64, Arc<Notify>>,
}

/// One client's silence, until it is dropped.
#[derive(Debug)]
pub(crate) struct Silence {
    all: Arc<SilentClients>,
    number: u64,
    too_many: Arc<Notify>,
    too_long: Pin<Box<Sleep>>,
}

impl SilentClients {
    /// A client has come. If there are more than `most` now, the one that has been silent longest is told to go: who
    /// means to speak does so within a round trip.
    pub(crate) fn enter(self: &Arc<Self>, most: usize, time: Duration) -> Silence {
        let too_many = Arc::new(Notify::new());
        let mut waiting = self.waiting();
        let number = waiting.next;
        waiting.next += 1;
        waiting.by_number.insert(number, too_many.clone());
        if waiting.by_number.len() > most
            && let Some((_, oldest)) = waiting.by_number.pop_first()
        {
            oldest.notify_one();
        }
        drop(waiting);
        Silence {
            all: self.clone(),
            number,
            too_many,
            too_long: Box::pin(sleep(time)),
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.waiting().by_number.len()
    }

    /// How many were ended for their silence.
    pub(crate) fn ended(&self) -> u64 {
        self.ended.load(Ordering::Relaxed)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Silence {
    /// Resolves when this client is to go; never for one that has spoken.
    pub(crate) async fn over(silence: Option<&mut Self>) {
        let Some(silence) = silence else {
            return pending().await;
        };
        tokio::select! {
            () = silence.too_many.notified() => {}
            () = &mut silence.too_long => {}
        }
        silence.all.ended.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        self.all.waiting().by_number.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_hours(1);

    #[tokio::test]
    async fn one_too_many_ends_the_oldest_and_nobody_else() {
        let all = Arc::new(SilentClients::default());
        let mut first = all.enter(2, LONG);
        let spoken = all.enter(2, LONG);
        drop(spoken);
        let _second = all.enter(2, LONG);
        assert_eq!((all.count(), all.ended()), (2, 0));
        let _third = all.enter(2, LONG);
        Silence::over(Some(&mut first)).await;
        drop(first);
        assert_eq!((all.count(), all.ended()), (2, 1));
    }

    #[tokio::test]
    async fn silence_ends_with_its_time() {
        let all = Arc::new(SilentClients::default());
        let mut short = all.enter(2, Duration::from_millis(1));
        Silence::over(Some(&mut short)).await;
        assert_eq!(all.ended(), 1);
    }
}
