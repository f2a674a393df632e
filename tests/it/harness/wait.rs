//! Waiting for a condition with a deadline, and saying what was seen when it never came.

use std::fmt::Display;
use std::panic::Location;
use std::time::{Duration, Instant};

/// Looks again and again until `look` returns `Ok`, and panics when `deadline` has passed. The `Err` of a look says what
/// was there instead: it is what a person reads when time is out.
#[track_caller]
pub fn wait_for<T, Seen: Display>(
    what: &str,
    deadline: Duration,
    mut look: impl AsyncFnMut() -> Result<T, Seen>,
) -> impl Future<Output = T> {
    let caller = Location::caller();
    async move {
        let start = Instant::now();
        let mut pause = Duration::from_millis(20);
        let mut seen: Option<(String, Instant)> = None;
        loop {
            // a look that is over at once counts even when time is up, but it is the last one
            let left = deadline.saturating_sub(start.elapsed());
            match tokio::time::timeout(left, look()).await {
                Ok(Ok(value)) => return value,
                Ok(Err(now)) => {
                    let now = now.to_string();
                    if seen.as_ref().is_none_or(|(before, _)| *before != now) {
                        seen = Some((now, Instant::now()));
                    }
                }
                Err(_) => {}
            }
            if start.elapsed() >= deadline {
                let seen = seen.map_or_else(
                    || "nothing: the first look did not come to an end".to_owned(),
                    |(seen, since)| format!("{seen}\n  (so for {:.1} s)", since.elapsed().as_secs_f32()),
                );
                panic!("{caller}: waited {deadline:?} for {what}\n  last seen: {seen}");
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 3 / 2).min(Duration::from_millis(500));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::AssertUnwindSafe;

    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn waiting_ends_as_soon_as_the_condition_holds() {
        let mut looks = 0;
        let found = wait_for("the third look", Duration::from_secs(20), async || {
            looks += 1;
            if looks == 3 { Ok(looks) } else { Err(format!("look {looks}")) }
        })
        .await;
        assert_eq!(found, 3);
    }

    async fn complaint(waiting: impl Future<Output = ()>) -> String {
        let panic = AssertUnwindSafe(waiting).catch_unwind().await.expect_err("it never holds");
        *panic.downcast::<String>().expect("a message")
    }

    #[tokio::test]
    async fn a_wait_in_vain_says_what_it_saw_last_and_who_waited() {
        let waiting =
            wait_for("the pod to be ready", Duration::from_millis(60), async || Err::<(), _>("phase Pending"));
        let message = complaint(waiting).await;
        assert!(message.contains("wait.rs:"), "{message}");
        assert!(message.contains("waited 60ms for the pod to be ready\n  last seen: phase Pending\n"), "{message}");
    }

    #[tokio::test]
    async fn a_look_that_hangs_does_not_hang_the_test() {
        let waiting = wait_for("an answer", Duration::from_millis(60), async || {
            std::future::pending::<Result<(), String>>().await
        });
        let message = complaint(waiting).await;
        assert!(message.contains("the first look did not come to an end"), "{message}");
    }
}
