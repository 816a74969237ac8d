//! A component's log as a stream.

use khactl_host::logs;
use khactl_model::component::ComponentName;
use khactl_proto::v1;
use std::pin::Pin;
use std::time::Duration;
use tokio_stream::{Stream, StreamExt};
use tonic::Status;

use crate::config::Config;
use crate::refused::{Refused, chain};

/// A stream of a log's bytes.
pub type LogStream = Pin<Box<dyn Stream<Item = Result<v1::LogChunk, Status>> + Send>>;

const DOING: &str = "read a component's log";
/// What a call gets where it does not say how much.
const LINES_DEFAULT: usize = 100;
/// One message holds so many bytes at the most.
const CHUNK_BYTES: usize = 256 * 1024;

/// Reads a component's log on this host.
///
/// # Errors
/// An unknown component, or a log that cannot be read.
pub async fn read(config: &Config, request: &v1::LogsRequest) -> Result<LogStream, Refused> {
    let Some(component) = ComponentName::parse(&request.component) else {
        return Err(Refused::new(
            "KHA3030",
            DOING,
            format!("there is no component `{}`", request.component),
            format!(
                "name one of {}",
                ComponentName::ALL.map(ComponentName::as_str).join(", ")
            ),
        ));
    };
    let since = match request.since_ms {
        0 => None,
        // Older than the clock's beginning is however old.
        since_ms => khactl_sys::clock::wall().checked_sub(Duration::from_millis(since_ms)),
    };
    let lines = match (request.lines, since) {
        (0, None) => LINES_DEFAULT,
        (0, Some(_)) => logs::LINES_MAX,
        (lines, _) => usize::try_from(lines).unwrap_or(logs::LINES_MAX),
    };
    // Followed from before the tail is read: a line may come twice, none is lost.
    let follow = if request.follow {
        Some(logs::follow(&config.log_dir, component.as_str()).map_err(|e| unreadable(&e))?)
    } else {
        None
    };
    let tail = logs::tail(&config.log_dir, component.as_str(), lines, since)
        .await
        .map_err(|e| unreadable(&e))?;
    let mut text = tail.join("\n").into_bytes();
    if !text.is_empty() {
        text.push(b'\n');
    }
    let chunks: Vec<_> = text
        .chunks(CHUNK_BYTES)
        .map(|chunk| {
            Ok(v1::LogChunk {
                data: chunk.to_vec().into(),
            })
        })
        .collect();
    let tail = tokio_stream::iter(chunks);
    Ok(match follow {
        None => Box::pin(tail),
        Some(follow) => Box::pin(tail.chain(following(follow))),
    })
}

fn following(follow: logs::Follow) -> impl Stream<Item = Result<v1::LogChunk, Status>> + Send {
    futures::stream::unfold(follow, |mut follow| async move {
        let next = follow.next().await;
        let item = next
            .map(|data| v1::LogChunk { data: data.into() })
            .map_err(|error| unreadable(&error).into());
        Some((item, follow))
    })
}

fn unreadable(error: &khactl_host::HostError) -> Refused {
    Refused::new(
        "KHA3031",
        DOING,
        chain(error),
        "a component that has never been started here has no log",
    )
}
