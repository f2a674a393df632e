//! Follows the process through PID 1: each change is a reason to ask how it is.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout};

use super::shared::{Input, Shared};
use crate::agent::init::protocol::{EndReason, Op, Request, Status};
use crate::agent::pid1::Pid1Error;

/// Between two tries to reach a PID 1 that does not answer.
const RETRY: Duration = Duration::from_millis(200);
/// How long PID 1 may take to answer; it does nothing but that.
const PATIENCE: Duration = Duration::from_secs(2);
/// Asked anyway, should a change have been missed.
const LOOK: Duration = Duration::from_secs(5);

pub async fn follow(shared: Arc<Shared>) {
    loop {
        if let Err(error) = listen(&shared).await {
            gone(&shared, &error);
        }
        sleep(RETRY).await;
    }
}

/// Until the connection breaks.
async fn listen(shared: &Shared) -> Result<(), Pid1Error> {
    let socket = &shared.options.control;
    let connect = |source| Pid1Error::Connect { path: socket.clone(), source };
    let mut stream =
        timeout(PATIENCE, UnixStream::connect(socket)).await.map_err(|_| Pid1Error::TimedOut)?.map_err(connect)?;
    let mut request = serde_json::to_vec(&Request::new(Op::Events)).map_err(Pid1Error::Garbled)?;
    request.push(b'\n');
    stream.write_all(&request).await?;
    let mut lines = BufReader::new(stream).lines();
    loop {
        ask(shared).await?;
        match timeout(LOOK, lines.next_line()).await {
            Err(_) | Ok(Ok(Some(_))) => {}
            Ok(Ok(None)) => return Err(Pid1Error::Closed),
            Ok(Err(error)) => return Err(error.into()),
        }
    }
}

/// How the process is, now.
pub async fn ask(shared: &Shared) -> Result<(), Pid1Error> {
    let permits = shared.permits();
    let answer = shared.pid1.ask(&Request::new(Op::Status), Instant::now() + PATIENCE).await?;
    let status: Status = serde_json::from_value(answer).map_err(Pid1Error::Garbled)?;
    shared.find(|findings| findings.process = Some(status.clone()));
    shared.tell(Input::Pid1 { status: Box::new(status), permits });
    Ok(())
}

/// Whether the process that ran last was to stop and had to be killed: what it had not written down is lost.
pub async fn was_killed(shared: &Shared) -> bool {
    if let Err(error) = ask(shared).await {
        tracing::warn!(%error, "it cannot be found out how the process ended");
        return false;
    }
    let findings = shared.findings.borrow();
    let ending = findings.process.as_ref().and_then(|process| process.last_exit.as_ref());
    ending.is_some_and(|ending| ending.reason == EndReason::Killed)
}

fn gone(shared: &Shared, error: &Pid1Error) {
    let nobody = matches!(error, Pid1Error::Connect { source, .. }
        if matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused));
    shared.find(|findings| findings.process = None);
    shared.tell(Input::Pid1Gone { nobody });
}
