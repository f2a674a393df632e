//! An object, or why it cannot be read as its kind: one that somebody stored in another form takes no other along. It is
//! read from the text itself: a watch brings thousands of objects at once, and a tree of each in between costs more than
//! all the rest.

use std::borrow::Cow;

use kube::Resource;
use kube::api::ObjectMeta;
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// What a list or a watch brings.
#[derive(Clone, Debug)]
pub struct Guard<K>(pub Result<K, Unreadable>);

/// An object of which only its name is known.
#[derive(Clone, Debug)]
pub struct Unreadable {
    pub reason: String,
    metadata: ObjectMeta,
}

/// What every object has.
#[derive(Deserialize)]
struct Named {
    #[serde(default)]
    metadata: ObjectMeta,
}

impl<'de, K: DeserializeOwned> Deserialize<'de> for Guard<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(deserializer)?;
        let error = match serde_json::from_str(text.get()) {
            Ok(object) => return Ok(Self(Ok(object))),
            Err(error) => error.to_string(),
        };
        let Named { metadata } = serde_json::from_str(text.get()).map_err(D::Error::custom)?;
        // the text has one line, which nobody sees
        let reason = error.rsplit_once(" at line ").map_or(error.as_str(), |(reason, _)| reason).to_owned();
        Ok(Self(Err(Unreadable { reason, metadata })))
    }
}

impl<K: Resource> Resource for Guard<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(dynamic: &Self::DynamicType) -> Cow<'_, str> {
        K::kind(dynamic)
    }

    fn group(dynamic: &Self::DynamicType) -> Cow<'_, str> {
        K::group(dynamic)
    }

    fn version(dynamic: &Self::DynamicType) -> Cow<'_, str> {
        K::version(dynamic)
    }

    fn plural(dynamic: &Self::DynamicType) -> Cow<'_, str> {
        K::plural(dynamic)
    }

    fn meta(&self) -> &ObjectMeta {
        self.0.as_ref().map_or_else(|unreadable| &unreadable.metadata, K::meta)
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.0.as_mut().map_or_else(|unreadable| &mut unreadable.metadata, K::meta_mut)
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::ResourceExt;
    use kube::api::{ObjectList, WatchEvent};

    use super::*;

    const GOOD: &str = r#"{"metadata":{"name":"good"},"data":{"a":"b"}}"#;
    const BAD: &str = r#"{"metadata":{"name":"bad","resourceVersion":"7"},"data":{"a":7}}"#;

    #[test]
    fn one_of_a_list_that_cannot_be_read_takes_no_other_along() {
        let text = format!(r#"{{"apiVersion":"v1","kind":"ConfigMapList","metadata":{{}},"items":[{BAD},{GOOD}]}}"#);
        let list: ObjectList<Guard<ConfigMap>> = serde_json::from_str(&text).expect("a list");
        let names: Vec<String> = list.items.iter().map(ResourceExt::name_any).collect();
        assert_eq!(names, ["bad", "good"]);
        let read: Vec<Option<ConfigMap>> = list.items.into_iter().map(|guard| guard.0.ok()).collect();
        let good: ConfigMap = serde_json::from_str(GOOD).expect("a map");
        assert_eq!(read, [None, Some(good)]);
    }

    #[test]
    fn what_a_watch_brings_and_nobody_can_read_is_named_with_the_reason() {
        let event = |kind: &str, object: &str| {
            let text = format!(r#"{{"type":"{kind}","object":{object}}}"#);
            serde_json::from_str::<WatchEvent<Guard<ConfigMap>>>(&text).expect("an event")
        };
        assert!(matches!(event("ADDED", GOOD), WatchEvent::Added(Guard(Ok(_)))));
        let WatchEvent::Modified(bad) = event("MODIFIED", BAD) else { panic!("it was changed") };
        assert_eq!((bad.name_any(), bad.resource_version()), ("bad".to_owned(), Some("7".to_owned())));
        let reason = bad.0.expect_err("it cannot be read").reason;
        assert_eq!(reason, "invalid type: integer `7`, expected a string");
    }
}
