//! One commit with an object of every kind: each is written after what it depends on, and all by one field manager.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use http::{Method, Request};
use midship::api::conditions::find;
use serde_json::{Value, json};

use super::repository::instance;
use super::{SOON, team_test};
use crate::api::controller::door::Door;
use crate::api::controller::process::Controller;
use crate::harness::{midship, wait_for};

type Log = Arc<Mutex<Vec<(Method, String)>>>;

/// What goes through a door from now on to change or delete something.
fn writes(door: &Door) -> Log {
    let log = Log::default();
    let written = Arc::clone(&log);
    door.judge(move |method, path| {
        if matches!(*method, Method::PATCH | Method::DELETE) {
            written.lock().expect("nobody panicked").push((method.clone(), path.to_owned()));
        }
        None
    });
    log
}

/// Those of these paths that were written in this way, in the order of their first time.
fn first(log: &Log, method: &Method, paths: &[String]) -> Vec<String> {
    let log = log.lock().expect("nobody panicked");
    let mut found: Vec<String> = Vec::new();
    for (how, path) in &*log {
        if how == method && paths.contains(path) && !found.contains(path) {
            found.push(path.clone());
        }
    }
    found
}

/// The files of all kinds that are no package, in no order: everything in this namespace, which is among them.
fn files(namespace: &str) -> [(&'static str, String); 8] {
    let ours = |kind: &str, name: &str, spec: &str| {
        format!(
            "apiVersion: midship.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n"
        )
    };
    let core = |kind: &str, metadata: &str, more: &str| {
        format!("apiVersion: v1\nkind: {kind}\nmetadata: {{{metadata}}}\n{more}")
    };
    let within = |name: &str| format!("name: {name}, namespace: {namespace}");
    let bucket = "{s3: {bucket: shop-backups, region: eu-central-1, credentials: {name: nobody}}, encryption: {recipients: \
                  [age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p]}}";
    let nightly = "{repository: vault, schedules: [{name: nightly, cron: 30 2 * * *}], retention: {age: 14d}}";
    let placed = instance("a", "1").replace("{name: a}", &format!("{{{}}}", within("a")));
    [
        ("1.yaml", ours("Operation", "restart", "{instance: a, type: Restart, suspend: true}")),
        ("2.yaml", placed),
        ("3.yaml", ours("GitSource", "other", "{url: 'https://git.example.com/x.git', suspend: true}")),
        ("4.yaml", ours("BackupPolicy", "nightly", nightly)),
        ("5.yaml", ours("BackupRepository", "vault", bucket)),
        ("6.yaml", core("ConfigMap", &within("map"), "data: {a: x}\n")),
        ("7.yaml", core("Secret", &within("s"), "stringData: {password: x}\n")),
        ("8.yaml", core("Namespace", &format!("name: {namespace}"), "")),
    ]
}

#[test]
fn a_commit_of_all_kinds_is_applied_at_once_in_the_order_of_what_they_depend_on_and_taken_away_backwards() {
    team_test(async |team| {
        let own = team.scene.namespace.as_str();
        let (more, type_) = (format!("{own}-more"), format!("t{}", own.rsplit('-').next().expect("letters")));
        let door = Door::open(&team.scene.client, &team.scene.kubeconfig()).await;
        let log = writes(&door);
        let both = format!("{own},{more}");
        let place = ["--namespaces", &both, "--lease-namespace", own, "--webhook-address", "127.0.0.1:0"];
        let more_of_it = ["--leader-elect=false", "--cluster-name", "test"];
        team.controller = Controller::start("controller", &door.kubeconfig, &[&place[..], &more_of_it[..]].concat());

        midship().args(["extension", "new", &type_, "--to"]).arg(team.repository.path().join("extensions")).stdout();
        for (path, text) in files(&more) {
            team.repository.write(path, &text);
        }
        team.repository.commit("One of each kind");
        team.follow(json!({ "namespaces": ["*"] })).await;
        team.becomes("Applied").await;
        let ours = "/apis/midship.dev/v1alpha1";
        let expected = [
            format!("/api/v1/namespaces/{more}"),
            format!("/api/v1/namespaces/{more}/secrets/s"),
            format!("/api/v1/namespaces/{more}/configmaps/map"),
            format!("{ours}/extensions/{type_}-0.1.0"),
            format!("{ours}/namespaces/{more}/backuprepositories/vault"),
            format!("{ours}/namespaces/{more}/backuppolicies/nightly"),
            format!("{ours}/namespaces/{more}/gitsources/other"),
            format!("{ours}/namespaces/{more}/instances/a"),
            format!("{ours}/namespaces/{more}/operations/restart"),
        ];
        assert_eq!(first(&log, &Method::PATCH, &expected), expected);
        let audit = team.recorded(1).await;
        assert!(audit[0].contains("Midship-Result: applied") && !audit[0].contains("Failed:"), "{}", audit[0]);
        for path in &expected {
            let request = Request::get(path.as_str()).body(Vec::new()).expect("a request");
            let object: Value = team.scene.client.request(request).await.expect("it is there");
            let fields = object["metadata"]["managedFields"].as_array().expect("who wrote which field");
            let applied = fields.iter().filter(|one| one["operation"] == "Apply");
            let managers: BTreeSet<&str> = applied.filter_map(|one| one["manager"].as_str()).collect();
            assert_eq!(managers, BTreeSet::from(["midship"]), "{path}: {fields:#?}");
        }

        // the Namespace stays, whatever the repository says of it
        for number in 3..=8 {
            team.repository.remove(&format!("{number}.yaml"));
        }
        team.repository.git(&["rm", "-r", "-q", "extensions"]);
        team.repository.commit("Less\n\nMidship-Allow-Deletions: 9");
        team.becomes("Applied").await;
        let backwards: Vec<String> = expected[1..7].iter().rev().cloned().collect();
        wait_for("everything else to be deleted", SOON, async || {
            let found = first(&log, &Method::DELETE, &expected);
            if found == backwards { Ok(()) } else { Err(format!("{found:#?}")) }
        })
        .await;
        let extension = format!("extension/{type_}-0.1.0");
        wait_for("the Extension to be gone", SOON, async || {
            let found = team.scene.kubectl(["get", &extension, "--ignore-not-found", "-o", "name"]).stdout();
            if found.is_empty() { Ok(()) } else { Err(found) }
        })
        .await;

        // somebody lets it go, and no commit says so
        team.scene.kubectl(["label", "namespace", &more, "midship.dev/source-"]).stdout();
        wait_for("the source to say that nothing is left", SOON, async || {
            let status = team.source().await.status.unwrap_or_default();
            let left = find(&status.conditions, "Left").map(|left| left.reason.clone());
            if left.as_deref() == Some("NothingLeft") { Ok(()) } else { Err(format!("{left:?}")) }
        })
        .await;
        team.scene.kubectl(["delete", "namespace", &more, "--wait=false"]).stdout();
    });
}
