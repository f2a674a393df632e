//! Which instances a policy covers, and how long it keeps their backups.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt;
use kube::core::{Selector, SelectorExt};

use crate::api::backup_policy::Retention;
use crate::api::backup_repository::Access;
use crate::api::values::Duration;
use crate::api::{BackupPolicy, Instance, labels};
use crate::cluster::Key;
use crate::controller::caches::Caches;
use crate::extension::Collectors;
use crate::names::ObjectName;
use crate::plan::retention::Rules;

/// Why a selector selects nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("spec.selector cannot be used: {0}")]
pub struct SelectorError(String);

/// A policy's choice of instances.
pub struct Coverage<'a> {
    policy: &'a BackupPolicy,
    selector: Option<Selector>,
}

impl<'a> Coverage<'a> {
    pub fn of(policy: &'a BackupPolicy) -> Result<Self, SelectorError> {
        let parsed = policy.spec.selector.as_ref().map(|value| {
            let selector: LabelSelector =
                serde_json::from_value(value.clone()).map_err(|error| SelectorError(error.to_string()))?;
            Selector::try_from(selector).map_err(|error| SelectorError(error.to_string()))
        });
        Ok(Self { policy, selector: parsed.transpose()? })
    }

    /// By name, by label, or because the instance, or its repository for it, asks for it.
    pub fn covers(&self, instance: &Instance) -> bool {
        self.could_cover(instance) && (self.chooses(instance) || self.is_asked_by(instance))
    }

    fn could_cover(&self, instance: &Instance) -> bool {
        instance.namespace() == self.policy.namespace() && instance.metadata.deletion_timestamp.is_none()
    }

    fn chooses(&self, instance: &Instance) -> bool {
        // what only tries a backup is gone before its own could be of use
        if instance.annotations().contains_key(labels::DRILL) {
            return false;
        }
        let name = instance.name_any();
        self.policy.spec.instances.iter().any(|listed| listed.as_str() == name)
            || self.selector.as_ref().is_some_and(|selector| selector.matches(instance.labels()))
    }

    fn is_asked_by(&self, instance: &Instance) -> bool {
        let own = instance.spec.backup.as_ref().map(|own| &own.policy);
        let resolved = || instance.status.as_ref()?.resolved.as_ref()?.backup_policy.as_ref();
        own.or_else(resolved).is_some_and(|asked| asked.as_str() == self.policy.name_any())
    }
}

/// Which of these policies collect the log of an instance, or would if it named them.
pub fn collectors<'a>(policies: impl IntoIterator<Item = &'a BackupPolicy>, instance: &Instance) -> Collectors {
    let collects = |policy: &&BackupPolicy| {
        policy.namespace() == instance.namespace()
            && policy.metadata.deletion_timestamp.is_none()
            && policy.spec.logs.as_ref().is_some_and(|logs| logs.enabled)
    };
    let mut found = Collectors::default();
    for policy in policies.into_iter().filter(collects) {
        found.chose_it |= Coverage::of(policy).is_ok_and(|coverage| coverage.chooses(instance));
        found.names.extend(ObjectName::parse(&policy.name_any()));
    }
    found
}

/// The policy that collects the log of an instance. One alone does: a segment goes into one repository, and then it is gone.
/// The one that the instance names goes before others.
pub fn collector<'a>(
    policies: impl IntoIterator<Item = &'a BackupPolicy>,
    instance: &Instance,
) -> Option<&'a BackupPolicy> {
    let collects = |policy: &&BackupPolicy| {
        policy.metadata.deletion_timestamp.is_none() && policy.spec.logs.as_ref().is_some_and(|logs| logs.enabled)
    };
    let own = policies.into_iter().filter(collects).filter_map(|policy| {
        let coverage = Coverage::of(policy).ok().filter(|coverage| coverage.covers(instance))?;
        Some((!coverage.is_asked_by(instance), policy.name_any(), policy))
    });
    own.min_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1))).map(|(_, _, policy)| policy)
}

/// Whether there is a repository that a policy can collect into.
pub fn writes(caches: &Caches, policy: &BackupPolicy) -> bool {
    let key = Key { namespace: policy.namespace(), name: policy.spec.repository.to_string() };
    caches.backup_repositories.get(&key).is_some_and(|repository| repository.spec.access != Some(Access::ReadOnly))
}

/// A length of time as plans count it.
pub fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration.0).unwrap_or(SignedDuration::MAX)
}

pub fn rules(retention: &Retention) -> Rules {
    let Retention { count, age, by_label } = retention;
    Rules {
        count: count.and_then(|count| usize::try_from(count).ok()),
        age: age.map(signed),
        by_label: by_label.iter().map(|one| (one.label.clone(), one.value.clone(), signed(one.age))).collect(),
    }
}

