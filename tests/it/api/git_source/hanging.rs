//! Servers that take connections and never answer.

use kube::api::PostParams;
use midship::api::GitSource;
use serde_json::json;

use super::repository::instance;
use super::{SOON, team_test};
use crate::harness::wait_for;

/// More than there are workers for looking.
const HANGING: usize = 100;

#[test]
fn a_hundred_servers_that_hang_keep_no_source_waiting_that_answered_before() {
    team_test(async |team| {
        team.repository.write("a.yaml", &instance("a", "1"));
        team.repository.commit("A cache");
        team.follow(json!({})).await;
        team.becomes("Applied").await;
        let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/team/app.git", silent.local_addr().expect("an address"));
        for number in 0..HANGING {
            let object = json!({ "apiVersion": "midship.dev/v1alpha1", "kind": "GitSource",
                "metadata": { "name": format!("hangs-{number}") },
                "spec": { "url": url, "ref": { "branch": "main" }, "timeout": "5m" } });
            let object: GitSource = serde_json::from_value(object).expect("a source");
            team.sources().create(&PostParams::default(), &object).await.expect("it can be made");
        }
        // by the time the second of these is applied, all the others were taken up
        for version in ["2", "3"] {
            team.repository.write("a.yaml", &instance("a", version));
            team.repository.commit("Another version");
            wait_for("the new version to be applied", SOON, async || {
                let found = team.instances().get("a").await.expect("it is there").spec.version.to_string();
                if found == version { Ok(()) } else { Err(found) }
            })
            .await;
        }
    });
}
