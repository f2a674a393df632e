//! What is remembered of each pod set between reconciles. All of it can be lost: it is found again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::ResourceExt;
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::Instant;

use super::agents::CallError;
use crate::api::PodSetStatus;
use crate::api::pod_set::PodTemplate;
use crate::cluster::Key;
use crate::cluster::slim::Slim;
use crate::plan::pod_set::status::Undone;
use crate::plan::pod_set::{Attempt, Replaced, Trouble};

/// How long a watch may take to show what was written.
const LAG: Duration = Duration::from_secs(5);
/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// What was refused is asked for again after this, although nothing that is seen here has changed.
const REFUSED: Duration = Duration::from_mins(5);
/// How long something that was done may take to show.
const UNSEEN: Duration = Duration::from_secs(30);

/// One pod set.
#[derive(Default)]
pub struct Remembered {
    /// Of the set that all of this is about.
    uid: Option<String>,
    pub pods: Written<Pod>,
    pub claims: Written<PersistentVolumeClaim>,
    pub troubles: Vec<Failed>,
    /// The generation of the spec that `troubles` are about: what was refused for another one may be granted now.
    pub generation: Option<i64>,
    pub replaced: BTreeMap<u16, Replaced>,
    /// Since when pods have not been well, by their UIDs.
    pub unwell: BTreeMap<String, Timestamp>,
    /// Templates of earlier revisions, as far as they were needed.
    pub kept: BTreeMap<String, PodTemplate>,
    /// The revision that is known to be kept in the cluster.
    pub stored: Option<String>,
    /// The order pods asked for, and for which revision.
    pub asked_order: Option<(String, Option<Vec<u16>>)>,
    /// When each pod came to follow another one, as far as it was told.
    pub rejoined: BTreeMap<String, String>,
    /// The members that were last recorded; the watch may not show it yet.
    pub members: Option<BTreeSet<u16>>,
    /// Why the last step could not be carried out. Said until one can: a status that went back and forth would wake us.
    pub refused: Option<Refused>,
    /// The status that was last published.
    pub said: Option<PodSetStatus>,
}

/// Why a step could not be carried out, of which generation, and since when none of that could.
#[derive(Clone)]
pub struct Refused {
    pub generation: Option<i64>,
    pub why: String,
    pub since: Timestamp,
}

impl Refused {
    pub fn told(&self) -> Undone<'_> {
        Undone { why: &self.why, since: self.since }
    }
}

/// An attempt that failed, and when it is made again.
pub struct Failed {
    pub trouble: Trouble,
    times: u32,
    /// How often it came to an end: the next attempt is another call.
    ended: u32,
    pub again_at: Instant,
}

impl Remembered {
    /// What is known of a set that is gone says nothing of one that was made since by the same name.
    pub fn begin(&mut self, uid: Option<&String>) {
        if self.uid.as_ref() != uid {
            *self = Self { uid: uid.cloned(), ..Self::default() };
        }
    }

    /// Whether something that failed is not tried again yet.
    pub fn pauses(&self, uid: &str, attempt: Attempt) -> bool {
        self.troubles.iter().any(|failed| is(failed, uid, attempt) && failed.again_at > Instant::now())
    }

    /// How often an attempt came to an end in vain: agents remember each by its key.
    pub fn ended(&self, uid: &str, attempt: Attempt) -> u32 {
        self.troubles.iter().find(|failed| is(failed, uid, attempt)).map_or(0, |failed| failed.ended)
    }

    pub fn failed(&mut self, ordinal: u16, uid: &str, attempt: Attempt, error: CallError) {
        let CallError { message, refused, goes_on } = error;
        let failed = self.trouble(ordinal, uid, attempt);
        failed.times = failed.times.saturating_add(1);
        failed.ended = failed.ended.saturating_add(u32::from(!goes_on));
        let pause = Duration::from_secs(1 << failed.times.min(6)).min(LONGEST_PAUSE);
        failed.again_at = Instant::now() + if refused { REFUSED } else { pause };
        failed.trouble.message = message;
        failed.trouble.refused = refused;
    }

    /// It was done, and what it was done for does not show yet. Where that stays so it was in vain.
    pub fn unseen(&mut self, ordinal: u16, uid: &str, attempt: Attempt, message: String) {
        let failed = self.trouble(ordinal, uid, attempt);
        failed.ended = failed.ended.saturating_add(1);
        failed.again_at = Instant::now() + UNSEEN;
        failed.trouble.message = message;
        failed.trouble.refused = false;
    }

    fn trouble(&mut self, ordinal: u16, uid: &str, attempt: Attempt) -> &mut Failed {
        let known = self.troubles.iter().position(|failed| is(failed, uid, attempt));
        let place = known.unwrap_or_else(|| {
            let (uid, since) = (uid.to_owned(), Timestamp::now());
            let trouble = Trouble { ordinal, uid, attempt, since, message: String::new(), refused: false, due: false };
            self.troubles.push(Failed { trouble, times: 0, ended: 0, again_at: Instant::now() });
            self.troubles.len() - 1
        });
        &mut self.troubles[place]
    }

    pub fn worked(&mut self, uid: &str, attempt: Attempt) {
        self.troubles.retain(|failed| !is(failed, uid, attempt));
    }

