//! Backups that add to others: what they leave for the next one, what becomes of those that cannot be made, and how a chain of
//! them is put back.

use std::path::Path;

use jiff::Timestamp;
use midship::agent::init::protocol::Op;
use midship::api::operation::{BackupType, UNTOUCHED};
use midship::backup::id::Id;
use midship::lifecycle::backup::{BackupOrder, JobProgress, Outcome, RestoreOrder, Until};
use serde_json::{Value, json};

use super::bench::{Bench, Vault, done, failure};
use super::image::{Container, free_port, possible};
use super::middleware::{POSTGRES, archived, postgres, sql};
use super::protocol::bench as bench_of;
use crate::agent::pod::{Pod, sleeper};

/// Its id, and why it is a full one.
#[track_caller]
fn made(progress: &JobProgress) -> (Id, Option<String>) {
    match done(progress) {
        Outcome::Committed { id, full_because, .. } => (*id, full_because.clone()),
        other => panic!("{other:?}"),
    }
}

fn adding(vault: &Vault, job: &str, method: &str, parent: Id) -> BackupOrder {
    BackupOrder { type_: BackupType::Incremental, parent: Some(parent), ..vault.backup(job, method) }
}

fn putting_back(vault: &Vault, job: &str, backup: Id) -> RestoreOrder {
    RestoreOrder { backup: Some(backup), replace: true, ..vault.restore(job, Until::Backup) }
}

