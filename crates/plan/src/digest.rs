//! Digests by which a plan tells what runs, what was fed and what is written from what should
//! be. Always SHA-256 in hexadecimal.

use sha2::{Digest, Sha256};
use std::fmt::Write;

use crate::effect::{ProcessSpec, VipFeed};

/// etcd reads these on an empty data folder only. The first host's member begins with `new` and
/// goes on with `existing`: that is no reason to restart it.
const FIRST_START_ONLY: [&str; 2] = ["--initial-cluster=", "--initial-cluster-state="];

/// SHA-256 of bytes, in hexadecimal.
pub fn sha256_hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        write!(text, "{byte:02x}").expect("a string takes every character");
    }
    text
}

/// Digest of everything for whose change a process is restarted. The executor records it with
/// the process and tells it again in [`khactl_model::facts::ProcessFact`].
pub fn digest(process: &ProcessSpec) -> String {
    let mut lasting = process.clone();
    lasting
        .args
        .retain(|arg| !FIRST_START_ONLY.iter().any(|flag| arg.starts_with(flag)));
    of_json(&lasting)
}

/// Digest of everything that khavip is told; [`khactl_model::facts::VipFact`] tells the one that
/// it works with.
pub fn feed_digest(feed: &VipFeed) -> String {
    of_json(feed)
}

fn of_json(value: &impl serde::Serialize) -> String {
    sha256_hex(&serde_json::to_vec(value).expect("strings, numbers and lists have a JSON form"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use khactl_model::component::ComponentName;

    fn etcd(args: &[&str]) -> ProcessSpec {
        ProcessSpec {
            name: ComponentName::Etcd,
            program: "etcd".to_owned(),
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            env: Vec::new(),
            user: None,
            bundle: None,
        }
    }

    #[test]
    fn the_digest_of_nothing_is_the_published_one() {
        assert_eq!(
            sha256_hex(b""),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }

    #[test]
    fn what_only_a_first_start_reads_restarts_nothing() {
        let new = etcd(&[
            "--name=a",
            "--initial-cluster-state=new",
            "--initial-cluster=a=x",
        ]);
        let later = etcd(&["--name=a", "--initial-cluster-state=existing"]);
        assert_eq!(digest(&new), digest(&later));
        assert_ne!(digest(&new), digest(&etcd(&["--name=b"])));
        assert_ne!(
            digest(&etcd(&["--initial-cluster-token=1"])),
            digest(&etcd(&["--initial-cluster-token=2"]))
        );
    }
}
