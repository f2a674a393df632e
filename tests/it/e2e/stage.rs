//! A stage for real middleware: a package under a type of its own, a controller for one namespace, and what tests ask.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Resource, ResourceExt};
use midship::api::instance::Phase;
use midship::api::operation::{OperationPhase, OperationStatus};
use midship::api::pod_report::PodReport;
use midship::api::{Extension, Instance, InstanceStatus, Operation};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::images;
use crate::api::controller::process::Controller;
use crate::harness::{Output, Run, Scene, e2e_test, install_definitions, midship, wait_for};

/// Deadline of what needs volumes, images and a few pods on a busy machine.
pub const IN_TIME: Duration = Duration::from_mins(8);

/// How long a primary may be silent where nobody is to take its place: pods share a machine with compilers.
pub const PATIENT: &str = "20s";

/// The name of the one instance.
pub const NAME: &str = "shop";

pub struct Stage<'a> {
    pub scene: &'a Scene,
    pub type_: String,
    version: String,
    /// The image of Midship, which agents are copied from.
    pub agent: String,
    package: TempDir,
    controller: RefCell<Option<Controller>>,
}

/// What identifies a pod and its container, so that it shows whether either was made anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub pod: String,
    pub container: String,
}

/// Runs `body` with a package of this repository installed under a type nobody else has.
pub fn stage_test(package: &str, image: &str, body: impl AsyncFnOnce(&mut Stage<'_>)) {
    package_test(&root().join("extensions").join(package), image, body);
}

/// The same with a package from anywhere.
pub fn package_test(package: &Path, image: &str, body: impl AsyncFnOnce(&mut Stage<'_>)) {
    e2e_test(async |scene| {
        let mut stage = Stage::set(scene, package, image).await;
        stage.start_controller();
        stage.install();
        body(&mut stage).await;
        stage.clear().await;
    });
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A package with another type, without the cases that name it and the versions before it, which nobody installs; its
/// version.
fn copy(from: &Path, to: &Path, type_: &str) -> Option<String> {
    let mut version = None;
    for entry in fs::read_dir(from).expect("a package") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name");
        if path.is_dir() {
            if name != "tests" {
                fs::create_dir(to.join(name)).expect("a folder");
                copy(&path, &to.join(name), type_);
            }
        } else if name == "extension.yaml" {
            let text = fs::read_to_string(&path).expect("a manifest");
            version = text.lines().find_map(|line| line.strip_prefix("version: ")).map(str::to_owned);
            let lines = text
                .lines()
                .filter(|line| !line.starts_with("upgradableFrom"))
                .map(|line| if line.starts_with("type:") { format!("type: {type_}\n") } else { format!("{line}\n") });
            fs::write(to.join(name), lines.collect::<String>()).expect("it can be written");
        } else {
            fs::copy(&path, to.join(name)).expect("it can be copied");
        }
    }
    version
}

impl<'a> Stage<'a> {
    /// With nobody at work yet, and the package still to be installed.
    pub async fn set(scene: &'a Scene, package: &Path, image: &str) -> Self {
        install_definitions(&scene.client).await;
        let agent = images::load("midship");
        images::load(image);
        let type_ = format!("t{}", scene.namespace.rsplit('-').next().expect("it ends in letters of its own"));
        let folder = tempfile::tempdir().expect("a folder");
        let version = copy(package, folder.path(), &type_).expect("a manifest says its version");
        Self { scene, type_, version, agent, package: folder, controller: RefCell::default() }
    }

    /// Installs the package, and waits until a controller has accepted it.
    pub fn install(&self) {
        let install = midship().env("KUBECONFIG", self.scene.kubeconfig()).args(["extension", "install"]);
        let patience = IN_TIME.as_secs().to_string();
        let install = install.arg(self.package.path());
        install.args(["--installed-in", &self.scene.namespace, "--timeout", &patience]).stdout();
    }

    /// As if its node had died.
    pub fn kill_controller(&self) {
        drop(self.controller.take());
    }

    /// In place of the one there was.
    pub fn start_controller(&self) {
        self.start_controller_with(&self.agent);
    }

    /// One as of another release, which brings another agent.
    pub fn start_controller_with(&self, agent: &str) {
        let namespace = self.scene.namespace.as_str();
        let args =
            ["--namespaces", namespace, "--lease-namespace", namespace, "--leader-elect=false", "--agent-image", agent];
        self.controller.replace(Some(Controller::start("controller", &self.scene.kubeconfig(), &args)));
    }

    pub async fn create(&self, spec: Value) {
        let mut spec = spec;
        spec["type"] = json!(self.type_);
        spec["extensionVersion"] = json!(self.version);
        self.make::<Instance>(json!({ "kind": "Instance", "metadata": { "name": NAME }, "spec": spec })).await;
    }

    /// Makes an object of ours.
    pub async fn make<K>(&self, object: Value) -> K
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Serialize + std::fmt::Debug,
        K::DynamicType: Default,
    {
        let mut object = object;
        if object["apiVersion"].is_null() {
            object["apiVersion"] = json!("midship.dev/v1alpha1");
        }
        let object: K = serde_json::from_value(object).expect("an object");
        self.scene.objects::<K>().create(&PostParams::default(), &object).await.expect("it can be made")
    }

    pub fn instances(&self) -> Api<Instance> {
        self.scene.objects()
    }

    pub async fn instance(&self) -> Instance {
        self.instances().get(NAME).await.expect("the instance")
    }

    /// Waits until all its pods serve as was asked for last, with a primary; returns what it says.
    pub async fn runs(&self) -> InstanceStatus {
        self.is(Phase::Running, |status| status.primary.is_some()).await
    }

    pub async fn is(&self, phase: Phase, holds: impl Fn(&InstanceStatus) -> bool) -> InstanceStatus {
        self.one_is(NAME, phase, holds).await
    }

    /// The same of any instance.
    pub async fn one_is(&self, name: &str, phase: Phase, holds: impl Fn(&InstanceStatus) -> bool) -> InstanceStatus {
        wait_for(&format!("{name} to be {phase:?}"), IN_TIME, async || {
            let instance = self.instances().get(name).await.map_err(|error| error.to_string())?;
            let generation = instance.metadata.generation;
            let status = instance.status.unwrap_or_default();
            let ready = status.conditions.iter().any(|one| one.type_ == "Ready" && one.status == condition_true());
            let current = status.observed_generation == generation && status.phase == Some(phase) && ready;
            if current && holds(&status) { Ok(status) } else { Err(format!("{status:?}")) }
        })
        .await
    }

    pub async fn primary(&self) -> String {
        self.runs().await.primary.expect("there is one")
    }

    pub async fn pods(&self) -> Vec<Pod> {
        let mine = ListParams::default().labels(&format!("midship.dev/instance={NAME}"));
        self.scene.objects::<Pod>().list(&mine).await.expect("pods can be listed").items
    }

    /// Which pod and container each name has.
    pub async fn identities(&self, container: &str) -> BTreeMap<String, Identity> {
        let pods = self.pods().await;
        pods.iter()
            .map(|pod| (pod.name_any(), Identity { pod: pod.uid().expect("a UID"), container: id(pod, container) }))
            .collect()
    }

    /// How often each process was started again.
    pub async fn restarts(&self) -> BTreeMap<String, u64> {
        let pods = self.pods().await;
        let told = |pod: &Pod| PodReport::of(pod.metadata.annotations.as_ref()).map(|report| report.restarts);
        pods.iter().map(|pod| (pod.name_any(), told(pod).unwrap_or_default())).collect()
    }

    pub async fn claims(&self) -> Vec<String> {
        let mine = ListParams::default().labels(&format!("midship.dev/instance={NAME}"));
        let claims = self.scene.objects::<PersistentVolumeClaim>().list(&mine).await.expect("claims can be listed");
        claims.iter().filter(|claim| claim.metadata.deletion_timestamp.is_none()).map(ResourceExt::name_any).collect()
    }

    pub fn operations(&self) -> Api<Operation> {
        self.scene.objects()
    }

    /// Asks for an operation.
    pub async fn ask(&self, name: &str, spec: Value) {
        let mut spec = spec;
        spec["instance"] = json!(NAME);
        let operation = json!({ "apiVersion": "midship.dev/v1alpha1", "kind": "Operation",
            "metadata": { "name": name }, "spec": spec });
        let operation: Operation = serde_json::from_value(operation).expect("an Operation");
        self.operations().create(&PostParams::default(), &operation).await.expect("it can be made");
    }

    /// Waits for the end of an operation.
    pub async fn ends(&self, name: &str, phase: OperationPhase) -> OperationStatus {
        wait_for(&format!("operation {name} to be {phase:?}"), IN_TIME, async || {
            let operation = self.operations().get(name).await.map_err(|error| error.to_string())?;
            let status = operation.status.unwrap_or_default();
            let over = matches!(status.phase, Some(OperationPhase::Succeeded | OperationPhase::Failed));
            assert!(!over || status.phase == Some(phase), "operation {name}: {status:?}");
            if status.phase == Some(phase) { Ok(status) } else { Err(format!("{status:?}")) }
        })
        .await
    }

    /// Asks for it and waits until it is done.
    pub async fn done(&self, name: &str, spec: Value) -> OperationStatus {
        self.ask(name, spec).await;
        self.ends(name, OperationPhase::Succeeded).await
    }

    /// Asks for it and waits until it failed; returns why.
    pub async fn refused(&self, name: &str, spec: Value) -> String {
        self.ask(name, spec).await;
        self.ends(name, OperationPhase::Failed).await.message.unwrap_or_default()
    }

    /// `midship` as a person uses it.
    pub fn midship(&self, args: &[&str]) -> Output {
        midship().env("KUBECONFIG", self.scene.kubeconfig()).args(args).output()
    }

    /// The same with kubectl at hand, for what needs it, and something to read.
    pub fn midship_with(&self, args: &[&str], input: &str) -> Output {
        let tools = std::env::var("MIDSHIP_TEST_BIN").expect("MIDSHIP_TEST_BIN names the folder of kubectl");
        let path = format!("{tools}:{}", std::env::var("PATH").unwrap_or_default());
        midship().env("KUBECONFIG", self.scene.kubeconfig()).env("PATH", path).args(args).input(input).output()
    }

    /// Runs something in a container; what it printed, or what went wrong.
    pub fn exec(&self, pod: &str, container: &str, command: &[&str]) -> Result<String, String> {
        self.exec_in(&self.scene.namespace, pod, container, command)
    }

    /// What a command says that may be run again: a pod or the way to it may be away for a moment.
    pub async fn answer(&self, namespace: &str, pod: &str, container: &str, command: &[&str]) -> String {
        wait_for("an answer", IN_TIME, async || self.exec_in(namespace, pod, container, command)).await
    }

    pub fn exec_in(&self, namespace: &str, pod: &str, container: &str, command: &[&str]) -> Result<String, String> {
        let run: Run = self.scene.kubectl(["exec", "-n", namespace, pod, "-c", container, "--"]);
        let output = run.args(command).output();
        if output.code == 0 { Ok(output.stdout.trim().to_owned()) } else { Err(output.to_string()) }
    }

    pub async fn password(&self) -> String {
        self.password_of(NAME).await
    }

    pub async fn password_of(&self, name: &str) -> String {
        let secrets = self.scene.objects::<Secret>();
        let secret = secrets.get(&format!("{name}-credentials")).await.expect("credentials");
        let data = secret.data.unwrap_or_default();
        String::from_utf8(data["password"].0.clone()).expect("text")
    }

    /// Deletes the instance and waits until nothing of it is left but, perhaps, its volumes.
    pub async fn delete(&self) {
        self.delete_one(NAME).await;
        assert_eq!(self.pods().await.len(), 0, "no pod outlives its instance");
    }

    async fn delete_one(&self, name: &str) {
        let instances = self.instances();
        instances.delete(name, &DeleteParams::default()).await.expect("it can be deleted");
        wait_for(&format!("{name} to be gone"), IN_TIME, async || match instances.get_opt(name).await {
            Ok(None) => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
    }

    /// Removes what it made, while a controller is still at work.
    pub async fn clear(&self) {
        let all = self.instances().list(&ListParams::default()).await.expect("they can be listed");
        for instance in all {
            self.delete_one(&instance.name_any()).await;
        }
        let extensions: Api<Extension> = Api::all(self.scene.client.clone());
        let name = format!("{}-{}", self.type_, self.version);
        extensions.delete(&name, &DeleteParams::default()).await.expect("it can be removed");
        wait_for("the package to be gone", IN_TIME, async || match extensions.get_opt(&name).await {
            Ok(None) => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
    }
}

fn condition_true() -> midship::api::conditions::ConditionStatus {
    midship::api::conditions::ConditionStatus::True
}

fn id(pod: &Pod, container: &str) -> String {
    let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    let found = statuses.filter(|status| status.name == container).find_map(|status| status.container_id.clone());
    found.unwrap_or_default()
}
