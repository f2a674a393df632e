//! Nobody at the wheel: what pods and their clients notice of a controller that is away or exchanged, and of an API server
//! that is gone or slow.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use kube::api::{Patch, PatchParams};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::TRUSTED;
use super::trial::{Trial, trial};
use super::writer::{Connection, Kind, Writers};
use crate::e2e::cluster;
use crate::e2e::stage::{IN_TIME, NAME, PATIENT};
use crate::harness::wait_for;

/// Long enough for whatever would happen without a controller.
const AWAY: Duration = Duration::from_secs(10);
/// Seconds without an API server, unless `MIDSHIP_CHAOS_OUTAGE` says otherwise.
const OUTAGE: u64 = 300;
/// How long a write to the API server takes at worst while it is slow.
const STANDSTILL: Duration = Duration::from_millis(3_400);
const BREATH: Duration = Duration::from_millis(300);
/// Many renewals.
const SLOW: Duration = Duration::from_mins(1);
/// Nobody misses writes for so long who goes on at all.
const SILENT: Duration = Duration::from_secs(5);

#[test]
fn a_controller_that_is_away_or_exchanged_touches_no_pod_and_no_connection() {
    trial(Kind::Redis, 2, json!({ "failover": { "timeout": PATIENT } }), async |trial| {
        trial.settled().await;
        let stage = trial.stage;
        let (identities, restarts) = (stage.identities("redis").await, stage.restarts().await);
        let open = async || Connection::open(&trial.access, trial.access.service).await;
        let mut connection = wait_for("the Service to lead to it", IN_TIME, open).await;
        let (report, lost) = trial
            .writing(async |writers| {
                stage.kill_controller();
                sleep(AWAY).await;
                trial.writes_go_on(writers).await;
                stage.start_controller();
                is_looked_after(trial, "Retain").await;
                stage.kill_controller();
                // nobody has this image: a pod that was made anew would not start
                stage.start_controller_with("midship.test/of-another-release:1");
                is_looked_after(trial, "Delete").await;
                trial.writes_go_on(writers).await;
            })
            .await;
        println!("no controller: {}, {lost} of {} lost", report.gap, report.acknowledged.len());
        connection.add("writes", 0).await.expect("the same connection as before");
        assert_eq!((stage.identities("redis").await, stage.restarts().await), (identities, restarts));
    });
}

/// Waits until the controller has taken over a change that is none of the pods' business.
async fn is_looked_after(trial: &Trial<'_>, policy: &str) {
    let patch = Patch::Merge(json!({ "spec": { "deletionPolicy": policy } }));
    trial.stage.instances().patch(NAME, &PatchParams::default(), &patch).await.expect("it can be changed");
    trial.stage.runs().await;
}

/// The API server is gone until this is dropped.
struct Outage;

impl Outage {
    fn begin() -> Self {
        cluster::order(&["stop-api"]);
        Self
    }
}

impl Drop for Outage {
    fn drop(&mut self) {
        cluster::restore(&["start-api"]);
    }
}

#[test]
fn chaos_postgres_serves_for_minutes_without_an_api_server() {
    trial(Kind::Postgres, 3, json!({ "failover": { "synchronous": 1 } }), async |trial| {
        outlives(trial, "postgres").await;
    });
}

#[test]
fn chaos_redis_serves_for_minutes_without_an_api_server() {
    trial(Kind::Redis, 3, json!({}), async |trial| outlives(trial, "redis").await);
}

/// The store of the API server stands still most of the time until this is dropped: each write takes seconds.
struct Slowness {
    over: Arc<AtomicBool>,
    at_work: Option<JoinHandle<()>>,
}

impl Slowness {
    fn begin() -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&over);
        let at_work = thread::spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                cluster::order(&["pause-store"]);
                thread::sleep(STANDSTILL);
                cluster::order(&["resume-store"]);
                thread::sleep(BREATH);
            }
        });
        Self { over, at_work: Some(at_work) }
    }
}

impl Drop for Slowness {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let ended = self.at_work.take().map(JoinHandle::join);
        cluster::restore(&["resume-store"]);
        assert!(ended.is_none_or(|ended| ended.is_ok()) || thread::panicking(), "the store could not be slowed down");
    }
}

#[test]
fn chaos_redis_keeps_its_primary_with_a_slow_api_server() {
    trial(Kind::Redis, 3, json!({}), async |trial| keeps_its_primary(trial).await);
}

#[test]
fn chaos_postgres_keeps_its_primary_with_a_slow_api_server() {
    trial(Kind::Postgres, 3, json!({}), async |trial| keeps_its_primary(trial).await);
}

/// Watches the writers for so long.
async fn writes_never_pause(writers: &Writers, time: Duration) {
    let over = Instant::now() + time;
    while Instant::now() < over {
        sleep(Duration::from_secs(1)).await;
        let (count, silent) = writers.progress();
        assert!(silent < SILENT, "no write for {silent:?} after {count}");
    }
}

async fn keeps_its_primary(trial: &Trial<'_>) {
    let primary = trial.settled().await;
    sleep(TRUSTED).await;
    let terms = trial.terms().await;
    let (report, lost) = trial
        .writing(async |writers| {
            let slowness = Slowness::begin();
            writes_never_pause(writers, SLOW).await;
            drop(slowness);
            trial.writes_go_on(writers).await;
        })
        .await;
    println!("a slow API server: {}, {lost} of {} lost", report.gap, report.acknowledged.len());
    assert_eq!((lost, trial.settled().await), (0, primary), "the same one has the role");
    assert_eq!(trial.terms().await, terms, "nobody else took it");
}

async fn outlives(trial: &Trial<'_>, container: &str) {
    let seconds = std::env::var("MIDSHIP_CHAOS_OUTAGE").map_or(OUTAGE, |text| text.parse().expect("a number"));
    let primary = trial.settled().await;
    sleep(TRUSTED).await;
    let terms = trial.terms().await;
    let (identities, restarts) = (trial.stage.identities(container).await, trial.stage.restarts().await);
    let (report, lost) = trial
        .writing(async |writers| {
            let outage = Outage::begin();
            writes_never_pause(writers, Duration::from_secs(seconds)).await;
            drop(outage);
            trial.writes_go_on(writers).await;
        })
        .await;
    println!("{seconds} s without an API server: {}, {lost} of {} lost", report.gap, report.acknowledged.len());
    assert_eq!((lost, trial.settled().await), (0, primary), "the same one has the role");
    assert_eq!(trial.terms().await, terms, "nobody else took it");
    is_looked_after(trial, "Retain").await;
    is_looked_after(trial, "Delete").await;
    assert_eq!((trial.stage.identities(container).await, trial.stage.restarts().await), (identities, restarts));
}
