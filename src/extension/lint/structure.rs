//! The shape of a package: versions and images, topologies, and what it names.

use std::collections::{BTreeMap, BTreeSet};

use super::{Lint, backup, component};
use crate::extension::contract::{Count, Version};
use crate::extension::install;
use crate::extension::problem::unknown;
use crate::names::{ComponentName, GroupName, VolumeName};

/// What a ConfigMap keeps, in bytes.
const MOST_SCRIPTS: usize = 1024 * 1024;

/// What a label keeps, in characters.
const LONGEST_LABEL: usize = 63;

pub fn check(lint: &mut Lint<'_>) {
    let name = install::name(&lint.package.manifest.type_, &lint.package.manifest.version);
    if name.len() > LONGEST_LABEL {
        let reason = format!("{name} has {} characters; type and version together have at most 62", name.len());
        lint.at("version", reason);
    }
    versions(lint);
    topologies(lint);
    let manifest = &lint.package.manifest;
    if manifest.components.is_empty() {
        lint.at("components", "a package has at least one component");
    }
    for (name, component) in &manifest.components {
        component::check(lint, name, component);
    }
    order(lint);
    secrets(lint);
    connection(lint);
    backup::check(lint);
    monitoring(lint);
    environments(lint);
    files(lint);
}

fn versions(lint: &mut Lint<'_>) {
    let manifest = &lint.package.manifest;
    if manifest.versions.is_empty() {
        lint.at("versions", "a package runs at least one version of the middleware");
    }
    let mut seen = BTreeSet::new();
    for (place, version) in manifest.versions.iter().enumerate() {
        let field = format!("versions[{place}]");
        if !seen.insert(&version.version) {
            lint.at(&field, format!("version {} is there twice", version.version));
        }
        for (name, image) in version
            .images
            .iter()
            .map(|(name, image)| (name.as_str(), image))
            .chain(version.image.iter().map(|image| ("", image)))
        {
            let field = if name.is_empty() { format!("{field}.image") } else { format!("{field}.images.{name}") };
            if let Some(reason) = bad_image(image) {
                lint.at(&field, reason);
            }
        }
        for component in manifest.components.keys().filter(|name| image_of(version, name.as_str()).is_none()) {
            lint.at(&field, format!("version {} has no image for component {component}", version.version));
        }
    }
}

/// The image a component runs in a version.
pub fn image_of<'a>(version: &'a Version, component: &str) -> Option<&'a String> {
    version.images.get(component).or(version.image.as_ref())
}

fn bad_image(image: &str) -> Option<String> {
    let name = image.rsplit('/').next().unwrap_or(image);
    if image.is_empty() || image.contains(char::is_whitespace) || image.contains("{{") || image.contains("://") {
        return Some(format!("\"{}\" is no image; write it like docker.io/library/name:1.2", image.escape_default()));
    }
    match name.split_once('@') {
        Some((_, digest)) if digest.starts_with("sha256:") && digest.len() == 71 => None,
        Some((_, digest)) => Some(format!("\"{digest}\" is no digest; it is sha256: and 64 hexadecimal digits")),
        None => match name.split_once(':') {
            None => Some(format!("image \"{image}\" has neither tag nor digest: which version is it?")),
            Some((_, "latest")) => Some(format!("image \"{image}\": \"latest\" means something else every day")),
            Some(_) => None,
        },
    }
}

