//! Netlink messages for the kernel's packet filters, byte by byte: what is written here is in no
//! crate that this project may use. Pure; a message that was built can be sent again and again.

/// `nlmsghdr`: length, type, flags, sequence number, port.
const HEADER: usize = 16;

pub(crate) const REQUEST: u16 = 0x001;
pub(crate) const ACK: u16 = 0x004;
pub(crate) const DUMP: u16 = 0x300;
pub(crate) const CREATE: u16 = 0x400;
pub(crate) const EXCL: u16 = 0x200;
/// An attribute that holds attributes (`NLA_F_NESTED`).
const NESTED: u16 = 0x8000;
/// The bits of an attribute's type that are its type.
const TYPE_BITS: u16 = 0x3fff;

/// A message, or several in one datagram.
#[derive(Debug, Clone, Default)]
pub(crate) struct Message {
    bytes: Vec<u8>,
    /// Where the message that is being written begins.
    start: usize,
}

/// The place of an attribute whose end is not yet known.
#[must_use]
pub(crate) struct Nest(usize);

impl Message {
    /// Begins a message with the fixed part that its kind asks for.
    pub(crate) fn begin(&mut self, kind: u16, flags: u16, fixed: &[u8]) {
        self.start = self.bytes.len();
        self.bytes.extend([0; 4]);
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend((REQUEST | flags).to_ne_bytes());
        // The sequence number is of no use where the answer comes within the call.
        self.bytes.extend([0; 8]);
        self.bytes.extend(fixed);
        self.pad();
        self.note_length();
    }

    pub(crate) fn attribute(&mut self, kind: u16, value: &[u8]) -> usize {
        let length = u16::try_from(4 + value.len()).expect("attributes of ours are short");
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        let at = self.bytes.len();
        self.bytes.extend(value);
        self.pad();
        self.note_length();
        at
    }

    /// A string with the zero byte at its end.
    pub(crate) fn text(&mut self, kind: u16, text: &str) {
        let mut value = text.as_bytes().to_vec();
        value.push(0);
        self.attribute(kind, &value);
    }

    pub(crate) fn nest(&mut self, kind: u16) -> Nest {
        let nest = Nest(self.bytes.len());
        self.attribute(kind | NESTED, &[]);
        nest
    }

    pub(crate) fn end(&mut self, Nest(at): Nest) {
        let length = u16::try_from(self.bytes.len() - at).expect("attributes of ours are short");
        self.bytes[at..at + 2].copy_from_slice(&length.to_ne_bytes());
    }

    /// Overwrites a value where [`Message::attribute`] said that it stands.
    pub(crate) fn overwrite(&mut self, at: usize, value: &[u8]) {
        self.bytes[at..at + value.len()].copy_from_slice(value);
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn note_length(&mut self) {
        let length = u32::try_from(self.bytes.len() - self.start).expect("messages are short");
        self.bytes[self.start..self.start + 4].copy_from_slice(&length.to_ne_bytes());
    }
}

/// One message that was received: its kind and what follows the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Received<'a> {
    pub(crate) kind: u16,
    pub(crate) payload: &'a [u8],
}

/// The messages of a datagram; what is cut off is left out.
pub(crate) fn received(mut bytes: &[u8]) -> impl Iterator<Item = Received<'_>> {
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(*bytes.first_chunk()?) as usize;
        let one = bytes.get(..length).filter(|one| one.len() >= HEADER)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        let kind = u16::from_ne_bytes([one[4], one[5]]);
        Some(Received {
            kind,
            payload: &one[HEADER..],
        })
    })
}

/// The value of the first attribute of this kind.
pub(crate) fn find(mut attributes: &[u8], kind: u16) -> Option<&[u8]> {
    loop {
        let head: [u8; 4] = *attributes.first_chunk()?;
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let value = attributes.get(4..length)?;
        if u16::from_ne_bytes([head[2], head[3]]) & TYPE_BITS == kind {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

/// A string attribute without the zero byte at its end.
pub(crate) fn find_text(attributes: &[u8], kind: u16) -> Option<&str> {
    let value = find(attributes, kind)?;
    let text = value.strip_suffix(&[0]).unwrap_or(value);
    std::str::from_utf8(text).ok()
}

/// A number attribute.
pub(crate) fn find_u32(attributes: &[u8], kind: u16) -> Option<u32> {
    let value = find(attributes, kind)?;
    value.try_into().ok().map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let mut message = Message::default();
        message.begin(36, ACK, &[1, 2, 3, 4]);
        message.text(1, "clsact");
        let nest = message.nest(2);
        let at = message.attribute(6, &7_u32.to_ne_bytes());
        message.text(7, "gate");
        message.end(nest);
        message.begin(37, 0, &[]);
        message.overwrite(at, &8_u32.to_ne_bytes());
        let messages: Vec<Received> = received(message.bytes()).collect();
        assert_eq!(messages.len(), 2);
        assert_eq!((messages[0].kind, messages[1].kind), (36, 37));
        let attributes = &messages[0].payload[4..];
        assert_eq!(find_text(attributes, 1), Some("clsact"));
        let nested = find(attributes, 2).expect("nested");
        assert_eq!(find_u32(nested, 6), Some(8));
        assert_eq!(find_text(nested, 7), Some("gate"));
        assert_eq!(find(nested, 8), None);
        assert_eq!(messages[1].payload, &[] as &[u8]);
    }

    #[test]
    fn what_is_cut_off_is_read_as_nothing() {
        assert_eq!(received(&[]).count(), 0);
        assert_eq!(received(&[0; 64]).count(), 0);
        assert_eq!(received(&[0xff; 64]).count(), 0);
        assert_eq!(find(&[], 1), None);
        assert_eq!(find(&[0; 8], 1), None);
        assert_eq!(find(&[0xff; 8], 1), None);
        assert_eq!(find(&[8, 0, 1, 0, 5], 1), None);
    }
}
