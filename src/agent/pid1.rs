//! PID 1 of the middleware's container, asked by the agent: orders, and commands with their streams.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Interest};
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout_at};

use super::init::protocol::{ExecOrder, ExecResult, Op, Problem, Request, Response, STREAMS};
use crate::api::values;

/// How much later than a command is to be killed the answer may come.
const MARGIN: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum Pid1Error {
    #[error("PID 1 does not answer at {path}: {source}")]
    Connect { path: PathBuf, source: io::Error },
    #[error("the connection to PID 1 broke: {0}")]
    Broken(#[from] io::Error),
    #[error("PID 1 closed the connection without an answer")]
    Closed,
    #[error("cannot understand PID 1: {0}")]
    Garbled(serde_json::Error),
    #[error("{}", .0.message)]
    Refused(Problem),
    #[error("PID 1 did not answer in time")]
    TimedOut,
}

/// Where it listens. Each question has a connection of its own.
#[derive(Clone, Debug)]
pub struct Pid1 {
    socket: PathBuf,
}

/// A command that runs; dropping this ends it.
pub struct Running {
    stream: BufReader<UnixStream>,
    until: Instant,
}

impl Pid1 {
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// Asks and waits for the answer.
    pub async fn ask(&self, request: &Request, deadline: Instant) -> Result<Value, Pid1Error> {
        let asked = async {
            let mut stream = self.connect().await?;
            stream.write_all(&line(request)?).await?;
            answer(&mut BufReader::new(stream)).await
        };
        timeout_at(deadline, asked).await.map_err(|_| Pid1Error::TimedOut)?
    }

    /// Starts a command whose standard input, output and error are these. It is killed after the timeout, and when what
    /// is given back is dropped.
    pub async fn exec(
        &self,
        order: ExecOrder,
        timeout: Duration,
        streams: [OwnedFd; STREAMS],
    ) -> Result<Running, Pid1Error> {
        let mut request = Request::new(Op::Exec);
        request.timeout = Some(values::Duration(timeout));
        request.exec = Some(order);
        let until = Instant::now() + timeout + MARGIN;
        let started = async {
            let bytes = line(&request)?;
            let mut stream = self.connect().await?;
            let descriptors = streams.each_ref().map(AsRawFd::as_raw_fd);
            let sent = loop {
                stream.writable().await?;
                let send = || send(stream.as_raw_fd(), &bytes, &descriptors);
                match stream.try_io(Interest::WRITABLE, send) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    other => break other?,
                }
            };
            stream.write_all(&bytes[sent..]).await?;
            Ok(Running { stream: BufReader::new(stream), until })
        };
        timeout_at(until, started).await.map_err(|_| Pid1Error::TimedOut)?
    }

    async fn connect(&self) -> Result<UnixStream, Pid1Error> {
        let failed = |source| Pid1Error::Connect { path: self.socket.clone(), source };
        UnixStream::connect(&self.socket).await.map_err(failed)
    }
}

impl Running {
    /// Waits for its end.
    pub async fn ended(mut self) -> Result<ExecResult, Pid1Error> {
        let answer = timeout_at(self.until, answer(&mut self.stream)).await.map_err(|_| Pid1Error::TimedOut)??;
        serde_json::from_value(answer).map_err(Pid1Error::Garbled)
    }
}

/// Sends the beginning of a request with descriptors; how much of it was sent.
pub fn send(socket: RawFd, bytes: &[u8], descriptors: &[RawFd]) -> io::Result<usize> {
    let rights = [ControlMessage::ScmRights(descriptors)];
    Ok(sendmsg::<()>(socket, &[IoSlice::new(bytes)], &rights, MsgFlags::MSG_NOSIGNAL, None)?)
}

fn line(request: &Request) -> Result<Vec<u8>, Pid1Error> {
    let mut line = serde_json::to_vec(request).map_err(Pid1Error::Garbled)?;
    line.push(b'\n');
    Ok(line)
}

async fn answer(stream: &mut BufReader<UnixStream>) -> Result<Value, Pid1Error> {
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Err(Pid1Error::Closed);
    }
    let response: Response = serde_json::from_str(&line).map_err(Pid1Error::Garbled)?;
    match response.error {
        Some(problem) => Err(Pid1Error::Refused(problem)),
        None => Ok(response.result.unwrap_or_default()),
    }
}
