//! Which optional kinds the cluster has, as it was told last, and which instances had something left out for want of one.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::Client;
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::{Instant, sleep, timeout};

use crate::cluster::Key;
use crate::cluster::discovery::{Answers, OptionalKind, optional_kinds};
use crate::controller::frame::Queue;

/// What was told counts for so long.
const FRESH: Duration = Duration::from_secs(10);
/// While something is left out somewhere, it is asked so often.
const LEFT_OUT: Duration = Duration::from_secs(10);
/// How long the answers may take, behind other requests of ours too.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether kinds are there. Those of which it was never told are missing.
pub type Served = BTreeMap<OptionalKind, bool>;

/// Kinds of which something was left out, and what was known of them then.
pub type LeftOut = BTreeMap<OptionalKind, Option<bool>>;

/// What is left out now, said for people.
pub fn notes(left_out: &LeftOut) -> Vec<String> {
    let said = |words: &str, state: Option<bool>| {
        let kinds = left_out.iter().filter(|(_, known)| **known == state).map(|(kind, _)| format!("{kind:?}"));
        let kinds: Vec<String> = kinds.collect();
        (!kinds.is_empty()).then(|| format!("{words}: {}", kinds.join(", ")))
    };
    let missing = said("not made, since the cluster does not know the kind", Some(false));
    let unknown = said("left as it is, since nobody can tell whether the cluster knows the kind", None);
    missing.into_iter().chain(unknown).collect()
}

/// Asks the cluster, and remembers.
pub struct Kinds {
    client: Client,
    /// Held by the one who asks.
    asking: AsyncMutex<()>,
    last: Mutex<Last>,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Last {
    asked: Option<Instant>,
    served: Served,
    problem: Option<String>,
}

#[derive(Default)]
struct Waiting(BTreeMap<Key, LeftOut>);

impl Kinds {
    pub fn new(client: Client) -> Self {
        Self { client, asking: AsyncMutex::default(), last: Mutex::default(), waiting: Mutex::default() }
    }

    /// What is known now. One asks, and the others wait for that only while nothing is known.
    pub async fn served(&self) -> Served {
        let _turn = match self.asking.try_lock() {
            Ok(turn) => turn,
            Err(_) if !self.last().served.is_empty() => return self.last().served.clone(),
            Err(_) => self.asking.lock().await,
        };
        if self.last().asked.is_none_or(|at| at.elapsed() >= FRESH) {
            self.ask().await;
        }
        self.last().served.clone()
    }

    /// This was left out of an instance; nothing where all of it was made.
    pub fn left_out(&self, instance: &Key, kinds: LeftOut) {
        self.waiting().set(instance, kinds);
    }

    async fn ask(&self) {
        let answers = timeout(PATIENCE, optional_kinds(&self.client)).await;
        self.last().learn(answers.ok());
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has instances looked at again when more is known of the kinds that they lack, for as long as it is polled.
    pub async fn notice(&self, queue: &Queue) {
        loop {
            sleep(LEFT_OUT).await;
            if self.waiting().0.is_empty() {
                continue;
            }
            let turn = self.asking.lock().await;
            self.ask().await;
            drop(turn);
            let served = self.last().served.clone();
            let due = self.waiting().take(&served);
            for instance in &due {
                queue.add(instance);
            }
        }
    }
}

impl Last {
    /// Takes over what was answered. What was not stays as it was told last.
    fn learn(&mut self, answers: Option<Answers>) {
        let mut problem = answers.is_none().then(|| format!("no answer within {} s", PATIENCE.as_secs()));
        for (kind, answer) in answers.into_iter().flatten() {
            match answer {
                Ok(there) => {
                    self.served.insert(kind, there);
                }
                Err(error) => problem = Some(error.to_string()),
            }
        }
        if let Some(problem) = &problem
            && self.problem.as_ref() != Some(problem)
        {
            tracing::warn!(problem, "nobody can tell which optional kinds there are; what was known of them stands");
        }
        self.problem = problem;
        self.asked = Some(Instant::now());
    }
}

impl Waiting {
    fn set(&mut self, instance: &Key, kinds: LeftOut) {
        if kinds.is_empty() {
            self.0.remove(instance);
        } else {
            self.0.insert(instance.clone(), kinds);
        }
    }

    /// Takes out those of whose kinds something else is known now.
    fn take(&mut self, served: &Served) -> Vec<Key> {
        let mut due = Vec::new();
        self.0.retain(|instance, kinds| {
            let news = kinds.iter().any(|(kind, then)| served.get(kind) != then.as_ref());
            if news {
                due.push(instance.clone());
            }
            !news
        });
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::problem::Problem;

    const RULE: OptionalKind = OptionalKind::PrometheusRule;
    const CERTIFICATE: OptionalKind = OptionalKind::Certificate;

    fn problem() -> Problem {
        Problem::new("the API server refused: by the test", "try again")
    }

    #[test]
    fn what_was_known_stands_until_there_is_another_answer() {
        let mut last = Last::default();
        last.learn(Some(Answers::from([(RULE, Err(problem())), (CERTIFICATE, Ok(true))])));
        assert_eq!(last.served, Served::from([(CERTIFICATE, true)]), "of the other nothing is known");
        assert!(last.problem.is_some());
        last.learn(Some(Answers::from([(RULE, Ok(true)), (CERTIFICATE, Err(problem()))])));
        let both = Served::from([(RULE, true), (CERTIFICATE, true)]);
        assert_eq!(last.served, both);
        last.learn(None);
        assert_eq!(last.served, both);
        last.learn(Some(Answers::from([(RULE, Ok(false)), (CERTIFICATE, Ok(true))])));
        assert_eq!((last.served[&RULE], last.served[&CERTIFICATE], last.problem), (false, true, None));
    }

    #[test]
    fn who_lacks_a_kind_is_looked_at_once_when_more_is_known_of_it() {
        let (a, b) = (Key::new("ns", "a"), Key::new("ns", "b"));
        let mut waiting = Waiting::default();
        let lacks_rules = || LeftOut::from([(RULE, Some(false))]);
        let (without, with) = (Served::from([(RULE, false)]), Served::from([(RULE, true)]));
        waiting.set(&a, lacks_rules());
        waiting.set(&b, LeftOut::from([(CERTIFICATE, None)]));
        assert!(waiting.take(&without).is_empty(), "nothing new");
        assert_eq!(waiting.take(&Served::from([(RULE, false), (CERTIFICATE, false)])), [b]);
        assert_eq!(waiting.take(&with), std::slice::from_ref(&a));
        assert!(waiting.take(&with).is_empty(), "it is looked at once");
        waiting.set(&a, lacks_rules());
        waiting.set(&a, LeftOut::new());
        assert!(waiting.take(&with).is_empty(), "all of it was made");
    }

    #[test]
    fn people_read_what_is_missing_and_what_nobody_knows() {
        assert!(notes(&LeftOut::new()).is_empty());
        let left_out = [(OptionalKind::PodMonitor, Some(false)), (RULE, Some(false)), (CERTIFICATE, None)];
        assert_eq!(
            notes(&LeftOut::from(left_out)),
            [
                "not made, since the cluster does not know the kind: PodMonitor, PrometheusRule",
                "left as it is, since nobody can tell whether the cluster knows the kind: Certificate",
            ]
        );
    }
}
