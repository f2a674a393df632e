//! The command line: one file per command.

/// Like those of the standard library; where nothing can be written, that is an error and no defect.
macro_rules! print {
    ($($words:tt)*) => { $crate::cli::output::put(format_args!($($words)*)) };
}
macro_rules! println {
    ($($words:tt)*) => { $crate::cli::output::put(format_args!("{}\n", format_args!($($words)*))) };
}
macro_rules! eprint {
    ($($words:tt)*) => { $crate::cli::output::say(format_args!($($words)*)) };
}
macro_rules! eprintln {
    ($($words:tt)*) => { $crate::cli::output::say(format_args!("{}\n", format_args!($($words)*))) };
}

mod audit;
mod backup;
mod blame;
mod completion;
mod connect;
mod connection;
mod controller;
mod crds;
mod describe;
mod diff;
mod doctor;
mod doubts;
mod error;
mod extension;
mod follow;
mod get;
mod guards;
mod history;
mod live;
mod logs;
mod manual;
mod mistake;
mod operate;
mod origin;
mod output;
mod plan;
mod plugin;
mod preview;
mod render;
mod repository;
mod restore;
mod rollback;
mod session;
mod snapshot;
mod spot;
mod validate;
mod wait;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use connection::Connection;
use error::CommandError;
use output::Asked;
use plugin::Caller;

/// What a command ends with when nothing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There was nothing to do, or it was done.
    Done,
    /// There is a difference that somebody may want to look at.
    Changes,
    /// Another program ended with this, which is ours to pass on.
    Ended(u8),
}

/// Run middleware on Kubernetes, with Git as its API.
#[derive(Parser)]
#[command(
    name = "midship",
    version,
    max_term_width = 100,
    after_help = "Exit codes: 0 nothing to do, 1 error, 2 there are changes."
)]
struct Cli {
    #[command(flatten)]
    connection: Connection,

    /// How to print the result.
    #[arg(short, long, global = true, value_enum, default_value_t = Asked::Table)]
    output: Asked,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check files before they are pushed: syntax, fields, rules, names. Needs no cluster.
    Validate(validate::Arguments),
    /// Show what changes between two commits, or between a commit and the files as they are.
    Diff(diff::Arguments),
    /// Show what the controller would do in the cluster if these files were pushed, and why.
    Plan(plan::Arguments),
    /// Show the objects that instances become, without asking a cluster.
    Render(render::Arguments),
    /// List objects: instances, sources, operations, backups and others.
    Get(get::Arguments),
    /// Show one page about an object: how it is, what it is made of, what it waits for, what happened.
    Describe(describe::Arguments),
    /// Print what the pods of an instance print.
    Logs(logs::Arguments),
    /// Open an instance's own client in its pod, run a command there, or say how to connect.
    Connect(connect::Arguments),
    /// Restart the processes of an instance, one after another.
    Restart(operate::Processes),
    /// Make the processes of an instance read their configuration again.
    Reload(operate::Processes),
    /// Start, stop, restart or reload chosen processes, some at a time.
    Process(operate::Batch),
    /// Hand the exclusive role, such as primary, to another pod.
    Switchover(operate::Switchover),
    /// Stop an instance; volumes, Services and Secrets stay.
    Stop(operate::State),
    /// Start a stopped instance.
    Start(operate::State),
    /// Make, list, show, prove and remove backups, and print the recovery kit.
    Backup(backup::Arguments),
    /// Make a new instance from a backup, of this cluster or of another.
    Restore(restore::Arguments),
    /// Let the controller look at a repository now.
    Sync(follow::Sync),
    /// Leave what a repository or an instance says unapplied until it is resumed.
    Suspend(follow::Suspension),
    /// Go on after `suspend`.
    Resume(follow::Suspension),
    /// Show what happened to an object: what changed, by which commit, by whom, and how it ended.
    History(history::Arguments),
    /// Show each field of an object with its file and line, and the commit that last changed it.
    Blame(blame::Arguments),
    /// Make a branch on which an object is what it was, to be merged.
    Rollback(rollback::Arguments),
    /// Check the record of what was applied.
    Audit(audit::Arguments),
    /// Begin, check, test, show, compare and install packages of middleware.
    Extension(extension::Arguments),
    /// Check that the cluster and Midship are well, and say how to mend what is not.
    Doctor(doctor::Arguments),
    /// Print the definitions of all kinds, for `kubectl apply --server-side -f -`.
    Crds(crds::Arguments),
    /// Run the controller.
    Controller(controller::Arguments),
    /// Print a completion script for a shell.
    Completion(completion::Arguments),
    /// Write manual pages.
    Man(manual::Arguments),
}

