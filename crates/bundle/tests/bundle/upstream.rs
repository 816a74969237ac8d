//! A release site on loopback, with upstream's paths, that can be made to misbehave.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// What happens to a request for a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// After so many bytes of the answer the connection ends.
    BreakOff(usize),
    /// The same, each time.
    AlwaysBreakOff(usize),
    /// The range is ignored: all of it, with 200.
    NoRanges,
    /// `503`
    Unavailable,
}

/// A request as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) range: Option<String>,
    pub(crate) if_range: Option<String>,
}

#[derive(Debug, Default)]
struct Shared {
    files: BTreeMap<String, Vec<u8>>,
    moved: BTreeMap<String, String>,
    faults: BTreeMap<String, Vec<Fault>>,
    asked: Vec<Asked>,
}

/// The site. It ends with the test's process.
#[derive(Debug, Clone)]
pub(crate) struct Upstream {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
}

impl Upstream {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let site = Self {
            address: listener.local_addr().unwrap(),
            shared: Arc::default(),
        };
        let serving = site.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let serving = serving.clone();
                thread::spawn(move || serving.answer(stream));
            }
        });
        site
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn put(&self, path: &str, bytes: &[u8]) {
        self.with(|shared| shared.files.insert(path.to_owned(), bytes.to_vec()));
    }

    pub(crate) fn remove(&self, path: &str) {
        self.with(|shared| shared.files.remove(path));
    }

    /// Whoever asks for `path` is sent to that address.
    pub(crate) fn send_on(&self, path: &str, to: &str) {
        self.with(|shared| shared.moved.insert(path.to_owned(), to.to_owned()));
    }

    /// The next requests for `path` go wrong like this, one after the other.
    pub(crate) fn fail(&self, path: &str, faults: &[Fault]) {
        let faults = faults.iter().rev().copied().collect();
        self.with(|shared| shared.faults.insert(path.to_owned(), faults));
    }

    /// What was asked for, since the last time.
    pub(crate) fn take_asked(&self) -> Vec<Asked> {
        self.with(|shared| std::mem::take(&mut shared.asked))
    }

    fn with<T>(&self, change: impl FnOnce(&mut Shared) -> T) -> T {
        change(&mut self.shared.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// One request on each connection.
    fn answer(&self, mut stream: TcpStream) -> Option<()> {
        let mut lines = BufReader::new(stream.try_clone().ok()?).lines();
        let first = lines.next()?.ok()?;
        let path = first.split(' ').nth(1)?.to_owned();
        let mut asked = Asked {
            path,
            range: None,
            if_range: None,
        };
        for line in lines {
            let line = line.ok()?;
            let Some((name, value)) = line.split_once(": ") else {
                break;
            };
            match name.to_ascii_lowercase().as_str() {
                "range" => asked.range = Some(value.to_owned()),
                "if-range" => asked.if_range = Some(value.to_owned()),
                _ => {}
            }
        }
        let (file, moved, fault) = self.with(|shared| {
            shared.asked.push(asked.clone());
            let faults = shared.faults.entry(asked.path.clone()).or_default();
            let fault = match faults.last() {
                Some(Fault::AlwaysBreakOff(_)) => faults.last().copied(),
                _ => faults.pop(),
            };
            let moved = shared.moved.get(&asked.path).cloned();
            (shared.files.get(&asked.path).cloned(), moved, fault)
        });
        let close = "connection: close\r\n\r\n";
        if let Some(to) = moved {
            return write!(
                stream,
                "HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n{close}"
            )
            .ok();
        }
        if fault == Some(Fault::Unavailable) {
            return write!(stream, "HTTP/1.1 503 Wait\r\ncontent-length: 0\r\n{close}").ok();
        }
        let Some(file) = file else {
            return write!(stream, "HTTP/1.1 404 None\r\ncontent-length: 0\r\n{close}").ok();
        };
        let tag = format!("\"{}\"", khactl_bundle::digest::of_bytes(&file));
        let begin = asked.range.as_deref().and_then(|range| {
            range
                .strip_prefix("bytes=")?
                .strip_suffix('-')?
                .parse::<usize>()
                .ok()
        });
        let same = asked.if_range.as_ref().is_none_or(|known| *known == tag);
        let begin = begin.filter(|_| same && fault != Some(Fault::NoRanges));
        if begin.is_some_and(|begin| begin >= file.len()) {
            return write!(
                stream,
                "HTTP/1.1 416 Beyond\r\ncontent-length: 0\r\n{close}"
            )
            .ok();
        }
        let body = &file[begin.unwrap_or(0)..];
        let status = match begin {
            Some(begin) => format!(
                "206 Partial Content\r\ncontent-range: bytes {begin}-{}/{}",
                file.len() - 1,
                file.len()
            ),
            None => "200 OK".to_owned(),
        };
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 {status}\r\netag: {tag}\r\ncontent-length: {length}\r\n{close}"
        )
        .ok()?;
        let sent = match fault {
            Some(Fault::BreakOff(at) | Fault::AlwaysBreakOff(at)) => &body[..at.min(length)],
            _ => body,
        };
        stream.write_all(sent).ok()?;
        // Nothing unread is left, so that the end is an end and not a reset that overtakes the bytes.
        stream.shutdown(std::net::Shutdown::Write).ok()?;
        let mut rest = [0; 64];
        while stream.read(&mut rest).is_ok_and(|count| count > 0) {}
        Some(())
    }
}