/// What several policies keep, all of them keep.
pub fn add(all: &mut BTreeMap<String, Rules>, instance: &str, more: Rules) {
    let Rules { count, age, by_label } = more;
    let rules = all.entry(instance.to_owned()).or_default();
    rules.count = rules.count.max(count);
    rules.age = rules.age.max(age);
    rules.by_label.extend(by_label);
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn policy(more: Value) -> BackupPolicy {
        let mut spec = json!({ "repository": "vault", "schedules": [{ "name": "nightly", "cron": "@daily" }],
            "retention": { "count": 3, "age": "7d" } });
        spec.as_object_mut().expect("a mapping").extend(more.as_object().expect("a mapping").clone());
        let metadata = json!({ "name": "daily", "namespace": "shop" });
        serde_json::from_value(json!({ "apiVersion": "midship.dev/v1alpha1", "kind": "BackupPolicy",
            "metadata": metadata, "spec": spec }))
        .expect("a policy")
    }

    fn instance(name: &str, namespace: &str, more: Value) -> Instance {
        let mut spec = json!({ "type": "cache", "extensionVersion": "1.0.0", "version": "1.0" });
        spec.as_object_mut().expect("a mapping").extend(more.as_object().expect("a mapping").clone());
        let metadata = json!({ "name": name, "namespace": namespace, "labels": { "tier": "gold" } });
        serde_json::from_value(json!({ "apiVersion": "midship.dev/v1alpha1", "kind": "Instance",
            "metadata": metadata, "spec": spec }))
        .expect("an instance")
    }

    #[test]
    fn instances_are_covered_by_name_by_label_or_because_they_ask() {
        let covers =
            |policy: &BackupPolicy, instance: &Instance| Coverage::of(policy).expect("it can be used").covers(instance);
        let (by_name, none) = (policy(json!({ "instances": ["orders"] })), policy(json!({})));
        let gold = policy(json!({ "selector": { "matchLabels": { "tier": "gold" } } }));
        let orders = instance("orders", "shop", json!({}));
        assert!(covers(&by_name, &orders) && covers(&gold, &orders) && !covers(&none, &orders));
        assert!(!covers(&by_name, &instance("orders", "elsewhere", json!({}))));
        assert!(covers(&none, &instance("users", "shop", json!({ "backup": { "policy": "daily" } }))));
        let wrong = policy(json!({ "selector": { "matchExpressions": [{ "key": "tier", "operator": "Like" }] } }));
        assert!(Coverage::of(&wrong).is_err());
    }

    #[test]
    fn what_its_repository_assumes_for_an_instance_counts_where_it_says_nothing_itself() {
        let daily = policy(json!({}));
        let covers = |instance: &Instance| Coverage::of(&daily).expect("it can be used").covers(instance);
        let mut orders = instance("orders", "shop", json!({}));
        orders.status = serde_json::from_value(json!({ "resolved": { "backupPolicy": "daily" } })).expect("a status");
        assert!(covers(&orders));
        orders.spec.backup = serde_json::from_value(json!({ "policy": "weekly" })).expect("a choice");
        assert!(!covers(&orders));
    }

    #[test]
    fn what_only_tries_a_backup_is_chosen_by_nobody() {
        let mut drill = instance("drill-1", "shop", json!({}));
        let all = policy(json!({ "selector": {}, "logs": { "enabled": true } }));
        assert!(Coverage::of(&all).expect("it can be used").covers(&drill) && collectors([&all], &drill).chose_it);
        drill.annotations_mut().insert(labels::DRILL.to_owned(), "1".to_owned());
        assert!(!Coverage::of(&all).expect("it can be used").covers(&drill) && !collectors([&all], &drill).chose_it);
    }

    #[test]
    fn the_log_is_collected_by_who_chose_the_instance_or_is_named_by_it() {
        let orders = instance("orders", "shop", json!({}));
        let silent = policy(json!({ "instances": ["orders"] }));
        let listening = policy(json!({ "logs": { "enabled": true } }));
        let daily = ObjectName::parse("daily").expect("a name");
        assert_eq!(collectors([&silent], &orders), Collectors::default());
        let found = collectors([&silent, &listening], &orders);
        assert_eq!(found, Collectors { chose_it: false, names: [daily].into() });
        assert_eq!(collectors([&listening], &instance("orders", "elsewhere", json!({}))), Collectors::default());
    }

    #[test]
    fn one_policy_alone_collects_a_log() {
        let named = |name: &str, more: Value| {
            let mut policy = policy(more);
            policy.metadata.name = Some(name.to_owned());
            policy
        };
        let collecting = json!({ "selector": {}, "logs": { "enabled": true } });
        let [house, away, quiet] = [
            named("b-house", collecting.clone()),
            named("c-away", collecting),
            named("a-quiet", json!({ "selector": {} })),
        ];
        let chosen = |instance: &Instance| collector([&away, &quiet, &house], instance).map(ResourceExt::name_any);
        assert_eq!(chosen(&instance("orders", "shop", json!({}))).as_deref(), Some("b-house"));
        let asks = instance("orders", "shop", json!({ "backup": { "policy": "c-away" } }));
        assert_eq!(chosen(&asks).as_deref(), Some("c-away"));
        assert_eq!(chosen(&instance("orders", "elsewhere", json!({}))), None);
    }

    #[test]
    fn of_two_policies_the_one_that_keeps_longer_counts() {
        let mut all = BTreeMap::new();
        add(&mut all, "one", rules(&policy(json!({})).spec.retention));
        add(&mut all, "one", Rules { count: Some(1), age: Some(SignedDuration::from_hours(800)), by_label: vec![] });
        assert_eq!((all["one"].count, all["one"].age), (Some(3), Some(SignedDuration::from_hours(800))));
    }
}
