//! The controller is killed at any moment: afterwards cluster, repository and audit branch agree.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;

use super::repository::instance;
use super::{SOON, Team, team_test};
use crate::harness::wait_for;

/// How long a start may take on a busy machine.
const STARTED: Duration = Duration::from_mins(2);

#[test]
fn a_controller_killed_again_and_again_loses_nothing_and_records_nothing_twice() {
    team_test(async |team| kill_often(team, 8).await);
}

mod chaos {
    use super::{kill_often, team_test};

    #[test]
    fn two_hundred_kills_lose_nothing_and_record_nothing_twice() {
        team_test(async |team| kill_often(team, 200).await);
    }
}

async fn kill_often(team: &mut Team<'_>, rounds: u64) {
    team.repository.write("keep.yaml", &instance("keep", "7.0"));
    team.repository.commit("A cache that stays");
    team.follow(json!({ "prune": { "maxCount": 100, "maxPercent": 100 } })).await;
    let mut versions = Vec::new();
    for round in 0..rounds {
        for number in 0..10 {
            team.repository
                .write(&format!("i{number}.yaml"), &instance(&format!("i{number}"), &format!("1.{round}.{number}")));
        }
        if round > 0 && round.is_multiple_of(3) {
            team.repository.remove("i9.yaml");
        }
        versions.push(team.repository.commit(&format!("Round {round}")));
        // a different moment each round, spread over the time a sync takes; before that there is nothing to be killed in
        team.controller.logs("all objects are known", STARTED).await;
        let moment = Duration::from_millis((round * 137) % 1500);
        tokio::time::sleep(moment).await;
        team.controller.signal(Signal::SIGKILL);
        team.controller.exit(SOON).await;
        team.start_again();
    }
    team.becomes("Applied").await;
    let head = team.repository.head();
    let number = if rounds > 1 && (rounds - 1).is_multiple_of(3) { 10 } else { 11 };
    let audit = wait_for(&format!("the audit branch to hold the {number} that are applied"), SOON, async || {
        let files = if team.repository.audit().is_empty() { Vec::new() } else { team.repository.audit_files() };
        let (running, wrong) = (team.running().await, differing(team).await);
        if running.len() == number && files.len() == number + 1 && wrong.is_empty() {
            Ok(team.repository.audit())
        } else {
            Err(format!("{running:?} {files:?} {wrong:?}"))
        }
    })
    .await;
    let mut records: Vec<&str> =
        audit.iter().filter_map(|message| message.lines().find(|line| line.starts_with("Midship-Record: "))).collect();
    let all = records.len();
    records.sort_unstable();
    records.dedup();
    assert_eq!(records.len(), all, "a record stands on the branch twice");
    assert_eq!(all, audit.len(), "a commit has no record");
    let last = audit.last().expect("something was applied");
    assert!(versions.iter().any(|version| last.contains(version.as_str())) || last.contains(&head), "{last}");
    team.repository.git(&["fsck", "--strict"]);
}

/// Instances whose applied version is not the one on the audit branch.
async fn differing(team: &Team<'_>) -> Vec<String> {
    let namespace = &team.scene.namespace;
    let mut wrong = Vec::new();
    for one in team.running().await {
        let (name, version) = one.split_once(' ').expect("name and version");
        let file = format!("midship/audit/test:{namespace}/main/objects/{namespace}/instance/{name}.yaml");
        let told = crate::harness::Run::new("git").arg("-C").arg(team.repository.path()).args(["show", &file]).output();
        if !told.stdout.contains(&format!("\"{version}\"")) && !told.stdout.contains(&format!("version: {version}")) {
            wrong.push(one);
        }
    }
    wrong
}
