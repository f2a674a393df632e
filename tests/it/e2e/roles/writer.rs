//! A client that writes every few milliseconds through the Service and remembers what was acknowledged; beside it a
//! witness that tries to write to every pod directly, to see whether ever two accept writes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// Between two writes.
const EVERY: Duration = Duration::from_millis(10);
/// Between two tries of the witness.
const WITNESS_EVERY: Duration = Duration::from_millis(25);
/// How long a client waits before it tries another connection.
const PATIENCE: Duration = Duration::from_millis(500);

/// The next thing to write. No number is used twice, also not by later writers: one that is lost would be found where an
/// earlier one of the same number is still there.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// Which protocol the servers speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Redis,
    Postgres,
}

/// How servers are reached.
#[derive(Clone)]
pub struct Access {
    pub kind: Kind,
    /// Behind the Service of the primary.
    pub service: SocketAddr,
    pub password: String,
    /// Each pod by its own address, as far as known.
    pub pods: Arc<Mutex<BTreeMap<String, SocketAddr>>>,
}

/// A connection to one server.
pub enum Connection {
    Redis(TcpStream),
    Postgres(tokio_postgres::Client),
}

impl Connection {
    pub async fn open(access: &Access, address: SocketAddr) -> Result<Self, String> {
        let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
        match access.kind {
            Kind::Redis => {
                let mut connection = Self::Redis(stream);
                connection.redis(&["AUTH", &access.password]).await?;
                Ok(connection)
            }
            Kind::Postgres => {
                let mut config = tokio_postgres::Config::new();
                config.user("postgres").dbname("postgres").password(&access.password);
                let connected = config.connect_raw(stream, tokio_postgres::NoTls).await;
                let (client, work) = connected.map_err(|error| error.to_string())?;
                tokio::spawn(work);
                Ok(Self::Postgres(client))
            }
        }
    }

    /// A command, and its answer as far as one read brings it: they are short.
    async fn redis(&mut self, command: &[&str]) -> Result<String, String> {
        let Self::Redis(stream) = self else { return Err("not this protocol".to_owned()) };
        let mut request = format!("*{}\r\n", command.len());
        for part in command {
            write!(request, "${}\r\n{part}\r\n", part.len()).expect("text takes everything");
        }
        stream.write_all(request.as_bytes()).await.map_err(|error| error.to_string())?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n") {
            let read = stream.read_buf(&mut answer).await.map_err(|error| error.to_string())?;
            if read == 0 {
                return Err("the connection was closed".to_owned());
            }
        }
        let answer = String::from_utf8_lossy(&answer).into_owned();
        if answer.starts_with('-') { Err(answer) } else { Ok(answer) }
    }

    pub async fn add(&mut self, set: &str, number: u64) -> Result<(), String> {
        match self {
            Self::Redis(_) => self.redis(&["SADD", set, &number.to_string()]).await.map(drop),
            Self::Postgres(client) => {
                let insert = format!("INSERT INTO {set} VALUES ({number})");
                client.batch_execute(&insert).await.map_err(|error| error.to_string())
            }
        }
    }
}

/// Something that a pod accepted from the witness.
#[derive(Clone, Debug)]
struct Accepted {
    pod: String,
    sent: Instant,
    acknowledged: Instant,
}

/// A time without an acknowledged write, and what the client heard meanwhile, how often.
#[derive(Clone, Debug, Default)]
pub struct Gap {
    pub lasted: Duration,
    heard: BTreeMap<String, usize>,
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} s without writes", self.lasted.as_secs_f64())?;
        for (what, count) in &self.heard {
            write!(f, "; {count} times {}", what.trim())?;
        }
        Ok(())
    }
}

/// What was seen.
pub struct Report {
    pub acknowledged: BTreeSet<u64>,
    /// The longest one.
    pub gap: Gap,
    accepted: Vec<Accepted>,
}

impl Report {
    /// How often writes were accepted by another pod than before. Where two did so at once, they alternate all the time.
    pub fn moves(&self) -> usize {
        let mut accepted = self.accepted.clone();
        accepted.sort_by_key(|one| one.sent);
        accepted.windows(2).filter(|pair| pair[0].pod != pair[1].pod).count()
    }

    /// Writes of two pods at the same moment.
    pub fn assert_one_at_a_time(&self, terms: usize) {
        for one in &self.accepted {
            let overlaps = |other: &&Accepted| {
                other.pod != one.pod && other.sent > one.sent && other.acknowledged < one.acknowledged
            };
            let other = self.accepted.iter().find(overlaps);
            assert!(other.is_none(), "{} accepted a write while {other:?} did", one.pod);
        }
        assert!(self.moves() <= terms, "the writing pod changed {} times in {terms} terms", self.moves());
    }
}

