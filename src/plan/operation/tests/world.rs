//! A small world: an instance with pods, agents that remember keys, and a controller that can be killed at any point.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::api::operation::{OperationPhase, OperationStatus};
use crate::api::{API_VERSION, Instance, Operation};
use crate::extension::{Package, PackageFiles};
use crate::plan::operation::{Decision, Outcome, Pod, Run, World, ended, is_finished, key, next};

pub struct Scene {
    pub operation: Operation,
    /// As the API server has it.
    pub status: OperationStatus,
    pub instance: Option<Instance>,
    pub pods: Vec<Pod>,
    pub package: Option<Arc<Package>>,
    pub ahead: Option<String>,
    pub now: Timestamp,
    /// What agents did, by key.
    pub did: BTreeMap<String, Outcome>,
    /// What was done, in order: the name of the step, for each time it was really done.
    pub log: Vec<String>,
    /// Steps that fail so many times.
    pub fails: BTreeMap<String, usize>,
    /// What they say then.
    pub failure: String,
}

pub fn pod(name: &str, ordinal: u16, role: &str) -> Pod {
    Pod {
        name: name.to_owned(),
        component: "server".to_owned(),
        group: "default".to_owned(),
        ordinal,
        role: Some(role.to_owned()),
        rank: if role == "primary" { 2 } else { 1 },
        leads: role == "primary",
        ready: true,
        follows: role != "primary",
        config: None,
        pending_restart: false,
    }
}

pub fn begin() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().expect("a time")
}

impl Scene {
    /// With the package of this manifest.
    pub fn with_package(mut self, manifest: &str) -> Self {
        let files = [("extension.yaml".to_owned(), manifest.as_bytes().to_vec())];
        let package = Package::load(PackageFiles::new(files).expect("plain files"));
        self.package = Some(Arc::new(package.unwrap_or_else(|problems| panic!("{problems}"))));
        self
    }

    /// An operation on an instance with a primary and two replicas.
    pub fn new(mut spec: Value) -> Self {
        spec["instance"] = json!("cache");
        let operation = json!({
            "apiVersion": API_VERSION, "kind": "Operation",
            "metadata": { "name": "op", "namespace": "shop", "uid": "op-uid", "creationTimestamp": begin().to_string() },
            "spec": spec,
        });
        let instance = json!({
            "apiVersion": API_VERSION, "kind": "Instance",
            "metadata": { "name": "cache", "namespace": "shop", "generation": 1 },
            "spec": { "type": "made-up", "extensionVersion": "1.0.0", "version": "1",
                "components": [{ "name": "server", "replicas": 3 }] },
            "status": {
                "observedGeneration": 1, "phase": "Running",
                "resolved": { "components": { "server": {} } },
                "conditions": [{ "type": "Ready", "status": "True", "reason": "Running", "message": "3 of 3 pods are ready",
                    "lastTransitionTime": begin().to_string() }],
            },
        });
        Self {
            operation: serde_json::from_value(operation).expect("an operation"),
            status: OperationStatus::default(),
            instance: Some(serde_json::from_value(instance).expect("an instance")),
            pods: vec![pod("a-0", 0, "primary"), pod("a-1", 1, "replica"), pod("a-2", 2, "replica")],
            package: None,
            ahead: None,
            now: begin(),
            did: BTreeMap::new(),
            log: Vec::new(),
            fails: BTreeMap::new(),
            failure: "it broke".to_owned(),
        }
    }

    fn world<'a>(&'a self, status: &'a OperationStatus) -> World<'a> {
        World {
            operation: &self.operation,
            status,
            instance: self.instance.as_ref(),
            pods: self.pods.clone(),
            package: self.package.clone(),
            ahead: self.ahead.clone(),
            now: self.now,
        }
    }

    pub fn seen(&self) -> World<'_> {
        self.world(&self.status)
    }

    pub fn next(&self) -> Decision {
        next(&self.world(&self.status))
    }

    pub fn ended(&self, status: &OperationStatus, run: &Run, outcome: Outcome) -> OperationStatus {
        ended(&self.world(status), status, run, outcome)
    }

    /// What agents and the API server do, once for each key.
    pub fn act(&mut self, run: &Run) -> Outcome {
        let key = key("op-uid", run.index, run.attempt, run.planned.deed.pod().unwrap_or_default());
        if let Some(known) = self.did.get(&key) {
            return known.clone();
        }
        let name = run.planned.name.clone();
        self.log.push(name.clone());
        let outcome = match self.fails.get_mut(&name).filter(|left| **left > 0) {
            Some(left) => {
                *left -= 1;
                Outcome::Failed { message: self.failure.clone(), refused: false }
            }
            None => Outcome::Done(None),
        };
        self.did.insert(key, outcome.clone());
        outcome
    }

    /// One look of a controller that `dies` may end at any of its points. False where there is nothing left to do.
    pub fn look(&mut self, mut dies: impl FnMut() -> bool) -> bool {
        let decision = self.next();
        if dies() {
            return true;
        }
        self.status = decision.status.clone();
        if is_finished(&self.status) {
            return false;
        }
        if dies() {
            return true;
        }
        let mut after = decision.status.clone();
        for run in &decision.run {
            let outcome = self.act(run);
            if dies() {
                return true;
            }
            after = self.ended(&after, run, outcome);
        }
        if dies() {
            return true;
        }
        self.status = after;
        if decision.run.is_empty() {
            let at = decision.again.unwrap_or(self.now).max(self.now + SignedDuration::from_millis(100));
            self.now = at.min(self.now + SignedDuration::from_mins(10));
        } else {
            self.now += SignedDuration::from_secs(1);
        }
        true
    }

    /// To its end, or until it waits for somebody.
    pub fn run(&mut self) -> OperationPhase {
        for _ in 0..1000 {
            if !self.look(|| false) {
                break;
            }
            if self.status.phase == Some(OperationPhase::Paused) {
                break;
            }
        }
        self.status.phase.expect("a phase")
    }

    /// How many processes were stopped.
    pub fn stops(&self) -> usize {
        self.log.iter().filter(|step| step.starts_with("stop ")).count()
    }

    pub fn message(&self) -> &str {
        self.status.message.as_deref().unwrap_or_default()
    }
}
