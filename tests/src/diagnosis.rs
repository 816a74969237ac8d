//! What a failing test prints before its hosts are gone: enough to tell the cause without a second run.

use std::fs;
use std::path::Path;
use std::time::Duration;

use khactl_lab::{LabHost, Power};

use crate::cluster::Cluster;
use crate::running::Running;
use crate::wait::try_until;

/// The end of each log, in lines.
const LOG_LINES: usize = 40;

/// A status that takes longer does not come.
const STATUS_WITHIN: Duration = Duration::from_secs(15);

/// Prints every host's power, processes, addresses, status and logs. Must not panic: a panic is why it
/// is called.
pub(crate) fn print(cluster: &Cluster) {
    eprintln!("---- what the cluster was like ----");
    for host in cluster.lab().hosts() {
        let processes: Vec<_> = host
            .processes()
            .into_iter()
            .map(|process| process.name)
            .collect();
        eprintln!(
            "-- {}: {:?}, addresses {:?}, processes {processes:?}",
            host.name(),
            host.power(),
            host.addresses().unwrap_or_default()
        );
        if host.power() == Power::On {
            print_status(host);
        }
        print_logs(host.name(), &host.log_dir());
    }
}

fn print_status(host: &LabHost) {
    let Ok(mut command) = host.exec("timeout") else {
        return;
    };
    command.args([&format!("{}", STATUS_WITHIN.as_secs()), "khactl", "status"]);
    let mut running = Running::start("khactl status", command);
    let ended = try_until(STATUS_WITHIN * 2, || running.has_ended().then_some(()));
    match ended {
        Some(()) => {
            let outcome = running.wait(STATUS_WITHIN);
            eprintln!("{}\n{}", outcome.stdout, outcome.stderr);
        }
        None => eprintln!("khactl status does not end"),
    }
}

fn print_logs(host: &str, folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    for file in files {
        let is_log = file.extension().is_some_and(|extension| extension == "log");
        let Ok(bytes) = fs::read(&file) else { continue };
        if !is_log || bytes.is_empty() {
            continue;
        }
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<_> = text.lines().collect();
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        eprintln!("-- {host}: the end of {name}");
        for line in &lines[lines.len().saturating_sub(LOG_LINES)..] {
            // Stack traces and requests of Kubernetes are longer than anyone reads.
            eprintln!("{}", line.chars().take(400).collect::<String>());
        }
    }
}
