//! The drivers of a real pod.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::time::Instant;

use super::net::Pool;
use super::tls::Tls;
use super::{Answer, Call, DriverError, Drivers, Session, container, file, http, postgres, resp, tcp};
use crate::agent::pid1::Pid1;
use crate::agent::secrets::{LastKnown, Secrets};
use crate::extension::agent::AgentConfig;

pub struct Live {
    pid1: Pid1,
    secrets: PathBuf,
    known: Arc<LastKnown>,
    tls: Option<Tls>,
    places: file::Places,
    resp: Pool<resp::Connection>,
    postgres: Pool<tokio_postgres::Client>,
    http: Mutex<Option<reqwest::Client>>,
}

impl Live {
    pub fn new(config: &AgentConfig, control: &Path, secrets: &Path, known: Arc<LastKnown>, tls: &Path) -> Self {
        let asked_for = config.context["tls"]["client_certificates"].as_str().unwrap_or("none");
        let tls = config.tls.then(|| Tls { dir: tls.to_owned(), client_certificate: asked_for != "none" });
        Self {
            pid1: Pid1::new(control),
            secrets: secrets.to_owned(),
            known,
            tls,
            places: file::Places::of(config),
            resp: Pool::default(),
            postgres: Pool::default(),
            http: Mutex::new(None),
        }
    }

    /// Without TLS one client does for all; with it, certificates may have been renewed.
    fn http(&self, secure: bool) -> Result<reqwest::Client, DriverError> {
        if secure {
            return http::client(self.tls.as_ref());
        }
        let mut client = self.http.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if client.is_none() {
            *client = Some(http::client(None)?);
        }
        client.clone().ok_or_else(|| DriverError::new("cannot make requests"))
    }

    async fn answer(&self, session: &Session, call: Call, deadline: Instant) -> Answer {
        let secrets = || Secrets::read(&self.secrets).map_err(|error| DriverError::new(error.to_string()));
        let tls = self.tls.as_ref();
        match call {
            Call::Exec(call) => container::exec(&self.pid1, call, deadline).await,
            Call::Signal(name) => container::signal(&self.pid1, &name, deadline).await,
            Call::Process(what) => container::process(&self.pid1, what, deadline).await,
            Call::File(call) => {
                let places = self.places.clone();
                let done = tokio::task::spawn_blocking(move || file::call(&call, &places)).await;
                done.map_err(|error| DriverError::new(error.to_string()))?
            }
            Call::Tcp(call) => tcp::call(&call, tls.filter(|_| call.secure)).await,
            Call::Http(call) => http::call(&self.http(call.secure)?, call, &secrets()?, deadline).await,
            Call::Resp(call) => resp::call(&self.resp, session, call, tls, &secrets()?, &self.known).await,
            Call::Postgres(call) => postgres::call(&self.postgres, session, call, tls, &secrets()?, &self.known).await,
        }
    }
}

impl Drivers for Live {
    fn call<'a>(&'a self, session: &'a Session, call: Call, deadline: Instant) -> BoxFuture<'a, Answer> {
        // whoever calls keeps the time, and tells better what took too long
        self.answer(session, call, deadline).boxed()
    }

    fn end(&self, session: &Session) {
        self.resp.end(session);
        self.postgres.end(session);
    }
}
