//! The end of a source: what it applied goes along or stays (`leave.rs`), and its last record says what became of it.

use std::time::Duration;

use kube::ResourceExt;

use super::GitSources;
use super::leave::{self, Leaving};
use super::memory::Remembered;
use super::settings::{self, Settings};
use super::status::Report;
use crate::api::{GitSource, labels};
use crate::cluster::Key;
use crate::controller::frame::{Failure, Next};

impl GitSources {
    /// A source that is being deleted: with what it applied, or without.
    pub(super) async fn end(
        &self,
        key: &Key,
        source: &GitSource,
        remembered: &mut Remembered,
    ) -> Result<Next, Failure> {
        let held = source.finalizers().iter().any(|one| one == labels::FINALIZER);
        if held && leave::takes_along(source) {
            let message = if source.spec.suspend == Some(true) {
                "suspended, and so what it applied stays; set spec.suspend to false to delete that too, or spec.deletionPolicy to Orphan to leave it".to_owned()
            } else {
                let account = source.spec.service_account_name.as_ref().map(ToString::to_string);
                let namespace = source.namespace().unwrap_or_default();
                let client = settings::acting(&namespace, account.as_deref(), &self.client, &self.config)?;
                match self.leave(source, &client).await? {
                    Leaving::Gone => String::new(),
                    Leaving::Waits(message) => message,
                }
            };
            if !message.is_empty() {
                self.say(source, remembered, Report::Leaving(message)).await?;
                return Ok(Next::After(Duration::from_secs(2)));
            }
        }
        if held {
            match self.settings(source).await {
                Ok(settings) => self.record_end(source, &settings, remembered).await,
                Err(problem) => tracing::warn!(problem = problem.message, "the end of the source is not recorded"),
            }
            if !leave::takes_along(source) {
                self.let_go(source).await;
            }
            leave::hold(&self.client, source, false).await?;
            // what is known now is done with: there is nothing more to tell when it is gone
            remembered.settings = None;
            self.memory.forget(key);
        }
        // where others still hold it, its end is recorded when it is gone
        Ok(Next::WhenChanged)
    }

    /// A source that went without waiting for anything: that is recorded with what is still known of it.
    pub(super) async fn released(&self, key: &Key) {
        let remembered = self.memory.of(key);
        let mut remembered = remembered.lock().await;
        if let Some((source, settings)) = remembered.settings.take() {
            if !leave::takes_along(&source) {
                self.let_go(&source).await;
            }
            self.record_end(&source, &settings, &mut remembered).await;
        }
    }

    /// Forgets a source that was deleted and made anew before anybody looked: what was told of that one is not told of this
    /// one, which takes up what it applied.
    pub(super) async fn forget_another(&self, key: &Key, source: &GitSource) {
        let remembered = self.memory.of(key);
        let mut remembered = remembered.lock().await;
        if remembered.uid.is_none() || remembered.uid == source.metadata.uid {
            return;
        }
        if let Some((before, settings)) = remembered.settings.take() {
            self.record_end(&before, &settings, &mut remembered).await;
        }
        self.memory.forget(key);
    }

    /// Records that a source is gone, once: nothing waits for a repository that cannot be reached.
    async fn record_end(&self, source: &GitSource, settings: &Settings, remembered: &mut Remembered) {
        let ledger = &mut remembered.ledger;
        let known = ledger.ends(source, settings, &self.client, &self.cache_dir).await;
        let problem = match known {
            // what is told already may still wait
            Ok(None) => ledger.push(source, settings, &self.client, &self.cache_dir).await,
            Ok(Some(objects)) => {
                let remaining =
                    if leave::takes_along(source) { Some(self.remaining(source, &objects).await) } else { None };
                match ledger.note_end(source, settings, remaining.as_ref()) {
                    Ok(()) => ledger.push(source, settings, &self.client, &self.cache_dir).await,
                    Err(problem) => Some(problem),
                }
            }
            Err(problem) => Some(problem),
        };
        if let Some(problem) = problem {
            tracing::warn!(problem, "the end of the source could not be recorded");
        }
    }
}
