//! What several sources could take for theirs, and a source that looks elsewhere: nothing is deleted for that.

use kube::api::{DeleteParams, PostParams};
use serde_json::{Value, json};

use super::repository::{Repository, instance};
use super::{SOON, Team, team_test};
use crate::harness::wait_for;

/// More than a status lists.
const MANY: usize = 55;

async fn identity(team: &Team<'_>, name: &str) -> Option<String> {
    team.instances().get(name).await.expect("it is there").metadata.uid
}

/// Another source, whose repository defines a of version 2, and c; waits until it tells whose a is.
async fn second(team: &Team<'_>) -> Repository {
    let other = Repository::new();
    other.write("a.yaml", &instance("a", "2"));
    other.write("c.yaml", &instance("c", "1"));
    other.commit("One of theirs, and another");
    also_defines(team, ("second", &other), "a", json!({})).await;
    other
}

/// Follows another repository that defines an object of ours; waits until it tells whose that is.
async fn also_defines(team: &Team<'_>, (name, other): (&str, &Repository), ours: &str, more: Value) {
    let namespace = &team.scene.namespace;
    let mut spec = json!({ "url": other.url(), "audit": { "enabled": false } });
    spec.as_object_mut().expect("a mapping").extend(more.as_object().expect("a mapping").clone());
    let mut source = team.source_object(spec);
    source.metadata.name = Some(name.into());
    team.sources().create(&PostParams::default(), &source).await.expect("it can be made");
    let told = format!(
        "Instance {namespace}/{ours} is applied by the GitSource {namespace}.main; define it in one repository only"
    );
    wait_for(&format!("the {name} to tell whose it is"), SOON, async || {
        let status = team.sources().get(name).await.expect("it is there").status.unwrap_or_default();
        match status.errors.as_slice() {
            [one] if one.message == told && one.path == format!("{ours}.yaml") => Ok(()),
            _ => Err(format!("{status:#?}")),
        }
    })
    .await;
}

#[test]
fn what_another_source_defines_too_is_neither_taken_nor_deleted_and_can_be_handed_over() {
    team_test(async |team| {
        let namespace = team.scene.namespace.clone();
        team.repository.write("a.yaml", &instance("a", "1"));
        team.repository.write("b.yaml", &instance("b", "1"));
        let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: map}\ndata: {a: b}\n";
        team.repository.write("map.yaml", map);
        team.repository.commit("Two caches, and a map");
        team.follow(json!({})).await;
        team.becomes("Applied").await;
        let before = identity(team, "a").await;

        let _other = second(team).await;
        assert_eq!(team.running().await, ["a 1", "b 1", "c 1"]);

        team.repository.remove("a.yaml");
        team.repository.commit("It is the other's now\n\nMidship-Allow-Deletions: 1");
        assert_eq!(
            team.becomes("Held").await,
            format!(
                "Instance {namespace}/a is not defined any more, and the GitSource {namespace}/second defines it, too: set its \
                 label midship.dev/source to {namespace}.second, and that one takes it over; if it is to go, delete it by hand; \
                 it is deleted once nobody needs it"
            )
        );
        assert_eq!(team.running().await, ["a 1", "b 1", "c 1"]);
        let label = format!("midship.dev/source={namespace}.second");
        team.scene.kubectl(["label", "--overwrite", "instances.midship.dev", "a", &label]).stdout();
        team.has(&["a 2", "b 1", "c 1"]).await;
        assert_eq!(identity(team, "a").await, before, "it is the same, not one like it");
        team.becomes("Applied").await;

        // whoever could not take it over keeps nothing from going
        team.scene.kubectl(["create", "serviceaccount", "powerless"]).stdout();
        let third = Repository::new();
        third.write("b.yaml", &instance("b", "1"));
        third.commit("One of ours");
        also_defines(team, ("third", &third), "b", json!({ "serviceAccountName": "powerless" })).await;
        team.repository.remove("b.yaml");
        team.repository.commit("It goes\n\nMidship-Allow-Deletions: 1");
        team.has(&["a 2", "c 1"]).await;
        team.becomes("Applied").await;
    });
}

#[test]
fn a_source_that_takes_along_what_it_applied_leaves_to_another_what_that_defines_too() {
    team_test(async |team| {
        team.repository.write("a.yaml", &instance("a", "1"));
        team.repository.write("b.yaml", &instance("b", "1"));
        team.repository.commit("Two caches");
        team.follow(json!({ "deletionPolicy": "Delete" })).await;
        team.becomes("Applied").await;
        let before = identity(team, "a").await;
        let _other = second(team).await;
        team.sources().delete("main", &DeleteParams::background()).await.expect("it can be deleted");
        team.has(&["a 2", "c 1"]).await;
        assert_eq!(identity(team, "a").await, before, "it is the same, not one like it");

        let namespace = &team.scene.namespace;
        let told = format!(
            "GitSource {namespace}/main was deleted: of what it applied 1 object is deleted too, 1 object was handed over\n\n\
             Handed over:\n- Instance {namespace}/a to the GitSource {namespace}.second\n"
        );
        wait_for("the record to tell what became of each", SOON, async || {
            let audit = team.repository.audit();
            if audit.iter().any(|one| one.contains(&told)) { Ok(()) } else { Err(format!("{audit:#?}")) }
        })
        .await;
        let files = team.repository.audit_files();
        assert!(!files.iter().any(|file| file.contains("/objects/")), "neither is of this source any more: {files:#?}");
    });
}

