//! What a store can do, tried rather than believed: a race for one key that exactly one writer may win, and whether its
//! clock agrees with ours.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::{Body, Features, Key, Store, StoreError, list_all};
use crate::backup::id::Id;

/// Writers of one race.
const RACERS: usize = 8;
/// Stores that get it wrong do so in more than half of the races.
const RACES: usize = 4;
/// What is tried lies in this folder.
const FOLDER: &str = "probe/";
/// Nobody tries for so long.
const LEFT_BEHIND: SignedDuration = SignedDuration::from_hours(24);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Capabilities {
    pub conditional_create: bool,
    pub versioning: bool,
    pub object_lock: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    pub capabilities: Capabilities,
    /// How far the clock of the store is ahead of ours.
    pub clock_ahead: SignedDuration,
}

/// Tries the store. What it writes it removes again.
pub async fn probe(store: &dyn Store, now: impl Fn() -> Timestamp) -> Result<Probe, StoreError> {
    let Features { versioning, object_lock } = store.features().await?;
    let run = Id::new(now());
    let mut conditional_create = true;
    let mut clock_ahead = SignedDuration::ZERO;
    for race in 0..RACES {
        let key = Key::parse(&format!("{FOLDER}{run}-{race}")).expect("made of letters and digits");
        let before = now();
        let outcome = one_race(store, &key).await;
        let after = now();
        if let Ok((_, modified)) = outcome {
            clock_ahead = ahead(modified, before, after);
        }
        forget(store, &key).await?;
        conditional_create &= outcome?.0;
        if !conditional_create {
            break;
        }
    }
    clear(store, now() + clock_ahead).await?;
    Ok(Probe { capabilities: Capabilities { conditional_create, versioning, object_lock }, clock_ahead })
}

/// How far the clock of the store is ahead of ours by now: ours may have been set since the store was tried.
pub async fn clock_ahead(store: &dyn Store, now: impl Fn() -> Timestamp) -> Result<SignedDuration, StoreError> {
    let before = now();
    let key = Key::parse(&format!("{FOLDER}{}", Id::new(before))).expect("made of letters and digits");
    store.put_new(&key, Body::new("what time is it")).await?;
    let looked = store.head(&key).await;
    let after = now();
    forget(store, &key).await?;
    Ok(ahead(looked?.modified, before, after))
}

/// Between the two it was written; only what lies outside of them is skew.
fn ahead(modified: Timestamp, before: Timestamp, after: Timestamp) -> SignedDuration {
    if modified < before {
        modified.duration_since(before)
    } else if modified > after {
        modified.duration_since(after)
    } else {
        SignedDuration::ZERO
    }
}

async fn forget(store: &dyn Store, key: &Key) -> Result<(), StoreError> {
    match store.delete(key).await {
        // a bucket may lock whatever is written into it: then a few bytes stay, until they may go
        Err(error) if error.is_refusal() => {
            tracing::debug!(%error, "what was tried stays");
            Ok(())
        }
        done => done,
    }
}

/// Removes what tries left behind that were killed, or whose objects were locked: the oldest come first.
async fn clear(store: &dyn Store, at: Timestamp) -> Result<(), StoreError> {
    for object in list_all(store, FOLDER).await? {
        if at.duration_since(object.modified) < LEFT_BEHIND {
            break;
        }
        match store.delete(&object.key).await {
            // nor those after it
            Err(error) if error.is_refusal() => break,
            done => done?,
        }
    }
    Ok(())
}

/// Whether one writer won and its object is the one that is kept.
async fn one_race(store: &dyn Store, key: &Key) -> Result<(bool, Timestamp), StoreError> {
    let writers = (0..RACERS).map(|writer| {
        let body = Body::new(format!("writer {writer}"));
        async move { (writer, store.put_new(key, body).await) }
    });
    let mut winners = Vec::new();
    for (writer, outcome) in futures::future::join_all(writers).await {
        match outcome {
            Ok(()) => winners.push(writer),
            Err(error) if error.already_exists() => {}
            Err(error) => return Err(error),
        }
    }
    let kept = store.get(key, None).await?;
    let modified = store.head(key).await?.modified;
    let fair = matches!(winners[..], [winner] if kept == format!("writer {winner}"));
    // and nobody who comes later may win either
    let late = store.put_new(key, Body::new("late")).await.is_err_and(|error| error.already_exists());
    Ok((fair && late, modified))
}
