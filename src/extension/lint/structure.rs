//! The shape of a package: versions and images, topologies, components and what they name.

use std::collections::{BTreeMap, BTreeSet};

use super::{Lint, incremental, words};
use crate::extension::contract::component::{Component, ConfigFile, Volume, VolumeKind};
use crate::extension::contract::{Change, Count, Stream, Version};
use crate::extension::install;
use crate::extension::problem::unknown;
use crate::extension::quantity;
use crate::names::{ComponentName, GroupName, VolumeName};

/// What a ConfigMap keeps, in bytes.
const MOST_SCRIPTS: usize = 1024 * 1024;

/// The largest number of a user or a group that Kubernetes takes.
const LARGEST_USER: u32 = 2_147_483_647;
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
        check_component(lint, name, component);
    }
    order(lint);
    secrets(lint);
    connection(lint);
    backup(lint);
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

fn check_component(lint: &mut Lint<'_>, name: &ComponentName, component: &Component) {
    let field = format!("components.{name}");
    if name.as_str().starts_with("midship") {
        let reason =
            format!("a component called {name} would have the name of Midship's containers; call it otherwise");
        lint.at(&field, reason);
    }
    if component.command.is_empty() {
        lint.at(&format!("{field}.command"), "a component has a command");
    }
    ports(lint, &field, component);
    volumes(lint, &field, component);
    for (file, config) in &component.config {
        let field = format!("{field}.config.{file}");
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if file.is_empty() || file.len() > 100 || !file.bytes().all(plain) {
            lint.at(&field, "a file's name has letters, digits, '.', '_' and '-'");
        }
        lint.needs_file(&field, &config.template);
        match config.path.as_deref() {
            Some(path) if !is_absolute(path) => lint.at(&field, not_absolute(path)),
            Some(path) if config.once && !lies_on_volume(path, &component.volumes) => {
                lint.at(&field, format!("is written once, so {path} has to lie on a lasting volume"));
            }
            None if config.once => lint.at(&field, "is written once, so it needs a path on a lasting volume"),
            _ => {}
        }
        if let Some(reason) = config.on_change.and_then(|change| unfit(change, config, component)) {
            lint.at(&format!("{field}.onChange"), reason);
        }
        if config.mode.as_deref().is_some_and(|mode| !is_mode(mode)) {
            lint.at(&field, "a mode is four octal digits, such as 0600");
        }
    }
    if component.user.is_some_and(|user| user.uid == 0 || user.gid == 0) {
        lint.at(&format!("{field}.user"), "pods never run as root; give the user the image has for its program");
    }
    if let Some(number) = component.user.map(|user| user.uid.max(user.gid)).filter(|number| *number > LARGEST_USER) {
        lint.at(&format!("{field}.user"), format!("{number} is no user of a pod; the largest is {LARGEST_USER}"));
    }
    roles_and_services(lint, &field, component);
    for after in &component.after {
        if after == name || !lint.package.manifest.components.contains_key(after) {
            let known = lint.package.manifest.components.keys().filter(|other| *other != name);
            let reason = unknown("other component", after.as_str(), known.map(ComponentName::as_str));
            lint.at(&format!("{field}.after"), reason);
        }
    }
    for path in component.rules.iter().flat_map(|rules| [&rules.schema, &rules.cue]).flatten() {
        lint.needs_file(&format!("{field}.rules"), path);
    }
    if let Some(path) = component.rules.as_ref().and_then(|rules| rules.cue.as_deref()) {
        defines_parameters(lint, path);
    }
    if let Some(path) = &component.pod_template {
        lint.needs_file(&format!("{field}.podTemplate"), path);
    }
    for variable in component.env.keys().filter(|name| !words::is_variable(name)) {
        lint.at(&format!("{field}.env.{variable}"), "a variable's name has letters, digits and '_'");
    }
    if let Some(process) = &component.process {
        for signal in [&process.stop_signal, &process.reload_signal].into_iter().flatten() {
            if !words::is_signal(signal) {
                let reason = format!("there is no signal \"{}\"; write it like SIGTERM", signal.escape_default());
                lint.at(&format!("{field}.process"), reason);
            }
        }
    }
}

