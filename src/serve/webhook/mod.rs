//! `POST /hooks/<namespace>/<name>`: a forge says that a repository changed. Nothing in a delivery is believed but that:
//! the source is asked to look now, through an annotation.

mod signature;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest, Path as UrlPath, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::connections;
use crate::api::git_source::GitRef;
use crate::api::{GitSource, labels};
use crate::cluster::problem::Problem;
use crate::names::{NamespaceName, ObjectName};

/// The most that a delivery may have.
const BODY_BYTES: usize = 1 << 20;
/// How long a secret is remembered, so that strangers cannot make us ask the API server again and again.
const REMEMBERED: Duration = Duration::from_secs(10);
/// How many sources are remembered, those that are not there among them.
const SOURCES: usize = 1000;
const PATIENCE: Duration = Duration::from_secs(5);

/// Why the endpoint cannot be offered.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("cannot listen on {address} for webhooks: {source}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("{path}: {reason}; it holds tls.crt and tls.key, as a Secret of the type kubernetes.io/tls does")]
    Certificate { path: String, reason: String },
}

/// By namespace and name: what was found of a source, none where it is not there, and until when that counts.
type Known = HashMap<(String, String), (Instant, Option<Hook>)>;

/// What deliveries are checked with. Who signs can be known only while there is a client.
#[derive(Clone)]
struct Shared {
    client: watch::Receiver<Option<Client>>,
    known: Arc<Mutex<Known>>,
}

/// What is known of a source that wants webhooks.
#[derive(Clone)]
struct Hook {
    secret: Arc<Zeroizing<Vec<u8>>>,
    follow: Option<GitRef>,
}

/// Serves until told to stop; with TLS where `folder` is given, which has a certificate and its key. Says where.
pub async fn serve(
    address: SocketAddr,
    folder: Option<PathBuf>,
    client: watch::Receiver<Option<Client>>,
    stop: CancellationToken,
) -> Result<SocketAddr, ServeError> {
    let listener = TcpListener::bind(address).await.map_err(|source| ServeError::Listen { address, source })?;
    let bound = listener.local_addr().map_err(|source| ServeError::Listen { address, source })?;
    let tls: connections::Tls = match folder {
        None => Arc::new(|| None),
        Some(folder) => {
            let first = Certificate::read(&folder)?;
            let current = Mutex::new(first);
            Arc::new(move || Some(Certificate::renewed(&current, &folder)))
        }
    };
    tracing::info!(address = %bound, tls = tls().is_some(), "serving webhooks");
    let routes = Router::new()
        .route("/hooks/{namespace}/{name}", post(take))
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .with_state(Shared { client, known: Arc::default() });
    tokio::spawn(connections::serve(listener, "webhooks", tls, routes, stop));
    Ok(bound)
}

/// A certificate from files that are replaced from time to time.
struct Certificate {
    written: Option<SystemTime>,
    acceptor: TlsAcceptor,
}

impl Certificate {
    fn read(folder: &Path) -> Result<Self, ServeError> {
        let (certificate, key) = (folder.join("tls.crt"), folder.join("tls.key"));
        let wrong = |path: &Path, reason: String| ServeError::Certificate { path: path.display().to_string(), reason };
        let chain = CertificateDer::pem_file_iter(&certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| wrong(&certificate, error.to_string()))?;
        let secret = PrivateKeyDer::from_pem_file(&key).map_err(|error| wrong(&key, error.to_string()))?;
        let config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain, secret)
            .map_err(|error| wrong(&certificate, error.to_string()))?;
        Ok(Self { written: written(folder), acceptor: TlsAcceptor::from(Arc::new(config)) })
    }

    /// The newest that can be used.
    fn renewed(current: &Mutex<Self>, folder: &Path) -> TlsAcceptor {
        let mut current = current.lock().expect("no panic while it is held");
        if written(folder) != current.written {
            match Self::read(folder) {
                Ok(new) => *current = new,
                Err(error) => tracing::warn!(%error, "the certificate cannot be renewed; the old one goes on"),
            }
        }
        current.acceptor.clone()
    }
}

fn written(folder: &Path) -> Option<SystemTime> {
    std::fs::metadata(folder.join("tls.crt")).and_then(|data| data.modified()).ok()
}

