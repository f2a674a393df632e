//! The agents of all instances, as controllers see them: the authority that vouches for them, their certificates, and a
//! client for each. The authority is the Secret `midship-agents` in the controller's own namespace.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client as Kube};
use rustls::ClientConfig;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use crate::api::labels;
use crate::cluster::problem::Problem as ClusterProblem;
use crate::extension::context::AGENT_PORT;
use crate::extension::naming;
use crate::extension::secret::{SecretObject, SecretValue};
use crate::lifecycle::client::Address;
use crate::lifecycle::identity::agents_of;
use crate::lifecycle::tls::{Identity, IdentityError};
use crate::lifecycle::trust::{self, AUTHORITY, AUTHORITY_LIFETIME};
use crate::lifecycle::{Client, Problem};
use crate::pki::{Bundle, BundleParts, KeyPem, PkiError};

/// The Secret of the authority. Its `tls.crt` and `tls.key` are the controller's own, also for people who may read it.
pub const AUTHORITY_SECRET: &str = "midship-agents";

/// The authority is read anew after so long, so that somebody who replaced it is noticed.
const READ_AGAIN: Duration = Duration::from_mins(5);
const PATIENCE: Duration = Duration::from_secs(10);
/// Writers that get in each other's way try again.
const ATTEMPTS: u32 = 5;
/// Connections kept open, and for how long while nobody needs them.
const CONNECTIONS: usize = 128;
const UNUSED: Duration = Duration::from_mins(5);

/// Why agents cannot be reached or have no certificate.
#[derive(Debug, thiserror::Error)]
pub enum AgentsError {
    #[error("{0}")]
    Cluster(ClusterProblem),
    #[error(
        "Secret {namespace}/{AUTHORITY_SECRET} cannot be used: {reason}; restore it, or delete it: a new authority is made \
         then, and every agent is given a new certificate"
    )]
    Authority { namespace: String, reason: String },
    #[error("Secret {namespace}/{AUTHORITY_SECRET} changed each time it was to be written; this is tried again")]
    Contended { namespace: String },
    #[error("no certificate can be issued: {0}")]
    Issue(#[from] PkiError),
    #[error("the controller's certificate cannot be used: {0}")]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Client(#[from] Problem),
}

/// The certificate of an instance's agents, and when it has to be looked at again.
#[derive(Debug)]
pub struct AgentSecret {
    pub secret: SecretObject,
    /// Why it is another than what was held; nothing where it is the same.
    pub renewed: Option<String>,
    pub look_again: Timestamp,
}

/// One for all controllers.
pub struct Agents {
    secrets: Api<Secret>,
    namespace: String,
    known: Mutex<Option<Known>>,
    connections: Mutex<HashMap<Address, (Client, Instant)>>,
}

struct Known {
    bundle: Bundle,
    identity: Identity,
    tls: Arc<ClientConfig>,
    read: Instant,
    look_again: Timestamp,
}

impl Agents {
    /// `namespace` is the controller's own.
    pub fn new(client: Kube, namespace: &str) -> Self {
        Self {
            secrets: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
            known: Mutex::default(),
            connections: Mutex::default(),
        }
    }

    /// The Secret that the pods of an instance mount, given what it holds now. Applying it again and again changes nothing
    /// until it is due.
    pub async fn secret(
        &self,
        instance: &str,
        namespace: &str,
        held: Option<&BTreeMap<String, ByteString>>,
    ) -> Result<AgentSecret, AgentsError> {
        let held = held.and_then(identity_of);
        let wanted = trust::of_agents(instance, namespace);
        let kept = self.with(|known| trust::keep(held.as_ref(), &wanted, &known.bundle, Timestamp::now())).await??;
        let data = fields(&kept.identity).map(|(key, value)| (key.to_owned(), SecretValue::new(value)));
        let labels = [(labels::MANAGED_BY, labels::MANAGER), (labels::INSTANCE, instance)];
        let secret = SecretObject {
            name: naming::agent_tls(instance),
            namespace: namespace.to_owned(),
            labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            type_: "kubernetes.io/tls".to_owned(),
            data: data.into(),
        };
        Ok(AgentSecret { secret, renewed: kept.renewed, look_again: kept.look_again })
    }

