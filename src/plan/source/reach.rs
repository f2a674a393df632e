//! What a source may define at all, as its spec is now, whatever its files say.

use super::manifest::Placement;
use super::object::{ObjectId, ObjectKind};

impl Placement {
    /// Whether a file of the source may define this object. What is not admitted is refused when it is read.
    pub fn admits(&self, id: &ObjectId) -> bool {
        let place = if id.kind == ObjectKind::Namespace { Some(&id.name) } else { id.namespace.as_ref() };
        let inside = match (&self.allowed, place) {
            (Some(allowed), Some(place)) => allowed.contains(place),
            _ => true,
        };
        inside && (id.kind != ObjectKind::GitSource || self.sources)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};

    use super::super::manifest::{Locate, read};
    use super::*;

    struct Anywhere;

    impl Locate for Anywhere {
        fn locate(&self, _: &str, _: bool) -> (u32, u32) {
            (1, 1)
        }
    }

    fn document(id: &ObjectId) -> Value {
        let spec = match id.kind {
            ObjectKind::GitSource => json!({ "url": "https://git.example.com/app.git" }),
            ObjectKind::Instance => json!({ "type": "cache", "extensionVersion": "1.0.0", "version": "7.0" }),
            _ => Value::Null,
        };
        let metadata = match &id.namespace {
            Some(namespace) => json!({ "name": id.name, "namespace": namespace }),
            None => json!({ "name": id.name }),
        };
        let mut document =
            json!({ "apiVersion": id.kind.api_version(), "kind": id.kind.as_str(), "metadata": metadata });
        if !spec.is_null() {
            document["spec"] = spec;
        }
        document
    }

    #[test]
    fn what_is_admitted_is_what_is_read_wherever_it_goes() {
        let places = [None, Some(vec!["team"]), Some(vec!["shop", "team"])];
        let mut read_at_all = BTreeSet::new();
        for (allowed, sources) in places.iter().flat_map(|places| [(places, true), (places, false)]) {
            let placement = Placement {
                default_namespace: "team".into(),
                allowed: allowed.as_ref().map(|all| all.iter().map(|one| (*one).to_owned()).collect()),
                folder: String::new(),
                sources,
            };
            let kinds = [ObjectKind::Namespace, ObjectKind::ConfigMap, ObjectKind::GitSource, ObjectKind::Instance];
            for (kind, place) in kinds.into_iter().flat_map(|kind| [(kind, "team"), (kind, "shop")]) {
                let id = match kind {
                    ObjectKind::Namespace => ObjectId { kind, namespace: None, name: place.into() },
                    _ => ObjectId { kind, namespace: Some(place.into()), name: "a".into() },
                };
                let reading = read("a.yaml", document(&id), &Anywhere, &placement);
                let found: Vec<&ObjectId> = reading.objects.iter().map(|object| &object.id).collect();
                let expected: Vec<&ObjectId> = Some(&id).filter(|id| placement.admits(id)).into_iter().collect();
                assert_eq!(found, expected, "{id} with {placement:?}: {:?}", reading.errors);
                read_at_all.extend(reading.objects.into_iter().map(|object| object.id));
            }
        }
        assert_eq!(read_at_all.len(), 8, "each is read somewhere");
    }
}
