//! The gate's place before the programs that a kernel asks before any filter (TCX, since Linux 6.6):
//! where somebody has one at the VIP's interface, its acceptance would pass a packet by our filter.
//! There our program stands first among them too. Nobody there: nothing is done.

use std::io;

use khactl_sys::bpf::{Chain, Program};

use crate::gate::program::Direction;

/// By which our programs are known, as `bpftool` shows them too.
pub(crate) const LABEL: &str = "khactl_gate";

impl Direction {
    fn chain(self) -> Chain {
        match self {
            Self::In => Chain::In,
            Self::Out => Chain::Out,
        }
    }
}

/// Puts the program at the head if anybody is there, and takes out those of a predecessor. A program
/// that somebody put before it later is behind it again.
pub(crate) fn attach(interface: u32, direction: Direction, program: &Program) -> io::Result<()> {
    let chain = direction.chain();
    let present = present(interface, direction)?;
    let own = program.id()?;
    if present.is_empty() || is_in_order(interface, direction, program)? {
        return Ok(());
    }
    if present.contains(&own) {
        chain.take_out(interface, program)?;
    }
    chain.put_first(interface, program)?;
    for id in present.into_iter().filter(|id| *id != own) {
        if let Some(old) = ours(id) {
            chain.take_out(interface, &old)?;
        }
    }
    Ok(())
}

/// Nobody is there, or the program is the first, and no other of ours is behind it.
pub(crate) fn is_in_order(
    interface: u32,
    direction: Direction,
    program: &Program,
) -> io::Result<bool> {
    let own = program.id()?;
    Ok(match present(interface, direction)?.split_first() {
        None => true,
        Some((first, others)) => *first == own && !others.iter().any(|id| ours(*id).is_some()),
    })
}

/// Our programs at every interface of this network namespace.
pub(crate) fn standing() -> io::Result<Vec<(u32, Direction, Program)>> {
    let mut standing = Vec::new();
    for interface in khactl_sys::interfaces::list()? {
        for direction in Direction::BOTH {
            for id in present(interface.index, direction)? {
                standing.extend(ours(id).map(|program| (interface.index, direction, program)));
            }
        }
    }
    Ok(standing)
}

/// Takes our programs out at the interfaces that `unwanted` names.
pub(crate) fn detach(unwanted: impl Fn(u32) -> bool) -> io::Result<()> {
    for (interface, direction, program) in standing()? {
        if unwanted(interface) {
            direction.chain().take_out(interface, &program)?;
        }
    }
    Ok(())
}

/// None from a kernel without such chains, from an interface that is gone, and where this process
/// may not look: it may attach no program there either.
fn present(interface: u32, direction: Direction) -> io::Result<Vec<u32>> {
    use rustix::io::Errno;
    let nobody = [Errno::INVAL, Errno::NODEV, Errno::PERM].map(Errno::raw_os_error);
    match direction.chain().programs(interface) {
        Err(error) if error.raw_os_error().is_some_and(|e| nobody.contains(&e)) => Ok(Vec::new()),
        result => result,
    }
}

/// A program of ours; one that this process may not look at is somebody else's.
fn ours(id: u32) -> Option<Program> {
    let program = Program::by_id(id).ok()?;
    (program.label().ok()? == LABEL).then_some(program)
}
