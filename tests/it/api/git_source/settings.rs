//! `midship.yaml`: which namespaces, which environments, how many deletions; and two clusters that share a repository.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::DeleteParams;
use kube::api::PostParams;
use midship::api::{Component, GitSource};
use serde_json::json;

use super::repository::{Repository, instance};
use super::{SOON, team_test};
use crate::api::extension::kit::{Kit, kit_test};
use crate::harness::wait_for;

const ENVIRONMENTS: &str = "\
environments:
  production:
    deletionPolicy: Retain
    components: {'*': {replicas: 3}}
";

#[test]
fn environments_are_published_for_those_who_resolve_instances() {
    team_test(async |team| {
        let namespace = team.scene.namespace.clone();
        let settings = format!("namespaces:\n  {namespace}: {{environment: production}}\n{ENVIRONMENTS}");
        team.repository.write("midship.yaml", &settings);
        team.repository.write("a.yaml", &instance("a", "1"));
        team.repository.commit("With settings");
        team.follow(json!({})).await;
        team.becomes("Applied").await;
        let published = team.source().await.status.and_then(|status| status.settings).expect("they are published");
        assert_eq!(published.namespaces[&namespace], "production");
        assert_eq!(
            published.environments["production"],
            json!({ "deletionPolicy": "Retain", "components": { "*": { "replicas": 3 } } })
        );
        let a = team.instances().get("a").await.expect("it is there");
        assert_eq!(
            serde_json::to_value(&a.spec).expect("JSON")["deletionPolicy"],
            json!(null),
            "the wish is not written to"
        );
        // less than before, at every depth
        let less = settings.replace("    deletionPolicy: Retain\n", "");
        team.repository.write("midship.yaml", &less);
        team.repository.write("a.yaml", &instance("a", "2"));
        team.repository.commit("With less of them");
        team.becomes("Applied").await;
        let published = team.source().await.status.and_then(|status| status.settings).expect("they are published");
        assert_eq!(published.environments["production"], json!({ "components": { "*": { "replicas": 3 } } }));
        team.repository.remove("midship.yaml");
        team.repository.commit("Without settings");
        team.becomes("Applied").await;
        assert_eq!(team.source().await.status.and_then(|status| status.settings), None);
    });
}

#[test]
fn a_namespace_the_repository_does_not_fill_is_refused() {
    team_test(async |team| {
        team.repository.write("midship.yaml", "namespaces: {somewhere-else: {}}\n");
        team.repository.write("a.yaml", &instance("a", "1"));
        team.repository.commit("For somebody else");
        team.follow(json!({ "namespaces": [team.scene.namespace, "somewhere-else"] })).await;
        let message = team.becomes("InvalidFiles").await;
        assert!(
            message.contains("this source may not write to the namespace")
                && message.contains(
                    "only to somewhere-else; spec.namespaces of the GitSource and namespaces in midship.yaml say so"
                ),
            "{message}"
        );
        assert!(team.running().await.is_empty());
    });
}

#[test]
fn the_stricter_budget_holds_and_settings_that_cannot_be_read_hold_every_deletion() {
    team_test(async |team| {
        team.repository.write("midship.yaml", "prune: {maxCount: 1}\n");
        for name in ["a", "b", "c", "d"] {
            team.repository.write(&format!("{name}.yaml"), &instance(name, "1"));
        }
        team.repository.commit("Four caches");
        team.follow(json!({ "prune": { "maxCount": 10, "maxPercent": 100 } })).await;
        team.becomes("Applied").await;
        team.repository.remove("a.yaml");
        team.repository.remove("b.yaml");
        team.repository.commit("Drop two");
        let message = team.becomes("Held").await;
        assert!(message.contains("more than the 1 that the budget allows"), "{message}");
        team.repository.write("midship.yaml", "prune: {maxCount: 5}\nprun: {}\nenvironments: {x: {tls: 3}}\n");
        team.repository.write("c.yaml", &instance("c", "2"));
        team.repository.commit("Settings with mistakes");
        team.becomes("InvalidFiles").await;
        team.has(&["a 1", "b 1", "c 2", "d 1"]).await;
        assert_eq!(
            team.errors().await,
            [
                "midship.yaml:2:1 unknown-field: prun: unknown field \"prun\"; did you mean \"prune\"?",
                "midship.yaml:3:25 wrong-type: environments.x.tls: 3 is not a mapping",
            ]
        );
        team.repository.write("midship.yaml", "prune: {maxCount: 5}\n");
        team.repository.commit("Mend");
        team.becomes("Applied").await;
        team.has(&["c 2", "d 1"]).await;
    });
}

