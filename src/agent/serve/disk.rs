//! The data volume, asked from a thread of its own: while it does not answer, everything else of the agent goes on.

use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

/// Longer than a busy disk takes, and much shorter than a lease lasts.
const PATIENCE: Duration = Duration::from_secs(3);
/// What can wait for its turn; more is refused at once.
const WAITING: usize = 8;
const STACK: usize = 512 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    #[error("the data volume did not answer within {} s", .0.as_secs())]
    Silent(Duration),
    #[error("the data volume does not answer, and others wait for it already")]
    Crowded,
    #[error("the work on the data volume broke off")]
    Broken,
}

type Work = Box<dyn FnOnce() + Send>;

pub struct Disk {
    /// One after another: what was asked for first is done first, also when nobody waits for it any more.
    work: SyncSender<Work>,
    patience: Duration,
}

impl Disk {
    pub fn new() -> io::Result<Self> {
        let (work, asked) = sync_channel::<Work>(WAITING);
        let thread = std::thread::Builder::new().name("disk".to_owned()).stack_size(STACK);
        thread.spawn(move || asked.into_iter().for_each(|work| work()))?;
        Ok(Self { work, patience: PATIENCE })
    }

    pub async fn ask<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, DiskError> {
        let (answer, answered) = oneshot::channel();
        let work = Box::new(move || {
            // whoever asked may wait no longer
            let _ = answer.send(work());
        });
        self.work.try_send(work).map_err(|_| DiskError::Crowded)?;
        match timeout(self.patience, answered).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(DiskError::Broken),
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
        let disk = Disk { patience: Duration::from_millis(50), ..Disk::new().unwrap() };
        let (answers, stuck) = channel::<()>();
        let (done, order) = channel();
        let (begun, begins) = channel();
        let first = done.clone();
        let asked = disk.ask(move || {
            let _ = begun.send(());
            let _ = stuck.recv();
            let _ = first.send("the first");
        });
        assert!(matches!(asked.await, Err(DiskError::Silent(_))));
        begins.recv().unwrap();
        for _ in 0..WAITING {
            let told = disk.ask(|| ()).await.unwrap_err().to_string();
            assert_eq!(told, "the data volume did not answer within 0 s");
        }
        assert!(matches!(disk.ask(|| ()).await, Err(DiskError::Crowded)));

        drop(answers);
        assert_eq!(order.recv(), Ok("the first"));
        let patient = Disk { work: disk.work.clone(), patience: Duration::from_secs(30) };
        // what had to wait is done first
        let last = loop {
            let done = done.clone();
            match patient.ask(move || done.send("the last")).await {
                Err(DiskError::Crowded) => tokio::task::yield_now().await,
                other => break other,
            }
        };
        last.unwrap().unwrap();
        assert_eq!(order.recv(), Ok("the last"));
    }
}
