//! A small package under a type of its own, a controller that looks after one namespace, and what tests ask of them.

use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Resource, ResourceExt};
use midship::api::conditions::{Condition, find};
use midship::api::{Extension, Instance, InstanceStatus, PodSet};
use midship::extension::install::{self, Objects};
use midship::extension::{Package, PackageFiles};
use midship::names::NamespaceName;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::api::controller::process::Controller;
use crate::harness::{Scene, api_test, files_below, wait_for};

/// Deadline of what takes a second or two on a machine with nothing else to do.
pub const SOON: Duration = Duration::from_mins(2);

const MANIFEST: &str = r#"
type: TYPE
version: VERSION
FROM
versions:
  - {version: "1.0", image: "registry.example.com/server:1.0"}
  - {version: "2.0", image: "registry.example.com/server:2.0"}
upgrades: [{from: "1.0", to: "2.0"}]
credentials: {username: admin}
tls: {}
components:
  server:
    command: [server, --config, "{{ files['server.conf'] }}"]
    ports: {client: 7000}
    config: {server.conf: config/server.conf.j2}
    volumes: {data: {path: /data, size: 1Gi}}
    parameters:
      connections: {type: integer, minimum: 1, maximum: 100, default: 10}
connection: {uri: "demo://{{ username }}:{{ secret.password }}@{{ host }}:{{ port }}"}
"#;
const CONFIG: &str = "connections = {{ params.connections }}\n";
const TESTS: &str = "cases:\n  - name: connections are in the file\n    spec: {components: [{name: server, parameters: {connections: 7}}]}\n    \
     expect: [{kind: ConfigMap, name: sample-server-config, file: server.conf, contains: [connections = 7]}]\n";

pub struct Kit<'a> {
    pub scene: &'a Scene,
    pub type_: String,
    pub controller: Controller,
}

