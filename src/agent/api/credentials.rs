//! The agent's certificate, from files that change under it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::ServerConfig;

use crate::lifecycle::tls::{Identity, IdentityError};
use crate::pki::KeyPem;

#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    #[error("{path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{directory}: {source}")]
    Use { directory: PathBuf, source: IdentityError },
}

/// Reads `tls.crt`, `tls.key` and `ca.crt`: to serve with, and to ask other agents with.
pub fn identity(directory: &Path) -> Result<Identity, CredentialsError> {
    // a mounted Secret lies in memory, so that reading it does not wait for a disk
    let read = |name: &str| {
        let path = directory.join(name);
        std::fs::read_to_string(&path).map_err(|source| CredentialsError::Read { path, source })
    };
    Ok(Identity { certificate: read("tls.crt")?, key: KeyPem::new(read("tls.key")?), trusted: read("ca.crt")? })
}

/// What to serve with. Looked at when somebody comes, so that nothing runs while nobody does.
pub struct Credentials {
    directory: PathBuf,
    look: Duration,
    state: Mutex<State>,
}

struct State {
    looked: Instant,
    identity: Identity,
    config: Arc<ServerConfig>,
    /// What was said about newer files that are of no use, so that it is said once.
    said: Option<String>,
}

impl Credentials {
    pub fn load(directory: &Path, look: Duration) -> Result<Self, CredentialsError> {
        let identity = identity(directory)?;
        let config = usable(directory, &identity)?;
        let state = Mutex::new(State { looked: Instant::now(), identity, config, said: None });
        Ok(Self { directory: directory.to_owned(), look, state })
    }

    /// The newest that can be used. Files that cannot are told about, and those before them go on.
    pub fn current(&self) -> Arc<ServerConfig> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.looked.elapsed() >= self.look {
            state.looked = Instant::now();
            let newer = identity(&self.directory).and_then(|identity| {
                if identity == state.identity {
                    return Ok(None);
                }
                let config = usable(&self.directory, &identity)?;
                Ok(Some((identity, config)))
            });
            match newer {
                Ok(None) => state.said = None,
                Ok(Some((identity, config))) => {
                    tracing::info!("serving with the renewed certificate");
                    (state.identity, state.config, state.said) = (identity, config, None);
                }
                Err(error) => {
                    let error = error.to_string();
                    if state.said.as_ref() != Some(&error) {
                        tracing::warn!(error, "the renewed certificate cannot be used; the one before it goes on");
                        state.said = Some(error);
                    }
                }
            }
        }
        state.config.clone()
    }
}

fn usable(directory: &Path, identity: &Identity) -> Result<Arc<ServerConfig>, CredentialsError> {
    let config = identity.server();
    config.map(Arc::new).map_err(|source| CredentialsError::Use { directory: directory.to_owned(), source })
}