    /// A client of the agent at `host`, a pod's address or name. Connecting begins with the first call.
    pub async fn client(&self, instance: &str, namespace: &str, host: &str) -> Result<Client, AgentsError> {
        let tls = self.with(|known| known.tls.clone()).await?;
        let address = Address { host: host.to_owned(), port: AGENT_PORT, name: agents_of(instance, namespace) };
        let mut connections = self.connections.lock().await;
        let now = Instant::now();
        connections.retain(|_, (_, used)| now.duration_since(*used) < UNUSED);
        if let Some((client, used)) = connections.get_mut(&address) {
            *used = now;
            return Ok(client.clone());
        }
        if connections.len() >= CONNECTIONS {
            let oldest = connections.iter().min_by_key(|(_, (_, used))| *used).map(|(address, _)| address.clone());
            oldest.and_then(|oldest| connections.remove(&oldest));
        }
        let client = Client::new(address.clone(), tls)?;
        connections.insert(address, (client.clone(), now));
        Ok(client)
    }

    /// Looks at the authority, which is read or made where it is not known or due.
    async fn with<T>(&self, look: impl FnOnce(&Known) -> T) -> Result<T, AgentsError> {
        let mut known = self.known.lock().await;
        let fresh = known
            .as_ref()
            .is_some_and(|known| known.read.elapsed() < READ_AGAIN && Timestamp::now() < known.look_again);
        if !fresh {
            let newer = self.load().await?;
            if known.as_ref().is_none_or(|known| known.identity != newer.identity) {
                // who was greeted with another certificate is greeted again
                self.connections.lock().await.clear();
            }
            *known = Some(newer);
        }
        known.as_ref().map(look).ok_or_else(|| self.broken("it was not read"))
    }

    async fn load(&self) -> Result<Known, AgentsError> {
        for _ in 0..ATTEMPTS {
            let found = self.asked(self.secrets.get_opt(AUTHORITY_SECRET)).await?;
            let now = Timestamp::now();
            let held = found.as_ref().and_then(|secret| secret.data.as_ref());
            let (mut bundle, made) = match held {
                Some(data) => (self.bundle_of(data)?, false),
                None => (Bundle::create(AUTHORITY, AUTHORITY_LIFETIME, now)?, true),
            };
            let (advanced, look_again) = bundle.advance(AUTHORITY, AUTHORITY_LIFETIME, now)?;
            let identity = held.and_then(identity_of);
            let kept = trust::keep(identity.as_ref(), &trust::of_controller(), &bundle, now)?;
            if (made || advanced || kept.renewed.is_some()) && !self.write(found, &bundle, &kept.identity).await? {
                continue;
            }
            if made {
                tracing::info!(
                    namespace = self.namespace,
                    secret = AUTHORITY_SECRET,
                    "made the authority of the agents"
                );
            } else if let Some(reason) = &kept.renewed {
                tracing::info!(reason, "renewed the controller's certificate for agents");
            }
            return Ok(Known {
                tls: Arc::new(kept.identity.client()?),
                identity: kept.identity,
                bundle,
                read: Instant::now(),
                look_again: look_again.min(kept.look_again),
            });
        }
        Err(AgentsError::Contended { namespace: self.namespace.clone() })
    }

    fn bundle_of(&self, data: &BTreeMap<String, ByteString>) -> Result<Bundle, AgentsError> {
        let field = |key: &str| text(data, key).ok_or_else(|| self.broken(&format!("it has no key {key}")));
        let next = text(data, "next.crt").zip(text(data, "next.key"));
        let parts = BundleParts {
            trusted: field("ca.crt")?,
            key: KeyPem::new(field("ca.key")?),
            next: next.map(|(certificate, key)| (certificate, KeyPem::new(key))),
        };
        Bundle::read(&parts).map_err(|error| self.broken(&error.to_string()))
    }