type Answer = (StatusCode, String);

async fn take(
    State(shared): State<Shared>,
    UrlPath((namespace, name)): UrlPath<(String, String)>,
    headers: HeaderMap,
    request: Request,
) -> Answer {
    let answer = |status, text: &str| (status, format!("{text}\n"));
    let body = match tokio::time::timeout(PATIENCE, Bytes::from_request(request, &())).await {
        Ok(Ok(body)) => body,
        Ok(Err(refused)) => return (refused.status(), format!("{}\n", refused.body_text())),
        Err(_) => return answer(StatusCode::REQUEST_TIMEOUT, "the delivery took too long; deliver again"),
    };
    if NamespaceName::parse(&namespace).is_err() || ObjectName::parse(&name).is_err() {
        return answer(StatusCode::NOT_FOUND, "the address is /hooks/<namespace>/<name of the GitSource>");
    }
    let Some(client) = shared.client.borrow().clone() else {
        return answer(StatusCode::SERVICE_UNAVAILABLE, "there is no API server to ask; deliver again later");
    };
    let hook = match shared.hook(&client, &namespace, &name).await {
        Ok(hook) => hook,
        Err(problem) => {
            tracing::warn!(namespace, name, problem, "a webhook could not be checked");
            return answer(StatusCode::SERVICE_UNAVAILABLE, "the delivery could not be checked; deliver again later");
        }
    };
    // whether there is such a source is nobody's business who cannot sign for it
    let Some(hook) = hook else {
        return answer(StatusCode::UNAUTHORIZED, &signature::Refused::Wrong.to_string());
    };
    if let Err(refused) = signature::verify(&headers, &body, &hook.secret) {
        tracing::debug!(namespace, name, %refused, "a webhook was refused");
        return answer(StatusCode::UNAUTHORIZED, &refused.to_string());
    }
    if !concerns(hook.follow.as_ref(), &body) {
        return answer(StatusCode::OK, "the source follows something else; nothing to do");
    }
    let patch = json!({ "metadata": { "annotations": { (labels::PUSHED_AT): jiff::Timestamp::now().to_string() } } });
    let sources: Api<GitSource> = Api::namespaced(client, &namespace);
    let parameters = PatchParams { field_manager: Some("midship-webhook".into()), ..PatchParams::default() };
    match tokio::time::timeout(PATIENCE, sources.patch_metadata(&name, &parameters, &Patch::Merge(&patch))).await {
        Ok(Ok(_)) => answer(StatusCode::ACCEPTED, "the repository is looked at now"),
        failed => {
            let problem = match failed {
                Ok(Err(error)) => Problem::from_kube(&error).to_string(),
                _ => "the API server did not answer in time".to_owned(),
            };
            tracing::warn!(namespace, name, problem, "a webhook could not be passed on");
            answer(StatusCode::SERVICE_UNAVAILABLE, "the source could not be told; deliver again later")
        }
    }
}

impl Shared {
    /// What is known of a source; none where it is not there or wants no webhooks.
    async fn hook(&self, client: &Client, namespace: &str, name: &str) -> Result<Option<Hook>, String> {
        let key = (namespace.to_owned(), name.to_owned());
        let now = Instant::now();
        {
            let mut known = self.known.lock().expect("no panic while it is held");
            known.retain(|_, (until, _)| *until > now);
            if let Some((_, hook)) = known.get(&key) {
                return Ok(hook.clone());
            }
            if known.len() >= SOURCES {
                return Err("too many different sources are asked for at once".to_owned());
            }
        }
        let asked = tokio::time::timeout(PATIENCE, find(client, namespace, name)).await;
        let hook = match asked {
            Ok(found) => found.map_err(|error| Problem::from_kube(&error).to_string())?,
            Err(_) => return Err("the API server did not answer in time".to_owned()),
        };
        self.known.lock().expect("no panic while it is held").insert(key, (now + REMEMBERED, hook.clone()));
        Ok(hook)
    }
}

