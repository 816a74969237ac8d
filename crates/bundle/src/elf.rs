//! The processor that a program was built for, from its ELF header.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use crate::error::BundleError;

/// Up to and with `e_machine`.
const HEADER: usize = 20;

/// Refuses a program for another processor than `wanted`, in Debian's words.
pub(crate) fn check(program: &str, path: &Path, wanted: &str) -> Result<(), BundleError> {
    let mut header = [0; HEADER];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut header));
    let found = match read {
        Ok(()) => machine(header),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => None,
        Err(error) => return Err(BundleError::file("read", path)(error)),
    };
    let found = found.unwrap_or_else(|| "no processor: it is no program".to_owned());
    if found == wanted {
        Ok(())
    } else {
        Err(BundleError::WrongArchitecture {
            what: program.to_owned(),
            found,
            wanted: wanted.to_owned(),
        })
    }
}

fn machine(header: [u8; HEADER]) -> Option<String> {
    let (magic, class, order) = (&header[..4], header[4], header[5]);
    if magic != b"\x7fELF" {
        return None;
    }
    let machine = [header[18], header[19]];
    let machine = match order {
        1 => u16::from_le_bytes(machine),
        _ => u16::from_be_bytes(machine),
    };
    // e_machine of the ELF specification; class 2 is 64 bits, order 1 little-endian.
    Some(match (class, order, machine) {
        (2, 1, 62) => "amd64".to_owned(),
        (2, 1, 183) => "arm64".to_owned(),
        (2, 1, 243) => "riscv64".to_owned(),
        (2, 1, 21) => "ppc64el".to_owned(),
        (2, 2, 22) => "s390x".to_owned(),
        (1, 1, 3) => "i386".to_owned(),
        (1, 1, 40) => "arm".to_owned(),
        _ => format!("processor {machine} of ELF"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_for_another_processor_and_a_script_are_refused() {
        let own = std::env::current_exe().unwrap();
        check("own", &own, crate::host_arch()).unwrap();
        let refused = check("own", &own, "s390x").unwrap_err();
        assert_eq!(refused.code(), "KHA1211");
        assert!(refused.to_string().contains("s390x"), "{refused}");

        let dir = tempfile::tempdir().unwrap();
        for text in ["", "#!/bin/sh\nexec true # no program\n"] {
            let script = dir.path().join("script");
            std::fs::write(&script, text).unwrap();
            let refused = check("etcd", &script, "amd64").unwrap_err();
            assert!(refused.to_string().contains("no program"), "{refused}");
        }
    }
}