#[test]
fn two_clusters_share_a_repository_by_a_path_each() {
    team_test(async |team| {
        team.repository.write("clusters/one/midship.yaml", "prune: {maxCount: 1}\n");
        team.repository.write("clusters/one/a.yaml", &instance("a", "1"));
        team.repository.write("clusters/two/midship.yaml", "nonsense: true\n");
        team.repository.write("clusters/two/b.yaml", &instance("b", "1"));
        team.repository.commit("Two clusters");
        team.follow(json!({ "path": "clusters/one" })).await;
        team.becomes("Applied").await;
        team.has(&["a 1"]).await;
        let other = json!({ "apiVersion": "midship.dev/v1alpha1", "kind": "GitSource", "metadata": { "name": "two" },
            "spec": { "url": team.repository.url(), "ref": { "branch": "main" }, "interval": "1s", "path": "clusters/two" } });
        let other: GitSource = serde_json::from_value(other).expect("a source");
        team.sources().create(&PostParams::default(), &other).await.expect("it can be made");
        team.has(&["a 1", "b 1"]).await;
        wait_for("the second to name its mistake", SOON, async || {
            let status = team.sources().get("two").await.expect("it is there").status.unwrap_or_default();
            match status.errors.as_slice() {
                [one] if one.path == "clusters/two/midship.yaml" && one.code == "unknown-field" => Ok(()),
                _ => Err(format!("{status:#?}")),
            }
        })
        .await;
        assert!(team.errors().await.is_empty());
    });
}

/// Waits until the instance's configuration has so many connections.
async fn connections(kit: &Kit<'_>, expected: u32) {
    wait_for(&format!("{expected} connections"), SOON, async || {
        let map =
            kit.scene.objects::<ConfigMap>().get("cache-server-config").await.map_err(|error| error.to_string())?;
        let text = map.data.unwrap_or_default().remove("server.conf").unwrap_or_default();
        if text == format!("connections = {expected}\n") { Ok(()) } else { Err(text) }
    })
    .await;
}

#[test]
fn what_environments_assume_reaches_instances_and_stays_when_the_source_goes() {
    kit_test(async |kit| {
        kit.install("1.0.0", "").await;
        let repository = Repository::new();
        let namespace = &kit.scene.namespace;
        let settings = |connections: u32| {
            format!(
                "namespaces: {{{namespace}: {{environment: production}}}}\n\
                 environments: {{production: {{components: {{server: {{parameters: {{connections: {connections}}}}}}}}}}}\n"
            )
        };
        repository.write("midship.yaml", &settings(43));
        let file = instance("cache", "1.0").replace("type: cache", &format!("type: {}", kit.type_));
        repository.write("cache.yaml", &file);
        repository.commit("A cache");
        let source = json!({ "apiVersion": "midship.dev/v1alpha1", "kind": "GitSource", "metadata": { "name": "main" },
            "spec": { "url": repository.url(), "interval": "1s", "audit": { "enabled": false } } });
        let source: GitSource = serde_json::from_value(source).expect("a source");
        let sources = kit.scene.objects::<GitSource>();
        sources.create(&PostParams::default(), &source).await.expect("it can be made");
        connections(kit, 43).await;
        let status = kit.becomes("cache", "Creating").await;
        let made = kit.scene.objects::<Component>().get("cache-server").await.expect("it is there");
        assert_eq!(made.metadata.generation, Some(1), "it began as what it is to be");
        assert_eq!(status.resolved.and_then(|resolved| resolved.environment).as_deref(), Some("production"));

        repository.write("midship.yaml", &settings(44));
        repository.commit("One more for everybody");
        connections(kit, 44).await;

        sources.delete("main", &DeleteParams::default()).await.expect("it can be deleted");
        kit.becomes("cache", "SourceMissing").await;
        connections(kit, 44).await;
        kit.patch("cache", json!({ "metadata": { "labels": { "midship.dev/source": null } } })).await;
        kit.becomes("cache", "Creating").await;
    });
}
