//! What a sync costs, beside a bare loop of the same requests and `kubectl apply` in the same run.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use hmac::{Hmac, KeyInit, Mac};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use midship::api::Instance;
use midship::api::conditions::find;
use serde_json::{Value, json};
use sha2::Sha256;

use super::repository::instance;
use super::{Team, team_test};
use crate::harness::wait_for;

/// Requests at a time, as the controller has them.
const AT_ONCE: usize = 24;
/// Longer than any of it takes on a slow machine.
const PATIENCE: Duration = Duration::from_mins(20);
const SECRET: &str = "s3cret of the hook";
const CHANGES: usize = 200;

#[test]
fn bench_first_sync_of_1000() {
    team_test(async |team| {
        first_sync(team, 1000).await;
        applying(team).await;
    });
}

#[test]
fn bench_first_sync_of_many_and_one_change() {
    team_test(async |team| {
        first_sync(team, many()).await;
        taken_up(team).await;
        applying(team).await;
        changes(team).await;
        quiet(team).await;
    });
}

/// How many objects are many.
fn many() -> usize {
    std::env::var("MIDSHIP_BENCH_OBJECTS").map_or(10_000, |text| text.parse().expect("a number of objects"))
}

/// Sources of one controller, and how many of them name a server that takes connections and never answers.
const SOURCES: usize = 200;
const DEAD: usize = 20;

#[test]
fn bench_no_source_waits_behind_a_dead_remote() {
    team_test(async |team| {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let dead = format!("http://{}/team/app.git", silent.local_addr().expect("an address"));
        let started = Instant::now();
        for number in 0..SOURCES {
            let is_dead = number % (SOURCES / DEAD) == 0;
            let url = if is_dead { dead.clone() } else { team.repository.url() };
            let object = json!({ "apiVersion": "midship.dev/v1alpha1", "kind": "GitSource",
                "metadata": { "name": format!("s{number:03}") },
                "spec": { "url": url, "ref": { "branch": "main" }, "interval": "2s", "audit": { "enabled": false } } });
            let object = serde_json::from_value(object).expect("a source");
            team.sources().create(&PostParams::default(), &object).await.expect("it can be made");
        }
        wait_for("all living sources to be ready", PATIENCE, async || {
            let all = team.sources().list(&ListParams::default()).await.expect("a list").items;
            let ready = all.iter().filter(|one| {
                let conditions = one.status.as_ref().map(|status| &status.conditions);
                conditions.and_then(|all| find(all, "Ready")).is_some_and(|ready| ready.reason == "Applied")
            });
            let ready = ready.count();
            if ready == SOURCES - DEAD { Ok(()) } else { Err(format!("{ready} are ready")) }
        })
        .await;
        told(&format!("{} sources ready, beside {DEAD} that name a dead server", SOURCES - DEAD), started.elapsed());
        let (before, cpu_before) = (looks(team), cpu(team));
        let window = Duration::from_secs(20);
        // what is measured is what happens in that time
        tokio::time::sleep(window).await;
        let (after, spent) = (looks(team), cpu(team) - cpu_before);
        let each = after.iter().map(|(source, looks)| looks - before.get(source).copied().unwrap_or_default());
        let each: Vec<u32> = each.collect();
        println!(
            "in {window:?} each living source, which asks every 2 s: {:.1} looks, at least {}; {spent:.2} s of processor time, \
             resident {:.1} MiB",
            f64::from(each.iter().sum::<u32>()) / f64::from(u32::try_from(each.len()).expect("a small number")),
            each.iter().min().copied().unwrap_or_default(),
            team.controller.resident_mib()
        );
    });
}

/// How often each source was looked at.
fn looks(team: &Team<'_>) -> BTreeMap<String, u32> {
    let mut looks = BTreeMap::new();
    for line in team.controller.log().iter().filter(|line| line["message"] == "looked") {
        *looks.entry(line["span"]["object"].as_str().expect("the log names it").to_owned()).or_default() += 1;
    }
    looks
}

