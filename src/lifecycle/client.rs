//! The client of an agent: for controllers, and for agents that ask each other how they are.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, TryStreamExt as _};
use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde_json::{Map, Value};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use super::TIMEOUT_HEADER;
use super::messages::{from_struct, to_struct};
use super::problem::{Code, Problem};
use super::proto::lifecycle_client::LifecycleClient;
use super::proto::{
    CallRequest, CapabilitiesRequest, EventsRequest, HealthRequest, ProcessRequest, PromiseRequest, StatusRequest,
    SwitchoverRequest,
};
use super::values::{Capabilities, Health, Order, Plea, ProcessResult, Promised, Status, Switched, Task, Transfer};
use crate::api::values;

/// How long it may take to reach an agent.
const CONNECT: Duration = Duration::from_secs(3);
/// A connection that is silent for so long is asked whether it lives, and given up when it does not say so.
const SILENCE: Duration = Duration::from_secs(10);
const REPLY: Duration = Duration::from_secs(5);
/// Calls that may be repeated are tried so often, for as long as their deadline allows.
const ATTEMPTS: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The agent is told a deadline a little before ours, so that its own words arrive.
const MARGIN: Duration = Duration::from_millis(200);
const LONGEST_ANSWER: usize = 4 << 20;
/// How it is told that an agent is out of reach.
pub const NOT_REACHED: &str = "cannot be asked";

/// Where an agent is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// A name or an IP address.
    pub host: String,
    pub port: u16,
    /// The name its certificate has to have: [`super::identity::agents_of`].
    pub name: String,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// An agent that can be asked. Cheap to clone; connects with the first call, and again whenever the connection is lost.
#[derive(Clone)]
pub struct Client {
    address: Arc<Address>,
    channel: LifecycleClient<Channel>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({})", self.address)
    }
}

impl Client {
    pub fn new(address: Address, tls: Arc<ClientConfig>) -> Result<Self, Problem> {
        let wrong = |what: String| Problem::new(Code::BadRequest, what);
        let server = ServerName::try_from(address.name.clone())
            .map_err(|_| wrong(format!("{:?} is no name a certificate can have", address.name)))?;
        let uri: Uri = format!("http://{address}").parse().map_err(|error| wrong(format!("{address}: {error}")))?;
        let address = Arc::new(address);
        let to = address.clone();
        let connector = service_fn(move |_: Uri| {
            let (address, server, tls) = (to.clone(), server.clone(), tls.clone());
            async move {
                let connect = async {
                    let stream = TcpStream::connect((address.host.as_str(), address.port)).await?;
                    stream.set_nodelay(true)?;
                    TlsConnector::from(tls).connect(server, stream).await
                };
                let late = || std::io::Error::new(std::io::ErrorKind::TimedOut, "nobody answered");
                let stream = tokio::time::timeout(CONNECT, connect).await.map_err(|_| late())??;
                Ok::<_, std::io::Error>(TokioIo::new(stream))
            }
        });
        let channel = Endpoint::from(uri)
            .http2_keep_alive_interval(SILENCE)
            .keep_alive_timeout(REPLY)
            .connect_timeout(CONNECT)
            .connect_with_connector_lazy(connector);
        let channel = LifecycleClient::new(channel).max_decoding_message_size(LONGEST_ANSWER);
        Ok(Self { address, channel })
    }

    pub fn address(&self) -> &Address {
        &self.address
    }

    pub async fn status(&self, within: Duration) -> Result<Status, Problem> {
        let ask = |mut client: LifecycleClient<Channel>, within| async move {
            client.status(asked(StatusRequest {}, within)).await
        };
        Ok(self.call(within, true, ask).await?.into())
    }

    pub async fn capabilities(&self, within: Duration) -> Result<Capabilities, Problem> {
        let ask = |mut client: LifecycleClient<Channel>, within| async move {
            client.capabilities(asked(CapabilitiesRequest {}, within)).await
        };
        Ok(self.call(within, true, ask).await?.into())
    }

    /// Runs the package's `healthCheck`. Not being well is no error here.
    pub async fn health(&self, within: Duration) -> Result<Health, Problem> {
        let ask = |mut client: LifecycleClient<Channel>, within| async move {
            client.health(asked(HealthRequest {}, within)).await
        };
        Ok(self.call(within, true, ask).await?.into())
    }

    /// Runs an action or operation; nothing where the package has nothing to do for it. With a key it is run once, however
    /// often it has to be sent.
    pub async fn run(
        &self,
        task: &Task,
        parameters: Map<String, Value>,
        key: Option<&str>,
        within: Duration,
    ) -> Result<Option<Value>, Problem> {
        let (action, operation) = match task {
            Task::Action(name) => (name.clone(), String::new()),
            Task::Operation(name) => (String::new(), name.clone()),
        };
        let idempotency_key = key.unwrap_or_default().to_owned();
        let request = CallRequest { action, operation, parameters: Some(to_struct(parameters)), idempotency_key };
        let ask = |mut client: LifecycleClient<Channel>, within| {
            let request = asked(request.clone(), within);
            async move { client.call(request).await }
        };
        let reply = self.call(within, key.is_some(), ask).await?;
        Ok(reply.ran.then(|| reply.result.map_or(Value::Null, |result| from_struct(result).into())))
    }

