//! The shape of a component: its files, ports, volumes, roles and Services, and what they name.

use std::collections::{BTreeMap, BTreeSet};

use super::{Lint, words};
use crate::extension::contract::Change;
use crate::extension::contract::component::{Component, ConfigFile, Volume, VolumeKind};
use crate::extension::problem::unknown;
use crate::extension::quantity;
use crate::names::{ComponentName, GroupName, VolumeName};

/// The largest number of a user or a group that Kubernetes takes.
const LARGEST_USER: u32 = 2_147_483_647;

pub fn check(lint: &mut Lint<'_>, name: &ComponentName, component: &Component) {
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
