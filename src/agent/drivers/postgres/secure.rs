//! TLS below the postgres protocol.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};
use tokio_postgres::{CancelToken, Client, Config};
use tokio_rustls::TlsConnector;

use super::Connection;
use crate::agent::drivers::net::{self, Stream};
use crate::agent::drivers::tls::{Tls, server_name};
use crate::agent::drivers::{DriverError, Target};

/// Makes a connection secure, or leaves it as it is.
struct Handshake {
    host: String,
    connector: Option<TlsConnector>,
}

/// A connection after the handshake.
pub struct Secured(Stream);

impl Handshake {
    fn new(target: &Target, tls: Option<&Tls>) -> Result<Self, DriverError> {
        let connector = tls.map(Tls::connector).transpose()?;
        Ok(Self { host: target.host().to_owned(), connector })
    }
}

pub async fn connect(
    config: &Config,
    stream: TcpStream,
    target: &Target,
    tls: Option<&Tls>,
) -> Result<(Client, Connection), ConnectError> {
    let mut config = config.clone();
    config.ssl_mode(if tls.is_some() { SslMode::Require } else { SslMode::Disable });
    Ok(config.connect_raw(stream, Handshake::new(target, tls)?).await?)
}

pub async fn cancel(token: CancelToken, target: &Target, tls: Option<&Tls>) -> Result<(), ConnectError> {
    let stream = net::connect(target).await?;
    Ok(token.cancel_query_raw(stream, Handshake::new(target, tls)?).await?)
}

#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error(transparent)]
    Driver(#[from] DriverError),
    #[error(transparent)]
    Server(#[from] tokio_postgres::Error),
}

impl TlsConnect<TcpStream> for Handshake {
    type Stream = Secured;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Secured>>;

    fn connect(self, stream: TcpStream) -> Self::Future {
        Box::pin(async move {
            let Some(connector) = self.connector else { return Ok(Secured(Stream::Plain(stream))) };
            let stream = connector.connect(server_name(&self.host), stream).await?;
            Ok(Secured(Stream::Tls(Box::new(stream))))
        })
    }
}

impl TlsStream for Secured {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for Secured {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Secured {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
