//! Waiting for something in the cluster, with a deadline, and saying what is waited for as it changes.

use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use tokio::time::{Instant, sleep};

use super::error::CommandError;
use super::output::printable;

/// How often the cluster is asked.
const PAUSE: Duration = Duration::from_millis(500);
/// How long people may say that something may take: a year.
const LONGEST: u64 = 366 * 24 * 3600;

/// Reads how many seconds something may take.
pub fn seconds() -> RangedU64ValueParser<u64> {
    clap::value_parser!(u64).range(..=LONGEST)
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
