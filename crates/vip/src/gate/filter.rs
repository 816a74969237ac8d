//! The gate's place at an interface: a `clsact` queueing discipline with one filter per direction,
//! first in line. The kernel keeps both, and with them the program and its map, whatever becomes of
//! the process; only removing them, or the interface, ends them.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use khactl_sys::bpf::Program;

use crate::gate::channel::Channel;
use crate::gate::message::{ACK, CREATE, DUMP, EXCL, Message, find, find_text, find_u32};
use crate::gate::program::Direction;

/// By which the filters are known as ours.
pub(crate) const NAME: &str = "khactl-gate";

// Messages of `linux/rtnetlink.h`.
const NEW_DISCIPLINE: u16 = 36;
const DELETE_DISCIPLINE: u16 = 37;
const GET_DISCIPLINE: u16 = 38;
const NEW_FILTER: u16 = 44;
const DELETE_FILTER: u16 = 45;
const GET_FILTER: u16 = 46;

// Attributes of `linux/rtnetlink.h` and `linux/pkt_cls.h`.
const KIND: u16 = 1;
const OPTIONS: u16 = 2;
const BPF_FD: u16 = 6;
const BPF_NAME: u16 = 7;
const BPF_FLAGS: u16 = 8;
const BPF_FLAGS_GENERAL: u16 = 9;
const BPF_ID: u16 = 11;
/// The program's answer is the verdict.
const DIRECT_ACTION: u32 = 1;
/// `TCA_CLS_FLAGS_SKIP_HW`: a card's processor does not see the map.
const NOT_IN_HARDWARE: u32 = 1;

const CLSACT: &str = "clsact";
const CLSACT_PARENT: u32 = 0xffff_fff1;
const CLSACT_HANDLE: u32 = 0xffff_0000;

/// First in line, so that nobody's acceptance comes before our refusal.
const PREFERENCE: u32 = 1;
/// Among the filters of that preference; the same number again replaces the filter in place.
const HANDLE: u32 = 0x6b68;
/// `ETH_P_ALL`, as the network writes it.
const EVERY_PROTOCOL: u16 = 0x0003_u16.to_be();

/// A filter of ours that stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) interface: u32,
    /// The kernel's number of its program.
    pub(crate) program: u32,
}

impl Direction {
    pub(crate) const BOTH: [Self; 2] = [Self::In, Self::Out];

    fn parent(self) -> u32 {
        match self {
            Self::In => 0xffff_fff2,
            Self::Out => 0xffff_fff3,
        }
    }
}

/// Puts the program there, or in the place of the one that is there: for each packet the kernel
/// asks the old or the new one, never none.
pub(crate) fn attach(
    channel: &mut Channel,
    interface: u32,
    direction: Direction,
    program: &Program,
) -> io::Result<()> {
    let mut request = Message::default();
    request.begin(
        NEW_DISCIPLINE,
        ACK | CREATE | EXCL,
        &place(interface, CLSACT_HANDLE, CLSACT_PARENT, 0),
    );
    request.text(KIND, CLSACT);
    match channel.carry_out(&request) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let mut request = Message::default();
    request.begin(NEW_FILTER, ACK | CREATE, &filter(interface, direction));
    request.text(KIND, "bpf");
    let options = request.nest(OPTIONS);
    request.attribute(BPF_FD, &program.as_fd().as_raw_fd().to_ne_bytes());
    request.text(BPF_NAME, NAME);
    request.attribute(BPF_FLAGS, &DIRECT_ACTION.to_ne_bytes());
    request.attribute(BPF_FLAGS_GENERAL, &NOT_IN_HARDWARE.to_ne_bytes());
    request.end(options);
    channel.carry_out(&request)
}

