//! Fetches one file over HTTP, as often as it takes, and goes on where it broke off.
//!
//! ```text
//! ask from byte N ─► 206: go on │ 200: from the beginning │ broken off: ask again │ 404: give up
//! ```
//!
//! The checksum has the last word: what was put together of several answers is thrown away if it does not fit, and
//! fetched once more in one piece.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ureq::Agent;
use ureq::http::{HeaderMap, StatusCode};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::access::Access;
use crate::digest;
use crate::error::BundleError;
use crate::manifest::PROGRAM_BYTES_MAX;

/// A site that does not answer in that time is asked again.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// So long one answer may take; a slow line goes on with another one, and one that stands still is noticed.
const BODY_TIMEOUT: Duration = Duration::from_mins(2);
/// A list of checksums has some kilobytes.
const LIST_BYTES_MAX: u64 = 1 << 20;

/// How often something is tried that brings nothing.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// So many times in a row without a byte.
    pub tries: u32,
    /// The pause after the first of them; it doubles.
    pub pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            tries: 6,
            pause: Duration::from_millis(500),
        }
    }
}

/// What goes on, for a person who looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress<'a> {
    /// A file begins, or is asked for again, with so many bytes there.
    Begins {
        /// Its name.
        file: &'a str,
        /// Bytes that are there already.
        done: u64,
        /// Bytes of all of it, if the site says.
        total: Option<u64>,
    },
    /// More of it came.
    Grows {
        /// Bytes that are there.
        done: u64,
    },
    /// It broke off, and is asked for again.
    BrokenOff {
        /// Its name.
        file: &'a str,
        /// What happened.
        reason: &'a str,
    },
    /// It is whole, and as its checksum says.
    Verified {
        /// Its name.
        file: &'a str,
        /// Bytes.
        size: u64,
    },
    /// All is there; the one file is being written.
    Packing,
}

/// Fetches files.
pub(crate) struct Downloads<'a> {
    agent: Agent,
    patience: Patience,
    tell: &'a mut dyn FnMut(Progress<'_>),
}

/// What one answer came to.
enum Turn {
    Whole,
    /// Without a byte, or with some.
    Broken(String),
}

