//! What the repository of an instance assumes for it, and whom a change of that concerns.

use std::collections::HashMap;
use std::sync::Mutex;

use kube::ResourceExt;

use super::Instances;
use crate::api::git_source::AppliedSettings;
use crate::api::{GitSource, Instance, InstanceStatus, labels};
use crate::cluster::Key;
use crate::controller::caches::Caches;
use crate::extension::Surroundings;
use crate::names::EnvironmentName;
use crate::plan::instance::health::Verdict;
use crate::plan::source::{settings, source_label};

/// What sources said of environments when they were last looked at.
#[derive(Default)]
pub struct Assumptions {
    known: Mutex<HashMap<Key, Said>>,
    /// The generations of policies.
    policies: Mutex<HashMap<Key, i64>>,
}

#[derive(Clone, Default, PartialEq)]
struct Said {
    settings: Option<AppliedSettings>,
    environment: Option<EnvironmentName>,
}

impl Said {
    fn of(source: &GitSource) -> Self {
        let settings = source.status.as_ref().and_then(|status| status.settings.clone());
        Self { settings, environment: source.spec.environment.clone() }
    }
}

impl Assumptions {
    pub fn of(caches: &Caches) -> Self {
        let all = caches.git_sources.list();
        let known = all.iter().map(|source| (Key::of(source.as_ref()), Said::of(source))).collect();
        Self { known: Mutex::new(known), policies: Mutex::default() }
    }

    /// Whether what a policy says is something else than before, or it came or went.
    fn policy_changed(&self, key: &Key, generation: Option<i64>) -> bool {
        let mut policies = self.policies.lock().expect("no panic while it is held");
        match generation {
            Some(generation) => policies.insert(key.clone(), generation) != Some(generation),
            None => policies.remove(key).is_some(),
        }
    }

    /// Whether a source says something else than before, or came or went.
    fn changed(&self, key: &Key, source: Option<&GitSource>) -> bool {
        let mut known = self.known.lock().expect("no panic while it is held");
        match source.map(Said::of) {
            Some(said) => known.insert(key.clone(), said.clone()).as_ref() != Some(&said),
            None => known.remove(key).is_some(),
        }
    }
}

impl Instances {
    /// The instances that have to be looked at because their source changed, where it changed for them.
    pub fn of_changed_source(&self, key: &Key) -> Vec<Key> {
        if !self.assumptions.changed(key, self.caches.git_sources.get(key).as_deref()) {
            return Vec::new();
        }
        let label = source_label(key.namespace.as_deref().unwrap_or_default(), &key.name);
        let applied = |instance: &Instance| instance.labels().get(labels::SOURCE) == Some(&label);
        self.caches.instances.select(applied).iter().map(|instance| Key::of(instance.as_ref())).collect()
    }
}

impl Instances {
    /// The instances that a policy may choose or let go, where more than its status changed.
    pub fn of_changed_policy(&self, key: &Key) -> Vec<Key> {
        let generation = self.caches.backup_policies.get(key).and_then(|policy| policy.metadata.generation);
        if !self.assumptions.policy_changed(key, generation) {
            return Vec::new();
        }
        let beside = |instance: &Instance| instance.namespace() == key.namespace;
        self.caches.instances.select(beside).iter().map(|instance| Key::of(instance.as_ref())).collect()
    }
}

/// What the repository of an instance assumes for it, or why that is not known.
pub fn surroundings(caches: &Caches, instance: &Instance, before: &InstanceStatus) -> Result<Surroundings, Verdict> {
    let own = instance.spec.environment.as_ref();
    let namespace = instance.namespace().unwrap_or_default();
    let waits = |reason, message| Verdict::Waits { reason, message };
    let Some(label) = instance.labels().get(labels::SOURCE) else {
        return settings::surroundings(None, &namespace, own, None).map_err(|error| waits("SettingsUnreadable", error));
    };
    let is_it =
        |source: &GitSource| source_label(&source.namespace().unwrap_or_default(), &source.name_any()) == *label;
    let Some(source) = caches.git_sources.select(is_it).into_iter().next() else {
        let had_environment = before.resolved.as_ref().is_some_and(|resolved| resolved.environment.is_some());
        if had_environment {
            // without its defaults it would become another instance
            let message = format!(
                "the GitSource {label} that applied it is not there, and with it what its repository assumes for the \
                 environment; bring it back, or remove the label {} to let the instance stand for itself alone",
                labels::SOURCE
            );
            return Err(waits("SourceMissing", message));
        }
        return settings::surroundings(None, &namespace, own, None).map_err(|error| waits("SettingsUnreadable", error));
    };
    let said = Said::of(&source);
    settings::surroundings(said.settings.as_ref(), &namespace, own, said.environment.as_ref()).map_err(|error| {
        let place = format!("{}/{}", source.namespace().unwrap_or_default(), source.name_any());
        waits("SettingsUnreadable", format!("status.settings of the GitSource {place} cannot be read: {error}"))
    })
}
