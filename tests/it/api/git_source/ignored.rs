//! Files that `midship.yaml` leaves out: as if they were not there, with the same care for what goes.

use serde_json::json;

use super::repository::instance;
use super::team_test;

#[test]
fn what_is_left_out_goes_through_the_budget_like_what_is_deleted() {
    team_test(async |team| {
        team.repository.write("compose.yaml", "services: {}\n");
        team.repository.write("charts/app/values.yaml", "replicas: 3\n");
        for name in ["a", "b", "c", "d"] {
            team.repository.write(&format!("caches/{name}.yaml"), &instance(name, "1"));
        }
        team.repository.commit("Four caches among others");
        team.follow(json!({ "prune": { "maxCount": 1, "maxPercent": 100 } })).await;
        let message = team.becomes("InvalidFiles").await;
        assert!(message.contains("name it under ignore in midship.yaml"), "{message}");
        team.has(&["a 1", "b 1", "c 1", "d 1"]).await;

        team.repository.write("midship.yaml", "ignore:\n  - /compose.yaml\n  - charts/\n  - caches/a.yaml\n");
        team.repository.commit("Leave out what is not ours, and one cache");
        team.becomes("Applied").await;
        team.has(&["b 1", "c 1", "d 1"]).await;

        team.repository.write("midship.yaml", "ignore:\n  - /*\n  - \"!/caches\"\n  - caches/[a-c].yaml\n");
        team.repository.commit("Leave out two more");
        let message = team.becomes("Held").await;
        assert!(message.contains("2 of 3 objects would be deleted"), "{message}");
        assert!(message.contains("caches/b.yaml is ignored by midship.yaml:4"), "{message}");
        assert_eq!(team.running().await, ["b 1", "c 1", "d 1"]);

        // a file that was left out and is not any more is one like any other
        team.repository.write("midship.yaml", "ignore: [/compose.yaml, charts/]\n");
        team.repository.commit("Take them back");
        team.becomes("Applied").await;
        team.has(&["a 1", "b 1", "c 1", "d 1"]).await;
    });
}

#[test]
fn while_nobody_can_tell_what_is_left_out_nothing_new_is_applied_and_nothing_goes() {
    team_test(async |team| {
        team.repository.write("midship.yaml", "ignore: [drafts/]\n");
        team.repository.write("a.yaml", &instance("a", "1"));
        team.repository.write("drafts/b.yaml", &instance("b", "1"));
        team.repository.commit("One, and a draft");
        team.follow(json!({})).await;
        team.becomes("Applied").await;
        team.has(&["a 1"]).await;

        // another controller does not know what was left out before
        team.controller.signal(nix::sys::signal::Signal::SIGKILL);
        team.controller.exit(super::SOON).await;
        team.repository.write("midship.yaml", "ignore: [drafts/\n");
        team.repository.write("a.yaml", &instance("a", "2"));
        team.repository.commit("Break the settings");
        team.start_again();
        team.becomes("InvalidFiles").await;
        team.has(&["a 2"]).await;
        let errors = team.errors().await;
        assert!(errors[0].starts_with("midship.yaml:"), "{errors:#?}");
        let held = "drafts/b.yaml:1:1 settings: drafts/b.yaml may be a file that midship.yaml leaves out";
        assert!(errors.iter().any(|error| error.starts_with(held)), "{errors:#?}");

        team.repository.write("midship.yaml", "ignore: [drafts/]\n");
        team.repository.commit("Mend them");
        team.becomes("Applied").await;
        team.has(&["a 2"]).await;
    });
}
