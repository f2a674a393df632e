//! A cluster that refuses, answers that get lost, a disk that is full: nothing is lost or done twice, and the status says
//! what is wrong.

use std::collections::HashMap;
use std::process::Command;
use std::sync::Mutex;

use http::Method;
use serde_json::json;

use super::repository::instance;
use super::{SOON, Team, team_test};
use crate::api::controller::door::{Door, Fault};
use crate::api::controller::process::disks_can_be_made;
use crate::harness::{skip, wait_for};

/// What an API server says on a bad day.
const BAD_DAY: [Fault; 5] =
    [Fault::Status(429), Fault::LostAnswer, Fault::Status(500), Fault::Status(409), Fault::Status(503)];
/// How often each request goes wrong before it passes.
const TIMES: usize = 2;

/// The name of the instance a request writes.
fn written<'a>(method: &Method, path: &'a str) -> Option<&'a str> {
    let name = path.split_once("/instances/")?.1;
    (matches!(*method, Method::PATCH | Method::DELETE) && !name.contains('/')).then_some(name)
}

/// Every first writes of every instance go wrong, each in another way.
fn bad_day(door: &Door) {
    let tried: Mutex<HashMap<String, usize>> = Mutex::default();
    door.judge(move |method, path| {
        let name = written(method, path)?;
        let mut tried = tried.lock().expect("nobody panicked");
        let number = tried.len();
        let times = tried.entry(format!("{method} {name}")).or_insert(0);
        *times += 1;
        (*times <= TIMES).then(|| BAD_DAY[(number + *times) % BAD_DAY.len()])
    });
}

async fn behind_a_door(team: &mut Team<'_>) -> Door {
    let door = Door::open(&team.scene.client, &team.scene.kubeconfig()).await;
    team.start_behind(&door.kubeconfig);
    door
}

/// The instances a and b of version 1, applied through a door.
async fn two_caches(team: &mut Team<'_>) -> Door {
    let door = behind_a_door(team).await;
    for name in ["a", "b"] {
        team.repository.write(&format!("{name}.yaml"), &instance(name, "1"));
    }
    team.repository.commit("Two caches");
    team.follow(json!({})).await;
    team.becomes("Applied").await;
    door
}

/// The commit that the status says is applied.
async fn applied(team: &Team<'_>) -> Option<String> {
    team.source().await.status.unwrap_or_default().applied_commit
}

/// The files of instances that audit commits added or removed, as often as they did.
fn recorded(team: &Team<'_>, change: &str) -> Vec<String> {
    if team.repository.audit().is_empty() {
        return Vec::new();
    }
    let filter = format!("--diff-filter={change}");
    let log = team.repository.git(&["log", &filter, "--name-only", "--no-renames", "--format=", "midship/audit/test"]);
    let mut files: Vec<String> = log.lines().filter(|line| line.contains("instance")).map(str::to_owned).collect();
    files.sort();
    files
}

/// Waits until so many instances were recorded as added or removed, each once.
async fn records(team: &Team<'_>, change: &str, number: usize) {
    let mut files = wait_for(&format!("{number} records of {change}"), SOON, async || {
        let files = recorded(team, change);
        if files.len() >= number { Ok(files) } else { Err(format!("{files:#?}")) }
    })
    .await;
    files.dedup();
    assert_eq!(files.len(), number, "{files:#?}");
    assert_eq!(recorded(team, change).len(), number, "one was recorded twice");
}

#[test]
fn what_the_api_server_refuses_for_a_while_is_done_later_and_recorded_once() {
    team_test(async |team| {
        let door = behind_a_door(team).await;
        bad_day(&door);
        let names: Vec<String> = (0..10).map(|number| format!("c{number}")).collect();
        for name in &names {
            team.repository.write(&format!("{name}.yaml"), &instance(name, "7.0"));
        }
        team.repository.commit("Ten caches");
        team.follow(json!({})).await;
        team.becomes("Applied").await;
        let all: Vec<String> = names.iter().map(|name| format!("{name} 7.0")).collect();
        assert_eq!(team.running().await, all);
        records(team, "A", names.len()).await;

        bad_day(&door);
        for name in &names[8..] {
            team.repository.remove(&format!("{name}.yaml"));
        }
        team.repository.commit("Two less\n\nMidship-Allow-Deletions: 2");
        team.becomes("Applied").await;
        let left: Vec<&str> = all[..8].iter().map(String::as_str).collect();
        team.has(&left).await;
        records(team, "D", 2).await;
    });
}