/// A method whose data is a number, and that says of each backup what it is and what it adds to.
fn numbers(dir: &Path) -> Value {
    let made = "number=$(cat $1/number) after=
        if [ -n \"$3\" ]; then test ! -f $1/refuses || { echo it is not known any more >&2; exit 3; }; after=\" after $(cat $3)\"; fi
        test -z \"$2\" || echo $number >$2
        echo \"$number$after: the end\"";
    let (cleared, put) = ("rm -rf $1/data/parts && mkdir $1/data/parts", "cat >$1/data/parts/$2");
    let joined = "cd $1/data && test $(ls parts | wc -l) = $2 && cat parts/* >whole";
    json!({
        "types": ["Full", "Incremental"],
        "incremental": { "when": "version != '0.9'", "needs": "needs version 1.0" },
        "stream": { "exec": ["sh", "-c", made, "sh", dir, "{{ job.keep }}", "{{ job.parent }}"], "endText": "the end" },
        "restore": {
            "before": [{ "exec": ["sh", "-c", cleared, "sh", dir] }],
            "exec": ["sh", "-c", put, "sh", dir, "{{ restore.index }}"],
            "after": [{ "exec": ["sh", "-c", joined, "sh", dir, "{{ restore.backups }}"] }],
        },
    })
}

fn numbered(pod: &Pod, version: &str) -> Bench {
    let methods = json!({ "numbers": numbers(pod.dir.path()) });
    bench_of(pod, json!({ "backup": methods, "context": { "version": version } }))
}

fn set(pod: &Pod, number: u32) {
    std::fs::write(pod.path("number"), number.to_string()).unwrap();
}

/// A full backup of the number 1.
async fn first(pod: &Pod, bench: &Bench, vault: &Vault) -> Id {
    set(pod, 1);
    made(&bench.backup(vault.backup("first", "numbers")).await).0
}

#[tokio::test]
async fn backups_that_add_to_one_another_are_put_back_one_after_the_other() {
    let pod = Pod::start(&sleeper());
    let vault = Vault::new().await;
    let bench = numbered(&pod, "1.0");
    let full = first(&pod, &bench, &vault).await;
    set(&pod, 2);
    let second = made(&bench.backup(adding(&vault, "second", "numbers", full)).await);
    assert_eq!(second.1, None);
    set(&pod, 3);
    let third = made(&bench.backup(adding(&vault, "third", "numbers", second.0)).await);
    assert_eq!(third.1, None);
    let catalog = vault.catalog().await;
    let types: Vec<BackupType> = catalog.found.iter().map(|found| found.manifest.type_).collect();
    assert_eq!(types, [BackupType::Full, BackupType::Incremental, BackupType::Incremental]);

    pod.order(Op::Stop);
    done(&bench.restore(vault.restore("newest", Until::Backup)).await);
    assert_eq!(pod.read("data/whole"), "1: the end\n2 after 1: the end\n3 after 2: the end\n");
    assert!(!pod.path("data/.midship-kept").exists(), "what is there now is not what was backed up");
    done(&bench.restore(putting_back(&vault, "back to the second", second.0)).await);
    assert_eq!(pod.read("data/whole"), "1: the end\n2 after 1: the end\n");
    done(&bench.restore(putting_back(&vault, "back to the first", full)).await);
    assert_eq!(pod.read("data/whole"), "1: the end\n");
}

#[tokio::test]
async fn where_a_backup_can_add_to_nothing_it_is_a_full_one_and_says_why() {
    let pod = Pod::start(&sleeper());
    let vault = Vault::new().await;
    let bench = numbered(&pod, "1.0");
    let full = first(&pod, &bench, &vault).await;
    let kept = pod.path("data/.midship-kept").join(full.to_string());
    assert!(kept.exists());
    let why = async |bench: &Bench, job: &str, parent: Id| {
        let (id, why) = made(&bench.backup(adding(&vault, job, "numbers", parent)).await);
        let catalog = vault.catalog().await;
        let found = catalog.found.iter().find(|found| found.place.id == id).expect("it is there");
        assert_eq!((found.manifest.type_, &found.manifest.parent), (BackupType::Full, &None), "{job}");
        why.expect("a reason")
    };
    let gone = Id::new(Timestamp::now());
    assert_eq!(why(&bench, "gone", gone).await, format!("there is no backup {gone}"));
    let older = numbered(&pod, "0.9");
    assert_eq!(why(&older, "old", full).await, "an incremental one needs version 1.0");
    let newer = numbered(&pod, "2.0");
    let said = why(&newer, "new", full).await;
    assert_eq!(said, format!("backup {full} is of version 1.0, and the data is of 2.0 by now"));
    std::fs::write(pod.path("refuses"), "").unwrap();
    let said = why(&bench, "refused", full).await;
    assert!(said.ends_with("sh exited with code 3: it is not known any more"), "{said}");
    std::fs::remove_file(kept).unwrap();
    let said = why(&bench, "lost", full).await;
    assert!(said.starts_with(&format!("this pod does not have what backup {full} left for the next one: ")), "{said}");
    let catalog = vault.catalog().await;
    assert_eq!((catalog.found.len(), catalog.failed.len()), (6, 1), "only one had begun");
}

#[tokio::test]
async fn what_an_earlier_attempt_left_passes_for_no_other_backups() {
    let pod = Pod::start(&sleeper());
    let vault = Vault::new().await;
    let bench = numbered(&pod, "1.0");
    // a folder stands for what cannot be taken away
    let kept = pod.path("data/.midship-kept");
    std::fs::create_dir_all(kept.join("new")).unwrap();
    let full = first(&pod, &bench, &vault).await;
    assert!(!kept.join(full.to_string()).exists());
    assert!(kept.join("new").exists());
}

#[tokio::test]
async fn a_chain_that_cannot_be_put_together_is_refused_before_anything_is_changed() {
    let pod = Pod::start(&sleeper());
    let vault = Vault::new().await;
    let bench = numbered(&pod, "1.0");
    let full = first(&pod, &bench, &vault).await;
    let last = made(&bench.backup(adding(&vault, "last", "numbers", full)).await).0;
    pod.order(Op::Stop);
    std::fs::write(pod.path("data/whole"), "precious").unwrap();

    // one of them for all of the data
    let mut method = numbers(pod.dir.path());
    method["types"] = json!(["Full"]);
    method.as_object_mut().unwrap().remove("incremental");
    let before = bench_of(&pod, json!({ "backup": { "numbers": method } }));
    let refused = before.restore(putting_back(&vault, "before", last)).await;
    let reason =
        "2 backups have to be put together, and the method numbers of this version of the package does not say how";
    assert_eq!(failure(&refused).message, format!("{reason}; {UNTOUCHED}"));

    let chunks = vault.dir.path().join(format!("c/c1/i1/b/{full}/chunks"));
    for chunk in std::fs::read_dir(chunks).unwrap() {
        std::fs::remove_file(chunk.unwrap().path()).unwrap();
    }
    for (job, backup) in [("chain", last), ("alone", full)] {
        let refused = bench.restore(putting_back(&vault, job, backup)).await;
        let said = &failure(&refused).message;
        assert!(said.starts_with(&format!("backup {full} is damaged: ")) && said.ends_with(UNTOUCHED), "{said}");
    }
    assert_eq!(pod.read("data/whole"), "precious");
}

fn summarized() -> Container {
    let spec = json!({ "type": "postgresql", "extensionVersion": "1.1.0", "version": "17", "topology": "standalone",
        "backup": { "policy": "nightly" },
        "components": [{ "name": "postgres", "parameters": { "summarize_wal": true } }] });
    Container::new("postgres-17", POSTGRES, spec, (5432, free_port()))
}

/// How many rows there are, and what they come to.
async fn rows(container: &Container) -> Value {
    sql(container, "SELECT count(*) AS rows, sum(n)::bigint AS sum FROM t").await[0].clone()
}

async fn add(container: &Container, from: u32, to: u32) {
    sql(container, &format!("INSERT INTO t SELECT n, md5(n::text) FROM generate_series({from}, {to}) AS n")).await;
}

async fn put_back(order: RestoreOrder) -> Container {
    let target = postgres(true);
    target.stop();
    done(&target.bench.restore(order).await);
    target.prepare().await;
    target.serve().await;
    target
}

#[tokio::test]
async fn postgres_comes_back_from_a_full_backup_and_what_changed_since() {
    if !possible("postgres_comes_back_from_a_full_backup_and_what_changed_since") {
        return;
    }
    let vault = Vault::new().await;
    let source = summarized();
    source.prepare().await;
    source.serve().await;
    source.bench.backups.archive(Some(vault.archive("base"))).await.unwrap();
    sql(&source, "CREATE TABLE t (n int PRIMARY KEY, x text)").await;
    sql(&source, "INSERT INTO t SELECT n, repeat(md5(n::text), 8) FROM generate_series(1, 200000) AS n").await;
    // what it would do by itself some time is no change of the data
    sql(&source, "VACUUM (FREEZE, ANALYZE) t").await;
    let with_log = |order: BackupOrder| BackupOrder { with_log: true, ..order };
    let full = source.bench.backup(with_log(vault.backup("full", "base"))).await;
    let (parent, _) = made(&full);

    add(&source, 200_001, 200_100).await;
    let there = rows(&source).await;
    let second = source.bench.backup(with_log(adding(&vault, "second", "base", parent))).await;
    let (second_id, why) = made(&second);
    assert_eq!(why, None);
    add(&source, 300_001, 300_100).await;
    sql(&source, "DELETE FROM t WHERE n <= 1000").await;
    let third = source.bench.backup(with_log(adding(&vault, "third", "base", second_id))).await;
    let (third_id, why) = made(&third);
    assert_eq!(why, None);
    for one in [&second, &third] {
        assert!(one.source_bytes * 2 < full.source_bytes, "{} of {}", one.source_bytes, full.source_bytes);
        assert!(one.stored_bytes * 2 < full.stored_bytes, "{} of {}", one.stored_bytes, full.stored_bytes);
    }

    add(&source, 400_001, 400_100).await;
    let wanted = rows(&source).await;
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    let moment = Timestamp::now();
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    add(&source, 500_001, 500_100).await;
    // how far a segment reaches is told with some care: one that is a little later covers all of them
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    sql(&source, "SELECT pg_create_restore_point('end')").await;
    let last = sql(&source, "SELECT pg_walfile_name(pg_switch_wal() - 1) AS name").await[0]["name"].clone();
    archived(&source, last.as_str().unwrap()).await;

    // from the last of them on, over three backups
    let then = put_back(vault.restore("then", Until::Time(moment))).await;
    assert_eq!(rows(&then).await, wanted);
    assert!(!then.data("chain").exists());
    let marker = std::fs::read_to_string(then.data(".midship-restored.json")).unwrap();
    assert!(marker.contains(&third_id.to_string()), "{marker}");
    sql(&then, "INSERT INTO t VALUES (0, 'it takes writes')").await;
    drop(then);
    let order = RestoreOrder { backup: Some(second_id), ..vault.restore("second", Until::Backup) };
    assert_eq!(rows(&put_back(order).await).await, there);

    // what the server does not take for what its data goes on from is not believed
    let left = source.data(".midship-kept").join(third_id.to_string());
    std::fs::write(left, "{}").unwrap();
    let (_, why) = made(&source.bench.backup(adding(&vault, "changed", "base", third_id)).await);
    assert!(why.as_deref().is_some_and(|why| why.contains("could not upload manifest")), "{why:?}");
}
