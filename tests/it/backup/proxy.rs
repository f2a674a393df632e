//! A proxy between us and a real S3 server that does what networks and servers do on bad days. What it is to do it is told
//! by a rule that sees each request; all else passes through unchanged, under the signature it came with.

#![allow(clippy::unwrap_used)] // what a test's own server cannot do ends the test

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, TRANSFER_ENCODING};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use midship::backup::store::s3::Settings;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

const MOST: usize = 64 << 20;
const FOR_EVER: Duration = Duration::from_hours(1);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is not done, and the server says why.
    Refuses(u16, &'static str),
    /// It is not done, and an error stands in an answer that says success.
    ErrorBehindSuccess,
    /// It is not done, and success is said.
    Lies,
    /// The connection ends before the server heard anything.
    Closes,
    /// The server hears half of what is written; then the connection ends on both sides.
    CutsUpload,
    /// It is done, and the connection ends before the answer.
    AnswerLost,
    /// It is done, and the answer ends in the middle.
    Cut,
    /// It is done, and half the answer comes as if it were all.
    Short,
    /// It is done, and a bit of the answer is another one.
    Flips,
    /// A bit of what is written is another one.
    Spoils,
    /// It is done, and the answer comes late.
    Slow(Duration),
    /// No answer ever comes.
    Stalls,
    /// A page of a listing shows each object twice.
    Repeats,
    /// A page of a listing lacks its last object.
    Forgets,
    /// A listing has always one page more: the one it had.
    Circles,
}

/// A request as a rule sees it.
#[derive(Clone, Debug)]
pub struct Call {
    /// Since the rule was given, from 0.
    pub number: usize,
    pub method: Method,
    /// With the query.
    pub uri: String,
}

impl Call {
    pub fn is_listing(&self) -> bool {
        self.method == Method::GET && self.uri.contains("list-type=2")
    }

    pub fn writes(&self, what: &str) -> bool {
        self.method == Method::PUT && self.uri.contains(what)
    }
}

type Rule = Box<dyn Fn(&Call) -> Option<Fault> + Send + Sync>;

struct State {
    upstream: String,
    client: reqwest::Client,
    rule: Mutex<(Rule, usize, usize)>,
    /// The last page of a listing, for going in circles.
    page: Mutex<Bytes>,
}

pub struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
    _listening: AbortOnDropHandle<()>,
}

impl Proxy {
    /// In front of the server of these settings.
    pub async fn before(settings: &Settings) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let upstream = settings.endpoint.clone().unwrap();
        // each request goes over a connection of its own: one that was broken off breaks no other
        let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap();
        let rule: Rule = Box::new(|_| None);
        let state = Arc::new(State { upstream, client, rule: Mutex::new((rule, 0, 0)), page: Mutex::default() });
        let serving = state.clone();
        let listening = AbortOnDropHandle::new(tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                let state = serving.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let state = state.clone();
                        async move { state.serve(request).await }
                    });
                    // what ends it early is what a test asked for
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        }));
        Self { address, state, _listening: listening }
    }

    /// The same bucket and folder, through here.
    pub fn settings(&self, settings: &Settings) -> Settings {
        Settings { endpoint: Some(format!("http://{}", self.address)), ..settings.clone() }
    }

    /// From now on.
    pub fn rule(&self, rule: impl Fn(&Call) -> Option<Fault> + Send + Sync + 'static) {
        *self.state.rule.lock().unwrap() = (Box::new(rule), 0, 0);
    }

    /// How often a fault was made since the rule was given.
    pub fn faults(&self) -> usize {
        self.state.rule.lock().unwrap().2
    }
}

