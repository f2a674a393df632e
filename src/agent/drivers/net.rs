//! Connections: to the pod itself or to another host, in the clear or with TLS; and kept for the next step.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{self, AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::tls::{Tls, server_name};
use super::{DriverError, Session, Target};

/// The pod itself.
const HERE: &str = "127.0.0.1";

impl Target {
    pub fn host(&self) -> &str {
        self.host.as_deref().unwrap_or(HERE)
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let host = self.host();
        if host.contains(':') { write!(f, "[{host}]:{}", self.port) } else { write!(f, "{host}:{}", self.port) }
    }
}

/// A connection, whatever is below.
pub enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

pub async fn connect(target: &Target) -> Result<TcpStream, DriverError> {
    let stream = TcpStream::connect((target.host(), target.port))
        .await
        .map_err(|error| DriverError::new(format!("cannot connect to {target}: {error}")))?;
    // commands are short and wait for their answers
    stream.set_nodelay(true).map_err(|error| DriverError::new(format!("{target}: {error}")))?;
    Ok(stream)
}

pub async fn open(target: &Target, tls: Option<&Tls>) -> Result<Stream, DriverError> {
    let stream = connect(target).await?;
    let Some(tls) = tls else { return Ok(Stream::Plain(stream)) };
    let secured = tls.connector()?.connect(server_name(target.host()), stream).await;
    secured
        .map(|stream| Stream::Tls(Box::new(stream)))
        .map_err(|error| DriverError::new(format!("TLS with {target} failed: {error}")))
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// Whose connection it is: a session's, to a server, with what else distinguishes it.
type Owner = (Session, Target, String);

/// Connections that a session keeps to one server: as many as ask at once in quiet times.
const KEPT: usize = 2;

/// Connections that are not in use. Whoever takes one and does not put it back closes it.
pub struct Pool<C>(Mutex<BTreeMap<Owner, Vec<C>>>);

impl<C> Default for Pool<C> {
    fn default() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }
}

impl<C> Pool<C> {
    pub fn take(&self, session: &Session, target: &Target, what: &str) -> Option<C> {
        let owner = (session.clone(), target.clone(), what.to_owned());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&owner)?.pop()
    }

    pub fn put(&self, session: &Session, target: &Target, what: &str, connection: C) {
        let owner = (session.clone(), target.clone(), what.to_owned());
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = all.entry(owner).or_default();
        if kept.len() < KEPT {
            kept.push(connection);
        }
    }

    pub fn end(&self, session: &Session) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|(owner, ..), _| owner != session);
    }
}
