//! What a source follows beside a branch: a tag, an annotated tag, the highest version in a range, one commit for ever.

use kube::api::PostParams;
use serde_json::{Value, json};

use super::repository::instance;
use super::{SOON, Team, team_test};
use crate::harness::wait_for;

/// Commits every source's instance in this version.
fn commit(team: &Team<'_>, version: &str) -> String {
    for name in ["annotated", "fixed", "range", "tag"] {
        team.repository.write(&format!("{name}/{name}.yaml"), &instance(name, version));
    }
    team.repository.commit(&format!("Version {version}"))
}

/// Makes a source of this name, which looks at the folder of this name.
async fn follow(team: &Team<'_>, name: &str, what: Value) {
    let mut source = team.source_object(json!({ "ref": what, "path": name, "audit": { "enabled": false } }));
    source.metadata.name = Some(name.to_owned());
    team.sources().create(&PostParams::default(), &source).await.expect("it can be made");
}

/// Waits until this is what the source has applied.
async fn applied(team: &Team<'_>, name: &str, expected: &str) {
    wait_for(&format!("{name} to have applied {expected}"), SOON, async || {
        let status = team.sources().get(name).await.map_err(|error| error.to_string())?.status.unwrap_or_default();
        if status.applied.as_deref() == Some(expected) { Ok(()) } else { Err(format!("{status:#?}")) }
    })
    .await;
}

#[test]
fn tags_and_ranges_move_their_sources_and_a_commit_never_does() {
    team_test(async |team| {
        let tag = |args: &[&str]| team.repository.git(&[&["tag"][..], args].concat());
        let first = commit(team, "1");
        tag(&["released"]);
        tag(&["-a", "-m", "As it should be", "stable"]);
        tag(&["v1.0.0"]);
        follow(team, "tag", json!({ "tag": "released" })).await;
        follow(team, "annotated", json!({ "tag": "stable" })).await;
        follow(team, "range", json!({ "semver": ">=1, <2" })).await;
        follow(team, "fixed", json!({ "commit": first })).await;
        team.has(&["annotated 1", "fixed 1", "range 1", "tag 1"]).await;
        applied(team, "tag", &format!("released@{}", &first[..10])).await;
        applied(team, "annotated", &format!("stable@{}", &first[..10])).await;
        applied(team, "range", &format!("v1.0.0@{}", &first[..10])).await;
        applied(team, "fixed", &format!("commit@{}", &first[..10])).await;

        // whoever sees the new version inside of the range could see those outside of it before
        let second = commit(team, "2");
        let third = commit(team, "3");
        tag(&["v2.0.0"]);
        tag(&["v1.9.0-rc.1"]);
        tag(&["-a", "-m", "A release", "v1.1.0", &second]);
        applied(team, "range", &format!("v1.1.0@{}", &second[..10])).await;
        team.has(&["annotated 1", "fixed 1", "range 2", "tag 1"]).await;

        tag(&["-f", "released"]);
        applied(team, "tag", &format!("released@{}", &third[..10])).await;
        tag(&["-f", "-a", "-m", "As it should be now", "stable"]);
        applied(team, "annotated", &format!("stable@{}", &third[..10])).await;
        let polls = team.polls();
        wait_for("every source to look once more", SOON, async || {
            let more = team.polls() - polls;
            if more >= 8 { Ok(()) } else { Err(format!("{more} looks")) }
        })
        .await;
        team.has(&["annotated 3", "fixed 1", "range 2", "tag 3"]).await;
    });
}
