//! Volumes that are nearly full: what an instance says of them, and which of that is new.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use kube::ResourceExt;

use super::Work;
use crate::api::conditions::{Condition, ConditionStatus, Finding, find};
use crate::api::{Instance, InstanceStatus, PodSet};

/// There are some.
const CONDITION: &str = "VolumesFilling";
/// From so many percent on it cannot wait.
const URGENT: i32 = 95;
/// So many are named, the fullest first.
const NAMED: usize = 10;
/// Some volumes are folders of their node: a greater size gives them nothing.
const SHARED: &str = "where a volume is a part of its node's disk, make room there";

/// A volume that is nearly full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filling {
    pub pod: String,
    pub volume: String,
    /// So full it is at least.
    pub percent: i32,
    /// The same for people, and what to do.
    pub note: String,
}

impl Filling {
    fn place(&self) -> String {
        format!("{} {}", self.pod, self.volume)
    }
}

/// Those of an instance, the fullest first.
pub fn of(instance: &Instance, pod_sets: &[Arc<PodSet>]) -> Vec<Filling> {
    let mut all: Vec<Filling> = pod_sets.iter().flat_map(|set| of_set(instance, set)).collect();
    all.sort_by_cached_key(|one| (Reverse(one.percent), one.place()));
    all
}

fn of_set(instance: &Instance, set: &PodSet) -> Vec<Filling> {
    let mut all = Vec::new();
    for member in set.status.iter().flat_map(|status| &status.pods) {
        for (volume, percent) in &member.filling {
            let pod = format!("{}-{}", set.name_any(), member.ordinal);
            let (soon, now) = if *percent < URGENT { ("", "") } else { (" and takes no more soon", " now") };
            let field = field(instance, set, volume);
            let note = format!("volume {volume} of pod {pod} is at least {percent} % full{soon}: raise {field}{now}");
            all.push(Filling { pod, volume: volume.clone(), percent: *percent, note });
        }
    }
    all
}

/// Where the instance says how large a volume is, or would say it.
fn field(instance: &Instance, set: &PodSet, volume: &str) -> String {
    let (component, group) = (&set.spec.component, &set.spec.group);
    let components = instance.spec.components.iter().filter(|one| one.name == *component);
    let own = components.flat_map(|one| &one.groups).find(|one| one.name == *group);
    let differs = own.and_then(|own| own.storage.as_ref()).is_some_and(|storage| storage.contains_key(volume));
    let group = if differs { format!(".groups[{group}]") } else { String::new() };
    format!("spec.components[{component}]{group}.storage.{volume}.size")
}

/// What is said of them; nothing where there are none, and were none.
pub fn finding(all: &[Filling], before: &[Condition]) -> Option<Finding> {
    let Some(fullest) = all.first() else {
        find(before, CONDITION)?;
        return Some(Finding::new(CONDITION, ConditionStatus::False, "RoomLeft", "no volume is known to be filling"));
    };
    let mut notes: Vec<String> = all.iter().take(NAMED).map(|one| one.note.clone()).collect();
    if all.len() > NAMED {
        notes.push(format!("and so are {} more", all.len() - NAMED));
    }
    notes.push(SHARED.to_owned());
    let reason = if fullest.percent < URGENT { "NearlyFull" } else { "AlmostFull" };
    Some(Finding::new(CONDITION, ConditionStatus::True, reason, notes.join("; ")))
}

/// Of those that are named, the ones that were not as full when they were told of last. What the condition says already
/// was told by another controller.
pub fn news(all: &[Filling], before: &[Condition], told: &mut BTreeMap<String, i32>) -> Vec<Filling> {
    let named = || all.iter().take(NAMED);
    let said = find(before, CONDITION).map(|condition| condition.message.as_str()).unwrap_or_default();
    let fuller = |one: &&Filling| told.get(&one.place()).is_none_or(|before| *before < one.percent);
    let news = named().filter(fuller).filter(|one| !said.contains(&one.note)).cloned().collect();
    *told = named().map(|one| (one.place(), one.percent)).collect();
    news
}

