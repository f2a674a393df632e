//! The data volume, asked from a thread of its own: while it does not answer, everything else of the agent goes on.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::timeout;

/// Longer than a busy disk takes, and much shorter than a lease lasts.
const PATIENCE: Duration = Duration::from_secs(3);

#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    #[error("the data volume did not answer within {} s", .0.as_secs())]
    Silent(Duration),
    #[error("the work on the data volume broke off: {0}")]
    Broken(#[from] JoinError),
}

pub struct Disk {
    /// One after another: what was asked for first is done first, also when nobody waits for it any more.
    turn: Arc<Mutex<()>>,
    patience: Duration,
}

impl Default for Disk {
    fn default() -> Self {
        Self { turn: Arc::default(), patience: PATIENCE }
    }
}

impl Disk {
    pub async fn ask<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, DiskError> {
        let asked = async {
            let turn = Arc::clone(&self.turn).lock_owned().await;
            let answer = spawn_blocking(move || {
                let answer = work();
                drop(turn);
                answer
            });
            answer.await
        };
        match timeout(self.patience, asked).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(DiskError::Silent(self.patience)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[tokio::test]
    async fn a_volume_that_does_not_answer_is_given_up_and_asked_in_order_once_it_does() {
        let disk = Disk { patience: Duration::from_millis(50), ..Disk::default() };
        let (answers, stuck) = channel::<()>();
        let (done, order) = channel();
        let first = done.clone();
        let asked = disk.ask(move || {
            let _ = stuck.recv();
            let _ = first.send("the first");
        });
        assert!(matches!(asked.await, Err(DiskError::Silent(_))));
        let told = disk.ask(|| ()).await.unwrap_err().to_string();
        assert_eq!(told, "the data volume did not answer within 0 s");

        drop(answers);
        let patient = Disk { turn: Arc::clone(&disk.turn), patience: Duration::from_secs(30) };
        patient.ask(move || done.send("the second")).await.unwrap().unwrap();
        assert_eq!(order.iter().take(2).collect::<Vec<_>>(), ["the first", "the second"]);
    }
}
