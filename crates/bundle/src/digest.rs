//! SHA-256 digests as lower-case hexadecimal, the form that manifests and records use.

use std::fmt::Write as _;
use std::io::{self, Read};

use aws_lc_rs::digest::{Context, SHA256};

/// Collects bytes into one digest.
pub struct Sha256(Context);

impl Sha256 {
    /// An empty one.
    pub fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    /// Adds `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Adds a field whose end cannot be mistaken for the beginning of the next one.
    pub fn field(&mut self, bytes: &[u8]) {
        self.update(&(bytes.len() as u64).to_be_bytes());
        self.update(bytes);
    }

    /// 64 hexadecimal digits.
    pub fn finish(self) -> String {
        hex(self.0.finish().as_ref())
    }
}

impl Default for Sha256 {
    fn default() -> Self {
        Self::new()
    }
}

/// Digest of `bytes`.
pub fn of_bytes(bytes: &[u8]) -> String {
    let mut digest = Sha256::new();
    digest.update(bytes);
    digest.finish()
}

/// Digest of all that `reader` gives, without holding it in memory.
pub fn of_reader(mut reader: impl Read) -> io::Result<String> {
    let mut digest = Sha256::new();
    // Large enough that a program of 100 MB takes few calls, small enough for the stack of none.
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(digest.finish()),
            Ok(count) => digest.update(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing into a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Whether it is a digest as this module writes them.
pub fn is_hex(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of FIPS 180-2, appendix B.1.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn digest_is_that_of_the_standard() {
        assert_eq!(of_bytes(b"abc"), ABC);
        assert_eq!(of_reader(&b"abc"[..]).unwrap(), ABC);
    }

    #[test]
    fn fields_that_join_to_the_same_bytes_have_different_digests() {
        let of = |fields: [&str; 2]| {
            let mut digest = Sha256::new();
            for field in fields {
                digest.field(field.as_bytes());
            }
            digest.finish()
        };
        assert_ne!(of(["ab", "c"]), of(["a", "bc"]));
    }
}
