//! The controller is killed at any moment while it follows a repository on a real server, over HTTPS with a password:
//! afterwards cluster, repository and audit branch agree.

use std::collections::BTreeSet;
use std::time::Duration;

use kube::ResourceExt;
use kube::api::ListParams;
use nix::sys::signal::Signal;
use serde_json::json;

use super::repository::instance;
use super::served::ways;
use super::{SOON, Team, team_test};
use crate::forge::fixture::{Repository, forge};
use crate::harness::{Random, Run, wait_for};

/// How long a start may take on a busy machine.
const STARTED: Duration = Duration::from_mins(2);
/// Longer than a sync takes.
const SYNC: u64 = 1500;
/// Longer than a start takes on a machine with nothing else to do.
const START: u64 = 2500;
const BRANCH: &str = "midship/audit/test";

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

/// What the file of an instance says after so many rounds; it is in no other file.
fn version(round: u64, number: usize) -> String {
    format!("30.{round}.{number}")
}

/// How many of the instances that change are there: every third round one of them goes.
fn many(round: u64) -> usize {
    if round > 0 && round.is_multiple_of(3) { 9 } else { 10 }
}

async fn kill_often(team: &mut Team<'_>, rounds: u64) {
    let mut random = Random::new();
    let server = forge().repository("killed");
    team.repository.write("keep.yaml", &instance("keep", "7.0"));
    team.repository.commit("A cache that stays");
    server.push_from(team.repository.path(), "HEAD");
    let (url, login) = ways(&server)[0].clone();
    let login: Vec<(&str, &str)> = login.iter().map(|(key, value)| (*key, value.as_str())).collect();
    team.secret("login", &login).await;
    let budget = json!({ "maxCount": 100, "maxPercent": 100 });
    team.follow(json!({ "url": url, "credentials": { "name": "login" }, "prune": budget })).await;
    let (mut commits, mut applied) = (Vec::new(), BTreeSet::new());
    for round in 0..rounds {
        for number in 0..10 {
            let path = format!("i{number}.yaml");
            if number < many(round) {
                team.repository.write(&path, &instance(&format!("i{number}"), &version(round, number)));
            } else {
                team.repository.remove(&path);
            }
        }
        commits.push(team.repository.commit(&format!("Round {round}")));
        server.push_from(team.repository.path(), "HEAD");
        // while it starts, or while it works
        let moment = if random.below(4) == 0 {
            random.below(START)
        } else {
            team.controller.logs("all objects are known", STARTED).await;
            random.below(SYNC)
        };
        tokio::time::sleep(Duration::from_millis(moment)).await;
        team.controller.signal(Signal::SIGKILL);
        team.controller.exit(SOON).await;
        applied.extend(applied_from(team).await);
        team.start_again();
    }
    team.becomes("Applied").await;
    agree(team, &server, rounds - 1).await;
    let recorded = records_are_right(team, &commits);
    let missing: Vec<_> = applied.difference(&recorded).collect();
    assert_eq!(missing, Vec::<&String>::new(), "applied, and no record names it");
    server.on_server(&["fsck", "--strict"]);
    println!("{rounds} kills, {} commits applied, {} audit commits", applied.len(), team.repository.audit().len());
}

/// The commits that objects say they were applied from.
async fn applied_from(team: &Team<'_>) -> Vec<String> {
    let list = team.instances().list(&ListParams::default()).await.expect("they can be listed");
    list.items.iter().filter_map(|one| one.annotations().get("midship.dev/source-commit").cloned()).collect()
}

/// Takes what was recorded on the server into the repository here.
fn fetch(team: &Team<'_>, server: &Repository) {
    let place = server.folder().display().to_string();
    team.repository.git(&["fetch", "-q", "--force", &place, "refs/heads/midship/*:refs/heads/midship/*"]);
}

/// Waits until cluster and audit branch hold what the repository says after this round.
async fn agree(team: &Team<'_>, server: &Repository, round: u64) {
    let mut expected: Vec<String> =
        (0..many(round)).map(|number| format!("i{number} {}", version(round, number))).collect();
    expected.push("keep 7.0".to_owned());
    wait_for("cluster, repository and audit branch to agree", SOON, async || {
        let running = team.running().await;
        fetch(team, server);
        let told = if team.repository.audit().is_empty() { Vec::new() } else { told(team, BRANCH) };
        let files = told.len() + 1;
        if running == expected && told == versions(round) && files == expected.len() {
            Ok(())
        } else {
            Err(format!("{running:?} {told:?}"))
        }
    })
    .await;
}

fn versions(round: u64) -> Vec<String> {
    (0..many(round)).map(|number| version(round, number)).collect()
}

/// The versions that stand in the objects of an audit commit.
fn told(team: &Team<'_>, commit: &str) -> Vec<String> {
    let grep = ["grep", "-h", "-o", "-E", r"30\.[0-9]+\.[0-9]+", commit, "--", "*.yaml"];
    // it ends with an error where it finds nothing
    let found = Run::new("git").arg("-C").arg(team.repository.path()).args(grep).output().stdout;
    let mut all: Vec<String> = found.lines().map(ToOwned::to_owned).collect();
    all.sort();
    all
}

/// Every audit commit has one record of its own and holds what the commit says that it names; returns the commits that are
/// named.
fn records_are_right(team: &Team<'_>, commits: &[String]) -> BTreeSet<String> {
    let log = team.repository.git(&["log", "--reverse", "--format=%H", BRANCH]);
    let (mut records, mut named) = (BTreeSet::new(), BTreeSet::new());
    for (commit, message) in log.lines().zip(team.repository.audit()) {
        let all = |name: &str| -> Vec<String> {
            message.lines().filter_map(|line| line.strip_prefix(name).map(ToOwned::to_owned)).collect()
        };
        let record = all("Midship-Record: ");
        assert!(record.len() == 1 && records.insert(record[0].clone()), "one record, told once: {message}");
        let of = all("Midship-Commit: ");
        named.extend(of.iter().chain(&all("Midship-Also-Applied: ")).cloned());
        if let Some(round) = commits.iter().position(|commit| of.contains(commit)) {
            let round = round as u64;
            let mut told = told(team, commit);
            // what goes may still be going
            told.retain(|found| versions(round).contains(found) || !found.ends_with(".9"));
            assert_eq!(told, versions(round), "{message}");
        }
    }
    named
}
