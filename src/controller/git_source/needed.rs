//! Whom an object is needed by that its source does not define any more.

use std::collections::{BTreeMap, BTreeSet};

use kube::ResourceExt;

use super::rights::{Account, Powerless, account_of, refused};
use super::settings::{acting, placement};
use super::{GitSources, failed};
use crate::api::GitSource;
use crate::cluster::Key;
use crate::controller::packages::used_by;
use crate::plan::source::{ObjectId, ObjectKind, source_label};

impl GitSources {
    /// Who would lose an object that is deleted, and could not have it back as it was.
    pub(super) fn needed_by(&self, id: &ObjectId, label: &str, powerless: &Powerless) -> Option<String> {
        if let Some(claim) = self.claim(label, id, powerless) {
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
    pub(super) fn claim(&self, label: &str, id: &ObjectId, powerless: &Powerless) -> Option<Claim> {
        let sources = self.caches.git_sources.list();
        let defines = |source: &GitSource| self.memory.defines(source, id);
        let may_write = |source: &GitSource| !powerless.has(source, id);
        claimed_by(sources.iter().map(AsRef::as_ref), label, id, &defines, &may_write)
    }

    /// Of these objects, which the source of this label applied, those that others define and may not write: whoever may
    /// write to a repository could keep everything alive by that. Nothing is asked where nobody else defines them.
    pub(super) async fn powerless(&self, label: &str, objects: &[ObjectId]) -> Powerless {
        if objects.is_empty() {
            return Powerless::default();
        }
        let mut questions: BTreeMap<Account, BTreeSet<ObjectId>> = BTreeMap::new();
        for source in self.caches.git_sources.list() {
            let Some(account) = account_of(&source).filter(|_| is_another(&source, label)) else { continue };
            let claimed = |id: &&ObjectId| {
                let defines = self.memory.defines(&source, id);
                defines.unwrap_or_else(|| claims(&source, id) || lists_not_all(&source)) && admits(&source, id)
            };
            questions.entry(account).or_default().extend(objects.iter().filter(claimed).cloned());
        }
        let mut powerless = Powerless::default();
        for ((namespace, account), objects) in questions.into_iter().filter(|(_, objects)| !objects.is_empty()) {
            match acting(&namespace, Some(&account), &self.client, &self.config) {
                Ok(client) => powerless.add((namespace, account), refused(&client, &objects).await),
                Err(failure) => tracing::warn!(problem = failure.message, "what another source may write is not known"),
            }
        }
        powerless
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
/// repositories were read in full; what is known of all others is their status, which lists no more than so many errors. One
/// whose spec does not admit the object, or of which it is known that it may not write it, could not take it over and keeps
/// nothing from going. One that is suspended, or cannot be read now, can later.
pub fn claimed_by<'a>(
    sources: impl Iterator<Item = &'a GitSource> + Clone,
    own: &str,
    id: &ObjectId,
    defines: &dyn Fn(&GitSource) -> Option<bool>,
    may_write: &dyn Fn(&GitSource) -> bool,
) -> Option<Claim> {
    let mut others = sources.filter(|source| is_another(source, own));
    let can_take = |other: &GitSource| admits(other, id) && may_write(other);
    if let Some(other) =
        others.clone().find(|other| defines(other).unwrap_or_else(|| claims(other, id)) && can_take(other))
    {
        // without any label an instance would have no environment meanwhile, and become another one
        let (key, label) = (Key::of(other), label_of(other));
        let told = format!(
            "the GitSource {key} defines it, too: set its label midship.dev/source to {label}, and that one takes it over; \
             if it is to go, delete it by hand"
        );
        return Some(Claim { certain: true, by: label, told });
    }
    let other = others.find(|other| defines(other).is_none() && lists_not_all(other) && can_take(other))?;
    let told = format!(
        "the GitSource {} may define it, too: more is wrong there than its status lists, and what it defines is known once \
         all of its repository was read; mend what is wrong there, or delete the object by hand",
        Key::of(other)
    );
    Some(Claim { certain: false, by: label_of(other), told })
}

fn label_of(source: &GitSource) -> String {
    source_label(&source.namespace().unwrap_or_default(), &source.name_any())
}

/// Whether a source is not the one of this label, and there to stay.
fn is_another(source: &GitSource, own: &str) -> bool {
    source.metadata.deletion_timestamp.is_none() && label_of(source) != own
}

/// Whether the spec of a source, as it is now, lets it define an object.
fn admits(source: &GitSource, id: &ObjectId) -> bool {
    placement(&source.spec, &source.namespace().unwrap_or_default()).admits(id)
}

fn claims(source: &GitSource, id: &ObjectId) -> bool {
    let mut errors = source.status.iter().flat_map(|status| &status.errors);
    errors.any(|error| failed::is_claim(error, id))
}

/// Whether a source has more errors than it lists: what it defines of what others applied can be one of them.
fn lists_not_all(source: &GitSource) -> bool {
    let Some(status) = &source.status else { return false };
    let all = status.counts.as_ref().map_or(0, |counts| counts.failed);
    let lists_all = u32::try_from(status.errors.len()).is_ok_and(|listed| listed >= all);
    !lists_all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::git_source::SyncCounts;

    fn source(claimed: &str) -> GitSource {
        serde_json::from_value(json!({
            "apiVersion": "midship.dev/v1alpha1", "kind": "GitSource", "metadata": { "namespace": "team", "name": "second" },
            "spec": { "url": "https://git.example.com/app.git", "namespaces": ["shop"] },
            "status": { "errors": [{ "path": "a.yaml", "code": "other-source",
                "message": format!("Instance shop/{claimed} is applied by the GitSource team.first; define it in one repository only") }] },
        }))
        .expect("a source")
    }

    /// The same with more errors than its status lists.
    fn unclear() -> GitSource {
        let mut source = source("another");
        let counts = SyncCounts { failed: 60, ..SyncCounts::default() };
        source.status.as_mut().expect("it has one").counts = Some(counts);
        source
    }

    fn instance(namespace: &str) -> ObjectId {
        ObjectId { kind: ObjectKind::Instance, namespace: Some(namespace.into()), name: "a".into() }
    }

    /// Who claims the instance a of a namespace, where so much is known of what the only other source defines.
    fn claim(second: &GitSource, namespace: &str, defines: Option<bool>) -> Option<Claim> {
        claimed_by([second].into_iter(), "team.first", &instance(namespace), &|_| defines, &|_| true)
    }

    #[test]
    fn only_the_object_that_is_named_is_claimed() {
        let claimed = |claimed: &str, own: &str| {
            let id = instance("shop");
            claimed_by([source(claimed)].iter(), own, &id, &|_| None, &|_| true).map(|claim| claim.told)
        };
        let told = "the GitSource team/second defines it, too: set its label midship.dev/source to team.second, and that one \
                    takes it over; if it is to go, delete it by hand";
        assert_eq!(claimed("a", "team.first").as_deref(), Some(told));
        assert_eq!(claimed("a", "team.second"), None, "what it said before it was its own says nothing now");
        assert_eq!(claimed("ab", "team.first"), None);
    }

    #[test]
    fn a_source_that_cannot_list_all_that_is_wrong_may_claim_whatever_lies_where_it_writes() {
        assert!(claim(&source("another"), "shop", None).is_none(), "all of it is listed");
        let possible = claim(&unclear(), "shop", None).expect("nobody can tell");
        assert!(!possible.certain);
        let told = "the GitSource team/second may define it, too: more is wrong there than its status lists, and what it \
                    defines is known once all of its repository was read; mend what is wrong there, or delete the object \
                    by hand";
        assert_eq!(possible.told, told);
        assert!(claim(&unclear(), "elsewhere", None).is_none(), "it may not write there");
    }

    #[test]
    fn what_a_source_defines_is_known_whatever_its_status_lists_once_its_repository_was_read() {
        assert!(claim(&unclear(), "shop", None).is_some_and(|claim| !claim.certain), "nobody can tell");
        let known = claim(&unclear(), "shop", Some(true)).expect("it defines it");
        assert!(known.certain);
        assert_eq!(known.by, "team.second");
        assert!(claim(&unclear(), "shop", Some(false)).is_none(), "whatever else is wrong there");
        assert!(claim(&source("a"), "shop", Some(false)).is_none(), "its status is of what it said before");
    }

    #[test]
    fn whoever_could_not_take_an_object_over_keeps_nothing_from_going_and_whoever_could_does() {
        let mut elsewhere = source("a");
        elsewhere.spec.namespaces = vec!["elsewhere".to_owned()];
        let mut everywhere = source("a");
        everywhere.spec.namespaces = vec!["*".to_owned()];
        let mut suspended = source("a");
        suspended.spec.suspend = Some(true);
        let cases = [
            ("there", source("a"), true),
            ("elsewhere", elsewhere, false),
            ("everywhere", everywhere, true),
            ("suspended", suspended, true),
        ];
        for (name, second, could) in &cases {
            for defines in [Some(true), None] {
                assert_eq!(claim(second, "shop", defines).is_some(), *could, "{name} {defines:?}");
                for may_write in [true, false] {
                    let (others, id) = ([second].into_iter(), instance("shop"));
                    let found = claimed_by(others, "team.first", &id, &|_| defines, &|_| may_write);
                    assert_eq!(found.is_some(), *could && may_write, "{name} {defines:?} {may_write}");
                }
            }
        }
        // among several the one that could take it over counts, whatever the others say before it
        let [(_, there, _), (_, elsewhere, _), ..] = &cases;
        let both = [elsewhere, there].into_iter();
        let found = claimed_by(both, "team.first", &instance("shop"), &|_| Some(true), &|_| true);
        assert!(found.is_some_and(|claim| claim.certain));
    }

    #[test]
    fn what_an_account_may_not_write_is_known_of_every_source_that_acts_as_it_and_of_no_other() {
        let acting = |namespace: &str, account: Option<&str>| {
            let mut source = source("a");
            source.metadata.namespace = Some(namespace.to_owned());
            source.spec.service_account_name = account.map(|name| name.parse().expect("a name"));
            source
        };
        let mut powerless = Powerless::default();
        powerless.add(("team".to_owned(), "reader".to_owned()), BTreeSet::from([instance("shop")]));
        for (namespace, account, place, has) in [
            ("team", Some("reader"), "shop", true),
            ("team", Some("reader"), "team", false),
            ("team", Some("writer"), "shop", false),
            ("other", Some("reader"), "shop", false),
            ("team", None, "shop", false),
        ] {
            assert_eq!(
                powerless.has(&acting(namespace, account), &instance(place)),
                has,
                "{namespace} {account:?} {place}"
            );
        }
    }
}
