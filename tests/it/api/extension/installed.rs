//! From files to a package that can be used, and back.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, Patch, PatchParams};
use midship::api::Component;
use midship::api::conditions::find;
use midship::extension::install;
use serde_json::json;

use super::kit::{SOON, kit_test};
use crate::harness::wait_for;

#[test]
fn a_package_is_installed_while_the_controller_runs() {
    kit_test(async |kit| {
        let extension = kit.install("1.0.0", "").await;
        let status = extension.status.expect("a status");
        assert_eq!(status.summary.as_deref(), Some("1.0, 2.0 · standalone"));
        assert_eq!((status.versions, status.instances), (vec!["1.0".to_owned(), "2.0".to_owned()], Some(0)));
        let part = &extension.spec.parts[0];
        let part: ConfigMap = kit.there(part.name.as_str()).await;
        let owners = part.metadata.owner_references.expect("it goes with its Extension");
        assert_eq!(owners[0].name, kit.name("1.0.0"));
    });
}

#[test]
fn other_files_than_were_published_are_refused_with_both_digests() {
    kit_test(async |kit| {
        let mut objects = kit.objects("1.0.0", "");
        let published = objects.extension.spec.digest.clone();
        let data = objects.parts[0].data.as_mut().expect("texts");
        data.entry("config_.server.conf.j2".to_owned()).and_modify(|text| text.push_str("# more\n"));
        kit.create(&objects).await;
        let extension = kit.extension("1.0.0", "False", "DigestMismatch").await;
        let conditions = extension.status.expect("a status").conditions;
        let stalled = find(&conditions, "Stalled").expect("somebody has to act");
        let found = kit.files("1.0.0", "", |path, text| match path {
            "config/server.conf.j2" => text + "# more\n",
            _ => text,
        });
        let wanted = format!(
            "the files have the digest {}, but {} 1.0.0 was installed as {published}; a version never changes: publish other \
             content under a new version, or put the files back",
            found.digest(),
            kit.type_
        );
        assert_eq!(stalled.message, wanted);
    });
}

#[test]
fn an_installed_version_never_changes() {
    kit_test(async |kit| {
        kit.install("1.0.0", "").await;
        let digest = format!("sha256:{}", "0".repeat(64));
        let installed = kit.objects("1.0.0", "").extension.spec.digest;
        let patch = Patch::Merge(json!({ "spec": { "digest": digest } }));
        let refused = kit.extensions().patch(&kit.name("1.0.0"), &PatchParams::default(), &patch).await;
        let message = refused.expect_err("it never changes").to_string();
        let told =
            format!("an installed version never changes: it was installed as {installed}, and this is {digest}; ");
        assert!(message.contains(&told), "{message}");
    });
}

#[test]
fn a_broken_package_says_where_it_is_broken() {
    kit_test(async |kit| {
        let mut objects = kit.objects("1.0.0", "");
        let files = kit.files("1.0.0", "", |path, text| match path {
            "extension.yaml" => text.replace("default: 10}", "default: 1000}"),
            _ => text,
        });
        objects.extension.spec.digest = files.digest();
        let data = objects.parts[0].data.as_mut().expect("texts");
        for (path, bytes) in files.iter() {
            data.insert(install::key(path), String::from_utf8(bytes.to_vec()).expect("text"));
        }
        kit.create(&objects).await;
        let extension = kit.extension("1.0.0", "False", "InvalidPackage").await;
        let errors = extension.status.expect("a status").errors;
        assert!(errors[0].starts_with("extension.yaml:"), "{errors:?}");
        assert!(errors[0].contains("connections") && errors[0].contains("1000"), "{errors:?}");
    });
}

#[test]
fn a_version_stays_while_an_instance_uses_it() {
    kit_test(async |kit| {
        kit.install("1.0.0", "").await;
        kit.instance("cache", json!({})).await;
        kit.becomes("cache", "Creating").await;
        kit.extensions().delete(&kit.name("1.0.0"), &DeleteParams::default()).await.expect("it can be asked for");
        let held = kit.extension("1.0.0", "False", "DeletionHeld").await;
        let conditions = held.status.expect("a status").conditions;
        let message = &find(&conditions, "Stalled").expect("it waits").message;
        assert!(message.starts_with(&format!("{}/cache uses this version", kit.scene.namespace)), "{message}");
        // who comes too late neither gets it nor keeps it
        kit.instance("late", json!({})).await;
        let status = kit.becomes("late", "ExtensionLeaves").await;
        let message = &find(&status.conditions, "Reconciling").expect("it waits").message;
        assert!(
            message.contains("is being deleted, and nothing begins to use it; ask for another version"),
            "{message}"
        );
        kit.instances().delete("cache", &DeleteParams::default()).await.expect("it can be deleted");
        wait_for("the Extension to be gone", SOON, async || match kit.extensions().get_opt(&kit.name("1.0.0")).await {
            Ok(None) => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
    });
}

#[test]
fn a_version_that_is_deleted_anyway_leaves_what_runs_on_it_as_it_is_until_it_comes_back() {
    kit_test(async |kit| {
        let parts = kit.install("1.0.0", "").await.spec.parts;
        kit.instance("cache", json!({})).await;
        kit.becomes("cache", "Creating").await;
        let before = kit.there::<Component>("cache-server").await.metadata;
        let name = kit.name("1.0.0");
        kit.extensions().delete(&name, &DeleteParams::default()).await.expect("it can be asked for");
        kit.extension("1.0.0", "False", "DeletionHeld").await;
        let anyway = Patch::Merge(json!({ "metadata": { "annotations": { "midship.dev/delete-anyway": "true" } } }));
        kit.extensions().patch(&name, &PatchParams::default(), &anyway).await.expect("it can be patched");
        wait_for("the Extension to be gone", SOON, async || match kit.extensions().get_opt(&name).await {
            Ok(None) => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
        for part in &parts {
            kit.gone::<ConfigMap>(part.name.as_str()).await;
        }
        kit.patch("cache", json!({ "spec": { "components": [{ "name": "server", "replicas": 3 }] } })).await;
        kit.becomes("cache", "ExtensionMissing").await;
        let after = kit.there::<Component>("cache-server").await.metadata;
        assert_eq!((&after.uid, after.generation), (&before.uid, before.generation), "what runs stays as it is");
        kit.install("1.0.0", "").await;
        kit.becomes("cache", "Creating").await;
        assert_eq!(kit.there::<Component>("cache-server").await.spec.groups[0].replicas, Some(3));
    });
}

#[test]
fn an_instance_waits_for_its_version_and_goes_on_by_itself() {
    kit_test(async |kit| {
        kit.instance("cache", json!({})).await;
        let status = kit.becomes("cache", "ExtensionMissing").await;
        let message = &find(&status.conditions, "Reconciling").expect("it waits").message;
        let wanted = format!("no Extension of type {0} is installed; install {0} 1.0.0", kit.type_);
        assert!(message.starts_with(&wanted), "{message}");
        kit.install("1.0.0", "").await;
        kit.becomes("cache", "Creating").await;
    });
}
