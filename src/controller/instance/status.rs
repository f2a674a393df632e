//! What an Instance says of itself: computed purely from what was decided and what is there.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use serde_json::Value;

use super::observe::Observed;
use crate::api::conditions::{Finding, merge};
use crate::api::instance::{ConfigurationStatus, Connection, DesiredState, Member, Phase, UpgradeTarget};
use crate::api::packed::Packed;
use crate::api::{InstanceStatus, PodSet};
use crate::extension::render::Rendered;
use crate::extension::{Package, Resolved, naming};
use crate::names::Ordinal;
use crate::plan::instance::health::{ComponentSeen, Facts, Verdict, health};
use crate::plan::instance::versions::{Stand, between};

/// What was put in force.
pub struct InForce<'a> {
    pub package: &'a Package,
    pub resolved: &'a Resolved,
    pub rendered: &'a Rendered,
    pub runs: Stand,
    pub target: Option<Stand>,
}

/// Everything the status follows from.
pub struct Report<'a> {
    pub verdict: &'a Verdict,
    /// What is in force since this reconcile; nothing where nothing was decided anew.
    pub in_force: Option<InForce<'a>>,
    pub observed: &'a Observed,
    pub components: &'a [ComponentSeen],
    /// What is still to be done once all pods run.
    pub unfinished: Option<String>,
    /// How the restore goes that its pods wait for.
    pub restoring: Option<String>,
    /// Conditions besides the usual ones.
    pub also: Vec<Finding>,
}

/// The status that follows.
pub fn next(
    name: &str,
    before: &InstanceStatus,
    generation: Option<i64>,
    report: &Report<'_>,
    now: &Time,
) -> InstanceStatus {
    let mut status = before.clone();
    status.observed_generation = generation;
    status.operation.clone_from(&report.observed.operation);
    if let Some(in_force) = &report.in_force {
        adopt(&mut status, in_force);
    }
    let wanted = wanted_pods(name, &status);
    let exclusive = report.in_force.as_ref().map(|it| exclusive_roles(it.package));
    status.members = members(report.observed, &wanted);
    let ready = status.members.iter().filter(|member| member.ready && wanted.contains(&member.name)).count();
    let existing = report.observed.pods();
    status.ready = status.resolved.as_ref().map(|_| format!("{ready}/{}", wanted.len()));
    status.primary = primary(&status.members, exclusive.as_ref(), before);
    let stopped = status.resolved.is_some() && is_stopped(report, before);
    let (runs, target) = super::decide::stands(&status);
    let reasons: Vec<String> = status
        .members
        .iter()
        .filter(|member| !member.ready)
        .filter_map(|member| Some(format!("{}: {}", member.name, member.reason.as_ref()?)))
        .collect();
    let facts = Facts {
        verdict: report.verdict,
        before: before.phase,
        in_force: status.resolved.is_some(),
        stopped,
        upgrading: runs.as_ref().zip(target.as_ref()).map(|(runs, target)| between(runs, target)),
        components: report.components,
        wanted: if stopped { 0 } else { wanted.len() },
        ready,
        existing: existing.len(),
        reasons: &reasons,
        unfinished: report.unfinished.clone(),
        restoring: report.restoring.clone(),
    };
    let health = health(&facts);
    status.phase = Some(health.phase);
    if stopped {
        status.ready = Some(format!("{ready}/0"));
    }
    for configuration in &mut status.configuration {
        let component = report.components.iter().find(|component| component.name == configuration.component);
        let applied = component.is_some_and(|component| component.updated) || stopped;
        configuration.state = Some(if applied { "Applied" } else { "Applying" }.to_owned());
        configuration.message = None;
        if let Verdict::Refused(refusals) = report.verdict {
            let about = format!("spec.components[{}]", configuration.component);
            let refused = refusals.0.iter().find(|refusal| refusal.field.starts_with(&about));
            if let Some(refusal) = refused {
                configuration.state = Some("Rejected".to_owned());
                configuration.message = Some(refusal.reason.clone());
            }
        }
    }
    let findings: Vec<Finding> = health.findings.into_iter().chain(report.also.iter().cloned()).collect();
    status.conditions = merge(&before.conditions, &findings, generation, now);
    status
}

fn adopt(status: &mut InstanceStatus, in_force: &InForce<'_>) {
    let mut resolved = in_force.resolved.status();
    resolved.version = Some(in_force.runs.version.clone());
    resolved.extension_version = Some(in_force.runs.extension.clone());
    resolved.target = in_force.target.as_ref().map(|target| UpgradeTarget {
        version: Some(target.version.clone()),
        extension_version: Some(target.extension.clone()),
    });
    status.resolved = Some(resolved);
    status.connection = connection(in_force);
    let mut revisions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for config in &in_force.rendered.config {
        let known = revisions.entry(config.component.as_str()).or_default();
        if !known.contains(&config.revision.as_str()) {
            known.push(&config.revision);
        }
    }
    status.configuration = revisions
        .into_iter()
        .map(|(component, revisions)| ConfigurationStatus {
            component: component.to_owned(),
            revision: Some(revisions.join(", ")),
            state: None,
            message: None,
        })
        .collect();
}

