//! Going back to a second of a database that has lived: its server was replaced and took its log to another timeline, it was
//! restored in place, and what came after that is undone. What is restored is exactly what was committed before the second.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use midship::lifecycle::backup::Until;
use serde_json::json;
use tokio::time::sleep;

use super::bench::{Vault, done, failure};
use super::image::{Container, USER, possible};
use super::middleware::{archived, postgres, restored, sql};
use crate::harness::Random;

/// A row, and between which moments it was committed.
#[derive(Clone, Copy, Debug)]
struct Row {
    number: i64,
    begun: Timestamp,
    done: Timestamp,
}

/// A restore in place: from `at` on, until it was over, nothing of what had been written since `to` counts any more.
#[derive(Clone, Copy, Debug)]
struct Undone {
    to: Timestamp,
    at: Timestamp,
}

struct Life {
    vault: Vault,
    source: Container,
    random: Random,
    rows: Vec<Row>,
    undone: Vec<Undone>,
    jobs: u32,
    /// From here on one can go back.
    since: Timestamp,
}

impl Life {
    async fn begin() -> Self {
        let vault = Vault::new().await;
        let source = postgres(false);
        source.prepare().await;
        source.serve().await;
        source.bench.backups.archive(Some(vault.archive("base"))).await.unwrap();
        sql(&source, "CREATE TABLE t (n bigint PRIMARY KEY)").await;
        let (random, rows, undone) = (Random::new(), Vec::new(), Vec::new());
        let mut life = Self { vault, source, random, rows, undone, jobs: 0, since: Timestamp::now() };
        life.write(Duration::from_secs(1)).await;
        life.back_up().await;
        life.since = Timestamp::now();
        life
    }

    fn job(&mut self) -> String {
        self.jobs += 1;
        format!("job-{}", self.jobs)
    }

    async fn write(&mut self, time: Duration) {
        let end = Timestamp::now() + SignedDuration::try_from(time).unwrap();
        while Timestamp::now() < end {
            let number = i64::try_from(self.rows.len()).unwrap();
            let begun = Timestamp::now();
            sql(&self.source, &format!("INSERT INTO t VALUES ({number})")).await;
            self.rows.push(Row { number, begun, done: Timestamp::now() });
            sleep(Duration::from_millis(5 + self.random.below(40))).await;
        }
    }

    async fn back_up(&mut self) {
        let job = self.job();
        let mut order = self.vault.backup(&job, "base");
        order.with_log = true;
        done(&self.source.bench.backup(order).await);
    }

    /// As after a fail-over: the server goes on, on a timeline of its own.
    async fn take_over(&mut self) {
        self.source.stop();
        let signal = self.source.data("pgdata/standby.signal");
        std::fs::write(&signal, "").unwrap();
        std::os::unix::fs::chown(&signal, Some(USER), Some(USER)).unwrap();
        self.source.start_again().await;
        sql(&self.source, "SELECT pg_promote(true, 60)").await;
    }

    /// Everything until now is archived.
    async fn archive(&mut self) {
        // how far a segment reaches is told with some care: one that is a little later covers all of them
        sleep(Duration::from_millis(1500)).await;
        sql(&self.source, "SELECT pg_create_restore_point('now')").await;
        let last = sql(&self.source, "SELECT pg_walfile_name(pg_switch_wal() - 1) AS name").await[0]["name"].clone();
        archived(&self.source, last.as_str().unwrap()).await;
    }

    /// Puts the database itself back to a moment, and goes on from there.
    async fn go_back(&mut self, to: Timestamp) {
        self.archive().await;
        self.source.stop();
        let job = self.job();
        let mut order = self.vault.restore(&job, Until::Time(to));
        order.replace = true;
        done(&self.source.bench.restore(order).await);
        let at = Timestamp::now();
        self.source.prepare().await;
        self.source.start_again().await;
        self.undone.push(Undone { to, at });
    }

    /// What there was at a moment, and nothing where it falls into a commit.
    fn at(&self, moment: Timestamp) -> Option<Vec<i64>> {
        let mut there = Vec::new();
        for row in &self.rows {
            let undone = |undone: &Undone| undone.at <= moment && row.begun > undone.to && row.done < undone.at;
            let torn = |undone: &Undone| row.begun <= undone.to && undone.to <= row.done;
            if (row.begun <= moment && moment <= row.done) || self.undone.iter().any(torn) {
                return None;
            }
            if row.done < moment && !self.undone.iter().any(undone) {
                there.push(row.number);
            }
        }
        Some(there)
    }

