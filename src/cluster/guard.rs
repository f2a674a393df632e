//! An object as the API server sends it: read as its kind, or known by its metadata and why it cannot be read.

use std::borrow::Cow;

use kube::Resource;
use kube::api::ObjectMeta;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// An object that spoils no list where it cannot be read. kube's own guard makes two trees of values of each object while it
/// reads one; this keeps its text.
#[derive(Clone, Debug)]
pub struct Guarded<K>(pub Result<K, Unreadable>);

/// What is known all the same.
#[derive(Clone, Debug)]
pub struct Unreadable {
    pub reason: String,
    pub metadata: ObjectMeta,
}

#[derive(Deserialize)]
struct Known {
    #[serde(default)]
    metadata: ObjectMeta,
}

impl<'de, K: DeserializeOwned> Deserialize<'de> for Guarded<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(deserializer)?;
        match serde_json::from_str::<K>(text.get()) {
            Ok(object) => Ok(Self(Ok(object))),
            Err(error) => {
                let Known { metadata } = serde_json::from_str(text.get()).map_err(D::Error::custom)?;
                Ok(Self(Err(Unreadable { reason: reason(&error), metadata })))
            }
        }
    }
}

/// Why, without the place: nobody sees the text.
fn reason(error: &serde_json::Error) -> String {
    let told = error.to_string();
    let end = told.rfind(" at line ").unwrap_or(told.len());
    told[..end].to_owned()
}

impl<K: Resource> Resource for Guarded<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::kind(dt)
    }

    fn group(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::group(dt)
    }

    fn version(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::version(dt)
    }

    fn plural(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::plural(dt)
    }

    fn meta(&self) -> &ObjectMeta {
        match &self.0 {
            Ok(object) => object.meta(),
            Err(unreadable) => &unreadable.metadata,
        }
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        match &mut self.0 {
            Ok(object) => object.meta_mut(),
            Err(unreadable) => &mut unreadable.metadata,
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use kube::ResourceExt;
    use kube::core::{ObjectList, WatchEvent};

    use super::*;

    const FINE: &str = r#"{"metadata":{"name":"fine","namespace":"shop"},"spec":{"containers":[]}}"#;
    const STRANGE: &str = r#"{"metadata":{"name":"strange","namespace":"shop"},"spec":{"containers":"none"}}"#;

    #[test]
    fn an_object_that_cannot_be_read_spoils_no_list_and_no_watch() {
        let list = format!(r#"{{"kind":"PodList","apiVersion":"v1","metadata":{{}},"items":[{STRANGE},{FINE}]}}"#);
        let list: ObjectList<Guarded<Pod>> = serde_json::from_str(&list).expect("a list");
        let names: Vec<String> = list.items.iter().map(ResourceExt::name_any).collect();
        assert_eq!(names, ["strange", "fine"]);
        assert!(list.items[0].0.is_err() && list.items[1].0.is_ok());

        let event = format!(r#"{{"type":"MODIFIED","object":{STRANGE}}}"#);
        let event: WatchEvent<Guarded<Pod>> = serde_json::from_str(&event).expect("an event");
        let WatchEvent::Modified(Guarded(Err(unreadable))) = event else { panic!("it cannot be read") };
        assert_eq!(unreadable.metadata.name.as_deref(), Some("strange"));
        let reason = unreadable.reason;
        assert!(reason.starts_with("invalid type: string \"none\"") && !reason.contains(" line "), "{reason}");
    }
}
