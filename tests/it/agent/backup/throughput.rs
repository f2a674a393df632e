//! What a big backup costs: memory of the agent, time beside the programs a person would join together for it, and what the
//! middleware notices. MIDSHIP_BENCH_GIB (20), MIDSHIP_BENCH_SPARSE_GIB (64; 1024 for a whole TiB) and
//! MIDSHIP_BENCH_DATABASE_MIB (2048) say how big.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use midship::lifecycle::backup::JobProgress;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::sleep;

use super::bench::{Bench, Vault, config, done};
use super::image::{Container, possible};
use super::middleware::{postgres, redis, sql};
use crate::agent::pod::{Pod, field, sleeper};

/// What an agent may hold during any backup.
const MOST_MIB: f64 = 160.0;
/// Of what the programs reach.
const LEAST_RATIO: f64 = 0.7;
const WORK: &str = "MIDSHIP_BENCH_WORK";

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

#[allow(clippy::cast_precision_loss)] // figures for people
fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn per_second(bytes: u64, time: Duration) -> f64 {
    mib(bytes) / time.as_secs_f64()
}

/// What the process of `bench_one_agent` is to do.
#[derive(Serialize, Deserialize)]
struct Work {
    control: PathBuf,
    dir: PathBuf,
    script: String,
}

/// A process with the runtime of an agent, whose memory is looked at from outside. Does nothing where nobody gives it work.
#[test]
fn bench_one_agent() {
    let Ok(work) = std::env::var(WORK) else { return };
    let work: Work = serde_json::from_str(&work).unwrap();
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime =
        runtime.enable_all().max_blocking_threads(4).thread_keep_alive(Duration::from_secs(2)).build().unwrap();
    let ended = runtime.block_on(async {
        let vault = Vault::new().await;
        let method = json!({ "stream": { "exec": ["sh", "-c", work.script], "endText": "the end" }, "restore": { "exec": ["cat"] } });
        let fields = json!({ "data": work.dir, "volumes": { "data": work.dir }, "backup": { "big": method } });
        let bench = Bench::new(config(fields), &work.control, &work.dir.join("secrets"), &work.dir);
        let mut order = vault.backup("big", "big");
        order.timeout = Duration::from_hours(2);
        super::bench::within(bench.backups.backup(order).unwrap(), Duration::from_hours(2)).await
    });
    done(&ended);
    println!("{}", json!({ "source": ended.source_bytes, "stored": ended.stored_bytes }));
    std::io::stdout().flush().unwrap();
}

/// Blocks of which an eighth does not compress, again and again.
fn block(path: &Path) {
    let mut bytes = Vec::with_capacity(64 << 20);
    let mut noise = 0x9E37_79B9_7F4A_7C15u64;
    while bytes.len() < 64 << 20 {
        for _ in 0..128 {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            bytes.extend_from_slice(&noise.to_le_bytes());
        }
        for row in 0..(7 * 1024 / 32) {
            bytes.extend_from_slice(format!("{row:>30}\n\n").as_bytes());
        }
    }
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn bench_a_big_backup_takes_little_memory() {
    let bytes = number("MIDSHIP_BENCH_GIB", 20) << 30;
    let pod = Pod::start(&sleeper());
    pod.wait_ready();
    block(&pod.path("block"));
    let block = pod.path("block").display().to_string();
    let script = format!("while cat {block}; do :; done 2>/dev/null | head -c {bytes}; echo the end");
    memory(&pod, script, bytes);
}

/// What grows with the size of a volume alone is its chunks, and what is remembered of each.
#[test]
fn bench_a_backup_of_a_sparse_volume_takes_as_little_memory() {
    let bytes = number("MIDSHIP_BENCH_SPARSE_GIB", 64) << 30;
    let pod = Pod::start(&sleeper());
    pod.wait_ready();
    let sparse = pod.path("sparse");
    std::fs::File::create(&sparse).unwrap().set_len(bytes).unwrap();
    memory(&pod, format!("cat {}; echo the end", sparse.display()), bytes);
}

/// Has an agent back up what a script gives, which is more than so many bytes, and looks at its memory meanwhile.
fn memory(pod: &Pod, script: String, bytes: u64) {
    let work = Work { control: pod.socket(), dir: pod.dir.path().to_owned(), script };
    let began = Instant::now();
    // here, not in a memory that a temporary directory may be
    let space = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut agent = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "agent::backup::throughput::bench_one_agent", "--nocapture"])
        .env(WORK, serde_json::to_string(&work).unwrap())
        .env("TMPDIR", space.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let process = i32::try_from(agent.id()).unwrap();
    let (mut anonymous, mut resident) = (0, 0);
    let lines = BufReader::new(agent.stdout.take().unwrap());
    let reader = std::thread::spawn(move || lines.lines().map_while(Result::ok).collect::<Vec<_>>());
    while agent.try_wait().unwrap().is_none() {
        anonymous = anonymous.max(field(process, "RssAnon:").unwrap_or_default());
        resident = resident.max(field(process, "VmHWM:").unwrap_or_default());
        std::thread::sleep(Duration::from_millis(50));
    }
    let took = began.elapsed();
    let said = reader.join().unwrap();
    let told = said.iter().find_map(|line| {
        serde_json::from_str::<serde_json::Value>(
            line.trim_start_matches("test agent::backup::throughput::bench_one_agent ... "),
        )
        .ok()
    });
    let told = told.unwrap_or_else(|| panic!("the backup failed: {said:?}"));
    let (source, stored) = (told["source"].as_u64().unwrap(), told["stored"].as_u64().unwrap());
    let (anonymous, resident) = (mib(anonymous << 10), mib(resident << 10));
    println!(
        "a backup of {:.0} MiB, stored as {:.0} MiB, in {took:.0?}: {:.0} MiB/s",
        mib(source),
        mib(stored),
        per_second(source, took)
    );
    println!(
        "memory of the agent at most: {anonymous:.0} MiB of its own, {:.2} × the {MOST_MIB} it may hold; resident {resident:.0} MiB",
        anonymous / MOST_MIB
    );
    assert!(source > bytes && anonymous > 1.0);
}

