//! Connections: who may have one, for how long, and how they end.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use jiff::Timestamp;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::calls::Caller;
use super::credentials::{Credentials, CredentialsError};
use super::gate::Gate;
use super::{Agent, Bounds, Settings};
use crate::lifecycle::Peer;
use crate::pki::Certificate;

/// Requests under way on one connection.
const STREAMS: u32 = 32;
const HEAD_BYTES: u32 = 16 << 10;
/// A connection that is silent for so long is asked whether it lives.
const SILENCE: Duration = Duration::from_secs(20);
const PONG: Duration = Duration::from_secs(10);
/// When no connection can be taken, such as for want of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Why the API cannot be offered.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("cannot listen on {address}: {source}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("the agent's certificate cannot be used: {0}")]
    Credentials(#[from] CredentialsError),
}

/// An API that is being served.
#[derive(Debug)]
pub struct Serving {
    pub address: SocketAddr,
    /// Ends after `stop` was cancelled and what was under way has been answered.
    pub ended: JoinHandle<()>,
}

/// Serves until told to stop.
pub async fn serve<A: Agent>(
    agent: Arc<A>,
    settings: Settings,
    stop: CancellationToken,
) -> Result<Serving, ServeError> {
    let Settings { address, certificates, own_name, bounds } = settings;
    let credentials = Credentials::load(&certificates, bounds.look)?;
    let listener = TcpListener::bind(address).await.map_err(|source| ServeError::Listen { address, source })?;
    let address = listener.local_addr().map_err(|source| ServeError::Listen { address, source })?;
    let gate = Gate::new(agent, &bounds);
    let server = Arc::new(Server { credentials, gate, own_name, rooms: Rooms::new(&bounds), bounds, stop });
    tracing::info!(%address, "serving the lifecycle API");
    Ok(Serving { address, ended: tokio::spawn(server.listen(listener)) })
}

struct Server {
    credentials: Credentials,
    gate: Gate,
    own_name: String,
    rooms: Rooms,
    bounds: Bounds,
    stop: CancellationToken,
}

/// How many connections there may be, so that no kind of caller takes the place of another.
struct Rooms {
    handshakes: Arc<Semaphore>,
    of_one: Mutex<HashMap<IpAddr, usize>>,
    controllers: Arc<Semaphore>,
    siblings: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
}

impl Rooms {
    fn new(bounds: &Bounds) -> Self {
        let room = |places| Arc::new(Semaphore::new(places));
        Self {
            handshakes: room(bounds.handshakes),
            of_one: Mutex::default(),
            controllers: room(bounds.controllers),
            siblings: room(bounds.siblings),
            strangers: room(bounds.strangers),
        }
    }

    /// Counts who comes from one address; false where too many do.
    fn enter(&self, from: IpAddr, most: usize) -> bool {
        let mut counts = self.of_one.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(from).or_default();
        let free = *count < most;
        *count += usize::from(free);
        free
    }

    fn leave(&self, from: IpAddr) {
        let mut counts = self.of_one.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&from) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&from);
            }
        }
    }

    fn of(&self, peer: Option<Peer>) -> &Arc<Semaphore> {
        match peer {
            Some(Peer::Controller) => &self.controllers,
            Some(Peer::Sibling) => &self.siblings,
            None => &self.strangers,
        }
    }
}

impl Server {
    async fn listen(self: Arc<Self>, listener: TcpListener) {
        let open = tokio_util::task::TaskTracker::new();
        loop {
            let place = self.rooms.handshakes.clone().acquire_owned();
            let Some(Ok(place)) = self.stop.run_until_cancelled(place).await else { break };
            match self.stop.run_until_cancelled(listener.accept()).await {
                None => break,
                Some(Err(error)) => {
                    tracing::warn!(%error, "a connection could not be taken");
                    sleep(PAUSE).await;
                }
                Some(Ok((stream, from))) => {
                    let from = from.ip().to_canonical();
                    if !self.rooms.enter(from, self.bounds.handshakes_of_one) {
                        tracing::debug!(%from, "too many connections at once from one address");
                        continue;
                    }
                    let server = self.clone();
                    open.spawn(async move {
                        let greeted = server.greet(stream).await;
                        server.rooms.leave(from);
                        drop(place);
                        match greeted {
                            Ok((stream, known)) => server.talk(stream, known).await,
                            Err(error) => tracing::debug!(%from, %error, "a connection was refused"),
                        }
                    });
                }
            }
        }
        drop(listener);
        open.close();
        open.wait().await;
    }

    /// The handshake, and whose certificate was shown.
    async fn greet(&self, stream: TcpStream) -> io::Result<(TlsStream<TcpStream>, Certificate)> {
        stream.set_nodelay(true)?;
        let acceptor = TlsAcceptor::from(self.credentials.current());
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, "the handshake took too long");
        let stream = timeout(self.bounds.handshake, acceptor.accept(stream)).await.map_err(late)??;
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let shown = shown.ok_or_else(|| io::Error::other("no certificate was shown"))?.clone().into_owned();
        let certificate = Certificate::from_der("the caller's certificate", shown).map_err(io::Error::other)?;
        Ok((stream, certificate))
    }

    async fn talk(&self, stream: TlsStream<TcpStream>, certificate: Certificate) {
        let peer = Peer::of(&certificate, &self.own_name);
        let name: Arc<str> = certificate.names().first().map_or("somebody without a name", String::as_str).into();
        let Ok(_place) = self.rooms.of(peer).clone().try_acquire_owned() else {
            tracing::warn!(caller = &*name, "too many connections at once");
            return;
        };
        let two = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let service = service_fn(|request: hyper::Request<Incoming>| {
            let (gate, name) = (self.gate.clone(), name.clone());
            async move {
                let caller = Caller { peer, name, waits: None };
                Ok::<_, std::convert::Infallible>(gate.answer(caller, request.map(Body::new)).await)
            }
        });
        let builder = self.builder(two);
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        let served = tokio::select! {
            served = connection.as_mut() => served,
            () = sleep(self.lifetime(&certificate)) => {
                connection.as_mut().graceful_shutdown();
                timeout(self.bounds.farewell, connection).await.unwrap_or(Ok(()))
            }
            () = self.stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                timeout(self.bounds.farewell, connection).await.unwrap_or(Ok(()))
            }
        };
        if let Err(error) = served {
            tracing::debug!(caller = &*name, error, "a connection broke");
        }
    }

    /// The version was agreed upon in the handshake, so that nobody keeps us guessing.
    fn builder(&self, two: bool) -> Builder<TokioExecutor> {
        let mut builder = Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(self.bounds.reading)
            .max_buf_size(HEAD_BYTES as usize);
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(SILENCE)
            .keep_alive_timeout(PONG)
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(HEAD_BYTES);
        if two { builder.http2_only() } else { builder.http1_only() }
    }

    /// A connection lasts no longer than the certificate that opened it.
    fn lifetime(&self, certificate: &Certificate) -> Duration {
        let left = certificate.not_after().duration_since(Timestamp::now());
        Duration::try_from(left).unwrap_or_default().min(self.bounds.connection)
    }
}
