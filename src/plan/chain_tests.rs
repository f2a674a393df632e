//! An instance, its components and their pod sets in one imagined cluster: whatever is asked for, every plan keeps its
//! promises, and all of them come to rest.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::component::{self, Other, Set, Share, Situation, What};
use super::pod_set::tests::promises::watched_step;
use super::pod_set::tests::world::World;
use super::pod_set::{Claim, Phase, Pod};
use crate::api::ComponentStatus;
use crate::api::component::ComponentSpec;
use crate::api::conditions::{self, Condition, ConditionStatus, READY};
use crate::api::instance::DesiredState;
use crate::extension::{Asked, Package, PackageFiles, Surroundings, cases};
use crate::names::{InstanceName, NamespaceName};

/// Shards with a primary each, and keepers that have to be there first.
const PACKAGE: &str = r#"
type: chained
version: 1.0.0
versions: [{version: "1", image: "registry.example.com/chained:1"}]
topologies:
  shards:
    failover: Middleware
    components:
      keeper: {replicas: {default: 1, min: 1, max: 5}}
      data:
        replicas: {default: 2, min: 1, max: 5}
        groups: {prefix: shard, count: {default: 2, min: 1, max: 8}}
connection: {component: data}
components:
  keeper:
    command: [chained, keep]
    ports: {keep: 7001}
    volumes: {keep: {path: /keep, size: 1Gi}}
  data:
    after: [keeper]
    command: [chained, serve]
    env: {CACHE: "{{ params.cache }}"}
    ports: {client: 7000}
    volumes: {data: {path: /data, size: 1Gi}}
    resources: {requests: {cpu: 100m, memory: 256Mi}, limits: {memory: 256Mi}}
    parameters: {cache: {type: integer, default: 1}}
    roles: [replica, {name: primary, exclusive: true}]
    role:
      steps: [{http: {path: /state}, save: state}]
      role: state.role
    actions:
      postGroupAdd: {steps: [{exec: [chained, add]}]}
      preGroupRemove: {steps: [{exec: [chained, empty]}]}
      preScaleIn: {steps: [{exec: [chained, leave]}]}
"#;

/// Rounds in which everything has come to rest.
const ROUNDS: usize = 2000;

struct Group {
    world: World,
    share: Share,
    uid: String,
    /// What it says is about what is asked of it now.
    current: bool,
}

struct Part {
    spec: ComponentSpec,
    status: ComponentStatus,
    groups: BTreeMap<String, Group>,
}

struct Chain {
    package: Package,
    parts: BTreeMap<String, Part>,
    /// Claims of pod sets that are gone, by the names of the sets.
    left: BTreeMap<String, BTreeMap<String, Claim>>,
    counter: u32,
}

impl Group {
    fn seen(&self) -> Set {
        Set {
            spec: self.world.spec.clone(),
            status: self.world.status.clone(),
            uid: self.uid.clone(),
            deleting: false,
            current: self.current,
            share: self.share,
        }
    }
}

impl Part {
    /// One of its pod sets, which has to be the one that is meant.
    fn group(&mut self, set: &str, uid: Option<&String>) -> &mut Group {
        let group = self.groups.get_mut(set).unwrap_or_else(|| panic!("{set} is not there"));
        assert!(uid.is_none_or(|uid| *uid == group.uid), "{set} is another one by now");
        group
    }

    fn ready(&self) -> Option<&Condition> {
        conditions::find(&self.status.conditions, READY)
    }

    fn seen(&self) -> Other {
        let stopped = self.spec.state == Some(DesiredState::Stopped);
        Other {
            ready: !stopped && self.ready().is_some_and(|ready| ready.status == ConditionStatus::True),
            after: self.spec.after.iter().map(ToString::to_string).collect(),
            pods: self.status.replicas.unwrap_or_default(),
            stopped,
        }
    }
}

impl Chain {
    fn new() -> Self {
        let files = [("extension.yaml".to_owned(), PACKAGE.as_bytes().to_vec())];
        let package = Package::load(PackageFiles::new(files).expect("plain files"));
        let package = package.unwrap_or_else(|problems| panic!("{problems}"));
        Self { package, parts: BTreeMap::new(), left: BTreeMap::new(), counter: 0 }
    }

