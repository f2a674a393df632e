//! An agent whose store has bad days, behind a proxy before a real server: the backup is whole, or it failed and says why, and
//! the middleware notices nothing of either.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use midship::lifecycle::backup::{JobState, Until};
use serde_json::json;

use super::bench::{Bench, Vault, done, failure, over};
use super::protocol::{bench, frozen};
use crate::agent::pod::{Pod, sleeper};
use crate::backup::proxy::{Call, Fault, Proxy};
use crate::backup::servers::Server;

/// A pod with a volume that is frozen while it is read, and a repository in a bucket behind a proxy.
struct Ground {
    pod: Pod,
    bench: Bench,
    vault: Vault,
    proxy: Proxy,
    jobs: u32,
}

impl Ground {
    async fn new(server: &str) -> Self {
        let bucket = Server::start(server, false).settings();
        let proxy = Proxy::before(&bucket).await;
        let vault = Vault::in_bucket(&bucket, proxy.settings(&bucket)).await;
        let pod = Pod::start(&sleeper());
        let methods =
            json!({ "files": { "stream": { "volume": { "name": "data" } }, "restore": { "volume": "data" } } });
        let actions = frozen(pod.dir.path(), "rm DIR/frozen");
        let bench = bench(&pod, json!({ "backup": methods, "actions": actions }));
        // several chunks that do not get smaller
        let bytes: Vec<u8> = (0..6_000_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
        std::fs::write(pod.path("data/file"), bytes).unwrap();
        pod.wait_ready();
        Self { pod, bench, vault, proxy, jobs: 0 }
    }

    fn job(&mut self) -> String {
        self.jobs += 1;
        format!("job-{}", self.jobs)
    }

    /// A backup under this rule: why it failed, if it did. The process is the same one, and nothing stays frozen.
    async fn attempt(&mut self, rule: impl Fn(&Call) -> Option<Fault> + Send + Sync + 'static) -> Result<(), String> {
        let before = self.pod.status().pid;
        let found = self.vault.catalog().await.found.len();
        self.proxy.rule(rule);
        let job = self.job();
        let ended = self.bench.backup(self.vault.backup(&job, "files")).await;
        assert!(!self.pod.path("frozen").exists(), "it stayed frozen: {ended:?}");
        let after = self.pod.status();
        assert_eq!(after.pid, before, "the process was disturbed: {ended:?}");
        self.proxy.rule(|_| None);
        let catalog = self.vault.catalog().await;
        assert_eq!(catalog.problems, []);
        if ended.state == JobState::Done {
            done(&ended);
            assert_eq!(catalog.found.len(), found + 1);
            return Ok(());
        }
        assert_eq!(catalog.found.len(), found, "a backup that failed is there: {ended:?}");
        Err(failure(&ended).to_string())
    }

    /// The newest backup, put back into another pod.
    async fn comes_back(&mut self) {
        let pod = Pod::start(&sleeper());
        let methods =
            json!({ "files": { "stream": { "volume": { "name": "data" } }, "restore": { "volume": "data" } } });
        let other = bench(&pod, json!({ "backup": methods }));
        pod.order(midship::agent::init::protocol::Op::Stop);
        let job = self.job();
        done(&other.restore(self.vault.restore(&job, Until::Backup)).await);
        let same = std::fs::read(pod.path("data/file")).unwrap() == std::fs::read(self.pod.path("data/file")).unwrap();
        assert!(same, "something else came back");
    }
}

async fn has_bad_days(server: &str) {
    let mut ground = Ground::new(server).await;
    // one thing after another goes wrong with one backup, and all of it passes
    let turn = AtomicUsize::new(0);
    let passing = [
        Fault::Refuses(503, "SlowDown"),
        Fault::AnswerLost,
        Fault::Closes,
        Fault::Cut,
        Fault::CutsUpload,
        Fault::Refuses(500, "InternalError"),
    ];
    let rule = move |call: &Call| {
        let chosen = call.number % 3 == 1;
        chosen.then(|| passing.get(turn.fetch_add(1, Ordering::SeqCst)).cloned()).flatten()
    };
    assert_eq!(ground.attempt(rule).await, Ok(()));
    ground.comes_back().await;
    // credentials end in the middle of it, the store is full, the answers are lies
    for (fault, reason) in [
        (Fault::Refuses(400, "ExpiredToken"), "check the credentials"),
        (Fault::Refuses(507, "StorageFull"), "there is no room left"),
        (Fault::Lies, "does not hold what it said it had written"),
    ] {
        let chunks = Arc::new(AtomicUsize::new(0));
        let one = fault.clone();
        let rule = move |call: &Call| {
            let later = call.writes("/chunks/") && chunks.fetch_add(1, Ordering::SeqCst) > 0;
            later.then(|| one.clone())
        };
        let said = ground.attempt(rule).await.expect_err("it is not whole");
        assert!(said.contains(reason), "{fault:?}: {said}");
    }
    // and on the next day all is well: each failure left its reason, and none stands in the way
    let failed = ground.vault.catalog().await.failed.len();
    assert!(failed >= 3, "each that failed has left its reason: {failed}");
    assert_eq!(ground.attempt(|_| None).await, Ok(()));
    assert_eq!(ground.vault.catalog().await.found.len(), 2);
    ground.comes_back().await;
}

#[tokio::test]
async fn bad_days_of_the_first_server_disturb_nobody() {
    has_bad_days("seaweedfs").await;
}

#[tokio::test]
async fn bad_days_of_the_second_server_disturb_nobody() {
    has_bad_days("versitygw").await;
}

#[tokio::test]
async fn a_backup_that_waits_for_its_store_can_be_cancelled_and_thaws() {
    let mut ground = Ground::new("versitygw").await;
    ground.proxy.rule(|call| call.writes("/chunks/").then_some(Fault::Stalls));
    let job = ground.job();
    let progress = ground.bench.backups.backup(ground.vault.backup(&job, "files")).unwrap();
    super::protocol::until("the store to be asked", || ground.proxy.faults() > 0).await;
    assert!(ground.pod.path("frozen").exists());
    let ended = ground.bench.backups.cancel(&job).await.unwrap();
    assert_eq!((ended.state, over(progress).await.state), (JobState::Cancelled, JobState::Cancelled));
    assert!(!ground.pod.path("frozen").exists());
    assert!(ground.vault.catalog().await.found.is_empty());
}

/// What the agent was told last is what is true, also where the answer to the very last write is lost for good.
#[tokio::test]
async fn an_answer_that_never_comes_to_the_last_write_is_told_as_not_known() {
    let mut ground = Ground::new("versitygw").await;
    let begun = AtomicBool::new(false);
    ground.proxy.rule(move |call| {
        if call.writes("manifest.json") {
            begun.store(true, Ordering::SeqCst);
        }
        begun.load(Ordering::SeqCst).then_some(Fault::AnswerLost)
    });
    let job = ground.job();
    let ended =
        tokio::time::timeout(Duration::from_mins(2), ground.bench.backup(ground.vault.backup(&job, "files"))).await;
    let said = failure(&ended.expect("it ends")).to_string();
    assert!(said.contains("is not known"), "{said}");
    ground.proxy.rule(|_| None);
    assert_eq!(ground.vault.catalog().await.found.len(), 1, "it was written, and is whole");
    ground.comes_back().await;
}

/// A finished file of a log: a header, and nothing behind it.
fn finished(number: u64) -> (String, Vec<u8>) {
    let size = 1u32 << 20;
    let mut bytes = vec![0; size as usize];
    bytes[0..2].copy_from_slice(&0xD118u16.to_le_bytes());
    bytes[2..4].copy_from_slice(&2u16.to_le_bytes());
    bytes[4..8].copy_from_slice(&1u32.to_le_bytes());
    bytes[8..16].copy_from_slice(&(number * u64::from(size)).to_le_bytes());
    bytes[24..32].copy_from_slice(&7_300_000_000_000_000_001u64.to_le_bytes());
    bytes[32..36].copy_from_slice(&size.to_le_bytes());
    (format!("{:08X}{:08X}{:08X}", 1, 0, number), bytes)
}

#[tokio::test]
async fn an_order_that_comes_again_and_again_disturbs_no_slow_upload() {
    let bucket = Server::start("seaweedfs", false).settings();
    let proxy = Proxy::before(&bucket).await;
    let vault = Vault::in_bucket(&bucket, proxy.settings(&bucket)).await;
    let pod = Pod::start(&sleeper());
    let logs = pod.path("data/log");
    std::fs::create_dir_all(&logs).unwrap();
    let methods = json!({ "files": { "stream": { "volume": { "name": "data" } }, "restore": { "volume": "data" },
        "logs": { "directory": logs, "pattern": "^[0-9A-F]{24}$", "remove": true } } });
    let bench = bench(&pod, json!({ "backup": methods }));
    let (name, bytes) = finished(5);
    std::fs::write(logs.join(&name), bytes).unwrap();
    // each write takes longer than the time from one order to the next
    proxy.rule(|call| call.writes("/log/").then_some(Fault::Slow(Duration::from_secs(2))));
    let end = tokio::time::Instant::now() + super::bench::LONG;
    loop {
        let status = bench.backups.archive(Some(vault.archive("files"))).await.unwrap();
        assert_eq!(status.error, None);
        if status.last.as_deref() == Some(name.as_str()) {
            break;
        }
        assert!(tokio::time::Instant::now() < end, "{status:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(!logs.join(&name).exists(), "it is archived");
}
