//! What people want of single backups, beyond the rules of retention: that one is held, that it has other labels. It lies in
//! the repository beside the backup, so that it outlives the cluster and is known in every other one.

use super::document::DocumentError;
use super::keys::SigningKey;
use super::layout::Place;
use super::manifest::Wish;
use super::repository::Repository;
use super::store::list_notes;

/// The one that counts.
pub async fn newest(repository: &Repository, place: &Place) -> Result<Option<Wish>, DocumentError> {
    let objects = list_notes(repository.store(), &place.wishes()).await?;
    match objects.last() {
        Some(object) => repository.document(&object.key).await.map(Some),
        None => Ok(None),
    }
}

/// Writes a wish down. Those it replaces go after it is there, also where a clock that was ahead named them.
pub async fn record(
    repository: &Repository,
    place: &Place,
    wish: &Wish,
    key: &SigningKey,
) -> Result<(), DocumentError> {
    let before = list_notes(repository.store(), &place.wishes()).await?;
    let at = Place::after(wish.at, before.iter().map(|object| object.key.name()));
    repository.put_document(&place.wish(at), wish, key).await?;
    for object in before {
        match repository.store().delete(&object.key).await {
            // the new one counts, for its name says that it is younger
            Err(error) if error.is_refusal() => tracing::debug!(%error, "an old wish stays"),
            done => done?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::sweep::Wishes;
    use crate::backup::tests::world::{World, rows};

    #[tokio::test]
    async fn the_newest_wish_counts_and_replaces_the_others() {
        let world = World::new(false).await;
        let made = world.back_up(&world.repository, None, &rows(100, 1)).await.expect("it is made");
        let wish = |hold| Wish { at: world.now(), hold, labels: None };
        assert_eq!(world.catalog().await.found[0].wish, None);
        record(&world.repository, &made.place, &wish(true), &world.key).await.expect("it is written");
        assert!(Wishes::of(&world.catalog().await).hold.contains(&made.place.id));
        world.memory.pass(jiff::SignedDuration::from_secs(1));
        record(&world.repository, &made.place, &wish(false), &world.key).await.expect("it is written");
        let catalog = world.catalog().await;
        assert_eq!(catalog.found[0].wish, Some(wish(false)));
        let ahead = Wish { at: world.now() + jiff::SignedDuration::from_hours(9), hold: true, labels: None };
        record(&world.repository, &made.place, &ahead, &world.key).await.expect("it is written");
        record(&world.repository, &made.place, &wish(false), &world.key).await.expect("it is written");
        let catalog = world.catalog().await;
        assert_eq!(catalog.found[0].wish, Some(wish(false)), "the last one counts, whatever the clock was");
        assert!(Wishes::of(&catalog).hold.is_empty());
        let written = world.memory.keys().into_iter().filter(|key| key.as_str().contains("/wishes/"));
        assert_eq!(written.count(), 1);
    }
}
