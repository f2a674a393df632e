//! What somebody changes by hand: reported with a name, or taken over on a branch.

use kube::api::{Patch, PatchParams};
use midship::api::conditions::find;
use serde_json::{Value, json};

use super::repository::instance;
use super::{SOON, Team, team_test};
use crate::harness::wait_for;

const SECRET: &str = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {password: correct-horse}\n";

/// Changes an instance as somebody with `kubectl edit` does.
async fn edit(team: &Team<'_>, name: &str, patch: Value) {
    let parameters = PatchParams { field_manager: Some("kubectl-edit".into()), ..PatchParams::default() };
    team.instances().patch(name, &parameters, &Patch::Merge(&patch)).await.expect("it can be changed");
}

/// Waits until the source says that something drifted; returns its message and who did it.
async fn drifted(team: &Team<'_>, said: &str) -> (String, Vec<String>) {
    wait_for(&format!("the source to say {said:?} of drift"), SOON, async || {
        let status = team.source().await.status.unwrap_or_default();
        let message = find(&status.conditions, "Drifted").map(|one| one.message.clone()).unwrap_or_default();
        if message.contains(said) {
            let who = status.drifted.iter().map(|one| format!("{} {:?} {:?}", one.object, one.fields, one.manager));
            Ok((message, who.collect()))
        } else {
            Err(message)
        }
    })
    .await
}

fn proposals(team: &Team<'_>) -> Vec<String> {
    let list = team.repository.git(&["branch", "--list", "--format=%(refname:short)", "midship/adopt/*"]);
    list.lines().map(str::to_owned).collect()
}

#[test]
fn what_somebody_changed_is_reported_with_a_name() {
    team_test(async |team| {
        team.repository.write("a.yaml", &instance("a", "7.0"));
        team.repository.commit("A cache");
        team.follow(json!({ "drift": "Report" })).await;
        team.becomes("Applied").await;
        edit(team, "a", json!({ "spec": { "version": "9.9" } })).await;
        let (_, who) = drifted(team, "1 object changed by somebody").await;
        let namespace = &team.scene.namespace;
        assert_eq!(who, [format!("Instance {namespace}/a [\".spec.version\"] Some(\"kubectl-edit\")")]);
        assert!(proposals(team).is_empty());
    });
}

