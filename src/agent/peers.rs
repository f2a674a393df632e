//! How the other pods of the instance are: asked of their agents, with this agent's own certificate.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::ClientConfig;

use super::api::identity;
use crate::lifecycle::client::Address;
use crate::lifecycle::tls::Identity;
use crate::lifecycle::{Client, Code, Problem, Status};

/// Certificates are looked at when somebody is asked, at most so often.
const LOOK: Duration = Duration::from_secs(5);
/// Connections that are kept; an instance with more pods connects anew.
const CONNECTIONS: usize = 32;

/// Asks siblings. Connections are kept, and made anew when certificates change.
pub struct Peers {
    certificates: PathBuf,
    /// The name in the certificates of this instance's agents.
    own_name: String,
    port: u16,
    state: Mutex<Option<State>>,
}

struct State {
    looked: Instant,
    identity: Identity,
    tls: Arc<ClientConfig>,
    clients: HashMap<String, Client>,
}

impl Peers {
    pub fn new(certificates: PathBuf, own_name: String, port: u16) -> Self {
        Self { certificates, own_name, port, state: Mutex::default() }
    }

    /// How the pod at `host`, a name or address, says it is.
    pub async fn status(&self, host: &str, within: Duration) -> Result<Status, Problem> {
        self.client(host)?.status(within).await
    }

    fn client(&self, host: &str) -> Result<Client, Problem> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.as_ref().is_none_or(|state| state.looked.elapsed() >= LOOK) {
            match (self.load(), state.as_mut()) {
                (Ok(newer), Some(known)) if newer.identity == known.identity => known.looked = newer.looked,
                (Ok(newer), _) => *state = Some(newer),
                // half-written files: those before them go on
                (Err(problem), Some(known)) => {
                    tracing::warn!(%problem, "the renewed certificate cannot be used; the one before it goes on");
                    known.looked = Instant::now();
                }
                (Err(problem), None) => return Err(problem),
            }
        }
        let state = state.as_mut().ok_or_else(|| Problem::new(Code::Unavailable, "there is no certificate"))?;
        if let Some(client) = state.clients.get(host) {
            return Ok(client.clone());
        }
        if state.clients.len() >= CONNECTIONS {
            state.clients.clear();
        }
        let address = Address { host: host.to_owned(), port: self.port, name: self.own_name.clone() };
        let client = Client::new(address, state.tls.clone())?;
        state.clients.insert(host.to_owned(), client.clone());
        Ok(client)
    }

    fn load(&self) -> Result<State, Problem> {
        let unusable = |error: String| Problem::new(Code::Unavailable, format!("no other agent can be asked: {error}"));
        let identity = identity(&self.certificates).map_err(|error| unusable(error.to_string()))?;
        let tls = identity.client().map_err(|error| unusable(error.to_string()))?;
        Ok(State { looked: Instant::now(), identity, tls: Arc::new(tls), clients: HashMap::new() })
    }
}
