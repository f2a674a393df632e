//! Whatever moment the controller dies at: no step is done twice, none is left out.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::world::{Scene, pod};
use crate::api::operation::OperationPhase;
use crate::plan::operation::is_finished;

fn scene(pods: u16, concurrency: usize, retries: u32, own_steps: bool) -> Scene {
    let spec = if own_steps {
        let call = |action: &str| json!({ "action": action, "concurrency": concurrency, "interval": "1s" });
        let steps = json!([{ "name": "one", "call": call("save") }, { "name": "two", "wait": { "duration": "5s" } },
            { "name": "three", "call": call("restart") }]);
        json!({ "type": "Custom", "retries": retries, "custom": { "steps": steps } })
    } else {
        let batch = json!({ "action": "Restart", "concurrency": concurrency, "interval": "3s" });
        json!({ "type": "Process", "retries": retries, "process": batch })
    };
    let mut scene = Scene::new(spec);
    let role = |ordinal| if ordinal == 0 { "primary" } else { "replica" };
    scene.pods = (0..pods).map(|ordinal| pod(&format!("a-{ordinal}"), ordinal, role(ordinal))).collect();
    scene
}

proptest! {
    #![proptest_config(crate::chance::fixed())]

    #[test]
    fn a_controller_that_dies_anywhere_does_each_step_once(
        pods in 1u16..7,
        concurrency in 1usize..4,
        own_steps in any::<bool>(),
        failing in prop::collection::btree_map(0usize..14, 1usize..3, 0..3),
        deaths in prop::collection::vec(any::<bool>(), 0..200),
    ) {
        let mut scene = scene(pods, concurrency, 3, own_steps);
        let names: Vec<String> = scene.next().status.steps.iter().map(|step| step.name.clone()).collect();
        for (index, times) in failing {
            if let Some(name) = names.get(index) {
                scene.fails.insert(name.clone(), times);
            }
        }
        let expected: BTreeMap<String, usize> = names
            .iter()
            .filter(|name| *name != "two")
            .map(|name| (name.clone(), 1 + scene.fails.get(name).copied().unwrap_or(0)))
            .collect();
        let mut deaths = deaths.into_iter();
        for _ in 0..2000 {
            let goes_on = scene.look(|| deaths.next().unwrap_or(false));
            let running = scene.status.steps.iter().filter(|step| step.phase == OperationPhase::Running).count();
            prop_assert!(running <= concurrency, "{running} at once");
            if !goes_on && is_finished(&scene.status) {
                break;
            }
        }
        prop_assert_eq!(scene.status.phase, Some(OperationPhase::Succeeded), "{}", scene.message());
        let mut done: BTreeMap<String, usize> = BTreeMap::new();
        for name in &scene.log {
            *done.entry(name.clone()).or_default() += 1;
        }
        prop_assert_eq!(done, expected);
    }
}