/// What came back from the server.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl State {
    async fn serve(&self, request: Request<Incoming>) -> Result<Response<Body>, io::Error> {
        let (head, body) = request.into_parts();
        let uri = head.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
        let body = to_bytes(Body::new(body), MOST).await.map_err(io::Error::other)?;
        let (call, fault) = self.decide(&head.method, &uri);
        let listing = call.is_listing();
        let Some(fault) = fault else { return Ok(whole(self.forward(&head, &uri, body).await?)) };
        match fault {
            Fault::Refuses(status, code) => Ok(error(StatusCode::from_u16(status).unwrap(), code)),
            Fault::ErrorBehindSuccess => Ok(error(StatusCode::OK, "InternalError")),
            Fault::Lies => Ok(Response::builder().header("etag", "\"0\"").body(Body::empty()).unwrap()),
            Fault::Closes => Err(io::ErrorKind::ConnectionReset.into()),
            Fault::CutsUpload => {
                self.half(&head, &uri, &body).await?;
                Err(io::ErrorKind::ConnectionReset.into())
            }
            Fault::AnswerLost => {
                self.forward(&head, &uri, body).await?;
                Err(io::ErrorKind::ConnectionReset.into())
            }
            Fault::Cut => {
                let answer = self.forward(&head, &uri, body).await?;
                Ok(if answer.body.is_empty() { whole(answer) } else { cut(answer) })
            }
            Fault::Short => {
                let mut answer = self.forward(&head, &uri, body).await?;
                if !answer.body.is_empty() {
                    answer.body.truncate(answer.body.len() / 2);
                    answer.headers.remove(CONTENT_LENGTH);
                }
                Ok(whole(answer))
            }
            Fault::Flips => {
                let mut answer = self.forward(&head, &uri, body).await?;
                answer.body = flipped(&answer.body);
                Ok(whole(answer))
            }
            Fault::Spoils => Ok(whole(self.forward(&head, &uri, flipped(&body)).await?)),
            Fault::Slow(time) => {
                let answer = self.forward(&head, &uri, body).await?;
                tokio::time::sleep(time).await;
                Ok(whole(answer))
            }
            Fault::Stalls => {
                tokio::time::sleep(FOR_EVER).await;
                Err(io::ErrorKind::TimedOut.into())
            }
            Fault::Repeats | Fault::Forgets if listing => {
                let mut answer = self.forward(&head, &uri, body).await?;
                let text = String::from_utf8(answer.body.to_vec()).unwrap();
                answer.body = changed(&text, fault == Fault::Repeats).into();
                answer.headers.remove(CONTENT_LENGTH);
                Ok(whole(answer))
            }
            Fault::Circles if listing => self.circle(&head, &uri, call.number).await,
            Fault::Repeats | Fault::Forgets | Fault::Circles => Ok(whole(self.forward(&head, &uri, body).await?)),
        }
    }

    fn decide(&self, method: &Method, uri: &str) -> (Call, Option<Fault>) {
        let mut rule = self.rule.lock().unwrap_or_else(PoisonError::into_inner);
        let call = Call { number: rule.1, method: method.clone(), uri: uri.to_owned() };
        let fault = (rule.0)(&call);
        rule.1 += 1;
        rule.2 += usize::from(fault.is_some());
        (call, fault)
    }

    async fn forward(&self, head: &hyper::http::request::Parts, uri: &str, body: Bytes) -> Result<Answer, io::Error> {
        let mut headers = head.headers.clone();
        headers.remove(TRANSFER_ENCODING);
        let request = self.client.request(head.method.clone(), format!("{}{uri}", self.upstream)).headers(headers);
        let request = if body.is_empty() && head.method != Method::PUT { request } else { request.body(body) };
        let answer = request.send().await.map_err(io::Error::other)?;
        let (status, mut headers) = (answer.status(), answer.headers().clone());
        headers.remove(TRANSFER_ENCODING);
        let body = answer.bytes().await.map_err(io::Error::other)?;
        Ok(Answer { status, headers, body })
    }

    /// Writes half of a request to the server, and ends the connection.
    async fn half(&self, head: &hyper::http::request::Parts, uri: &str, body: &Bytes) -> Result<(), io::Error> {
        let server = self.upstream.strip_prefix("http://").expect("no TLS between proxy and server");
        let mut stream = TcpStream::connect(server).await?;
        let mut text = format!("{} {uri} HTTP/1.1\r\n", head.method).into_bytes();
        for (name, value) in &head.headers {
            text.extend_from_slice(name.as_str().as_bytes());
            text.extend_from_slice(b": ");
            text.extend_from_slice(value.as_bytes());
            text.extend_from_slice(b"\r\n");
        }
        text.extend_from_slice(b"\r\n");
        text.extend_from_slice(&body[..body.len() / 2]);
        stream.write_all(&text).await?;
        stream.shutdown().await?;
        // what the server says to that is of no interest; that it has noticed is
        let _ = tokio::time::timeout(Duration::from_secs(2), stream.read_to_end(&mut Vec::new())).await;
        Ok(())
    }

    async fn circle(
        &self,
        head: &hyper::http::request::Parts,
        uri: &str,
        number: usize,
    ) -> Result<Response<Body>, io::Error> {
        if !uri.contains("continuation-token") {
            let answer = self.forward(head, uri, Bytes::new()).await?;
            *self.page.lock().unwrap() = answer.body;
        }
        let page = String::from_utf8(self.page.lock().unwrap().to_vec()).unwrap();
        let more = format!(
            "<IsTruncated>true</IsTruncated><NextContinuationToken>{}</NextContinuationToken>",
            if number.is_multiple_of(2) { "even" } else { "odd" }
        );
        let page = page.replace("<IsTruncated>false</IsTruncated>", &more);
        Ok(Response::builder().header(CONTENT_TYPE, "application/xml").body(Body::from(page)).unwrap())
    }
}

fn whole(answer: Answer) -> Response<Body> {
    respond(answer.status, answer.headers, Body::from(answer.body))
}

/// The length is that of the whole.
fn cut(answer: Answer) -> Response<Body> {
    let Answer { status, mut headers, body } = answer;
    headers.insert(CONTENT_LENGTH, body.len().into());
    let parts = [Ok(body.slice(..body.len() / 2)), Err(io::Error::from(io::ErrorKind::ConnectionReset))];
    respond(status, headers, Body::from_stream(futures::stream::iter(parts)))
}

fn respond(status: StatusCode, headers: HeaderMap, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

fn error(status: StatusCode, code: &str) -> Response<Body> {
    let text = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>made by a test</Message></Error>");
    Response::builder().status(status).header(CONTENT_TYPE, "application/xml").body(Body::from(text)).unwrap()
}

fn flipped(bytes: &Bytes) -> Bytes {
    let mut bytes = bytes.to_vec();
    let middle = bytes.len() / 2;
    if let Some(byte) = bytes.get_mut(middle) {
        *byte ^= 4;
    }
    bytes.into()
}

/// A listing that shows every object twice, or not the last one.
fn changed(page: &str, twice: bool) -> String {
    let (open, close) = ("<Contents>", "</Contents>");
    let (Some(first), Some(last)) = (page.find(open), page.rfind(close)) else { return page.to_owned() };
    let end = last + close.len();
    let objects = &page[first..end];
    if twice {
        return format!("{}{objects}{objects}{}", &page[..first], &page[end..]);
    }
    let kept = objects.rfind(open).map_or("", |begin| &objects[..begin]);
    format!("{}{kept}{}", &page[..first], &page[end..])
}
