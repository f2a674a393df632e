//! Tells the kubelet whether the process is ready, as PID 1 judges it: one word over plain HTTP, for a kubelet can show no
//! certificate. Cheaper by far than a command started in the container for each question.

use std::convert::Infallible;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::shared::Shared;

/// Where it is told.
pub const PATH: &str = "/ready";
/// Whoever asks is given so long for one connection.
const PATIENCE: Duration = Duration::from_secs(5);
/// Connections at a time; others are closed at once.
const CONNECTIONS: usize = 16;
/// Between two tries to listen, and when no connection can be taken.
const PAUSE: Duration = Duration::from_secs(1);

/// Answers for as long as the agent runs.
pub async fn serve(shared: Arc<Shared>, port: u16) {
    let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let listener = loop {
        match TcpListener::bind(address).await {
            Ok(listener) => break listener,
            Err(error) => {
                tracing::warn!(%address, %error, "cannot tell the kubelet whether the process is ready");
                sleep(PAUSE).await;
            }
        }
    };
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            sleep(PAUSE).await;
            continue;
        };
        if let Ok(place) = places.clone().try_acquire_owned() {
            let shared = Arc::clone(&shared);
            tokio::spawn(async move {
                let _ = timeout(PATIENCE, answer(stream, &shared)).await;
                drop(place);
            });
        }
    }
}

async fn answer(stream: TcpStream, shared: &Shared) {
    let service = service_fn(|request: Request<Incoming>| {
        let answer = told(shared, &request);
        async move { Ok::<_, Infallible>(answer) }
    });
    let mut connection = http1::Builder::new();
    connection.keep_alive(false).max_buf_size(8 << 10).timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    // whoever breaks off has no use for an answer
    let _ = connection.serve_connection(TokioIo::new(stream), service).await;
}

fn told(shared: &Shared, request: &Request<Incoming>) -> Response<String> {
    let with = |status: StatusCode, text: &str| {
        let mut answer = Response::new(format!("{text}\n"));
        *answer.status_mut() = status;
        answer
    };
    if request.uri().path() != PATH {
        return with(StatusCode::NOT_FOUND, "nothing is here");
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return with(StatusCode::METHOD_NOT_ALLOWED, "GET alone");
    }
    match &shared.findings.borrow().process {
        Some(status) if status.readiness.ready => with(StatusCode::OK, "ready"),
        _ => with(StatusCode::SERVICE_UNAVAILABLE, "not ready"),
    }
}
