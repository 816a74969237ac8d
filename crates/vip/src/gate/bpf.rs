//! The gate as BPF programs: exact, since every packet is judged by an absolute deadline.

use std::io;
use std::net::IpAddr;

use khactl_sys::bpf::{LoadError, Program, Word, WordMap};
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::error::VipError;
use crate::gate::ahead::{self, LABEL};
use crate::gate::channel::Channel;
use crate::gate::filter;
use crate::gate::frame::{asking, coming_from};
use crate::gate::program::{DROP, Direction, PASS, program};

/// Far enough for a check that is over within microseconds.
const AHEAD_NS: u64 = 3_600_000_000_000;

/// Both programs, which share one deadline.
#[derive(Debug)]
pub(crate) struct BpfGate {
    map: WordMap,
    inwards: Program,
    outwards: Program,
}

impl BpfGate {
    /// Loads both programs, closed, and makes them prove themselves. Attaches nothing.
    pub(crate) fn load(vips: &[IpAddr]) -> Result<Self, VipError> {
        lift_memory_limit();
        let map = WordMap::new(LABEL).map_err(|cause| LoadError {
            cause,
            verdict: String::new(),
        });
        let loaded = map.and_then(|map| {
            let raw = map.raw();
            Ok(Self {
                inwards: Program::load(LABEL, &program(Direction::In, vips, raw))?,
                outwards: Program::load(LABEL, &program(Direction::Out, vips, raw))?,
                map,
            })
        });
        let gate = loaded.map_err(|LoadError { cause, verdict }| match cause.kind() {
            io::ErrorKind::PermissionDenied => VipError::BpfNotPermitted { cause },
            _ => VipError::BpfRefused { verdict, cause },
        })?;
        gate.prove(vips)?;
        Ok(gate)
    }

    /// The deadline in this process's memory.
    pub(crate) fn word(&self) -> Result<Word, VipError> {
        self.map.word().map_err(|cause| VipError::BpfRefused {
            verdict: String::new(),
            cause,
        })
    }

    pub(crate) fn program(&self, direction: Direction) -> &Program {
        match direction {
            Direction::In => &self.inwards,
            Direction::Out => &self.outwards,
        }
    }

    /// Puts both programs at these interfaces, in place of those of a predecessor.
    pub(crate) fn attach(&self, channel: &mut Channel, interfaces: &[u32]) -> io::Result<()> {
        for interface in interfaces {
            for direction in Direction::BOTH {
                let program = self.program(direction);
                filter::attach(channel, *interface, direction, program)?;
                ahead::attach(*interface, direction, program)?;
            }
        }
        Ok(())
    }

    /// Whether all of them are still there, and nobody is asked before them.
    pub(crate) fn is_attached(
        &self,
        channel: &mut Channel,
        interfaces: &[u32],
    ) -> io::Result<bool> {
        for direction in Direction::BOTH {
            let program = self.program(direction);
            let id = program.id()?;
            for interface in interfaces {
                let there = filter::programs(channel, *interface, direction)?.contains(&id);
                if !there || !ahead::is_in_order(*interface, direction, program)? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Before any packet depends on it: the kernel's clock is this process's clock (in a time
    /// namespace it is not), the VIP's packets are known, and the deadline divides them.
    fn prove(&self, vips: &[IpAddr]) -> Result<(), VipError> {
        let word = self.word()?;
        let now = || u64::try_from(khactl_sys::clock::boottime().as_nanos()).unwrap_or(0);
        for vip in vips {
            let (question, answer) = (asking(*vip), coming_from(*vip));
            for (program, frame) in [(&self.inwards, question), (&self.outwards, answer)] {
                let cases = [
                    (0, DROP),
                    // What has just passed is past, what comes in an hour is not.
                    (now(), DROP),
                    (now() + AHEAD_NS, PASS),
                ];
                for (deadline, expected) in cases {
                    word.store(deadline);
                    let judged = program.judge(&frame);
                    word.store(0);
                    let judged = judged.map_err(|cause| VipError::BpfRefused {
                        verdict: String::new(),
                        cause,
                    })?;
                    if judged != expected {
                        return Err(VipError::BpfMisjudges { vip: *vip });
                    }
                }
            }
        }
        Ok(())
    }
}

/// Linux before 5.11 counts maps and programs as locked memory of all of root's processes together,
/// and the usual limit is soon reached. A limit that stays shows when the map is made.
fn lift_memory_limit() {
    let unlimited = Rlimit {
        current: None,
        maximum: None,
    };
    let _stays = setrlimit(Resource::Memlock, unlimited);
}

/// The deadlines of all gates that stand, whoever made them. Needs CAP_SYS_ADMIN if there are any.
pub(crate) fn standing_words(channel: &mut Channel) -> io::Result<Vec<Word>> {
    let mut maps = std::collections::BTreeSet::new();
    for standing in filter::standing(channel)? {
        maps.extend(Program::by_id(standing.program)?.map_ids()?);
    }
    for (_, _, program) in ahead::standing()? {
        maps.extend(program.map_ids()?);
    }
    maps.into_iter()
        .map(|id| WordMap::by_id(id)?.word())
        .collect()
}
