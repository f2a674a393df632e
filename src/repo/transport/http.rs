//! Git over HTTPS: credentials stay with the host they were given for, everything is bounded.

use std::io::{self, BufRead, Read, Write};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use gix_transport::Protocol;
use gix_transport::client::blocking_io::http::{self, GetResponse, PostBodyDataKind, PostResponse};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};

use super::{BoxedTransport, RemoteError, Wire};
use crate::repo::error::{chain, clean};
use crate::repo::http_client::HttpClient;
use crate::repo::remote::Remote;

const MAX_REDIRECTS: usize = 5;
/// How much of an error page is read for its first sentence.
const MAX_ERROR_PAGE: usize = 4096;
/// How much of an answer may be left after what was asked for, and how long its end is waited for.
const MAX_REST: usize = 4096;
const END_COMES_WITHIN: Duration = Duration::from_millis(200);
/// How often a question is asked that no connection took.
const MAX_ASKED: usize = 5;

/// One thread drives all HTTP connections, so that idle ones are kept and closed properly whoever asks.
static RUNTIME: LazyLock<io::Result<tokio::runtime::Runtime>> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name("git-http").enable_all().build()
});

pub(super) fn connect(remote: &Remote, version: Protocol, wire: &Wire) -> Result<BoxedTransport, RemoteError> {
    let address = remote.url().to_string();
    let local = |reason: String| RemoteError::Local { what: "starting the HTTP client".into(), reason };
    let url = gix::url::parse(address.as_str()).map_err(|e| local(chain(&e)))?;
    let runtime = RUNTIME.as_ref().map_err(|e| local(e.to_string()))?;
    let backend = Backend {
        exchange: Exchange {
            host: remote.host(),
            address: address.clone(),
            client: remote.http_client()?,
            runtime: runtime.handle().clone(),
            wire: wire.clone(),
        },
        base: None,
    };
    Ok(Box::new(http::connect_http(backend, url, version, false)))
}

/// What it takes to do one request after another with the same server.
#[derive(Clone)]
struct Exchange {
    host: String,
    address: String,
    client: HttpClient,
    runtime: tokio::runtime::Handle,
    wire: Wire,
}

impl Exchange {
    /// Waits for `work`, but never past the deadline or an interrupt.
    fn wait<T>(&self, work: impl Future<Output = Result<T, reqwest::Error>>) -> io::Result<T> {
        let bounds = &self.wire.bounds;
        let result = self.runtime.block_on(async {
            tokio::pin!(work);
            loop {
                match tokio::time::timeout(Duration::from_millis(50), &mut work).await {
                    Ok(done) => return done.map_err(|error| self.network_failure(&error)),
                    Err(_) => bounds.check()?,
                }
            }
        });
        result.map_err(|error| self.wire.fail(error))
    }

