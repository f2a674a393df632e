//! Talking to a registry by the OCI distribution protocol: bounded in time and size, and nothing is taken unchecked.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, WWW_AUTHENTICATE};
use reqwest::{Method, Response, StatusCode, Url};
use serde_json::Value;
use tokio::sync::Mutex;

use super::artifact::{self, Artifact, Blob, EMPTY, MANIFEST_TYPE};
use super::reference::Reference;
use super::{Login, RegistryError};
use crate::extension::{Package, PackageFiles};

/// How long one request may take.
const REQUEST: Duration = Duration::from_mins(1);
/// Most bytes of a manifest, a list of tags or a token.
const MAX_ANSWER: usize = 1024 * 1024;
/// How much of an error is shown.
const MAX_SAID: usize = 500;
/// Tags that are looked at of one repository.
const MAX_TAGS: usize = 200;

/// How a registry is reached.
#[derive(Default)]
pub struct Settings {
    /// Whether it is spoken to without encryption.
    pub plain_http: bool,
    /// Certificates of the authorities that are trusted, as PEM; those of the system where left out.
    pub ca: Option<PathBuf>,
    pub login: Option<Login>,
}

/// What is going to be done with a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Read,
    Write,
}

/// One repository of a registry.
pub struct Registry {
    client: reqwest::Client,
    base: String,
    reference: Reference,
    access: Access,
    login: Option<Login>,
    /// What the registry asked for and was given.
    authorization: Mutex<Option<HeaderValue>>,
}

impl Registry {
    pub fn new(reference: &Reference, access: Access, settings: Settings) -> Result<Self, RegistryError> {
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("midship/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(10))
            .timeout(REQUEST)
            .https_only(!settings.plain_http);
        if let Some(path) = &settings.ca {
            let wrong = |reason: String| RegistryError::Settings(format!("{}: {reason}", path.display()));
            let pem = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
            let certificates = reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| wrong(error.to_string()))?;
            if certificates.is_empty() {
                return Err(wrong("there is no certificate in it".to_owned()));
            }
            builder = builder.tls_certs_only(certificates);
        }
        let client = builder.build().map_err(|error| RegistryError::Settings(because(&error)))?;
        let scheme = if settings.plain_http { "http" } else { "https" };
        let base = format!("{scheme}://{}/v2/{}", reference.registry, reference.repository);
        let (reference, login) = (reference.clone(), settings.login);
        Ok(Self { client, base, reference, access, login, authorization: Mutex::default() })
    }

    /// The digest a package has as an artifact.
    pub fn digest(package: &Package) -> String {
        artifact::digest(&artifact::manifest(package))
    }

    /// The files of a package, and the digest of the artifact they came as.
    pub async fn pull(&self) -> Result<(PackageFiles, String), RegistryError> {
        let (artifact, digest) = self.artifact(&self.reference).await?;
        let mut files = Vec::with_capacity(artifact.blobs.len());
        for blob in artifact.blobs {
            let bytes = self.blob(&blob).await?;
            files.push((blob.path, bytes));
        }
        let files = PackageFiles::new(files).map_err(|problems| {
            let reasons: Vec<String> = problems.iter().map(ToString::to_string).collect();
            RegistryError::NotAPackage { reference: self.reference.to_string(), reason: reasons.join("; ") }
        })?;
        Ok((files, digest))
    }

    /// Uploads a package and gives it its tag.
    pub async fn push(&self, package: &Package, tag: &str) -> Result<(), RegistryError> {
        self.upload(EMPTY).await?;
        for (_, bytes) in package.files.iter() {
            self.upload(bytes).await?;
        }
        let manifest = artifact::manifest(package);
        let url = format!("{}/manifests/{tag}", self.base);
        let response = self.send(Method::PUT, &url, Some((MANIFEST_TYPE, &manifest))).await?;
        self.fine(response, &self.reference.to_string()).await.map(drop)
    }