/// The whole program.
pub fn run() -> ExitCode {
    if caller() == Caller::KubectlCompletion {
        let words: Vec<String> = std::env::args().skip(1).collect();
        print!("{}", plugin::candidates(command(), &words));
        return ExitCode::SUCCESS;
    }
    let cli = command().try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match cli {
        Ok(cli) => cli,
        Err(error) => return mistake::answer(&error, &command()),
    };
    match dispatch(cli) {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Changes) => ExitCode::from(2),
        Ok(Outcome::Ended(code)) => ExitCode::from(code),
        Err(error) => {
            error.print();
            ExitCode::from(1)
        }
    }
}

/// The command as clap knows it, under the name it was called by.
fn command() -> clap::Command {
    let command = Cli::command();
    if caller() == Caller::Kubectl { command.bin_name("kubectl midship") } else { command }
}

fn caller() -> Caller {
    Caller::of(std::env::args_os().next().as_deref())
}

fn dispatch(cli: Cli) -> Result<Outcome, CommandError> {
    let Cli { connection, output, mut command } = cli;
    if let (Asked::Wide, Command::Get(arguments)) = (output, &mut command) {
        arguments.wide = true;
    }
    let output = output.format();
    match command {
        Command::Validate(arguments) => validate::run(&arguments, output),
        Command::Diff(arguments) => diff::run(&arguments, &connection, output),
        Command::Plan(arguments) => in_background(plan::run(&arguments, &connection, output)),
        Command::Render(arguments) => render::run(&arguments, output),
        Command::Get(arguments) => in_background(get::run(&arguments, &connection, output)),
        Command::Describe(arguments) => in_background(describe::run(&arguments, &connection, output)),
        Command::Logs(arguments) => in_background(logs::run(&arguments, &connection)),
        Command::Connect(arguments) => in_background(connect::run(&arguments, &connection, output)),
        Command::Restart(arguments) => in_background(operate::restart(&arguments, &connection, output)),
        Command::Reload(arguments) => in_background(operate::reload(&arguments, &connection, output)),
        Command::Process(arguments) => in_background(operate::process(&arguments, &connection, output)),
        Command::Switchover(arguments) => in_background(operate::switchover(&arguments, &connection, output)),
        Command::Stop(arguments) => in_background(operate::stop(&arguments, &connection, output)),
        Command::Start(arguments) => in_background(operate::start(&arguments, &connection, output)),
        Command::Backup(arguments) => in_background(backup::run(&arguments, &connection, output)),
        Command::Restore(arguments) => in_background(restore::run(&arguments, &connection, output)),
        Command::Sync(arguments) => in_background(follow::sync(&arguments, &connection, output)),
        Command::Suspend(arguments) => in_background(follow::suspend(&arguments, &connection, true, output)),
        Command::Resume(arguments) => in_background(follow::suspend(&arguments, &connection, false, output)),
        Command::History(arguments) => in_background(history::run(&arguments, &connection, output)),
        Command::Blame(arguments) => in_background(blame::run(&arguments, &connection, output)),
        Command::Rollback(arguments) => in_background(rollback::run(&arguments, &connection, output)),
        Command::Audit(arguments) => in_background(audit::run(&arguments, &connection, output)),
        Command::Extension(arguments) => extension::run(arguments, &connection, output),
        Command::Doctor(arguments) => in_background(doctor::run(&arguments, &connection, output)),
        Command::Crds(arguments) => crds::run(&arguments, output),
        Command::Controller(arguments) => controller::run(arguments, connection),
        Command::Completion(arguments) => completion::run(&arguments),
        Command::Man(arguments) => manual::run(&arguments),
    }
}

/// Runs a command that waits for others, on one thread.
fn in_background(work: impl Future<Output = Result<Outcome, CommandError>>) -> Result<Outcome, CommandError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CommandError::runtime)?;
    let outcome = runtime.block_on(work);
    // what hangs on a thread, such as a credential plugin, is not waited for
    runtime.shutdown_background();
    outcome
}
