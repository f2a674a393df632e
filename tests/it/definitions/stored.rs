//! An object of each kind with every field it could have when this was written is read by the types of today, and nothing
//! of it is lost when it is written again.

use midship::api::{
    Backup, BackupPolicy, BackupRepository, Component, Extension, GitSource, Instance, Kind, Operation, PodSet,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::here;

fn written_again<K: DeserializeOwned + Serialize>(object: &Value) -> Result<Value, String> {
    let read: K = serde_json::from_value(object.clone()).map_err(|error| error.to_string())?;
    serde_json::to_value(&read).map_err(|error| error.to_string())
}

fn again(kind: Kind, object: &Value) -> Result<Value, String> {
    match kind {
        Kind::GitSource => written_again::<GitSource>(object),
        Kind::Extension => written_again::<Extension>(object),
        Kind::BackupRepository => written_again::<BackupRepository>(object),
        Kind::BackupPolicy => written_again::<BackupPolicy>(object),
        Kind::Instance => written_again::<Instance>(object),
        Kind::Component => written_again::<Component>(object),
        Kind::PodSet => written_again::<PodSet>(object),
        Kind::Operation => written_again::<Operation>(object),
        Kind::Backup => written_again::<Backup>(object),
    }
}

/// What of an object is not in another, or is something else there.
fn lost(place: &str, before: &Value, after: &Value, found: &mut Vec<String>) {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            for (name, value) in before {
                let place = format!("{place}.{name}");
                match after.get(name) {
                    Some(after) => lost(&place, value, after, found),
                    None => found.push(format!("{place} is lost")),
                }
            }
        }
        (Value::Array(before), Value::Array(after)) if before.len() == after.len() => {
            for (index, (before, after)) in before.iter().zip(after).enumerate() {
                lost(&format!("{place}[{index}]"), before, after, found);
            }
        }
        _ if before == after => {}
        _ => found.push(format!("{place} was {before}, and is {after}")),
    }
}

#[test]
fn objects_that_were_stored_are_read_and_nothing_of_them_is_lost() {
    let text = std::fs::read_to_string(here("stored.yaml")).expect("the objects");
    let mut kinds = Vec::new();
    let mut wrong = Vec::new();
    for document in text.split("\n---\n") {
        let object: Value = serde_saphyr::from_str(document).unwrap_or_else(|error| panic!("{error}:\n{document}"));
        let kind = object["kind"].as_str().and_then(Kind::find).expect("a kind of ours");
        kinds.push(kind);
        match again(kind, &object) {
            Ok(after) => lost(kind.as_str(), &object, &after, &mut wrong),
            Err(error) => wrong.push(format!("{} cannot be read: {error}", kind.as_str())),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    kinds.sort_unstable();
    let mut all = Kind::ALL.to_vec();
    all.sort_unstable();
    assert_eq!(kinds, all);
}
