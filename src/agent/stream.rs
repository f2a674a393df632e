//! Commands in the middleware's container whose output or input is a stream of any length, for backups and restores.
//! The stream goes from pipe to pipe, and whoever reads slowly slows the command down.

use std::fs::OpenOptions;
use std::io::{self, pipe};
use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::net::unix::pipe::{Receiver, Sender};
use tokio_util::task::AbortOnDropHandle;

use super::drivers::{DriverError, ExecCall, last_words};
use super::init::protocol::ExecResult;
use super::pid1::Pid1;

/// How many characters of what a command said last are shown.
const SHOWN: usize = 200;

/// How a streaming command ends. Dropped before that, it ends the command.
pub struct Ending(AbortOnDropHandle<Result<(), DriverError>>);

impl Ending {
    /// Waits for the end. A stream is whole only when this succeeds: a command that fails has written something, too.
    pub async fn wait(self) -> Result<(), DriverError> {
        self.0.await.map_err(|error| DriverError::new(format!("the command was given up: {error}")))?
    }
}

/// Starts a command and gives what it writes.
pub async fn read_from(pid1: &Pid1, call: &ExecCall, timeout: Duration) -> Result<(Receiver, Ending), DriverError> {
    let pipes = || {
        let (stdout, sink) = pipe()?;
        Ok::<_, io::Error>((Receiver::from_owned_fd(stdout.into())?, nothing()?, sink.into()))
    };
    let (stdout, stdin, sink) = pipes().map_err(no_pipes)?;
    Ok((stdout, start(pid1, call, timeout, stdin, sink).await?))
}

/// Starts a command and gives what it reads: shut down, that is its end.
pub async fn write_to(pid1: &Pid1, call: &ExecCall, timeout: Duration) -> Result<(Sender, Ending), DriverError> {
    let pipes = || {
        let (stdin, sink) = pipe()?;
        Ok::<_, io::Error>((Sender::from_owned_fd(sink.into())?, stdin.into(), nothing()?))
    };
    let (sink, stdin, stdout) = pipes().map_err(no_pipes)?;
    Ok((sink, start(pid1, call, timeout, stdin, stdout).await?))
}

async fn start(
    pid1: &Pid1,
    call: &ExecCall,
    timeout: Duration,
    stdin: OwnedFd,
    stdout: OwnedFd,
) -> Result<Ending, DriverError> {
    let pipes = || {
        let (stderr, sink) = pipe()?;
        Ok::<_, io::Error>((Receiver::from_owned_fd(stderr.into())?, sink.into()))
    };
    let (stderr, sink) = pipes().map_err(no_pipes)?;
    let running = pid1.exec(call.order(), timeout, [stdin, stdout, sink]).await?;
    let program = call.command.first().cloned().unwrap_or_default();
    let watched = tokio::spawn(async move {
        let (result, words) = last_words(running, stderr).await;
        judge(&program, &result?, &words)
    });
    Ok(Ending(AbortOnDropHandle::new(watched)))
}

fn judge(program: &str, result: &ExecResult, words: &str) -> Result<(), DriverError> {
    let line = telling(words);
    // its end, where it is very long
    let start = line.char_indices().rev().nth(SHOWN - 1).map_or(0, |(start, _)| start);
    let said = if line.is_empty() { String::new() } else { format!(": {}", &line[start..]) };
    match (result.timed_out, result.code, &result.signal) {
        (true, ..) => Err(DriverError::new(format!("{program} took too long and was killed{said}"))),
        (_, Some(0), _) => Ok(()),
        (_, Some(code), _) => Err(DriverError::new(format!("{program} exited with code {code}{said}"))),
        (_, None, signal) => {
            let signal = signal.as_deref().unwrap_or("a signal");
            Err(DriverError::new(format!("{program} was ended by {signal}{said}")))
        }
    }
}

/// The line that says why: the last one that calls itself an error, for details and hints come after it; else the last.
fn telling(words: &str) -> &str {
    let mut lines = words.lines().map(str::trim).filter(|line| !line.is_empty());
    let error = lines.clone().rfind(|line| line.to_ascii_lowercase().contains("error:"));
    error.or_else(|| lines.next_back()).unwrap_or_default()
}

fn nothing() -> io::Result<OwnedFd> {
    Ok(OpenOptions::new().read(true).write(true).open("/dev/null")?.into())
}

fn no_pipes(error: io::Error) -> DriverError {
    DriverError::new(format!("cannot make pipes: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_a_command_said_last_the_error_is_told() {
        assert_eq!(telling("reads\nno room\n\n"), "no room");
        let said =
            "WARNING: gives up\ncopy: error: ERROR:  summaries are missing\nDETAIL:  from 4\nHINT:  begin anew\n";
        assert_eq!(telling(said), "copy: error: ERROR:  summaries are missing");
        assert_eq!(telling(""), "");
    }
}
