//! A door before the API server: it lets requests through, or answers in the server's place.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode, header};
use kube::Client;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::task::AbortOnDropHandle;

use super::account;

/// Longer than anything that is sent.
const MOST: usize = 16 << 20;

#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// An answer that is no success; the server never hears of the request.
    Status(u16),
    /// The server did it, and nobody hears so.
    LostAnswer,
    /// The server did it, and says so after this time.
    LateAnswer(Duration),
    /// There is never an answer; the server never hears of the request.
    Silence,
}

type Judge = Arc<dyn Fn(&Method, &str) -> Option<Fault> + Send + Sync>;

pub struct Door {
    pub kubeconfig: PathBuf,
    judge: Arc<RwLock<Judge>>,
    _folder: TempDir,
    _serving: AbortOnDropHandle<()>,
}

impl Door {
    /// Opens one before the server of a kubeconfig, to which `client` leads.
    pub async fn open(client: &Client, like: &Path) -> Self {
        let nothing: Judge = Arc::new(|_, _| None);
        let judge = Arc::new(RwLock::new(nothing));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let router = Router::new().fallback(pass).with_state((client.clone(), judge.clone()));
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.expect("it serves") });
        let folder = tempfile::tempdir().expect("a folder");
        let kubeconfig = folder.path().join("kubeconfig");
        account::write(like, &kubeconfig, Some(&format!("http://{address}")), Value::Null);
        Self { kubeconfig, judge, _folder: folder, _serving: AbortOnDropHandle::new(serving) }
    }

    /// From now on this says which requests go wrong, by method and path.
    pub fn judge(&self, judge: impl Fn(&Method, &str) -> Option<Fault> + Send + Sync + 'static) {
        *self.judge.write().expect("nobody panicked") = Arc::new(judge);
    }

    pub fn let_everything_pass(&self) {
        self.judge(|_, _| None);
    }
}

async fn pass(State((client, judge)): State<(Client, Arc<RwLock<Judge>>)>, request: Request) -> Response {
    let judge = judge.read().expect("nobody panicked").clone();
    let fault = judge(request.method(), request.uri().path());
    if let Some(Fault::Status(code)) = fault {
        return refusal(code);
    }
    if let Some(Fault::Silence) = fault {
        return std::future::pending().await;
    }
    let (mut parts, body) = request.into_parts();
    let body = to_bytes(body, MOST).await.expect("it fits");
    for name in [header::HOST, header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING] {
        parts.headers.remove(name);
    }
    parts.extensions.clear();
    let answer = match client.send(http::Request::from_parts(parts, body.to_vec().into())).await {
        Ok(answer) => answer,
        Err(error) => return (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    };
    if let Some(Fault::LostAnswer) = fault {
        let cut = futures::stream::once(async { Err::<Bytes, _>(io::Error::other("cut")) });
        return Body::from_stream(cut).into_response();
    }
    if let Some(Fault::LateAnswer(delay)) = fault {
        tokio::time::sleep(delay).await;
    }
    let (mut parts, body) = answer.into_parts();
    parts.headers.remove(header::TRANSFER_ENCODING);
    Response::from_parts(parts, Body::new(body))
}

/// As the API server says it.
fn refusal(code: u16) -> Response {
    let reason = match code {
        409 => "Conflict",
        429 => "TooManyRequests",
        _ => "InternalError",
    };
    let status = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code,
        "reason": reason, "message": format!("{reason} by the test") });
    let code = StatusCode::from_u16(code).expect("a code");
    (code, [(header::CONTENT_TYPE, "application/json"), (header::RETRY_AFTER, "1")], status.to_string()).into_response()
}
