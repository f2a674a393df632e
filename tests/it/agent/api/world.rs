//! An API that is served here, an agent without a pod behind it, and callers of every kind.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use midship::agent::api::{Agent, Bounds, Serving, Settings, serve};
use midship::lifecycle::client::Address;
use midship::lifecycle::identity::{CONTROLLER, agents_of};
use midship::lifecycle::tls::Identity;
use midship::lifecycle::{
    Capabilities, Capability, Client, Code, Health, Order, Plea, Problem, ProcessResult, Promised, Status, Switched,
    Task, Transfer,
};
use midship::pki::{Authority, Usage, Wanted};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

/// Longer than anything here takes on a busy machine.
pub const LONG: Duration = Duration::from_secs(30);
const DAY: Duration = Duration::from_hours(24);

/// Does what its actions are called.
pub struct Fake {
    pub status: watch::Sender<Arc<Status>>,
    /// Calls that were begun.
    pub begun: AtomicUsize,
    /// `slow` takes one to end.
    pub release: Semaphore,
    pub well: std::sync::atomic::AtomicBool,
}

impl Agent for Fake {
    fn capabilities(&self) -> Capabilities {
        let capability = |name: &str, timeout_millis| Capability {
            name: name.to_owned(),
            description: (name == "echo").then(|| "Says what it was told.".to_owned()),
            timeout_millis,
        };
        Capabilities {
            actions: [("echo", 5000), ("fails", 5000), ("nothing", 5000), ("slow", 60_000), ("stuck", 200)]
                .map(|(name, time)| capability(name, time))
                .into(),
            operations: vec![capability("rebalance", 5000)],
            switchover: true,
            roles: vec!["replica".to_owned(), "primary".to_owned()],
            agent: "1.2.3".to_owned(),
        }
    }

    fn status(&self) -> watch::Receiver<Arc<Status>> {
        self.status.subscribe()
    }

    async fn health(&self) -> Result<Health, Problem> {
        let healthy = self.well.load(Ordering::SeqCst);
        let reason = if healthy { "all is well" } else { "the disk is full" };
        Ok(Health { healthy, reason: reason.to_owned(), details: Some(Map::from_iter([("free".into(), json!(0))])) })
    }

    async fn run(&self, task: Task, parameters: Map<String, Value>) -> Result<Option<Value>, Problem> {
        let turn = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        match task.name() {
            "echo" | "rebalance" => Ok(Some(json!({ "turn": turn, "told": parameters }))),
            "nothing" => Ok(None),
            "fails" => Err(Problem::new(Code::Failed, format!("it broke, turn {turn}")).hint("mend it")),
            "slow" => {
                self.release.acquire().await.unwrap().forget();
                Ok(Some(json!({ "turn": turn })))
            }
            _ => std::future::pending().await,
        }
    }

    async fn process(&self, order: Order, kill_after: Option<Duration>) -> Result<ProcessResult, Problem> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        if order == Order::Reload {
            return Err(Problem::new(Code::Unsupported, "the configuration does not say how to reload"));
        }
        let process = if order == Order::Stop { "Stopped" } else { "Running" };
        Ok(ProcessResult { process: process.into(), pid: None, changed: true, forced: kill_after.is_some() })
    }

    async fn switchover(&self, transfer: Transfer) -> Result<Switched, Problem> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        Ok(Switched { holder: transfer.target.unwrap_or_else(|| "cache-0".to_owned()), epoch: Some(7) })
    }

    async fn promise(&self, plea: Plea) -> Result<Promised, Problem> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        if plea.epoch == 7 {
            Ok(Promised { pod: "cache-1".to_owned() })
        } else {
            Err(Problem::new(Code::Precondition, "another term"))
        }
    }
}

/// Everything a test needs. The instance is `cache` in the namespace `shop`.
pub struct World {
    pub dir: TempDir,
    pub authority: Authority,
    pub agent: Arc<Fake>,
    pub address: SocketAddr,
    pub stop: CancellationToken,
    pub serving: Serving,
}

