//! A Lease as Kubernetes' components write it: protobuf in an envelope. Reads the few fields that count and replaces two
//! of them; every other byte stays as it came, also of fields that are not known here.

use khactl_model::leader_lease::LeaderLease;

/// Before every object.
const MAGIC: &[u8] = b"k8s\0";

/// Numbers of fields: of the envelope, of a Lease, of its metadata and of its spec.
const ENVELOPE_RAW: u64 = 2;
const METADATA: u64 = 1;
const SPEC: u64 = 2;
const RESOURCE_VERSION: u64 = 6;
const HOLDER: u64 = 1;
const DURATION: u64 = 2;
const RENEWED: u64 = 4;
const STRATEGY: u64 = 6;

/// One field: its number, all its bytes, and what it holds.
#[derive(Debug, Clone, Copy)]
struct Field<'a> {
    number: u64,
    whole: &'a [u8],
    value: &'a [u8],
}

/// What a Lease says; `None`: the bytes are none.
pub(super) fn read(body: &[u8]) -> Option<LeaderLease> {
    let object = find(fields(body.strip_prefix(MAGIC)?)?, ENVELOPE_RAW)?;
    let parts = fields(object)?;
    let metadata = fields(find(parts.clone(), METADATA)?)?;
    let spec = fields(find(parts, SPEC)?)?;
    let text = |value: Option<&[u8]>| {
        let text = std::str::from_utf8(value.unwrap_or_default());
        text.map(str::to_owned).ok()
    };
    let renewed = find(spec.clone(), RENEWED).unwrap_or_default();
    Some(LeaderLease {
        resource_version: text(find(metadata, RESOURCE_VERSION))?,
        holder: text(find(spec.clone(), HOLDER))?,
        renewed: format!("{renewed:02x?}"),
        coordinated: find(spec, STRATEGY).is_some(),
    })
}

/// The same Lease with nobody in it. Its duration is the shortest that the API takes, and of no meaning without a holder.
pub(super) fn cleared(body: &[u8]) -> Option<Vec<u8>> {
    let envelope = body.strip_prefix(MAGIC)?;
    let object = find(fields(envelope)?, ENVELOPE_RAW)?;
    let spec = find(fields(object)?, SPEC)?;
    let mut empty = bytes_field(HOLDER, &[]);
    empty.extend([0x10, 1]);
    for field in fields(spec)? {
        if ![HOLDER, DURATION].contains(&field.number) {
            empty.extend(field.whole);
        }
    }
    let object = with(object, SPEC, &empty)?;
    let mut all = MAGIC.to_vec();
    all.extend(with(envelope, ENVELOPE_RAW, &object)?);
    Some(all)
}

/// The same message with another value of one field.
fn with(message: &[u8], number: u64, value: &[u8]) -> Option<Vec<u8>> {
    let mut all = Vec::with_capacity(message.len() + 16);
    for field in fields(message)? {
        if field.number == number {
            all.extend(bytes_field(number, value));
        } else {
            all.extend(field.whole);
        }
    }
    Some(all)
}

fn find(fields: Vec<Field<'_>>, number: u64) -> Option<&[u8]> {
    let field = fields.into_iter().rfind(|field| field.number == number)?;
    Some(field.value)
}

/// The fields of a message; `None`: it is none.
fn fields(message: &[u8]) -> Option<Vec<Field<'_>>> {
    let mut found = Vec::new();
    let mut rest = message;
    while !rest.is_empty() {
        let (tag, after) = varint(rest)?;
        let (value, next) = match tag & 7 {
            0 => {
                let (_, next) = varint(after)?;
                (&after[..after.len() - next.len()], next)
            }
            1 => after.split_at_checked(8)?,
            2 => {
                let (length, after) = varint(after)?;
                after.split_at_checked(usize::try_from(length).ok()?)?
            }
            5 => after.split_at_checked(4)?,
            _ => return None,
        };
        found.push(Field {
            number: tag >> 3,
            whole: &rest[..rest.len() - next.len()],
            value,
        });
        rest = next;
    }
    Some(found)
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (place, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[place + 1..]));
        }
    }
    None
}

fn bytes_field(number: u64, value: &[u8]) -> Vec<u8> {
    let mut field = Vec::with_capacity(value.len() + 8);
    push_varint(&mut field, number << 3 | 2);
    push_varint(&mut field, value.len() as u64);
    field.extend(value);
    field
}

fn push_varint(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push(u8::try_from(value & 0x7f).unwrap_or_default() | 0x80);
        value >>= 7;
    }
    to.push(u8::try_from(value).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(holder: &str, more: &[u8]) -> Vec<u8> {
        let metadata = [
            bytes_field(1, b"kube-scheduler"),
            bytes_field(RESOURCE_VERSION, b"712"),
            bytes_field(17, &[7; 200]),
        ]
        .concat();
        let mut spec = bytes_field(HOLDER, holder.as_bytes());
        spec.extend([0x10, 15]);
        spec.extend(bytes_field(RENEWED, &[8, 9]));
        spec.extend([0x28, 3]);
        spec.extend(more);
        let object = [bytes_field(METADATA, &metadata), bytes_field(SPEC, &spec)].concat();
        let envelope = [
            bytes_field(1, b"type"),
            bytes_field(ENVELOPE_RAW, &object),
            bytes_field(3, b""),
        ];
        [MAGIC.to_vec(), envelope.concat()].concat()
    }

    #[test]
    fn a_lease_is_read_as_its_component_writes_it() {
        let read = read(&lease("cp1_4a", &[])).unwrap();
        assert_eq!(read.resource_version, "712");
        assert_eq!(read.holder, "cp1_4a");
        assert_eq!(read.renewed, "[08, 09]");
        assert!(!read.coordinated);
        let strategy = bytes_field(STRATEGY, b"OldestEmulationVersion");
        assert!(super::read(&lease("", &strategy)).unwrap().coordinated);
    }

    #[test]
    fn clearing_changes_the_holder_and_its_time_and_nothing_else() {
        let unknown = bytes_field(99, b"new");
        let before = lease("cp1_4a", &unknown);
        let after = cleared(&before).unwrap();
        let mut wanted = lease("", &unknown);
        let duration = wanted.windows(2).position(|two| two == [0x10, 15]).unwrap();
        wanted[duration + 1] = 1;
        assert_eq!(after, wanted);
    }

    #[test]
    fn bytes_that_are_no_lease_are_refused() {
        let whole = lease("cp1_4a", &[]);
        for length in 0..whole.len() - 2 {
            assert_eq!(read(&whole[..length]), None, "{length}");
            assert_eq!(cleared(&whole[..length]), None, "{length}");
        }
        assert_eq!(
            read(b"k8s\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
            None
        );
    }
}
