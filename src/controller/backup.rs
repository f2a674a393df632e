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

/// What has to be written down; nothing where the repository has it so. What the object does not say, nobody wants changed:
/// it was shown before the backup was complete, or somebody in another cluster decided.
fn wanted(backup: &Backup, found: &Found, now: Timestamp) -> Option<Wish> {
    let written = found.wish.as_ref();
    let held = written.is_some_and(|wish| wish.hold);
    let labelled = written.and_then(|wish| wish.labels.as_ref()).unwrap_or(&found.manifest.labels);
    let hold = backup.spec.hold.unwrap_or(held);
    let labels = backup.spec.labels.as_ref().unwrap_or(labelled);
    if hold == held && labels == labelled {
        return None;
    }
    let labels: Option<BTreeMap<_, _>> = (*labels != found.manifest.labels).then(|| labels.clone());
    Some(Wish { at: now, hold, labels })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::backup::tests::world::{World, rows};

    fn shown(found: &Found, more: Value) -> Backup {
        let mut spec = json!({ "repository": "vault", "id": found.place.id.to_string(), "instance": { "uid": "1" } });
        spec.as_object_mut().expect("a mapping").extend(more.as_object().expect("a mapping").clone());
        let metadata = json!({ "name": "vault-1", "namespace": "shop" });
        serde_json::from_value(json!({ "apiVersion": "midship.dev/v1alpha1", "kind": "Backup", "metadata": metadata,
            "spec": spec }))
        .expect("a backup")
    }

    #[tokio::test]
    async fn what_an_object_does_not_say_stays_as_the_repository_has_it() {
        let world = World::new(false).await;
        world.back_up(&world.repository, None, &rows(100, 1)).await.expect("it is made");
        let mut found = world.catalog().await.found.remove(0);
        let monthly = BTreeMap::from([("keep".to_owned(), "monthly".to_owned())]);
        found.wish = Some(Wish { at: world.now(), hold: true, labels: Some(monthly.clone()) });
        let wants = |more: Value| wanted(&shown(&found, more), &found, world.now());
        assert_eq!(wants(json!({})), None);
        let released = wants(json!({ "hold": false })).expect("a wish");
        assert_eq!((released.hold, released.labels), (false, Some(monthly)));
        let relabelled = wants(json!({ "labels": { "keep": "yearly" } })).expect("a wish");
        assert_eq!((relabelled.hold, relabelled.labels.expect("labels")["keep"].as_str()), (true, "yearly"));
    }
}
