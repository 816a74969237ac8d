//! What a client has said before its backend said anything, kept so that it can be said to another backend.
//!
//! A process that dies has a kernel that goes on connecting for some milliseconds, and then resets what it
//! connected. To such a client nothing was answered, and to try another backend is better than to let it fail, as
//! long as nothing can happen twice by it:
//! - Backends that speak TLS (their checks do) can act on nothing before their own first message; bytes that are no
//!   TLS they refuse. The exception is early data (RFC 8446, 2.3), which comes as a record of application data in
//!   the client's first flight: where there is one, nothing is repeated.
//! - Of others nothing is known. They may have acted on the first byte, so only silence is repeated.
//!
//! Pure.

/// More than the first flight of any client takes; a client that says more unanswered is not repeated.
pub(crate) const SAID_BYTES_MAX: usize = 16 * 1024;

/// Record types of TLS (RFC 8446, 5.1).
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;

/// The type, two bytes of version, two of length.
const RECORD_HEADER_BYTES: usize = 5;

/// The type and three bytes of length of a handshake's message (RFC 8446, 4).
const MESSAGE_HEADER_BYTES: usize = 4;

/// What the client said, and how much of it the present backend got.
#[derive(Debug, Default)]
pub(crate) struct Said {
    pub(crate) bytes: Vec<u8>,
    pub(crate) passed: usize,
}

impl Said {
    /// What the present backend did not get yet.
    pub(crate) fn rest(&self) -> &[u8] {
        self.bytes.get(self.passed..).unwrap_or_default()
    }

    /// How many more bytes are kept.
    pub(crate) fn room(&self) -> usize {
        SAID_BYTES_MAX.saturating_sub(self.bytes.len())
    }

    /// Whether the present backend has all that one that speaks TLS needs to answer: a whole first message, or what is none.
    pub(crate) fn asks(&self) -> bool {
        self.passed == self.bytes.len() && is_whole_greeting(&self.bytes)
    }

    /// Whether all of it may be said to another backend after this one ended unanswering.
    pub(crate) fn may_be_repeated(&self, backends_speak_tls: bool) -> bool {
        if self.passed == 0 {
            return true;
        }
        self.room() > 0 && backends_speak_tls && !has_early_data(&self.bytes)
    }
}

fn has_early_data(bytes: &[u8]) -> bool {
    // What begins as no handshake is no TLS, and refused by who speaks it.
    if bytes.first() != Some(&HANDSHAKE) {
        return false;
    }
    records(bytes).any(|record| record.kind == APPLICATION_DATA)
}

fn is_whole_greeting(bytes: &[u8]) -> bool {
    match bytes.first() {
        None => false,
        // Refused by its header.
        Some(&kind) if kind != HANDSHAKE => bytes.len() >= RECORD_HEADER_BYTES,
        Some(_) => {
            let mut messages = records(bytes)
                .filter(|record| record.kind == HANDSHAKE)
                .filter_map(|record| record.whole);
            let Some(first @ [_type, high, middle, low, ..]) = messages.next() else {
                return false;
            };
            let message = u32::from_be_bytes([0, *high, *middle, *low]) as usize;
            let said: usize = first.len() + messages.map(<[u8]>::len).sum::<usize>();
            said >= MESSAGE_HEADER_BYTES + message
        }
    }
}

struct Record<'a> {
    kind: u8,
    /// What it carries, if all of that is there.
    whole: Option<&'a [u8]>,
}

