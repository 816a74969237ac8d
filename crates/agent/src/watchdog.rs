//! Tells systemd that khad lives: that the runtime's threads still take turns and its state can be looked at. It never
//! judges whether the cluster is well, which no restart of khad would mend.

use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::task::JoinSet;

/// Of the time that systemd grants, so that one late turn does not end khad.
const PARTS: u32 = 3;

/// Tells it until dropped, where systemd asked for it. `look` takes the locks that every caller needs.
pub(crate) async fn keep_telling(look: impl Fn() + Send + Clone + 'static) -> Infallible {
    let Some(granted) = sd_notify::watchdog_enabled() else {
        return pending().await;
    };
    let mut turns = tokio::time::interval(pause(granted));
    let mut looks = JoinSet::new();
    loop {
        turns.tick().await;
        let look = look.clone();
        // On one of the runtime's threads, not on the one that waits here: they are what may hang.
        looks.spawn(async move { look() });
        while looks.join_next().await.is_some() {}
        let _ = sd_notify::notify(&[NotifyState::Watchdog]);
    }
}

/// Between two tellings.
fn pause(granted: Duration) -> Duration {
    (granted / PARTS).max(Duration::from_millis(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systemd_hears_of_khad_several_times_in_what_it_grants() {
        assert_eq!(pause(Duration::from_secs(30)), Duration::from_secs(10));
        assert_eq!(pause(Duration::ZERO), Duration::from_millis(1));
    }
}
