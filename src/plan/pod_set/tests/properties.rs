//! What holds for every spec and every state: plans come to an end, never disturb more than is allowed, keep the leader for
//! last, and never delete a volume that was not agreed to be deleted.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::promises::watched_step;
use super::spec;
use super::world::World;
use crate::plan::pod_set::Phase;

#[derive(Clone, Debug)]
enum Event {
    Spec(Value),
    Ends(u16),
    Vanishes(u16),
    BadImage(u8),
    Waits(u16),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let ordinal = 0..6u16;
    let spec = (
        0..5i32,
        proptest::collection::btree_set(0..8u16, 0..3),
        1..4i32,
        (any::<bool>(), any::<bool>(), any::<bool>()),
        1..4u8,
        prop_oneof![Just(None), Just(Some(5)), Just(Some(9))],
        (0..8u8, any::<bool>()),
    )
        .prop_map(|(replicas, offline, most, (canary, rollback, ordered), image, grace, (rare, delete))| {
            let mut template = super::template(&image.to_string());
            if let Some(grace) = grace {
                template["spec"]["terminationGracePeriodSeconds"] = json!(grace);
            }
            Event::Spec(json!({
                "replicas": replicas,
                "offline": offline,
                "state": if rare == 0 { "Stopped" } else { "Running" },
                "start": if ordered { "Ordered" } else { "Parallel" },
                "deletionPolicy": if delete { "Delete" } else { "Retain" },
                "template": template,
                "update": {
                    "strategy": "Rolling", "maxUnavailable": most, "canary": canary, "rollback": rollback, "timeout": "2m",
                },
            }))
        });
    let event = prop_oneof![
        4 => spec,
        1 => ordinal.clone().prop_map(Event::Ends),
        1 => ordinal.prop_map(Event::Vanishes),
        1 => (1..4u8).prop_map(Event::BadImage),
        3 => (1..9u16).prop_map(Event::Waits),
    ];
    proptest::collection::vec(event, 1..14)
}

proptest! {
    #![proptest_config(crate::chance::cases(60))]

    #[test]
    fn whatever_happens_plans_keep_their_promises_and_come_to_rest(
        events in events(),
        roles in any::<bool>(),
        shares in any::<bool>(),
    ) {
        let roles = if roles { json!(["replica", "primary"]) } else { json!([]) };
        let mut world = World::new(spec(json!({ "roleOrder": roles })));
        world.gives_away = Some(shares);
        for event in events {
            match event {
                Event::Spec(change) => world.change(change),
                Event::Ends(ordinal) => {
                    if let Some(pod) = world.pods.get_mut(&ordinal) {
                        pod.phase = Phase::Ended;
                        pod.ready_since = None;
                    }
                }
                Event::Vanishes(ordinal) => {
                    world.pods.remove(&ordinal);
                }
                Event::BadImage(image) => {
                    world.bad_images.insert(format!("cache:{image}"));
                }
                Event::Waits(steps) => {
                    for _ in 0..steps {
                        watched_step(&mut world);
                        world.tick();
                    }
                }
            }
        }
        world.settle();
        let plan = world.plan();
        // whatever state that was, a good spec gets everybody running
        world.bad_images.clear();
        world.change(json!({ "state": "Running", "offline": [], "replicas": 3, "template": super::template("9") }));
        for _ in 0..400 {
            watched_step(&mut world);
            let plan = world.plan();
            if !world.tick() && plan.actions.is_empty() {
                match plan.waits.iter().filter_map(|wait| wait.until).min() {
                    Some(until) => world.now = world.now.max(until),
                    None => break,
                }
            }
        }
        // what was done last shows in what is said next
        watched_step(&mut world);
        prop_assert_eq!(world.images(), vec!["cache:9"; 3], "{:#?}\n{:#?}", plan, world.plan());
        prop_assert_eq!(world.reason(), "Ready");
    }

    #[test]
    fn an_unknown_offline_ordinal_changes_nothing(replicas in 0..5i32, unknown in 10..900u16) {
        let mut world = World::running(spec(json!({ "replicas": 3 })));
        world.change(json!({ "replicas": replicas, "offline": [unknown] }));
        world.settle();
        prop_assert!(world.log.is_empty(), "{:?}", world.log);
        prop_assert_eq!(world.pods.len(), 3);
    }
}
