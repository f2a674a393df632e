//! History that was rewritten where nobody asked for fast-forwards only: it is applied, and told.

use midship::api::conditions::find;
use serde_json::json;

use super::repository::instance;
use super::{SOON, team_test};
use crate::harness::wait_for;

#[test]
fn a_rewritten_history_is_applied_and_told_by_event_condition_and_record() {
    team_test(async |team| {
        team.repository.write("a.yaml", &instance("a", "1"));
        let first = team.repository.commit("First");
        team.follow(json!({})).await;
        team.recorded(1).await;
        // several commits at once follow, too; made aside, so that nobody looks between them
        team.repository.git(&["checkout", "-q", "-b", "more"]);
        for version in ["2", "3"] {
            team.repository.write("a.yaml", &instance("a", version));
            team.repository.commit(&format!("To {version}"));
        }
        team.repository.git(&["checkout", "-q", "-B", "main"]);
        let last = team.repository.head();
        let audit = team.recorded(2).await;
        assert!(!audit[1].contains("not an ancestor"), "{}", audit[1]);
        let status = team.source().await.status.unwrap_or_default();
        assert!(find(&status.conditions, "HistoryRewritten").is_none(), "{status:#?}");

        team.repository.git(&["checkout", "-q", "-b", "other", &first]);
        team.repository.write("a.yaml", &instance("a", "9"));
        team.repository.commit("Rewritten");
        team.repository.git(&["checkout", "-q", "-B", "main"]);
        let rewritten = team.repository.head();
        let audit = team.recorded(3).await;
        let told = format!("the previous revision {} is not an ancestor of it", &last[..10]);
        assert!(audit[2].contains(&told), "{}", audit[2]);
        assert!(audit[2].contains(&format!("Midship-Rewritten-From: {last}")), "{}", audit[2]);
        team.has(&["a 9"]).await;
        let status = team.source().await.status.unwrap_or_default();
        let condition = find(&status.conditions, "HistoryRewritten").expect("it is told");
        assert!(condition.message.contains(&told) && condition.message.contains(&rewritten[..10]), "{condition:?}");
        let events = team.scene.kubectl(["get", "events", "-o", "jsonpath={.items[*].reason}"]).stdout();
        assert!(events.contains("HistoryRewritten"), "{events}");

        // one that changes no object is told as well
        team.repository.git(&["commit", "-q", "--amend", "--allow-empty", "-m", "The same in other words"]);
        let audit = team.recorded(4).await;
        assert!(
            audit[3].contains(": record what is applied\n") && audit[3].contains("not an ancestor"),
            "{}",
            audit[3]
        );

        team.repository.write("a.yaml", &instance("a", "10"));
        team.repository.commit("On from there");
        team.recorded(5).await;
        wait_for("the condition to end", SOON, async || {
            let status = team.source().await.status.unwrap_or_default();
            let ended = find(&status.conditions, "HistoryRewritten").is_some_and(|one| one.reason == "Follows");
            if ended { Ok(()) } else { Err(format!("{status:#?}")) }
        })
        .await;
    });
}