fn connection(in_force: &InForce<'_>) -> Option<Connection> {
    let name = naming::connection(in_force.resolved.name.as_str());
    let secret = in_force.rendered.secrets.iter().find(|secret| secret.name == name)?;
    // these two are no secrets
    let plain = |key: &str| secret.data.get(key).map(|value| value.expose().to_owned());
    Some(Connection {
        host: plain("host"),
        port: plain("port").and_then(|port| port.parse().ok()),
        secret_name: Some(name),
    })
}

fn exclusive_roles(package: &Package) -> BTreeSet<String> {
    let roles = package.manifest.components.values().flat_map(|component| &component.roles);
    roles.filter(|role| role.exclusive).map(|role| role.name.to_string()).collect()
}

/// The one pod with the exclusive role; nothing where several groups have one each.
fn primary(members: &[Member], exclusive: Option<&BTreeSet<String>>, before: &InstanceStatus) -> Option<String> {
    let Some(exclusive) = exclusive else {
        // without its package the role is known by the pod that had it
        let holder = members.iter().find(|member| Some(&member.name) == before.primary.as_ref());
        let role = holder.and_then(|member| member.role.clone());
        return holder.filter(|_| role.is_some()).map(|member| member.name.clone());
    };
    let mut holders = members.iter().filter(|member| member.role.as_ref().is_some_and(|role| exclusive.contains(role)));
    let holder = holders.next()?;
    holders.next().is_none().then(|| holder.name.clone())
}

fn is_stopped(report: &Report<'_>, before: &InstanceStatus) -> bool {
    if let Some(in_force) = &report.in_force {
        return in_force.resolved.stopped;
    }
    let components = &report.observed.components;
    if components.is_empty() {
        matches!(before.phase, Some(Phase::Stopped | Phase::Stopping))
    } else {
        components.iter().all(|component| component.spec.state == Some(DesiredState::Stopped))
    }
}

/// The pods that are to run, as `status.resolved` says.
fn wanted_pods(instance: &str, status: &InstanceStatus) -> BTreeSet<String> {
    let mut pods = BTreeSet::new();
    let Some(resolved) = &status.resolved else { return pods };
    let components = resolved.components.as_ref().map(Packed::open);
    let components = components.as_ref().and_then(Value::as_object);
    for (component, told) in components.into_iter().flatten() {
        for group in told["groups"].as_array().into_iter().flatten() {
            let replicas = group["replicas"].as_u64().and_then(|number| u16::try_from(number).ok()).unwrap_or(0);
            let offline: Vec<Ordinal> = serde_json::from_value(group["offline"].clone()).unwrap_or_default();
            let name = group["name"].as_str().unwrap_or(naming::DEFAULT_GROUP);
            let ordinals = naming::ordinals(replicas, &offline).into_iter();
            pods.extend(ordinals.map(|ordinal| naming::pod(instance, component, name, ordinal)));
        }
    }
    pods
}

fn members(observed: &Observed, wanted: &BTreeSet<String>) -> Vec<Member> {
    let mut members: Vec<Member> = observed.pod_sets.iter().flat_map(|set| of_set(set, wanted)).collect();
    let there: BTreeSet<String> = members.iter().map(|member| member.name.clone()).collect();
    let components = observed.components.iter().filter(|component| component.spec.state != Some(DesiredState::Stopped));
    let prefixes: Vec<(String, String)> = components
        .map(|component| (format!("{}-", component.name_any()), component.spec.component.to_string()))
        .collect();
    for name in wanted.iter().filter(|name| !there.contains(*name)) {
        let component =
            prefixes.iter().filter(|(prefix, _)| name.starts_with(prefix)).max_by_key(|(prefix, _)| prefix.len());
        let Some((_, component)) = component else { continue };
        members.push(Member {
            name: name.clone(),
            component: component.clone(),
            state: Some("Adding".to_owned()),
            ..Member::default()
        });
    }
    members.sort_by(|a, b| a.name.cmp(&b.name));
    members
}

fn of_set(set: &PodSet, wanted: &BTreeSet<String>) -> Vec<Member> {
    let pods = set.status.iter().flat_map(|status| &status.pods);
    pods.map(|pod| {
        let name = format!("{}-{}", set.name_any(), pod.ordinal);
        let state = if wanted.contains(&name) { "Normal" } else { "Deleting" };
        Member {
            component: set.spec.component.to_string(),
            role: pod.role.clone(),
            ready: pod.ready,
            node: pod.node.clone(),
            state: Some(state.to_owned()),
            lag: pod.lag,
            reason: pod.reason.clone(),
            name,
        }
    })
    .collect()
}

/// Whether every pod is as it was last asked for and well, or there are to be none.
pub fn settled(name: &str, before: &InstanceStatus, observed: &Observed, components: &[ComponentSeen]) -> bool {
    let existing = observed.pods();
    let stopped =
        |component: &std::sync::Arc<crate::api::Component>| component.spec.state == Some(DesiredState::Stopped);
    if observed.components.iter().all(stopped) {
        return existing.is_empty() && (!components.is_empty() || before.phase == Some(Phase::Stopped));
    }
    let wanted = wanted_pods(name, before);
    let members = members(observed, &wanted);
    let ready = members.iter().filter(|member| member.ready && wanted.contains(&member.name)).count();
    components.iter().all(|component| component.updated && component.ready) && ready >= wanted.len()
}
