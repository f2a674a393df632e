//! Actions, probes and operations: each step does exactly one thing, with things that exist.

use std::collections::{BTreeMap, BTreeSet};

use super::templates::RUNNING;
use super::{Lint, words};
use crate::extension::contract::component::Component;
use crate::extension::contract::step::Step;
use crate::extension::contract::{Action, Actions, Change};
use crate::extension::growth::ALWAYS;
use crate::extension::problem::{listed, unknown};
use crate::names::ComponentName;

/// Actions that each pod does for itself, whoever has it do so: nobody chooses among pods there.
const OWN: [&str; 14] = [
    "prepare",
    "started",
    "beforeStop",
    "reload",
    "promote",
    "demote",
    "follow",
    "switchover",
    "healthCheck",
    "restartOrder",
    "freeze",
    "unfreeze",
    "rotateCredentials",
    "rotateCertificates",
];
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

pub fn check(lint: &mut Lint<'_>) {
    let manifest = &lint.package.manifest;
    for (name, component) in &manifest.components {
        let field = format!("components.{name}");
        for (moment, action) in component.actions.declared() {
            let field = format!("{field}.actions.{moment}");
            let known = check_on(lint, &field, action.on.as_deref(), component);
            if known && OWN.contains(&moment) && !matches!(action.on.as_deref(), None | Some("pod")) {
                let reason = format!(
                    "{moment} is done by each pod it concerns for itself, so nobody reads this; leave it out, and give steps \
                     a `when` where not all pods are to do them"
                );
                lint.at(&format!("{field}.on"), reason);
            }
            if action.steps.is_empty() {
                lint.at(&field, "an action has at least one step");
            }
            steps(lint, &format!("{field}.steps"), &action.steps, component);
        }
        circles(lint, &field, component);
        reloads(lint, &field, component);
        let probes = component.probes.iter().flat_map(|probes| {
            [("ready", probes.ready.as_ref()), ("live", probes.live.as_ref())]
                .into_iter()
                .filter_map(|(kind, probe)| probe.map(|probe| (kind, probe)))
        });
        for (kind, probe) in probes {
            steps(lint, &format!("{field}.probes.{kind}.steps"), &probe.steps, component);
        }
        if let Some(role) = &component.role {
            steps(lint, &format!("{field}.role.steps"), &role.steps, component);
        }
        promotion(lint, &field, name, component);
    }
    let main = lint.package.main_component().and_then(|name| manifest.components.get(name));
    for (name, operation) in &manifest.operations {
        let field = format!("operations.{name}");
        if name.len() > 63 || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
            lint.at(&field, "an operation's name has at most 63 letters, digits, '-' and '_'");
        }
        let component = match &operation.component {
            None => main,
            Some(wanted) => {
                let found = manifest.components.get(wanted);
                if found.is_none() {
                    let known = manifest.components.keys().map(ComponentName::as_str);
                    lint.at(&field, unknown("component", wanted.as_str(), known));
                }
                found
            }
        };
        let Some(component) = component else { continue };
        check_on(lint, &field, operation.on.as_deref(), component);
        if operation.steps.is_empty() {
            lint.at(&field, "an operation has at least one step");
        }
        steps(lint, &format!("{field}.steps"), &operation.steps, component);
        let rules =
            crate::extension::parameters::ParameterSet::new(&operation.parameters, None).err().unwrap_or_default();
        for (parameter, reason) in rules {
            lint.at(&format!("{field}.parameters.{parameter}"), format!("parameter {parameter}: {reason}"));
        }
    }
    for (name, method) in manifest.backup.iter().flat_map(|backup| &backup.methods) {
        let component = method.component.as_ref().map_or(main, |wanted| manifest.components.get(wanted));
        let Some(component) = component else { continue };
        let field = format!("backup.methods.{name}");
        steps(lint, &format!("{field}.before"), &method.before, component);
        steps(lint, &format!("{field}.after"), &method.after, component);
        steps(lint, &format!("{field}.check"), &method.check, component);
        steps(lint, &format!("{field}.restore.before"), &method.restore.before, component);
        steps(lint, &format!("{field}.restore.after"), &method.restore.after, component);
    }
}

/// Who hands out an exclusive role has to be able to.
fn promotion(lint: &mut Lint<'_>, field: &str, name: &ComponentName, component: &Component) {
    let Some(role) = component.roles.iter().find(|role| role.exclusive) else { return };
    let by_midship = lint.package.manifest.topologies.values().any(|topology| {
        topology.failover_by_midship()
            && topology
                .components
                .get(name)
                .is_some_and(|pods| pods.replicas.as_ref().is_some_and(|count| count.max.unwrap_or(1000) > 1))
    });
    if by_midship && component.actions.promote.is_none() {
        let reason =
            format!("role {} is exclusive and handed out by Midship, so there has to be an action promote", role.name);
        lint.at(&format!("{field}.actions"), reason);
    }
}

/// Whether there is such a choice of pods.
fn check_on(lint: &mut Lint<'_>, field: &str, on: Option<&str>, component: &Component) -> bool {
    const WORDS: [&str; 3] = ["pod", "any", "all"];
    let roles: Vec<&str> = component.roles.iter().map(|role| role.name.as_str()).collect();
    if let Some(on) = on
        && !WORDS.contains(&on)
        && !roles.contains(&on)
    {
        lint.at(&format!("{field}.on"), format!("\"{}\" is neither pod, any, all nor a role", on.escape_default()));
        return false;
    }
    true
}

