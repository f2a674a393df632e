//! Taking connections within limits: how many, how long each, and how long a handshake may take.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo};
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

/// Gives the TLS settings for the next connection; none for plain text.
pub type Tls = Arc<dyn Fn() -> Option<TlsAcceptor> + Send + Sync>;

/// Serves until told to stop. `what` names the endpoint in the log.
pub async fn serve(listener: TcpListener, what: &'static str, tls: Tls, routes: Router, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    while let Some(Ok(place)) = stop.run_until_cancelled(places.clone().acquire_owned()).await {
        match stop.run_until_cancelled(listener.accept()).await {
            None => return,
            Some(Err(error)) => {
                tracing::warn!(%error, what, "a connection failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Some(Ok((connection, _))) => {
                let (acceptor, routes) = (tls(), routes.clone());
                tokio::spawn(async move {
                    let _place = place;
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
    let served = Builder::new(TokioExecutor::new())
        .http1_only()
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes))
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, what, "a connection broke");
    }
}
