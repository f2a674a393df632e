//! The part of `midship-agent` that is copied into the middleware's container, where it is PID 1 under that name.

use std::process::ExitCode;

fn main() -> ExitCode {
    midship::agent::cli::run_process()
}
