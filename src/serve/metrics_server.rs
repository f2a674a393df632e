//! `/metrics` over HTTPS, for those whom the cluster permits to read it.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::authorization::v1::{NonResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::connections;
use super::metrics::Metrics;

/// Why the endpoint cannot be offered.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("cannot listen on {address}: {source}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("no certificate could be made: {0}")]
    Certificate(#[from] rcgen::Error),
    #[error("no TLS could be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// What a request is answered from. Who asks can be checked only while there is a client.
#[derive(Clone)]
struct Shared {
    metrics: Arc<Metrics>,
    client: watch::Receiver<Option<Client>>,
}

/// Serves until told to stop, with a certificate made for this process alone.
pub async fn serve(
    address: SocketAddr,
    metrics: Arc<Metrics>,
    client: watch::Receiver<Option<Client>>,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    let listener = TcpListener::bind(address).await.map_err(|source| ServeError::Listen { address, source })?;
    let bound = listener.local_addr().map_err(|source| ServeError::Listen { address, source })?;
    tracing::info!(address = %bound, "serving metrics");
    let acceptor = TlsAcceptor::from(Arc::new(certificate()?));
    let routes = Router::new().route("/metrics", get(answer)).with_state(Shared { metrics, client });
    let tls: connections::Tls = Arc::new(move || Some(acceptor.clone()));
    tokio::spawn(connections::serve(listener, "metrics", tls, routes, stop));
    Ok(())
}

fn certificate() -> Result<rustls::ServerConfig, ServeError> {
    let made = rcgen::generate_simple_self_signed(["midship-metrics".to_owned()])?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    Ok(rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key)?)
}

async fn answer(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    let token = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "));
    let Some(token) = token else {
        return (StatusCode::UNAUTHORIZED, "send a ServiceAccount's token: Authorization: Bearer …\n").into_response();
    };
    let Some(client) = shared.client.borrow().clone() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "there is no API server to check the token with\n").into_response();
    };
    match may_read(client, token).await {
        Ok(Verdict::Yes) => match shared.metrics.text() {
            Ok(text) => {
                let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
                ([(header::CONTENT_TYPE, kind)], text).into_response()
            }
            Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        },
        Ok(Verdict::Unknown) => (StatusCode::UNAUTHORIZED, "the token is not valid\n").into_response(),
        Ok(Verdict::No { user }) => {
            let text = format!("{user} needs a ClusterRole with the verb get on the nonResourceURL /metrics\n");
            (StatusCode::FORBIDDEN, text).into_response()
        }
        Err(error) => {
            tracing::warn!(%error, "a token for metrics could not be checked");
            (StatusCode::SERVICE_UNAVAILABLE, "the token could not be checked\n").into_response()
        }
    }
}

enum Verdict {
    Yes,
    No { user: String },
    Unknown,
}

/// Asks the API server who the token belongs to and whether they may read metrics.
async fn may_read(client: Client, token: &str) -> Result<Verdict, kube::Error> {
    let spec = TokenReviewSpec { token: token.to_owned(), ..TokenReviewSpec::default() };
    let review = TokenReview { spec, ..TokenReview::default() };
    let review = Api::<TokenReview>::all(client.clone()).create(&PostParams::default(), &review).await?;
    let status = review.status.unwrap_or_default();
    let Some(UserInfo { username, groups, uid, .. }) = status.user.filter(|_| status.authenticated == Some(true))
    else {
        return Ok(Verdict::Unknown);
    };
    let spec = SubjectAccessReviewSpec {
        user: username.clone(),
        uid,
        groups,
        non_resource_attributes: Some(NonResourceAttributes {
            path: Some("/metrics".into()),
            verb: Some("get".into()),
        }),
        ..SubjectAccessReviewSpec::default()
    };
    let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
    let review = Api::<SubjectAccessReview>::all(client).create(&PostParams::default(), &review).await?;
    let allowed = review.status.is_some_and(|status| status.allowed);
    Ok(if allowed { Verdict::Yes } else { Verdict::No { user: username.unwrap_or_default() } })
}
