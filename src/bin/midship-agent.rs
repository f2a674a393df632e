//! The `midship-agent` program that runs inside pods.

use std::process::ExitCode;

fn main() -> ExitCode {
    midship::agent::cli::run()
}
