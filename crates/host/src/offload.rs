//! Runs blocking system calls beside the async threads.

/// Runs `work` on the blocking pool and gives its result. A panic in it goes on in the caller.
pub(crate) async fn offload<T, F>(work: F) -> T
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Blocking work is cancelled only before it begins, when the runtime shuts down; then
            // whoever waits here is being dropped as well.
            Err(_) => std::future::pending().await,
        },
    }
}
