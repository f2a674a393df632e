//! The control socket: a few clients at a time, each with little memory, none of whom can make PID 1 wait.

use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, getsockopt, socket};
use nix::sys::stat::{Mode, umask};

use super::protocol::{Code, EXEC_BEGINS, MAX_EXEC_REQUEST, MAX_REQUEST, Op, Problem, Request, Response, STREAMS};
use super::state::Millis;
use super::sys::{PollFd, READABLE, Received, WRITABLE, receive, watch};

const MAX_CLIENTS: usize = 32;
/// Clients that wait for the end of an order. All but these and the followers may be sent away for a new one.
const MAX_WAITING: usize = 16;
/// Clients that follow the events; one more takes the place of the oldest.
const MAX_FOLLOWING: usize = 8;
/// How long a new client may take to ask something.
const FIRST_REQUEST: Millis = 5_000;
const NEXT_REQUEST: Millis = 60_000;
/// How long a client may leave an answer unread.
const UNREAD: Millis = 5_000;
/// How long a client that is sent away may go on sending before it is cut off.
const FAREWELL: Millis = 1_000;
/// What a follower may leave unread before it is dropped.
const MAX_UNREAD: usize = 32 * 1024;
/// Requests of one client in a second; further ones wait.
const REQUESTS_PER_SECOND: u32 = 100;
const RETRY: Millis = 1_000;

pub type Key = u64;

#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error("{path}: another process listens there already; two must not run the same thing")]
    InUse { path: PathBuf },
    #[error("{path}: cannot listen: {source}")]
    Listen { path: PathBuf, source: io::Error },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// May ask.
    Open,
    /// Waits for an answer.
    Waiting,
    /// Follows the events.
    Following,
    /// Was told why it has to go.
    Leaving,
}

struct Client {
    key: Key,
    stream: UnixStream,
    stage: Stage,
    input: Vec<u8>,
    /// Came with what it asks.
    descriptors: Vec<OwnedFd>,
    /// Why what came with it is not taken.
    refused: Option<Problem>,
    output: Vec<u8>,
    /// Sends no more.
    ended: bool,
    asked: bool,
    /// When it is cut off unless something happens.
    deadline: Millis,
    window: Millis,
    in_window: u32,
}

pub struct Server {
    path: PathBuf,
    listener: Option<UnixListener>,
    retry_at: Millis,
    allowed: Vec<u32>,
    clients: Vec<Client>,
    next_key: Key,
}

