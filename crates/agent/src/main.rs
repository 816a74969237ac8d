//! `khad`: configure, run, end in order.

mod once;
mod watchdog;

use anyhow::Context;
use clap::Parser;
use khactl_agent::agent::Agent;
use khactl_agent::config::{Arguments, Config, Once};
use khactl_agent::reset;
use khactl_host::process::Processes;
use std::io::IsTerminal;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_env_filter(
            EnvFilter::try_from_env("KHACTL_LOG")
                .unwrap_or_else(|_| EnvFilter::new("info,openraft=warn")),
        )
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("another TLS provider is installed already"))?;
    let machine = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    let config = Config::load(
        &arguments,
        &machine,
        khactl_host::network::default_address(),
    )?;
    // Two threads: one may wait for a disk while the other answers.
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("starting the runtime")?
        .block_on(async move {
            match arguments.once {
                None => run(config).await,
                Some(Once::Reset { force }) => once::reset(config, force).await,
                Some(Once::EndComponents) => once::end_components(config).await,
            }
        })
}

async fn run(config: Config) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("catching SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("catching SIGINT")?;
    let processes = Processes::open(&config.data("state"), &config.log_dir)
        .await
        .context("looking for components that run")?;
    let agent = Agent::new(config, processes);
    agent.keeping.prepare().await?;
    let socket = agent.bind_root().await?;
    if reset::is_begun(&agent.config).await? {
        reset::clean(&agent.config, &agent.processes).await?;
        drop(socket);
        match once::begin_anew()? {}
    }
    agent.resume().await?;
    agent.serve_root(socket);
    // Without systemd there is nobody to tell.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    let looked_at = agent.clone();
    let look = move || drop(looked_at.node());
    let reset = tokio::select! {
        _ = terminate.recv() => false,
        _ = interrupt.recv() => false,
        () = agent.reset_asked.notified() => true,
        never = watchdog::keep_telling(look) => match never {},
    };
    if reset {
        agent.stop().await;
        reset::clean(&agent.config, &agent.processes).await?;
        match once::begin_anew()? {}
    }
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    tracing::info!("ending: components and the VIP are left as they are");
    agent.stop().await;
    Ok(())
}