fn steps(lint: &mut Lint<'_>, field: &str, steps: &[Step], component: &Component) {
    for (place, step) in steps.iter().enumerate() {
        let field = format!("{field}[{place}]");
        match step.uses().as_slice() {
            [_] => {}
            [] => lint.at(
                &field,
                "a step uses one of exec, http, tcp, signal, process, file, resp, postgres, set, fail and run",
            ),
            several => {
                let names = listed(several.iter().copied());
                lint.at(&field, format!("a step does one thing; this one has {names}"));
            }
        }
        if let Some(signal) = &step.signal
            && !words::is_signal(signal)
        {
            lint.at(&field, format!("there is no signal \"{}\"; write it like SIGHUP", signal.escape_default()));
        }
        if let Some(other) = &step.run
            && !component.actions.declared().iter().any(|(name, _)| name == other)
        {
            let known: Vec<&str> = component.actions.declared().iter().map(|(name, _)| *name).collect();
            lint.at(&field, unknown("action", other, known));
        }
        if let Some(exec) = &step.exec {
            match (&exec.script, exec.command.is_empty()) {
                (None, true) => lint.at(&field, "exec needs a command or a script"),
                (Some(_), false) => lint.at(&field, "exec has either a command or a script"),
                (Some(script), true) => lint.needs_file(&field, &format!("scripts/{script}")),
                (None, false) => {}
            }
        }
        let tcp = step.tcp.as_ref().map(|tcp| tcp.port.as_str());
        let http = step.http.as_ref().and_then(|http| http.port.as_deref());
        let resp = step.resp.as_ref().and_then(|resp| resp.port.as_deref());
        let postgres = step.postgres.as_ref().and_then(|postgres| postgres.port.as_deref());
        for port in [tcp, http, resp, postgres].into_iter().flatten() {
            let known_or_computed = component.ports.contains_key(port)
                || port.contains("{{")
                || port.parse::<u16>().is_ok_and(|number| number > 0);
            // a step may talk to another component of the instance
            let elsewhere = lint.package.manifest.components.values().any(|other| other.ports.contains_key(port));
            if !known_or_computed && !elsewhere {
                lint.at(&field, unknown("port", port, component.ports.keys().map(String::as_str)));
            }
        }
        if let Some(http) = &step.http {
            if !http.path.starts_with('/') && !http.path.contains("{{") && !http.path.contains("{%") {
                lint.at(&field, format!("path \"{}\" does not start with /", http.path.escape_default()));
            }
            if let Some(method) = http.method.as_deref().filter(|method| !METHODS.contains(method)) {
                let method = method.escape_default();
                lint.at(&field, format!("\"{method}\" is not one of {}", listed(METHODS)));
            }
        }
        encryption(lint, &field, step);
        for name in step.save.iter().chain(step.set.iter().flat_map(BTreeMap::keys)) {
            if !words::is_variable(name) {
                let name = name.escape_default();
                lint.at(&field, format!("\"{name}\" cannot be a variable; use letters, digits and '_'"));
            } else if ALWAYS.contains(&name.as_str()) || RUNNING.contains(&name.as_str()) {
                lint.at(&field, format!("\"{name}\" is there already; save under another name"));
            }
        }
        if step.until.is_some() && step.set.is_some() {
            lint.at(&field, "`set` asks nobody, so there is nothing to wait for");
        }
        if step.file.as_ref().is_some_and(|file| file.remove && file.content.is_some()) {
            lint.at(&field, "a file is either written or removed");
        }
        if let Some(file) = &step.file
            && !file.path.contains("{{")
            && !file.path.contains("{%")
            && let Some(reason) = super::places::out_of_reach(&file.path, component)
        {
            lint.at(&field, reason);
        }
    }
}

/// What a step says of TLS holds, and no password leaves the pod for want of it.
fn encryption(lint: &mut Lint<'_>, field: &str, step: &Step) {
    let http = step.http.as_ref().map(|http| ("http", http.tls));
    let tcp = step.tcp.as_ref().map(|tcp| ("tcp", tcp.tls));
    for (driver, tls) in http.into_iter().chain(tcp) {
        if tls == Some(true) && lint.package.manifest.tls.is_none() {
            lint.at(&format!("{field}.{driver}.tls"), "the package declares no `tls`, so nothing here speaks it");
        }
    }
    if let Some(http) = &step.http
        && (http.tls, http.login, http.host.is_some()) == (Some(false), true, true)
    {
        let reason =
            "sends the administrator's password to another host in the clear; leave out login, host or tls: false";
        lint.at(&format!("{field}.http"), reason);
    }
}

/// A new value that nobody tells the process of would never be in force.
fn reloads(lint: &mut Lint<'_>, field: &str, component: &Component) {
    let by_reload = component.parameters.iter().filter(|(_, parameter)| parameter.change() == Change::Reload);
    for (name, _) in by_reload.filter(|_| !component.reloads()) {
        let reason =
            "needs a reload, but nothing says how: give the component an action `reload`, or process.reloadSignal";
        lint.at(&format!("{field}.parameters.{name}"), format!("parameter {name}: {reason}"));
    }
}

/// Actions that run each other for ever.
fn circles(lint: &mut Lint<'_>, field: &str, component: &Component) {
    fn reaches<'a>(actions: &'a Actions, from: &'a str, to: &str, seen: &mut BTreeSet<&'a str>) -> bool {
        let find = |name: &str| actions.declared().into_iter().find(|(known, _)| *known == name).map(|(_, a)| a);
        let runs = |action: &'a Action| action.steps.iter().filter_map(|step| step.run.as_deref());
        seen.insert(from)
            && find(from).is_some_and(|action| runs(action).any(|next| next == to || reaches(actions, next, to, seen)))
    }
    for (name, _) in component.actions.declared() {
        if reaches(&component.actions, name, name, &mut BTreeSet::new()) {
            lint.at(&format!("{field}.actions.{name}"), format!("action {name} runs itself"));
        }
    }
}
