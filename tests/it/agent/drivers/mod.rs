//! Drivers as packages use them, through operations: against a real PID 1 and small servers of our own.

mod container;
mod servers;

use std::path::Path;
use std::sync::Arc;

use midship::agent::actions::{Actor, ActorSettings, Extras};
use midship::agent::facts::PodFacts;
use midship::extension::agent::AgentConfig;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

/// An actor, and the place where its secrets and certificates lie.
pub struct Stage {
    pub actor: Actor,
    pub dir: TempDir,
}

impl Stage {
    /// With these fields of the configuration besides the usual.
    pub fn new(control: &Path, fields: Value) -> Self {
        let mut config = json!({
            "instance": "shop", "namespace": "team", "component": "db", "group": "default", "port": 7440,
            "ports": {}, "tls": false, "login": true, "failover": false, "context": {},
        });
        let (Value::Object(map), Value::Object(fields)) = (&mut config, fields) else { panic!("objects") };
        map.extend(fields);
        let config: AgentConfig = serde_json::from_value(config).unwrap();
        let dir = tempfile::tempdir().unwrap();
        for (name, value) in [("username", "admin"), ("password", "hunter2-hunter2")] {
            std::fs::write(dir.path().join(name), value).unwrap();
        }
        let facts = PodFacts::new(&config, |name| (name == "MIDSHIP_POD").then(|| "shop-db-0".to_owned()));
        let actor = Actor::new(ActorSettings {
            config: Arc::new(config),
            control: control.to_owned(),
            secrets: dir.path().to_owned(),
            known: Arc::default(),
            tls: dir.path().join("tls"),
            facts,
        });
        Self { actor, dir }
    }

    /// One with a server at this port, and an operation `try` of one step.
    pub fn with_step(control: &Path, port: u16, step: Value) -> Self {
        Self::new(control, operation(port, step))
    }

    /// What the step answered.
    pub async fn ask(&self) -> Result<Value, String> {
        let answer = self.actor.operation("try", Map::new(), Extras::new()).await;
        answer.map(|answer| answer["reply"].clone()).map_err(|error| error.to_string())
    }
}

/// An authority in the stage's place for certificates; a server's certificate for another name than it is reached by,
/// and its key.
pub fn certificates(stage: &Stage) -> (String, String) {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().unwrap();
    let authority_certificate = authority.self_signed(&authority_key).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["somewhere.else".to_owned()])
        .unwrap()
        .signed_by(&key, &Issuer::new(authority, authority_key))
        .unwrap();
    let dir = stage.dir.path().join("tls");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("ca.crt"), authority_certificate.pem()).unwrap();
    (certificate.pem(), key.serialize_pem())
}

/// The fields of a configuration with an operation `try`.
pub fn operation(port: u16, step: Value) -> Value {
    json!({ "clientPort": port, "ports": { "client": port },
        "operations": { "try": { "timeout": "20s", "steps": [step], "result": { "reply": "reply" } } } })
}