/// Takes the filters of one interface away, and the discipline if nobody else uses it.
pub(crate) fn detach(channel: &mut Channel, interface: u32) -> io::Result<()> {
    for direction in Direction::BOTH {
        let mut request = Message::default();
        request.begin(DELETE_FILTER, ACK, &filter(interface, direction));
        request.text(KIND, "bpf");
        match channel.carry_out(&request) {
            Err(error) if !is_absent(&error) => return Err(error),
            _ => {}
        }
    }
    for direction in Direction::BOTH {
        if filters_at(channel, interface, direction)?.0 > 0 {
            return Ok(());
        }
    }
    let mut request = Message::default();
    request.begin(
        DELETE_DISCIPLINE,
        ACK,
        &place(interface, CLSACT_HANDLE, CLSACT_PARENT, 0),
    );
    channel.carry_out(&request).or_else(|error| {
        if is_absent(&error) {
            Ok(())
        } else {
            Err(error)
        }
    })
}

/// Every filter of ours in this network namespace.
pub(crate) fn standing(channel: &mut Channel) -> io::Result<Vec<Standing>> {
    let mut question = Message::default();
    question.begin(GET_DISCIPLINE, DUMP, &place(0, 0, 0, 0));
    let mut interfaces = Vec::new();
    channel.dump(&question, NEW_DISCIPLINE, |payload| {
        if let Some((interface, _, attributes)) = placed(payload)
            && find_text(attributes, KIND) == Some(CLSACT)
        {
            interfaces.push(interface);
        }
    })?;
    let mut standing = Vec::new();
    for interface in interfaces {
        for direction in Direction::BOTH {
            let (_, ours) = filters_at(channel, interface, direction)?;
            standing.extend(
                ours.into_iter()
                    .map(|program| Standing { interface, program }),
            );
        }
    }
    Ok(standing)
}

/// The kernel's numbers of our programs at one place.
pub(crate) fn programs(
    channel: &mut Channel,
    interface: u32,
    direction: Direction,
) -> io::Result<Vec<u32>> {
    Ok(filters_at(channel, interface, direction)?.1)
}

/// How many filters there are, and the programs of ours. None at an interface that is gone.
fn filters_at(
    channel: &mut Channel,
    interface: u32,
    direction: Direction,
) -> io::Result<(usize, Vec<u32>)> {
    let mut question = Message::default();
    question.begin(
        GET_FILTER,
        DUMP,
        &place(interface, 0, direction.parent(), 0),
    );
    let (mut all, mut ours) = (0, Vec::new());
    let dumped = channel.dump(&question, NEW_FILTER, |payload| {
        let Some((_, handle, attributes)) = placed(payload) else {
            return;
        };
        // Each preference is named once by itself, without a filter.
        if handle == 0 {
            return;
        }
        all += 1;
        let options = find(attributes, OPTIONS).unwrap_or_default();
        if find_text(options, BPF_NAME) == Some(NAME) {
            ours.extend(find_u32(options, BPF_ID));
        }
    });
    match dumped {
        Err(error) if !is_absent(&error) => Err(error),
        _ => Ok((all, ours)),
    }
}

/// No such filter, discipline or interface.
fn is_absent(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let absent = [Errno::NOENT, Errno::NODEV, Errno::INVAL].map(Errno::raw_os_error);
    error
        .raw_os_error()
        .is_some_and(|errno| absent.contains(&errno))
}

fn filter(interface: u32, direction: Direction) -> [u8; 20] {
    let info = PREFERENCE << 16 | u32::from(EVERY_PROTOCOL);
    place(interface, HANDLE, direction.parent(), info)
}

/// `tcmsg`.
fn place(interface: u32, handle: u32, parent: u32, info: u32) -> [u8; 20] {
    let mut bytes = [0; 20];
    for (at, word) in [(4, interface), (8, handle), (12, parent), (16, info)] {
        bytes[at..at + 4].copy_from_slice(&word.to_ne_bytes());
    }
    bytes
}

/// The interface, the handle and the attributes of a `tcmsg`.
fn placed(payload: &[u8]) -> Option<(u32, u32, &[u8])> {
    let (fixed, attributes) = payload.split_at_checked(20)?;
    let word =
        |at: usize| u32::from_ne_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
    Some((word(4), word(8), attributes))
}