/// The records of TLS that these bytes begin with; of the last one more may be to come.
fn records(bytes: &[u8]) -> impl Iterator<Item = Record<'_>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (&kind, _) = rest.split_first()?;
        let end = match rest {
            [_, _, _, high, low, ..] => {
                RECORD_HEADER_BYTES + usize::from(u16::from_be_bytes([*high, *low]))
            }
            _ => usize::MAX,
        };
        let whole = rest.get(RECORD_HEADER_BYTES..end);
        rest = rest.get(end..).unwrap_or_default();
        Some(Record { kind, whole })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, length: u8) -> Vec<u8> {
        let mut record = vec![kind, 3, 1, 0, length];
        record.extend(vec![APPLICATION_DATA; length.into()]);
        record
    }

    fn said(records: &[Vec<u8>]) -> Said {
        let bytes = records.concat();
        Said {
            passed: bytes.len(),
            bytes,
        }
    }

    #[test]
    fn silence_may_always_be_repeated() {
        assert!(Said::default().may_be_repeated(true));
        assert!(Said::default().may_be_repeated(false));
        let kept_back = Said {
            bytes: b"GET /".to_vec(),
            passed: 0,
        };
        assert!(kept_back.may_be_repeated(false));
    }

    #[test]
    fn a_tls_greeting_may_be_repeated_to_backends_that_speak_tls_alone() {
        let hello = said(&[record(HANDSHAKE, 200)]);
        assert!(hello.may_be_repeated(true));
        assert!(!hello.may_be_repeated(false));
        let in_two = said(&[record(HANDSHAKE, 100), record(HANDSHAKE, 7), vec![20, 3]]);
        assert!(in_two.may_be_repeated(true));
    }

    #[test]
    fn early_data_is_never_repeated() {
        let early = said(&[record(HANDSHAKE, 200), record(20, 1), record(23, 50)]);
        assert!(!early.may_be_repeated(true));
        let begun = said(&[record(HANDSHAKE, 200), vec![APPLICATION_DATA]]);
        assert!(!begun.may_be_repeated(true));
    }

    #[test]
    fn what_is_no_tls_may_be_repeated_to_who_refuses_it() {
        let plain = said(&[b"GET /livez HTTP/1.0\r\n\r\n".to_vec()]);
        assert!(plain.may_be_repeated(true));
        assert!(!plain.may_be_repeated(false));
    }

    #[test]
    fn what_was_not_kept_whole_is_not_repeated() {
        let long = said(&[vec![HANDSHAKE; SAID_BYTES_MAX]]);
        assert!(!long.may_be_repeated(true));
    }

    /// The records of one message of the handshake of that length in all, cut where it is said.
    fn greeting(length: usize, cuts: &[usize]) -> Vec<u8> {
        let mut message = vec![1, 0, 0, u8::try_from(length - 4).unwrap()];
        message.resize(length, 7);
        let mut rest = message.as_slice();
        let mut bytes = Vec::new();
        for &cut in cuts.iter().chain(&[length]) {
            let (part, after) = rest.split_at(cut.min(rest.len()));
            bytes.extend([HANDSHAKE, 3, 1, 0, u8::try_from(part.len()).unwrap()]);
            bytes.extend(part);
            rest = after;
        }
        bytes
    }

    #[test]
    fn who_has_said_a_whole_greeting_waits_for_its_answer() {
        for bytes in [
            greeting(200, &[]),
            greeting(200, &[100]),
            greeting(4, &[]),
            [greeting(50, &[]), vec![20, 3]].concat(),
            b"GET /livez HTTP/1.0\r\n\r\n".to_vec(),
        ] {
            assert!(said(std::slice::from_ref(&bytes)).asks(), "{bytes:?}");
            let kept_back = Said { passed: 0, bytes };
            assert!(!kept_back.asks());
        }
    }

    #[test]
    fn who_has_said_half_a_greeting_does_not_wait_for_an_answer() {
        let whole = greeting(200, &[100]);
        for length in 0..whole.len() {
            assert!(!is_whole_greeting(&whole[..length]), "{length}");
        }
        assert!(!is_whole_greeting(b"GET "));
    }

    #[test]
    fn no_input_breaks_the_search_for_early_data() {
        for length in 0..8 {
            for byte in [0, HANDSHAKE, APPLICATION_DATA, 255] {
                let mut bytes = vec![HANDSHAKE];
                bytes.extend(vec![byte; length]);
                let _either = (has_early_data(&bytes), is_whole_greeting(&bytes));
            }
        }
    }
}
