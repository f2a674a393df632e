//! Which backup of an instance is restored as a test, and why there is none.

use jiff::{SignedDuration, Timestamp};

use crate::api::Instance;
use crate::api::packed::Packed;
use crate::backup::read::{Catalog, Found, SetError, Target};
use crate::controller::repositories::known::Look;

/// How long a part of a set may take to come after the one before.
const COMES: SignedDuration = SignedDuration::from_hours(24);

/// Where no backup of an instance can be restored, why the newest cannot; nothing while its first one is still being made.
pub fn hopeless(catalog: &Catalog, uid: &str, now: Timestamp) -> Option<String> {
    let own = catalog.found.iter().filter(|found| found.place.owner.instance.as_str() == uid);
    let newest = own.max_by_key(|found| (found.manifest.completed_at, found.place.id))?;
    let broken = |one: &Found| {
        let chain = catalog.chain(&one.place.owner, Target::Backup(one.place.id));
        chain.err().map(|error| error.to_string())
    };
    if let Some(why) = broken(newest) {
        return Some(why);
    }
    let set = catalog.set_of(newest)?;
    match set.check() {
        Err(SetError::Missing { .. }) if now.duration_since(set.completed_at()) < COMES => None,
        Err(error) => Some(error.to_string()),
        // the others may add to what is gone
        Ok(()) => set.parts.iter().find_map(|(_, part)| broken(part)),
    }
}

/// The backup that is tried: where each is a part, one of the newest set of all parts, which is restored as a whole.
pub fn tried<'a>(look: &'a Look, newest: &'a Found, instance: &Instance, parted: bool) -> Result<&'a Found, String> {
    if !parted {
        return Ok(newest);
    }
    let set = look.catalog.newest_set(&newest.place.owner, Timestamp::MAX).map_err(|error| error.to_string())?;
    let resolved = instance.status.as_ref().and_then(|status| status.resolved.as_ref());
    let told = resolved.and_then(|resolved| resolved.components.as_ref()).map(Packed::open).unwrap_or_default();
    let groups = told.as_object().into_iter().flat_map(serde_json::Map::values);
    let most = groups.filter_map(|component| Some(component.get("groups")?.as_array()?.len())).max();
    if let Some(groups) = most.filter(|groups| *groups != set.size) {
        return Err(format!(
            "the newest has {} parts, and by now there are {groups} groups; the next backup can be",
            set.size
        ));
    }
    set.parts.first().map(|(_, part)| *part).ok_or_else(|| "the newest has no parts".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::labels;
    use crate::backup::manifest::Level;
    use crate::backup::tests::world::{World, rows, source};
    use crate::backup::verify;
    use crate::backup::write::Writing;

    #[tokio::test]
    async fn where_no_backup_can_be_restored_the_newest_says_why() {
        let world = World::new(false).await;
        let why = async || hopeless(&world.catalog().await, "instance-1", world.now());
        assert_eq!(why().await, None, "there is none");
        let made = world.back_up(&world.repository, None, &rows(10, 1)).await.expect("made");
        assert_eq!(why().await, None, "it is sound");
        let found = world.catalog().await.found.remove(0);
        let (level, damage) = ((Level::Read, None), vec!["chunk 0 is damaged".to_owned()]);
        let recorded = verify::record(&world.repository, &found, level, damage, &world.key, world.now()).await;
        recorded.expect("recorded");
        assert_eq!(why().await, Some(format!("backup {} is damaged: chunk 0 is damaged", made.place.id)));
        assert_eq!(hopeless(&world.catalog().await, "instance-2", world.now()), None, "it is another one's");
    }

    #[tokio::test]
    async fn a_set_that_is_being_made_is_waited_for_but_not_for_ever() {
        let world = World::new(false).await;
        let mut request = world.request(None);
        let told = [(labels::GROUP, "shard-0"), (labels::PART, "true"), (labels::SET, "one"), (labels::SET_SIZE, "3")];
        request.labels.extend(told.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let begun = Writing::begin(&world.repository, &world.key, world.clock(), request, world.settings.clone()).await;
        let mut writing = begun.expect("begun");
        writing.stream(source("data", rows(10, 1))).await.expect("written");
        writing.commit(None).await.expect("committed");
        let why = async || hopeless(&world.catalog().await, "instance-1", world.now());
        assert_eq!(why().await, None);
        world.memory.pass(COMES);
        assert_eq!(why().await.as_deref(), Some("the set one has 1 of its 3 parts"));
    }
}