    /// What an instance becomes. Of one that is refused nothing is applied.
    fn ask(&mut self, spec: &Value) {
        let spec = serde_json::from_value(spec.clone()).expect("a spec");
        let name = InstanceName::parse("shop").expect("a name");
        let namespace = NamespaceName::parse("here").expect("a name");
        let asked = Asked { name: &name, namespace: &namespace, spec: &spec };
        let Ok((_, rendered)) = cases::preview(&self.package, asked, &Surroundings::default()) else { return };
        for made in rendered.components {
            let name = made.spec.component.to_string();
            let (status, groups) = match self.parts.remove(&name) {
                Some(part) => (part.status, part.groups),
                None => (ComponentStatus::default(), BTreeMap::new()),
            };
            self.parts.insert(name, Part { spec: made.spec, status, groups });
        }
    }

    fn situation(&self, name: &str) -> Situation<'_> {
        let part = &self.parts[name];
        let beside = self.parts.iter().filter(|(other, _)| other.as_str() != name);
        Situation {
            spec: &part.spec,
            sets: part.groups.iter().map(|(name, group)| (name.clone(), group.seen())).collect(),
            others: beside.map(|(other, part)| (other.clone(), part.seen())).collect(),
            moves_shares: name == "data",
            forming: false,
        }
    }

    /// Every component and every pod set plans once, and what was planned is done. True when something changed.
    fn step(&mut self) -> bool {
        let mut moved = false;
        let names: Vec<String> = self.parts.keys().cloned().collect();
        for name in &names {
            let before = &self.parts[name].status;
            let situation = self.situation(name);
            let plan = component::plan(&situation);
            let status = component::status(&situation, &plan, before, Some(1), None, &Time(Timestamp::UNIX_EPOCH));
            moved |= !plan.actions.is_empty() || status != *before;
            if let Some(part) = self.parts.get_mut(name) {
                part.status = status;
            }
            for action in plan.actions {
                self.carry_out(name, action.set, action.what);
            }
        }
        for group in self.parts.values_mut().flat_map(|part| part.groups.values_mut()) {
            let before = group.world.status.clone();
            let plan = watched_step(&mut group.world);
            group.current = true;
            let ticked = group.world.tick();
            moved |= ticked || !plan.actions.is_empty() || group.world.status != before;
        }
        moved
    }

    fn carry_out(&mut self, component: &str, set: String, what: What) {
        self.counter += 1;
        let new_uid = format!("set-{}", self.counter);
        let part = self.parts.get_mut(component).expect("it is there");
        match what {
            What::Apply(spec) if part.groups.contains_key(&set) => {
                let group = part.group(&set, None);
                group.world.spec = *spec;
                group.current = false;
            }
            What::Apply(spec) => {
                let mut world = World::new(*spec);
                world.claims = self.left.remove(&set).unwrap_or_default();
                part.groups.insert(set, Group { world, share: Share::NotYet, uid: new_uid, current: false });
            }
            What::Delete { uid } => {
                let world = &mut part.group(&set, Some(&uid)).world;
                assert!(world.pods.is_empty(), "{set} goes and has pods");
                let claims = std::mem::take(&mut world.claims);
                part.groups.remove(&set);
                self.left.insert(set, claims);
            }
            What::Join { uid } | What::CountIn { uid } => part.group(&set, Some(&uid)).share = Share::Has,
            What::Depart { uid } => {
                let group = part.group(&set, Some(&uid));
                // what was told of its pods may be old: then nobody answers, and it is tried again
                if group.world.pods.values().any(Pod::ready) {
                    group.share = Share::GivenAway;
                }
            }
        }
    }

    /// Lets everything happen until nothing does any more.
    fn settle(&mut self) {
        for _ in 0..ROUNDS {
            // a second may be what somebody waited for
            if !self.step() && !self.time_passes() && !self.step() {
                return;
            }
        }
        let log: BTreeMap<&String, &Vec<String>> =
            self.parts.values().flat_map(|part| &part.groups).map(|(name, group)| (name, &group.world.log)).collect();
        panic!("it never comes to rest: {log:#?}");
    }

    /// To the next moment that somebody waits for. False where nobody does.
    fn time_passes(&mut self) -> bool {
        let mut passed = false;
        for group in self.parts.values_mut().flat_map(|part| part.groups.values_mut()) {
            let (plan, now) = (group.world.plan(), group.world.now);
            let until = plan.waits.iter().filter_map(|wait| wait.until).filter(|until| *until > now).min();
            if let Some(until) = until {
                group.world.now = until;
                passed = true;
            }
        }
        passed
    }

    /// One of all pods, by a number.
    fn pod(&mut self, number: usize) -> Option<(&mut World, u16)> {
        let groups = self.parts.values_mut().flat_map(|part| part.groups.values_mut());
        let mut pods: Vec<(&mut World, Vec<u16>)> = groups
            .map(|group| {
                let ordinals: Vec<u16> = group.world.pods.keys().copied().collect();
                (&mut group.world, ordinals)
            })
            .filter(|pods| !pods.1.is_empty())
            .collect();
        if pods.is_empty() {
            return None;
        }
        let (world, ordinals) = pods.swap_remove(number % pods.len());
        Some((world, ordinals[number % ordinals.len()]))
    }
}

