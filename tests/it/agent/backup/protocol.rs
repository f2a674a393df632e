//! What counts as a backup and what does not, with small commands in the place of a middleware.

use std::path::Path;
use std::time::Duration;

use midship::agent::init::protocol::Op;
use midship::api::operation::UNTOUCHED;
use midship::backup::keys::Kit;
use midship::lifecycle::backup::{JobState, Outcome, RestoreOrder, StorePlace, Until};
use midship::lifecycle::{Code, proto};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::bench::{Bench, LONG, Vault, config, done, failure, over};
use crate::agent::pod::{Pod, sleeper};

/// A pod whose data is the folder `data`, with these methods.
pub fn bench(pod: &Pod, fields: Value) -> Bench {
    let data = pod.path("data");
    std::fs::create_dir_all(&data).unwrap();
    let mut all = json!({ "data": data, "volumes": { "data": data }, "restore": "r1" });
    all.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    Bench::new(config(all), &pod.socket(), &pod.path("secrets"), pod.dir.path())
}

fn method(script: &str) -> Value {
    json!({ "stream": { "exec": ["sh", "-c", script], "endText": "the end" }, "restore": { "exec": ["cat"] } })
}

fn methods(methods: Value) -> Value {
    json!({ "backup": methods })
}

pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + LONG;
    while !holds() {
        assert!(Instant::now() < end, "waited for {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn only_a_stream_that_ended_well_and_says_so_becomes_a_backup() {
    let pod = Pod::start(&sleeper());
    let vault = Vault::new().await;
    let bench = bench(
        &pod,
        methods(json!({
            "good": method("yes data | head -c 30000000; echo the end"),
            "dies": method("yes data | head -c 3000000; kill -9 $$"),
            "fails": method("echo the end; echo no room >&2; exit 3"),
            "cut": method("echo the e"),
            "empty": method("true"),
        })),
    );
    for (name, reason) in [
        ("dies", "sh was ended by"),
        ("fails", "sh exited with code 3: no room"),
        ("cut", "the source did not say that it is complete"),
        ("empty", "the source gave nothing"),
        ("none", "the package has no backup method \"none\" here; it has cut, dies, empty, fails, good"),
    ] {
        let ended = bench.backup(vault.backup(name, name)).await;
        assert_eq!(ended.state, JobState::Failed, "{name}");
        let problem = failure(&ended);
        assert!(problem.message.contains(reason), "{name}: {problem}");
    }
    let catalog = vault.catalog().await;
    assert!(catalog.found.is_empty() && catalog.begun.is_empty(), "{catalog:?}");
    assert_eq!(catalog.failed.len(), 4, "each says why it failed");
    let said: Vec<&str> = catalog.failed.iter().map(|failed| failed.void.reason.as_str()).collect();
    assert!(
        !said.iter().any(|said| said.contains("no room")),
        "what programs say is not for who reads the store: {said:?}"
    );

    let ended = bench.backup(vault.backup("good", "good")).await;
    let Outcome::Committed { id, .. } = done(&ended) else { panic!("{ended:?}") };
    assert_eq!((ended.state, ended.source_bytes), (JobState::Done, 30_000_008));
    assert!(ended.stored_bytes > 0 && ended.stored_bytes < 1_000_000);
    let catalog = vault.catalog().await;
    assert_eq!(catalog.found[0].place.id, *id);
    // the same job is not done twice, and says again how it ended
    assert_eq!(bench.backup(vault.backup("good", "good")).await, ended);
    assert_eq!(vault.catalog().await.found.len(), 1);
}

#[tokio::test]
async fn a_part_says_how_the_data_is_spread_and_is_none_where_that_changed_meanwhile() {
    let pod = Pod::start(&sleeper());
    let vault = Vault::new().await;
    let spread = pod.path("spread");
    std::fs::write(&spread, "0-9").unwrap();
    let look = json!([{ "exec": ["cat", spread], "save": "spread" }]);
    let part = |script: &str| {
        let mut part = method(script);
        (part["eachGroup"], part["set"]) = (json!(true), json!({ "same": "spread.stdout" }));
        (part["before"], part["after"]) = (look.clone(), look.clone());
        part
    };
    let moves = format!("echo 0-4 5-9 > {}; echo the end", spread.display());
    let bench = bench(&pod, methods(json!({ "stays": part("echo the end"), "moves": part(&moves) })));
    let order = |name: &str| {
        let mut order = vault.backup(name, name);
        let told = [("midship.dev/set", "one"), ("midship.dev/set-size", "1"), ("midship.dev/set-same", "whatever")];
        order.labels.extend(told.map(|(name, value)| (name.to_owned(), value.to_owned())));
        order
    };
    done(&bench.backup(order("stays")).await);
    let catalog = vault.catalog().await;
    let set = catalog.set_of(&catalog.found[0]).expect("it is a part");
    assert_eq!((set.check(), set.parts.len()), (Ok(()), 1));
    let same = catalog.found[0].manifest.labels.get("midship.dev/set-same").expect("it says how");
    assert!(same.len() == 63 && same.bytes().all(|digit| digit.is_ascii_hexdigit()), "{same}");
    let ended = bench.backup(order("moves")).await;
    let why = "the data was spread over the groups anew while it was read; this is no part of a backup";
    assert_eq!(failure(&ended).message, why);
    assert_eq!(vault.catalog().await.found.len(), 1);
}

#[tokio::test]
async fn a_store_that_is_not_there_or_another_one_fails_the_backup() {
    let pod = Pod::start(&sleeper());
    let (vault, other) = (Vault::new().await, Vault::new().await);
    let bench = bench(&pod, methods(json!({ "good": method("echo the end") })));
    let mut order = vault.backup("a", "good");
    order.repository.store = StorePlace::Filesystem("/nowhere/at/all".into());
    let ended = bench.backup(order).await;
    assert!(failure(&ended).message.contains("/nowhere/at/all"), "{ended:?}");
    let mut order = vault.backup("b", "good");
    order.repository.root = other.root();
    let ended = bench.backup(order).await;
    assert!(failure(&ended).message.contains("none of the keys that are known"), "{ended:?}");
    assert!(vault.catalog().await.found.is_empty());
}

#[tokio::test]
async fn one_job_at_a_time_and_one_that_is_cancelled_leaves_nothing_behind() {
    let pod = Pod::start(&sleeper());
    let vault = Vault::new().await;
    let bench = bench(&pod, methods(json!({ "slow": method("yes | head -c 20000000; sleep 1000") })));
    let progress = bench.backups.backup(vault.backup("one", "slow")).unwrap();
    // whoever followed is gone; the job goes on
    drop(progress);
    let refused = bench.backups.backup(vault.backup("two", "slow")).expect_err("one is under way");
    assert_eq!(refused.code, Code::Busy);
    let again = bench.backups.backup(vault.backup("one", "slow")).unwrap();
    let mut watched = again.clone();
    tokio::time::timeout(LONG, watched.wait_for(|progress| progress.source_bytes > 10_000_000)).await.unwrap().unwrap();
    let ended = bench.backups.cancel("one").await.unwrap();
    assert_eq!((ended.state, over(again).await.state), (JobState::Cancelled, JobState::Cancelled));
    let catalog = vault.catalog().await;
    assert!(catalog.found.is_empty() && catalog.begun.is_empty() && catalog.failed.len() == 1);
    assert_eq!(bench.backups.cancel("none").await.expect_err("no such job").code, Code::NotFound);
}

/// Freezing makes a file and thawing takes it away.
pub fn frozen(dir: &Path, thaw: &str) -> Value {
    let (freeze, thaw) = (format!("touch {}/frozen", dir.display()), thaw.replace("DIR", &dir.display().to_string()));
    json!({ "freeze": { "steps": [{ "exec": ["sh", "-c", freeze] }] },
        "unfreeze": { "steps": [{ "exec": ["sh", "-c", thaw] }] } })
}

#[tokio::test]
async fn a_volume_is_frozen_while_it_is_read_and_comes_back_as_it_was() {
    let pod = Pod::start(&sleeper());
    let vault = Vault::new().await;
    let methods = json!({ "files": {
        "stream": { "volume": { "name": "data", "exclude": ["tmp"] } }, "restore": { "volume": "data" } } });
    let actions = frozen(pod.dir.path(), "rm DIR/frozen && echo x >> DIR/thawed");
    let bench = bench(&pod, json!({ "backup": methods, "actions": actions }));
    let data = pod.path("data");
    std::fs::create_dir_all(data.join("deep/tmp")).unwrap();
    std::fs::create_dir_all(data.join("tmp")).unwrap();
    let big: Vec<u8> = (0..20_000_000u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    std::fs::write(data.join("deep/big"), &big).unwrap();
    std::fs::write(data.join("tmp/scratch"), "no").unwrap();
    done(&bench.backup(vault.backup("a", "files")).await);
    assert!(!pod.path("frozen").exists());
    assert_eq!(pod.read("thawed"), "x\n");

    // beneath a running process nothing is restored
    pod.wait_ready();
    let refused = bench.restore(vault.restore("r", Until::Backup)).await;
    assert_eq!(failure(&refused).code, Code::Precondition);
    pod.order(Op::Stop);
    std::fs::write(data.join("new"), "is cleared away").unwrap();
    std::fs::write(data.join("deep/big"), "damaged").unwrap();
    // nobody said that what is there may go
    let refused = bench.restore(vault.restore("full", Until::Backup)).await;
    assert!(failure(&refused).message.contains("there is data on this pod's volume"), "{refused:?}");
    assert_eq!(std::fs::read(data.join("deep/big")).unwrap(), b"damaged");
    let mut order = vault.restore("r2", Until::Backup);
    order.replace = true;
    done(&bench.restore(order).await);
    assert_eq!(std::fs::read(data.join("deep/big")).unwrap(), big);
    assert!(!data.join("new").exists() && !data.join("tmp").exists() && data.join("deep/tmp").exists());
    // what was restored is not restored again over what came since
    std::fs::write(data.join("deep/big"), "newer").unwrap();
    done(&bench.restore(vault.restore("r3", Until::Backup)).await);
    assert_eq!(std::fs::read(data.join("deep/big")).unwrap(), b"newer");
}

#[tokio::test]
async fn what_is_frozen_is_thawed_whatever_happens() {
    let pod = Pod::start(&sleeper());
    let vault = Vault::new().await;
    // longer than a pipe, so that it is still being read
    let methods = json!({ "files": { "stream": { "volume": { "name": "data" } }, "restore": { "volume": "data" } } });
    let fields = || {
        let actions = frozen(pod.dir.path(), "test -f DIR/may-thaw && rm -f DIR/frozen");
        json!({ "backup": methods.clone(), "actions": actions })
    };
    let first = bench(&pod, fields());
    std::fs::write(pod.path("data/file"), vec![7; 50_000_000]).unwrap();
    let mut order = vault.backup("slow", "files");
    order.bandwidth = Some(100_000);
    let progress = first.backups.backup(order).unwrap();
    until("the freeze", || pod.path("frozen").exists() && progress.borrow().state == JobState::Running).await;
    // another agent begins where this one would have been killed: the record is all it has
    let _second = bench(&pod, fields());
    std::fs::write(pod.path("may-thaw"), "").unwrap();
    until("the thaw", || !pod.path("frozen").exists()).await;
    assert_eq!(first.backups.cancel("slow").await.unwrap().state, JobState::Cancelled);
    assert!(!pod.path("frozen").exists());
    assert!(vault.catalog().await.found.is_empty());
}

#[tokio::test]
async fn a_pod_that_is_not_to_be_restored_keeps_its_data() {
    let pod = Pod::start(&sleeper());
    let vault = Vault::new().await;
    let bench = bench(&pod, json!({ "backup": { "good": method("echo the end") }, "restore": null }));
    done(&bench.backup(vault.backup("a", "good")).await);
    pod.order(Op::Stop);
    let refused = bench.restore(vault.restore("r", Until::Backup)).await;
    assert_eq!(failure(&refused).code, Code::Precondition);
    let mut order = vault.restore("r2", Until::Backup);
    order.identity = None;
    order.replace = true;
    let refused = bench.restore(order).await;
    let said = &failure(&refused).message;
    assert!(said.contains("cannot be opened") && said.contains(UNTOUCHED), "{refused:?}");
    let mut order = vault.restore("r3", Until::Latest);
    order.replace = true;
    let refused = bench.restore(order).await;
    assert!(failure(&refused).message.contains("there is no backup"), "{refused:?}");
}

#[tokio::test]
async fn a_recovery_kit_opens_what_has_lost_its_slots() {
    let pod = Pod::start(&sleeper());
    let vault = Vault::new().await;
    let bench = bench(&pod, methods(json!({ "good": method("echo the end") })));
    done(&bench.backup(vault.backup("a", "good")).await);
    let kit = Kit::of(&vault.repository).await.unwrap();
    for slot in &kit.slots {
        let name = format!("keys/{}/{}.age", slot.epoch, slot.recipient);
        std::fs::remove_file(vault.dir.path().join(name)).unwrap();
    }
    pod.order(Op::Stop);
    let locked = bench.restore(vault.restore("r", Until::Backup)).await;
    assert!(failure(&locked).message.contains("no slot of epoch"), "{locked:?}");
    let mut order = vault.restore("r2", Until::Backup);
    order.kit = Some(kit);
    // as it comes to the agent
    let order = RestoreOrder::try_from(proto::RestoreRequest::from(&order)).unwrap();
    done(&bench.restore(order).await);
}

#[tokio::test]
async fn a_restore_that_failed_begins_anew() {
    let pod = Pod::start(&sleeper());
    let vault = Vault::new().await;
    let put = |script: String| {
        json!({ "stream": { "exec": ["sh", "-c", "echo all of it, to the end: the end"], "endText": "the end" },
            "restore": { "before": [{ "exec": ["sh", "-c", format!("rm -f {}/data/*", pod.dir.path().display())] }],
                "exec": ["sh", "-c", script] } })
    };
    let dir = pod.dir.path().display().to_string();
    let script = format!(
        "cat > {dir}/data/half; test -f {dir}/works || {{ echo no room >&2; exit 9; }}; mv {dir}/data/half {dir}/data/whole"
    );
    let bench = bench(&pod, methods(json!({ "m": put(script) })));
    done(&bench.backup(vault.backup("a", "m")).await);
    pod.order(Op::Stop);
    let failed = bench.restore(vault.restore("r", Until::Backup)).await;
    assert!(failure(&failed).message.ends_with("sh exited with code 9: no room"), "{failed:?}");
    // what was begun and not ended is gone on with, and nobody says that nothing was changed
    let mut order = vault.restore("locked", Until::Backup);
    order.identity = None;
    let locked = bench.restore(order).await;
    assert!(!failure(&locked).message.contains(UNTOUCHED), "{locked:?}");
    assert!(pod.path("data/half").exists() && !pod.path("data/.midship-restored.json").exists());
    std::fs::write(pod.path("works"), "").unwrap();
    done(&bench.restore(vault.restore("r2", Until::Backup)).await);
    assert_eq!(pod.read("data/whole"), "all of it, to the end: the end\n");
    assert!(pod.path("data/.midship-restored.json").exists());
}