#[test]
fn what_the_api_server_keeps_refusing_is_named_and_keeps_nothing_else_waiting() {
    team_test(async |team| {
        let door = two_caches(team).await;

        door.judge(|method, path| (written(method, path)? == "a").then_some(Fault::Status(500)));
        for name in ["a", "b"] {
            team.repository.write(&format!("{name}.yaml"), &instance(name, "2"));
        }
        team.repository.commit("Both grow");
        let message = team.becomes("NotAllApplied").await;
        assert!(message.contains(&format!("Instance {}/a", team.scene.namespace)), "{message}");
        assert!(message.contains("InternalError by the test"), "{message}");
        assert_eq!(team.running().await, ["a 1", "b 2"]);
        let head = team.repository.head();
        assert_eq!(applied(team).await.as_ref(), Some(&head), "all else is");
        let audit = team.recorded(2).await;
        assert!(audit[1].contains("Midship-Result: partly applied"), "{}", audit[1]);

        door.let_everything_pass();
        team.becomes("Applied").await;
        assert_eq!(team.running().await, ["a 2", "b 2"]);
        team.recorded(3).await;

        // where nothing of a commit is taken, the one before is applied, and both say so
        door.judge(|method, path| written(method, path).map(|_| Fault::Status(500)));
        for name in ["a", "b"] {
            team.repository.write(&format!("{name}.yaml"), &instance(name, "3"));
        }
        team.repository.commit("Both grow again");
        team.becomes("NotAllApplied").await;
        assert_eq!(applied(team).await, Some(head));
        let audit = team.recorded(4).await;
        assert!(audit[3].contains("Midship-Result: failed"), "{}", audit[3]);
        door.let_everything_pass();
        team.becomes("Applied").await;
        assert_eq!(applied(team).await, Some(team.repository.head()));

        // a server that does not know the kind any more takes nothing along
        door.judge(|method, path| written(method, path).map(|_| Fault::Status(404)));
        team.repository.write("a.yaml", &instance("a", "4"));
        team.repository.write("c.yaml", &instance("c", "1"));
        team.repository.commit("One grows, and one comes");
        let message = team.becomes("NotAllApplied").await;
        let remedy = "if a whole kind is unknown, `midship doctor` says how to install Midship's definitions";
        assert!(message.contains(": not found: ") && message.contains(remedy), "{message}");
        assert_eq!(team.running().await, ["a 3", "b 3"]);
        door.let_everything_pass();
        team.becomes("Applied").await;
        team.has(&["a 4", "b 3", "c 1"]).await;
    });
}

#[test]
fn nothing_is_deleted_while_the_cluster_cannot_be_seen_in_full() {
    team_test(async |team| {
        let door = two_caches(team).await;

        door.judge(|method, path| {
            (*method == Method::GET && path.ends_with("/configmaps")).then_some(Fault::Status(500))
        });
        team.repository.remove("b.yaml");
        team.repository.commit("One less\n\nMidship-Allow-Deletions: 1");
        team.says("NotObserved").await;
        assert_eq!(team.running().await, ["a 1", "b 1"]);

        door.let_everything_pass();
        team.has(&["a 1"]).await;
    });
}

#[test]
fn a_full_disk_is_named_changes_nothing_and_is_overcome_when_there_is_room_again() {
    if !disks_can_be_made() {
        let name = "a_full_disk_is_named_changes_nothing_and_is_overcome_when_there_is_room_again";
        skip(name, "this machine lets us mount nothing");
        return;
    }
    team_test(async |team| {
        team.repository.write("a.yaml", &instance("a", "1"));
        team.repository.commit("A cache");
        team.start_with_little_disk("512k");
        team.follow(json!({})).await;
        team.becomes("Applied").await;

        let noise = Command::new("head").args(["-c", "2000000", "/dev/urandom"]).output().expect("noise");
        team.repository.write_bytes("noise.bin", &noise.stdout);
        team.repository.write("a.yaml", &instance("a", "2"));
        team.repository.commit("Too much");
        let message = team.says("CacheStorage").await;
        assert!(message.contains("No space left on device"), "{message}");
        assert_eq!(team.running().await, ["a 1"]);

        team.repository.remove("noise.bin");
        team.repository.commit("Less again");
        team.becomes("Applied").await;
        assert_eq!(team.running().await, ["a 2"]);
    });
}
