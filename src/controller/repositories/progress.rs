//! How far a backup or a restore is, in a sentence.

use std::time::Duration;

use futures::{Stream, StreamExt};
use jiff::SignedDuration;
use tokio::time::{Instant, timeout_at};

use super::words::{size, span};
use crate::lifecycle::Problem;
use crate::lifecycle::backup::JobProgress;

/// The newest progress within a while; an outcome is told at once.
pub async fn newest<S>(stream: S, within: Duration) -> Result<Option<JobProgress>, Problem>
where
    S: Stream<Item = Result<JobProgress, Problem>>,
{
    let until = Instant::now() + within;
    let mut stream = std::pin::pin!(stream);
    let mut newest = None;
    loop {
        match timeout_at(until, stream.next()).await {
            Ok(Some(progress)) => {
                let progress = progress?;
                let over = progress.outcome.is_some();
                newest = Some(progress);
                if over {
                    return Ok(newest);
                }
            }
            // the time is over, or the stream was cut off: it is asked again
            Ok(None) | Err(_) => return Ok(newest),
        }
    }
}

/// `reads the data: 1.2 GiB of 4 GiB (30%), 212 MiB/s, 14s left`
pub fn told(progress: &JobProgress) -> String {
    let JobProgress { doing, source_bytes, expected_bytes, bytes_per_second, left, .. } = progress;
    let mut parts = Vec::new();
    match expected_bytes.filter(|expected| *expected > 0) {
        Some(expected) => {
            let percent = (u128::from(*source_bytes) * 100 / u128::from(expected)).min(100);
            parts.push(format!("{} of {} ({percent}%)", size(*source_bytes), size(expected)));
        }
        None if *source_bytes > 0 => parts.push(size(*source_bytes)),
        None => {}
    }
    parts.extend(bytes_per_second.map(|rate| format!("{}/s", size(rate))));
    let left = left.and_then(|left| SignedDuration::try_from(left).ok());
    parts.extend(left.map(|left| format!("{} left", span(left))));
    if parts.is_empty() { doing.clone() } else { format!("{doing}: {}", parts.join(", ")) }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn progress_is_told_as_far_as_it_is_known() {
        let mut progress = JobProgress::new("1", Timestamp::UNIX_EPOCH);
        assert_eq!(told(&progress), "opens the repository");
        progress.doing = "reads the data".into();
        progress.source_bytes = 300 << 20;
        progress.expected_bytes = Some(1 << 30);
        progress.bytes_per_second = Some(100 << 20);
        progress.left = Some(Duration::from_secs(7));
        assert_eq!(told(&progress), "reads the data: 300 MiB of 1 GiB (29%), 100 MiB/s, 7s left");
    }
}
