//! How an instance ends: pods first, then volumes where three things agree, then everything else.

use std::collections::BTreeMap;

use crate::api::values::DeletionPolicy;

/// What is left of an instance that is being deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remains {
    /// What the instance says now; none where it leaves that to defaults.
    pub policy: Option<DeletionPolicy>,
    /// What was decided while the instance ran; none where that is not known.
    pub policy_in_force: Option<DeletionPolicy>,
    /// The volumes that were written down to go with it, by name and UID; none where nothing was written down yet.
    pub intent: Option<BTreeMap<String, String>>,
    /// Components that are there, and whether their deletion was asked for.
    pub components: BTreeMap<String, bool>,
    pub pod_sets: usize,
    /// Pods that may still write to volumes.
    pub pods: Vec<String>,
    /// Volumes of the instance that are there, by name and UID.
    pub volumes: BTreeMap<String, String>,
    /// Somebody asked not to wait and not to clean up.
    pub anyway: bool,
}

/// The next thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Write down which volumes go.
    Record(BTreeMap<String, String>),
    DeleteComponents(Vec<String>),
    Wait(String),
    DeleteVolumes(BTreeMap<String, String>),
    /// Nothing holds it any more. Where volumes stay, so does what is needed to read them.
    Release {
        keep_credentials: bool,
    },
}

/// Decides. A volume goes only where the instance says so now and said so when its deletion began, where it was written
/// down then by its UID, and where no pod can use it any more.
pub fn next(remains: &Remains) -> Step {
    let delete_volumes = match remains.policy {
        Some(policy) => policy == DeletionPolicy::Delete,
        None => remains.policy_in_force == Some(DeletionPolicy::Delete),
    };
    if remains.anyway {
        return Step::Release { keep_credentials: true };
    }
    let Some(intent) = &remains.intent else {
        return Step::Record(if delete_volumes { remains.volumes.clone() } else { BTreeMap::new() });
    };
    let to_delete: Vec<String> =
        remains.components.iter().filter(|(_, asked)| !**asked).map(|(name, _)| name.clone()).collect();
    if !to_delete.is_empty() {
        return Step::DeleteComponents(to_delete);
    }
    if !remains.pods.is_empty() {
        return Step::Wait(format!(
            "waiting for {} to end",
            crate::extension::problem::listed(remains.pods.iter().map(String::as_str))
        ));
    }
    if !remains.components.is_empty() || remains.pod_sets > 0 {
        return Step::Wait("waiting for components and pod sets to be cleaned up".to_owned());
    }
    // an instance that says Retain by now keeps everything, whatever was written down
    let refused = remains.policy == Some(DeletionPolicy::Retain);
    let agreed: BTreeMap<String, String> = remains
        .volumes
        .iter()
        .filter(|(name, uid)| !refused && intent.get(*name) == Some(uid))
        .map(|(name, uid)| (name.clone(), uid.clone()))
        .collect();
    if agreed.is_empty() {
        Step::Release { keep_credentials: !remains.volumes.is_empty() }
    } else {
        Step::DeleteVolumes(agreed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn volumes(list: &[(&str, &str)]) -> BTreeMap<String, String> {
        list.iter().map(|(name, uid)| ((*name).to_owned(), (*uid).to_owned())).collect()
    }

    /// Does what is said until there is nothing left to do, and tells each step.
    fn run(mut remains: Remains) -> Vec<String> {
        let mut told = Vec::new();
        for _ in 0..20 {
            let step = next(&remains);
            told.push(match &step {
                Step::Record(volumes) => format!("record {}", volumes.len()),
                Step::DeleteComponents(names) => format!("delete {}", names.join(",")),
                Step::Wait(reason) => reason.clone(),
                Step::DeleteVolumes(volumes) => {
                    format!("volumes {}", volumes.keys().cloned().collect::<Vec<_>>().join(","))
                }
                Step::Release { keep_credentials } => format!("release, keep {keep_credentials}"),
            });
            match step {
                Step::Record(volumes) => remains.intent = Some(volumes),
                Step::DeleteComponents(names) => {
                    for name in names {
                        remains.components.insert(name, true);
                    }
                }
                // the cluster ends pods, then what made them
                Step::Wait(_) if !remains.pods.is_empty() => remains.pods.clear(),
                Step::Wait(_) => {
                    remains.components.clear();
                    remains.pod_sets = 0;
                }
                Step::DeleteVolumes(gone) => remains.volumes.retain(|name, _| !gone.contains_key(name)),
                Step::Release { .. } => return told,
            }
        }
        panic!("it never ends: {told:#?}");
    }

    fn running(policy: Option<DeletionPolicy>) -> Remains {
        Remains {
            policy,
            policy_in_force: policy,
            components: [("a-server".to_owned(), false)].into(),
            pod_sets: 1,
            pods: vec!["a-server-0".to_owned()],
            volumes: volumes(&[("data-a-server-0", "1")]),
            ..Remains::default()
        }
    }

    #[test]
    fn volumes_stay_unless_somebody_said_otherwise() {
        let ends = ["record 0", "delete a-server", "waiting for a-server-0 to end"];
        let told = run(running(None));
        assert_eq!(told[..3], ends);
        assert_eq!(told[3..], ["waiting for components and pod sets to be cleaned up", "release, keep true"]);
    }

    #[test]
    fn volumes_go_last_where_all_agree() {
        let told = run(running(Some(DeletionPolicy::Delete)));
        assert_eq!(told[0], "record 1");
        assert_eq!(told[4..], ["volumes data-a-server-0", "release, keep false"]);
    }

    #[test]
    fn a_volume_made_anew_under_the_same_name_stays() {
        let mut remains = running(Some(DeletionPolicy::Delete));
        remains.intent = Some(volumes(&[("data-a-server-0", "another")]));
        assert_eq!(run(remains).last().map(String::as_str), Some("release, keep true"));
    }

    #[test]
    fn who_changes_their_mind_in_time_keeps_the_volumes() {
        let mut remains = running(Some(DeletionPolicy::Delete));
        remains.intent = Some(remains.volumes.clone());
        remains.policy = Some(DeletionPolicy::Retain);
        assert_eq!(run(remains).last().map(String::as_str), Some("release, keep true"));
    }

    #[test]
    fn a_deletion_that_hangs_can_be_left() {
        let remains = Remains { anyway: true, ..running(Some(DeletionPolicy::Delete)) };
        assert_eq!(next(&remains), Step::Release { keep_credentials: true });
    }

    proptest! {
        #![proptest_config(crate::chance::fixed())]

        #[test]
        fn no_volume_goes_without_the_three_agreements(
            policy in prop::option::of(prop::bool::ANY),
            recorded in prop::collection::btree_map("[ab]", "[12]", 0..3),
            there in prop::collection::btree_map("[ab]", "[12]", 0..3),
            pods in 0usize..2,
            anyway in prop::bool::ANY,
        ) {
            let policy = policy.map(|delete| if delete { DeletionPolicy::Delete } else { DeletionPolicy::Retain });
            let remains = Remains {
                policy,
                intent: Some(recorded.clone()),
                pods: vec!["p".to_owned(); pods],
                volumes: there.clone(),
                anyway,
                ..Remains::default()
            };
            if let Step::DeleteVolumes(gone) = next(&remains) {
                prop_assert!(pods == 0 && policy != Some(DeletionPolicy::Retain) && !anyway);
                prop_assert!(gone.iter().all(|(name, uid)| recorded.get(name) == Some(uid) && there.get(name) == Some(uid)));
            }
        }
    }
}
