//! The process from start to end: one of its kind per host, served over a Unix socket, ended by
//! SIGTERM in order: the VIP is handed over, the socket closed, the balancer drained, the lease ended.

use std::fs::File;
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use khactl_balancer::{Balancer, BalancerTask};
use khactl_proto::v1::vip_server::VipServer;
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Resource, Rlimit, getrlimit, nice, setrlimit};
use tokio::net::UnixListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_stream::wrappers::UnixListenerStream;

use crate::control::Control;
use crate::error::VipError;
use crate::service::Service;

/// How long connections may go on after SIGTERM. Watches never end by themselves, so this only
/// has to let short requests finish.
const DRAIN: Duration = Duration::from_secs(2);

/// Of the balancer's threads: they work for microseconds at a time, and a client waits for each of them, also while
/// a control plane starts on the same cores. Their session has the same from khad, where the kernel shares by session.
const NICE: i32 = -10;

/// One thread is the limit of all clients together while processors lie idle; more than two would take them from the
/// control plane behind it.
const WORKERS_MAX: usize = 2;

/// A feed is a few KiB, most of it the authorities.
const MESSAGE_BYTES_MAX: usize = 1024 * 1024;

/// Where the process lives.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// On tmpfs: lock, record of the lease, addresses to clear away.
    pub run_dir: PathBuf,
    /// Where khad finds it.
    pub socket: PathBuf,
}

/// Runs until SIGTERM, or until the lease thread ends by itself.
pub fn run(options: &RunOptions) -> Result<(), VipError> {
    let _lock = lock(&options.run_dir)?;
    let descriptors = raise_descriptor_limit();
    let boot_id = boot_id()?;
    let (balancer, work) = Balancer::new(descriptors);
    // P10: before anything else, what a predecessor left behind goes.
    let control = Arc::new(Control::new(
        options.run_dir.clone(),
        boot_id,
        balancer.clone(),
    )?);
    let balancing = start_balancer(work)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|cause| VipError::Runtime {
            doing: "starting the control loop",
            cause,
        })?;
    let ended = runtime.block_on(serve(options, control.clone()));
    balancer.drain(DRAIN);
    if balancing.join().is_err() {
        tracing::error!("the balancer panicked");
    }
    // Last: whatever reached the API by the balancer was guarded until it could not any more.
    runtime.block_on(control.stop());
    tracing::info!("ended");
    ended
}

async fn serve(options: &RunOptions, control: Arc<Control>) -> Result<(), VipError> {
    let listener = listen(&options.socket)?;
    let mut terminate = terminate()?;
    let (close, closed) = oneshot::channel::<()>();
    let service =
        VipServer::new(Service::new(control.clone())).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let server = tonic::transport::Server::builder()
        .add_service(service)
        .serve_with_incoming_shutdown(UnixListenerStream::new(listener), async {
            // Closed by being dropped, too.
            let _closed = closed.await;
        });
    tokio::pin!(server);
    tracing::info!(socket = %options.socket.display(), "waiting to be fed");
    let ended = tokio::select! {
        result = &mut server => result.map_err(|cause| VipError::Serve {
            path: options.socket.clone(),
            cause,
        }),
        failure = control.tend() => Err(failure),
        () = asked_to_end(&mut terminate) => {
            tracing::info!("asked to end: handing the VIP over");
            Ok(())
        }
    };
    control.retire().await;
    drop(close);
    // The socket goes with the process; a successor replaces it.
    let _gone = std::fs::remove_file(&options.socket);
    ended
}

struct Terminate {
    terminate: Signal,
    interrupt: Signal,
}

fn terminate() -> Result<Terminate, VipError> {
    let of = |kind| {
        signal(kind).map_err(|cause| VipError::Runtime {
            doing: "waiting for signals",
            cause,
        })
    };
    Ok(Terminate {
        terminate: of(SignalKind::terminate())?,
        interrupt: of(SignalKind::interrupt())?,
    })
}

async fn asked_to_end(signals: &mut Terminate) {
    tokio::select! {
        _ = signals.terminate.recv() => {}
        _ = signals.interrupt.recv() => {}
    }
}