/// Rules that no value is held to would hold nobody back.
fn defines_parameters(lint: &mut Lint<'_>, path: &str) {
    let Some(bytes) = lint.package.files.get(path) else { return };
    let reason = match std::str::from_utf8(bytes) {
        Ok(text) if text.contains("#Parameters") => return,
        Ok(_) => "defines no #Parameters, which the parameters are checked against",
        Err(_) => "is no text",
    };
    lint.problems.push(super::Problem::new(path, 1, 1, reason));
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

/// Why a change of a file cannot need this.
fn unfit(change: Change, config: &ConfigFile, component: &Component) -> Option<String> {
    match change {
        Change::Recreate | Change::Immutable => Some("a file that changes needs none, reload or restart".to_owned()),
        _ if config.once => Some("a file that is written once never changes".to_owned()),
        Change::Reload if !component.reloads() => {
            let how = "give the component an action `reload`, or process.reloadSignal";
            Some(format!("needs a reload, but nothing says how: {how}"))
        }
        Change::None | Change::Reload | Change::Restart => None,
    }
}

fn ports(lint: &mut Lint<'_>, field: &str, component: &Component) {
    let mut numbers = BTreeMap::new();
    for (name, port) in &component.ports {
        let field = format!("{field}.ports.{name}");
        let named = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && name.len() <= 15
            && name.bytes().any(|b| b.is_ascii_lowercase())
            && !name.starts_with('-')
            && !name.ends_with('-');
        if !named {
            lint.at(&field, "a port's name has at most 15 lower-case letters, digits and '-'");
        }
        if name.starts_with("midship") {
            lint.at(&field, format!("a port called {name} is Midship's own; call it otherwise"));
        }
        if port.when.is_none()
            && let Some(other) = numbers.insert((port.port, port.protocol), name)
        {
            lint.at(&field, format!("port {} is also {other}", port.port));
        }
        if [crate::extension::context::AGENT_PORT, crate::extension::context::READY_PORT].contains(&port.port) {
            lint.at(&field, format!("port {} is the agent's", port.port));
        }
    }
}

fn volumes(lint: &mut Lint<'_>, field: &str, component: &Component) {
    let mut paths = BTreeSet::new();
    for (name, volume) in &component.volumes {
        let field = format!("{field}.volumes.{name}");
        if volume.path == "/" {
            lint.at(&field, "path \"/\" is the whole image; mount the volume at a folder, such as /data");
        } else if !is_absolute(&volume.path) {
            lint.at(&field, not_absolute(&volume.path));
        } else if let Some(reason) = super::places::taken(&volume.path) {
            lint.at(&field, reason);
        } else if !paths.insert(&volume.path) {
            lint.at(&field, format!("another volume is mounted at {} as well", volume.path));
        }
        if let Some(size) = &volume.size
            && quantity::bytes(&size.0).is_none_or(|bytes| bytes == 0)
        {
            lint.at(&field, format!("\"{}\" is no size; write it like 1Gi", size.0));
        }
        if volume.kind == Some(VolumeKind::Lasting) && volume.size.is_none() {
            lint.at(&field, "a lasting volume needs a size");
        }
    }
}

fn roles_and_services(lint: &mut Lint<'_>, field: &str, component: &Component) {
    let mut names = BTreeSet::new();
    for role in &component.roles {
        if !names.insert(role.name.as_str()) {
            lint.at(&format!("{field}.roles"), format!("role {} is there twice", role.name));
        }
    }
    match (&component.role, component.roles.is_empty()) {
        (None, false) => lint.at(&format!("{field}.roles"), "roles need `role`: how is a pod's role found?"),
        (Some(_), true) => lint.at(&format!("{field}.role"), "`role` finds roles, but `roles` declares none"),
        _ => {}
    }
    for (name, service) in component.services.iter().flatten() {
        let field = format!("{field}.services.{name}");
        if GroupName::parse(name).is_err() {
            lint.at(&field, "a Service's name has at most 20 lower-case letters, digits and '-'");
        }
        if let Some(role) = &service.role
            && !names.contains(role.as_str())
        {
            lint.at(&field, unknown("role", role.as_str(), names.iter().copied()));
        }
        for port in service.ports.iter().filter(|port| !component.ports.contains_key(*port)) {
            lint.at(&field, unknown("port", port, component.ports.keys().map(String::as_str)));
        }
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

fn backup(lint: &mut Lint<'_>) {
    let manifest = &lint.package.manifest;
    let Some(backup) = &manifest.backup else { return };
    if backup.methods.is_empty() {
        lint.at("backup.methods", "there is no method");
    }
    match &backup.default {
        Some(name) if !backup.methods.contains_key(name) => {
            lint.at("backup.default", unknown("method", name, backup.methods.keys().map(String::as_str)));
        }
        None if backup.methods.len() > 1 => lint.at("backup", "one of several methods has to be `default`"),
        _ => {}
    }
    for (name, method) in &backup.methods {
        let field = format!("backup.methods.{name}");
        let component = method.component.as_ref().or_else(|| lint.package.main_component());
        let Some(component) = component.and_then(|name| manifest.components.get(name)) else {
            let known = manifest.components.keys().map(ComponentName::as_str);
            let named = method.component.as_ref().map_or("", ComponentName::as_str);
            lint.at(&field, unknown("component", named, known));
            continue;
        };
        let sources = [method.stream.exec.is_some(), method.stream.volume.is_some(), method.stream.file.is_some()];
        if sources.iter().filter(|there| **there).count() != 1 {
            lint.at(&format!("{field}.stream"), "give exactly one of exec, volume and file");
        }
        if method.set.is_some() && !method.each_group {
            lint.at(&format!("{field}.set"), "parts of a set come from eachGroup: say that too, or leave it out");
        }
        if method.set.is_some() && method.logs.is_some() {
            lint.at(&format!("{field}.set"), "the log of one group leads to no moment of all: leave set or logs out");
        }
        if let Some(reason) = end_mark(&method.stream) {
            lint.at(&format!("{field}.stream"), reason);
        }
        if let Some(logs) = &method.logs
            && let Err(error) = regex::Regex::new(&logs.pattern)
        {
            lint.at(&format!("{field}.logs.pattern"), format!("it is no regular expression: {error}"));
        }
        let targets = [method.restore.exec.is_some(), method.restore.volume.is_some(), method.restore.file.is_some()];
        if targets.iter().filter(|there| **there).count() != 1 {
            lint.at(&format!("{field}.restore"), "give exactly one of exec, volume and file");
        }
        if let Some(reason) = incremental::refused(method) {
            lint.at(&format!("{field}.types"), reason);
        }
        let volumes = [method.stream.volume.as_ref().map(|volume| &volume.name), method.restore.volume.as_ref()];
        for volume in volumes.into_iter().flatten().filter(|volume| !component.volumes.contains_key(*volume)) {
            let known = component.volumes.keys().map(VolumeName::as_str);
            lint.at(&field, unknown("volume", volume.as_str(), known));
        }
        if let Some(role) = &method.prefer
            && !component.roles.iter().any(|known| known.name == *role)
        {
            let known = component.roles.iter().map(|role| role.name.as_str());
            lint.at(&field, unknown("role", role.as_str(), known));
        }
    }
}

/// A stream that ends is no proof that it is whole: what is wrong with the way it says so.
fn end_mark(stream: &Stream) -> Option<&'static str> {
    let marks = [stream.ends_with.is_some(), stream.end_text.is_some(), stream.format.is_some()];
    if stream.exec.is_none() && stream.file.is_none() && stream.volume.is_none() {
        return None;
    }
    match (marks.iter().filter(|there| **there).count(), stream.volume.is_some()) {
        (1.., true) => return Some("the files of a volume have an end mark of their own"),
        (0, false) => return Some("say how the end of a whole stream looks: one of endsWith, endText and format"),
        (2.., false) => return Some("give one of endsWith, endText and format"),
        _ => {}
    }
    let digits = stream.ends_with.as_deref()?.trim_end_matches("??");
    let fine = !digits.is_empty() && digits.len().is_multiple_of(2) && digits.bytes().all(|b| b.is_ascii_hexdigit());
    (!fine).then_some("endsWith has to be pairs of hexadecimal digits, and after them ?? for any byte")
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

fn is_absolute(path: &str) -> bool {
    path.starts_with('/') && !path.split('/').any(|part| part == ".." || part == ".") && path.len() > 1
}

fn not_absolute(path: &str) -> String {
    if path.starts_with('/') && path.len() > 1 {
        format!("path \"{path}\" has parts such as .. in it; write the path it leads to")
    } else {
        format!("path \"{path}\" does not start with /")
    }
}

fn lies_on_volume(path: &str, volumes: &BTreeMap<VolumeName, Volume>) -> bool {
    volumes
        .values()
        .filter(|volume| volume.kind() == VolumeKind::Lasting)
        .any(|volume| path.strip_prefix(&volume.path).is_some_and(|rest| rest.starts_with('/')))
}

fn is_mode(mode: &str) -> bool {
    mode.len() == 4 && mode.bytes().all(|byte| (b'0'..=b'7').contains(&byte))
}
