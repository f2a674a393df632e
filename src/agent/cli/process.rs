//! Commands in the container of the middleware: being PID 1, asking it, asking the agent. They need little, and so the
//! program that is copied there has nothing else in it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};

use super::{fail, print};
use crate::agent::ctl::{self, Client, CtlError};
use crate::agent::init;
use crate::agent::init::config::EnvValue;
use crate::agent::init::protocol::{DEFAULT_SOCKET, ExecOrder, Notice, Op, OrderResult, Request, Status};
use crate::agent::init::signals::Signal;
use crate::agent::serve::permit;
use crate::api::values::Duration;

#[derive(Subcommand)]
pub enum ProcessCommand {
    /// Start a process and look after it until told to end.
    Init(InitArgs),
    /// Ask the process manager of this container.
    Ctl(CtlArgs),
    /// Become the middleware's own client, as its package declares it.
    Client {
        /// Where the agent listens.
        #[arg(long, value_name = "FILE", default_value = permit::DEFAULT_SOCKET)]
        socket: PathBuf,
    },
    /// Have the agent do what is to be done before the container is stopped.
    Leave {
        /// Where the agent listens.
        #[arg(long, value_name = "FILE", default_value = permit::DEFAULT_SOCKET)]
        socket: PathBuf,
        /// How long to wait for it.
        #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_duration)]
        timeout: Duration,
    },
    /// Wait until the agent permits the process to start.
    Permit {
        /// Where the agent listens.
        #[arg(long, value_name = "FILE", default_value = permit::DEFAULT_SOCKET)]
        socket: PathBuf,
    },
}

#[derive(Args)]
pub struct InitArgs {
    /// What to run, as JSON; followed while it changes.
    #[arg(long, value_name = "FILE", default_value = "/midship/process.json", conflicts_with = "run")]
    config: PathBuf,
    /// Where to listen for orders.
    #[arg(long, value_name = "FILE", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
    /// Run this once instead, and end as it ends.
    #[arg(last = true, value_name = "COMMAND")]
    run: Vec<String>,
}

#[derive(Args)]
pub struct CtlArgs {
    /// Where the process manager listens.
    #[arg(long, value_name = "FILE", default_value = DEFAULT_SOCKET, global = true)]
    socket: PathBuf,
    /// How to print the answer.
    #[arg(short, long, value_enum, default_value = "text", global = true)]
    output: Format,
    /// How long to wait for the answer.
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = parse_duration, global = true)]
    wait: Duration,
    #[command(subcommand)]
    order: OrderArgs,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

#[derive(Subcommand)]
enum OrderArgs {
    /// How the process is.
    Status,
    /// Whether the process serves: exit code 0 or 1, and the reason.
    Ready,
    /// Start the process.
    Start,
    /// Stop the process; the container stays.
    Stop {
        /// After this it is killed.
        #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
        timeout: Option<Duration>,
    },
    /// Stop the process and start it again.
    Restart {
        /// After this it is killed.
        #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
        timeout: Option<Duration>,
    },
    /// Make the process read its configuration again.
    Reload,
    /// Send the process a signal.
    Signal {
        /// Like HUP or USR1.
        #[arg(value_parser = parse_signal)]
        signal: Signal,
    },
    /// Run a command beside the process, in its surroundings, and end as it ends.
    Exec {
        /// After this it is killed.
        #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = parse_duration)]
        timeout: Duration,
        /// A variable besides those the process has.
        #[arg(short, long, value_name = "NAME=VALUE", value_parser = parse_variable)]
        env: Vec<(String, String)>,
        /// The directory to run it in.
        #[arg(long, value_name = "DIRECTORY")]
        dir: Option<PathBuf>,
        #[arg(last = true, required = true, value_name = "COMMAND")]
        command: Vec<String>,
    },
    /// Print what happens as it happens.
    Events {
        /// Also what happened after this number.
        #[arg(long, value_name = "NUMBER")]
        since: Option<u64>,
    },
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    Duration::parse(text).ok_or_else(|| "write it like 500ms, 30s or 5m".to_owned())
}

fn parse_variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it like NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn parse_signal(text: &str) -> Result<Signal, String> {
    Signal::parse(text).ok_or_else(|| "write it like HUP, USR1 or RTMIN+3".to_owned())
}