fn topologies(lint: &mut Lint<'_>) {
    let manifest = &lint.package.manifest;
    let defaults = manifest.topologies.values().filter(|topology| topology.default).count();
    if defaults > 1 {
        lint.at("topologies", "more than one topology has default: true");
    } else if defaults == 0 && manifest.topologies.len() > 1 {
        lint.at("topologies", "one of several topologies needs default: true");
    }
    for (name, topology) in &manifest.topologies {
        let field = format!("topologies.{name}");
        if topology.components.is_empty() {
            lint.at(&field, "a topology has at least one component");
        }
        for (component, pods) in &topology.components {
            let field = format!("{field}.components.{component}");
            if !manifest.components.contains_key(component) {
                let known = manifest.components.keys().map(ComponentName::as_str);
                lint.at(&field, unknown("component", component.as_str(), known));
            }
            if let Some(count) = &pods.replicas {
                check_count(lint, &format!("{field}.replicas"), count);
            }
            if let Some(groups) = &pods.groups {
                check_count(lint, &format!("{field}.groups.count"), &groups.count);
                if groups.prefix.len() > 16 || GroupName::parse(&groups.prefix).is_err() {
                    let reason = format!(
                        "\"{}\" cannot start a group's name; use at most 16 lower-case letters, digits and '-'",
                        groups.prefix.escape_default()
                    );
                    lint.at(&format!("{field}.groups.prefix"), reason);
                }
            }
        }
        for other in &topology.change_to {
            if other == name {
                lint.at(&format!("{field}.changeTo"), format!("{name} to itself is no change"));
            }
            if !manifest.topologies.contains_key(other) {
                let known = manifest.topologies.keys().map(AsRef::as_ref);
                lint.at(&format!("{field}.changeTo"), unknown("topology", other.as_str(), known));
            }
        }
    }
}

fn check_count(lint: &mut Lint<'_>, field: &str, count: &Count) {
    let (min, max) = (count.min.unwrap_or(0), count.max.unwrap_or(1000));
    if !(min..=max).contains(&count.default) {
        lint.at(field, format!("the default {} is not from {min} to {max}", count.default));
    } else if count.odd && count.default.is_multiple_of(2) {
        lint.at(field, format!("the default {} is not odd", count.default));
    }
}

/// Components that wait for each other would never start.
fn order(lint: &mut Lint<'_>) {
    let manifest = &lint.package.manifest;
    let edges = manifest.components.iter().map(|(name, component)| {
        let others = component.after.iter().filter(|after| *after != name).map(ComponentName::as_str);
        (name.as_str(), others.collect())
    });
    if let Some(circle) = super::upgrades::circle(&edges.collect()) {
        let field = format!("components.{}.after", circle[0]);
        lint.at(&field, format!("components wait for each other in a circle: {}", circle.join(" after ")));
    }
}

fn secrets(lint: &mut Lint<'_>) {
    for (name, secret) in &lint.package.manifest.secrets {
        let field = format!("secrets.{name}");
        if VolumeName::parse(name).is_err() {
            lint.at(&field, "a secret's name has at most 20 lower-case letters, digits and '-'");
        }
        if matches!(name.as_str(), "username" | "password") {
            lint.at(&field, format!("{name} is the administrator's: see `credentials`"));
        }
        if secret.length.is_some_and(|length| !(8..=1024).contains(&length)) {
            lint.at(&field, "a secret has 8 to 1024 characters");
        }
    }
}

fn connection(lint: &mut Lint<'_>) {
    let manifest = &lint.package.manifest;
    let Some(connection) = &manifest.connection else { return };
    let Some(name) = lint.package.main_component() else { return };
    let Some(component) = manifest.components.get(name) else {
        let known = manifest.components.keys().map(ComponentName::as_str);
        lint.at("connection.component", unknown("component", name.as_str(), known));
        return;
    };
    if let Some(port) = &connection.port
        && !component.ports.contains_key(port)
    {
        lint.at("connection.port", unknown("port", port, component.ports.keys().map(String::as_str)));
    }
    if let (Some(service), Some(services)) = (&connection.service, &component.services)
        && !services.contains_key(service)
    {
        lint.at("connection.service", unknown("service", service, services.keys().map(String::as_str)));
    }
}

