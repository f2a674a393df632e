//! Whom an object is needed by that its source does not define any more.

use kube::ResourceExt;

use super::settings::allowed;
use super::{GitSources, failed};
use crate::api::GitSource;
use crate::cluster::Key;
use crate::controller::packages::used_by;
use crate::plan::source::{ObjectId, ObjectKind, source_label};

impl GitSources {
    /// Who would lose an object that is deleted, and could not have it back as it was.
    pub(super) fn needed_by(&self, id: &ObjectId, label: &str) -> Option<String> {
        if let Some(claim) = self.claim(label, id) {
            return Some(claim.told);
        }
        if id.kind != ObjectKind::Extension {
            return None;
        }
        let users = self.caches.instances.select(|instance| used_by(instance).contains(&id.name));
        let user = users.iter().map(|instance| Key::of(instance.as_ref()).to_string()).min()?;
        Some(format!("{user} uses it"))
    }

    /// The source that defines an object which the one of this label applied.
    pub(super) fn claim(&self, label: &str, id: &ObjectId) -> Option<Claim> {
        let sources = self.caches.git_sources.list();
        let defines = |source: &GitSource| self.memory.defines(source, id);
        claimed_by(sources.iter().map(AsRef::as_ref), label, id, &defines)
    }
}

/// That a source defines an object which another one applied.
pub struct Claim {
    /// Whether that is known; otherwise nobody can tell.
    pub certain: bool,
    /// The source, by the label of what it applies.
    pub by: String,
    /// Who it is, and how it gets the object.
    pub told: String,
}

/// The source that defines an object which another one, of the label `own`, applied, and how it gets the object: a file that
/// moves from one repository to another must not cost what it defines. Whether a source `defines` it is known of those whose
/// repositories were read in full; what is known of all others is their status, which lists no more than so many errors.
pub fn claimed_by<'a>(
    sources: impl Iterator<Item = &'a GitSource> + Clone,
    own: &str,
    id: &ObjectId,
    defines: &dyn Fn(&GitSource) -> Option<bool>,
) -> Option<Claim> {
    let mut others = sources.filter(|source| source.metadata.deletion_timestamp.is_none() && label_of(source) != own);
    if let Some(other) = others.clone().find(|other| defines(other).unwrap_or_else(|| claims(other, id))) {
        // without any label an instance would have no environment meanwhile, and become another one
        let (key, label) = (Key::of(other), label_of(other));
        let told = format!(
            "the GitSource {key} defines it, too: set its label midship.dev/source to {label}, and that one takes it over"
        );
        return Some(Claim { certain: true, by: label, told });
    }
    let other = others.find(|other| defines(other).is_none() && may_claim(other, id))?;
    let told = format!(
        "the GitSource {} may define it, too: more is wrong there than its status lists, and what it defines is known once \
         all of its repository was read; mend what is wrong there",
        Key::of(other)
    );
    Some(Claim { certain: false, by: label_of(other), told })
}

fn label_of(source: &GitSource) -> String {
    source_label(&source.namespace().unwrap_or_default(), &source.name_any())
}

fn claims(source: &GitSource, id: &ObjectId) -> bool {
    let mut errors = source.status.iter().flat_map(|status| &status.errors);
    errors.any(|error| failed::is_claim(error, id))
}

/// Whether a source that may write to the object's namespace has more errors than it lists: what it defines of what others
/// applied can be one of them.
fn may_claim(source: &GitSource, id: &ObjectId) -> bool {
    let Some(status) = &source.status else { return false };
    let all = status.counts.as_ref().map_or(0, |counts| counts.failed);
    let lists_all = u32::try_from(status.errors.len()).is_ok_and(|listed| listed >= all);
    let namespaces = allowed(&source.spec.namespaces, &source.namespace().unwrap_or_default());
    let there = id.namespace.as_ref().is_none_or(|place| namespaces.is_none_or(|all| all.contains(place)));
    !lists_all && there
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::git_source::SyncCounts;

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
        let claimed = |claimed: &str, own: &str| {
            claimed_by([source(claimed)].iter(), own, &id, &|_| None).map(|claim| claim.told)
        };
        let told = "the GitSource team/second defines it, too: set its label midship.dev/source to team.second, and that one takes it over";
        assert_eq!(claimed("a", "team.first").as_deref(), Some(told));
        assert_eq!(claimed("a", "team.second"), None, "what it said before it was its own says nothing now");
        assert_eq!(claimed("ab", "team.first"), None);
    }

    #[test]
    fn a_source_that_cannot_list_all_that_is_wrong_may_claim_whatever_lies_where_it_writes() {
        let id = |namespace: &str| ObjectId {
            kind: ObjectKind::Instance,
            namespace: Some(namespace.into()),
            name: "a".into(),
        };
        let mut second = source("another");
        second.spec.namespaces = vec!["shop".to_owned()];
        let claim = |second: &GitSource, namespace: &str| {
            claimed_by([second].into_iter(), "team.first", &id(namespace), &|_| None)
        };
        let counts = |failed: u32| SyncCounts { failed, ..SyncCounts::default() };
        let status = |source: &mut GitSource, failed| {
            source.status.as_mut().expect("it has one").counts = Some(counts(failed));
        };
        status(&mut second, 1);
        assert!(claim(&second, "shop").is_none(), "all of it is listed");
        status(&mut second, 2);
        let possible = claim(&second, "shop").expect("nobody can tell");
        assert!(!possible.certain);
        let told = "the GitSource team/second may define it, too: more is wrong there than its status lists, and what it \
                    defines is known once all of its repository was read; mend what is wrong there";
        assert_eq!(possible.told, told);
        assert!(claim(&second, "elsewhere").is_none(), "it may not write there");
    }

    #[test]
    fn what_a_source_defines_is_known_whatever_its_status_lists_once_its_repository_was_read() {
        let id = ObjectId { kind: ObjectKind::Instance, namespace: Some("shop".into()), name: "a".into() };
        let mut second = source("another");
        second.spec.namespaces = vec!["shop".to_owned()];
        let counts = SyncCounts { failed: 60, ..SyncCounts::default() };
        second.status.as_mut().expect("it has one").counts = Some(counts);
        let claim =
            |second: &GitSource, defines| claimed_by([second].into_iter(), "team.first", &id, &move |_| defines);
        assert!(claim(&second, None).is_some_and(|claim| !claim.certain), "nobody can tell");
        let claim_known = claim(&second, Some(true)).expect("it defines it");
        assert!(claim_known.certain);
        assert_eq!(claim_known.by, "team.second");
        assert!(claim(&second, Some(false)).is_none(), "whatever else is wrong there");
        assert!(claim(&source("a"), Some(false)).is_none(), "its status is of what it said before");
    }
}
