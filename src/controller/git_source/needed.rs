//! Whom an object is needed by that its source does not define any more.

use kube::ResourceExt;

use super::{GitSources, failed};
use crate::api::GitSource;
use crate::cluster::Key;
use crate::controller::packages::used_by;
use crate::plan::source::{ObjectId, ObjectKind, source_label};

impl GitSources {
    /// Who would lose an object that is deleted, and could not have it back as it was.
    pub(super) fn needed_by(&self, id: &ObjectId) -> Option<String> {
        let sources = self.caches.git_sources.list();
        if let Some(claimed) = claimed_by(sources.iter().map(AsRef::as_ref), id) {
            return Some(claimed);
        }
        if id.kind != ObjectKind::Extension {
            return None;
        }
        let users = self.caches.instances.select(|instance| used_by(instance).contains(&id.name));
        let user = users.iter().map(|instance| Key::of(instance.as_ref()).to_string()).min()?;
        Some(format!("{user} uses it"))
    }
}

/// The source that defines an object which another one applied, and how it gets the object: a file that moves from one
/// repository to another must not cost what it defines.
pub fn claimed_by<'a>(mut sources: impl Iterator<Item = &'a GitSource>, id: &ObjectId) -> Option<String> {
    let claims = |source: &&GitSource| {
        let mut errors = source.status.iter().flat_map(|status| &status.errors);
        source.metadata.deletion_timestamp.is_none() && errors.any(|error| failed::is_claim(error, id))
    };
    let other = sources.find(claims)?;
    // without any label an instance would have no environment meanwhile, and become another one
    let label = source_label(&other.namespace().unwrap_or_default(), &other.name_any());
    Some(format!(
        "the GitSource {} defines it, too: set its label midship.dev/source to {label}, and that one takes it over",
        Key::of(other)
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn source(claimed: &str) -> GitSource {
        serde_json::from_value(json!({
            "apiVersion": "midship.dev/v1alpha1", "kind": "GitSource", "metadata": { "namespace": "team", "name": "second" },
            "spec": { "url": "https://git.example.com/app.git" },
            "status": { "errors": [{ "path": "a.yaml", "code": "other-source",
                "message": format!("Instance shop/{claimed} is applied by the GitSource team.first; define it in one repository only") }] },
        }))
        .expect("a source")
    }

    #[test]
    fn only_the_object_that_is_named_is_claimed() {
        let id = ObjectId { kind: ObjectKind::Instance, namespace: Some("shop".into()), name: "a".into() };
        let claimed = |claimed: &str| claimed_by([source(claimed)].iter(), &id);
        let told = "the GitSource team/second defines it, too: set its label midship.dev/source to team.second, and that one takes it over";
        assert_eq!(claimed("a").as_deref(), Some(told));
        assert_eq!(claimed("ab"), None);
    }
}
