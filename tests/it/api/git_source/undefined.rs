//! A definition that is taken away while a source uses it, on an API server of the test's own.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ListParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::repository::instance;
use super::team::team_on;
use crate::api::controller::scratch::scratch_test;
use crate::harness::{install_definitions, remove_definitions, wait_for};

/// Sources and watches come back to what fails after longer and longer times.
const WHILE: Duration = Duration::from_mins(2);
const MAP: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: map}\ndata: {a: x}\n";

#[test]
fn a_definition_that_is_deleted_costs_nothing_else_and_all_is_applied_again_once_it_is_back() {
    scratch_test(async |scratch| {
        install_definitions(&scratch.client).await;
        let scene = scratch.scene();
        team_on(&scene, async |team| {
            team.repository.write("a.yaml", &instance("a", "1"));
            team.repository.write("map.yaml", MAP);
            team.repository.commit("A cache, and a map");
            team.follow(json!({})).await;
            team.becomes("Applied").await;
            let maps: Api<ConfigMap> = scene.objects();
            let map = async || maps.get("map").await.expect("it is there");
            let before = map().await.metadata.uid;

            let definitions: Api<CustomResourceDefinition> = Api::all(scratch.client.clone());
            let all = midship::api::crds();
            let definition = all.iter().find(|one| one.spec.names.kind == "Instance").expect("a definition");
            remove_definitions(&scratch.client, &[definition.name_any()]).await;

            team.repository.write("b.yaml", &instance("b", "1"));
            team.repository.write("map.yaml", &MAP.replace("a: x", "a: y"));
            team.repository.commit("Another cache, and another value");
            let message = team.becomes("NotAllApplied").await;
            let (place, remedy) =
                ("a.yaml:1:1: Instance scratch/a: not found: ", "`midship doctor` says how to install");
            assert!(message.contains(place) && message.contains(remedy), "{message}");
            let status = team.source().await.status.unwrap_or_default();
            let failed: Vec<&str> = status.errors.iter().map(|error| error.path.as_str()).collect();
            assert_eq!((failed.as_slice(), status.held.len()), (["a.yaml", "b.yaml"].as_slice(), 0));
            let changed = map().await;
            assert_eq!(
                changed.data.expect("it has values").get("a").map(String::as_str),
                Some("y"),
                "all else is applied"
            );
            assert_eq!(changed.metadata.uid, before, "it is the same, not one like it");

            definitions.create(&PostParams::default(), definition).await.expect("it can come back");
            wait_for("all of it to be applied again", WHILE, async || {
                let list = team.instances().list(&ListParams::default()).await.map_err(|error| error.to_string())?;
                let mut names: Vec<String> = list.items.iter().map(ResourceExt::name_any).collect();
                names.sort();
                if names == ["a", "b"] { Ok(()) } else { Err(format!("{names:?}")) }
            })
            .await;
            team.becomes("Applied").await;
            assert_eq!(map().await.metadata.uid, before, "it is the same, not one like it");
            let audit = team.repository.audit();
            assert!(!audit.iter().any(|record| record.contains("Delete ")), "nothing was deleted by us: {audit:#?}");
        })
        .await;
    });
}