#[test]
fn more_than_a_status_lists_is_held_for_another_source_and_all_else_is_deleted() {
    team_test(async |team| {
        let namespace = team.scene.namespace.clone();
        let names: Vec<String> = (0..=MANY).map(|n| format!("i{n:02}")).collect();
        for name in &names {
            team.repository.write(&format!("{name}.yaml"), &instance(name, "1"));
        }
        team.repository.write("stays.yaml", &instance("stays", "1"));
        team.repository.commit("Many caches");
        team.follow(json!({})).await;
        team.becomes("Applied").await;

        let other = Repository::new();
        for name in &names[..MANY] {
            other.write(&format!("{name}.yaml"), &instance(name, "1"));
        }
        other.commit("All of theirs but one");
        let mut second = team.source_object(json!({ "url": other.url(), "audit": { "enabled": false } }));
        second.metadata.name = Some("second".into());
        team.sources().create(&PostParams::default(), &second).await.expect("it can be made");
        wait_for("the second to have more to tell than its status lists", SOON, async || {
            let status = team.sources().get("second").await.expect("it is there").status.unwrap_or_default();
            let failed = status.counts.as_ref().and_then(|counts| usize::try_from(counts.failed).ok());
            if failed == Some(MANY) && status.errors.len() < MANY { Ok(()) } else { Err(format!("{status:#?}")) }
        })
        .await;

        for name in &names {
            team.repository.remove(&format!("{name}.yaml"));
        }
        team.repository.commit("They are the other's now\n\nMidship-Allow-Deletions: 100");
        assert_eq!(
            team.becomes("Held").await,
            format!(
                "Instance {namespace}/i00 is not defined any more, and the GitSource {namespace}/second defines it, too: set its \
                 label midship.dev/source to {namespace}.second, and that one takes it over; if it is to go, delete it by hand; \
                 it is deleted once nobody needs it; {} more are needed, too, and status.held says by whom",
                MANY - 1
            )
        );
        let mut left: Vec<String> = names[..MANY].iter().map(|name| format!("{name} 1")).collect();
        left.push("stays 1".to_owned());
        // the one that nobody else defines is gone
        team.has(&left.iter().map(String::as_str).collect::<Vec<_>>()).await;
    });
}

/// Waits until the source holds deletions and begins to say so with these words.
async fn holds(team: &Team<'_>, said: &str) {
    wait_for(&format!("the source to say {said}"), SOON, async || {
        let message = team.says("Held").await;
        if message.starts_with(said) { Ok(()) } else { Err(message) }
    })
    .await;
}

#[test]
fn a_source_that_is_pointed_elsewhere_holds_what_is_not_defined_there() {
    team_test(async |team| {
        for (folder, name) in [("apps", "a"), ("apps", "b"), ("other", "c")] {
            team.repository.write(&format!("{folder}/{name}.yaml"), &instance(name, "1"));
        }
        team.repository.commit("Two folders");
        team.follow(json!({ "path": "apps" })).await;
        team.becomes("Applied").await;
        team.has(&["a 1", "b 1"]).await;

        team.patch_source(json!({ "spec": { "path": "other" } })).await;
        holds(team, "2 of 3 objects would be deleted, more than the 1 that the budget allows").await;
        team.has(&["a 1", "b 1", "c 1"]).await;

        // a repository that was made anew, in which one file was forgotten and one is new
        let anew = Repository::new();
        anew.write("other/d.yaml", &instance("d", "1"));
        anew.commit("Begin again");
        team.patch_source(json!({ "spec": { "url": anew.url() } })).await;
        holds(team, "3 of 4 objects would be deleted, more than the 1 that the budget allows").await;
        team.has(&["a 1", "b 1", "c 1", "d 1"]).await;
    });
}

#[test]
fn a_source_that_is_made_anew_at_once_takes_up_what_it_applied_and_says_how_it_stands() {
    team_test(async |team| {
        team.repository.write("a.yaml", &instance("a", "1"));
        team.repository.commit("A cache");
        team.follow(json!({})).await;
        team.becomes("Applied").await;
        let (source, before) = (team.source().await.metadata.uid, identity(team, "a").await);
        team.sources().delete("main", &DeleteParams::background()).await.expect("it can be deleted");
        team.follow(json!({})).await;
        assert_ne!(team.source().await.metadata.uid, source, "it is another one");
        team.becomes("Applied").await;
        assert_eq!(identity(team, "a").await, before, "it is the same, not one like it");
        team.has(&["a 1"]).await;
    });
}