async fn find(client: &Client, namespace: &str, name: &str) -> Result<Option<Hook>, kube::Error> {
    let sources: Api<GitSource> = Api::namespaced(client.clone(), namespace);
    let Some(source) = sources.get_opt(name).await? else { return Ok(None) };
    let Some(webhook) = source.spec.webhook else { return Ok(None) };
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let secret = secrets.get_opt(webhook.secret.name.as_str()).await?;
    let secret = secret.and_then(|secret| secret.data).and_then(|mut data| data.remove("secret"));
    let secret = secret.filter(|secret| !secret.0.is_empty());
    if secret.is_none() {
        let missing = webhook.secret.name.as_str();
        tracing::warn!(namespace, name, secret = missing, "webhooks are refused: the Secret has no `secret`");
    }
    Ok(secret.map(|secret| Hook { secret: Arc::new(Zeroizing::new(secret.0)), follow: source.spec.ref_ }))
}

/// Whether a push to what the delivery names can matter. What cannot be told does.
fn concerns(follow: Option<&GitRef>, body: &[u8]) -> bool {
    let payload: Value = serde_json::from_slice(body).unwrap_or_default();
    let Some(reference) = payload["ref"].as_str().filter(|reference| reference.starts_with("refs/")) else {
        return true;
    };
    match follow {
        Some(GitRef { branch: Some(branch), .. }) => reference == format!("refs/heads/{branch}"),
        Some(GitRef { tag: Some(tag), .. }) => reference == format!("refs/tags/{tag}"),
        Some(GitRef { semver: Some(_), .. }) => reference.starts_with("refs/tags/"),
        Some(GitRef { commit: Some(_), .. }) => false,
        _ => payload["repository"]["default_branch"]
            .as_str()
            .is_none_or(|branch| reference == format!("refs/heads/{branch}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(reference: &str) -> Vec<u8> {
        json!({ "ref": reference, "repository": { "default_branch": "trunk" } }).to_string().into_bytes()
    }

    #[test]
    fn only_pushes_to_what_is_followed_matter() {
        let main = GitRef { branch: Some("main".into()), ..GitRef::default() };
        assert!(concerns(Some(&main), &push("refs/heads/main")));
        assert!(!concerns(Some(&main), &push("refs/heads/midship/audit/test")));
        assert!(!concerns(Some(&main), &push("refs/tags/main")));
        let range = GitRef { semver: Some(">=1".into()), ..GitRef::default() };
        assert!(concerns(Some(&range), &push("refs/tags/v1.2.3")) && !concerns(Some(&range), &push("refs/heads/main")));
        assert!(concerns(None, &push("refs/heads/trunk")) && !concerns(None, &push("refs/heads/main")));
    }

    #[test]
    fn tags_and_branches_of_one_name_are_told_apart_and_a_branch_that_goes_matters() {
        let main = GitRef { branch: Some("main".into()), ..GitRef::default() };
        let release = GitRef { tag: Some("main".into()), ..GitRef::default() };
        let pushes: [(&str, bool, bool); 4] = [
            (r#"{"ref": "refs/heads/main", "before": "0123", "after": "0000", "deleted": true}"#, true, false),
            (r#"{"ref": "refs/tags/main", "object_kind": "tag_push", "checkout_sha": null}"#, false, true),
            (r#"{"ref": "refs/heads/main2"}"#, false, false),
            (r#"{"ref": "refs/pull/1/head"}"#, false, false),
        ];
        for (body, branch, tag) in pushes {
            assert_eq!(concerns(Some(&main), body.as_bytes()), branch, "{body}");
            assert_eq!(concerns(Some(&release), body.as_bytes()), tag, "{body}");
        }
    }

    #[test]
    fn what_cannot_be_told_is_looked_at() {
        let main = GitRef { branch: Some("main".into()), ..GitRef::default() };
        // the greeting of a new webhook, and a branch that was deleted as some forges tell it, have no reference either
        let others =
            [r#"{"zen": "Keep it logically awesome.", "hook_id": 1}"#, r#"{"ref": "main", "ref_type": "branch"}"#];
        for body in ["", "{}", "not JSON", "payload=%7B%7D", r#"{"ref": 3}"#].into_iter().chain(others) {
            assert!(concerns(Some(&main), body.as_bytes()), "{body}");
        }
    }
}
