//! What all parts of the agent have in common.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Instant;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Client;
use serde_json::{Map, Value};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::disk::Disk;
use super::{Options, Place, ServeError};
use crate::agent::actions::{Actor, ActorSettings};
use crate::agent::init::protocol;
use crate::agent::pid1::Pid1;
use crate::agent::role;
use crate::agent::secrets::LastKnown;
use crate::lifecycle;

/// How a request for permission to start a process ends.
pub type Permission = oneshot::Sender<Result<(), String>>;

/// What happens, in the order in which it is heard of.
pub enum Input {
    Role(role::Event),
    /// PID 1 wants to start the process; the number tells requests apart.
    Permit {
        id: u64,
        answer: Permission,
    },
    /// It does not want to any more.
    PermitGone {
        id: u64,
    },
    /// The preparation of a start has ended.
    Prepared {
        id: u64,
        result: Result<bool, String>,
    },
    /// How PID 1 says the process is, asked when so many permissions had been asked for.
    Pid1 {
        status: Box<protocol::Status>,
        permits: u64,
    },
    /// PID 1 does not answer; whether nobody listens at all.
    Pid1Gone {
        nobody: bool,
    },
    Switchover {
        transfer: lifecycle::Transfer,
        answer: oneshot::Sender<Result<(), String>>,
    },
    /// The holder of the role asks for time.
    Plea {
        plea: lifecycle::Plea,
        answer: oneshot::Sender<Result<(), String>>,
    },
    /// The configuration is another one.
    Configured,
}

/// What the other parts found out about the pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Findings {
    /// As PID 1 says it; nothing where it does not answer.
    pub process: Option<protocol::Status>,
    pub role: Option<role::Observed>,
    pub role_since: Option<String>,
    /// How far it is behind whom it follows, where the package does not say.
    pub lag: Option<i64>,
    /// What the role's machine makes of it.
    pub summary: Option<role::Summary>,
    /// Why the last probe of readiness failed.
    pub not_ready: Option<String>,
    /// Revision of the configuration in effect.
    pub revision: Option<String>,
    /// Parameters that take effect with the next start.
    pub pending: Vec<String>,
    /// What is wrong with the configuration.
    pub config_error: Option<String>,
    /// How archiving the log goes.
    pub archive: Option<lifecycle::ArchiveStatus>,
    /// The restore without which the process may not start.
    pub waits_for_restore: Option<String>,
    /// How the data came to follow another pod when the process last started, and when that was.
    pub rejoined: Option<(String, String)>,
    /// Volumes that are nearly full, and how full each is at least; nothing until they were looked at.
    pub filling: Option<BTreeMap<String, i32>>,
    pub ended: bool,
}

pub struct Shared {
    pub options: Options,
    place: RwLock<(Arc<Place>, Arc<Actor>)>,
    pub pid1: Pid1,
    pub client: Client,
    pub disk: Disk,
    inbox: mpsc::UnboundedSender<Input>,
    pub findings: watch::Sender<Findings>,
    pub status: watch::Sender<Arc<lifecycle::Status>>,
    /// How often permission to start was asked for.
    permits: Mutex<u64>,
    stopping: watch::Sender<bool>,
    /// What is to be done before the process goes with its container is under way.
    pub parting: watch::Sender<bool>,
    /// The role is worth asking for now: something was done to it, or somebody wants to know.
    pub role_changed: Notify,
    /// When the question for the role was asked that was answered last.
    pub probed: watch::Sender<Option<tokio::time::Instant>>,
    /// Since when nobody has the role, as far as was seen: nothing is written from then on.
    pub vacant: watch::Sender<Option<tokio::time::Instant>>,
    /// Connections to the other agents, so that asking them needs no new one each time.
    pub peers: Mutex<HashMap<String, (lifecycle::Client, Instant)>>,
    /// What servers were logged in to with last.
    known: Arc<LastKnown>,
    /// Who owns this pod, once that is known.
    pub owners: OnceLock<Vec<OwnerReference>>,
}

