//! Deleting a source: what it applied stays, or goes with it; and it can always be left.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use super::repository::instance;
use super::{SOON, Team, team_test};
use crate::harness::wait_for;

const MAP: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: map}\ndata: {a: x}\n";

async fn applied(team: &Team<'_>, policy: &str) {
    team.repository.write("a.yaml", &instance("a", "1"));
    team.repository.write("map.yaml", MAP);
    team.repository.commit("Two objects");
    team.follow(json!({ "deletionPolicy": policy })).await;
    team.becomes("Applied").await;
}

async fn delete(team: &Team<'_>) {
    team.sources().delete("main", &DeleteParams::background()).await.expect("it can be deleted");
}

async fn gone(team: &Team<'_>) {
    wait_for("the source to be gone", SOON, async || {
        let found = team.sources().get_opt("main").await.expect("it can be asked for");
        found.map_or(Ok(()), |source| Err(format!("{source:#?}")))
    })
    .await;
}

#[test]
fn a_source_takes_along_what_it_applied_and_nothing_else() {
    team_test(async |team| {
        team.scene.kubectl(["create", "configmap", "mine"]).stdout();
        applied(team, "Delete").await;
        delete(team).await;
        gone(team).await;
        assert!(team.running().await.is_empty());
        let maps: Api<ConfigMap> = team.scene.objects();
        assert!(maps.get_opt("map").await.expect("it can be asked for").is_none());
        assert!(maps.get_opt("mine").await.expect("it can be asked for").is_some());
    });
}

#[test]
fn without_that_wish_everything_stays() {
    team_test(async |team| {
        applied(team, "Orphan").await;
        delete(team).await;
        gone(team).await;
        wait_for("the controller to have noticed", SOON, async || {
            let audit = team.repository.audit();
            if audit.last().is_some_and(|last| last.contains("was deleted")) {
                Ok(())
            } else {
                Err(format!("{audit:#?}"))
            }
        })
        .await;
        assert_eq!(team.running().await, ["a 1"]);
    });
}

#[test]
fn a_source_that_waits_for_an_object_says_so_and_can_be_left() {
    team_test(async |team| {
        applied(team, "Delete").await;
        let held = json!({ "metadata": { "finalizers": ["example.com/held"] } });
        team.instances().patch("a", &PatchParams::default(), &Patch::Merge(&held)).await.expect("it can be held");
        delete(team).await;
        let message = team.says("Deleting").await;
        let namespace = &team.scene.namespace;
        assert!(message.contains(&format!("Instance {namespace}/a")), "{message}");
        assert!(message.ends_with("To leave them where they are, set spec.deletionPolicy to Orphan"), "{message}");
        team.patch_source(json!({ "spec": { "deletionPolicy": "Orphan" } })).await;
        gone(team).await;
        let free = json!({ "metadata": { "finalizers": [] } });
        team.instances().patch("a", &PatchParams::default(), &Patch::Merge(&free)).await.expect("it can be let go");
    });
}

#[test]
fn what_a_source_left_behind_can_be_taken_up_by_another() {
    team_test(async |team| {
        applied(team, "Orphan").await;
        delete(team).await;
        gone(team).await;
        let maps: Api<ConfigMap> = team.scene.objects();
        wait_for("the name of the source to be taken off", SOON, async || {
            let map = maps.get("map").await.map_err(|error| error.to_string())?;
            let instance = team.instances().get("a").await.map_err(|error| error.to_string())?;
            let clean = [&map.metadata, &instance.metadata].iter().all(|meta| {
                let mut keys = meta.labels.iter().chain(&meta.annotations).flat_map(std::collections::BTreeMap::keys);
                keys.all(|key| !key.starts_with("midship.dev/source"))
            });
            if clean { Ok(()) } else { Err(format!("{:?} {:?}", map.metadata, instance.metadata)) }
        })
        .await;
        // a name that nobody could take off is nobody's all the same
        let namespace = &team.scene.namespace;
        let data = maps.get("map").await.expect("it is there").data;
        let left = json!({ "apiVersion": "v1", "kind": "ConfigMap", "data": data,
            "metadata": { "name": "map", "labels": { "midship.dev/source": format!("{namespace}.gone") } } });
        let as_midship = PatchParams::apply("midship").force();
        maps.patch("map", &as_midship, &Patch::Apply(&left)).await.expect("it can be left so");
        let mut other = team.source_object(json!({}));
        other.metadata.name = Some("other".into());
        team.sources().create(&kube::api::PostParams::default(), &other).await.expect("it can be made");
        wait_for("the other source to have taken them up", SOON, async || {
            let label = |meta: &kube::api::ObjectMeta| {
                meta.labels.as_ref().and_then(|all| all.get("midship.dev/source")).cloned().unwrap_or_default()
            };
            let map = maps.get("map").await.map_err(|error| error.to_string())?;
            let instance = team.instances().get("a").await.map_err(|error| error.to_string())?;
            let found = [label(&map.metadata), label(&instance.metadata)];
            if found.iter().all(|one| *one == format!("{namespace}.other")) {
                Ok(())
            } else {
                Err(format!("{found:?}"))
            }
        })
        .await;
    });
}
