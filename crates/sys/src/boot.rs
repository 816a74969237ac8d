//! Which boot this is: times since boot and process ids mean nothing in another one.

use std::io;

/// The kernel's random id of this boot, as lower-case hexadecimal with dashes.
pub fn id() -> io::Result<String> {
    // Fixed path of procfs; see proc_sys_kernel(5).
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    #[test]
    fn boot_id_is_the_same_while_the_machine_runs() {
        let id = super::id().unwrap();
        assert_eq!(id.len(), 36);
        assert_eq!(id, super::id().unwrap());
    }
}
