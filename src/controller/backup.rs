//! Backup: what people want of one, a hold or other labels, is written into the repository. The rest of the object is shown
//! by the repository's controller; deleting it deletes no data.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;

use super::caches::Caches;
use super::frame::{Failure, Next, Reconciler};
use super::repositories::known::Known;
use crate::api::Backup;
use crate::backup::manifest::Wish;
use crate::backup::read::Found;
use crate::backup::wish;
use crate::cluster::Key;
use crate::cluster::events::Events;

/// When a wish that could not be written is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(30);

/// Writes wishes down.
pub struct Backups {
    caches: Arc<Caches>,
    events: Events,
    known: Arc<Known>,
}

impl Backups {
    pub fn new(caches: Arc<Caches>, events: Events, known: Arc<Known>) -> Self {
        Self { caches, events, known }
    }
}

impl Reconciler for Backups {
    const KIND: &'static str = "Backup";

    async fn reconcile(&self, key: &Key) -> Result<Next, Failure> {
        let Some(backup) = self.caches.backups.get(key) else {
            return match self.caches.backups.unreadable(key) {
                Some(reason) => Err(Failure::new("Unreadable", reason)),
                None => Ok(Next::WhenChanged),
            };
        };
        let repository = Key { namespace: backup.namespace(), name: backup.spec.repository.to_string() };
        // until it was looked through, it is not known what is there; whoever looks tells us
        let Some(look) = self.known.look(&repository) else { return Ok(Next::After(TRY_AGAIN)) };
        let Some(found) = look.catalog.found.iter().find(|found| found.place.id.to_string() == backup.spec.id) else {
            return Ok(Next::WhenChanged);
        };
        let Some(wish) = wanted(&backup, found, Timestamp::now()) else { return Ok(Next::WhenChanged) };
        let Some(signing) = &look.opened.key else {
            let note = "its repository is only read here: hold and labels are not written there".to_owned();
            self.events.warning(backup.as_ref(), "ReadOnly", "wish", note).await;
            return Ok(Next::WhenChanged);
        };
        let place = found.place.clone();
        let amend = |wish: Option<Wish>| {
            self.known.amend(&repository, |catalog| {
                if let Some(found) = catalog.found.iter_mut().find(|found| found.place == place) {
                    found.wish = wish;
                }
            });
        };
        // known first: an object that is shown anew meanwhile must not say the opposite, and have that written
        amend(Some(wish.clone()));
        if let Err(error) = wish::record(&look.opened.repository, &found.place, &wish, signing).await {
            amend(found.wish.clone());
            return Err(Failure::new("NotWritten", error));
        }
        let note = if wish.hold { "retention leaves it alone from now on" } else { "the rules decide on it" };
        self.events.normal(backup.as_ref(), "WishRecorded", "wish", note.to_owned()).await;
        Ok(Next::WhenChanged)
    }
}

/// What has to be written down; nothing where the repository has it so.
fn wanted(backup: &Backup, found: &Found, now: Timestamp) -> Option<Wish> {
    let hold = backup.spec.hold.unwrap_or_default();
    let labels = backup.spec.labels.clone().unwrap_or_default();
    let written = found.wish.as_ref();
    let held = written.is_some_and(|wish| wish.hold);
    let labelled = written.and_then(|wish| wish.labels.as_ref()).unwrap_or(&found.manifest.labels);
    if hold == held && labels == *labelled {
        return None;
    }
    let labels: Option<BTreeMap<_, _>> = (labels != found.manifest.labels).then_some(labels);
    Some(Wish { at: now, hold, labels })
}