/// One khavip per run folder (rule P10); held until the process ends, however it ends.
pub(crate) fn lock(run_dir: &Path) -> Result<File, VipError> {
    let path = run_dir.join("khavip.lock");
    let made = |cause| VipError::RunFile {
        path: path.clone(),
        cause,
    };
    std::fs::create_dir_all(run_dir).map_err(made)?;
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(made)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(VipError::AlreadyRunning { path }),
        Err(cause) => Err(made(cause.into())),
    }
}

/// The socket is root's alone from the moment it exists: it is made under another name in the
/// same folder, restricted, and renamed.
fn listen(path: &Path) -> Result<UnixListener, VipError> {
    let made = |cause| VipError::RunFile {
        path: path.to_owned(),
        cause,
    };
    let fresh = path.with_extension("new");
    match std::fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(made(error)),
        _ => {}
    }
    let listener = UnixListener::bind(&fresh).map_err(made)?;
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o600)).map_err(made)?;
    std::fs::rename(&fresh, path).map_err(made)?;
    Ok(listener)
}

/// The balancer has threads of its own, so that moving bytes never delays an answer to khad. What is given back ends with
/// it.
fn start_balancer(work: BalancerTask) -> Result<JoinHandle<()>, VipError> {
    let failed = |cause| VipError::Runtime {
        doing: "starting the balancer",
        cause,
    };
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(processors.min(WORKERS_MAX))
        .thread_name("balancer")
        .on_thread_start(come_first)
        .enable_all()
        .build()
        .map_err(failed)?;
    std::thread::Builder::new()
        .name("balancing".to_owned())
        .spawn(move || {
            // Among those who serve: from this thread every client would be handed over to them.
            let mut balancing = JoinSet::new();
            balancing.spawn_on(work.run(), runtime.handle());
            runtime.block_on(balancing.join_all());
        })
        .map_err(failed)
}

/// Makes the calling thread one that others let go first.
fn come_first() {
    if let Err(error) = nice(NICE) {
        tracing::warn!(%error, "clients may wait while other programs are busy");
    }
}

/// As many connections as a spec can ask for take so many descriptors.
const DESCRIPTORS: u64 = 262_144;

/// Each connection takes two descriptors; the usual soft limit of 1024 is for programs that use `select`. Gives back how
/// many there may be: the balancer takes no more clients than those bear.
fn raise_descriptor_limit() -> u64 {
    let inherited = getrlimit(Resource::Nofile);
    let hard = inherited.maximum.unwrap_or(u64::MAX);
    let to = |limit: u64| Rlimit {
        current: Some(limit),
        maximum: Some(limit.max(hard)),
    };
    // Beyond the hard limit only who has CAP_SYS_RESOURCE comes.
    let raised = setrlimit(Resource::Nofile, to(DESCRIPTORS))
        .or_else(|_| setrlimit(Resource::Nofile, to(hard)));
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit of open files cannot be raised");
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// The kernel's boot id as 16 bytes.
pub(crate) fn boot_id() -> Result<[u8; 16], VipError> {
    let failed = |cause| VipError::Runtime {
        doing: "reading the kernel's boot id",
        cause,
    };
    let text = khactl_sys::boot::id().map_err(failed)?;
    parse_boot_id(&text)
        .ok_or_else(|| failed(io::Error::new(io::ErrorKind::InvalidData, "not a UUID")))
}

fn parse_boot_id(text: &str) -> Option<[u8; 16]> {
    let digits: String = text.trim().chars().filter(|c| *c != '-').collect();
    if digits.len() != 32 {
        return None;
    }
    u128::from_str_radix(&digits, 16)
        .ok()
        .map(u128::to_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_id_is_sixteen_bytes() {
        let id = parse_boot_id("00112233-4455-6677-8899-aabbccddeeff\n").expect("a UUID");
        assert_eq!(id[..2], [0x00, 0x11]);
        assert_eq!(id[15], 0xff);
        assert_eq!(parse_boot_id("none"), None);
    }

    #[test]
    fn a_second_process_is_refused_while_the_first_lives() {
        let folder = tempfile::tempdir().expect("folder");
        let first = lock(folder.path()).expect("the first");
        assert!(matches!(
            lock(folder.path()),
            Err(VipError::AlreadyRunning { .. })
        ));
        drop(first);
        lock(folder.path()).expect("after the first");
    }
}
