//! `khactl`.

use std::process::ExitCode;

fn main() -> ExitCode {
    khactl::run(std::env::args_os())
}