impl Server {
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            listener: None,
            retry_at: 0,
            allowed: Vec::new(),
            clients: Vec::new(),
            next_key: 1,
        }
    }

    /// Listens, in the place of one that is gone.
    pub fn listen(&mut self) -> Result<(), ControlError> {
        let failed = |source| ControlError::Listen { path: self.path.clone(), source };
        if somebody_listens(&self.path) {
            return Err(ControlError::InUse { path: self.path.clone() });
        }
        if let Some(dir) = self.path.parent() {
            std::fs::create_dir_all(dir).map_err(failed)?;
        }
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let before = umask(Mode::from_bits_truncate(0o117));
        let listener = UnixListener::bind(&self.path);
        umask(before);
        let listener = listener.map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        self.listener = Some(listener);
        Ok(())
    }

    /// Listens again if nobody could reach us any more. To be called now and then.
    pub fn maintain(&mut self) -> Result<(), ControlError> {
        if self.listener.is_some() && self.path.exists() { Ok(()) } else { self.listen() }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn allow(&mut self, uids: &[u32]) {
        self.allowed = uids.to_vec();
    }

    /// Adds what is to be watched, always in the same order.
    pub fn watched(&self, now: Millis, fds: &mut Vec<PollFd>) {
        let listener = self.listener.as_ref().filter(|_| now >= self.retry_at);
        fds.push(watch(listener.map_or(-1, AsRawFd::as_raw_fd), READABLE));
        for client in &self.clients {
            let read = if client.reads(now) { READABLE } else { 0 };
            let write = if client.output.is_empty() { 0 } else { WRITABLE };
            fds.push(watch(client.stream.as_raw_fd(), read | write));
        }
    }

    /// Serves what [`Self::watched`] found; what clients ask is for the caller to answer.
    pub fn serve(&mut self, fds: &[PollFd], now: Millis) -> Vec<(Key, Request)> {
        let mut asked = Vec::new();
        let Some((listener, fds)) = fds.split_first() else { return asked };
        for client in &mut self.clients {
            // by its own descriptor: others may have been dropped since
            let own = client.stream.as_raw_fd();
            let Some(fd) = fds.iter().find(|fd| fd.fd == own) else { continue };
            let mut alive = true;
            if fd.revents & WRITABLE != 0 {
                alive = client.flush(now);
            }
            // with nothing to read or write asked for, only a client that is gone for good is reported
            if alive && fd.revents & !WRITABLE != 0 {
                alive = if client.reads(now) { client.read() } else { false };
            }
            if !alive {
                client.deadline = 0;
            }
        }
        self.clients.retain(|client| client.deadline > 0);
        if listener.revents != 0 {
            self.accept(now);
        }
        for index in 0..self.clients.len() {
            asked.extend(self.next_request(index, now));
        }
        self.clients.retain(|client| client.deadline > now);
        asked
    }

    /// The next time that [`Self::serve`] is needed though nothing has happened.
    pub fn due(&self, now: Millis) -> Option<Millis> {
        let clients = self.clients.iter().flat_map(|client| {
            let paused = (client.stage == Stage::Open && client.paused(now)).then(|| client.window + 1_000);
            [Some(client.deadline), paused, client.can_ask(now).then_some(now)]
        });
        let listener = (now < self.retry_at).then_some(self.retry_at);
        clients.chain([listener]).flatten().filter(|due| *due != Millis::MAX).min()
    }

    pub fn answer(&mut self, key: Key, response: &Response, now: Millis) {
        if let Some(client) = self.clients.iter_mut().find(|client| client.key == key) {
            client.stage = Stage::Open;
            client.descriptors.clear();
            client.deadline = now.saturating_add(NEXT_REQUEST);
            client.send(response, now);
        }
    }

    /// From now on the client gets every line that is published.
    pub fn follow(&mut self, key: Key, response: &Response, backlog: &[String], now: Millis) {
        let Some(client) = self.clients.iter_mut().find(|client| client.key == key) else { return };
        client.stage = Stage::Following;
        client.deadline = Millis::MAX;
        client.send(response, now);
        for line in backlog {
            client.queue(line, now);
        }
        let following = |client: &&mut Client| client.stage == Stage::Following;
        if self.clients.iter_mut().filter(following).count() > MAX_FOLLOWING
            && let Some(oldest) = self.clients.iter_mut().filter(following).min_by_key(|client| client.key)
        {
            oldest.deadline = 0;
        }
    }

    pub fn publish(&mut self, line: &str, now: Millis) {
        for client in self.clients.iter_mut().filter(|client| client.stage == Stage::Following) {
            client.queue(line, now);
        }
        self.clients.retain(|client| client.deadline > 0);
    }

    /// Whether anybody would hear what is published.
    pub fn followed(&self) -> bool {
        self.clients.iter().any(|client| client.stage == Stage::Following)
    }

    /// What came with the request that the client waits for.
    pub fn descriptors(&mut self, key: Key) -> Vec<OwnedFd> {
        let client = self.clients.iter_mut().find(|client| client.key == key);
        client.map(|client| std::mem::take(&mut client.descriptors)).unwrap_or_default()
    }

    pub fn has(&self, key: Key) -> bool {
        self.clients.iter().any(|client| client.key == key)
    }

    /// Nobody can reach us from here on.
    pub fn close(&mut self) {
        if self.listener.take().is_some() {
            let _ = std::fs::remove_file(&self.path);
        }
    }

    fn accept(&mut self, now: Millis) {
        for _ in 0..64 {
            let Some(listener) = &self.listener else { return };
            match listener.accept() {
                Ok((stream, _)) => self.admit(stream, now),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                Err(_) => {
                    // no descriptors or memory left: whoever was silent longest makes room, and we try later
                    self.evict();
                    self.retry_at = now.saturating_add(RETRY);
                    return;
                }
            }
        }
    }

    fn admit(&mut self, stream: UnixStream, now: Millis) {
        if stream.set_nonblocking(true).is_err() {
            return;
        }
        let own = nix::unistd::geteuid().as_raw();
        let peer = getsockopt(&stream, PeerCredentials).ok().map(|peer| peer.uid());
        if self.clients.len() >= MAX_CLIENTS {
            self.evict();
        }
        let mut client = Client {
            key: self.next_key,
            stream,
            stage: Stage::Open,
            input: Vec::new(),
            descriptors: Vec::new(),
            refused: None,
            output: Vec::new(),
            ended: false,
            asked: false,
            deadline: now.saturating_add(FIRST_REQUEST),
            window: now,
            in_window: 0,
        };
        self.next_key += 1;
        let allowed = peer.is_some_and(|uid| uid == own || uid == 0 || self.allowed.contains(&uid));
        if !allowed {
            let who = peer.map_or("an unknown user".to_owned(), |uid| format!("user {uid}"));
            let problem = Problem::new(Code::Forbidden, format!("{who} may not control the process"))
                .hint("run as the same user or root, or add the user to control.allowUids");
            client.send_away(None, problem, now);
        } else if !client.read() {
            // what it sent is there already; no need to wait for the next round
            return;
        }
        self.clients.push(client);
    }

    /// Sends away whoever is least of a loss.
    fn evict(&mut self) {
        let worth = |client: &Client| match client.stage {
            Stage::Leaving => Some((0, client.key)),
            Stage::Open if !client.asked => Some((1, client.key)),
            Stage::Open => Some((2, client.key)),
            Stage::Waiting | Stage::Following => None,
        };
        let least = self.clients.iter().enumerate().filter_map(|(index, client)| Some((worth(client)?, index))).min();
        if let Some((_, index)) = least {
            self.clients.remove(index);
        }
    }

    fn next_request(&mut self, index: usize, now: Millis) -> Option<(Key, Request)> {
        let waiting = self.clients.iter().filter(|client| client.stage == Stage::Waiting).count();
        let client = &mut self.clients[index];
        if client.stage != Stage::Open || client.paused(now) || !client.output.is_empty() {
            return None;
        }
        if let Some(problem) = client.refused.take() {
            client.send_away(None, problem, now);
            return None;
        }
        let (end, most) = (client.input.iter().position(|byte| *byte == b'\n'), client.longest());
        if end.unwrap_or(client.input.len()) > most {
            let problem = Problem::new(Code::TooLong, format!("a request has at most {most} bytes"));
            client.send_away(None, problem, now);
            return None;
        }
        let Some(end) = end else {
            if client.ended {
                client.deadline = 0;
            }
            return None;
        };
        client.count(now);
        let line: Vec<u8> = client.input.drain(..=end).collect();
        let request: Request = match serde_json::from_slice(&line) {
            Ok(request) => request,
            Err(error) => {
                let problem = Problem::new(Code::BadRequest, format!("cannot read the request: {error}"))
                    .hint("one JSON document per line, like {\"id\": 1, \"op\": \"status\"}");
                client.send_away(None, problem, now);
                return None;
            }
        };
        client.asked = true;
        if client.input.is_empty() {
            // a long one must not be remembered for ever
            client.input = Vec::new();
        }
        if request.op != Op::Exec {
            client.descriptors.clear();
        }
        let lasts = matches!(request.op, Op::Start | Op::Stop | Op::Restart | Op::Reload | Op::Exec);
        if lasts && waiting >= MAX_WAITING {
            let problem = Problem::new(Code::TooMany, "too many clients wait already").hint("try again later");
            client.descriptors.clear();
            client.send(&Response::refused(Some(request.id), problem), now);
            return None;
        }
        client.stage = Stage::Waiting;
        client.deadline = Millis::MAX;
        Some((client.key, request))
    }
}

