//! Permission to start: PID 1 runs `midship-agent permit` before each start, which asks here and waits for the answer.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::oneshot;

use super::backups;
use super::shared::{Input, Shared};
use crate::agent::backup::Backups;

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
}

#[derive(Serialize, Deserialize)]
struct Answer {
    ok: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
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
        Err(error) => Answer { ok: false, error: Some(format!("cannot understand the question: {error}")) },
        Ok(Question { op: Op::Permit }) => {
            let mut nothing = [0; 1];
            // whoever hangs up meanwhile has asked for nothing
            tokio::select! {
                () = backups::restored(&shared, &backups) => {}
                _ = read.read(&mut nothing) => return,
            }
            let (answer, answered) = oneshot::channel();
            let id = shared.next_permit();
            shared.tell(Input::Permit { id, answer });
            tokio::select! {
                answered = answered => match answered {
                    Ok(Ok(())) => Answer { ok: true, error: None },
                    Ok(Err(error)) => Answer { ok: false, error: Some(error) },
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

/// What `midship-agent permit` does: waits for the agent, and for its answer. PID 1 bounds the time.
pub fn ask(path: &Path) -> Result<(), String> {
    use std::io::{BufRead, Write};
    let mut told = false;
    loop {
        let asked = || -> io::Result<String> {
            let mut stream = std::os::unix::net::UnixStream::connect(path)?;
            stream.write_all(b"{\"op\":\"permit\"}\n")?;
            let mut line = String::new();
            std::io::BufReader::new(stream).read_line(&mut line)?;
            Ok(line)
        };
        match asked() {
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
