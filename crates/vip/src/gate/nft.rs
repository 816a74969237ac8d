//! The gate as nftables rules: the fallback. The rules are made by the program `nft`, once per
//! start; opening, renewing and closing need the kernel alone.

use std::io::{self, Write};
use std::net::IpAddr;
use std::process::{Command, Stdio};

use crate::error::VipError;
use crate::gate::ruleset::ruleset;

/// Replaces the table by a closed one that stands at these interfaces.
pub(crate) fn set_up(interfaces: &[(u32, String)], vips: &[IpAddr]) -> Result<(), VipError> {
    run(&["-f", "-"], &ruleset(interfaces, vips))
}

/// Whether the kernel would take such a table; nothing stays of it.
pub(crate) fn check(interfaces: &[(u32, String)], vips: &[IpAddr]) -> Result<(), VipError> {
    run(&["-c", "-f", "-"], &ruleset(interfaces, vips))
}

fn run(arguments: &[&str], ruleset: &str) -> Result<(), VipError> {
    let failed = |cause: io::Error| match cause.kind() {
        io::ErrorKind::NotFound => VipError::NftMissing,
        _ => VipError::Nft { cause },
    };
    let mut child = Command::new("nft")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let written = child
        .stdin
        .take()
        .map_or(Ok(()), |mut input| input.write_all(ruleset.as_bytes()));
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return written.map_err(failed);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let reason = said.lines().next().unwrap_or_default().trim().to_owned();
    if said.contains("Operation not permitted") {
        return Err(VipError::NftNotPermitted { reason });
    }
    Err(VipError::NftRefused { reason })
}
