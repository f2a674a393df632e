//! Operations from a repository: each is done once for what its file says.

use kube::api::DeleteParams;
use kube::{Api, ResourceExt};
use midship::api::Operation;
use serde_json::json;

use super::repository::instance;
use super::{SOON, team_test};
use crate::harness::wait_for;

fn restart(ttl: &str) -> String {
    format!(
        "apiVersion: midship.dev/v1alpha1\nkind: Operation\nmetadata: {{name: restart}}\nspec: {{instance: a, type: Restart, suspend: true, ttl: {ttl}}}\n"
    )
}

#[test]
fn an_operation_whose_object_was_cleaned_away_is_not_done_again() {
    team_test(async |team| {
        team.repository.write("a.yaml", &instance("a", "1"));
        team.repository.write("operations/restart.yaml", &restart("1d"));
        team.repository.commit("Restart it");
        team.follow(json!({})).await;
        team.becomes("Applied").await;
        let operations: Api<Operation> = team.scene.objects();
        assert!(operations.get("restart").await.is_ok());
        let gone = async || {
            operations.delete("restart", &DeleteParams::default()).await.expect("it can be deleted");
            wait_for("it to be gone", SOON, async || {
                let found = operations.get_opt("restart").await.expect("it can be asked for");
                found.map_or(Ok(()), |one| Err(one.name_any()))
            })
            .await;
        };
        gone().await;
        // whoever looks at everything again has looked at this
        team.repository.write("a.yaml", &instance("a", "2"));
        team.repository.commit("Newer");
        team.becomes("Applied").await;
        assert!(operations.get_opt("restart").await.expect("it can be asked for").is_none());

        // neither does another controller, and it says so of other content under the same name
        team.controller.signal(nix::sys::signal::Signal::SIGKILL);
        team.controller.exit(SOON).await;
        team.start_again();
        team.repository.write("operations/restart.yaml", &restart("2d"));
        team.repository.commit("Once more");
        let message = team.becomes("InvalidFiles").await;
        assert!(
            message.contains("operations/restart.yaml:1:1: ") && message.contains("give this one a name of its own"),
            "{message}"
        );
        assert!(operations.get_opt("restart").await.expect("it can be asked for").is_none());
        team.repository.write("operations/restart.yaml", &restart("2d").replace("restart}", "restart-2}"));
        team.repository.commit("With a name of its own");
        team.becomes("Applied").await;
        assert!(operations.get("restart-2").await.is_ok());
    });
}