/// Finds out without waiting, even for somebody who takes no connections any more.
fn somebody_listens(path: &Path) -> bool {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let (Ok(address), Ok(socket)) = (UnixAddr::new(path), socket(AddressFamily::Unix, SockType::Stream, flags, None))
    else {
        return false;
    };
    matches!(connect(socket.as_raw_fd(), &address), Ok(()) | Err(Errno::EAGAIN))
}

impl Client {
    /// Whether anything is expected from it right now.
    fn reads(&self, now: Millis) -> bool {
        !self.ended
            && match self.stage {
                Stage::Open => self.output.is_empty() && !self.paused(now) && self.input.len() <= self.longest(),
                Stage::Following | Stage::Leaving => true,
                Stage::Waiting => false,
            }
    }

    /// How long what it asks may be.
    fn longest(&self) -> usize {
        if self.input.starts_with(EXEC_BEGINS) { MAX_EXEC_REQUEST } else { MAX_REQUEST }
    }

    fn paused(&self, now: Millis) -> bool {
        self.in_window >= REQUESTS_PER_SECOND && now < self.window.saturating_add(1_000)
    }

    /// Whether a whole request was read already and can be looked at.
    fn can_ask(&self, now: Millis) -> bool {
        self.stage == Stage::Open && self.output.is_empty() && !self.paused(now) && self.input.contains(&b'\n')
    }

