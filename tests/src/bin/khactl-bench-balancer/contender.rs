//! Who is measured: each a process of its own that listens on loopback.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use hyper_util::rt::TokioIo;
use khactl_proto::v1;
use khactl_proto::v1::vip_client::VipClient;
use khactl_tests::{SOON, until};
use tempfile::TempDir;
use tokio::net::UnixStream;
use tonic::transport::{Endpoint, Uri};

use crate::backend::PORTS;
use crate::process;

/// One balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contender {
    Khavip,
    Haproxy,
}

impl Contender {
    pub(crate) const ALL: [Self; 2] = [Self::Khavip, Self::Haproxy];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Khavip => "khavip",
            Self::Haproxy => "haproxy",
        }
    }

    /// Below the ports that connections get.
    pub(crate) fn port(self) -> u16 {
        match self {
            Self::Khavip => 811,
            Self::Haproxy => 812,
        }
    }
}

/// A running one. Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Proxy {
    child: Child,
    folder: TempDir,
}

impl Proxy {
    /// Starts it and waits until it serves.
    pub(crate) fn start(contender: Contender) -> anyhow::Result<Self> {
        // In memory, as both want it.
        let folder = tempfile::tempdir_in("/dev/shm").context("no folder for a balancer")?;
        let mut command = match contender {
            Contender::Khavip => khavip(folder.path())?,
            Contender::Haproxy => haproxy(folder.path())?,
        };
        let log = fs::File::create(folder.path().join("log")).context("no log for a balancer")?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("no log for a balancer")?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot run {}", contender.name()))?;
        let proxy = Self { child, folder };
        if contender == Contender::Khavip {
            feed(&proxy.socket(), contender.port())?;
        }
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, contender.port()));
        until(&format!("{} listens", contender.name()), SOON, || {
            TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()
        });
        Ok(proxy)
    }

    /// Processor time so far, of all its threads.
    pub(crate) fn spent(&self) -> anyhow::Result<Duration> {
        process::spent(self.child.id())
    }

    pub(crate) fn resident_mib(&self) -> anyhow::Result<f64> {
        process::resident_mib(self.child.id())
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("khavip.sock")
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // One that has ended already says so.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// It lies in KHACTL_PROGRAMS, or where cargo put this program.
fn khavip(folder: &Path) -> anyhow::Result<Command> {
    let program = match std::env::var_os("KHACTL_PROGRAMS") {
        Some(programs) => PathBuf::from(programs).join("khavip"),
        None => std::env::current_exe()
            .context("cannot tell where this program lies")?
            .with_file_name("khavip"),
    };
    if !program.is_file() {
        bail!(
            "there is no {}: run `make build`, or `make package` for the release build",
            program.display()
        );
    }
    let mut command = Command::new(program);
    command
        .args(["run", "--run-dir"])
        .arg(folder)
        .arg("--socket")
        .arg(folder.join("khavip.sock"));
    Ok(command)
}

fn haproxy(folder: &Path) -> anyhow::Result<Command> {
    let mut text = format!(
        "global\n  maxconn 9900\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1h\n  \
         timeout server 1h\nfrontend api\n  bind 127.0.0.1:{}\n  default_backend servers\n\
         backend servers\n  balance roundrobin\n  option httpchk GET /readyz\n",
        Contender::Haproxy.port()
    );
    for port in PORTS {
        // Writing into a string does not fail.
        let _ = writeln!(text, "  server s{port} 127.0.0.1:{port} check");
    }
    let file = folder.join("haproxy.cfg");
    fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(file);
    Ok(command)
}

/// Tells khavip what it is to do: no lease, only the balancer.
fn feed(socket: &Path, port: u16) -> anyhow::Result<()> {
    let request = v1::VipFeedRequest {
        balancer: Some(v1::VipBalancer {
            port: port.into(),
            method: "round-robin".to_owned(),
            health: Some(v1::VipHealth {
                scheme: "http".to_owned(),
                path: "/readyz".to_owned(),
                period_ms: 500,
                timeout_ms: 500,
                rise: 2,
                fall: 2,
                ..v1::VipHealth::default()
            }),
            backends: PORTS
                .iter()
                .map(|port| v1::VipBackend {
                    host: format!("s{port}"),
                    address: format!("127.0.0.1:{port}"),
                    ..v1::VipBackend::default()
                })
                .collect(),
            ..v1::VipBalancer::default()
        }),
        ..v1::VipFeedRequest::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no runtime to feed khavip")?;
    until("khavip is fed", SOON, || {
        runtime.block_on(tell(socket, request.clone())).ok()
    });
    Ok(())
}

async fn tell(socket: &Path, request: v1::VipFeedRequest) -> anyhow::Result<()> {
    let socket = socket.to_owned();
    let connector = tower::service_fn(move |_: Uri| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    // The address is never looked up: the connector knows its path.
    let channel = Endpoint::from_static("http://khavip")
        .connect_with_connector(connector)
        .await?;
    VipClient::new(channel).feed(request).await?;
    Ok(())
}
