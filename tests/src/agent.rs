//! A host's agent alone: killed, started again, started as somebody else.

use std::os::unix::net::UnixStream;
use std::process::Stdio;

use khactl_lab::{PROGRAMS_DIR, Signal};

use crate::cluster::Cluster;
use crate::{SOON, until};

impl Cluster {
    /// SIGKILL to a host's `khad`; returns when it is gone. Its components run on.
    #[track_caller]
    pub fn kill_agent(&self, host: &str) {
        let lab_host = self.host(host);
        // More than one: a child between fork and exec is still named after its parent.
        let killed = lab_host.signal("khad", Signal::KILL);
        assert!(killed > 0, "{host} runs no agent");
        until(&format!("khad of {host} is dead"), SOON, || {
            lab_host.processes_named("khad").is_empty().then_some(())
        });
    }

    /// Starts a host's `khad`; returns when it listens.
    #[track_caller]
    pub fn start_agent(&self, host: &str) {
        if let Err(error) = self.host(host).start_agent() {
            panic!("{error}");
        }
    }

    /// Ends a host's `khad` and starts it again with these arguments after its own (the last one
    /// counts) and this environment.
    #[track_caller]
    pub fn restart_agent_as(&self, host: &str, name: &str, address: &str, env: &[(&str, &str)]) {
        self.kill_agent(host);
        let lab_host = self.host(host);
        let mut start = match lab_host.exec("sh") {
            Ok(command) => command,
            Err(error) => panic!("{error}"),
        };
        start
            .args([
                "-c",
                r#"setsid "$@" </dev/null >>/var/log/khactl/khad.log 2>&1 &"#,
                "sh",
            ])
            .arg(format!("{PROGRAMS_DIR}/khad"))
            .args(["--host-name", name, "--advertise-address", address])
            .envs(env.iter().copied())
            .stdin(Stdio::null());
        assert!(
            start.status().is_ok_and(|status| status.success()),
            "khad of {host} cannot be started"
        );
        until(&format!("khad of {host} listens"), SOON, || {
            let socket = lab_host.run_dir().ok()?.join("khad.sock");
            UnixStream::connect(socket).ok().map(drop)
        });
    }

    /// Ends a host's `khad` and starts it as the host that it is.
    #[track_caller]
    pub fn restart_agent(&self, host: &str) {
        self.kill_agent(host);
        self.start_agent(host);
    }
}