fn monitoring(lint: &mut Lint<'_>) {
    let manifest = &lint.package.manifest;
    let Some(monitoring) = &manifest.monitoring else { return };
    let components = || manifest.components.keys().map(ComponentName::as_str);
    if let Some(metrics) = &monitoring.metrics {
        let known: BTreeSet<&str> = manifest
            .components
            .iter()
            .filter(|(name, _)| metrics.component.as_ref().is_none_or(|wanted| wanted == *name))
            .flat_map(|(_, component)| component.ports.keys().map(String::as_str))
            .collect();
        if !known.contains(metrics.port.as_str()) {
            lint.at("monitoring.metrics.port", unknown("port", &metrics.port, known));
        }
    }
    let named = [
        monitoring.metrics.as_ref().and_then(|metrics| metrics.component.as_ref()),
        monitoring.exporter.as_ref().and_then(|exporter| exporter.component.as_ref()),
    ];
    for name in named.into_iter().flatten().filter(|name| !manifest.components.contains_key(*name)) {
        lint.at("monitoring", unknown("component", name.as_str(), components()));
    }
    if let Some(path) = &monitoring.dashboard {
        lint.needs_file("monitoring.dashboard", path);
        if let Ok(text) = lint.package.files.text(path)
            && let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(text)
        {
            let problem = super::Problem::new(path, error.line(), error.column(), "is no JSON");
            lint.problems.push(problem);
        }
    }
}

fn environments(lint: &mut Lint<'_>) {
    let manifest = &lint.package.manifest;
    for (environment, defaults) in &manifest.environments {
        let field = format!("environments.{environment}");
        if let Some(topology) = &defaults.topology
            && !manifest.topologies.contains_key(topology)
        {
            let known = manifest.topologies.keys().map(AsRef::as_ref);
            lint.at(&field, unknown("topology", topology.as_str(), known));
        }
        for (name, component) in &defaults.components {
            let field = format!("{field}.components.{name}");
            if name == "*" {
                continue;
            }
            let Some(declared) = manifest.components.get(name.as_str()) else {
                lint.at(&field, unknown("component", name, manifest.components.keys().map(ComponentName::as_str)));
                continue;
            };
            for volume in component.storage.iter().flat_map(BTreeMap::keys) {
                if !declared.volumes.contains_key(volume.as_str()) {
                    let known = declared.volumes.keys().map(VolumeName::as_str);
                    lint.at(&format!("{field}.storage.{volume}"), unknown("volume", volume, known));
                }
            }
            for (parameter, value) in component.parameters.iter().flatten() {
                let version = manifest.versions.last().map_or("", |version| version.version.as_str());
                if let Err(refused) = lint.package.parameters(name).check(parameter, value, version) {
                    lint.at(&format!("{field}.parameters.{parameter}"), refused.reason());
                }
            }
        }
    }
}

/// Files that nothing can use are mistakes of spelling more often than not.
fn files(lint: &mut Lint<'_>) {
    const FOLDERS: [&str; 7] = ["config", "templates", "params", "scripts", "monitoring", "tests", "docs"];
    for path in lint.package.files.paths() {
        let known = match path.split_once('/') {
            Some((folder, _)) => FOLDERS.contains(&folder),
            None => {
                path == crate::extension::files::MANIFEST
                    || ["README.md", "LICENSE", "CHANGELOG.md", "NOTICE"].contains(&path)
            }
        };
        if !known {
            let reason = format!(
                "belongs to no folder of a package; there are {}",
                crate::extension::problem::listed(FOLDERS.iter().copied())
            );
            lint.problems.push(super::Problem::in_file(path, reason));
        }
    }
    let all = &lint.package.files;
    let size: usize = all.below("scripts").filter_map(|path| all.get(path)).map(<[u8]>::len).sum();
    if size > MOST_SCRIPTS {
        let reason = format!("have {size} bytes together; they lie in one ConfigMap, which keeps {MOST_SCRIPTS}");
        lint.problems.push(super::Problem::in_file("scripts", reason));
    }
}
