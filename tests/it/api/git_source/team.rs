//! A team with a repository, a GitSource in its namespace, and a controller that looks after that namespace alone.

use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use midship::api::conditions::{Condition, find};
use midship::api::git_source::FileError;
use midship::api::{GitSource, Instance};
use serde_json::{Value, json};

use super::repository::{Repository, SshKey};
use crate::api::controller::process::Controller;
use crate::harness::{Scene, api_test, wait_for};

/// Deadline of what takes a second or two on a machine with nothing else to do.
pub const SOON: Duration = Duration::from_mins(1);

pub struct Team<'a> {
    pub scene: &'a Scene,
    pub repository: Repository,
    pub controller: Controller,
}

/// Runs `body` for a team whose repository has nothing but a README yet.
pub fn team_test(body: impl AsyncFnOnce(&mut Team<'_>)) {
    api_test(async |scene| team_on(scene, body).await);
}

/// The same on a server that is there already.
pub async fn team_on(scene: &Scene, body: impl AsyncFnOnce(&mut Team<'_>)) {
    let repository = Repository::new();
    repository.write("README.md", "Our middleware.\n");
    repository.commit("Begin");
    let controller = start(scene, &scene.kubeconfig());
    body(&mut Team { scene, repository, controller }).await;
}

fn start(scene: &Scene, kubeconfig: &Path) -> Controller {
    Controller::start("controller", kubeconfig, &arguments(scene))
}

fn arguments(scene: &Scene) -> [&str; 9] {
    let namespace = scene.namespace.as_str();
    [
        "--namespaces",
        namespace,
        "--lease-namespace",
        namespace,
        "--leader-elect=false",
        "--cluster-name",
        "test",
        "--webhook-address",
        "127.0.0.1:0",
    ]
}

impl Team<'_> {
    pub fn sources(&self) -> Api<GitSource> {
        self.scene.objects()
    }

    pub fn instances(&self) -> Api<Instance> {
        self.scene.objects()
    }

    /// Makes the GitSource, with these fields beside the usual ones.
    pub async fn follow(&self, more: Value) {
        let object = self.source_object(more);
        self.sources().create(&PostParams::default(), &object).await.expect("it can be made");
    }

    /// The GitSource as it is made.
    pub fn source_object(&self, more: Value) -> GitSource {
        let mut spec = json!({ "url": self.repository.url(), "ref": { "branch": "main" }, "interval": "1s" });
        spec.as_object_mut().expect("a mapping").extend(more.as_object().expect("a mapping").clone());
        let object = json!({ "apiVersion": "midship.dev/v1alpha1", "kind": "GitSource", "metadata": { "name": "main" }, "spec": spec });
        serde_json::from_value(object).expect("a source")
    }

    pub async fn patch_source(&self, patch: Value) {
        let patched = self.sources().patch("main", &PatchParams::default(), &Patch::Merge(&patch)).await;
        patched.expect("it can be patched");
    }

    /// Makes or replaces a Secret.
    pub async fn secret(&self, name: &str, entries: &[(&str, &str)]) {
        let values: serde_json::Map<String, Value> =
            entries.iter().map(|(key, value)| ((*key).to_owned(), Value::from(*value))).collect();
        let secret =
            json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name }, "stringData": values });
        let secrets: Api<Secret> = self.scene.objects();
        let parameters = PatchParams::apply("test").force();
        secrets.patch(name, &parameters, &Patch::Apply(&secret)).await.expect("a Secret can be made");
    }

    /// Makes or replaces the Secret `signers`, with one person in it.
    pub async fn trusts(&self, name: &str, key: &SshKey) {
        let line = format!("{name}@example.com {}", key.public());
        self.secret("signers", &[("allowed_signers", &line)]).await;
    }

    /// The errors in the status, each as `path:line:column code: message`.
    pub async fn errors(&self) -> Vec<String> {
        let errors = self.source().await.status.unwrap_or_default().errors;
        let place = |error: &FileError| match (error.line, error.column) {
            (Some(line), Some(column)) => format!("{}:{line}:{column}", error.path),
            _ => error.path.clone(),
        };
        errors.iter().map(|error| format!("{} {}: {}", place(error), error.code, error.message)).collect()
    }

    pub async fn source(&self) -> GitSource {
        self.sources().get("main").await.expect("it is there")
    }

    /// Waits until the source has looked at the newest commit and is ready for this reason; returns its message.
    pub async fn becomes(&self, reason: &str) -> String {
        let head = self.repository.head();
        wait_for(&format!("the source to be {reason} at {head}"), SOON, async || {
            let status = self.source().await.status.unwrap_or_default();
            let ready = find(&status.conditions, "Ready").cloned();
            match ready {
                Some(Condition { reason: found, message, .. })
                    if found == reason && status.fetched_commit.as_deref() == Some(&head) =>
                {
                    Ok(message)
                }
                _ => Err(format!("{status:#?}")),
            }
        })
        .await
    }

    /// Waits until the source is ready for this reason, whatever the commit; returns its message.
    pub async fn says(&self, reason: &str) -> String {
        wait_for(&format!("the source to say {reason}"), SOON, async || {
            let status = self.source().await.status.unwrap_or_default();
            let ready = find(&status.conditions, "Ready").filter(|ready| ready.reason == reason);
            ready.map(|ready| ready.message.clone()).ok_or_else(|| format!("{status:#?}"))
        })
        .await
    }

    /// The names and versions of all instances, sorted.
    pub async fn running(&self) -> Vec<String> {
        let list = self.instances().list(&kube::api::ListParams::default()).await.expect("they can be listed");
        let mut all: Vec<String> =
            list.items.iter().map(|one| format!("{} {}", one.name_any(), one.spec.version)).collect();
        all.sort();
        all
    }

    /// Waits until exactly these instances are there.
    pub async fn has(&self, expected: &[&str]) {
        wait_for(&format!("the instances to be {expected:?}"), SOON, async || {
            let found = self.running().await;
            if found == expected { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
    }

    /// Waits until the audit branch tells of the newest commit in so many commits in all, and the source of the last one.
    pub async fn recorded(&self, number: usize) -> Vec<String> {
        let head = self.repository.head();
        wait_for(&format!("{number} audit commits, the last of {head}"), SOON, async || {
            let audit = self.repository.audit();
            let told = audit.last().is_some_and(|last| last.contains(&format!("Midship-Commit: {head}")));
            if !told || audit.len() != number {
                return Err(format!("{audit:#?}"));
            }
            let tip = self.repository.git(&["rev-parse", "midship/audit/test"]);
            let known = self.source().await.status.unwrap_or_default().audit.unwrap_or_default();
            if known.commit.as_ref() == Some(&tip) {
                Ok(audit)
            } else {
                Err(format!("{tip} is there, {known:?} known"))
            }
        })
        .await
    }

    /// How many reconciles of sources the log tells of.
    pub fn polls(&self) -> usize {
        self.controller.log().iter().filter(|line| line["message"] == "looked").count()
    }

    pub fn start_again(&mut self) {
        self.start_behind(&self.scene.kubeconfig());
    }

    /// Another controller, for which this names the cluster.
    pub fn start_behind(&mut self, kubeconfig: &Path) {
        self.controller = start(self.scene, kubeconfig);
    }

    /// Another controller, whose copies of repositories have to fit onto a disk of this size.
    pub fn start_with_little_disk(&mut self, size: &str) {
        self.controller =
            Controller::start_on_little_disk("controller", &self.scene.kubeconfig(), &arguments(self.scene), size);
    }
}