    fn send(&self, method: &Method, url: &str, headers: &HeaderMap, body: Option<Vec<u8>>) -> io::Result<Response> {
        self.wire.check()?;
        let mut request = self.client.client.request(method.clone(), url).headers(headers.clone());
        if let Some(value) = &self.client.authorization {
            request = request.header(AUTHORIZATION, value.clone());
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        self.wait(handed_over(request))
    }

    fn accept(&self, response: Response) -> io::Result<Response> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let reason = self.first_sentence(response, status);
        let host = self.host.clone();
        Err(self.wire.fail(match status {
            StatusCode::UNAUTHORIZED if self.client.authorization.is_none() => RemoteError::CredentialsMissing { host },
            StatusCode::UNAUTHORIZED => RemoteError::CredentialsRefused { host, reason },
            StatusCode::FORBIDDEN => RemoteError::Forbidden { host, reason },
            StatusCode::NOT_FOUND | StatusCode::GONE => RemoteError::NotFound { url: self.address.clone() },
            StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
                RemoteError::CredentialsRefused { host: "the proxy".into(), reason }
            }
            status if status.is_redirection() => RemoteError::Redirected { from: self.address.clone(), to: reason },
            _ => RemoteError::Server { host, reason },
        }))
    }

    fn first_sentence(&self, mut response: Response, status: StatusCode) -> String {
        let plain = response
            .headers()
            .get(CONTENT_TYPE)
            .is_none_or(|t| t.to_str().is_ok_and(|t| t.starts_with("text/plain") || t.contains("json")));
        let mut page = Vec::new();
        while plain && page.len() < MAX_ERROR_PAGE {
            match self.wait(response.chunk()) {
                Ok(Some(chunk)) => page.extend_from_slice(&chunk),
                Ok(None) | Err(_) => break,
            }
        }
        page.truncate(MAX_ERROR_PAGE);
        let text = clean(&String::from_utf8_lossy(&page), 200);
        if text.is_empty() { format!("HTTP {status}") } else { format!("HTTP {status}: {text}") }
    }

    /// Reads the end of an answer: it comes after the last thing that anybody asks of it, and without it the connection
    /// cannot be kept.
    fn finish(&self, response: &mut Response) {
        if self.wire.bounds.check().is_err() {
            return;
        }
        let rest = async {
            let mut read = 0;
            while read < MAX_REST
                && let Ok(Some(chunk)) = response.chunk().await
            {
                read += chunk.len();
            }
        };
        // where it does not come, the connection is closed
        let _ = self.runtime.block_on(async { tokio::time::timeout(END_COMES_WITHIN, rest).await });
    }

    fn network_failure(&self, error: &reqwest::Error) -> RemoteError {
        let host = self.host.clone();
        if let Some(tls) = tls_failure(error) {
            let reason = clean(&tls.to_string(), 200);
            // an alert is what the other side thinks of us: our client certificate, most often
            return match tls {
                rustls::Error::AlertReceived(_) => RemoteError::CredentialsRefused { host, reason },
                _ => RemoteError::Tls { host, reason },
            };
        }
        RemoteError::Unreachable {
            host,
            // the address is in the message of the library and in ours
            reason: chain_without_url(error),
        }
    }
}

/// The answer. A server that refuses a client certificate says so on a connection that is already there for the question:
/// where it is gone before it has taken that, only the next one tells why.
async fn handed_over(request: RequestBuilder) -> Result<Response, reqwest::Error> {
    for _ in 1..MAX_ASKED {
        let Some(again) = request.try_clone() else { break };
        match again.send().await {
            Err(error) if was_never_taken(&error) => {}
            answer => return answer,
        }
    }
    request.send().await
}

fn was_never_taken(error: &(dyn std::error::Error + 'static)) -> bool {
    error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_canceled)
        || error.source().is_some_and(was_never_taken)
}

/// The TLS error in a chain; input and output errors hide what they carry from their own chain.
fn tls_failure<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    if let Some(tls) = error.downcast_ref::<rustls::Error>() {
        return Some(tls);
    }
    let carried = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    carried.and_then(|inner| tls_failure(inner)).or_else(|| error.source().and_then(tls_failure))
}

fn chain_without_url(error: &reqwest::Error) -> String {
    use std::error::Error;
    error.source().map_or_else(|| clean(&error.to_string(), 300), chain)
}

/// The HTTP half of gix's transport.
struct Backend {
    exchange: Exchange,
    /// Where the server sent us, when it did.
    base: Option<String>,
}

