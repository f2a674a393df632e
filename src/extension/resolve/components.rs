//! Components and their groups: how many pods, of what size, with which volumes and image.

use std::collections::{BTreeMap, BTreeSet};

use super::super::contract::component::{Component, VolumeKind};
use super::super::contract::{Count, Topology, TopologyComponent};
use super::super::lint::image_of;
use super::super::naming::DEFAULT_GROUP;
use super::super::problem::{Code, listed, unknown};
use super::super::quantity;
use super::super::resolved::{ResolvedComponent, ResolvedGroup, ResolvedPort};
use super::super::template;
use super::{Resolver, Surroundings, merge};
use crate::api::component::AllowedReplicas;
use crate::api::instance::{InstanceComponent, InstanceGroup};
use crate::api::values::{Resources, Scheduling, Spread, Storage};
use crate::names::{ComponentName, GroupName, Ordinal, TopologyName};

/// The numbers a topology allows.
fn allowed(count: &Count) -> AllowedReplicas {
    let (min, max) = (count.min.unwrap_or(0), count.max.unwrap_or(1000));
    AllowedReplicas { min: min.into(), max: max.into(), odd: count.odd.then_some(true) }
}

impl Resolver<'_> {
    pub(super) fn components(
        &mut self,
        topology_name: &TopologyName,
        topology: &Topology,
        surroundings: &Surroundings,
    ) -> Vec<ResolvedComponent> {
        let manifest = &self.package.manifest;
        let spec = self.asked.spec;
        let mut seen = BTreeSet::new();
        for component in &spec.components {
            let field = format!("spec.components[{}]", component.name);
            if !seen.insert(&component.name) {
                self.refuse(field, Code::Invalid, format!("component {} is there twice", component.name));
            } else if !manifest.components.contains_key(&component.name) {
                let known = manifest.components.keys().map(ComponentName::as_str);
                self.refuse(field, Code::Unknown, unknown("component", component.name.as_str(), known));
            } else if !topology.components.contains_key(&component.name) {
                let others = manifest.topologies.iter().filter(|(_, t)| t.components.contains_key(&component.name));
                let reason = format!(
                    "component {} is no part of topology {topology_name}; it is in {}",
                    component.name,
                    listed(others.map(|(name, _)| name.as_str()))
                );
                self.refuse(field, Code::Unknown, reason);
            }
        }
        topology
            .components
            .iter()
            .filter_map(|(name, pods)| {
                let declared = manifest.components.get(name)?;
                let asked = spec.components.iter().find(|component| component.name == *name);
                Some(self.component(name, declared, pods, asked, topology_name, surroundings))
            })
            .collect()
    }

    fn component(
        &mut self,
        name: &ComponentName,
        declared: &Component,
        pods: &TopologyComponent,
        asked: Option<&InstanceComponent>,
        topology: &TopologyName,
        surroundings: &Surroundings,
    ) -> ResolvedComponent {
        let field = format!("spec.components[{name}]");
        let blank = InstanceComponent {
            name: name.clone(),
            replicas: None,
            offline: Vec::new(),
            groups: Vec::new(),
            resources: None,
            storage: None,
            parameters: None,
            secret_parameters: None,
            config_files: None,
            scheduling: None,
            service: None,
            image: None,
            pod_metadata: None,
            service_account_name: None,
            env: Vec::new(),
            process: None,
            update: None,
            logs: None,
        };
        let asked = asked.unwrap_or(&blank);
        let groups = self.groups(name, pods, asked, topology, surroundings);
        let groups = groups.into_iter().map(|group| self.group(name, declared, asked, &group, &field)).collect();
        let update = self
            .layered(name, |defaults| defaults.update.clone())
            .into_iter()
            .chain(asked.update.clone())
            .reduce(|weaker, stronger| merge::fields(&weaker, &stronger))
            .unwrap_or_default();
        self.files_and_secrets(name, declared, asked, &field);
        let marked = "pods, such as the one that clients write to";
        self.check_metadata(asked.pod_metadata.as_ref(), &format!("{field}.podMetadata"), marked);
        let service = asked.service.as_ref().and_then(|service| service.metadata.as_ref());
        self.check_metadata(service, &format!("{field}.service.metadata"), "Services");
        self.check_env(&asked.env, &field);
        ResolvedComponent {
            name: name.clone(),
            image: self.image(name, asked, &field),
            pull_policy: asked.image.as_ref().and_then(|image| image.pull_policy),
            free_replicas: asked.replicas.is_none() && asked.groups.is_empty() && pods.groups.is_none(),
            allowed_replicas: pods.replicas.as_ref().map_or_else(|| allowed(&Count::default()), allowed),
            dynamic_groups: pods.groups.is_some(),
            groups,
            ports: self.ports(name, declared, topology),
            service: asked.service.clone().unwrap_or_default(),
            pod_metadata: asked.pod_metadata.clone().unwrap_or_default(),
            service_account: asked.service_account_name.clone(),
            env: asked.env.clone(),
            process: asked.process.clone().unwrap_or_default(),
            update,
            logs: asked.logs.clone().unwrap_or_default(),
            config_files: asked.config_files.clone().unwrap_or_default(),
            secret_parameters: asked
                .secret_parameters
                .iter()
                .flatten()
                .filter_map(|(key, value)| Some((crate::names::ParameterName::parse(key).ok()?, value.clone())))
                .collect(),
        }
    }

    /// What the layers say of a component, the weaker first.
    fn layered<T>(
        &self,
        name: &ComponentName,
        of: impl Fn(&super::super::defaults::ComponentDefaults) -> Option<T>,
    ) -> Vec<T> {
        self.layers.iter().flat_map(|layer| layer.of(name.as_str())).filter_map(of).collect()
    }

    /// The groups with their names and numbers: what the instance lists, or what the topology has.
    fn groups(
        &mut self,
        name: &ComponentName,
        pods: &TopologyComponent,
        asked: &InstanceComponent,
        topology: &TopologyName,
        surroundings: &Surroundings,
    ) -> Vec<InstanceGroup> {
        let field = format!("spec.components[{name}]");
        let count = pods.replicas.clone().unwrap_or(Count { default: 1, ..Count::default() });
        let from_layers = self.layered(name, |defaults| defaults.replicas).into_iter().next_back();
        let default = from_layers.unwrap_or(i32::from(count.default));
        let origin = self.origin_of_replicas(name, pods, asked, surroundings);
        let blank = |name: GroupName, replicas: i32, offline: Vec<Ordinal>| InstanceGroup {
            name,
            replicas,
            offline,
            resources: None,
            storage: None,
            parameters: None,
            scheduling: None,
        };
        let mut groups = Vec::new();
        match &pods.groups {
            None => {
                if let Some(other) = asked.groups.iter().find(|group| group.name.as_str() != DEFAULT_GROUP) {
                    let reason = format!(
                        "component {name} has no groups in topology {topology}, so there is no group {}; give replicas",
                        other.name
                    );
                    self.refuse(format!("{field}.groups"), Code::Unknown, reason);
                } else if let Some(group) = asked.groups.first() {
                    groups.push(group.clone());
                } else if let Ok(group) = GroupName::parse(DEFAULT_GROUP) {
                    let scaled = surroundings.replicas.get(name).map(|replicas| i32::from(*replicas));
                    let replicas = asked.replicas.or(scaled).unwrap_or(default);
                    groups.push(blank(group, replicas, asked.offline.clone()));
                }
            }
            Some(dynamic) => {
                if asked.replicas.is_some() || !asked.offline.is_empty() {
                    let reason = format!(
                        "component {name} has groups in topology {topology}: give groups such as {}-0, each with its replicas",
                        dynamic.prefix
                    );
                    self.refuse(format!("{field}.replicas"), Code::Invalid, reason);
                }
                for group in &asked.groups {
                    let number =
                        group.name.as_str().strip_prefix(&dynamic.prefix).and_then(|rest| rest.strip_prefix('-'));
                    if number.is_none_or(|number| number.parse::<Ordinal>().is_err()) {
                        let reason = format!(
                            "group {} is called otherwise than {}-0, {}-1 and so on",
                            group.name, dynamic.prefix, dynamic.prefix
                        );
                        self.refuse(format!("{field}.groups[{}]", group.name), Code::Unknown, reason);
                    }
                }
                groups.clone_from(&asked.groups);
                if groups.is_empty() {
                    let names = (0..dynamic.count.default).map(|number| format!("{}-{number}", dynamic.prefix));
                    groups.extend(
                        names.filter_map(|name| Some(blank(GroupName::parse(&name).ok()?, default, Vec::new()))),
                    );
                }
                let length = u16::try_from(groups.len()).unwrap_or(u16::MAX);
                self.in_range(
                    &format!("{field}.groups"),
                    &format!("groups of component {name}"),
                    length,
                    &dynamic.count,
                );
            }
        }
        let mut seen = BTreeSet::new();
        for group in &groups {
            let named = if group.name.as_str() == DEFAULT_GROUP {
                (format!("{field}.replicas"), format!("replicas of component {name}{origin}"))
            } else {
                (
                    format!("{field}.groups[{}].replicas", group.name),
                    format!("replicas of group {}{origin}", group.name),
                )
            };
            if !seen.insert(group.name.clone()) {
                self.refuse(format!("{field}.groups"), Code::Invalid, format!("group {} is there twice", group.name));
            }
            match u16::try_from(group.replicas) {
                Ok(replicas) => self.in_range(&named.0, &named.1, replicas, &count),
                Err(_) => self.refuse(&named.0, Code::Invalid, format!("{} is no number of pods", group.replicas)),
            }
            self.offline(&field, group);
        }
        groups
    }

    /// Who says how many pods there are, where that is not the instance but its repository.
    fn origin_of_replicas(
        &self,
        name: &ComponentName,
        pods: &TopologyComponent,
        asked: &InstanceComponent,
        surroundings: &Surroundings,
    ) -> String {
        let mut layers = surroundings.defaults.iter().flat_map(|layer| layer.of(name.as_str()));
        let assumed = layers.any(|said| said.replicas.is_some());
        let scaled = pods.groups.is_none() && surroundings.replicas.contains_key(name);
        let own = asked.replicas.is_some() || !asked.groups.is_empty() || scaled;
        match &self.environment {
            Some(environment) if assumed && !own => format!(" (environments.{environment} of midship.yaml)"),
            _ => String::new(),
        }
    }

    fn in_range(&mut self, field: &str, what: &str, number: u16, count: &Count) {
        if let Some(reason) = allowed(count).refuse(i32::from(number)) {
            self.refuse(field, Code::Invalid, format!("{what}: {reason}"));
        }
    }

    /// An ordinal that would not run anyway was mistaken for another.
    fn offline(&mut self, field: &str, group: &InstanceGroup) {
        let Ok(replicas) = u16::try_from(group.replicas) else { return };
        let count = u16::try_from(group.offline.len()).unwrap_or(u16::MAX);
        let end = replicas.saturating_add(count);
        let field = if group.name.as_str() == DEFAULT_GROUP {
            format!("{field}.offline")
        } else {
            format!("{field}.groups[{}].offline", group.name)
        };
        for ordinal in group.offline.iter().filter(|ordinal| ordinal.get() >= end) {
            let reason = format!(
                "there is no ordinal {ordinal} to take offline: with {replicas} replicas and {count} offline the ordinals are 0 to {}",
                end.saturating_sub(1)
            );
            self.refuse(&field, Code::Unknown, reason);
        }
    }

    fn group(
        &mut self,
        name: &ComponentName,
        declared: &Component,
        asked: &InstanceComponent,
        group: &InstanceGroup,
        field: &str,
    ) -> ResolvedGroup {
        let mut resources = declared.resources.clone().unwrap_or_default();
        for layer in self.layered(name, |defaults| defaults.resources.clone()) {
            merge::resources(&mut resources, &layer);
        }
        for layer in [&asked.resources, &group.resources].into_iter().flatten() {
            merge::resources(&mut resources, layer);
        }
        self.check_resources(&resources, &format!("{field}.resources"));

        let mut scheduling =
            Scheduling { spread: Some(declared.spread.unwrap_or(Spread::Node)), ..Scheduling::default() };
        let layers = self.layered(name, |defaults| defaults.scheduling.clone());
        for layer in layers.iter().chain(&asked.scheduling).chain(&group.scheduling) {
            scheduling = merge::fields(&scheduling, layer);
        }
        self.check_scheduling(&scheduling, field);
        ResolvedGroup {
            name: group.name.clone(),
            replicas: u16::try_from(group.replicas).unwrap_or(0),
            offline: group.offline.clone(),
            resources,
            storage: self.storage(name, declared, asked, group, field),
            parameters: BTreeMap::new(),
            said: BTreeMap::new(),
            scheduling,
        }
    }

    fn check_resources(&mut self, resources: &Resources, field: &str) {
        for (kind, list) in [("requests", &resources.requests), ("limits", &resources.limits)] {
            for (key, amount) in list.iter().flatten() {
                if quantity::number(&amount.0).is_none() {
                    let reason =
                        format!("\"{}\" is no amount; write it like 100m, 2 or 1Gi", amount.0.escape_default());
                    self.refuse(format!("{field}.{kind}.{key}"), Code::Invalid, reason);
                } else if let Some(reason) = quantity::fraction(key, &amount.0) {
                    self.refuse(format!("{field}.{kind}.{key}"), Code::Invalid, reason);
                }
            }
        }
        for (key, request) in resources.requests.iter().flatten() {
            let limit = resources.limits.as_ref().and_then(|limits| limits.get(key));
            if let Some(limit) = limit.filter(|limit| limit.number() < request.number()) {
                let reason = format!("the request of {} {key} is above the limit of {}", request.0, limit.0);
                self.refuse(format!("{field}.requests.{key}"), Code::Invalid, reason);
            }
        }
    }

    fn storage(
        &mut self,
        name: &ComponentName,
        declared: &Component,
        asked: &InstanceComponent,
        group: &InstanceGroup,
        field: &str,
    ) -> BTreeMap<String, Storage> {
        let lasting = |declared: &Component| -> BTreeMap<String, Storage> {
            declared
                .volumes
                .iter()
                .filter(|(_, volume)| volume.kind() == VolumeKind::Lasting)
                .filter_map(|(name, volume)| {
                    let size = volume.size.clone()?;
                    Some((name.to_string(), Storage { size, storage_class_name: None, labels: None }))
                })
                .collect()
        };
        let mut storage = lasting(declared);
        let known: Vec<String> = storage.keys().cloned().collect();
        let layers = self.layered(name, |defaults| defaults.storage.clone());
        for layer in layers.into_iter().chain(asked.storage.clone()).chain(group.storage.clone()) {
            for (volume, said) in layer {
                let field = format!("{field}.storage.{volume}");
                let Some(slot) = storage.get_mut(&volume) else {
                    self.refuse(field, Code::Unknown, unknown("volume", &volume, known.iter().map(String::as_str)));
                    continue;
                };
                if quantity::bytes(&said.size.0).is_none_or(|bytes| bytes == 0) {
                    let reason = format!("\"{}\" is no size; write it like 1Gi", said.size.0.escape_default());
                    self.refuse(format!("{field}.size"), Code::Invalid, reason);
                    continue;
                }
                *slot = merge::fields(slot, &said);
            }
        }
        storage
    }

    fn image(&mut self, name: &ComponentName, asked: &InstanceComponent, field: &str) -> String {
        let manifest = &self.package.manifest;
        let version = manifest.version(self.asked.spec.version.as_str());
        let image = version.and_then(|version| image_of(version, name.as_str())).cloned().unwrap_or_default();
        let Some(other) = &asked.image else { return image };
        if let Some(tag) = &other.tag {
            // 7.0-alpine and 7.0.15 are still 7.0
            let is_of = |version: &str| {
                tag == version || tag.starts_with(&format!("{version}-")) || tag.starts_with(&format!("{version}."))
            };
            let wanted = self.asked.spec.version.as_str();
            let another = manifest.versions.iter().map(|v| v.version.as_str()).find(|v| *v != wanted && is_of(v));
            if let Some(another) = another.filter(|_| !is_of(wanted)) {
                let reason = format!(
                    "tag {tag} is version {another}, but spec.version is {wanted}; to upgrade, change spec.version"
                );
                self.refuse(format!("{field}.image.tag"), Code::Invalid, reason);
            }
        }
        let (repository, rest) = split_image(&image);
        let repository = other.repository.as_deref().unwrap_or(repository);
        match (&other.digest, &other.tag) {
            (Some(digest), _) => format!("{repository}@{digest}"),
            (None, Some(tag)) => format!("{repository}:{tag}"),
            (None, None) => format!("{repository}{rest}"),
        }
    }

    fn ports(
        &mut self,
        component: &ComponentName,
        declared: &Component,
        topology: &TopologyName,
    ) -> BTreeMap<String, ResolvedPort> {
        // ports are needed to build the context, so their conditions see only what is decided before
        let tls = self.pick(self.asked.spec.tls.as_ref(), |d| d.tls.as_ref());
        let tls = tls.is_some_and(|tls| tls.issuer != Some(crate::api::instance::TlsIssuer::None));
        let known = template::context(&serde_json::json!({
            "topology": topology, "version": self.asked.spec.version, "tls": { "enabled": tls },
            "environment": self.environment,
        }));
        let mut ports = BTreeMap::new();
        for (name, port) in &declared.ports {
            let field = format!("{}components.{component}.ports.{name}.when", template::FIELD);
            match self.package.engine.holds(&field, port.when.as_deref(), &known) {
                Ok(true) => {
                    let udp = port.protocol == Some(super::super::contract::component::Protocol::Udp);
                    ports.insert(name.clone(), ResolvedPort { port: port.port, udp, internal: port.internal });
                }
                Ok(false) => {}
                Err(error) => {
                    let problem = self.package.in_template(&error);
                    self.refuse("", Code::Package, problem.to_string());
                }
            }
        }
        ports
    }

    fn files_and_secrets(
        &mut self,
        name: &ComponentName,
        declared: &Component,
        asked: &InstanceComponent,
        field: &str,
    ) {
        for file in asked.config_files.iter().flat_map(BTreeMap::keys) {
            let field = format!("{field}.configFiles.{file}");
            match declared.config.get(file) {
                None => {
                    let known = declared.config.keys().map(String::as_str);
                    self.refuse(field, Code::Unknown, unknown("configuration file", file, known));
                }
                Some(config) if config.user_file.is_none() => {
                    let reason = format!("{file} of component {name} cannot be replaced; set parameters instead");
                    self.refuse(field, Code::Invalid, reason);
                }
                Some(_) => {}
            }
        }
        let parameters = self.package.parameters(name.as_str());
        for parameter in asked.secret_parameters.iter().flat_map(BTreeMap::keys) {
            if parameters.get(parameter).is_none() {
                let field = format!("{field}.secretParameters.{parameter}");
                self.refuse(field, Code::Unknown, unknown("parameter", parameter, parameters.names()));
            }
        }
    }
}

/// Repository, and tag or digest with what joins them.
fn split_image(image: &str) -> (&str, &str) {
    let name = image.rfind('/').map_or(0, |slash| slash + 1);
    match image[name..].find(['@', ':']) {
        Some(at) => image.split_at(name + at),
        None => (image, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_a_registry_is_no_tag() {
        assert_eq!(split_image("r.example:5000/a/b:7.0"), ("r.example:5000/a/b", ":7.0"));
        assert_eq!(split_image("a/b@sha256:00"), ("a/b", "@sha256:00"));
        assert_eq!(split_image("r.example:5000/a"), ("r.example:5000/a", ""));
    }
}
