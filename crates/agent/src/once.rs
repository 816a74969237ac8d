//! What khad does at once instead of running: cleaning a host on which no khad runs, ending the components of a host that
//! goes down, and beginning anew in its own place.

use std::convert::Infallible;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};
use hyper_util::rt::TokioIo;
use khactl_agent::config::Config;
use khactl_agent::net::{NetError, UnixSocket};
use khactl_agent::refused::Refused;
use khactl_agent::{going_down, reset, time};
use khactl_host::process::Processes;
use khactl_proto::v1::EndComponentsRequest;
use khactl_proto::v1::admin_client::AdminClient;
use serde_json::json;
use tokio::net::UnixStream;
use tonic::transport::{Endpoint, Uri};

/// Longer than the graces of all of them.
const END_DEADLINE: Duration = Duration::from_secs(55);
/// A khad that has just ended has its socket for some milliseconds more: the kernel closes what it had one by one.
const GONE_MS: u64 = 2_000;
/// Between two looks whether it is gone.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// `khad reset`: one line of JSON, either `{"kept": […]}` or `{"refused": {…}}`.
pub(crate) async fn reset(config: Config, force: bool) -> anyhow::Result<()> {
    let kept = reset::kept(&config);
    let told = match clean(&config, force).await {
        Ok(()) => json!({ "kept": kept }),
        Err(refused) => json!({ "refused": {
            "code": refused.code,
            "doing": refused.doing,
            "wrong": refused.wrong,
            "advice": refused.advice,
        } }),
    };
    writeln!(std::io::stdout(), "{told}").context("telling how it ended")
}

async fn clean(config: &Config, force: bool) -> Result<(), Refused> {
    reset::judge_offline(config, force).await?;
    let refused = |error: &dyn std::error::Error| {
        Refused::new(
            "KHA2093",
            "clean this host",
            khactl_agent::chain(error),
            "mend what is named, then run it again",
        )
    };
    // No khad starts beside this.
    std::fs::create_dir_all(&config.run_dir).map_err(|error| refused(&error))?;
    let socket = UnixSocket::bind(&config.socket()).map_err(|error| refused(&error))?;
    let processes = Processes::open(&config.data("state"), &config.log_dir)
        .await
        .map_err(|error| refused(&error))?;
    reset::clean(config, &processes).await?;
    drop(socket);
    Ok(())
}

/// `khad end-components`: the khad that runs does it, so that nothing is started beside it and the Leases of what ends are
/// given back; this one where none runs, or where that one ended over it.
pub(crate) async fn end_components(config: Config) -> anyhow::Result<()> {
    std::fs::create_dir_all(&config.run_dir).context("making the run folder")?;
    let asked = match UnixSocket::bind(&config.socket()) {
        Ok(socket) => return end_here(&config, socket).await,
        Err(NetError::AlreadyRunning { .. }) => ask_to_end(config.socket()).await,
        Err(error) => Err(error).context("keeping others from starting a khad"),
    };
    let Err(failure) = asked else {
        return Ok(());
    };
    match socket_left(&config).await {
        Ok(socket) => end_here(&config, socket).await,
        Err(_) => Err(failure),
    }
}

/// The socket of a khad that may be ending.
async fn socket_left(config: &Config) -> Result<UnixSocket, NetError> {
    let give_up_ms = time::boot_ms() + GONE_MS;
    loop {
        match UnixSocket::bind(&config.socket()) {
            Err(NetError::AlreadyRunning { .. }) if time::boot_ms() < give_up_ms => {
                time::pause(LOOK_EVERY).await;
            }
            bound => return bound,
        }
    }
}

/// No khad starts while the socket is held.
async fn end_here(config: &Config, socket: UnixSocket) -> anyhow::Result<()> {
    let processes = Processes::open(&config.data("state"), &config.log_dir)
        .await
        .context("looking for components that run")?;
    // Whatever their cluster: the host goes down with all of them.
    processes
        .adopt_all("")
        .await
        .context("taking hold of components that run")?;
    let ended = going_down::end_components(&processes).await;
    drop(socket);
    ended?;
    Ok(())
}

async fn ask_to_end(socket: PathBuf) -> anyhow::Result<()> {
    let connector = tower::service_fn(move |_: Uri| {
        let path = socket.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    // The address is never looked up: the connector knows its path.
    let channel = Endpoint::from_static("http://khad")
        .connect_with_connector(connector)
        .await
        .context("talking to the khad that runs")?;
    let request = time::within(END_DEADLINE, EndComponentsRequest {});
    match AdminClient::new(channel).end_components(request).await {
        Ok(_) => Ok(()),
        Err(status) => bail!("the khad that runs: {}", status.message()),
    }
}

/// Puts a new khad into the place of this process, with the same arguments: whoever supervises it goes on doing so.
/// Returns only if that fails.
pub(crate) fn begin_anew() -> anyhow::Result<Infallible> {
    let program = std::env::current_exe().context("looking for khad's own program")?;
    let error = Command::new(&program)
        .args(std::env::args_os().skip(1))
        .exec();
    Err(error).with_context(|| format!("starting {} anew after a reset", program.display()))
}
