//! What khad does at once instead of running: cleaning a host on which no khad runs, and beginning anew in its own place.

use std::convert::Infallible;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::Context;
use khactl_agent::config::Config;
use khactl_agent::net::UnixSocket;
use khactl_agent::refused::Refused;
use khactl_agent::reset;
use khactl_host::process::Processes;
use serde_json::json;

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

/// Puts a new khad into the place of this process, with the same arguments: whoever supervises it goes on doing so.
/// Returns only if that fails.
pub(crate) fn begin_anew() -> anyhow::Result<Infallible> {
    let program = std::env::current_exe().context("looking for khad's own program")?;
    let error = Command::new(&program)
        .args(std::env::args_os().skip(1))
        .exec();
    Err(error).with_context(|| format!("starting {} anew after a reset", program.display()))
}
