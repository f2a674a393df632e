//! What the middleware's container asks: PID 1 runs `midship-agent permit` before each start, the kubelet
//! `midship-agent leave` before it stops the container, people `midship-agent client`. Each asks here and waits for the answer.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::oneshot;

use super::shared::{Input, Shared};
use super::{backups, farewell, process};
use crate::agent::backup::Backups;
use crate::agent::role::Event;

/// Where the agent listens.
pub const DEFAULT_SOCKET: &str = "/midship/run/agent.sock";
/// A question is short.
const MAX_LINE: u64 = 1024;
/// How often an agent that is not there is looked for.
const RETRY: Duration = Duration::from_millis(100);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    op: Op,
}

#[derive(Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Op {
    Permit,
    /// How the middleware's own client is run, with the secrets it logs in with.
    Client,
    /// What is to be done before the process goes with its container.
    Leave,
}

#[derive(Serialize, Deserialize)]
struct Answer {
    ok: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client: Option<Program>,
}

impl Answer {
    fn of(result: Result<(), String>) -> Self {
        Self { ok: result.is_ok(), error: result.err(), client: None }
    }
}

/// A program to be run. What is in it may be secret.
#[derive(Serialize, Deserialize)]
pub struct Program {
    pub command: Vec<String>,
    #[serde(default)]
    pub env: BTreeMap<String, String>,
}

/// Takes the place of an agent that is gone.
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    // both containers run as the same user
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

pub async fn serve(listener: UnixListener, shared: Arc<Shared>, backups: Arc<Backups>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(attend(stream, Arc::clone(&shared), Arc::clone(&backups)));
            }
            Err(error) => {
                tracing::warn!(%error, "nobody can ask for permission to start");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

async fn attend(stream: UnixStream, shared: Arc<Shared>, backups: Arc<Backups>) {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read.take(MAX_LINE));
    let mut line = String::new();
    if read.read_line(&mut line).await.is_err() {
        return;
    }
    let answer = match serde_json::from_str::<Question>(&line) {
        Err(error) => Answer::of(Err(format!("cannot understand the question: {error}"))),
        Ok(Question { op: Op::Client }) => match client(&shared) {
            Ok(program) => Answer { client: Some(program), ..Answer::of(Ok(())) },
            Err(error) => Answer::of(Err(error)),
        },
        Ok(Question { op: Op::Leave }) => Answer::of(farewell::say(&shared).await),
        Ok(Question { op: Op::Permit }) => {
            let mut nothing = [0; 1];
            // whoever hangs up meanwhile has asked for nothing
            tokio::select! {
                () = backups::restored(&shared, &backups) => {}
                _ = read.read(&mut nothing) => return,
            }
            if shared.place().handed_out() && process::was_killed(&shared).await {
                shared.tell(Input::Role(Event::NotSpared));
            }
            let (answer, answered) = oneshot::channel();
            let id = shared.next_permit();
            shared.tell(Input::Permit { id, answer });
            tokio::select! {
                answered = answered => match answered {
                    Ok(result) => Answer::of(result),
                    // another request came in its place
                    Err(_) => return,
                },
                _ = read.read(&mut nothing) => {
                    shared.tell(Input::PermitGone { id });
                    return;
                }
            }
        }
    };
    if let Ok(mut line) = serde_json::to_vec(&answer) {
        line.push(b'\n');
        // whoever has gone away asks anew
        let _ = write.write_all(&line).await;
    }
}

/// The client as the package declares it.
fn client(shared: &Shared) -> Result<Program, String> {
    let actor = shared.actor();
    let declared = actor.config().client.as_ref();
    let declared = declared.ok_or("the package declares no client; name the command to run")?;
    let call = actor.command("client", declared, &shared.extras()).map_err(|error| error.to_string())?;
    Ok(Program { command: call.command, env: call.env })
}

/// What `midship-agent client` asks for: how the client is run.
pub fn ask_for_client(path: &Path) -> Result<Program, String> {
    let answer = answered(path, Op::Client, None)?;
    answer.client.ok_or_else(|| answer.error.unwrap_or_else(|| "the agent said nothing".to_owned()))
}

/// What `midship-agent leave` asks for: that everything is done before the process is stopped. Nobody waits longer than
/// this, and an agent that is gone is not waited for.
pub fn ask_to_leave(path: &Path, patience: Duration) -> Result<(), String> {
    let answer = answered(path, Op::Leave, Some(patience))?;
    if answer.ok { Ok(()) } else { Err(answer.error.unwrap_or_default()) }
}

fn answered(path: &Path, op: Op, patience: Option<Duration>) -> Result<Answer, String> {
    let line = question(path, op, patience).map_err(|error| format!("the agent at {}: {error}", path.display()))?;
    serde_json::from_str(&line).map_err(|error| format!("cannot understand the agent: {error}"))
}

/// Asks the agent; what it answers is one line.
fn question(path: &Path, op: Op, patience: Option<Duration>) -> io::Result<String> {
    use std::io::{BufRead, Write};
    let mut stream = std::os::unix::net::UnixStream::connect(path)?;
    stream.set_read_timeout(patience)?;
    let mut asked = serde_json::to_vec(&Question { op }).map_err(io::Error::other)?;
    asked.push(b'\n');
    stream.write_all(&asked)?;
    let mut line = String::new();
    std::io::BufReader::new(stream).read_line(&mut line)?;
    Ok(line)
}

/// What `midship-agent permit` does: waits for the agent, and for its answer. PID 1 bounds the time.
pub fn ask(path: &Path) -> Result<(), String> {
    let mut told = false;
    loop {
        match question(path, Op::Permit, None) {
            Ok(line) if !line.is_empty() => {
                let answer: Answer =
                    serde_json::from_str(&line).map_err(|error| format!("cannot understand the agent: {error}"))?;
                return if answer.ok { Ok(()) } else { Err(answer.error.unwrap_or_default()) };
            }
            // the agent is gone, or not there yet: nobody starts without its word
            Ok(_) | Err(_) if told => {}
            Ok(_) => {}
            Err(error) => {
                eprintln!("midship-agent: waits for the agent at {}: {error}", path.display());
                told = true;
            }
        }
        std::thread::sleep(RETRY);
    }
}
