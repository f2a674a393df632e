//! Taking connections within limits: how many, how long each, and how long a handshake may take.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

const HANDSHAKE: Duration = Duration::from_secs(5);
const CONNECTION: Duration = Duration::from_mins(1);
const CONNECTIONS: usize = 64;
/// Connections of one address at a time, so that nobody takes all places; what comes through an ingress has its address.
const OF_ONE_ADDRESS: usize = CONNECTIONS / 4;
/// How long the head of a request may take, and a connection may wait for one.
const HEAD: Duration = Duration::from_secs(5);

/// How many connections each address has.
type Addresses = Arc<Mutex<HashMap<IpAddr, usize>>>;

/// The place of a connection among those of its address.
struct OfAddress {
    address: IpAddr,
    all: Addresses,
}

impl OfAddress {
    /// None where the address has all it may have.
    fn take(address: IpAddr, all: &Addresses) -> Option<Self> {
        let mut known = all.lock().expect("no panic while it is held");
        let number = known.entry(address).or_default();
        if *number >= OF_ONE_ADDRESS {
            return None;
        }
        *number += 1;
        Some(Self { address, all: all.clone() })
    }
}

impl Drop for OfAddress {
    fn drop(&mut self) {
        let mut known = self.all.lock().expect("no panic while it is held");
        if let Some(number) = known.get_mut(&self.address) {
            *number -= 1;
            if *number == 0 {
                known.remove(&self.address);
            }
        }
    }
}

/// Gives the TLS settings for the next connection; none for plain text.
pub type Tls = Arc<dyn Fn() -> Option<TlsAcceptor> + Send + Sync>;

/// Serves until told to stop. `what` names the endpoint in the log.
pub async fn serve(listener: TcpListener, what: &'static str, tls: Tls, routes: Router, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let addresses = Addresses::default();
    while let Some(Ok(place)) = stop.run_until_cancelled(places.clone().acquire_owned()).await {
        match stop.run_until_cancelled(listener.accept()).await {
            None => return,
            Some(Err(error)) => {
                tracing::warn!(%error, what, "a connection failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Some(Ok((connection, peer))) => {
                let Some(own_place) = OfAddress::take(peer.ip().to_canonical(), &addresses) else {
                    tracing::debug!(address = %peer.ip(), what, "an address has too many connections");
                    continue;
                };
                let (acceptor, routes) = (tls(), routes.clone());
                tokio::spawn(async move {
                    let _places = (place, own_place);
                    if timeout(CONNECTION, talk(connection, acceptor, routes, what)).await.is_err() {
                        tracing::debug!(what, "a connection was open for too long");
                    }
                });
            }
        }
    }
}

async fn talk(connection: TcpStream, acceptor: Option<TlsAcceptor>, routes: Router, what: &'static str) {
    match acceptor {
        None => answer(connection, routes, what).await,
        Some(acceptor) => {
            let Ok(Ok(stream)) = timeout(HANDSHAKE, acceptor.accept(connection)).await else { return };
            answer(stream, routes, what).await;
        }
    }
}

async fn answer(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, routes: Router, what: &'static str) {
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD);
    let served = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes)).await;
    if let Err(error) = served {
        tracing::debug!(%error, what, "a connection broke");
    }
}