/// Waits as other tests do, but looks so often that the figure is not made of pauses.
async fn closely(what: &str, mut look: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !look().await {
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn told(what: &str, took: Duration) -> f64 {
    println!("{what}: {took:.2?}");
    took.as_secs_f64()
}

/// A namespace that no controller looks at.
fn aside(team: &Team<'_>, what: &str) -> String {
    let name = format!("{}-{what}", team.scene.namespace);
    team.scene.kubectl(["create", "namespace", &name]).stdout();
    name
}

async fn first_sync(team: &Team<'_>, number: usize) {
    for n in 0..number {
        let (folder, name) = (n / 100, format!("i{n:05}"));
        team.repository.write(&format!("instances/all/{folder:03}/{name}.yaml"), &instance(&name, "7.0"));
    }
    // the folder below instances/ names the namespace
    let own = team.repository.path().join("instances").join(&team.scene.namespace);
    std::fs::rename(team.repository.path().join("instances/all"), own).expect("it can be moved");
    team.repository.commit("Many caches");

    let bare = aside(team, "bare");
    let api: Api<Instance> = Api::namespaced(team.scene.client.clone(), &bare);
    let started = Instant::now();
    let requests = (0..number).map(|n| {
        let api = &api;
        async move {
            let body = json!({ "apiVersion": "midship.dev/v1alpha1", "kind": "Instance", "metadata": { "name": format!("i{n:05}") },
                "spec": { "type": "cache", "extensionVersion": "1.0.0", "version": "7.0" } });
            api.patch(&format!("i{n:05}"), &PatchParams::apply("bare"), &Patch::Apply(&body)).await.expect("applied");
        }
    });
    let requests: Vec<_> = requests.collect();
    stream::iter(requests).buffer_unordered(AT_ONCE).for_each(|()| async {}).await;
    let loop_ = told(&format!("{number} by a bare loop"), started.elapsed());

    if number <= 1000 || std::env::var_os("MIDSHIP_BENCH_OBJECTS").is_some() {
        let there = aside(team, "kubectl");
        let folder = team.repository.path().join("instances").display().to_string();
        let started = Instant::now();
        team.scene.kubectl(["apply", "--server-side", "-R", "-n", &there, "-f", &folder]).stdout();
        let kubectl = told(&format!("{number} by kubectl apply --server-side"), started.elapsed());
        println!("kubectl: {:.2} × the bare loop", kubectl / loop_);
    }
    team.secret("hook", &[("secret", SECRET)]).await;
    let started = Instant::now();
    team.follow(json!({ "interval": "1h", "webhook": { "secret": { "name": "hook" } } })).await;
    let head = team.repository.head();
    closely("everything to be applied", async || {
        team.source().await.status.is_some_and(|status| status.applied_commit.as_ref() == Some(&head))
    })
    .await;
    let sync = told(&format!("{number} by Midship, from a new GitSource to Applied"), started.elapsed());
    let target = if number <= 1000 { 60.0 } else { 150.0 };
    let resident = team.controller.resident_mib();
    println!(
        "Midship: {:.2} × the bare loop; resident {resident:.1} MiB, {:.2} × the target",
        sync / loop_,
        resident / target
    );
    assert_eq!(team.running().await.len(), number);
    for what in ["bare", "kubectl"] {
        let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(team.scene.client.clone());
        // what is not there need not go
        let _ = namespaces.delete(&format!("{}-{what}", team.scene.namespace), &DeleteParams::default()).await;
    }
}

/// How much of the first sync was applying alone, as its record has it.
async fn applying(team: &Team<'_>) {
    team.recorded(1).await;
    let record = format!("midship/audit/test:{}/main/record.json", team.scene.namespace);
    let record: Value = serde_json::from_str(&team.repository.git(&["show", &record])).expect("a record is JSON");
    println!("of the first sync, applying alone: {} ms", record["tookMs"]);
}

/// Until every instance has been looked at, and nothing is written any more.
async fn taken_up(team: &Team<'_>) {
    let started = Instant::now();
    wait_for("every instance to say how it is", PATIENCE, async || {
        let all = team.instances().list(&ListParams::default()).await.expect("a list").items;
        let waiting = all.iter().filter(|instance| instance.status.is_none()).count();
        if waiting == 0 { Ok(()) } else { Err(format!("{waiting} say nothing")) }
    })
    .await;
    told("until every instance says how it is", started.elapsed());
}

/// From a delivery to the change in the cluster.
async fn changes(team: &Team<'_>) {
    let url = format!("http://{}/hooks/{}/main", team.controller.webhooks().await, team.scene.namespace);
    let body = json!({ "ref": "refs/heads/main" }).to_string();
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("any length");
    mac.update(body.as_bytes());
    let signature = format!("sha256={}", hex::encode(mac.finalize().into_bytes()));
    let mut all = Vec::new();
    for n in 0..CHANGES {
        let path = format!("instances/{}/003/i00321.yaml", team.scene.namespace);
        team.repository.write(&path, &instance("i00321", &format!("8.{n}")));
        team.repository.git(&["commit", "-q", "-a", "-m", &format!("Change {n}")]);
        let started = Instant::now();
        let request = reqwest::Client::new().post(&url).header("x-hub-signature-256", &signature).body(body.clone());
        assert_eq!(request.send().await.expect("it answers").status(), 202);
        let wanted = format!("8.{n}");
        closely("the change to be applied", async || {
            team.instances().get("i00321").await.expect("it is there").spec.version.to_string() == wanted
        })
        .await;
        all.push(started.elapsed());
    }
    all.sort();
    let at = |percent: usize| all[(CHANGES * percent).div_ceil(100) - 1].as_millis();
    println!(
        "from a webhook to one of {} applied, {CHANGES} times: p50 {} ms, p99 {} ms, the longest {} ms",
        many(),
        at(50),
        at(99),
        at(100)
    );
}

/// What polls cost when there is nothing new.
async fn quiet(team: &Team<'_>) {
    team.patch_source(json!({ "spec": { "interval": "1s" } })).await;
    let polls = team.polls();
    wait_for("three polls", PATIENCE, async || {
        let now = team.polls();
        if now >= polls + 3 { Ok(()) } else { Err(now.to_string()) }
    })
    .await;
    let (versions, polls, cpu) = (versions(team).await, team.polls(), cpu(team));
    wait_for("ten polls more", PATIENCE, async || {
        let now = team.polls();
        if now >= polls + 10 { Ok(()) } else { Err(now.to_string()) }
    })
    .await;
    let (spent, done) = (self::cpu(team) - cpu, team.polls() - polls);
    println!(
        "{done} polls without news: {:.1} ms of processor time each",
        spent * 1000.0 / u32::try_from(done).map_or(1.0, f64::from)
    );
    let now = self::versions(team).await;
    let written = now.iter().zip(&versions).filter(|(now, before)| now != before).count();
    assert_eq!((written, now.len()), (0, versions.len()), "nothing was written");
}

async fn versions(team: &Team<'_>) -> Vec<String> {
    let list = team.instances().list_metadata(&ListParams::default()).await.expect("a list");
    let mut all: Vec<String> = list.items.iter().filter_map(ResourceExt::resource_version).collect();
    all.extend(team.source().await.resource_version());
    all.sort();
    all
}

/// Seconds of processor time so far.
fn cpu(team: &Team<'_>) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", team.controller.pid())).expect("it runs");
    let after = stat.rsplit_once(')').expect("a name").1;
    let ticks: Vec<f64> =
        after.split_whitespace().skip(11).take(2).map(|word| word.parse().expect("a number")).collect();
    let per_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).expect("known").expect("a number");
    ticks.iter().sum::<f64>() / f64::from(i32::try_from(per_second).expect("a small number"))
}
