//! The frame every kind's controller hangs in: a queue of objects, bounded workers, a deadline for each reconcile, and a
//! back-off for each object, so that none delays another.

mod backlog;
mod queue;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::FutureExt;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

pub use queue::Queue;

use crate::cluster::Key;
use crate::serve::metrics::Metrics;

/// When an object wants to be looked at again without a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    WhenChanged,
    After(Duration),
}

/// Why a reconcile did not do what it should; it is tried again later.
#[derive(Debug)]
pub struct Failure {
    /// One word for metrics and logs.
    pub reason: &'static str,
    pub message: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.message)
    }
}

impl Failure {
    pub fn new(reason: &'static str, message: impl fmt::Display) -> Self {
        Self { reason, message: message.to_string() }
    }
}

/// Brings one object closer to its spec. Called for every change, and for objects that are gone.
pub trait Reconciler: Send + Sync + 'static {
    /// The kind, for logs and metrics.
    const KIND: &'static str;

    fn reconcile(&self, key: &Key) -> impl Future<Output = Result<Next, Failure>> + Send;
}

/// How many objects of a kind are worked on at once, and for how long at most.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub workers: usize,
    pub deadline: Duration,
    /// How long what was begun may take once it is told to stop.
    pub grace: Duration,
}

/// Works until it is told to stop, and then ends what it has begun.
pub async fn run<R: Reconciler>(
    reconciler: Arc<R>,
    queue: Queue,
    bounds: Bounds,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) {
    let mut workers = JoinSet::new();
    for _ in 0..bounds.workers.max(1) {
        workers.spawn(work(reconciler.clone(), queue.clone(), bounds.deadline, metrics.clone(), stop.clone()));
    }
    let all_ended = async {
        while let Some(ended) = workers.join_next().await {
            if let Err(error) = ended {
                tracing::error!(kind = R::KIND, %error, "a worker ended unexpectedly");
            }
        }
    };
    let time_is_up = async {
        stop.cancelled().await;
        tokio::time::sleep(bounds.grace).await;
    };
    tokio::select! {
        () = all_ended => {}
        () = time_is_up => tracing::warn!(kind = R::KIND, "something that was begun did not end in time and is given up"),
    }
}

async fn work<R: Reconciler>(
    reconciler: Arc<R>,
    queue: Queue,
    deadline: Duration,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) {
    while let Some(key) = stop.run_until_cancelled(queue.next()).await {
        metrics.set_waiting(R::KIND, queue.len());
        let span = tracing::info_span!("reconcile", kind = R::KIND, object = %key, reconcile = next_id());
        let started = Instant::now();
        let attempt = std::panic::AssertUnwindSafe(reconciler.reconcile(&key)).catch_unwind();
        let outcome = match tokio::time::timeout(deadline, attempt.instrument(span.clone())).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => {
                Err(Failure::new("Panic", "the reconcile panicked; this is a defect of Midship, please report it"))
            }
            Err(_) => Err(Failure::new("DeadlineExceeded", format!("not done after {} s", deadline.as_secs()))),
        };
        metrics.set_waiting(R::KIND, queue.len());
        metrics.reconciled(R::KIND, outcome.as_ref().err().map(|failure| failure.reason), started.elapsed());
        let _entered = span.enter();
        match outcome {
            Ok(Next::WhenChanged) => queue.done(key, None),
            Ok(Next::After(delay)) => queue.done(key, Some(delay)),
            Err(failure) => {
                let retry = queue.failed(key);
                tracing::warn!(reason = failure.reason, retry_in_ms = retry.as_millis(), "{}", failure.message);
            }
        }
    }
}

fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Hangs;

    impl Reconciler for Hangs {
        const KIND: &'static str = "Hanging";

        async fn reconcile(&self, _: &Key) -> Result<Next, Failure> {
            std::future::pending().await
        }
    }

    /// Fails once with "first", each time in its way; then, and with everything else, it is well.
    struct FailsOnce {
        how: How,
        attempts: AtomicU64,
        well: tokio::sync::mpsc::UnboundedSender<String>,
    }

    #[derive(Clone, Copy)]
    enum How {
        Hangs,
        Panics,
    }

    impl Reconciler for FailsOnce {
        const KIND: &'static str = "Failing";

        async fn reconcile(&self, key: &Key) -> Result<Next, Failure> {
            if key.name == "first" && self.attempts.fetch_add(1, Ordering::Relaxed) == 0 {
                match self.how {
                    How::Hangs => std::future::pending::<()>().await,
                    How::Panics => panic!("as the test wants it"),
                }
            }
            self.well.send(key.name.clone()).expect("the test listens");
            Ok(Next::WhenChanged)
        }
    }

    /// One worker, an object that fails once, and another behind it. Returns the metrics.
    async fn after_failing(how: How) -> String {
        let (queue, metrics, stop) = (Queue::default(), Metrics::new(), CancellationToken::new());
        let (well, mut heard) = tokio::sync::mpsc::unbounded_channel();
        queue.add(&Key::new("ns", "first"));
        queue.add(&Key::new("ns", "second"));
        // long enough for what is well on a busy machine
        let bounds = Bounds { workers: 1, deadline: Duration::from_secs(2), grace: Duration::from_secs(20) };
        let reconciler = Arc::new(FailsOnce { how, attempts: AtomicU64::new(0), well });
        let running = tokio::spawn(run(reconciler, queue, bounds, metrics.clone(), stop.clone()));
        for expected in ["second", "first"] {
            let name = tokio::time::timeout(Duration::from_mins(1), heard.recv()).await.expect("it is tried in time");
            assert_eq!(name.as_deref(), Some(expected), "the other goes on, and what failed is tried again");
        }
        stop.cancel();
        running.await.expect("the workers live on");
        metrics.text().expect("metrics are text")
    }

    #[tokio::test]
    async fn what_takes_too_long_is_ended_counted_and_tried_again() {
        let metrics = after_failing(How::Hangs).await;
        let counted = |line: &str| line.contains("\"Failing\"") && line.contains("\"DeadlineExceeded\"");
        assert!(metrics.lines().any(counted), "{metrics}");
    }

    #[tokio::test]
    async fn what_panics_ends_no_worker_and_is_counted_and_tried_again() {
        let metrics = after_failing(How::Panics).await;
        let counted = |line: &str| line.contains("\"Failing\"") && line.contains("\"Panic\"");
        assert!(metrics.lines().any(counted), "{metrics}");
    }

    /// Lets two go on at a time, and knows how many were at work together.
    struct InPairs {
        pair: tokio::sync::Barrier,
        now: AtomicU64,
        most: AtomicU64,
        done: tokio::sync::mpsc::UnboundedSender<()>,
    }

    impl Reconciler for InPairs {
        const KIND: &'static str = "Paired";

        async fn reconcile(&self, _: &Key) -> Result<Next, Failure> {
            let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(now, Ordering::SeqCst);
            self.pair.wait().await;
            // long enough for a third to come in, where it may
            tokio::time::sleep(Duration::from_millis(10)).await;
            self.now.fetch_sub(1, Ordering::SeqCst);
            self.done.send(()).expect("the test listens");
            Ok(Next::WhenChanged)
        }
    }

    #[tokio::test]
    async fn as_many_are_worked_on_at_once_as_there_are_workers_and_no_more() {
        let (queue, stop) = (Queue::default(), CancellationToken::new());
        for number in 0..10 {
            queue.add(&Key::new("ns", &format!("number-{number}")));
        }
        let (done, mut heard) = tokio::sync::mpsc::unbounded_channel();
        let (now, most) = (AtomicU64::new(0), AtomicU64::new(0));
        let reconciler = Arc::new(InPairs { pair: tokio::sync::Barrier::new(2), now, most, done });
        let bounds = Bounds { workers: 2, deadline: Duration::from_mins(1), grace: Duration::from_secs(20) };
        let running = tokio::spawn(run(reconciler.clone(), queue, bounds, Metrics::new(), stop.clone()));
        for _ in 0..10 {
            let done = tokio::time::timeout(Duration::from_mins(1), heard.recv()).await;
            done.expect("one alone would wait for ever").expect("it tells");
        }
        stop.cancel();
        running.await.expect("the workers live on");
        assert_eq!(reconciler.most.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn what_hangs_is_given_up_after_the_stop() {
        let queue = Queue::default();
        queue.add(&Key::new("ns", "stuck"));
        let stop = CancellationToken::new();
        let bounds = Bounds { workers: 1, deadline: Duration::from_hours(1), grace: Duration::from_millis(20) };
        let running = tokio::spawn(run(Arc::new(Hangs), queue.clone(), bounds, Metrics::new(), stop.clone()));
        while !queue.is_empty() {
            tokio::task::yield_now().await;
        }
        stop.cancel();
        let ended = tokio::time::timeout(Duration::from_secs(20), running).await;
        ended.expect("it ends in time").expect("without a panic");
    }
}
