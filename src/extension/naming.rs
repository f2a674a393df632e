//! What the objects of an instance are called.

use crate::names::Ordinal;

/// The group of components without groups.
pub const DEFAULT_GROUP: &str = "default";
/// The Service named like the instance.
pub const MAIN_SERVICE: &str = "main";

pub fn component(instance: &str, component: &str) -> String {
    format!("{instance}-{component}")
}

/// The pod set of a group; pods add their ordinal.
pub fn pod_set(instance: &str, component: &str, group: &str) -> String {
    if group == DEFAULT_GROUP { format!("{instance}-{component}") } else { format!("{instance}-{component}-{group}") }
}

pub fn pod(instance: &str, component: &str, group: &str, ordinal: u16) -> String {
    format!("{}-{ordinal}", pod_set(instance, component, group))
}

/// The claim of one of a pod's volumes.
pub fn claim(volume: &str, pod: &str) -> String {
    format!("{volume}-{pod}")
}

/// The headless Service that gives a component's pods their names.
pub fn headless(instance: &str, component: &str) -> String {
    format!("{instance}-{component}-pods")
}

pub fn service(instance: &str, service: &str) -> String {
    if service == MAIN_SERVICE { instance.to_owned() } else { format!("{instance}-{service}") }
}

/// A pod's name within the cluster's DNS.
pub fn host(instance: &str, component: &str, group: &str, ordinal: u16, namespace: &str) -> String {
    format!("{}.{}.{namespace}.svc", pod(instance, component, group, ordinal), headless(instance, component))
}

pub fn config(instance: &str, component: &str, group: &str) -> String {
    format!("{}-config", pod_set(instance, component, group))
}

pub fn credentials(instance: &str) -> String {
    format!("{instance}-credentials")
}

pub fn connection(instance: &str) -> String {
    format!("{instance}-connection")
}

pub fn tls(instance: &str) -> String {
    format!("{instance}-tls")
}

/// The authority that signs the certificates of an instance.
pub fn authority(instance: &str) -> String {
    format!("{instance}-ca")
}

/// The certificate of the instance's agents.
pub fn agent_tls(instance: &str) -> String {
    format!("{instance}-agent")
}

pub fn metadata(instance: &str) -> String {
    format!("{instance}-metadata")
}

pub fn scripts(instance: &str) -> String {
    format!("{instance}-scripts")
}

/// The ordinals that run: the lowest ones that are not offline.
pub fn ordinals(replicas: u16, offline: &[Ordinal]) -> Vec<u16> {
    (0..=Ordinal::MAX)
        .filter(|ordinal| !offline.iter().any(|gone| gone.get() == *ordinal))
        .take(usize::from(replicas))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offline_ordinals_are_passed_over_and_the_others_keep_their_numbers() {
        let offline = [Ordinal::new(1).expect("small")];
        assert_eq!(ordinals(3, &offline), [0, 2, 3]);
        assert_eq!(ordinals(0, &offline), [0u16; 0]);
    }

    #[test]
    fn the_default_group_is_not_part_of_names() {
        assert_eq!(pod("a", "b", "default", 0), "a-b-0");
        assert_eq!(pod("a", "b", "shard-1", 0), "a-b-shard-1-0");
        assert_eq!(host("a", "b", "default", 2, "n"), "a-b-2.a-b-pods.n.svc");
    }
}
