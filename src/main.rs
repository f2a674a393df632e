//! The `midship` program: controller and command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    // before anything opens a connection: one TLS implementation for all
    let installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    debug_assert!(installed.is_ok(), "nobody was faster");
    midship::cli::run()
}
