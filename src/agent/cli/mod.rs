//! The command line of `midship-agent`, and of the part of it that runs in the container of the middleware.

mod process;

use std::fmt::Display;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use super::copy;
use super::init::protocol::DEFAULT_SOCKET;
use super::serve::{self, permit};
use crate::extension::context::paths;
use process::ProcessCommand;

/// Runs a middleware's process as PID 1 of its container, and what else is needed in its pod.
#[derive(Parser)]
#[command(name = "midship-agent", version, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    #[command(flatten)]
    Process(ProcessCommand),
    /// Copy the program for the middleware's container into a directory.
    Copy {
        /// The directory, usually a shared volume.
        dir: PathBuf,
        /// Also write the configuration files that this configuration of the agent names.
        #[arg(long, value_name = "FILE")]
        files: Option<PathBuf>,
        /// Where the secrets lie that these files need.
        #[arg(long, value_name = "DIRECTORY", default_value = paths::SECRETS)]
        secrets: PathBuf,
    },
    /// Look after a pod: find out how it is, hold or follow its role, do what controllers ask for.
    Serve(ServeArgs),
}

/// Runs a middleware's process as PID 1 of its container, and asks it.
#[derive(Parser)]
#[command(name = "midship-agent", version, disable_help_subcommand = true)]
struct ProcessCli {
    #[command(subcommand)]
    command: ProcessCommand,
}

#[derive(Args)]
struct ServeArgs {
    /// What the agent is told; followed while it changes.
    #[arg(long, value_name = "FILE", default_value = "/midship/config/agent.json")]
    config: PathBuf,
    /// Where the process manager of the middleware's container listens.
    #[arg(long, value_name = "FILE", default_value = DEFAULT_SOCKET)]
    control: PathBuf,
    /// Where to listen for those who want to start a process.
    #[arg(long, value_name = "FILE", default_value = permit::DEFAULT_SOCKET)]
    socket: PathBuf,
    /// Where the instance's secrets lie.
    #[arg(long, value_name = "DIRECTORY", default_value = paths::SECRETS)]
    secrets: PathBuf,
    /// Where the middleware's certificates lie.
    #[arg(long, value_name = "DIRECTORY", default_value = paths::TLS)]
    tls: PathBuf,
    /// Where the agent's own certificate lies.
    #[arg(long, value_name = "DIRECTORY", default_value = paths::AGENT_TLS)]
    agent_tls: PathBuf,
    /// How to reach Kubernetes; as any pod does, where left out.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

pub fn run() -> ExitCode {
    match Cli::parse().command {
        Command::Process(command) => command.run(),
        Command::Copy { dir, files, secrets } => {
            let written = files.map_or(Ok(Vec::new()), |files| copy::write_files(&files, &secrets));
            match written.and_then(|written| Ok((copy::copy_program(&dir)?, written))) {
                Ok((path, written)) => {
                    for path in [path].iter().chain(&written) {
                        print(&path.display().to_string());
                    }
                    ExitCode::SUCCESS
                }
                Err(error) => fail(&error),
            }
        }
        Command::Serve(args) => {
            let ServeArgs { config, control, socket, secrets, tls, agent_tls, kubeconfig } = args;
            let options = serve::Options { config, control, socket, secrets, tls, agent_tls, kubeconfig };
            match serve::run(options) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => fail(&error),
            }
        }
    }
}

/// What `midship-init` does: only what is needed in the middleware's container.
pub fn run_process() -> ExitCode {
    ProcessCli::parse().command.run()
}

fn fail(error: &dyn Display) -> ExitCode {
    eprintln!("midship-agent: {error}");
    ExitCode::FAILURE
}

/// A reader that has gone away is no reason to fail.
fn print(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}
