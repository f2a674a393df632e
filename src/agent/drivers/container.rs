//! What is done in the middleware's container, through its PID 1: commands, signals, the process itself.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::{Answer, DriverError, ExecCall};
use crate::agent::init::config::EnvValue;
use crate::agent::init::protocol::{ExecOrder, ExecResult, Op, OrderResult, Request};
use crate::agent::init::signals::Signal;
use crate::agent::pid1::{Pid1, Pid1Error, Running};
use crate::extension::contract::step::ProcessStep;

/// What is kept of what a command writes.
const MAX_OUTPUT: usize = 1024 * 1024;
/// How long after a command's end to wait for what it wrote, where somebody it left behind holds its output open.
const AFTERMATH: Duration = Duration::from_millis(200);

impl From<Pid1Error> for DriverError {
    fn from(error: Pid1Error) -> Self {
        match &error {
            Pid1Error::Refused(problem) => match &problem.hint {
                Some(hint) => Self::new(format!("{}; {hint}", problem.message)),
                None => Self::new(&problem.message),
            },
            _ => Self::new(error.to_string()),
        }
    }
}

impl ExecCall {
    pub fn order(&self) -> ExecOrder {
        ExecOrder {
            command: self.command.clone(),
            env: self.env.iter().map(|(name, value)| (name.clone(), EnvValue(value.clone()))).collect(),
            working_dir: None,
            stdin: None,
        }
    }
}

pub async fn exec(pid1: &Pid1, call: ExecCall, deadline: Instant) -> Answer {
    let pipes = || {
        let (stdin, stdin_sink) = io::pipe()?;
        let (stdout, stdout_sink) = io::pipe()?;
        let (stderr, stderr_sink) = io::pipe()?;
        let given: [OwnedFd; 3] = [stdin.into(), stdout_sink.into(), stderr_sink.into()];
        let ours = (
            Sender::from_owned_fd(stdin_sink.into())?,
            Receiver::from_owned_fd(stdout.into())?,
            Receiver::from_owned_fd(stderr.into())?,
        );
        Ok::<_, io::Error>((given, ours))
    };
    let (given, (stdin, stdout, stderr)) =
        pipes().map_err(|error| DriverError::new(format!("cannot make pipes: {error}")))?;
    let left = deadline.saturating_duration_since(Instant::now());
    let running = pid1.exec(call.order(), left, given).await?;
    let (over, ended) = watch::channel(());
    let waiting = async {
        let result = running.ended().await;
        drop(over);
        result
    };
    let text = call.stdin.unwrap_or_default();
    let (result, (), stdout, stderr) = tokio::join!(
        waiting,
        feed(stdin, text.as_bytes(), ended.clone()),
        hear(stdout, ended.clone(), true),
        hear(stderr, ended, false)
    );
    let result = result?;
    if result.timed_out {
        return Err(DriverError::new(format!("{} took too long and was killed", call.command[0])));
    }
    let code = match (&result.code, &result.signal) {
        (Some(code), _) => *code,
        (None, Some(signal)) => 128 + Signal::parse(signal).map_or(0, Signal::number),
        (None, None) => return Err(DriverError::new("PID 1 does not say how the command ended")),
    };
    let mut answer =
        json!({ "code": code, "json": parsed(&stdout.bytes), "stdout": stdout.text(), "stderr": stderr.text() });
    if stdout.dropped + stderr.dropped > 0 {
        answer["truncated"] = json!(stdout.dropped + stderr.dropped);
    }
    Ok(answer)
}

/// What a command wrote as JSON: an object or a list, else nothing.
fn parsed(bytes: &[u8]) -> Value {
    match bytes.trim_ascii_start().first() {
        Some(b'{' | b'[') => serde_json::from_slice(bytes).unwrap_or_default(),
        _ => Value::Null,
    }
}

/// How a command ended whose output goes elsewhere, and the last of what it said on standard error.
pub async fn last_words(running: Running, stderr: Receiver) -> (Result<ExecResult, Pid1Error>, String) {
    let (over, ended) = watch::channel(());
    let waiting = async {
        let result = running.ended().await;
        drop(over);
        result
    };
    let (result, said) = tokio::join!(waiting, hear(stderr, ended, false));
    (result, said.text())
}

/// Gives a command what it reads, as far as it reads it.
async fn feed(mut stdin: Sender, bytes: &[u8], mut ended: watch::Receiver<()>) {
    tokio::select! {
        // a command that does not read all of it is no failure
        _ = stdin.write_all(bytes) => {}
        _ = ended.changed() => {}
    }
}

/// What was written, as far as it is kept.
struct Heard {
    bytes: Vec<u8>,
    dropped: usize,
}

impl Heard {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

/// Reads until the end of the stream, or until a moment after the command has ended.
async fn hear(mut stream: Receiver, mut ended: watch::Receiver<()>, first: bool) -> Heard {
    let mut heard = Heard { bytes: Vec::new(), dropped: 0 };
    let mut buffer = vec![0; 16 * 1024];
    let mut over_at = None;
    loop {
        let got = tokio::select! {
            got = stream.read(&mut buffer) => match got {
                Ok(got) if got > 0 => got,
                _ => return heard,
            },
            _ = ended.changed(), if over_at.is_none() => {
                over_at = Some(Instant::now() + AFTERMATH);
                continue;
            }
            () = sleep_until(over_at.unwrap_or_else(Instant::now)), if over_at.is_some() => return heard,
        };
        let room = if first { got.min(MAX_OUTPUT - heard.bytes.len()) } else { got };
        heard.bytes.extend_from_slice(&buffer[..room]);
        let surplus = heard.bytes.len().saturating_sub(MAX_OUTPUT);
        heard.bytes.drain(..surplus);
        heard.dropped += got - room + surplus;
    }
}

pub async fn signal(pid1: &Pid1, name: &str, deadline: Instant) -> Answer {
    let signal = Signal::parse(name)
        .ok_or_else(|| DriverError::new(format!("\"{name}\" is no signal; write it like HUP, USR1 or RTMIN+3")))?;
    let mut request = Request::new(Op::Signal);
    request.signal = Some(signal);
    Ok(pid1.ask(&request, deadline).await?)
}

pub async fn process(pid1: &Pid1, what: ProcessStep, deadline: Instant) -> Answer {
    let request = Request::new(match what {
        ProcessStep::Start => Op::Start,
        ProcessStep::Stop => Op::Stop,
        ProcessStep::Restart => Op::Restart,
    });
    let answer = pid1.ask(&request, deadline).await?;
    let done: OrderResult = serde_json::from_value(answer).map_err(Pid1Error::Garbled)?;
    Ok(json!({ "state": done.state, "pid": done.pid, "changed": done.changed, "forced": done.forced }))
}