    fn broken(&self, reason: &str) -> AgentsError {
        AgentsError::Authority { namespace: self.namespace.clone(), reason: reason.to_owned() }
    }

    /// False where somebody else wrote in between: what they wrote is read then.
    async fn write(&self, found: Option<Secret>, bundle: &Bundle, own: &Identity) -> Result<bool, AgentsError> {
        let parts = bundle.parts();
        let mut data: BTreeMap<String, ByteString> =
            fields(own).map(|(key, value)| (key.to_owned(), bytes(&value))).into();
        data.insert("ca.crt".to_owned(), bytes(&parts.trusted));
        data.insert("ca.key".to_owned(), bytes(parts.key.expose()));
        if let Some((certificate, key)) = &parts.next {
            data.insert("next.crt".to_owned(), bytes(certificate));
            data.insert("next.key".to_owned(), bytes(key.expose()));
        }
        let how = PostParams { field_manager: Some(labels::MANAGER.to_owned()), ..PostParams::default() };
        let written = if let Some(mut secret) = found {
            // with the version that was read, so that nothing of another writer is lost
            secret.data = Some(data);
            timeout(PATIENCE, self.secrets.replace(AUTHORITY_SECRET, &how, &secret)).await
        } else {
            let labels = [(labels::MANAGED_BY.to_owned(), labels::MANAGER.to_owned())];
            let metadata = ObjectMeta {
                name: Some(AUTHORITY_SECRET.to_owned()),
                labels: Some(labels.into()),
                ..ObjectMeta::default()
            };
            let type_ = Some("kubernetes.io/tls".to_owned());
            let secret = Secret { metadata, type_, data: Some(data), ..Secret::default() };
            timeout(PATIENCE, self.secrets.create(&how, &secret)).await
        };
        match written {
            Ok(Ok(_)) => Ok(true),
            Ok(Err(kube::Error::Api(status))) if status.code == 409 => Ok(false),
            Ok(Err(error)) => Err(self.cluster(&error)),
            Err(_) => Err(self.silent()),
        }
    }

    async fn asked<T>(&self, question: impl Future<Output = Result<T, kube::Error>>) -> Result<T, AgentsError> {
        match timeout(PATIENCE, question).await {
            Ok(answer) => answer.map_err(|error| self.cluster(&error)),
            Err(_) => Err(self.silent()),
        }
    }

    fn cluster(&self, error: &kube::Error) -> AgentsError {
        AgentsError::Cluster(ClusterProblem::from_kube(error).at(format!("{}/{AUTHORITY_SECRET}", self.namespace)))
    }

    fn silent(&self) -> AgentsError {
        let what = format!("the API server did not answer within {} s", PATIENCE.as_secs());
        let problem = ClusterProblem::new(what, "check that it runs and can be reached; this is tried again");
        AgentsError::Cluster(problem.at(format!("{}/{AUTHORITY_SECRET}", self.namespace)))
    }
}

fn bytes(text: &str) -> ByteString {
    ByteString(text.as_bytes().to_vec())
}

fn text(data: &BTreeMap<String, ByteString>, key: &str) -> Option<String> {
    String::from_utf8(data.get(key)?.0.clone()).ok()
}

fn identity_of(data: &BTreeMap<String, ByteString>) -> Option<Identity> {
    let key = KeyPem::new(text(data, "tls.key")?);
    Some(Identity { certificate: text(data, "tls.crt")?, key, trusted: text(data, "ca.crt")? })
}

fn fields(identity: &Identity) -> [(&'static str, String); 3] {
    [
        ("tls.crt", identity.certificate.clone()),
        ("tls.key", identity.key.expose().to_owned()),
        ("ca.crt", identity.trusted.clone()),
    ]
}
