//! The checks of what was restored: begun once, and asked about until they have ended, however long they take.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::{BackupError, Marker};
use crate::lifecycle::{Code, Problem};

type Told = watch::Receiver<Option<Result<bool, Problem>>>;

/// Those under way or not yet told of, and what they are about.
#[derive(Default)]
pub struct Checks(Mutex<Option<(Marker, Told)>>);

impl Checks {
    /// The outcome of the checks of what the marker names: of those under way, or else of new ones. Whoever was told of it
    /// and asks again has them made anew.
    pub async fn of<Work>(&self, marker: Marker, make: impl FnOnce(Marker) -> Work) -> Result<bool, Problem>
    where
        Work: Future<Output = Result<bool, BackupError>> + Send + 'static,
    {
        let mut told = self.under_way(marker, make);
        let outcome = told.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone());
        self.known().take_if(|(_, known)| known.same_channel(&told));
        outcome.unwrap_or_else(|| {
            let lost = Problem::new(Code::Unavailable, "the checks ended without an outcome");
            Err(lost.hint("ask again to have them made anew; the agent's log says why they ended"))
        })
    }

    fn under_way<Work>(&self, marker: Marker, make: impl FnOnce(Marker) -> Work) -> Told
    where
        Work: Future<Output = Result<bool, BackupError>> + Send + 'static,
    {
        let mut known = self.known();
        if let Some((of, told)) = &*known
            && *of == marker
        {
            return told.clone();
        }
        let (tell, told) = watch::channel(None);
        let work = make(marker.clone());
        tokio::spawn(async move {
            tell.send_replace(Some(work.await.map_err(Problem::from)));
        });
        *known = Some((marker, told.clone()));
        told
    }

    fn known(&self) -> MutexGuard<'_, Option<(Marker, Told)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use jiff::Timestamp;
    use serde_json::Map;
    use tokio::sync::oneshot;
    use tokio::time::timeout;

    use super::*;
    use crate::backup::id::Id;

    fn restored(second: i64) -> Marker {
        let at = Timestamp::from_second(second).expect("a time");
        let (backup, facts) = (Id::new(at), Map::new());
        Marker { restore: None, backup, method: None, until: None, target: String::new(), facts, at }
    }

    #[tokio::test]
    async fn checks_that_take_longer_than_anybody_waits_are_made_once_and_heard_of_in_the_end() {
        let (checks, begun, marker) = (Checks::default(), Cell::new(0), restored(1));
        let (end, ends) = oneshot::channel::<()>();
        let mut first = Some(async move {
            let _ = ends.await;
            Ok(true)
        });
        let mut ask = async |patience: Duration| {
            let asked = checks.of(marker.clone(), |_| {
                begun.set(begun.get() + 1);
                first.take().expect("they are begun once")
            });
            timeout(patience, asked).await
        };
        assert!(ask(Duration::from_millis(20)).await.is_err(), "they go on");
        assert!(ask(Duration::from_millis(20)).await.is_err(), "they still do");
        end.send(()).expect("they are under way");
        assert_eq!(ask(Duration::from_mins(1)).await.expect("they have ended"), Ok(true));
        assert_eq!(begun.get(), 1);

        let again = checks.of(marker.clone(), |_| async { Ok(false) }).await;
        assert_eq!(again, Ok(false), "who was told has them made anew");
    }

    #[tokio::test]
    async fn what_was_checked_before_another_restore_proves_nothing_of_that() {
        let checks = Checks::default();
        let (end, ends) = oneshot::channel::<()>();
        let before = checks.of(restored(1), |_| async move {
            let _ = ends.await;
            Ok(true)
        });
        assert!(timeout(Duration::from_millis(20), before).await.is_err());
        end.send(()).expect("they are under way");
        let after = checks.of(restored(2), |_| async { Ok(false) }).await;
        assert_eq!(after, Ok(false));
    }
}