    fn count(&mut self, now: Millis) {
        if now >= self.window.saturating_add(1_000) {
            (self.window, self.in_window) = (now, 0);
        }
        self.in_window += 1;
    }

    /// Takes in what there is, within bounds; false once there is no use in it any more.
    fn read(&mut self) -> bool {
        let mut buffer = [0; MAX_REQUEST];
        for _ in 0..16 {
            match receive(&self.stream, &mut buffer) {
                Ok(Received { bytes: 0, .. }) => {
                    self.ended = true;
                    return match self.stage {
                        Stage::Open => !self.input.is_empty(),
                        Stage::Leaving => !self.output.is_empty(),
                        Stage::Waiting | Stage::Following => true,
                    };
                }
                Ok(received) if self.stage == Stage::Open => {
                    self.input.extend_from_slice(&buffer[..received.bytes]);
                    self.take(received.descriptors, received.cut);
                    // what comes after a request with descriptors belongs to the next one
                    let whole = !self.descriptors.is_empty() && self.input.contains(&b'\n');
                    if whole || self.refused.is_some() || self.input.len() > self.longest() {
                        return true;
                    }
                }
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        true
    }

    /// Keeps what an operation may take, and nothing else.
    fn take(&mut self, descriptors: Vec<OwnedFd>, cut: bool) {
        self.descriptors.extend(descriptors);
        if self.descriptors.len() > STREAMS {
            let message = format!("more than {STREAMS} descriptors came with the request");
            let hint = "exec takes standard input, output and error; nothing else takes any";
            self.refused = Some(Problem::new(Code::BadRequest, message).hint(hint));
        } else if cut {
            let message = "there is no room for the descriptors that came with the request";
            self.refused = Some(Problem::new(Code::Failed, message).hint("ask again later"));
        }
        if self.refused.is_some() {
            self.descriptors.clear();
        }
    }

    fn send(&mut self, response: &Response, now: Millis) {
        let line = serde_json::to_string(response).unwrap_or_default();
        self.queue(&line, now);
    }

    fn queue(&mut self, line: &str, now: Millis) {
        if self.output.len() + line.len() > MAX_UNREAD && !self.output.is_empty() {
            self.deadline = 0;
            return;
        }
        self.output.extend_from_slice(line.as_bytes());
        self.output.push(b'\n');
        if !self.flush(now) {
            self.deadline = 0;
        }
    }

    /// Sends what it takes right now; false once it is gone.
    fn flush(&mut self, now: Millis) -> bool {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(0) => return false,
                Ok(done) => drop(self.output.drain(..done)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if self.stage == Stage::Open {
                        self.deadline = now.saturating_add(UNREAD);
                    }
                    return true;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        // a burst must not be remembered for ever
        self.output = Vec::new();
        if self.stage == Stage::Leaving {
            let _ = self.stream.shutdown(std::net::Shutdown::Write);
        } else if self.stage == Stage::Open && self.asked {
            self.deadline = now.saturating_add(NEXT_REQUEST);
        }
        true
    }

    /// Says why, and goes on reading for a moment: closed at once, the reason would be lost with what it still sends.
    fn send_away(&mut self, id: Option<u64>, problem: Problem, now: Millis) {
        self.stage = Stage::Leaving;
        self.input = Vec::new();
        self.descriptors.clear();
        self.send(&Response::refused(id, problem), now);
        if self.deadline > 0 {
            self.deadline = now.saturating_add(FAREWELL);
        }
    }
}

#[cfg(test)]
#[path = "control_tests.rs"]
mod tests;
