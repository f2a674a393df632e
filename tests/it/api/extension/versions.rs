//! Several versions of a package at once: what happens to one is nothing to the instances of another.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Resource, ResourceExt};
use midship::api::{Component, PodSet};
use midship::extension::install::Objects;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::kit::{Kit, SOON, kit_test};
use crate::harness::wait_for;

/// What an instance is made of: objects by kind and name, with what changes when anybody writes to what was decided.
async fn made_of(kit: &Kit<'_>, instances: &[&str]) -> BTreeMap<String, String> {
    async fn add<K>(api: Api<K>, of_instance: &str, found: &mut BTreeMap<String, String>)
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
    {
        let list = ListParams::default().labels(&format!("midship.dev/instance={of_instance}"));
        for object in api.list(&list).await.expect("a list") {
            // with a status only the generation tells what was asked for
            let version = object.meta().generation.map(|generation| format!("generation {generation}"));
            let version = version.unwrap_or_else(|| object.resource_version().unwrap_or_default());
            let version = format!("{version} {}", object.uid().unwrap_or_default());
            found.insert(format!("{} {}", K::kind(&()), object.name_any()), version);
        }
    }
    let mut found = BTreeMap::new();
    for instance in instances {
        add(kit.scene.objects::<ConfigMap>(), instance, &mut found).await;
        add(kit.scene.objects::<Secret>(), instance, &mut found).await;
        add(kit.scene.objects::<Service>(), instance, &mut found).await;
        add(kit.scene.objects::<Component>(), instance, &mut found).await;
        add(kit.scene.objects::<PodSet>(), instance, &mut found).await;
        for pod in kit.scene.objects::<Pod>().list(&ListParams::default()).await.expect("a list") {
            if pod.labels().get("midship.dev/instance").is_some_and(|of| of == instance) {
                found.insert(format!("Pod {}", pod.name_any()), pod.uid().unwrap_or_default());
            }
        }
    }
    found
}

async fn without_files(kit: &Kit<'_>, objects: &Objects) {
    kit.extensions().create(&PostParams::default(), &objects.extension).await.expect("an Extension");
}

#[test]
fn a_third_version_that_is_broken_and_mended_is_nothing_to_instances_of_the_others() {
    kit_test(async |kit| {
        kit.install("1.0.0", "").await;
        kit.install("1.1.0", "1.0.0").await;
        for (name, version) in [("old", "1.0.0"), ("new", "1.1.0"), ("waits", "1.2.0")] {
            kit.instance(name, json!({ "extensionVersion": version })).await;
        }
        kit.becomes("old", "Creating").await;
        kit.becomes("new", "Creating").await;
        kit.becomes("waits", "ExtensionMissing").await;
        kit.quiet("old").await;
        kit.quiet("new").await;
        let before = made_of(kit, &["old", "new"]).await;
        assert!(before.keys().any(|name| name.starts_with("PodSet")), "{before:?}");
        let times = (kit.rendered("old"), kit.rendered("new"));
        assert!(times.0 > 0 && times.1 > 0, "{times:?}");

        let third = kit.objects("1.2.0", "1.1.0");
        without_files(kit, &third).await;
        kit.extension("1.2.0", "False", "PartMissing").await;
        kit.becomes("waits", "ExtensionNotReady").await;
        for part in &third.parts {
            kit.scene.objects::<ConfigMap>().create(&PostParams::default(), part).await.expect("a part");
        }
        kit.extension("1.2.0", "True", "Installed").await;
        kit.becomes("waits", "Creating").await;

        assert_eq!((kit.rendered("old"), kit.rendered("new")), times, "only its own instances are rendered anew");
        assert_eq!(made_of(kit, &["old", "new"]).await, before, "nothing of the others is written to");
    });
}

#[test]
fn a_version_that_was_deleted_and_comes_back_with_other_contents_is_another_one() {
    kit_test(async |kit| {
        kit.install("1.0.0", "").await;
        let name = kit.name("1.0.0");
        kit.extensions().delete(&name, &DeleteParams::default()).await.expect("it can be deleted");
        wait_for("the Extension to be gone", SOON, async || match kit.extensions().get_opt(&name).await {
            Ok(None) => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
        // nobody used it, so that the name is free; the files go under names of their own
        let mended = kit.objects_of(kit.files("1.0.0", "", |path, text| match path {
            "extension.yaml" => text.replace("default: 10}", "default: 20}"),
            _ => text,
        }));
        kit.create(&mended).await;
        kit.extension("1.0.0", "True", "Installed").await;
        kit.instance("cache", json!({})).await;
        kit.becomes("cache", "Creating").await;
        let config: ConfigMap = kit.there("cache-server-config").await;
        let text = &config.data.expect("texts")["server.conf"];
        assert_eq!(text, "connections = 20\n");
    });
}
