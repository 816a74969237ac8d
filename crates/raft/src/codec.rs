//! The format of everything kept: one version byte, then a prost message.

use prost::Message;

/// The only format so far. A change that an older agent would misread gets the next number.
pub(crate) const FORMAT: u8 = 1;

/// Why a record was not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CodecError {
    #[error("it has format version {found}, this agent reads {FORMAT} at the most")]
    Newer { found: u8 },
    #[error("it is empty")]
    Empty,
    #[error("it does not parse")]
    Malformed(#[source] prost::DecodeError),
    #[error("it has no {0}")]
    Missing(&'static str),
    #[error("{0}")]
    Invalid(String),
}

impl CodecError {
    /// The error as a storage error for openraft, its causes spelled out.
    pub(crate) fn into_io(self, what: &str) -> std::io::Error {
        std::io::Error::new(
            std::io::ErrorKind::InvalidData,
            format!("{what}: {}", chain(&self)),
        )
    }
}

/// An error and its causes on one line: openraft and gRPC carry text only.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

/// The message with its version byte in front.
pub(crate) fn encode(message: &impl Message) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + message.encoded_len());
    bytes.push(FORMAT);
    message
        .encode(&mut bytes)
        .expect("a Vec grows as far as it must");
    bytes
}

/// Reads what [`encode`] wrote, in this or an earlier version.
pub(crate) fn decode<M: Message + Default>(bytes: &bytes::Bytes) -> Result<M, CodecError> {
    let found = *bytes.first().ok_or(CodecError::Empty)?;
    if found != FORMAT {
        return Err(CodecError::Newer { found });
    }
    M::decode(bytes.slice(1..)).map_err(CodecError::Malformed)
}

#[cfg(test)]
mod tests {
    use khactl_proto::v1::RaftLogId;

    use super::*;

    #[test]
    fn a_record_survives_encoding() {
        let id = RaftLogId { term: 3, index: 7 };
        let read: RaftLogId = decode(&encode(&id).into()).expect("what was just written");
        assert_eq!(read, id);
    }

    #[test]
    fn a_newer_record_is_refused_with_its_version() {
        let mut bytes = encode(&RaftLogId { term: 3, index: 7 });
        bytes[0] = 9;
        let error = decode::<RaftLogId>(&bytes.into()).expect_err("version 9 is unknown");
        assert!(matches!(error, CodecError::Newer { found: 9 }), "{error}");
        assert!(error.to_string().contains("version 9"), "{error}");
    }

    #[test]
    fn garbage_is_refused() {
        assert!(matches!(
            decode::<RaftLogId>(&bytes::Bytes::new()),
            Err(CodecError::Empty)
        ));
        let broken = bytes::Bytes::from_static(&[FORMAT, 0xff, 0xff]);
        assert!(matches!(
            decode::<RaftLogId>(&broken),
            Err(CodecError::Malformed(_))
        ));
    }
}
