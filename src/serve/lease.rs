//! Leader election by a Lease, with the rules client-go follows: time is measured here and never read from the record,
//! every write names the version it replaces, and who cannot renew in time stops leading.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::cluster::problem::Problem;

/// How long a lease is valid without renewal, and how often that is tried.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Others wait this long after the last renewal they saw.
    pub duration: Duration,
    /// The leader gives up so long after it began the last renewal that succeeded. Others count from when they saw it: with
    /// less than `duration` two never lead at once.
    pub renew_deadline: Duration,
    /// Time from one try to the next.
    pub retry: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}

impl Timing {
    /// How long somebody may lead on, so long after beginning the last renewal that succeeded.
    fn left(self, since: Duration) -> Duration {
        self.renew_deadline.saturating_sub(since)
    }
}

/// How leading ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Lost {
    /// Somebody else holds the lease now.
    Taken { by: String },
    /// It could not be renewed in time.
    NotRenewed { problem: String },
    /// We were told to stop, and the lease was released.
    Stopped,
}

/// Takes part in the election for one lease.
pub struct Elector {
    api: Api<Lease>,
    name: String,
    me: String,
    timing: Timing,
    seen: Option<Seen>,
    /// When the last attempt began by which the lease was ours.
    renewed: Instant,
}

/// The record as last seen, and when it last changed by our own clock.
struct Seen {
    lease: Lease,
    since: Instant,
}

/// What follows from a record.
#[derive(Debug, PartialEq, Eq)]
enum Claim {
    Create,
    Renew,
    TakeOver,
    Wait { holder: String },
}

impl Elector {
    pub fn new(client: Client, namespace: &str, name: &str, me: &str, timing: Timing) -> Self {
        let (api, renewed) = (Api::namespaced(client, namespace), Instant::now());
        Self { api, name: name.into(), me: me.into(), timing, seen: None, renewed }
    }

    /// Waits until the lease is ours. `watch` is told who holds it meanwhile.
    pub async fn acquire(&mut self, mut watch: impl FnMut(Result<&str, &str>)) {
        loop {
            match self.try_once(self.timing.renew_deadline / 2).await {
                Ok(Claim::Wait { holder }) => watch(Ok(&holder)),
                Ok(_) => return,
                Err(problem) => watch(Err(&problem)),
            }
            sleep(self.timing.retry).await;
        }
    }

    /// Renews the lease until that fails for too long, somebody else has it, or `stop` comes; then releases it.
    pub async fn hold(&mut self, stop: &CancellationToken) -> Lost {
        let mut problem = None;
        loop {
            let pause = self.timing.retry.min(self.timing.left(self.renewed.elapsed()));
            if stop.run_until_cancelled(sleep(pause)).await.is_none() {
                self.release().await;
                return Lost::Stopped;
            }
            let left = self.timing.left(self.renewed.elapsed());
            if left.is_zero() {
                return Lost::NotRenewed { problem: problem.unwrap_or_else(|| "no time was left to try".to_owned()) };
            }
            // one that hangs leaves time for another
            match self.try_once(left.min(self.timing.renew_deadline / 2)).await {
                Ok(Claim::Wait { holder }) => return Lost::Taken { by: holder },
                Ok(_) => problem = None,
                Err(reason) => problem = Some(reason),
            }
        }
    }

    /// Gives the lease up, so that the next one need not wait for its end.
    pub async fn release(&mut self) {
        let Some(seen) = self.seen.as_mut() else { return };
        let spec = seen.lease.spec.get_or_insert_default();
        if spec.holder_identity.as_deref() != Some(&self.me) {
            return;
        }
        spec.holder_identity = None;
        spec.lease_duration_seconds = Some(1);
        spec.renew_time = Some(MicroTime(Timestamp::now()));
        let lease = seen.lease.clone();
        match timeout(Duration::from_secs(3), self.api.replace(&self.name, &PostParams::default(), &lease)).await {
            Ok(Ok(_)) => tracing::info!("the lease was released"),
            Ok(Err(error)) => tracing::warn!(%error, "the lease could not be released; it ends by itself"),
            Err(_) => tracing::warn!("the lease could not be released in time; it ends by itself"),
        }
    }

    async fn try_once(&mut self, limit: Duration) -> Result<Claim, String> {
        let began = Instant::now();
        match timeout(limit, self.claim_once()).await {
            Ok(Ok(claim)) => {
                if !matches!(claim, Claim::Wait { .. }) {
                    self.renewed = began;
                }
                Ok(claim)
            }
            // not yet a loss: it may have been anybody, and the next look tells who holds the lease
            Ok(Err(kube::Error::Api(status))) if status.code == 409 => {
                Err("somebody else changed the lease at the same moment".to_owned())
            }
            Ok(Err(error)) => Err(Problem::from_kube(&error).to_string()),
            Err(_) => Err(format!("the API server did not answer within {:.1} s", limit.as_secs_f32())),
        }
    }