impl ProcessCommand {
    pub fn run(self) -> ExitCode {
        match self {
            Self::Init(InitArgs { config, socket, run }) => {
                let config = run.is_empty().then_some(config);
                match init::run(init::Options { config, socket, command: run }) {
                    Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
                    Err(error) => fail(&error),
                }
            }
            Self::Ctl(args) => ask(&args).unwrap_or_else(|error| fail(&error)),
            Self::Client { socket } => match become_client(&socket) {
                Ok(never) => match never {},
                Err(reason) => fail(&reason),
            },
            Self::Leave { socket, timeout } => match permit::ask_to_leave(&socket, timeout.0) {
                Ok(()) => ExitCode::SUCCESS,
                Err(reason) => fail(&reason),
            },
            Self::Permit { socket } => match permit::ask(&socket) {
                Ok(()) => ExitCode::SUCCESS,
                Err(reason) => fail(&reason),
            },
        }
    }
}

/// The client takes this program's place, and its terminal.
fn become_client(socket: &Path) -> Result<std::convert::Infallible, String> {
    use std::os::unix::process::CommandExt;
    let client = permit::ask_for_client(socket)?;
    let (program, arguments) = client.command.split_first().ok_or("the package's client names no program")?;
    let error = std::process::Command::new(program).args(arguments).envs(&client.env).exec();
    Err(format!("cannot run {program}: {error}"))
}

fn ask(args: &CtlArgs) -> Result<ExitCode, CtlError> {
    let mut request = Request::new(match args.order {
        OrderArgs::Status => Op::Status,
        OrderArgs::Ready => Op::Ready,
        OrderArgs::Start => Op::Start,
        OrderArgs::Stop { .. } => Op::Stop,
        OrderArgs::Restart { .. } => Op::Restart,
        OrderArgs::Reload => Op::Reload,
        OrderArgs::Signal { .. } => Op::Signal,
        OrderArgs::Events { .. } => Op::Events,
        OrderArgs::Exec { .. } => Op::Exec,
    });
    match &args.order {
        OrderArgs::Ready => return Ok(ready(&args.socket, &request, args.output)),
        OrderArgs::Stop { timeout } | OrderArgs::Restart { timeout } => request.timeout = *timeout,
        OrderArgs::Signal { signal } => request.signal = Some(*signal),
        OrderArgs::Events { since } => request.since = *since,
        OrderArgs::Exec { timeout, env, dir, command } => {
            let env = env.iter().map(|(name, value)| (name.clone(), EnvValue(value.clone()))).collect();
            request.timeout = Some(*timeout);
            request.exec = Some(ExecOrder { command: command.clone(), env, working_dir: dir.clone(), stdin: None });
        }
        OrderArgs::Status | OrderArgs::Start | OrderArgs::Reload => {}
    }
    let mut client = Client::connect(&args.socket, args.wait.0)?;
    if request.op == Op::Exec {
        let result = client.exec(&request)?;
        if result.timed_out {
            eprintln!("midship-agent: the command took too long and was killed");
        }
        return Ok(ExitCode::from(ctl::exit_status(&result)));
    }
    let answer = client.ask(&request)?;
    if request.op == Op::Events {
        return follow(&mut client, args.output);
    }
    if args.output == Format::Json {
        print(&answer.to_string());
        return Ok(ExitCode::SUCCESS);
    }
    match request.op {
        Op::Status => {
            let status: Status = serde_json::from_value(answer).map_err(CtlError::Garbled)?;
            print(ctl::describe(&status).trim_end());
        }
        Op::Start | Op::Stop | Op::Restart => {
            let done: OrderResult = serde_json::from_value(answer).map_err(CtlError::Garbled)?;
            let pid = done.pid.map(|pid| format!(", process {pid}")).unwrap_or_default();
            let note = match (done.changed, done.forced) {
                (false, _) => ": nothing had to be done",
                (true, true) => ": it had to be killed",
                (true, false) => "",
            };
            print(&format!("{:?}{pid}{note}", done.state));
        }
        _ => print(answer["message"].as_str().unwrap_or("done")),
    }
    Ok(ExitCode::SUCCESS)
}

/// For an exec probe: the reason is for `kubectl describe`, the exit code for the kubelet.
fn ready(socket: &Path, request: &Request, format: Format) -> ExitCode {
    let (ready, reason) = match ctl::ready(socket, request) {
        Ok(answer) => (answer.ready, answer.reason),
        Err(error) => (false, error.to_string()),
    };
    match format {
        Format::Json => print(&serde_json::json!({ "ready": ready, "reason": reason }).to_string()),
        Format::Text if ready => print(&format!("ready: {reason}")),
        Format::Text => print(&format!("not ready: {reason}")),
    }
    ExitCode::from(u8::from(!ready))
}

fn follow(client: &mut Client, format: Format) -> Result<ExitCode, CtlError> {
    client.be_patient()?;
    while let Some(line) = client.line()? {
        match format {
            Format::Json => print(line.trim_end()),
            Format::Text => {
                let notice: Notice = serde_json::from_str(&line).map_err(CtlError::Garbled)?;
                print(&ctl::describe_notice(&notice));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