/// Runs `body` with a controller and a type of middleware nobody else has.
pub fn kit_test(body: impl AsyncFnOnce(&Kit<'_>)) {
    kit_test_with(Controller::start, body);
}

/// The same with a controller that is started in another way: by name, kubeconfig and arguments.
pub fn kit_test_with(start: impl FnOnce(&str, &Path, &[&str]) -> Controller, body: impl AsyncFnOnce(&Kit<'_>)) {
    api_test(async |scene| {
        let type_ = format!("t{}", scene.namespace.rsplit('-').next().expect("it ends in letters of its own"));
        let namespace = scene.namespace.as_str();
        let args = ["--namespaces", namespace, "--lease-namespace", namespace, "--leader-elect=false"];
        let controller = start("controller", &scene.kubeconfig(), &args);
        let kit = Kit { scene, type_, controller };
        body(&kit).await;
        kit.clear().await;
    });
}

impl Kit<'_> {
    /// The files of a version, after a change.
    pub fn files(&self, version: &str, from: &str, change: impl Fn(&str, String) -> String) -> PackageFiles {
        let from = if from.is_empty() { String::new() } else { format!("upgradableFrom: [{from}]") };
        let manifest = MANIFEST.replace("TYPE", &self.type_).replace("VERSION", version).replace("FROM", &from);
        let files = [("extension.yaml", manifest.as_str()), ("config/server.conf.j2", CONFIG), ("tests/a.yaml", TESTS)];
        let files = files.map(|(path, text)| (path.to_owned(), change(path, text.to_owned()).into_bytes()));
        PackageFiles::new(files).expect("plain files")
    }

    pub fn objects(&self, version: &str, from: &str) -> Objects {
        self.objects_of(self.files(version, from, |_, text| text))
    }

    pub fn objects_of(&self, files: PackageFiles) -> Objects {
        let package = Package::load(files);
        let package = package.unwrap_or_else(|problems| panic!("{problems}"));
        let namespace = NamespaceName::parse(&self.scene.namespace).expect("a namespace");
        install::objects(&package, &namespace, None).expect("it fits")
    }

    pub async fn create(&self, objects: &Objects) {
        for part in &objects.parts {
            self.scene.objects::<ConfigMap>().create(&PostParams::default(), part).await.expect("a part");
        }
        self.extensions().create(&PostParams::default(), &objects.extension).await.expect("an Extension");
    }

    /// Installs version 1.0.0 of a package of `tests/packages` under the type of this test, and waits until it can be used.
    pub async fn install_other(&self, name: &str) -> Extension {
        self.begin_other(name).await;
        self.extension("1.0.0", "True", "Installed").await
    }

    /// The same without waiting.
    pub async fn begin_other(&self, name: &str) {
        self.create(&self.objects_of(self.package(&format!("tests/packages/{name}/1.0.0")))).await;
    }

    /// The package of this folder, `…/<type>/<version>`, under the type of this test.
    pub fn package(&self, folder: &str) -> PackageFiles {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let name = folder.rsplit('/').nth(1).expect("a type");
        let mut files = files_below(&root);
        for (path, bytes) in &mut files {
            if path == "extension.yaml" {
                let text = String::from_utf8(bytes.clone()).expect("text");
                *bytes = text.replacen(&format!("type: {name}\n"), &format!("type: {}\n", self.type_), 1).into_bytes();
            }
        }
        PackageFiles::new(files).expect("plain files")
    }

    /// Installs a version and waits until it can be used.
    pub async fn install(&self, version: &str, from: &str) -> Extension {
        self.create(&self.objects(version, from)).await;
        self.extension(version, "True", "Installed").await
    }

    pub fn extensions(&self) -> Api<Extension> {
        Api::all(self.scene.client.clone())
    }

    pub fn name(&self, version: &str) -> String {
        format!("{}-{version}", self.type_)
    }

    /// Waits until an Extension is ready, or not, for this reason.
    pub async fn extension(&self, version: &str, status: &str, reason: &str) -> Extension {
        let name = self.name(version);
        wait_for(&format!("{name} to be {reason}"), SOON, async || {
            let found = self.extensions().get(&name).await.map_err(|error| error.to_string())?;
            let conditions = found.status.clone().unwrap_or_default().conditions;
            is(find(&conditions, "Ready"), status, reason).map(|()| found)
        })
        .await
    }

    pub fn instances(&self) -> Api<Instance> {
        self.scene.objects()
    }

    /// Makes an instance of version 1.0 with these fields besides.
    pub async fn instance(&self, name: &str, more: Value) {
        let mut spec = json!({ "type": self.type_, "extensionVersion": "1.0.0", "version": "1.0",
            "components": [{ "name": "server", "replicas": 2 }] });
        spec.as_object_mut().expect("a mapping").extend(more.as_object().expect("a mapping").clone());
        let object = json!({ "apiVersion": "midship.dev/v1alpha1", "kind": "Instance", "metadata": { "name": name }, "spec": spec });
        let object: Instance = serde_json::from_value(object).expect("an instance");
        self.instances().create(&PostParams::default(), &object).await.expect("it can be made");
    }

    pub async fn patch(&self, name: &str, patch: Value) -> Instance {
        let patched = self.instances().patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await;
        patched.expect("it can be patched")
    }

    /// Waits until the newest spec was looked at and Ready has this reason; returns the status.
    pub async fn becomes(&self, name: &str, reason: &str) -> InstanceStatus {
        wait_for(&format!("{name} to be {reason}"), SOON, async || {
            let found = self.instances().get(name).await.map_err(|error| error.to_string())?;
            let status = found.status.unwrap_or_default();
            if status.observed_generation != found.metadata.generation {
                return Err(format!("generation {:?} was looked at", status.observed_generation));
            }
            let ready = find(&status.conditions, "Ready");
            match ready.filter(|ready| ready.reason == reason) {
                Some(_) => Ok(status),
                None => Err(format!("{:?}: {ready:?}", status.phase)),
            }
        })
        .await
    }

    /// How often an instance was rendered.
    pub fn rendered(&self, instance: &str) -> usize {
        let object = format!("{}/{instance}", self.scene.namespace);
        let log = self.controller.log();
        log.iter().filter(|line| line["message"] == "rendered" && line["span"]["object"] == object.as_str()).count()
    }

    /// Waits until nobody looks at the instance any more.
    pub async fn quiet(&self, instance: &str) {
        // what its pods bring about comes last
        wait_for(&format!("the pods of {instance} to be counted"), SOON, async || {
            let counted =
                self.there::<PodSet>(&format!("{instance}-server")).await.status.and_then(|seen| seen.replicas);
            if counted.is_some_and(|number| number > 0) { Ok(()) } else { Err(format!("{counted:?}")) }
        })
        .await;
        let mut before = usize::MAX;
        wait_for(&format!("{instance} to be left alone"), SOON, async || {
            let first = self.rendered(instance);
            tokio::time::sleep(Duration::from_secs(3)).await;
            let same = first == before && self.rendered(instance) == first;
            before = first;
            if same { Ok(()) } else { Err(format!("rendered {first} times")) }
        })
        .await;
    }

    /// Waits until an object is there.
    pub async fn there<K>(&self, name: &str) -> K
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
        K::DynamicType: Default,
    {
        wait_for(&format!("{name} to be there"), SOON, async || {
            self.scene.objects::<K>().get(name).await.map_err(|error| error.to_string())
        })
        .await
    }

    /// Waits until an object is gone. Whoever takes away what belonged to something stands still for half a minute where kinds
    /// come and go meanwhile.
    pub async fn gone<K>(&self, name: &str)
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
        K::DynamicType: Default,
    {
        wait_for(&format!("{name} to be gone"), SOON * 2, async || {
            match self.scene.objects::<K>().get_opt(name).await {
                Ok(None) => Ok(()),
                Ok(Some(found)) => Err(format!("finalizers {:?}", found.finalizers())),
                Err(error) => Err(error.to_string()),
            }
        })
        .await;
    }

    /// Extensions belong to the cluster and outlive the namespace.
    async fn clear(&self) {
        for extension in self.extensions().list(&ListParams::default()).await.expect("a list") {
            if extension.spec.type_.as_str() == self.type_ {
                let name = extension.name_any();
                let patch =
                    Patch::Merge(json!({ "metadata": { "annotations": { "midship.dev/delete-anyway": "true" } } }));
                self.extensions().patch(&name, &PatchParams::default(), &patch).await.expect("it can be patched");
                self.extensions().delete(&name, &DeleteParams::default()).await.expect("it can be deleted");
                wait_for("the Extension to be gone", SOON, async || match self.extensions().get_opt(&name).await {
                    Ok(None) => Ok(()),
                    other => Err(format!("{:?}", other.map(|found| found.map(|found| found.metadata.finalizers)))),
                })
                .await;
            }
        }
    }
}

fn is(ready: Option<&Condition>, status: &str, reason: &str) -> Result<(), String> {
    match ready {
        Some(found) if format!("{:?}", found.status) == status && found.reason == reason => Ok(()),
        other => Err(format!("{other:?}")),
    }
}