    async fn claim_once(&mut self) -> Result<Claim, kube::Error> {
        let current = self.api.get_opt(&self.name).await?;
        let now = Instant::now();
        self.look(current, now);
        let claim = decide(self.seen.as_ref(), &self.me, self.timing.duration, now);
        let lease = match &claim {
            Claim::Wait { .. } => return Ok(claim),
            Claim::Create => self.api.create(&PostParams::default(), &self.record(None)).await,
            Claim::Renew | Claim::TakeOver => {
                let old = self.seen.as_ref().map(|seen| &seen.lease);
                self.api.replace(&self.name, &PostParams::default(), &self.record(old)).await
            }
        };
        match lease {
            Ok(lease) => {
                self.seen = Some(Seen { lease, since: now });
                Ok(claim)
            }
            Err(error) => Err(error),
        }
    }

    /// Remembers the record, and since when it is as it is.
    fn look(&mut self, current: Option<Lease>, now: Instant) {
        self.seen = current.map(|lease| {
            let unchanged = self.seen.take().filter(|seen| seen.lease.spec == lease.spec);
            Seen { since: unchanged.map_or(now, |seen| seen.since), lease }
        });
    }

    fn record(&self, old: Option<&Lease>) -> Lease {
        let now = MicroTime(Timestamp::now());
        let old_spec = old.and_then(|lease| lease.spec.as_ref());
        let mine = old_spec.is_some_and(|spec| spec.holder_identity.as_deref() == Some(&self.me));
        let transitions = old_spec.and_then(|spec| spec.lease_transitions).unwrap_or(0);
        Lease {
            metadata: old.map_or_else(
                || ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() },
                |lease| lease.metadata.clone(),
            ),
            spec: Some(LeaseSpec {
                holder_identity: Some(self.me.clone()),
                lease_duration_seconds: i32::try_from(self.timing.duration.as_secs()).ok(),
                acquire_time: old_spec
                    .filter(|_| mine)
                    .and_then(|spec| spec.acquire_time.clone())
                    .or(Some(now.clone())),
                renew_time: Some(now),
                lease_transitions: Some(if mine || old.is_none() { transitions } else { transitions + 1 }),
                ..LeaseSpec::default()
            }),
        }
    }
}

/// Who may have the lease, given the record and how long it has not changed.
fn decide(seen: Option<&Seen>, me: &str, duration: Duration, now: Instant) -> Claim {
    let Some(seen) = seen else { return Claim::Create };
    let spec = seen.lease.spec.as_ref();
    let holder = spec.and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
    let theirs = spec.and_then(|spec| spec.lease_duration_seconds).and_then(|seconds| u64::try_from(seconds).ok());
    let valid = theirs.map_or(duration, Duration::from_secs);
    match holder {
        "" => Claim::TakeOver,
        holder if holder == me => Claim::Renew,
        _ if now.saturating_duration_since(seen.since) > valid => Claim::TakeOver,
        holder => Claim::Wait { holder: holder.to_owned() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(holder: Option<&str>, since: Instant) -> Seen {
        let spec = LeaseSpec {
            holder_identity: holder.map(Into::into),
            lease_duration_seconds: Some(15),
            ..LeaseSpec::default()
        };
        Seen { lease: Lease { spec: Some(spec), ..Lease::default() }, since }
    }

    fn claim(holder: Option<&str>, age: u64) -> Claim {
        let start = Instant::now();
        decide(Some(&seen(holder, start)), "me", Duration::from_secs(15), start + Duration::from_secs(age))
    }

    #[test]
    fn a_lease_of_another_is_taken_only_when_it_has_not_changed_for_its_whole_duration() {
        assert_eq!(claim(Some("other"), 15), Claim::Wait { holder: "other".into() });
        assert_eq!(claim(Some("other"), 16), Claim::TakeOver);
    }

    #[test]
    fn a_leader_ends_before_anybody_else_may_begin() {
        let timing = Timing::default();
        let left = |seconds| timing.left(Duration::from_secs(seconds)).as_secs();
        assert_eq!([left(0), left(7), left(10), left(20)], [10, 3, 0, 0]);
        assert!(timing.renew_deadline + timing.retry < timing.duration, "also where it is looked at late");
    }

    #[test]
    fn a_released_lease_is_taken_at_once() {
        assert_eq!(claim(None, 0), Claim::TakeOver);
        assert_eq!(claim(Some(""), 0), Claim::TakeOver);
    }

    #[test]
    fn our_own_lease_is_renewed_and_a_missing_one_created() {
        assert_eq!(claim(Some("me"), 100), Claim::Renew);
        assert_eq!(decide(None, "me", Duration::from_secs(15), Instant::now()), Claim::Create);
    }
}
