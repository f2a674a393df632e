//! The ways to a Git server: HTTPS with our own client, SSH and local repositories as child processes.

mod http;
mod process;
mod ssh;
#[cfg(test)]
mod tls_tests;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use gix_transport::client::blocking_io::Transport;
use gix_transport::{Protocol, Service};

use super::bounds::Bounds;
use super::error::RemoteError;
use super::remote::Remote;
use super::url::RemoteUrl;

/// A connection whose two ends are ours.
pub(super) type BoxedTransport = Box<dyn Transport + Send>;

/// What every transport of one operation shares: its limits, and the true reason of a failure, which
/// the layers above would otherwise wrap and lose.
#[derive(Clone)]
pub(super) struct Wire {
    pub bounds: Bounds,
    state: Arc<WireState>,
}

struct WireState {
    received: AtomicU64,
    failure: Mutex<Option<RemoteError>>,
}

impl Wire {
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, state: Arc::new(WireState { received: AtomicU64::new(0), failure: Mutex::new(None) }) }
    }

    /// Bytes received so far.
    pub fn received(&self) -> u64 {
        self.state.received.load(Ordering::Relaxed)
    }

    /// Counts received bytes and fails once there are more than allowed.
    fn count(&self, bytes: usize) -> std::io::Result<()> {
        let before = self.state.received.fetch_add(bytes as u64, Ordering::Relaxed);
        if before + bytes as u64 > self.bounds.pack_bytes {
            return Err(self.fail(RemoteError::TooLarge {
                what: "what the server sends",
                setting: "spec.limits.fetchSize",
                limit: self.bounds.pack_bytes,
            }));
        }
        Ok(())
    }

    /// Fails when the time is over.
    fn check(&self) -> std::io::Result<()> {
        self.bounds.check().map_err(|error| self.fail(error))
    }

    /// Keeps the reason (the first one is the true one) and gives an error to hand upwards.
    fn fail(&self, error: RemoteError) -> std::io::Error {
        let text = error.to_string();
        self.lock().get_or_insert(error);
        std::io::Error::other(text)
    }

    /// The reason kept by [`Self::fail`], once.
    pub fn take_failure(&self) -> Option<RemoteError> {
        self.lock().take()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<RemoteError>> {
        self.state.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens the way to `remote` for one service.
pub(super) fn connect(remote: &Remote, service: Service, wire: &Wire) -> Result<BoxedTransport, RemoteError> {
    match remote.url() {
        RemoteUrl::Http { .. } => http::connect(remote, version(service), wire),
        RemoteUrl::Ssh { user, host, port, path } => ssh::connect(remote, user, host, *port, path, service, wire),
        RemoteUrl::File(path) => process::connect_local(path, service, wire),
    }
}

/// Pushing knows no second version of the protocol.
fn version(service: Service) -> Protocol {
    match service {
        Service::UploadPack => Protocol::V2,
        Service::ReceivePack => Protocol::V1,
    }
}