impl Backend {
    /// Follows redirects of the first request, only within the same host.
    fn get_following(&mut self, url: &str, base: &str, headers: &HeaderMap) -> io::Result<Response> {
        let tail = url.strip_prefix(base).unwrap_or_default();
        let mut current = match &self.base {
            Some(base) => format!("{base}{tail}"),
            None => url.to_owned(),
        };
        for _ in 0..MAX_REDIRECTS {
            let response = self.exchange.send(&Method::GET, &current, headers, None)?;
            let target = match response.headers().get(LOCATION).map(HeaderValue::to_str) {
                Some(Ok(target)) if response.status().is_redirection() => target.to_owned(),
                _ => {
                    if current != url {
                        self.base = current.strip_suffix(tail).map(str::to_owned);
                    }
                    return self.exchange.accept(response);
                }
            };
            current = same_place(&current, &target, tail).ok_or_else(|| {
                self.exchange.wire.fail(RemoteError::Redirected {
                    from: self.exchange.address.clone(),
                    to: clean(target.split('?').next().unwrap_or_default(), 200),
                })
            })?;
        }
        Err(self.exchange.wire.fail(RemoteError::Redirected {
            from: self.exchange.address.clone(),
            to: "itself, again and again".into(),
        }))
    }
}

/// The absolute address of a redirect, when it stays with the same host and only moves the repository.
fn same_place(current: &str, target: &str, tail: &str) -> Option<String> {
    let current = Url::parse(current).ok()?;
    let next = current.join(target).ok()?;
    let upgraded = current.scheme() == "http"
        && next.scheme() == "https"
        && current.port().is_none()
        && next.port().is_none()
        && current.host() == next.host();
    let clean = next.username().is_empty() && next.password().is_none();
    ((next.origin() == current.origin() || upgraded) && clean && next.as_str().ends_with(tail))
        .then(|| next.to_string())
}

fn parse_headers(lines: impl IntoIterator<Item = impl AsRef<str>>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines {
        let Some((name, value)) = line.as_ref().split_once(':') else {
            continue;
        };
        let name = HeaderName::try_from(name.trim());
        let value = HeaderValue::try_from(value.trim());
        if let (Ok(name), Ok(value)) = (name, value)
            && name != reqwest::header::USER_AGENT
        {
            headers.insert(name, value);
        }
    }
    headers
}

type GixResult<T> = Result<T, gix::Error>;

impl http::Http for Backend {
    type Headers = Headers;
    type ResponseBody = Body;
    type PostBody = PostBody;

    fn get(
        &mut self,
        url: &str,
        base_url: &str,
        headers: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> GixResult<GetResponse<Headers, Body>> {
        let response = self.get_following(url, base_url, &parse_headers(headers)).map_err(gix::Error::from_error)?;
        let state = Arc::new(Mutex::new(State::Answered(response)));
        Ok(self.exchange.reply(state).into())
    }

    fn post(
        &mut self,
        url: &str,
        base_url: &str,
        headers: impl IntoIterator<Item = impl AsRef<str>>,
        _body: PostBodyDataKind,
    ) -> GixResult<PostResponse<Headers, Body, PostBody>> {
        let tail = url.strip_prefix(base_url).unwrap_or_default();
        let url = match &self.base {
            Some(base) => format!("{base}{tail}"),
            None => url.to_owned(),
        };
        let state = Arc::new(Mutex::new(State::Asking { url, headers: parse_headers(headers), body: Vec::new() }));
        Ok(self.exchange.reply(state))
    }

    fn configure(&mut self, _config: &dyn std::any::Any) -> GixResult<()> {
        Ok(())
    }

    fn redirected_base_url(&self) -> Option<String> {
        self.base.clone()
    }
}

/// One request and its answer. It is sent when the first byte of the answer is asked for.
enum State {
    Asking { url: String, headers: HeaderMap, body: Vec<u8> },
    Answered(Response),
    Failed,
}

type Shared = Arc<Mutex<State>>;

impl Exchange {
    fn reply(&self, state: Shared) -> PostResponse<Headers, Body, PostBody> {
        PostResponse {
            post_body: PostBody(Arc::clone(&state)),
            headers: Headers { exchange: self.clone(), state: Arc::clone(&state), lines: None },
            body: Body { exchange: self.clone(), state, chunk: io::Cursor::default() },
        }
    }

