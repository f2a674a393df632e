//! Freezing and thawing. What was frozen is written down first, so that it is thawed whatever happens to the agent.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::sleep;

use super::{BackupError, Surroundings};
use crate::agent::files;

/// The record of a freeze.
const NAME: &str = "frozen";
/// Between two tries to thaw.
const RETRY: Duration = Duration::from_secs(2);
/// Tries to thaw before whoever waits is told that it cannot be done; it is tried on.
const TRIES: u32 = 5;

pub struct Freezer {
    around: Arc<dyn Surroundings>,
    /// Held while somebody freezes or thaws.
    turn: Mutex<()>,
}

impl Freezer {
    pub fn new(around: Arc<dyn Surroundings>) -> Self {
        Self { around, turn: Mutex::new(()) }
    }

    fn record(&self) -> PathBuf {
        self.around.records().join(NAME)
    }

    /// Nothing where the package declares no such thing.
    pub async fn freeze(&self) -> Result<(), BackupError> {
        let _turn = self.turn.lock().await;
        let actor = self.around.actor();
        if actor.config().actions.freeze.is_none() {
            return Ok(());
        }
        let record = self.record();
        files::write_whole(&record, b"", 0o600).map_err(|source| BackupError::file(&record, source))?;
        actor.run("freeze", self.around.extras()).await?;
        Ok(())
    }

    /// Undoes a freeze, if there is one. Tried on in the background where it cannot be done now.
    pub async fn thaw(self: &Arc<Self>) -> Result<(), BackupError> {
        let mut tries = 1;
        loop {
            match self.once().await {
                Ok(()) => return Ok(()),
                Err(error) if tries >= TRIES => {
                    tokio::spawn(self.clone().recover());
                    return Err(error);
                }
                Err(error) => tracing::warn!(%error, "cannot thaw yet"),
            }
            tries += 1;
            sleep(RETRY).await;
        }
    }

    /// For what an agent before this one left, or could not be undone: tries until it is.
    pub async fn recover(self: Arc<Self>) {
        let mut said = String::new();
        while let Err(error) = self.once().await {
            let error = error.to_string();
            if said != error {
                tracing::error!(error, "the middleware is frozen and cannot be thawed; it is tried again");
                said = error;
            }
            sleep(RETRY).await;
        }
    }

    async fn once(&self) -> Result<(), BackupError> {
        let _turn = self.turn.lock().await;
        let record = self.record();
        if !record.exists() {
            return Ok(());
        }
        self.around.actor().run("unfreeze", self.around.extras()).await?;
        std::fs::remove_file(&record).map_err(|source| BackupError::file(&record, source))
    }
}
