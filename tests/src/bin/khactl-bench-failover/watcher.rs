//! What writes the file that keepalived's fastest configuration follows: whether the host's own apiserver
//! answers, asked every 10 ms. It runs in the host, as this program by another name.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use khactl_sys::realtime::fifo_thread;

use crate::recipe::HEALTH_FILE;

/// The name of its process.
pub(crate) const NAME: &str = "apiserver-watcher";

/// As often as keepalived advertises.
const EVERY: Duration = Duration::from_millis(10);

/// An apiserver that is alive answers in less than a millisecond; one that is busy is not dead.
const WITHIN: Duration = Duration::from_millis(500);

/// Below keepalived itself.
const PRIORITY: i32 = 40;

/// Anything but nothing: keepalived gives the address up.
const FAILED: &str = "1\n";
const GOOD: &str = "0\n";

/// How a host's shell runs it.
pub(crate) fn command_line(address: Ipv4Addr) -> anyhow::Result<String> {
    let program = std::env::current_exe().context("cannot tell where this program lies")?;
    Ok(format!(
        "bash -c 'exec -a {NAME} {} watch {address}:6443'",
        program.display()
    ))
}

/// Watches for ever.
pub(crate) fn watch(target: SocketAddr) -> anyhow::Result<()> {
    // Without it it is as quick as the machine lets it be.
    let _ = fifo_thread(PRIORITY);
    let file = Path::new(HEALTH_FILE);
    let mut written = None;
    loop {
        let now = if answers(target) { GOOD } else { FAILED };
        if written != Some(now) {
            std::fs::write(file, now)
                .with_context(|| format!("cannot write {}", file.display()))?;
            written = Some(now);
        }
        thread::sleep(EVERY);
    }
}

/// Plain HTTP, as the bench's own client asks: a TLS port answers it with one line.
fn answers(target: SocketAddr) -> bool {
    let asked = || -> std::io::Result<[u8; 4]> {
        let mut stream = TcpStream::connect_timeout(&target, WITHIN)?;
        stream.set_read_timeout(Some(WITHIN))?;
        stream.write_all(b"GET /livez HTTP/1.0\r\n\r\n")?;
        let mut answer = [0; 4];
        stream.read_exact(&mut answer)?;
        Ok(answer)
    };
    asked().is_ok_and(|answer| answer == *b"HTTP")
}
