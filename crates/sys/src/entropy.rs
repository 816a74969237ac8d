//! The one place where randomness is drawn.
//!
//! Everything else gets random bytes or a seed as an argument.

use std::io;

/// Fills `bytes` from the kernel's generator; blocks only until the pool is ready, once after
/// boot.
pub fn fill(bytes: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while filled < bytes.len() {
        let rest = &mut bytes[filled..];
        // SAFETY: pointer and length describe `rest`, which is exclusively borrowed for the call,
        // and the kernel writes at most that many bytes.
        let got = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        if let Ok(count) = usize::try_from(got) {
            filled += count;
        } else {
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }
    Ok(())
}

/// `N` random bytes.
pub fn bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    fill(&mut bytes)?;
    Ok(bytes)
}

/// A random number, for seeds.
pub fn seed() -> io::Result<u64> {
    Ok(u64::from_ne_bytes(bytes()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_draws_differ() {
        assert_ne!(bytes::<32>().unwrap(), bytes::<32>().unwrap());
    }

    #[test]
    fn buffers_larger_than_one_system_call_are_filled_to_the_end() {
        let mut large = vec![0_u8; 1 << 20];
        fill(&mut large).unwrap();
        // 64 zero bytes in a row have a chance of 2^-512.
        assert!(large.chunks(64).all(|chunk| chunk.iter().any(|b| *b != 0)));
    }
}
