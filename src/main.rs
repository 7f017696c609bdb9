//! Exit codes and nothing else.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    kioku::cli::run(std::env::args_os())
}