impl World {
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut Bounds)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::create("agents", 365 * DAY, Timestamp::now()).unwrap();
        write(dir.path(), &identity(&authority, &own_name(), DAY));
        let status = Status {
            pod: "cache-1".into(),
            instance: "cache".into(),
            process: "Ready".into(),
            ready: true,
            role: Some("replica".into()),
            position: Some(9_007_199_254_740_993),
            ..Status::default()
        };
        let agent = Arc::new(Fake {
            status: watch::channel(Arc::new(status)).0,
            begun: AtomicUsize::new(0),
            release: Semaphore::new(0),
            well: true.into(),
        });
        // what is waited for by tests is short, what they must not run into is long
        let mut bounds = Bounds { look: Duration::ZERO, handshakes_of_one: 64, ..Bounds::default() };
        change(&mut bounds);
        let settings = Settings {
            address: "127.0.0.1:0".parse().unwrap(),
            certificates: dir.path().to_owned(),
            own_name: own_name(),
            bounds,
        };
        let stop = CancellationToken::new();
        let serving = serve(agent.clone(), settings, stop.clone()).await.unwrap();
        let address = serving.address;
        Self { dir, authority, agent, address, stop, serving }
    }

    pub fn controller(&self) -> Identity {
        identity(&self.authority, CONTROLLER, DAY)
    }

    pub fn sibling(&self) -> Identity {
        identity(&self.authority, &own_name(), DAY)
    }

    /// Over gRPC.
    pub fn client(&self, identity: &Identity) -> Client {
        let address = Address { host: "127.0.0.1".into(), port: self.address.port(), name: own_name() };
        Client::new(address, Arc::new(identity.client().unwrap())).unwrap()
    }

    /// A connection for REST.
    pub async fn connect(&self, identity: &Identity) -> std::io::Result<TlsStream<TcpStream>> {
        let mut config = identity.client().unwrap();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        self.connect_with(config).await
    }

    pub async fn connect_with(&self, config: ClientConfig) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from(own_name()).unwrap();
        timeout(LONG, TlsConnector::from(Arc::new(config)).connect(name, stream)).await.unwrap()
    }

    /// One request over REST by the controller.
    pub async fn rest(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        self.rest_by(&self.controller(), method, path, headers, body).await.unwrap()
    }

    pub async fn rest_by(
        &self,
        identity: &Identity,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> std::io::Result<Answer> {
        let mut stream = self.connect(identity).await?;
        let length = body.len();
        let mut request =
            format!("{method} {path} HTTP/1.1\r\nhost: agent\r\nconnection: close\r\ncontent-length: {length}\r\n");
        for (name, value) in headers {
            for part in [*name, ": ", *value, "\r\n"] {
                request.push_str(part);
            }
        }
        request.push_str("\r\n");
        request.push_str(body);
        stream.write_all(request.as_bytes()).await?;
        read_answer(&mut stream).await
    }

    pub fn begun(&self) -> usize {
        self.agent.begun.load(Ordering::SeqCst)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What came over REST.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Value,
}

pub async fn read_answer(stream: &mut TlsStream<TcpStream>) -> std::io::Result<Answer> {
    let mut text = Vec::new();
    let read = timeout(LONG, stream.read_to_end(&mut text)).await.expect("the connection ends");
    if text.is_empty() {
        read?;
        return Err(std::io::Error::other("the connection ended without an answer"));
    }
    let text = String::from_utf8(text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let body = serde_json::from_str(body).unwrap_or_else(|_| panic!("no JSON: {text}"));
    Ok(Answer { status, head: head.to_ascii_lowercase(), body })
}

pub fn own_name() -> String {
    agents_of("cache", "shop")
}

/// For server and client, trusting the authority that issued it.
pub fn identity(authority: &Authority, name: &str, lifetime: Duration) -> Identity {
    issued_at(authority, name, lifetime, Timestamp::now())
}

/// One that ended long ago.
pub fn expired(authority: &Authority, name: &str) -> Identity {
    // the authority's own beginning bounds it: an hour before it was made
    let past = authority.certificate().not_before() + SignedDuration::from_secs(1);
    issued_at(authority, name, Duration::from_mins(1), past)
}

fn issued_at(authority: &Authority, name: &str, lifetime: Duration, at: Timestamp) -> Identity {
    let wanted = Wanted { names: vec![name.to_owned()], usage: Usage::Both, lifetime };
    let issued = authority.issue(&wanted, at).unwrap();
    Identity { certificate: issued.certificate, key: issued.key, trusted: authority.pem().to_owned() }
}

pub fn write(dir: &Path, identity: &Identity) {
    std::fs::write(dir.join("tls.crt"), &identity.certificate).unwrap();
    std::fs::write(dir.join("tls.key"), identity.key.expose()).unwrap();
    std::fs::write(dir.join("ca.crt"), &identity.trusted).unwrap();
}
