//! What cannot be read keeps what it defined: renamed and broken, split, replaced by a link, a package with a mistake.

use std::os::unix::fs::symlink;

use kube::Api;
use midship::api::Extension;
use serde_json::json;

use super::repository::instance;
use super::team::Team;
use super::{SOON, team_test};
use crate::harness::{midship, wait_for};

#[test]
fn what_moved_into_something_that_cannot_be_read_stays() {
    team_test(async |team| {
        for name in ["a", "b", "c", "d"] {
            team.repository.write(&format!("{name}.yaml"), &instance(name, "1"));
        }
        team.repository.write("sub/e.yaml", &instance("e", "1"));
        team.repository.commit("Five caches");
        team.follow(json!({ "prune": { "maxCount": 10, "maxPercent": 100 } })).await;
        team.becomes("Applied").await;
        let all = ["a 1", "b 1", "c 1", "d 1", "e 1"];
        team.has(&all).await;
        // renamed first, broken then
        team.repository.git(&["mv", "a.yaml", "moved.yaml"]);
        team.repository.commit("Move");
        team.becomes("Applied").await;
        team.repository.write("moved.yaml", "kind: [");
        team.repository.commit("Break what moved");
        team.becomes("InvalidFiles").await;
        // renamed and broken at once, with its name still to be read, and without
        team.repository.remove("b.yaml");
        team.repository.write("also.yaml", &instance("b", "1").replace("version:", "versoin:"));
        team.repository.commit("Move and break");
        team.becomes("InvalidFiles").await;
        team.repository.remove("c.yaml");
        team.repository.write("third.yaml", &instance("c", "1").replace("kind: Instance", "kind: [Instance"));
        team.repository.commit("Move and break altogether");
        held(team, "c").await;
        // in two files at once
        team.repository.remove("d.yaml");
        team.repository.write("d1.yaml", &instance("d", "1"));
        team.repository.write("d2.yaml", &instance("d", "1"));
        team.repository.commit("Twice");
        team.becomes("InvalidFiles").await;
        // a link where a folder was
        team.repository.git(&["rm", "-q", "-r", "sub"]);
        symlink("/etc", team.repository.path().join("sub")).expect("a link can be made");
        team.repository.commit("A link");
        let message = wait_for("the link to be told", SOON, async || {
            let errors = team.errors().await;
            errors.iter().find(|error| error.starts_with("sub symlink")).cloned().ok_or(format!("{errors:#?}"))
        })
        .await;
        assert!(message.contains("is a symbolic link"), "{message}");
        assert_eq!(team.running().await, all);
        // mended, what is really gone goes
        for name in ["also.yaml", "third.yaml", "moved.yaml", "d1.yaml", "sub"] {
            team.repository.remove(name);
        }
        team.repository.commit("Only one is left");
        team.becomes("Applied").await;
        team.has(&["d 1"]).await;
    });
}

/// Waits until the deletion of an instance is held.
async fn held(team: &Team<'_>, name: &str) {
    wait_for(&format!("the deletion of {name} to be held"), SOON, async || {
        let status = team.source().await.status.unwrap_or_default();
        if status.held == [format!("Instance {}/{name}", team.scene.namespace)] {
            Ok(())
        } else {
            Err(format!("{status:#?}"))
        }
    })
    .await;
}

#[test]
fn a_mistake_in_a_package_leaves_the_installed_one() {
    team_test(async |team| {
        // Extensions are everybody's: this one has a name of its own
        team.repository.write("a.yaml", &instance("a", "1"));
        let type_ = format!("t{}", &team.repository.commit("A cache")[..8]);
        let folder = team.repository.path().join("extensions");
        midship().args(["extension", "new", &type_, "--to"]).arg(&folder).stdout();
        team.repository.commit("A package");
        team.follow(json!({ "prune": { "maxCount": 10, "maxPercent": 100 } })).await;
        team.becomes("Applied").await;
        let name = format!("{type_}-0.1.0");
        let extensions: Api<Extension> = Api::all(team.scene.client.clone());
        let uid = extensions.get(&name).await.expect("it is installed").metadata.uid;
        let file = format!("extensions/{type_}/0.1.0/config/server.conf.j2");
        let text = std::fs::read_to_string(team.repository.path().join(&file)).expect("the scaffold has it");
        team.repository.write(&file, &format!("{text}{{{{ nope\n"));
        team.repository.commit("A mistake");
        let message = team.becomes("InvalidFiles").await;
        assert!(message.contains(&file), "{message}");
        // half a package is none either
        team.repository.write(&file, &text);
        symlink("/etc/passwd", folder.join(&type_).join("0.1.0/link")).expect("a link can be made");
        team.repository.commit("A link in it");
        team.becomes("InvalidFiles").await;
        let now = extensions.get(&name).await.expect("it is installed still").metadata;
        assert_eq!((now.uid, now.deletion_timestamp), (uid, None));
        team.repository.git(&["rm", "-q", "-r", "extensions"]);
        team.repository.commit("Take it away");
        wait_for("the Extension to be gone", SOON, async || match extensions.get_opt(&name).await {
            Ok(None) => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
    });
}
