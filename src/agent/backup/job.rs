//! Jobs: one at a time, known by the name their order gives them, going on when nobody follows.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::{BackupError, no_such_job};
use crate::backup::write::Progress;
use crate::lifecycle::backup::{JobProgress, JobState, Outcome};
use crate::lifecycle::{Code, Problem};

/// Jobs that have ended are remembered, so that whoever lost the connection learns how they ended.
const REMEMBERED: usize = 16;
/// How often progress is told.
const TICK: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Backup,
    Restore,
}

/// Tells how a job goes.
pub struct Reporter {
    progress: watch::Sender<JobProgress>,
    counters: Mutex<Option<Arc<Progress>>>,
}

impl Reporter {
    fn new(job: &str) -> Self {
        let progress = watch::channel(JobProgress::new(job, Timestamp::now())).0;
        Self { progress, counters: Mutex::new(None) }
    }

    pub fn stage(&self, state: JobState, doing: impl Into<String>) {
        let doing = doing.into();
        tracing::info!(state = state.name(), "{doing}");
        self.progress.send_modify(|progress| (progress.state, progress.doing) = (state, doing));
    }

    /// Whose bytes count from now on.
    pub fn count(&self, counters: Arc<Progress>) {
        *self.counters.lock().unwrap_or_else(PoisonError::into_inner) = Some(counters);
    }

    fn refresh(&self) {
        let counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(seen) = counters.map(|counters| counters.snapshot(Instant::now())) else { return };
        self.progress.send_if_modified(|progress| {
            let before = progress.clone();
            progress.source_bytes = seen.source_bytes;
            progress.stored_bytes = seen.stored_bytes;
            progress.expected_bytes = seen.expected_bytes;
            progress.bytes_per_second = seen.bytes_per_second;
            progress.left = seen.left;
            *progress != before
        });
    }

    fn end(&self, ended: Result<Outcome, BackupError>) {
        self.refresh();
        self.progress.send_modify(|progress| {
            let (state, doing, outcome) = match ended {
                Ok(outcome) => (JobState::Done, "it is done".to_owned(), outcome),
                Err(error) => {
                    let state = match &error {
                        BackupError::Cancelled => JobState::Cancelled,
                        BackupError::Untouched(why) if matches!(**why, BackupError::Cancelled) => JobState::Cancelled,
                        _ => JobState::Failed,
                    };
                    (state, error.to_string(), Outcome::Failed(error.into()))
                }
            };
            tracing::info!(job = progress.job, state = state.name(), doing, "the job has ended");
            (progress.state, progress.doing, progress.outcome) = (state, doing, Some(outcome));
            progress.ended_at = Some(Timestamp::now());
            progress.left = None;
        });
    }
}

struct Job {
    kind: Kind,
    id: String,
    reporter: Arc<Reporter>,
    cancel: CancellationToken,
}

impl Job {
    fn is_over(&self) -> bool {
        self.reporter.progress.borrow().state.is_over()
    }
}

#[derive(Default)]
pub struct Jobs(Mutex<VecDeque<Arc<Job>>>);

impl Jobs {
    /// Begins a job, or finds the one of this name; how it goes.
    pub fn begin<F>(
        &self,
        kind: Kind,
        id: &str,
        work: impl FnOnce(Arc<Reporter>, CancellationToken) -> F,
    ) -> Result<watch::Receiver<JobProgress>, Problem>
    where
        F: Future<Output = Result<Outcome, BackupError>> + Send + 'static,
    {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(job) = known.iter().find(|job| job.id == id) {
            if job.kind != kind {
                return Err(Problem::new(Code::KeyReused, format!("job {id:?} is something else"))
                    .hint("use a new name for each new job"));
            }
            return Ok(job.reporter.progress.subscribe());
        }
        if let Some(job) = known.iter().find(|job| !job.is_over()) {
            return Err(Problem::new(Code::Busy, format!("job {:?} is under way in this pod", job.id))
                .hint("wait until it has ended, or cancel it"));
        }
        while known.len() >= REMEMBERED {
            known.pop_front();
        }
        let (reporter, cancel) = (Arc::new(Reporter::new(id)), CancellationToken::new());
        let work = AbortOnDropHandle::new(tokio::spawn(work(reporter.clone(), cancel.clone())));
        tokio::spawn(watch_over(reporter.clone(), work));
        let follower = reporter.progress.subscribe();
        known.push_back(Arc::new(Job { kind, id: id.to_owned(), reporter, cancel }));
        Ok(follower)
    }

    pub fn runs(&self, kind: Kind) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().any(|job| job.kind == kind && !job.is_over())
    }

    pub fn running(&self) -> Option<String> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().find(|job| !job.is_over()).map(|job| job.id.clone())
    }

    /// Ends a job; how it ended. One that is over stays as it is.
    pub async fn cancel(&self, id: &str) -> Result<JobProgress, Problem> {
        let job = {
            let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            known.iter().find(|job| job.id == id).cloned()
        };
        let job = job.ok_or_else(|| no_such_job(id))?;
        job.cancel.cancel();
        let mut changes = job.reporter.progress.subscribe();
        let ended = changes.wait_for(|progress| progress.state.is_over()).await;
        ended.map(|progress| progress.clone()).map_err(|_| Problem::new(Code::Unavailable, "the agent ends"))
    }
}

/// Tells the progress of a job until its end, also where it breaks off.
async fn watch_over(reporter: Arc<Reporter>, mut work: AbortOnDropHandle<Result<Outcome, BackupError>>) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            ended = &mut work => {
                let broken = |error| Err(BackupError::Package(format!("it broke off: {error}")));
                return reporter.end(ended.unwrap_or_else(broken));
            }
            _ = ticks.tick() => reporter.refresh(),
        }
    }
}
