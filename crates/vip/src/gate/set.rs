//! The nftables set whose one element says that the gate is open, and the messages that put the
//! element there for so long, or take it away. Its time is relative, counted by the kernel from
//! when the message is applied: a stall between reading the clock and sending opens late.

use std::io;

use crate::gate::channel::Channel;
use crate::gate::message::{ACK, CREATE, Message};

/// Of the family `netdev`.
pub(crate) const TABLE: &str = "khactl_gate";
pub(crate) const SET: &str = "open";

/// The element: `ARPHRD_ETHER`, the kind that every interface with a VIP is of.
const ETHERNET: u16 = 1;

/// No lease is longer than 2 s; the kernel refuses an expiration beyond the timeout.
const TIMEOUT_MS: u64 = 10_000;

/// Two jiffies of the slowest kernel (HZ 100), the least that the kernel counts with certainty:
/// with less left the gate closes now, a little early.
const LEAST_MS: u64 = 20;

const NS_PER_MS: u64 = 1_000_000;

// `linux/netfilter/nfnetlink.h` and `nf_tables.h`.
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NFTABLES: u16 = 10;
const GET_TABLE: u16 = NFTABLES << 8 | 0x1;
const DELETE_TABLE: u16 = NFTABLES << 8 | 0x2;
const NEW_ELEMENT: u16 = NFTABLES << 8 | 0xc;
const DELETE_ELEMENT: u16 = NFTABLES << 8 | 0xe;
const NETDEV: u8 = 5;
const TABLE_NAME: u16 = 1;
const LIST_TABLE: u16 = 1;
const LIST_SET: u16 = 2;
const LIST_ELEMENTS: u16 = 3;
const ELEMENT: u16 = 1;
const ELEMENT_KEY: u16 = 1;
const ELEMENT_TIMEOUT: u16 = 4;
const ELEMENT_EXPIRATION: u16 = 5;
const VALUE: u16 = 1;

/// The set, with its messages made beforehand.
#[derive(Debug)]
pub(crate) struct OpenSet {
    channel: Channel,
    open: Message,
    /// Where the expirations stand in `open`.
    expirations: [usize; 2],
    close: Message,
}

impl OpenSet {
    /// Touches nothing yet.
    pub(crate) fn new() -> io::Result<Self> {
        let mut open = Message::default();
        begin(&mut open);
        // A kernel before 6.12 leaves the time of an element that is there as it is, and refuses
        // to delete one that is not: made, deleted and made anew, all at once or not at all.
        let first = element(&mut open, NEW_ELEMENT, CREATE);
        element(&mut open, DELETE_ELEMENT, 0);
        let last = element(&mut open, NEW_ELEMENT, CREATE | ACK);
        open.begin(BATCH_END, 0, &family(0, NFTABLES));
        let mut close = Message::default();
        begin(&mut close);
        element(&mut close, DELETE_ELEMENT, ACK);
        close.begin(BATCH_END, 0, &family(0, NFTABLES));
        Ok(Self {
            channel: Channel::netfilter()?,
            open,
            expirations: [first, last],
            close,
        })
    }

    /// Open until then, or closed if that is past or so near that the kernel cannot tell. One
    /// message; does not allocate.
    pub(crate) fn set(&mut self, until_boottime_ns: u64, now_ns: u64) -> io::Result<()> {
        let left_ms = until_boottime_ns.saturating_sub(now_ns) / NS_PER_MS;
        if left_ms < LEAST_MS {
            return self.close();
        }
        let expiration = left_ms.min(TIMEOUT_MS).to_be_bytes();
        for at in self.expirations {
            self.open.overwrite(at, &expiration);
        }
        self.channel.carry_out(&self.open)
    }

    /// Closed when it returns. Without the element, or the set, it is closed already.
    pub(crate) fn close(&mut self) -> io::Result<()> {
        match self.channel.carry_out(&self.close) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    /// Whether the table is there.
    pub(crate) fn is_standing(&mut self) -> io::Result<bool> {
        let mut question = Message::default();
        question.begin(GET_TABLE, ACK, &family(NETDEV, 0));
        question.text(TABLE_NAME, TABLE);
        match self.channel.carry_out(&question) {
            Ok(()) => Ok(true),
            Err(error) if is_absent(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Takes the table away with all that is in it.
    pub(crate) fn remove(&mut self) -> io::Result<()> {
        let mut request = Message::default();
        begin(&mut request);
        request.begin(DELETE_TABLE, ACK, &family(NETDEV, 0));
        request.text(TABLE_NAME, TABLE);
        request.begin(BATCH_END, 0, &family(0, NFTABLES));
        match self.channel.carry_out(&request) {
            Err(error) if is_absent(&error) => Ok(()),
            result => result,
        }
    }
}

fn begin(batch: &mut Message) {
    batch.begin(BATCH_BEGIN, 0, &family(0, NFTABLES));
}

/// Adds a message about the element; gives back where its expiration stands, if it has one.
fn element(batch: &mut Message, kind: u16, flags: u16) -> usize {
    batch.begin(kind, flags, &family(NETDEV, 0));
    batch.text(LIST_TABLE, TABLE);
    batch.text(LIST_SET, SET);
    let elements = batch.nest(LIST_ELEMENTS);
    let element = batch.nest(ELEMENT);
    let key = batch.nest(ELEMENT_KEY);
    batch.attribute(VALUE, &ETHERNET.to_ne_bytes());
    batch.end(key);
    let mut expiration = 0;
    if kind == NEW_ELEMENT {
        batch.attribute(ELEMENT_TIMEOUT, &TIMEOUT_MS.to_be_bytes());
        expiration = batch.attribute(ELEMENT_EXPIRATION, &0_u64.to_be_bytes());
    }
    batch.end(element);
    batch.end(elements);
    expiration
}

/// `nfgenmsg`.
fn family(family: u8, resource: u16) -> [u8; 4] {
    let [high, low] = resource.to_be_bytes();
    [family, 0, high, low]
}

/// No such table, or a kernel that has none.
fn is_absent(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let absent = [Errno::NOENT, Errno::OPNOTSUPP, Errno::INVAL].map(Errno::raw_os_error);
    error
        .raw_os_error()
        .is_some_and(|errno| absent.contains(&errno))
}