#[test]
fn what_somebody_changed_can_be_taken_over_from_a_branch() {
    team_test(async |team| {
        let file = format!("# our cache\n{}---\n{}", instance("a", "7.0"), instance("b", "7.0"));
        team.repository.write("instances/both.yaml", &file);
        team.repository.write("s.yaml", SECRET);
        let base = team.repository.commit("Two caches");
        team.follow(json!({ "drift": "Adopt" })).await;
        team.becomes("Applied").await;
        edit(team, "b", json!({ "spec": { "version": "7.2" } })).await;
        team.scene
            .kubectl(["patch", "secret", "s", "-p", r#"{"stringData": {"password": "battery-staple"}}"#])
            .stdout();
        let (message, _) = drifted(team, "takes it over").await;
        let branches = proposals(team);
        assert_eq!(branches.len(), 1, "{message}");
        let branch = branches[0].as_str();
        assert!(message.contains(&format!("the branch {branch} takes it over; merge it")), "{message}");
        assert_eq!(team.repository.git(&["rev-parse", &format!("{branch}^")]), base);
        let shown = team.repository.git(&["show", &format!("{branch}:instances/both.yaml")]);
        let second = instance("b", "7.0").replace("\"7.0\"", "\"7.2\"");
        assert_eq!(shown + "\n", format!("# our cache\n{}---\n{second}", instance("a", "7.0")));
        let told = team.repository.git(&["log", "-1", "--format=%B", branch]);
        let namespace = &team.scene.namespace;
        assert!(told.starts_with(&format!("Take over what was changed in Instance {namespace}/b\n")), "{told}");
        assert!(told.contains("/b, by kubectl-edit") && told.contains("spec.version: \"7.0\" → \"7.2\""), "{told}");
        let all = team.repository.git(&["log", "-p", branch]);
        assert!(!all.contains("battery") && !all.contains("YmF0dGVyeS1zdGFwbGU"), "{all}");

        // the controller starts afresh and proposes the same: nothing
        team.controller.signal(nix::sys::signal::Signal::SIGKILL);
        team.controller.exit(SOON).await;
        team.start_again();
        team.repository.write("c.yaml", &instance("c", "7.0"));
        team.repository.commit("One more");
        // what it says of drift is of this look, and not what the one before it said
        team.becomes("Applied").await;
        team.has(&["a 7.0", "b 7.2", "c 7.0"]).await;
        drifted(team, "takes it over").await;
        assert_eq!(proposals(team), branches);

        // what was taken over is no drift any more
        team.scene.kubectl(["delete", "secret", "s"]).stdout();
        team.repository.git(&["merge", "-q", "--no-edit", branch]);
        drifted(team, "every applied object is as the repository says").await;
        team.has(&["a 7.0", "b 7.2", "c 7.0"]).await;
        team.repository.git(&["fsck", "--strict"]);
    });
}

#[test]
fn hand_changes_to_what_is_not_watched_are_found_without_a_commit() {
    team_test(async |team| {
        let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: map}\ndata: {a: x}\n";
        team.repository.write("map.yaml", map);
        team.repository.write("s.yaml", SECRET);
        team.repository.commit("Two that are not watched");
        team.follow(json!({})).await;
        team.becomes("Applied").await;
        team.scene.kubectl(["patch", "configmap", "map", "-p", r#"{"data": {"a": "y"}}"#]).stdout();
        team.scene.kubectl(["patch", "secret", "s", "-p", r#"{"stringData": {"password": "battery"}}"#]).stdout();
        wait_for("both to be changed back", SOON * 2, async || {
            let map = team.scene.kubectl(["get", "configmap", "map", "-o", "jsonpath={.data.a}"]).stdout();
            let secret = team.scene.kubectl(["get", "secret", "s", "-o", "jsonpath={.data.password}"]).stdout();
            let back = map == "x" && secret == "Y29ycmVjdC1ob3JzZQ==";
            if back { Ok(()) } else { Err(format!("{map} {secret}")) }
        })
        .await;
    });
}

#[test]
fn entries_that_others_add_to_lists_are_taken_out_again() {
    team_test(async |team| {
        let text = instance("a", "1");
        let text = text.replace("version: \"1\"}", "version: \"1\", components: [{name: server, replicas: 2}]}");
        team.repository.write("a.yaml", &text);
        team.repository.commit("A cache");
        team.follow(json!({})).await;
        team.becomes("Applied").await;
        let more = json!({ "spec": { "components": [{ "name": "server", "replicas": 2 }, { "name": "proxy", "replicas": 1 }] } });
        edit(team, "a", more).await;
        wait_for("the entry to be taken out", SOON, async || {
            let found = team.instances().get("a").await.map_err(|error| error.to_string())?;
            let names: Vec<String> = found.spec.components.iter().map(|one| one.name.to_string()).collect();
            if names == ["server"] { Ok(()) } else { Err(format!("{names:?}")) }
        })
        .await;
        wait_for("that to be recorded", SOON, async || {
            let told = team.repository.audit();
            let reverted = told.iter().filter(|record| record.contains("1 reverted")).count();
            if reverted > 0 { Ok(()) } else { Err(format!("{told:#?}")) }
        })
        .await;
        let managed =
            team.scene.kubectl(["get", "instance", "a", "-o", "jsonpath={.spec.components[*].name}"]).stdout();
        assert_eq!(managed, "server");
        // what was ours stays ours: it goes with the file's next version
        team.repository.write("a.yaml", &text.replace("replicas: 2", "replicas: 3"));
        team.repository.commit("Larger");
        team.becomes("Applied").await;
        // what the controller saw may have been older than what it did: that is no second record
        let reverted = team.repository.audit().iter().filter(|record| record.contains("1 reverted")).count();
        assert_eq!(reverted, 1, "{:#?}", team.repository.audit());
    });
}