    /// A moment that is clear: a whole second where there is one. One before a restore in place that undid it cannot be
    /// reached any more: it is not what the log goes along.
    fn moment(&mut self, from: Timestamp, to: Timestamp) -> Timestamp {
        let span = u64::try_from(to.duration_since(from).as_millis()).unwrap();
        for turn in 0..1000 {
            let chosen = from + SignedDuration::from_millis(i64::try_from(self.random.below(span)).unwrap());
            let second = Timestamp::from_second(chosen.as_second()).unwrap();
            let moment = if turn < 500 && second > from { second } else { chosen };
            let lost = self.undone.iter().any(|undone| undone.to < moment && moment <= undone.at);
            if !lost && self.at(moment).is_some() {
                return moment;
            }
        }
        panic!("no moment between {from} and {to} is clear");
    }

    async fn check(&mut self, moment: Timestamp) {
        let wanted = self.at(moment).expect("a clear moment");
        let job = self.job();
        let target = restored(&self.vault, &job, Until::Time(moment)).await;
        let found = sql(&target, "SELECT coalesce(string_agg(n::text, ' ' ORDER BY n), '') AS rows FROM t").await;
        let text: Vec<String> = wanted.iter().map(ToString::to_string).collect();
        assert_eq!(found[0]["rows"], json!(text.join(" ")), "at {moment}; undone: {:?}", self.undone);
        println!("at {moment}: {} rows, none missing, none too many", wanted.len());
    }
}

/// A life with every turn in it; `before` says whether the restore in place goes to before the second backup, which is undone
/// with it.
async fn life(before: bool) -> Life {
    let second = Duration::from_secs(1);
    let mut life = Life::begin().await;
    life.write(second * 2).await;
    life.take_over().await;
    let from = Timestamp::now();
    life.write(second * 2).await;
    let to = Timestamp::now();
    life.back_up().await;
    let from = if before { from } else { Timestamp::now() };
    life.write(second * 2).await;
    let to = if before { to } else { Timestamp::now() };
    let back = life.moment(from, to);
    life.go_back(back).await;
    life.write(second * 2).await;
    life
}

#[tokio::test]
async fn a_second_before_and_after_a_fail_over_and_a_restore_in_place_is_found_again() {
    if !possible("a_second_before_and_after_a_fail_over_and_a_restore_in_place_is_found_again") {
        return;
    }
    let mut life = life(true).await;
    let end = Timestamp::now();
    life.archive().await;
    let undone = life.undone[0];
    let early = life.moment(life.since, undone.to);
    let late = life.moment(undone.at, end);
    for moment in [early, late] {
        life.check(moment).await;
    }
    // what was undone is not told apart from it by the log, and another state is not passed off as it
    let gone = life.rows.iter().rev().find(|row| row.begun > undone.to && row.done < undone.at).expect("undone").done;
    let target = postgres(true);
    target.stop();
    let refused = target.bench.restore(life.vault.restore("gone", Until::Time(gone))).await;
    assert!(failure(&refused).message.contains("was undone"), "{refused:?}");
    // all of it: what came after the restore in place, and nothing of what it undid
    let job = life.job();
    let all = restored(&life.vault, &job, Until::Latest).await;
    let rows = sql(&all, "SELECT count(*) AS rows FROM t").await;
    assert_eq!(rows[0]["rows"], json!(life.at(Timestamp::now()).expect("nothing is written").len()));
}

#[tokio::test]
async fn a_backup_alone_begins_a_timeline_that_nobody_had() {
    if !possible("a_backup_alone_begins_a_timeline_that_nobody_had") {
        return;
    }
    let mut life = Life::begin().await;
    let kept = life.rows.len();
    life.take_over().await;
    life.write(Duration::from_secs(1)).await;
    life.archive().await;
    life.source.stop();
    let job = life.job();
    let mut order = life.vault.restore(&job, Until::Backup);
    order.replace = true;
    done(&life.source.bench.restore(order).await);
    life.source.prepare().await;
    life.source.start_again().await;
    assert_eq!(sql(&life.source, "SELECT count(*) AS rows FROM t").await[0]["rows"], json!(kept));
    // its log is archived, beside that of the timeline it did not follow
    life.archive().await;
    let timeline = sql(&life.source, "SELECT timeline_id AS it FROM pg_control_checkpoint()").await;
    assert_eq!(timeline[0]["it"], json!(3));
}

#[tokio::test]
async fn chaos_twenty_random_seconds_are_found_again() {
    if !possible("chaos_twenty_random_seconds_are_found_again") {
        return;
    }
    for before in [true, false] {
        let mut life = life(before).await;
        // a second turn on what the first one left
        life.take_over().await;
        life.write(Duration::from_secs(2)).await;
        let end = Timestamp::now();
        life.archive().await;
        for _ in 0..10 {
            let moment = life.moment(life.since, end);
            life.check(moment).await;
        }
    }
}