    /// When to look again because of what is remembered.
    pub fn next_look(&self) -> Option<Duration> {
        let now = Instant::now();
        // what nobody attempts any more is no reason to look
        let retry = self.troubles.iter().map(|failed| failed.again_at).filter(|at| *at > now).min();
        let retry = retry.map(|at| at.saturating_duration_since(now).max(Duration::from_millis(100)));
        let stale = (!self.pods.is_empty() || !self.claims.is_empty()).then_some(LAG);
        retry.into_iter().chain(stale).min()
    }
}

impl Failed {
    /// As plans know it.
    pub fn seen(&self) -> Trouble {
        Trouble { due: self.trouble.refused && self.again_at <= Instant::now(), ..self.trouble.clone() }
    }
}

fn is(failed: &Failed, uid: &str, attempt: Attempt) -> bool {
    failed.trouble.uid == uid && failed.trouble.attempt == attempt
}

/// Objects that were written lately, until the watch shows them: a plan is never made from less than what is known.
pub struct Written<K> {
    objects: BTreeMap<String, (Option<K>, String, Instant)>,
}

impl<K> Default for Written<K> {
    fn default() -> Self {
        Self { objects: BTreeMap::new() }
    }
}

impl<K: ResourceExt + Slim + Clone> Written<K> {
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// The API server answered with this.
    pub fn wrote(&mut self, mut object: K) {
        object.slim();
        let uid = object.uid().unwrap_or_default();
        self.objects.insert(object.name_any(), (Some(object), uid, Instant::now()));
    }

    /// The API server deleted it at once.
    pub fn gone(&mut self, name: &str, uid: &str) {
        self.objects.insert(name.to_owned(), (None, uid.to_owned(), Instant::now()));
    }

    /// What is known by both, the watch and the answers.
    pub fn overlay(&mut self, watched: Vec<Arc<K>>) -> Vec<Arc<K>> {
        let mut known: BTreeMap<String, Arc<K>> =
            watched.into_iter().map(|object| (object.name_any(), object)).collect();
        self.objects.retain(|name, (written, uid, at)| {
            let late = at.elapsed() > LAG;
            match (known.get(name), written) {
                (None, None) => false,
                (Some(seen), None) => {
                    let same = seen.uid().as_ref() == Some(uid) && !late;
                    if same {
                        known.remove(name);
                    }
                    same
                }
                (None, Some(written)) => {
                    if !late {
                        known.insert(name.clone(), Arc::new(written.clone()));
                    }
                    !late
                }
                (Some(seen), Some(written)) => {
                    let older = is_older(seen.as_ref(), written) && !late;
                    if older {
                        known.insert(name.clone(), Arc::new(written.clone()));
                    }
                    older
                }
            }
        });
        known.into_values().collect()
    }
}

fn is_older<K: ResourceExt>(seen: &K, written: &K) -> bool {
    let version = |object: &K| object.resource_version().and_then(|version| version.parse::<u64>().ok());
    match (version(seen), version(written)) {
        (Some(seen), Some(written)) => seen < written,
        _ => false,
    }
}

/// All pod sets.
#[derive(Default)]
pub struct Memory {
    sets: Mutex<HashMap<Key, Arc<AsyncMutex<Remembered>>>>,
}

impl Memory {
    pub fn of(&self, key: &Key) -> Arc<AsyncMutex<Remembered>> {
        self.sets.lock().expect("no panic while it is held").entry(key.clone()).or_default().clone()
    }

    pub fn forget(&self, key: &Key) {
        self.sets.lock().expect("no panic while it is held").remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "u1";

    fn error(refused: bool, goes_on: bool) -> CallError {
        CallError { message: "no".to_owned(), refused, goes_on }
    }

    #[test]
    fn a_call_that_ended_in_vain_is_another_one_next_time() {
        let (mut remembered, attempt) = (Remembered::default(), Attempt::Switchover);
        remembered.failed(1, UID, attempt, error(false, true));
        assert_eq!(remembered.ended(UID, attempt), 0, "the same call asks for its end");
        remembered.failed(1, UID, attempt, error(false, false));
        remembered.unseen(1, UID, attempt, "it does not show yet".to_owned());
        assert_eq!((remembered.ended(UID, attempt), remembered.troubles.len()), (2, 1));
        assert!(remembered.pauses(UID, attempt));
        remembered.worked(UID, attempt);
        assert_eq!(remembered.ended(UID, attempt), 0);
    }

    #[test]
    fn what_was_known_of_a_set_is_forgotten_with_it() {
        let (first, second) = ("s1".to_owned(), "s2".to_owned());
        let mut remembered = Remembered::default();
        remembered.begin(Some(&first));
        remembered.stored = Some("r1".to_owned());
        remembered.begin(Some(&first));
        assert_eq!(remembered.stored.as_deref(), Some("r1"));
        remembered.begin(Some(&second));
        assert_eq!(remembered.stored, None);
    }

    #[test]
    fn what_was_refused_is_asked_for_again_after_a_while() {
        let mut remembered = Remembered::default();
        remembered.failed(1, UID, Attempt::Expand, error(true, false));
        let seen = remembered.troubles[0].seen();
        assert!(seen.refused && !seen.due && remembered.next_look().is_some());
        remembered.troubles[0].again_at = Instant::now();
        assert!(remembered.troubles[0].seen().due && !remembered.pauses(UID, Attempt::Expand));
        assert_eq!(remembered.next_look(), None, "what nobody attempts any more keeps nobody awake");
    }
}
