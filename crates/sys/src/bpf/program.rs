//! A program that judges packets (`BPF_PROG_TYPE_SCHED_CLS`), as the kernel has accepted it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use super::call::{ById, Command, GetInfo, call, descriptor, name};

/// `BPF_PROG_TYPE_SCHED_CLS`.
const PACKETS: u32 = 3;
/// `BPF_PROG_GET_FD_BY_ID`.
const PROGRAM_BY_ID: libc::c_int = 13;
/// Where the kernel writes why it refuses a program.
const LOG_BYTES: usize = 64 * 1024;
/// More than any program of ours refers to.
const MAPS_MAX: usize = 8;

/// The loaded program; it goes once neither a descriptor nor an interface refers to it.
#[derive(Debug)]
pub struct Program {
    descriptor: OwnedFd,
}

/// Why the kernel does not take a program.
#[derive(Debug)]
pub struct LoadError {
    /// EPERM: no CAP_BPF or CAP_NET_ADMIN; EINVAL: it asks for what this kernel does not have.
    pub cause: io::Error,
    /// The last line of the verifier's words; empty if it was not asked.
    pub verdict: String,
}

#[repr(C)]
struct Load {
    program_type: u32,
    instructions: u32,
    first: u64,
    license: u64,
    log_level: u32,
    log_bytes: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
}

// SAFETY: the layout is that of `bpf_attr` for `BPF_PROG_LOAD` up to the name; `load` sets the
// addresses to memory that outlives the call, and the lengths to its size.
unsafe impl Command for Load {
    const COMMAND: libc::c_int = 5;
}

#[repr(C)]
struct TestRun {
    descriptor: RawFd,
    answer: u32,
    bytes_in: u32,
    bytes_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration_ns: u32,
}

// SAFETY: the layout is that of `bpf_attr.test`; `judge` sets the one address that is not zero.
unsafe impl Command for TestRun {
    const COMMAND: libc::c_int = 10;
}

/// `bpf_prog_info` up to the name.
#[repr(C)]
#[derive(Default)]
struct Info {
    program_type: u32,
    id: u32,
    tag: [u8; 8],
    machine_code_bytes: u32,
    instruction_bytes: u32,
    machine_code: u64,
    instructions: u64,
    load_time: u64,
    created_by: u32,
    maps: u32,
    map_ids: u64,
    name: [u8; 16],
}

impl Program {
    /// Hands the instructions (`struct bpf_insn`, as the machine's own 64-bit words) to the kernel.
    pub fn load(label: &str, instructions: &[u64]) -> Result<Self, LoadError> {
        let quiet = |cause| LoadError {
            cause,
            verdict: String::new(),
        };
        match Self::try_load(label, instructions, &mut []) {
            Ok(descriptor) => Ok(Self { descriptor }),
            Err(cause) if cause.kind() == io::ErrorKind::PermissionDenied => Err(quiet(cause)),
            Err(_) => {
                let mut log = vec![0; LOG_BYTES];
                match Self::try_load(label, instructions, &mut log) {
                    Ok(descriptor) => Ok(Self { descriptor }),
                    Err(cause) => Err(LoadError {
                        cause,
                        verdict: verdict(&log),
                    }),
                }
            }
        }
    }

    fn try_load(label: &str, instructions: &[u64], log: &mut [u8]) -> io::Result<OwnedFd> {
        let count = u32::try_from(instructions.len()).map_err(io::Error::other)?;
        let log_bytes = u32::try_from(log.len()).map_err(io::Error::other)?;
        let log_at = match log_bytes {
            0 => 0,
            _ => log.as_mut_ptr().expose_provenance() as u64,
        };
        descriptor(&mut Load {
            program_type: PACKETS,
            instructions: count,
            first: instructions.as_ptr().expose_provenance() as u64,
            license: c"Apache-2.0".as_ptr().expose_provenance() as u64,
            log_level: u32::from(log_bytes > 0),
            log_bytes,
            log: log_at,
            kernel_version: 0,
            flags: 0,
            name: name(label),
        })
    }

    /// A program that an interface refers to. Needs CAP_SYS_ADMIN.
    pub fn by_id(id: u32) -> io::Result<Self> {
        let descriptor = ById::<PROGRAM_BY_ID>::open(id)?;
        Ok(Self { descriptor })
    }

    /// The kernel's number for it.
    pub fn id(&self) -> io::Result<u32> {
        Ok(self.info(&mut [])?.id)
    }

    /// The name that it was loaded by, or what of it the kernel kept.
    pub fn label(&self) -> io::Result<String> {
        let name = self.info(&mut [])?.name;
        let text = name.split(|byte| *byte == 0).next().unwrap_or_default();
        Ok(String::from_utf8_lossy(text).into_owned())
    }

    /// The numbers of the maps that it refers to.
    pub fn map_ids(&self) -> io::Result<Vec<u32>> {
        let mut ids = [0; MAPS_MAX];
        let found = self.info(&mut ids)?.maps as usize;
        Ok(ids[..found.min(MAPS_MAX)].to_vec())
    }

    fn info(&self, map_ids: &mut [u32]) -> io::Result<Info> {
        let mut info = Info {
            maps: u32::try_from(map_ids.len()).map_err(io::Error::other)?,
            map_ids: match map_ids {
                [] => 0,
                _ => map_ids.as_mut_ptr().expose_provenance() as u64,
            },
            ..Info::default()
        };
        call(&mut GetInfo {
            descriptor: self.descriptor.as_raw_fd(),
            bytes: 80,
            info: (&raw mut info).expose_provenance() as u64,
        })?;
        Ok(info)
    }

    /// What the program answers to an Ethernet frame, without sending or receiving it
    /// (`BPF_PROG_TEST_RUN`).
    pub fn judge(&self, frame: &[u8]) -> io::Result<i32> {
        let mut run = TestRun {
            descriptor: self.descriptor.as_raw_fd(),
            answer: 0,
            bytes_in: u32::try_from(frame.len()).map_err(io::Error::other)?,
            bytes_out: 0,
            data_in: frame.as_ptr().expose_provenance() as u64,
            data_out: 0,
            repeat: 1,
            duration_ns: 0,
        };
        call(&mut run)?;
        Ok(run.answer.cast_signed())
    }
}

impl AsFd for Program {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// The last line before the verifier's statistics.
fn verdict(log: &[u8]) -> String {
    let text = log.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text)
        .lines()
        .rfind(|line| !line.starts_with("processed ") && !line.trim().is_empty())
        .unwrap_or_default()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_is_the_last_line_that_is_no_statistics() {
        let log = b"0: R1=ctx()\nunknown func bpf_ktime_get_boot_ns#125\nprocessed 3 insns (limit 1000000)\n\0\0";
        assert_eq!(verdict(log), "unknown func bpf_ktime_get_boot_ns#125");
        assert_eq!(verdict(&[0; 4]), "");
    }
}