impl<'a> Downloads<'a> {
    pub(crate) fn new(
        access: &Access,
        patience: Patience,
        tell: &'a mut dyn FnMut(Progress<'_>),
    ) -> Self {
        let roots: Vec<_> = access
            .authorities
            .iter()
            .map(|der| Certificate::from_der(der.as_ref()).to_owned())
            .collect();
        // A site without TLS needs none: a handshake says then that nobody is trusted.
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::Specific(Arc::new(roots)))
            .unversioned_rustls_crypto_provider(Arc::new(
                rustls::crypto::aws_lc_rs::default_provider(),
            ))
            .build();
        let agent = Agent::config_builder()
            .tls_config(tls)
            .proxy(access.proxy.clone())
            .http_status_as_error(false)
            .timeout_connect(Some(ANSWER_TIMEOUT))
            .timeout_recv_response(Some(ANSWER_TIMEOUT))
            .timeout_recv_body(Some(BODY_TIMEOUT))
            .user_agent(concat!("khactl/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Self {
            agent,
            patience,
            tell,
        }
    }

    /// A small text: a list of checksums.
    pub(crate) fn text(&mut self, url: &str) -> Result<String, BundleError> {
        let mut idle = 0;
        loop {
            let reason = match self.agent.get(url).call() {
                Ok(mut answer) => {
                    let status = answer.status();
                    refuse_status(url, status)?;
                    let limited = answer.body_mut().with_config().limit(LIST_BYTES_MAX);
                    match limited.read_to_string() {
                        Ok(text) if status == StatusCode::OK => return Ok(text),
                        Ok(_) => format!("the site answers {status}"),
                        Err(error) => error.to_string(),
                    }
                }
                Err(error) => {
                    refuse_distrust(url, &error)?;
                    error.to_string()
                }
            };
            self.wait(url, &mut idle, reason)?;
        }
    }

    /// Brings the file to `target`, where it only comes to lie once its SHA-256 is `expected`.
    pub(crate) fn file(
        &mut self,
        url: &str,
        expected: &str,
        target: &Path,
    ) -> Result<(), BundleError> {
        let name = target
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if size_of(target) > 0 && sum_of(target)? == expected {
            (self.tell)(Progress::Verified {
                file: &name,
                size: size_of(target),
            });
            return Ok(());
        }
        let partial = beside(target, ".partial");
        let tag = beside(target, ".etag");
        let mut in_one_piece = false;
        loop {
            let began_at = size_of(&partial);
            self.fetch(url, &name, &partial, &tag)?;
            let found = sum_of(&partial)?;
            if found == expected {
                fs::rename(&partial, target).map_err(BundleError::file("write", target))?;
                remove(&tag)?;
                (self.tell)(Progress::Verified {
                    file: &name,
                    size: size_of(target),
                });
                return Ok(());
            }
            remove(&partial)?;
            remove(&tag)?;
            if began_at == 0 && in_one_piece {
                return Err(BundleError::WrongSum {
                    what: url.to_owned(),
                    expected: expected.to_owned(),
                    found,
                });
            }
            in_one_piece = true;
        }
    }

    /// Until all of it is in `partial`.
    fn fetch(
        &mut self,
        url: &str,
        name: &str,
        partial: &Path,
        tag: &Path,
    ) -> Result<(), BundleError> {
        let mut idle = 0;
        loop {
            let before = size_of(partial);
            match self.turn(url, name, partial, tag)? {
                Turn::Whole => return Ok(()),
                Turn::Broken(reason) => {
                    (self.tell)(Progress::BrokenOff {
                        file: name,
                        reason: &reason,
                    });
                    if size_of(partial) > before {
                        idle = 0;
                    }
                    self.wait(url, &mut idle, reason)?;
                }
            }
        }
    }

    /// Asks once for what is missing.
    fn turn(
        &mut self,
        url: &str,
        name: &str,
        partial: &Path,
        tag: &Path,
    ) -> Result<Turn, BundleError> {
        let have = size_of(partial);
        let mut request = self.agent.get(url);
        if have > 0 {
            request = request.header("range", format!("bytes={have}-"));
            if let Ok(known) = fs::read_to_string(tag) {
                request = request.header("if-range", known);
            }
        }
        let answer = match request.call() {
            Ok(answer) => answer,
            Err(error) => {
                refuse_distrust(url, &error)?;
                return Ok(Turn::Broken(error.to_string()));
            }
        };
        let status = answer.status();
        let goes_on =
            status == StatusCode::PARTIAL_CONTENT && range_begin(answer.headers()) == Some(have);
        if status == StatusCode::RANGE_NOT_SATISFIABLE {
            // All of it is there, or too much: the checksum tells which.
            return Ok(Turn::Whole);
        }
        refuse_status(url, status)?;
        if !goes_on && status != StatusCode::OK {
            if status == StatusCode::PARTIAL_CONTENT {
                // Not the part that was asked for: from the beginning.
                remove(partial)?;
            }
            return Ok(Turn::Broken(format!("the site answers {status}")));
        }
        let begin = if goes_on { have } else { 0 };
        if !goes_on {
            keep_tag(answer.headers(), tag)?;
        }
        let total = length(answer.headers()).map(|length| begin + length);
        (self.tell)(Progress::Begins {
            file: name,
            done: begin,
            total,
        });
        let mut file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(!goes_on)
            .append(goes_on)
            .open(partial)
            .map_err(BundleError::file("write", partial))?;
        let limit = PROGRAM_BYTES_MAX.saturating_sub(begin);
        let mut body = answer.into_body().into_reader().take(limit);
        let mut buffer = vec![0; 256 * 1024];
        let mut done = begin;
        loop {
            match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => {
                    file.write_all(&buffer[..count])
                        .map_err(BundleError::file("write", partial))?;
                    done += count as u64;
                    (self.tell)(Progress::Grows { done });
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Ok(Turn::Broken(error.to_string())),
            }
        }
        match total {
            Some(total) if done < total => Ok(Turn::Broken(format!(
                "it ended after {done} of {total} bytes"
            ))),
            _ => Ok(Turn::Whole),
        }
    }

    /// Lets some time pass, or gives up.
    fn wait(&self, url: &str, idle: &mut u32, reason: String) -> Result<(), BundleError> {
        *idle += 1;
        if *idle >= self.patience.tries {
            return Err(BundleError::Download {
                url: url.to_owned(),
                reason,
            });
        }
        std::thread::sleep(self.patience.pause * 2u32.saturating_pow(*idle - 1));
        Ok(())
    }
}

/// What no second try changes: every error of the 400s but those that say "later".
fn refuse_status(url: &str, status: StatusCode) -> Result<(), BundleError> {
    let later = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS];
    if status.is_client_error() && !later.contains(&status) {
        return Err(BundleError::NotThere {
            url: url.to_owned(),
            status: status.as_u16(),
        });
    }
    Ok(())
}

/// A certificate that is not believed will not be the next time either.
fn refuse_distrust(url: &str, error: &ureq::Error) -> Result<(), BundleError> {
    let tls = match error {
        ureq::Error::Rustls(error) => Some(error),
        // A handshake's comes as the connection's.
        ureq::Error::Io(error) => error.get_ref().and_then(|cause| cause.downcast_ref()),
        _ => None,
    };
    match tls {
        Some(rustls::Error::InvalidCertificate(why)) => Err(BundleError::Untrusted {
            url: url.to_owned(),
            reason: why.to_string(),
        }),
        _ => Ok(()),
    }
}

/// N of `Content-Range: bytes N-M/TOTAL`.
fn range_begin(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get("content-range")?.to_str().ok()?;
    range
        .strip_prefix("bytes ")?
        .split('-')
        .next()?
        .parse()
        .ok()
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get("content-length")?.to_str().ok()?.parse().ok()
}

/// A strong tag lets the site itself say whether the file is still the one that was begun.
fn keep_tag(headers: &HeaderMap, path: &Path) -> Result<(), BundleError> {
    let tag = headers.get("etag").and_then(|tag| tag.to_str().ok());
    match tag {
        Some(tag) if tag.starts_with('"') => {
            fs::write(path, tag).map_err(BundleError::file("write", path))
        }
        _ => remove(path),
    }
}

fn remove(path: &Path) -> Result<(), BundleError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(BundleError::file("remove", path)(error))
        }
        _ => Ok(()),
    }
}

fn size_of(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |found| found.len())
}

fn sum_of(path: &Path) -> Result<String, BundleError> {
    File::open(path)
        .and_then(digest::of_reader)
        .map_err(BundleError::file("read", path))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
