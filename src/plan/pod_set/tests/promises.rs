//! What no plan for a pod set may ever do, in whatever state the world is.

use std::collections::BTreeSet;

use super::super::{Plan, What};
use super::world::World;

fn belongs(members: Option<&BTreeSet<u16>>, ordinal: u16) -> bool {
    members.is_some_and(|members| members.contains(&ordinal))
}

/// A step, held to what must never happen.
pub fn watched_step(world: &mut World) -> Plan {
    let before = world.seen().pods.clone();
    let claims = world.claims.clone();
    let serving: BTreeSet<u16> = before.iter().filter(|(_, pod)| pod.ready()).map(|(ordinal, _)| *ordinal).collect();
    let (leader, members) = (world.leader(), world.members.clone());
    let plan = world.step();
    let stopped = plan.wanted.is_empty();
    let most = usize::try_from(world.spec.update.as_ref().and_then(|update| update.max_unavailable).unwrap_or(1))
        .expect("a small number");
    let disturbed: Vec<u16> = plan
        .actions
        .iter()
        .filter(|action| action.what.disrupts() && serving.contains(&action.ordinal))
        .map(|action| action.ordinal)
        .collect();
    let kept: Vec<u16> = disturbed.iter().copied().filter(|ordinal| plan.wanted.contains(ordinal)).collect();
    if !kept.is_empty() {
        let down =
            plan.wanted.iter().filter(|ordinal| !serving.contains(ordinal) || disturbed.contains(ordinal)).count();
        assert!(down <= most, "{down} down, {most} allowed: {plan:#?}");
    }
    let leaves = leader.filter(|leader| disturbed.contains(leader) && !plan.wanted.contains(leader));
    assert!(stopped || leaves.is_none(), "{leaves:?} leaves with the role: {plan:#?}");
    if !stopped && let Some(leader) = leader.filter(|leader| kept.contains(leader) && serving.len() > 1) {
        assert_eq!(kept, [leader], "others were disturbed together with the leader");
    }
    let handed_over = plan.actions.iter().filter(|action| matches!(action.what, What::Switchover { .. })).count();
    assert!(handed_over <= 1, "two would take over: {plan:#?}");
    let leaders = world.pods.values().filter(|pod| pod.role.as_deref() == Some("primary")).count();
    assert!(leaders <= 1, "{leaders} lead: {plan:#?}");
    for action in &plan.actions {
        match &action.what {
            What::DeleteClaim { name, uid } => {
                let claim = &claims[name];
                assert_eq!(claim.to_delete.as_ref(), Some(&claim.uid), "no recorded intent: {name}");
                assert_eq!(claim.uid, *uid);
                assert!(!before.contains_key(&action.ordinal), "its pod is there: {name}");
                assert!(!plan.wanted.contains(&action.ordinal), "it is wanted: {name}");
                let policy = world.spec.deletion_policy;
                assert_eq!(policy, Some(crate::api::values::DeletionPolicy::Delete), "{name}");
            }
            What::MarkClaim { name, .. } => {
                let pod = &before[&action.ordinal];
                let member = belongs(members.as_ref(), action.ordinal);
                let alone = member && claims[name].bound && leader.is_none_or(|leader| leader == action.ordinal);
                let alone = alone && !stopped;
                assert!(pod.departed || !(pod.started || alone), "{name}: its pod has not handed over");
            }
            What::Switchover { uid, to } => {
                let heir = &before[to];
                assert_eq!(
                    (leader, &before[&action.ordinal].uid),
                    (Some(action.ordinal), uid),
                    "only who leads hands over"
                );
                assert!(heir.ready() && plan.wanted.contains(to), "{to} cannot take over: {plan:#?}");
                assert!(!disturbed.contains(to), "{to} takes over and is disturbed: {plan:#?}");
            }
            What::CreatePod { .. } => {
                assert!(!before.contains_key(&action.ordinal), "a second pod");
                let led_last = leader.is_none() && plan.record.last_holder == Some(action.ordinal);
                let shares = world.gives_away == Some(true) && belongs(members.as_ref(), action.ordinal);
                let returns = (led_last || shares) && !stopped;
                assert!(plan.wanted.contains(&action.ordinal) || returns, "nobody asked for it");
            }
            What::PostScaleIn { members: left, .. } if world.gives_away == Some(true) && !stopped => {
                assert!(belongs(members.as_ref(), action.ordinal) && !left.contains(&action.ordinal));
                let claim = claims.get(&format!("data-shop-cache-{}", action.ordinal));
                let kept = claim.is_some_and(|claim| !claim.deleting && claim.to_delete.is_none());
                let gave = plan.record.departed.contains(&action.ordinal);
                assert!(gave || !kept, "{} left with its share: {plan:#?}", action.ordinal);
            }
            _ => {}
        }
    }
    plan
}