    /// Starts, stops, restarts or reloads the process. `kill_after` counts for a stop and a restart.
    pub async fn process(
        &self,
        order: Order,
        kill_after: Option<Duration>,
        key: Option<&str>,
        within: Duration,
    ) -> Result<ProcessResult, Problem> {
        let timeout_millis = kill_after.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        let request = ProcessRequest { timeout_millis, idempotency_key: key.unwrap_or_default().to_owned() };
        let ask = |mut client: LifecycleClient<Channel>, within| {
            let request = asked(request.clone(), within);
            async move {
                match order {
                    Order::Start => client.start(request).await,
                    Order::Stop => client.stop(request).await,
                    Order::Restart => client.restart(request).await,
                    Order::Reload => client.reload(request).await,
                }
            }
        };
        Ok(self.call(within, key.is_some(), ask).await?.into())
    }

    /// Has the exclusive role of this pod handed to another.
    pub async fn switchover(
        &self,
        transfer: Transfer,
        key: Option<&str>,
        within: Duration,
    ) -> Result<Switched, Problem> {
        let idempotency_key = key.unwrap_or_default().to_owned();
        let Transfer { target, force } = transfer;
        let request = SwitchoverRequest { target, idempotency_key, force };
        let ask = |mut client: LifecycleClient<Channel>, within| {
            let request = asked(request.clone(), within);
            async move { client.switchover(request).await }
        };
        Ok(self.call(within, key.is_some(), ask).await?.into())
    }

    /// Asks another agent of the set not to take the role's lease for a while; which pod it is that promises.
    pub async fn promise(&self, plea: Plea, within: Duration) -> Result<Promised, Problem> {
        let request = PromiseRequest::from(plea);
        let ask = |mut client: LifecycleClient<Channel>, within| {
            let request = asked(request.clone(), within);
            async move { client.promise(request).await }
        };
        Ok(Promised { pod: self.call(within, true, ask).await?.pod })
    }

    /// The status now and whenever it changes, until the connection ends: follow again then.
    pub async fn events(
        &self,
        within: Duration,
    ) -> Result<impl Stream<Item = Result<Status, Problem>> + Send + 'static, Problem> {
        let ask = |mut client: LifecycleClient<Channel>, _| async move { client.events(EventsRequest {}).await };
        let stream = self.call(within, true, ask).await?;
        Ok(stream.map_ok(Status::from).map_err(Problem::from))
    }

    /// Asks until there is an answer or the time is over. What must not happen twice is sent once.
    pub(super) async fn call<T, F>(
        &self,
        within: Duration,
        repeatable: bool,
        ask: impl Fn(LifecycleClient<Channel>, Duration) -> F,
    ) -> Result<T, Problem>
    where
        F: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    {
        let deadline = Instant::now() + within;
        let mut pause = FIRST_PAUSE;
        let mut attempt = 1;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let told = left.checked_sub(MARGIN).unwrap_or(left / 2);
            let problem = match timeout_at(deadline, ask(self.channel.clone(), told)).await {
                Ok(Ok(answer)) => return Ok(answer.into_inner()),
                Ok(Err(status)) => self.explained(status),
                Err(_) => Problem::new(
                    Code::Timeout,
                    format!("the agent at {} did not answer within {within:?}", self.address),
                ),
            };
            let again = repeatable && problem.code == Code::Unavailable && attempt < ATTEMPTS;
            if !again || Instant::now() + pause >= deadline {
                return Err(problem);
            }
            sleep(pause).await;
            pause *= 2;
            attempt += 1;
        }
    }

    /// What the agent says is left as it is; what the transport says is told with its cause.
    fn explained(&self, status: tonic::Status) -> Problem {
        let cause = root_cause(&status);
        let mut problem = Problem::from(status);
        if let Some(cause) = cause {
            problem.code = if problem.code == Code::Timeout { Code::Timeout } else { Code::Unavailable };
            problem.message = format!("the agent at {} {NOT_REACHED}: {cause}", self.address);
            problem.hint =
                Some("see whether its pod runs and the network lets the controller reach its port".to_owned());
        }
        problem
    }
}

/// The deadline goes along in our own words: gRPC's would also end the call here, before the agent's answer has come.
pub(super) fn asked<T>(message: T, within: Duration) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    let millis = u64::try_from(within.as_millis()).unwrap_or(u64::MAX).max(1);
    if let Ok(value) = values::Duration(Duration::from_millis(millis)).to_string().parse() {
        request.metadata_mut().insert(TIMEOUT_HEADER, value);
    }
    request
}

/// The innermost error of a status that comes from here and not from the agent.
fn root_cause(status: &tonic::Status) -> Option<String> {
    let mut error = std::error::Error::source(status)?;
    while let Some(inner) = error.source() {
        error = inner;
    }
    Some(error.to_string())
}
