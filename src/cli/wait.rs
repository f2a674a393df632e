//! Waiting for something in the cluster, with a deadline, and saying what is waited for as it changes.

use std::time::Duration;

use jiff::SignedDuration;
use tokio::time::{Instant, sleep};

use super::error::CommandError;
use super::output::printable;

/// How often the cluster is asked.
const PAUSE: Duration = Duration::from_millis(500);
/// How long people may say that something may take: a year.
const LONGEST: u64 = 366 * 24 * 3600;

/// Reads how many seconds something may take: as kubectl takes it, or a bare number of them.
pub fn seconds(text: &str) -> Result<u64, String> {
    let bare = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let time = if bare { format!("{text}s") } else { text.to_owned() };
    let time: SignedDuration = time.parse().map_err(|_| "this is no time".to_owned())?;
    let time = Duration::try_from(time).map_err(|_| "no time is less than none".to_owned())?;
    let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    if seconds > LONGEST { Err("this is longer than a year".to_owned()) } else { Ok(seconds) }
}

/// What a look found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look<T> {
    Ended(T),
    /// What it waits for, in a sentence.
    Waiting(String),
}

/// Looks until it ended or time is out, and tells each news once.
pub async fn watch<T>(
    timeout: Duration,
    mut look: impl AsyncFnMut() -> Result<Look<T>, CommandError>,
) -> Result<Look<T>, CommandError> {
    let end = Instant::now() + timeout;
    let mut told = String::new();
    loop {
        let seen = look().await?;
        match &seen {
            Look::Waiting(news) if Instant::now() < end => {
                if *news != told {
                    eprintln!("… {}", printable(news));
                    told.clone_from(news);
                }
            }
            _ => return Ok(seen),
        }
        sleep(PAUSE.min(end.saturating_duration_since(Instant::now()))).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_given_as_kubectl_takes_it_or_in_seconds() {
        for (text, expected) in
            [("0", 0), ("90", 90), ("90s", 90), ("5m", 300), ("1h30m", 5400), ("1500ms", 2), ("48h", 172_800)]
        {
            assert_eq!(seconds(text), Ok(expected), "{text}");
        }
        for (text, told) in
            [("soon", "this is no time"), ("", "this is no time"), ("9000h", "this is longer than a year")]
        {
            assert_eq!(seconds(text), Err(told.to_owned()), "{text}");
        }
    }
}