    fn answered<T>(&self, state: &Shared, use_it: impl FnOnce(&mut Response) -> io::Result<T>) -> io::Result<T> {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::Asking { .. } = *state {
            let State::Asking { url, headers, body } = std::mem::replace(&mut *state, State::Failed) else {
                return Err(io::ErrorKind::InvalidInput.into());
            };
            let response = self.send(&Method::POST, &url, &headers, Some(body))?;
            *state = State::Answered(self.accept(response)?);
        }
        match &mut *state {
            State::Answered(response) => use_it(response),
            State::Asking { .. } | State::Failed => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

struct PostBody(Shared);

impl Write for PostBody {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Asking { body, .. } => {
                body.extend_from_slice(bytes);
                Ok(bytes.len())
            }
            State::Answered(_) | State::Failed => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The only header anybody above asks for is the content type.
struct Headers {
    exchange: Exchange,
    state: Shared,
    lines: Option<io::Cursor<Vec<u8>>>,
}

impl BufRead for Headers {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.lines.is_none() {
            let line = self.exchange.answered(&self.state, |response| {
                let kind = response.headers().get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
                Ok([b"content-type: ", kind, b"\n"].concat())
            })?;
            self.lines = Some(io::Cursor::new(line));
        }
        self.lines.as_mut().map_or(Ok(&[]), BufRead::fill_buf)
    }

    fn consume(&mut self, amount: usize) {
        if let Some(lines) = &mut self.lines {
            lines.consume(amount);
        }
    }
}

impl Read for Headers {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        read_buffered(self, out)
    }
}

struct Body {
    exchange: Exchange,
    state: Shared,
    chunk: io::Cursor<Vec<u8>>,
}

impl Drop for Body {
    fn drop(&mut self) {
        if let State::Answered(response) = &mut *self.state.lock().unwrap_or_else(PoisonError::into_inner) {
            self.exchange.finish(response);
        }
    }
}

impl BufRead for Body {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.chunk.position() == self.chunk.get_ref().len() as u64 {
            let exchange = self.exchange.clone();
            let next = exchange.answered(&self.state, |response| exchange.wait(response.chunk()))?;
            match next {
                Some(bytes) => {
                    self.exchange.wire.count(bytes.len())?;
                    self.chunk = io::Cursor::new(bytes.into());
                }
                None => return Ok(&[]),
            }
        }
        self.chunk.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.chunk.consume(amount);
    }
}

impl Read for Body {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        read_buffered(self, out)
    }
}

fn read_buffered(from: &mut impl BufRead, out: &mut [u8]) -> io::Result<usize> {
    let count = from.fill_buf()?.read(out)?;
    from.consume(count);
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAIL: &str = "/info/refs?service=git-upload-pack";

    fn redirect(from: &str, to: &str) -> Option<String> {
        same_place(&format!("{from}{TAIL}"), to, TAIL)
    }

    #[test]
    fn a_repository_may_move_within_its_host() {
        assert_eq!(
            redirect("https://forge.example/old", "/new/info/refs?service=git-upload-pack").as_deref(),
            Some("https://forge.example/new/info/refs?service=git-upload-pack")
        );
        assert!(redirect("http://forge.example/a", &format!("https://forge.example/a{TAIL}")).is_some());
    }

    #[test]
    fn a_redirect_never_leaves_the_host_or_the_encryption() {
        for to in [
            "https://evil.example/a",
            "http://forge.example/a",
            "https://forge.example:8443/a",
            "https://forge.example.evil.example/a",
            "https://me:pass@forge.example/a",
            "//evil.example/a",
            "file:///etc/passwd",
            "https://forge.example/login?next=",
        ] {
            let to = if to.contains('?') { to.to_owned() } else { format!("{to}{TAIL}") };
            assert_eq!(redirect("https://forge.example/a", &to), None, "{to}");
        }
    }
}
