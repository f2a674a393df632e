//! An object that cannot be read as its kind stops no other, and is named.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{CustomResourceDefinition, JSONSchemaProps};
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, ResourceExt};
use midship::api::GitSource;
use serde_json::json;

use super::process::{Controller, SOON};
use super::scratch::scratch_test;
use super::{create, git_source, readiness, repository};
use crate::harness::{install_definitions, wait_for};

#[test]
fn an_object_that_cannot_be_read_stops_no_other() {
    scratch_test(async |scratch| {
        // definitions of some other version, which take anything
        let definitions: Api<CustomResourceDefinition> = Api::all(scratch.client.clone());
        for mut definition in midship::api::crds() {
            for version in &mut definition.spec.versions {
                let anything = JSONSchemaProps {
                    type_: Some("object".into()),
                    x_kubernetes_preserve_unknown_fields: Some(true),
                    ..JSONSchemaProps::default()
                };
                version.schema.get_or_insert_default().open_api_v3_schema = Some(anything);
                version.subresources = version.subresources.take().filter(|subresources| subresources.scale.is_none());
            }
            definitions.create(&PostParams::default(), &definition).await.expect("it can be made");
        }
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("midship.dev", "v1alpha1", "GitSource"));
        let raw: Api<DynamicObject> = Api::namespaced_with(scratch.client.clone(), scratch.namespace, &resource);
        let strange: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "midship.dev/v1alpha1", "kind": "GitSource", "metadata": { "name": "strange" },
            "spec": { "url": { "nobody": "knows" } }
        }))
        .expect("an object");
        wait_for("the definition to be served", SOON, async || raw.create(&PostParams::default(), &strange).await)
            .await;
        install_definitions(&scratch.client).await;

        let (_repository, url) = repository(scratch.namespace);
        create::<GitSource>(&scratch.client, scratch.namespace, git_source("fine", &url)).await;
        let controller =
            Controller::start("tolerant", &scratch.kubeconfig(), &["--lease-namespace", scratch.namespace]);
        controller.ready(SOON).await;
        let name = format!("{}/strange", scratch.namespace);
        let line = controller.logs("the object cannot be read", SOON).await;
        assert_eq!((&line["object"], &line["kind"]), (&json!(name), &json!("GitSource")), "{line}");
        assert!(
            line["error"].as_str().is_some_and(|error| error.contains("url") || error.contains("string")),
            "{line}"
        );

        let sources: Api<GitSource> = Api::namespaced(scratch.client.clone(), scratch.namespace);
        wait_for("the other source to be applied", SOON, async || {
            readiness(&sources.get("fine").await.map_err(|error| error.to_string())?)
        })
        .await;

        // once it can be read, it is worked on like any other
        let mended = json!({ "spec": { "url": url, "path": "nowhere" } });
        let mended = raw.patch("strange", &PatchParams::default(), &Patch::Merge(&mended)).await;
        assert_eq!(mended.expect("it can be mended").name_any(), "strange");
        wait_for("the mended source to have a status", SOON, async || {
            let source = sources.get("strange").await.map_err(|error| error.to_string())?;
            if source.status.is_some() { Ok(()) } else { Err("none".to_owned()) }
        })
        .await;
    });
}