    /// The digest a tag has, where there is such a tag.
    pub async fn digest_of(&self, tag: &str) -> Result<Option<String>, RegistryError> {
        match self.artifact(&self.reference.with_tag(tag)).await {
            Ok((_, digest)) => Ok(Some(digest)),
            Err(RegistryError::Missing(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The packages of this repository by their tags. What is no package is left out.
    pub async fn packages(&self) -> Result<Vec<(String, Artifact, String)>, RegistryError> {
        let url = format!("{}/tags/list?n={MAX_TAGS}", self.base);
        let response = self.send(Method::GET, &url, None).await?;
        let response = self.fine(response, &self.reference.to_string()).await?;
        let answer = self.read(response, "the list of tags", MAX_ANSWER).await?;
        let nonsense = |error: serde_json::Error| self.nonsense(format!("the list of tags is no JSON: {error}"));
        let answer: Value = serde_json::from_slice(&answer).map_err(nonsense)?;
        let mut found = Vec::new();
        for tag in answer["tags"].as_array().into_iter().flatten().filter_map(Value::as_str).take(MAX_TAGS) {
            match self.artifact(&self.reference.with_tag(tag)).await {
                Ok((artifact, digest)) => found.push((tag.to_owned(), artifact, digest)),
                Err(RegistryError::NotAPackage { .. } | RegistryError::Missing(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    async fn artifact(&self, reference: &Reference) -> Result<(Artifact, String), RegistryError> {
        let wanted = reference.wanted().ok_or_else(|| RegistryError::Reference {
            text: reference.to_string(),
            reason: "which version of it? add a tag, such as :1.0.0, or a digest",
        })?;
        let url = format!("{}/manifests/{wanted}", self.base);
        let response = self.send(Method::GET, &url, None).await?;
        let response = self.fine(response, &reference.to_string()).await?;
        let bytes = self.read(response, "the manifest", MAX_ANSWER).await?;
        let digest = artifact::digest(&bytes);
        if let Some(wanted) = reference.digest.as_ref().filter(|wanted| **wanted != digest) {
            return Err(self.other_digest("the manifest", wanted, digest));
        }
        let not = |reason| RegistryError::NotAPackage { reference: reference.to_string(), reason };
        Ok((artifact::read(&bytes).map_err(not)?, digest))
    }

    async fn blob(&self, blob: &Blob) -> Result<Vec<u8>, RegistryError> {
        let url = format!("{}/blobs/{}", self.base, blob.digest);
        let response = self.send(Method::GET, &url, None).await?;
        let response = self.fine(response, &format!("{} of {}", blob.path, self.reference)).await?;
        let bytes = self.read(response, &blob.path, blob.size).await?;
        let found = artifact::digest(&bytes);
        if found == blob.digest { Ok(bytes) } else { Err(self.other_digest(&blob.path, &blob.digest, found)) }
    }

    async fn upload(&self, bytes: &[u8]) -> Result<(), RegistryError> {
        let digest = artifact::digest(bytes);
        let what = format!("the upload of {digest}");
        let there = self.send(Method::HEAD, &format!("{}/blobs/{digest}", self.base), None).await?;
        if there.status().is_success() {
            return Ok(());
        }
        let begun = self.send(Method::POST, &format!("{}/blobs/uploads/", self.base), None).await?;
        let begun = self.fine(begun, &what).await?;
        let location = begun.headers().get(LOCATION).and_then(|location| location.to_str().ok());
        let location = location.and_then(|location| begun.url().join(location).ok());
        let mut location = location.ok_or_else(|| self.nonsense("it does not say where to upload to".to_owned()))?;
        location.query_pairs_mut().append_pair("digest", &digest);
        let done = self.send(Method::PUT, location.as_str(), Some(("application/octet-stream", bytes))).await?;
        self.fine(done, &what).await.map(drop)
    }

    /// Sends a request; where the registry wants to know who asks, once more with an answer to that.
    async fn send(&self, method: Method, url: &str, body: Option<(&str, &[u8])>) -> Result<Response, RegistryError> {
        let known = self.authorization.lock().await.clone();
        let response = self.send_as(&method, url, body, known.as_ref()).await?;
        if response.status() != StatusCode::UNAUTHORIZED || known.is_some() {
            return Ok(response);
        }
        let given = self.authorize(response.headers()).await?;
        self.authorization.lock().await.clone_from(&given);
        match given {
            Some(given) => self.send_as(&method, url, body, Some(&given)).await,
            None => Ok(response),
        }
    }

    async fn send_as(
        &self,
        method: &Method,
        url: &str,
        body: Option<(&str, &[u8])>,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, RegistryError> {
        let mut request = self.client.request(method.clone(), url).header(ACCEPT, MANIFEST_TYPE);
        // an upload may go elsewhere; who we are is the registry's business alone
        let ours = Url::parse(url).ok().is_some_and(|url| url.as_str().starts_with(&self.origin()));
        if let Some(value) = authorization.filter(|_| ours) {
            request = request.header(AUTHORIZATION, value);
        }
        if let Some((kind, bytes)) = body {
            request = request.header(CONTENT_TYPE, kind).body(bytes.to_vec());
        }
        request.send().await.map_err(|error| self.unreachable(&error))
    }

    fn origin(&self) -> String {
        let end = self.base.find("/v2/").unwrap_or(self.base.len());
        format!("{}/", &self.base[..end])
    }

    /// The header the registry asks for: the name and password, or a token that a server of its choice gives for them.
    async fn authorize(&self, headers: &HeaderMap) -> Result<Option<HeaderValue>, RegistryError> {
        let asked = headers.get(WWW_AUTHENTICATE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let (scheme, rest) = asked.split_once(' ').unwrap_or((asked, ""));
        let basic = self.login.as_ref().map(Login::basic);
        if scheme.eq_ignore_ascii_case("basic") {
            return basic.map(|text| self.header(&text)).transpose();
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Ok(None);
        }
        let realm =
            parameter(rest, "realm").ok_or_else(|| self.nonsense("it names no server for tokens".to_owned()))?;
        let mut url = Url::parse(&realm).map_err(|_| self.nonsense(format!("{realm:?} is no address")))?;
        let actions = if self.access == Access::Write { "pull,push" } else { "pull" };
        let scope = format!("repository:{}:{actions}", self.reference.repository);
        url.query_pairs_mut().append_pair("scope", &scope);
        if let Some(service) = parameter(rest, "service") {
            url.query_pairs_mut().append_pair("service", &service);
        }
        let mut request = self.client.get(url);
        if let Some(basic) = &basic {
            request = request.header(AUTHORIZATION, self.header(basic)?);
        }
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let response = self.fine(response, "a token").await?;
        let answer = zeroize::Zeroizing::new(self.read(response, "the token", MAX_ANSWER).await?);
        let answer: Value =
            serde_json::from_slice(&answer).map_err(|error| self.nonsense(format!("the token is no JSON: {error}")))?;
        let token = answer["token"].as_str().or_else(|| answer["access_token"].as_str());
        let token = token.ok_or_else(|| self.nonsense("there is no token in the answer".to_owned()))?;
        self.header(&format!("Bearer {token}")).map(Some)
    }

    fn header(&self, text: &str) -> Result<HeaderValue, RegistryError> {
        let mut value = HeaderValue::from_str(text).map_err(|_| RegistryError::Login {
            place: self.reference.registry.clone(),
            reason: "the name or password has characters that a header cannot carry".to_owned(),
        })?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// The answer where it is a good one.
    async fn fine(&self, response: Response, what: &str) -> Result<Response, RegistryError> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        if status == StatusCode::NOT_FOUND {
            return Err(RegistryError::Missing(what.to_owned()));
        }
        let said = self.read(response, "the error", MAX_ANSWER).await.unwrap_or_default();
        let said = said_of(&said);
        let registry = self.reference.registry.clone();
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            let said = if said.is_empty() { what.to_owned() } else { format!("{what}: {said}") };
            return Err(RegistryError::Refused { registry, said });
        }
        Err(RegistryError::Answer { registry, status: status.as_u16(), said })
    }

    async fn read(&self, mut response: Response, what: &str, most: usize) -> Result<Vec<u8>, RegistryError> {
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.unreachable(&error))? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > most {
                return Err(RegistryError::TooLarge { what: what.to_owned(), most });
            }
        }
        Ok(bytes)
    }

    fn unreachable(&self, error: &reqwest::Error) -> RegistryError {
        RegistryError::Unreachable { registry: self.reference.registry.clone(), reason: because(error) }
    }

    fn nonsense(&self, reason: String) -> RegistryError {
        RegistryError::Nonsense { registry: self.reference.registry.clone(), reason }
    }

    fn other_digest(&self, what: &str, wanted: &str, found: String) -> RegistryError {
        RegistryError::Digest { what: format!("{what} of {}", self.reference), wanted: wanted.to_owned(), found }
    }
}

/// The innermost cause, which says most.
fn because(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

/// A value of a challenge such as `realm="https://…",service="…"`.
fn parameter(text: &str, name: &str) -> Option<String> {
    let start = text.find(&format!("{name}=\""))? + name.len() + 2;
    let rest = &text[start..];
    rest.find('"').map(|end| rest[..end].to_owned())
}

/// What an error says, in the registry's words.
fn said_of(bytes: &[u8]) -> String {
    let value: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let errors = value["errors"].as_array().into_iter().flatten();
    let messages: Vec<&str> =
        errors.filter_map(|error| error["message"].as_str().or_else(|| error["code"].as_str())).collect();
    let said = if messages.is_empty() { String::from_utf8_lossy(bytes).into_owned() } else { messages.join("; ") };
    said.chars().filter(|letter| !letter.is_control()).take(MAX_SAID).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_and_errors_are_read() {
        let text = r#"realm="https://auth.example.com/token",service="registry.example.com",scope="x""#;
        assert_eq!(parameter(text, "realm").as_deref(), Some("https://auth.example.com/token"));
        assert_eq!(parameter(text, "service").as_deref(), Some("registry.example.com"));
        assert_eq!(parameter(text, "error"), None);
        assert_eq!(said_of(br#"{"errors":[{"code":"DENIED","message":"not you"}]}"#), "not you");
        assert_eq!(said_of(b"<html>\n"), "<html>");
    }
}
