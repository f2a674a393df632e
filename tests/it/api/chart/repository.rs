//! What the repository template holds is accepted, as it stands and with what its environments add.

use serde_json::{Map, Value};

use crate::chart::helm::name_of;
use crate::chart::repository::{manifests, settings};
use crate::harness::{Scene, api_test};

/// Applies an object as if, moved to the test's namespace.
#[track_caller]
fn accepted(scene: &Scene, what: &str, mut object: Value) {
    object["metadata"]["namespace"] = scene.namespace.clone().into();
    let apply = scene.kubectl(["apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-"]);
    let output = apply.input(object.to_string()).output();
    assert_eq!(output.code, 0, "{what}: {}: {output}", name_of(&object));
    assert!(!output.stderr.contains("Warning"), "{what}: {output}");
}

#[test]
fn every_object_and_example_of_the_template_is_accepted() {
    api_test(async |scene| {
        let manifests = manifests();
        for kind in ["GitSource", "Instance", "BackupRepository", "BackupPolicy", "Operation"] {
            assert!(manifests.iter().any(|(_, object)| object["kind"] == kind), "the template shows no {kind}");
        }
        for (file, object) in manifests {
            accepted(scene, &file, object);
        }
    });
}

#[test]
fn what_an_environment_assumes_is_accepted_in_every_instance() {
    api_test(async |scene| {
        let settings = settings();
        for (file, mut instance) in manifests().into_iter().filter(|(_, object)| object["kind"] == "Instance") {
            let namespace = instance["metadata"]["namespace"].as_str().expect("a namespace").to_owned();
            let environment = settings["namespaces"][&namespace]["environment"].as_str().expect("an environment");
            let mut assumed = settings["environments"][environment].clone();
            let components = assumed.as_object_mut().expect("fields").remove("components").unwrap_or_default();
            for component in instance["spec"]["components"].as_array_mut().expect("components") {
                add(component, &components["*"]);
                let name = component["name"].as_str().expect("a name").to_owned();
                add(component, &components[name]);
            }
            add(&mut instance["spec"], &assumed);
            accepted(scene, &format!("{file} in {environment}"), instance);
        }
    });
}

/// Adds what is not there yet.
fn add(object: &mut Value, assumed: &Value) {
    let nothing = Map::new();
    for (key, value) in assumed.as_object().unwrap_or(&nothing) {
        object.as_object_mut().expect("fields").entry(key.clone()).or_insert_with(|| value.clone());
    }
}