impl Shared {
    pub async fn new(options: Options, inbox: mpsc::UnboundedSender<Input>) -> Result<Self, ServeError> {
        let place = Arc::new(Place::find(&options.config)?);
        let known = Arc::default();
        let actor = Arc::new(actor(&options, &place, &known));
        let client = client(&options).await?;
        let status = lifecycle::Status::default();
        Ok(Self {
            pid1: Pid1::new(&options.control),
            options,
            place: RwLock::new((place, actor)),
            client,
            disk: Disk::new().map_err(ServeError::Start)?,
            inbox,
            findings: watch::channel(Findings::default()).0,
            status: watch::channel(Arc::new(status)).0,
            known,
            permits: Mutex::new(0),
            stopping: watch::channel(false).0,
            parting: watch::channel(false).0,
            role_changed: Notify::new(),
            probed: watch::channel(None).0,
            vacant: watch::channel(None).0,
            peers: Mutex::default(),
            owners: OnceLock::new(),
        })
    }

    pub fn tell(&self, input: Input) {
        // nobody listens only once the agent ends
        let _ = self.inbox.send(input);
    }

    pub fn place(&self) -> Arc<Place> {
        Arc::clone(&self.place.read().unwrap_or_else(PoisonError::into_inner).0)
    }

    pub fn actor(&self) -> Arc<Actor> {
        Arc::clone(&self.place.read().unwrap_or_else(PoisonError::into_inner).1)
    }

    pub fn move_to(&self, place: Place) {
        let actor = Arc::new(actor(&self.options, &place, &self.known));
        *self.place.write().unwrap_or_else(PoisonError::into_inner) = (Arc::new(place), actor);
        self.tell(Input::Configured);
    }

    /// The number of a new request for permission.
    pub fn next_permit(&self) -> u64 {
        let mut permits = self.permits.lock().unwrap_or_else(PoisonError::into_inner);
        *permits += 1;
        *permits
    }

    pub fn permits(&self) -> u64 {
        *self.permits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what was found out; tells others only if it is news.
    pub fn find(&self, change: impl FnOnce(&mut Findings)) {
        self.findings.send_if_modified(|findings| {
            let before = findings.clone();
            change(findings);
            *findings != before
        });
    }

    pub fn stop(&self) {
        self.stopping.send_replace(true);
        self.tell(Input::Role(role::Event::Stop));
    }

    pub fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    pub fn say_goodbye(&self) {
        self.find(|findings| findings.ended = true);
    }

    /// What actions can read, as things are now.
    pub fn extras(&self) -> Map<String, Value> {
        let findings = self.findings.borrow().clone();
        let summary = findings.summary.as_ref();
        let role = findings.role.as_ref().map(|observed| observed.role.as_str());
        let primary = summary.and_then(|summary| summary.holder.as_deref());
        self.place().extras(role, summary.is_some_and(|summary| summary.holds), primary)
    }
}

fn actor(options: &Options, place: &Place, known: &Arc<LastKnown>) -> Actor {
    Actor::new(ActorSettings {
        config: Arc::clone(&place.config),
        control: options.control.clone(),
        secrets: options.secrets.clone(),
        known: known.clone(),
        tls: options.tls.clone(),
        facts: place.facts.clone(),
    })
}

async fn client(options: &Options) -> Result<Client, ServeError> {
    let failed = |error: &dyn std::fmt::Display| ServeError::Kubernetes(error.to_string());
    let mut config = match &options.kubeconfig {
        None => kube::Config::incluster().map_err(|error| failed(&error))?,
        Some(path) => {
            let kubeconfig = kube::config::Kubeconfig::read_from(path).map_err(|error| failed(&error))?;
            kube::Config::from_custom_kubeconfig(kubeconfig, &kube::config::KubeConfigOptions::default())
                .await
                .map_err(|error| failed(&error))?
        }
    };
    config.connect_timeout = Some(std::time::Duration::from_secs(3));
    Client::try_from(config).map_err(|error| failed(&error))
}
