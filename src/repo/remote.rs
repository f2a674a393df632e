//! A remote repository: its address and how we get in.

use std::sync::{Arc, OnceLock};

use super::credentials::Access;
use super::error::RemoteError;
use super::http_client::HttpClient;
use super::url::RemoteUrl;

/// Where a repository is and how we get in. Cheap to clone; clones share kept connections.
#[derive(Clone, Debug)]
pub struct Remote {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    url: RemoteUrl,
    access: Access,
    http: OnceLock<HttpClient>,
}

impl Remote {
    pub fn new(url: RemoteUrl, access: Access) -> Self {
        Self { inner: Arc::new(Inner { url, access, http: OnceLock::new() }) }
    }

    pub fn url(&self) -> &RemoteUrl {
        &self.inner.url
    }

    pub fn access(&self) -> &Access {
        &self.inner.access
    }

    /// The name of the other side for messages.
    pub fn host(&self) -> String {
        self.url().host().map_or_else(|| self.url().to_string(), str::to_owned)
    }

    pub(super) fn http_client(&self) -> Result<HttpClient, RemoteError> {
        if let Some(client) = self.inner.http.get() {
            return Ok(client.clone());
        }
        let client = HttpClient::new(self.access())?;
        Ok(self.inner.http.get_or_init(|| client).clone())
    }
}
