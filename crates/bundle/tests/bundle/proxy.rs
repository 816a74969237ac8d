//! A proxy on loopback: it knows every name, and leads all of them to one place.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// The proxy. It ends with the test's process.
#[derive(Debug, Clone)]
pub(crate) struct Proxy {
    address: SocketAddr,
    /// What leads to `target`; everything else is refused.
    admits: &'static str,
    target: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    pub(crate) fn start(admits: &'static str, target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Self {
            address: listener.local_addr().unwrap(),
            admits,
            target,
            asked: Arc::default(),
        };
        let serving = proxy.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let serving = serving.clone();
                thread::spawn(move || serving.serve(stream));
            }
        });
        proxy
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every first line that came.
    pub(crate) fn asked(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.clone()
    }

    fn serve(&self, mut client: TcpStream) -> io::Result<()> {
        // Byte by byte: what follows the head is TLS, and the site's.
        let mut head = BufReader::with_capacity(1, client.try_clone()?);
        let mut first = String::new();
        head.read_line(&mut first)?;
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            if head.read_line(&mut line)? == 0 {
                return Ok(());
            }
        }
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.push(first.trim_end().to_owned());
        drop(asked);
        if first.split(' ').nth(1) != Some(self.admits) {
            client.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")?;
            client.shutdown(Shutdown::Write)?;
            io::copy(&mut client, &mut io::sink())?;
            return Ok(());
        }
        let mut site = TcpStream::connect(self.target)?;
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
        let (mut from_client, mut to_site) = (client.try_clone()?, site.try_clone()?);
        thread::spawn(move || {
            let _ = io::copy(&mut from_client, &mut to_site);
            let _ = to_site.shutdown(Shutdown::Write);
        });
        io::copy(&mut site, &mut client)?;
        client.shutdown(Shutdown::Write)
    }
}