/// Writers at work, on a thread of their own: whatever the test waits for does not hold them up.
pub struct Writers {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Report>,
    /// When the last write was acknowledged, and how many were.
    progress: Arc<Mutex<(Instant, u64)>>,
}

impl Writers {
    pub fn start(access: &Access) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let progress = Arc::new(Mutex::new((Instant::now(), 0)));
        let (access, stopped, told) = (access.clone(), stop.clone(), progress.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let ((acknowledged, gap), accepted) =
                    tokio::join!(write(&access, &stopped, &told), witness(&access, &stopped));
                Report { acknowledged, gap, accepted }
            })
        });
        Self { stop, thread, progress }
    }

    /// How many writes were acknowledged so far, and for how long none was.
    pub fn progress(&self) -> (u64, Duration) {
        let (at, count) = *self.progress.lock().expect("nobody panicked");
        (count, at.elapsed())
    }

    pub fn end(self) -> Report {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().expect("the writers do not panic")
    }
}

async fn write(access: &Access, stop: &AtomicBool, told: &Mutex<(Instant, u64)>) -> (BTreeSet<u64>, Gap) {
    let mut connection = None;
    let (mut acknowledged, mut longest, mut last) = (BTreeSet::new(), Gap::default(), Instant::now());
    let mut heard = BTreeMap::new();
    while !stop.load(Ordering::SeqCst) {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let attempt = async {
            let mut open = match connection.take() {
                Some(open) => open,
                None => Connection::open(access, access.service).await?,
            };
            open.add("writes", number).await.map(|()| open)
        };
        match timeout(PATIENCE, attempt).await {
            Ok(Ok(open)) => {
                connection = Some(open);
                acknowledged.insert(number);
                longest = longer(longest, last, &mut heard);
                last = Instant::now();
                *told.lock().expect("nobody panicked") = (last, acknowledged.len() as u64);
            }
            Ok(Err(error)) => *heard.entry(error).or_default() += 1,
            Err(_) => *heard.entry("nothing in time".to_owned()).or_default() += 1,
        }
        sleep(EVERY).await;
    }
    (acknowledged, longer(longest, last, &mut heard))
}

/// The longer of two: the one before, and the one that began at a moment.
fn longer(before: Gap, since: Instant, heard: &mut BTreeMap<String, usize>) -> Gap {
    let gap = Gap { lasted: since.elapsed(), heard: std::mem::take(heard) };
    if gap.lasted > before.lasted { gap } else { before }
}

async fn witness(access: &Access, stop: &AtomicBool) -> Vec<Accepted> {
    let names: Vec<String> = access.pods.lock().expect("nobody panicked").keys().cloned().collect();
    let tries = names.into_iter().map(|pod| async move {
        let (mut connection, mut accepted, mut number) = (None, Vec::new(), 0);
        while !stop.load(Ordering::SeqCst) {
            number += 1;
            let address = access.pods.lock().expect("nobody panicked")[&pod];
            let attempt = async {
                let mut open = match connection.take() {
                    Some(open) => open,
                    None => Connection::open(access, address).await?,
                };
                let sent = Instant::now();
                let added = open.add("witness", number).await;
                // a replica refuses, and stays connected
                connection = Some(open);
                added.map(|()| sent)
            };
            match timeout(PATIENCE, attempt).await {
                Ok(Ok(sent)) => accepted.push(Accepted { pod: pod.clone(), sent, acknowledged: Instant::now() }),
                Ok(Err(refusal)) if refusal.contains("READONLY") || refusal.contains("read-only") => {}
                Ok(Err(_)) | Err(_) => connection = None,
            }
            sleep(WITNESS_EVERY).await;
        }
        accepted
    });
    futures::future::join_all(tries).await.into_iter().flatten().collect()
}

/// Makes what is written to.
pub async fn prepare(access: &Access) -> Result<(), String> {
    if let Connection::Postgres(client) = Connection::open(access, access.service).await? {
        let tables = "CREATE TABLE IF NOT EXISTS writes (n bigint); CREATE TABLE IF NOT EXISTS witness (n bigint)";
        client.batch_execute(tables).await.map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Acknowledged writes that are not there any more.
pub async fn lost(access: &Access, report: &Report) -> Result<usize, String> {
    let mut connection = Connection::open(access, access.service).await?;
    if let Connection::Postgres(client) = &connection {
        let rows = client.simple_query("SELECT n FROM writes").await.map_err(|error| error.to_string())?;
        let stored: BTreeSet<u64> = rows
            .iter()
            .filter_map(|row| match row {
                tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0)?.parse().ok(),
                _ => None,
            })
            .collect();
        return Ok(report.acknowledged.difference(&stored).count());
    }
    let mut lost = 0;
    for number in &report.acknowledged {
        let answer = connection.redis(&["SISMEMBER", "writes", &number.to_string()]).await?;
        lost += usize::from(answer.trim() != ":1");
    }
    Ok(lost)
}