impl Work<'_> {
    /// Volumes that are nearly full, as metrics, and as events where that is new.
    pub(super) async fn tell_of_filling(&mut self, filling: &[Filling], before: &InstanceStatus) {
        let (namespace, name) = (self.instance.namespace().unwrap_or_default(), self.instance.name_any());
        let measured = filling.iter().map(|one| (one.pod.as_str(), one.volume.as_str(), one.percent));
        self.shared.metrics.volumes.filled(&namespace, &name, measured);
        for one in news(filling, &before.conditions, &mut self.remembered.filling) {
            let which = format!("Fill {} {} {}", one.percent, one.volume, one.pod);
            let note = format!("{}; {SHARED}", one.note);
            self.shared.events.warning(self.instance, "VolumeFilling", &which, note).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::{Value, json};

    use super::*;
    use crate::api::conditions::merge;

    fn instance() -> Instance {
        let object = json!({
            "apiVersion": "midship.dev/v1alpha1", "kind": "Instance", "metadata": { "name": "shop" },
            "spec": { "type": "demo", "extensionVersion": "1.0.0", "version": "1.0", "components": [{
                "name": "store", "groups": [
                    { "name": "a", "replicas": 1 },
                    { "name": "b", "replicas": 1, "storage": { "data": { "size": "2Gi" } } },
                ],
            }] },
        });
        serde_json::from_value(object).expect("an instance")
    }

    fn set(group: &str, pods: &Value) -> Arc<PodSet> {
        let object = json!({
            "apiVersion": "midship.dev/v1alpha1", "kind": "PodSet", "metadata": { "name": format!("shop-store-{group}") },
            "spec": { "instance": "shop", "component": "store", "group": group, "replicas": 1,
                "template": { "spec": {} } },
            "status": { "pods": pods },
        });
        Arc::new(serde_json::from_value(object).expect("a pod set"))
    }

    fn filling(a: i32, b: i32) -> Vec<Filling> {
        let pods = |percent| match percent {
            0 => json!([{ "ordinal": 0, "ready": true }]),
            percent => json!([{ "ordinal": 0, "ready": true, "filling": { "data": percent } }]),
        };
        of(&instance(), &[set("a", &pods(a)), set("b", &pods(b))])
    }

    fn said(all: &[Filling], before: &[Condition]) -> Vec<Condition> {
        let findings: Vec<Finding> = finding(all, before).into_iter().collect();
        merge(before, &findings, Some(1), &Time(Timestamp::UNIX_EPOCH))
    }

    #[test]
    fn a_volume_that_is_nearly_full_is_named_with_what_makes_it_larger() {
        assert_eq!(finding(&filling(0, 0), &[]), None, "nothing is said where there never was one");
        let condition = said(&filling(85, 0), &[]).remove(0);
        assert_eq!((condition.type_.as_str(), condition.reason.as_str()), ("VolumesFilling", "NearlyFull"));
        assert_eq!(
            condition.message,
            "volume data of pod shop-store-a-0 is at least 85 % full: raise spec.components[store].storage.data.size; \
             where a volume is a part of its node's disk, make room there"
        );
        let condition = said(&filling(85, 95), &[]).remove(0);
        assert_eq!(condition.reason, "AlmostFull");
        assert_eq!(
            condition.message,
            "volume data of pod shop-store-b-0 is at least 95 % full and takes no more soon: raise \
             spec.components[store].groups[b].storage.data.size now; volume data of pod shop-store-a-0 is at least 85 % \
             full: raise spec.components[store].storage.data.size; where a volume is a part of its node's disk, make room \
             there"
        );
        let condition = said(&filling(0, 0), &[condition]).remove(0);
        assert_eq!((condition.status, condition.reason.as_str()), (ConditionStatus::False, "RoomLeft"));
        assert_eq!(condition.message, "no volume is known to be filling");
    }

    #[test]
    fn of_many_the_fullest_are_named() {
        let pods: Vec<Value> = (0..30)
            .map(|ordinal| json!({ "ordinal": ordinal, "ready": true, "filling": { "data": 70 + ordinal } }))
            .collect();
        let all = of(&instance(), &[set("a", &json!(pods))]);
        let message = said(&all, &[]).remove(0).message;
        assert!(message.starts_with("volume data of pod shop-store-a-29 is at least 99 % full"), "{message}");
        let last = "pod shop-store-a-20 is at least 90 % full: raise spec.components[store].storage.data.size";
        assert!(message.ends_with(&format!("{last}; and so are 20 more; {SHARED}")), "{message}");
    }

    #[test]
    fn each_is_news_once_and_again_once_it_is_fuller() {
        let news = |a, b, before: &[Condition], told: &mut BTreeMap<String, i32>| -> Vec<(String, i32)> {
            news(&filling(a, b), before, told).into_iter().map(|one| (one.pod, one.percent)).collect()
        };
        let (of_a, of_b) = (|percent| ("shop-store-a-0".to_owned(), percent), ("shop-store-b-0".to_owned(), 90));
        let nothing: [(String, i32); 0] = [];
        let told = &mut BTreeMap::new();
        assert_eq!(news(85, 0, &[], told), [of_a(85)]);
        assert_eq!(news(85, 0, &[], told), nothing);
        assert_eq!(news(85, 90, &[], told), [of_b]);
        assert_eq!(news(95, 90, &[], told), [of_a(95)]);
        assert_eq!(news(85, 85, &[], told), nothing, "they are emptier");
        assert_eq!(news(0, 0, &[], told), nothing);
        assert_eq!(news(85, 0, &[], told), [of_a(85)], "it begins anew");

        let before = said(&filling(85, 90), &[]);
        let told = &mut BTreeMap::new();
        assert_eq!(news(85, 90, &before, told), nothing, "another controller told of them");
        assert_eq!(news(90, 90, &before, told), [of_a(90)]);
    }
}
