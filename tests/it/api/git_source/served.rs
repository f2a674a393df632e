//! A real Git server, over HTTPS with a password and over SSH with a key, from push to record.

use jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use midship::api::conditions::{ConditionStatus, find};
use serde_json::{Value, json};

use super::repository::instance;
use super::{SOON, Team, team_test};
use crate::forge::fixture::{Repository, forge};
use crate::forge::listener::proxy;
use crate::harness::wait_for;

/// The entries of a Secret.
pub type Login = Vec<(&'static str, String)>;

/// The address of each way in, and what it asks for.
pub fn ways(repository: &Repository) -> [(String, Login); 2] {
    let forge = forge();
    let password = vec![
        ("username", forge.get("FORGE_USER").to_owned()),
        ("password", forge.get("FORGE_PASSWORD").to_owned()),
        ("ca.crt", forge.file("FORGE_CA")),
    ];
    let key = vec![("identity", forge.file("FORGE_SSH_KEY")), ("known_hosts", forge.file("FORGE_KNOWN_HOSTS"))];
    [(repository.https.clone(), password), (repository.ssh.clone(), key)]
}

async fn secret(team: &Team<'_>, entries: &[(&str, String)]) {
    named(team, "login", entries).await;
}

async fn named(team: &Team<'_>, name: &str, entries: &[(&str, String)]) {
    let entries: Vec<(&str, &str)> = entries.iter().map(|(key, value)| (*key, value.as_str())).collect();
    team.secret(name, &entries).await;
}

/// The name and password of somebody who may read and not push, beside everything else of this login.
fn reader(login: &Login) -> Login {
    let mut reader = login.clone();
    reader[0].1 = forge().get("FORGE_READER").to_owned();
    reader[1].1 = forge().get("FORGE_READER_PASSWORD").to_owned();
    reader
}

async fn follow(team: &Team<'_>, url: &str) {
    team.follow(json!({ "url": url, "credentials": { "name": "login" } })).await;
}

/// Waits until the source is ready for this reason with this commit; returns its message.
pub async fn becomes(team: &Team<'_>, reason: &str, commit: &str) -> String {
    wait_for(&format!("the source to be {reason} at {commit}"), SOON, async || {
        let status = serde_json::to_value(team.source().await.status).expect("JSON");
        let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
        let ready = conditions.iter().find(|one| one["type"] == "Ready").cloned().unwrap_or(Value::Null);
        if ready["reason"] == reason && status["fetchedCommit"] == commit {
            Ok(ready["message"].as_str().unwrap_or_default().to_owned())
        } else {
            Err(format!("{status:#}"))
        }
    })
    .await
}

/// How a condition is, and since when.
async fn since(team: &Team<'_>, what: &str) -> (ConditionStatus, Timestamp) {
    let status = team.source().await.status.unwrap_or_default();
    let told = find(&status.conditions, what).unwrap_or_else(|| panic!("{status:#?}"));
    (told.status, told.last_transition_time.0)
}

fn file(name: &str, version: &str) -> (String, String) {
    (format!("{name}.yaml"), instance(name, version))
}

#[test]
fn a_push_to_a_real_server_is_applied_and_recorded_over_https() {
    from_push_to_record(0);
}

#[test]
fn a_push_to_a_real_server_is_applied_and_recorded_over_ssh() {
    from_push_to_record(1);
}

fn from_push_to_record(way: usize) {
    team_test(async |team| {
        let repository = forge().repository("team");
        let first = repository.push(&[file("a", "1")]);
        let (url, login) = ways(&repository)[way].clone();
        secret(team, &login).await;
        follow(team, &url).await;
        becomes(team, "Applied", &first).await;
        assert_eq!(team.running().await, ["a 1"]);
        let second = repository.push(&[file("a", "2"), file("b", "1")]);
        becomes(team, "Applied", &second).await;
        assert_eq!(team.running().await, ["a 2", "b 1"]);
        wait_for("both to be recorded", SOON, async || {
            if repository.on_server(&["for-each-ref", "refs/heads/midship"]).is_empty() {
                return Err("there is no branch".to_owned());
            }
            let log = repository.on_server(&["log", "--format=%B", "midship/audit/test"]);
            let told = [&first, &second].iter().all(|commit| log.contains(&format!("Midship-Commit: {commit}")));
            if told { Ok(()) } else { Err(log) }
        })
        .await;
    });
}

#[test]
fn a_password_that_expires_leaves_everything_and_says_since_when_and_a_new_one_is_taken_at_once() {
    team_test(async |team| {
        let repository = forge().repository("expiring");
        let first = repository.push(&[file("a", "1")]);
        let (url, login) = ways(&repository)[0].clone();
        secret(team, &login).await;
        follow(team, &url).await;
        becomes(team, "Applied", &first).await;

        // something else is wrong already
        let broken = "broken.yaml".to_owned();
        let second = repository.push(&[(broken.clone(), "kind: [\n".to_owned())]);
        becomes(team, "InvalidFiles", &second).await;
        let (_, ill) = since(team, "Ready").await;
        wait_for("the next second", SOON, async || {
            if Timestamp::now().as_second() > ill.as_second() { Ok(()) } else { Err("it is the same") }
        })
        .await;

        let changed = Timestamp::now().as_second();
        let mut expired = login.clone();
        expired[1].1 = "no longer the password".to_owned();
        secret(team, &expired).await;
        // a look that has begun with the old one ends before there is anything to see
        let message = becomes(team, "CredentialsRefused", &second).await;
        let last = repository.push(&[file("a", "2"), (broken, instance("b", "1"))]);
        assert!(message.contains("stays applied"), "{message}");
        assert!(!message.contains("no longer the password"), "{message}");
        assert_eq!(team.running().await, ["a 1"]);
        let (fetched, away) = since(team, "Fetched").await;
        assert!(fetched == ConditionStatus::False && away.as_second() >= changed, "{away}, changed at {changed}");
        assert_eq!(since(team, "Ready").await, (ConditionStatus::False, ill), "it was not well before");

        secret(team, &login).await;
        becomes(team, "Applied", &last).await;
        assert_eq!(team.running().await, ["a 2", "b 1"]);
        assert_eq!(since(team, "Fetched").await.0, ConditionStatus::True);
    });
}

#[test]
fn a_secret_that_changes_is_worked_with_at_once_and_not_when_the_interval_is_over() {
    team_test(async |team| {
        let repository = forge().repository("renewed");
        let first = repository.push(&[file("a", "1")]);
        let (url, login) = ways(&repository)[0].clone();
        secret(team, &login).await;
        named(team, "pusher", &reader(&login)).await;
        let audit = json!({ "credentials": { "name": "pusher" } });
        team.follow(json!({ "url": url, "credentials": { "name": "login" }, "audit": audit, "interval": "1h" })).await;
        becomes(team, "Applied", &first).await;
        waits(team, 1, "").await;
        named(team, "pusher", &login).await;
        records(&repository, &first).await;

        // without anybody's word the next look would be in an hour
        let mut expired = login.clone();
        expired[1].1 = "no longer the password".to_owned();
        secret(team, &expired).await;
        becomes(team, "CredentialsRefused", &first).await;
        let second = repository.push(&[file("a", "2")]);
        secret(team, &login).await;
        becomes(team, "Applied", &second).await;
        assert_eq!(team.running().await, ["a 2"]);
    });
}

/// Waits until the record on the server tells of this commit.
async fn records(repository: &Repository, commit: &str) {
    wait_for(&format!("the record of {commit}"), SOON, async || {
        let told = repository.on_server(&["for-each-ref", "--format=%(contents)", "refs/heads/midship/audit/test"]);
        if told.contains(&format!("Midship-Commit: {commit}")) { Ok(()) } else { Err(told) }
    })
    .await;
}

/// Waits until so many records wait because the server does not take them for this reason.
async fn waits(team: &Team<'_>, number: u32, because: &str) {
    wait_for(&format!("{number} records to wait because of {because:?}"), SOON, async || {
        let told = team.source().await.status.unwrap_or_default().audit.unwrap_or_default();
        let message = told.message.clone().unwrap_or_default();
        let refused = message.starts_with("the push was refused: ") && message.contains(because);
        let helps = message.contains("let these credentials push to midship/audit/test");
        if told.queued == Some(number) && refused && helps { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .await;
}

#[test]
fn a_source_behind_a_proxy_reads_records_and_proposes_through_it() {
    team_test(async |team| {
        let (repository, elsewhere) = (forge().repository("behind"), forge().repository("records"));
        let address = |url: &str| {
            let parts = url.strip_prefix("https://").and_then(|rest| rest.split_once('/'));
            parts.map(|(server, path)| (server.to_owned(), path.to_owned())).expect("an address")
        };
        // nobody is at the address that the source knows: only the proxy leads to the server
        let hidden = |url: &str| {
            let (server, path) = address(url);
            format!("https://{}:1/{path}", server.split_once(':').expect("a port").0)
        };
        let server = address(&repository.https).0;
        let (way_out, asked) = proxy(move |_| server.clone());
        let first = repository.push(&[file("a", "1")]);
        secret(team, &ways(&repository)[0].1).await;
        team.secret("proxy", &[("username", "proxy"), ("password", "hush")]).await;
        let through = json!({ "url": format!("http://{way_out}"), "credentials": { "name": "proxy" } });
        let login = json!({ "name": "login" });
        team.follow(
            json!({ "url": hidden(&repository.https), "credentials": login, "proxy": through, "drift": "Adopt",
            "audit": { "credentials": login } }),
        )
        .await;
        becomes(team, "Applied", &first).await;
        records(&repository, &first).await;

        let by_hand = PatchParams { field_manager: Some("kubectl-edit".into()), ..PatchParams::default() };
        let patch = Patch::Merge(json!({ "spec": { "version": "9" } }));
        team.instances().patch("a", &by_hand, &patch).await.expect("it can be changed");
        wait_for("the change to be proposed", SOON, async || {
            let branches = repository.on_server(&["for-each-ref", "--format=%(refname)", "refs/heads/midship/adopt"]);
            if branches.is_empty() { Err(format!("{:#?}", team.source().await.status)) } else { Ok(()) }
        })
        .await;

        team.patch_source(json!({ "spec": { "audit": { "url": hidden(&elsewhere.https) } } })).await;
        let second = repository.push(&[file("b", "1")]);
        becomes(team, "Applied", &second).await;
        records(&elsewhere, &second).await;
        let requests: Vec<String> = asked.try_iter().collect();
        assert!(requests.len() > 1, "connections are kept, but not from one repository to another: {requests:#?}");
        for request in &requests {
            assert!(request.starts_with("CONNECT ") && request.contains(":1 HTTP/1.1"), "{request}");
        }
    });
}

#[test]
fn a_record_that_the_server_refuses_stops_nothing_and_is_pushed_in_order_once_it_is_allowed() {
    team_test(async |team| {
        let repository = forge().repository("refusing");
        let mut commits = vec![repository.push(&[file("a", "1")])];
        let (url, login) = ways(&repository)[0].clone();
        secret(team, &reader(&login)).await;
        follow(team, &url).await;
        becomes(team, "Applied", &commits[0]).await;
        waits(team, 1, "").await;

        // who may push is refused by the branch
        let hook = repository.hook(
            "#!/bin/sh\nread -r old new branch\ncase $branch in refs/heads/midship/*) ;; *) exit 0 ;; esac\n\
             echo 'protected branch: ask ops' >&2\nexit 1\n",
        );
        secret(team, &login).await;
        commits.push(repository.push(&[file("a", "2")]));
        becomes(team, "Applied", &commits[1]).await;
        waits(team, 2, "protected branch: ask ops").await;
        assert_eq!(team.running().await, ["a 2"]);
        let kept = ["get", "configmaps", "-l", "midship.dev/audit-of", "-o", "name"];
        assert_eq!(team.scene.kubectl(kept).stdout().lines().count(), 2);
        wait_for("an event that quotes the server", SOON, async || {
            let events = ["get", "events", "-o", "jsonpath={range .items[*]}{.reason}: {.message}{\"\\n\"}{end}"];
            let events = team.scene.kubectl(events).stdout();
            let told = |line: &str| line.starts_with("NotRecorded: ") && line.contains("protected branch: ask ops");
            if events.lines().any(told) { Ok(()) } else { Err(events) }
        })
        .await;

        std::fs::remove_file(hook).expect("it can be removed");
        commits.push(repository.push(&[file("b", "1")]));
        becomes(team, "Applied", &commits[2]).await;
        wait_for("all of them to be recorded, in their order", SOON, async || {
            let branch = repository.on_server(&["for-each-ref", "--format=%(refname:short)", "refs/heads/midship"]);
            if branch.is_empty() {
                return Err("there is no branch".to_owned());
            }
            let log = repository.on_server(&["log", "--reverse", "--format=%B", "midship/audit/test"]);
            let told: Vec<&str> = log.lines().filter_map(|line| line.strip_prefix("Midship-Commit: ")).collect();
            if told == commits { Ok(()) } else { Err(log) }
        })
        .await;
        wait_for("nothing to be said of it any more", SOON, async || {
            let told = team.source().await.status.unwrap_or_default().audit.unwrap_or_default();
            let kept = team.scene.kubectl(kept).stdout();
            let quiet = told.queued.is_none() && told.message.is_none() && kept.is_empty();
            if quiet { Ok(()) } else { Err(format!("{told:?} {kept}")) }
        })
        .await;
    });
}