/// What a person would write: the bytes of the copy, and how long it took.
fn by_hand(container: &Container, recipient: &str, to: &Path) -> Duration {
    let age = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/tool")).arg("age").output().unwrap();
    let age = String::from_utf8(age.stdout).unwrap();
    let script = r#"bin=$(cd "$1" && ls -d usr/lib/postgresql/*/bin) && export PGPASSWORD=made-up-replication
        chroot "$1" "/$bin/pg_basebackup" -h 127.0.0.1 -p "$2" -U replication -D - -F tar -X fetch -c fast --no-manifest |
        zstd -3 -T1 --quiet --stdout | "$3" --encrypt --recipient "$4" --output "$5" && sync "$5""#;
    let began = Instant::now();
    let done = Command::new("bash")
        .args(["-euo", "pipefail", "-c", script, "bash"])
        .arg(container.root())
        .args([&container.port.to_string(), age.trim(), recipient])
        .arg(to)
        .status()
        .unwrap();
    assert!(done.success(), "pg_basebackup | zstd | age");
    began.elapsed()
}

#[tokio::test]
async fn bench_a_backup_is_as_fast_as_programs_joined_by_hand() {
    if !possible("bench_a_backup_is_as_fast_as_programs_joined_by_hand") {
        return;
    }
    let vault = Vault::new().await;
    let source = postgres(false);
    source.prepare().await;
    source.serve().await;
    // about a kilobyte a row
    let rows = number("MIDSHIP_BENCH_DATABASE_MIB", 2048) * 1024;
    let fill = format!(
        "CREATE TABLE big AS SELECT n, md5(n::text) AS a, repeat(md5((n * 7)::text), 20) AS b, md5((n * 13)::text) || md5((n * 17)::text) AS c, repeat(' ', 200) AS d FROM generate_series(1, {rows}) n"
    );
    sql(&source, &fill).await;
    sql(&source, "CHECKPOINT").await;
    let (mut best, mut reference, mut bytes) = (Duration::MAX, Duration::MAX, 0);
    // by turns: what the machine does beside falls on both
    for turn in 0..3 {
        reference =
            reference.min(by_hand(&source, vault.identity.recipient().as_str(), &vault.dir.path().join("by-hand.age")));
        let began = Instant::now();
        let ended: JobProgress = source.bench.backup(vault.backup(&format!("turn-{turn}"), "base")).await;
        done(&ended);
        best = best.min(began.elapsed());
        bytes = ended.source_bytes;
    }
    let ratio = reference.as_secs_f64() / best.as_secs_f64();
    println!(
        "a database of {:.0} MiB: {:.0} MiB/s with two workers; pg_basebackup | zstd -3 -T1 | age: {:.0} MiB/s; ratio {ratio:.2}, \
         at least {LEAST_RATIO} wanted, more than 1 with two free processors",
        mib(bytes),
        per_second(bytes, best),
        per_second(bytes, reference)
    );
}

#[tokio::test]
async fn bench_a_backup_is_hardly_noticed() {
    if !possible("bench_a_backup_is_hardly_noticed") {
        return;
    }
    let vault = Vault::new().await;
    let source = redis(json!({}), false);
    source.prepare().await;
    source.serve().await;
    let fill = "for i = 1, 300000 do redis.call('SET', 'key:' .. i, string.rep(i, 60)) end";
    source.ask(json!({ "resp": ["EVAL", fill, "0"] })).await;
    let quiet = latencies(&source, sleep(Duration::from_secs(3))).await;
    let busy = latencies(&source, async {
        done(&source.bench.backup(vault.backup("a", "rdb")).await);
    })
    .await;
    let at = |all: &[Duration], percent: usize| all[(all.len() - 1) * percent / 100];
    println!(
        "a question takes {:?} (p50), {:?} (p99) without a backup and {:?}, {:?} during one: {:.2} × and {:.2} ×",
        at(&quiet, 50),
        at(&quiet, 99),
        at(&busy, 50),
        at(&busy, 99),
        at(&busy, 50).as_secs_f64() / at(&quiet, 50).as_secs_f64(),
        at(&busy, 99).as_secs_f64() / at(&quiet, 99).as_secs_f64(),
    );
}

/// How long questions take while something is done, sorted.
async fn latencies(container: &Container, work: impl Future<Output = ()>) -> Vec<Duration> {
    let mut all = Vec::new();
    tokio::pin!(work);
    loop {
        let began = Instant::now();
        let question = container.ask(json!({ "resp": ["GET", "key:1"] }));
        tokio::pin!(question);
        tokio::select! {
            biased;
            _ = &mut question => all.push(began.elapsed()),
            () = &mut work => break,
        }
        sleep(Duration::from_millis(2)).await;
    }
    all.sort_unstable();
    all
}