#[derive(Clone, Debug)]
enum Event {
    Asks(Value),
    Ends(usize),
    Vanishes(usize),
    Waits(u8),
}

/// An instance with these shards.
fn instance(shards: &[(u8, i32)], keepers: i32, cache: i32, memory: &str, stopped: bool, delete: bool) -> Value {
    let named = |(number, replicas): &(u8, i32)| json!({ "name": format!("shard-{number}"), "replicas": replicas });
    json!({
        "type": "chained", "extensionVersion": "1.0.0", "version": "1",
        "state": if stopped { "Stopped" } else { "Running" },
        "deletionPolicy": if delete { "Delete" } else { "Retain" },
        "components": [
            { "name": "keeper", "replicas": keepers },
            { "name": "data", "groups": shards.iter().map(named).collect::<Vec<_>>(), "parameters": { "cache": cache },
              "resources": { "requests": { "cpu": "100m", "memory": memory }, "limits": { "memory": memory } } },
        ],
    })
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let shards = prop::collection::btree_map(0..4u8, 1..4i32, 1..4);
    let memory = prop::sample::select(vec!["256Mi", "512Mi"]);
    let asks = (shards, 1..3i32, 1..3i32, memory, prop::bool::weighted(0.15), any::<bool>()).prop_map(
        |(shards, keepers, cache, memory, stopped, delete)| {
            let shards: Vec<(u8, i32)> = shards.into_iter().collect();
            Event::Asks(instance(&shards, keepers, cache, memory, stopped, delete))
        },
    );
    let event = prop_oneof![
        3 => asks,
        1 => (0..20usize).prop_map(Event::Ends),
        1 => (0..20usize).prop_map(Event::Vanishes),
        4 => (1..9u8).prop_map(Event::Waits),
    ];
    prop::collection::vec(event, 1..8)
}

proptest! {
    #![proptest_config(crate::chance::cases(8))]

    #[test]
    fn from_instance_to_pods_every_plan_keeps_its_promises_and_all_come_to_rest(events in events()) {
        let mut chain = Chain::new();
        chain.ask(&instance(&[(0, 2), (1, 2)], 1, 1, "256Mi", false, false));
        for event in events {
            match event {
                Event::Asks(spec) => chain.ask(&spec),
                Event::Ends(number) => {
                    if let Some((world, ordinal)) = chain.pod(number)
                        && let Some(pod) = world.pods.get_mut(&ordinal)
                    {
                        pod.phase = Phase::Ended;
                        pod.ready_since = None;
                    }
                }
                Event::Vanishes(number) => {
                    if let Some((world, ordinal)) = chain.pod(number) {
                        world.pods.remove(&ordinal);
                    }
                }
                Event::Waits(steps) => {
                    for _ in 0..steps {
                        chain.step();
                    }
                }
            }
        }
        chain.settle();
        // whatever state that was, what is asked for last comes to be
        chain.ask(&instance(&[(0, 2), (2, 3)], 2, 1, "256Mi", false, false));
        chain.settle();
        for (name, part) in &chain.parts {
            let ready = part.ready().expect("it is told");
            prop_assert_eq!((&ready.status, name), (&ConditionStatus::True, name), "{}", ready.message);
        }
        let pods: Vec<(&str, usize, bool)> = chain.parts.values().flat_map(|part| &part.groups).map(|(name, group)| {
            (name.as_str(), group.world.pods.len(), group.world.leader().is_some())
        }).collect();
        let wanted = [("shop-data-shard-0", 2, true), ("shop-data-shard-2", 3, true), ("shop-keeper", 2, false)];
        prop_assert_eq!(pods, wanted);
    }
}
