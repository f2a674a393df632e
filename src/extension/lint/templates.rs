//! Templates and expressions: each compiles, and reads only variables that will be there.

use std::collections::{BTreeMap, BTreeSet};

use super::{Lint, Problem};
use crate::extension::contract::Parameter;
use crate::extension::contract::component::Component;
use crate::extension::contract::step::Step;
use crate::extension::files::is_template;
use crate::extension::growth::ALWAYS;
use crate::extension::problem::{closest, listed, unknown};
use crate::extension::template::FIELD;
use crate::names::ParameterName;

/// What steps can read besides, while they run in a pod.
pub const RUNNING: &[&str] = &[
    "reply",
    "item",
    "request",
    "changed",
    "primary",
    "target",
    "members",
    "role",
    "is_primary",
    "old",
    "anew",
    "created",
    "thresholds",
];

/// What the steps and commands of a backup read of the order: `job.log`, `job.keep`, `job.parent`.
const BACKUP: &str = "job";
/// What those of a restore read of it: `restore.target`, `restore.logs`, `restore.backup`, `restore.version`, `restore.facts`,
/// `restore.backups`, `restore.index`.
const RESTORE: &str = "restore";

pub fn check(lint: &mut Lint<'_>) {
    files(lint);
    let manifest = &lint.package.manifest;
    for (name, component) in &manifest.components {
        let mut reader = Reader { lint: &mut *lint, component: Some(component), request: None };
        reader.component(&format!("components.{name}"), component);
    }
    let main = lint.package.main_component().and_then(|name| manifest.components.get(name));
    let mut reader = Reader { lint: &mut *lint, component: main, request: None };
    if let Some(connection) = &manifest.connection {
        let more = &["host", "port", "database"];
        for (field, text) in [("uri", &connection.uri), ("database", &connection.database)] {
            if let Some(text) = text {
                reader.text(&format!("connection.{field}"), text, more);
            }
        }
        for (name, text) in &connection.extra {
            reader.text(&format!("connection.extra.{name}"), text, more);
        }
    }
    for (name, operation) in &manifest.operations {
        reader.component = operation.component.as_ref().map_or(main, |name| manifest.components.get(name));
        let field = format!("operations.{name}");
        reader.request = Some(&operation.parameters);
        let known = reader.steps(&format!("{field}.steps"), &operation.steps, &[]);
        for (key, expression) in &operation.result {
            reader.expression(&format!("{field}.result.{key}"), expression, &refs(&known));
        }
    }
    reader.request = None;
    for (name, method) in manifest.backup.iter().flat_map(|backup| &backup.methods) {
        reader.component = method.component.as_ref().map_or(main, |name| manifest.components.get(name));
        let field = format!("backup.methods.{name}");
        reader.maybe(
            &format!("{field}.incremental.when"),
            method.incremental.as_ref().map(|needed| needed.when.as_str()),
        );
        let before = reader.steps(&format!("{field}.before"), &method.before, &[BACKUP]);
        let mut seen = refs(&before);
        seen.extend(RUNNING);
        seen.push(BACKUP);
        let mut put_back = RUNNING.to_vec();
        put_back.push(RESTORE);
        for (exec, known) in [(&method.stream.exec, &seen), (&method.restore.exec, &put_back)] {
            let Some(exec) = exec else { continue };
            for text in exec.command.iter().chain(&exec.args).chain(exec.env.values()).chain(&exec.stdin) {
                reader.text(&field, text, known);
            }
        }
        for (text, known) in [(&method.stream.file, &seen), (&method.restore.file, &put_back)] {
            if let Some(text) = text {
                reader.text(&field, text, known);
            }
        }
        let after = reader.steps(&format!("{field}.after"), &method.after, &[BACKUP]);
        for (fact, expression) in &method.facts {
            let field = format!("{field}.facts.{fact}");
            let saved: Vec<&str> = refs(&before).into_iter().chain(refs(&after)).collect();
            reader.expression(&field, expression, &saved);
            reader.no_secret(&field, expression, "a fact");
        }
        if let Some(set) = &method.set {
            let field = format!("{field}.set.same");
            let both: Vec<&str> = refs(&before).into_iter().filter(|name| refs(&after).contains(name)).collect();
            reader.expression(&field, &set.same, &both);
            reader.no_secret(&field, &set.same, "what tells parts of a set");
        }
        if let Some(span) = method.logs.as_ref().and_then(|logs| logs.span.as_ref()) {
            for (name, expression, saved) in
                [("system", &span.system, &before), ("first", &span.first, &before), ("last", &span.last, &after)]
            {
                reader.expression(&format!("{field}.logs.span.{name}"), expression, &refs(saved));
            }
        }
        if let Some(logs) = &method.logs {
            reader.steps(&format!("{field}.logs.cut"), &logs.cut, &[]);
        }
        reader.steps(&format!("{field}.check"), &method.check, &[RESTORE]);
        reader.steps(&format!("{field}.restore.before"), &method.restore.before, &[RESTORE]);
        reader.steps(&format!("{field}.restore.after"), &method.restore.after, &[RESTORE]);
    }
    if let Some(exporter) = manifest.monitoring.as_ref().and_then(|monitoring| monitoring.exporter.as_ref()) {
        reader.component = exporter.component.as_ref().map_or(main, |name| manifest.components.get(name));
        for (place, word) in exporter.command.iter().enumerate() {
            reader.text(&format!("monitoring.exporter.command[{place}]"), word, &[]);
        }
        for (name, text) in &exporter.env {
            reader.text(&format!("monitoring.exporter.env.{name}"), text, &[]);
        }
        reader.component = main;
    }
    for (name, alert) in manifest.monitoring.iter().flat_map(|monitoring| &monitoring.alerts) {
        for text in [&alert.expr, &alert.summary] {
            reader.text(&format!("monitoring.alerts.{name}"), text, &["selector", "thresholds"]);
        }
    }
    for (place, object) in manifest.objects.iter().enumerate() {
        let field = format!("objects[{place}]");
        reader.lint.needs_file(&field, &object.template);
        if let Some(when) = &object.when {
            reader.expression(&format!("{field}.when"), when, &[]);
        }
    }
}

fn refs(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

/// Template files read what is always there, and what their use adds.
fn files(lint: &mut Lint<'_>) {
    let manifest = &lint.package.manifest;
    let mut found = Vec::new();
    for path in lint.package.files.paths().filter(|path| is_template(path)) {
        let user = manifest.components.values().find(|component| {
            component.config.values().any(|config| config.template == path)
                || component.pod_template.as_deref() == Some(path)
        });
        let object = manifest.objects.iter().find(|object| object.template == path);
        let more: Vec<&str> = ["user_file", "host", "port"]
            .into_iter()
            .chain(object.iter().flat_map(|object| object.values.keys().map(String::as_str)))
            .collect();
        let used = user.is_some() || object.is_some();
        for read in lint.package.engine.file_reads(path) {
            if let Some(reason) = unreadable(lint, user, &read, &more, used) {
                let text = lint.package.files.text(path).unwrap_or_default();
                let name = read.rsplit('.').next().unwrap_or(&read);
                let line = text.lines().position(|line| line.contains(name)).map_or(1, |line| line + 1);
                found.push(Problem::new(path, line, 0, reason));
            }
        }
    }
    for path in lint.package.files.paths().filter(|path| is_template(path)) {
        let text = lint.package.files.text(path).unwrap_or_default();
        let compared = text.lines().enumerate().filter(|(_, line)| compares_secret(line));
        found.extend(compared.map(|(number, _)| {
            Problem::new(
                path,
                number + 1,
                0,
                "a secret cannot be compared: it is filled in in the pod, after rendering",
            )
        }));
    }
    lint.problems.extend(found);
}

/// Whether a tag of a line compares a secret.
fn compares_secret(line: &str) -> bool {
    let tags = line.split("{{").skip(1).chain(line.split("{%").skip(1));
    tags.filter_map(|tag| tag.split("}}").next()?.split("%}").next()).any(|tag| {
        (tag.contains("secret.") || tag.contains("secret[")) && ["==", "!="].iter().any(|sign| tag.contains(sign))
    })
}

struct Reader<'a, 'b> {
    lint: &'a mut Lint<'b>,
    component: Option<&'b Component>,
    /// Parameters of the operation whose steps are read.
    request: Option<&'b BTreeMap<ParameterName, Parameter>>,
}

impl Reader<'_, '_> {
    fn component(&mut self, field: &str, component: &Component) {
        for (place, word) in component.command.iter().enumerate() {
            self.text(&format!("{field}.command[{place}]"), word, &[]);
        }
        for (name, value) in &component.env {
            self.text(&format!("{field}.env.{name}"), value, &[]);
        }
        for (name, port) in &component.ports {
            self.maybe(&format!("{field}.ports.{name}.when"), port.when.as_deref());
        }
        for (name, config) in &component.config {
            self.maybe(&format!("{field}.config.{name}.when"), config.when.as_deref());
        }
        for (name, volume) in &component.volumes {
            self.maybe(&format!("{field}.volumes.{name}.when"), volume.when.as_deref());
        }
        for (name, service) in component.services.iter().flatten() {
            self.maybe(&format!("{field}.services.{name}.when"), service.when.as_deref());
        }
        for (name, parameter) in &component.parameters {
            let field = format!("{field}.parameters.{name}");
            self.maybe(&format!("{field}.when"), parameter.when.as_deref());
            if let Some(text) = parameter.default.as_ref().and_then(serde_json::Value::as_str) {
                self.text(&format!("{field}.default"), text, &[]);
            }
        }
        if let Some(text) = component.process.as_ref().and_then(|process| process.working_directory.as_ref()) {
            self.text(&format!("{field}.process"), text, &[]);
        }
        if let Some(pod) = &component.pod {
            let mut texts = Vec::new();
            strings(pod, &mut texts);
            for text in texts {
                self.text(&format!("{field}.pod"), text, &[]);
            }
        }
        for (name, action) in component.actions.declared() {
            let field = format!("{field}.actions.{name}");
            if let Some(when) = &action.when {
                self.expression(&format!("{field}.when"), when, RUNNING);
            }
            let mut known = self.steps(&format!("{field}.steps"), &action.steps, &[]);
            known.extend(RUNNING.iter().map(|name| (*name).to_owned()));
            for (key, expression) in &action.result {
                self.expression(&format!("{field}.result.{key}"), expression, &refs(&known));
            }
        }
        for (kind, probe) in component.probes.iter().flat_map(|probes| {
            [("ready", &probes.ready), ("live", &probes.live)].into_iter().filter_map(|(k, p)| Some((k, p.as_ref()?)))
        }) {
            // nobody orders a probe
            let ordered = ["request", "changed", "target", "old", "thresholds"];
            let known = RUNNING.iter().filter(|name| !ordered.contains(*name)).map(|name| (*name).to_owned()).collect();
            self.steps_knowing(&format!("{field}.probes.{kind}.steps"), &probe.steps, known);
        }
        if let Some(role) = &component.role {
            let mut known = self.steps(&format!("{field}.role.steps"), &role.steps, &[]);
            known.extend(RUNNING.iter().map(|name| (*name).to_owned()));
            let known = refs(&known);
            self.expression(&format!("{field}.role.role"), &role.role, &known);
            for (key, expression) in [("position", &role.position), ("lag", &role.lag), ("follows", &role.follows)] {
                if let Some(expression) = expression {
                    self.expression(&format!("{field}.role.{key}"), expression, &known);
                }
            }
        }
    }

    /// Checks steps in order; what earlier ones save, later ones can read. Returns what is saved in the end.
    fn steps(&mut self, field: &str, steps: &[Step], more: &[&str]) -> Vec<String> {
        let known = RUNNING.iter().chain(more).map(|name| (*name).to_owned()).collect();
        self.steps_knowing(field, steps, known)
    }

    fn steps_knowing(&mut self, field: &str, steps: &[Step], mut known: Vec<String>) -> Vec<String> {
        for (place, step) in steps.iter().enumerate() {
            let field = format!("{field}[{place}]");
            let seen: Vec<String> =
                known.iter().filter(|name| *name != "item" || step.for_each.is_some()).cloned().collect();
            let seen = refs(&seen);
            // whether a step is done, and for what, is asked before there is any item
            let before: Vec<&str> = seen.iter().copied().filter(|name| *name != "item").collect();
            for expression in [&step.when, &step.for_each].into_iter().flatten() {
                self.expression(&field, expression, &before);
            }
            for expression in [&step.expect, &step.until].into_iter().flatten() {
                self.expression(&field, expression, &seen);
            }
            if let Some(message) = &step.fail {
                self.text(&field, message, &seen);
            }
            // drivers hold nothing but templates, apart from the values of statements
            if let Ok(serde_json::Value::Object(mut drivers)) = serde_json::to_value(step) {
                for key in ["name", "when", "forEach", "expect", "until", "set", "fail", "save", "run"] {
                    drivers.remove(key);
                }
                if let Some(serde_json::Value::Object(postgres)) = drivers.get_mut("postgres") {
                    postgres.remove("values");
                }
                let drivers = serde_json::Value::Object(drivers);
                let mut texts = Vec::new();
                strings(&drivers, &mut texts);
                for text in texts {
                    self.text(&field, text, &seen);
                }
            }
            for expression in step.postgres.iter().flat_map(|postgres| &postgres.values) {
                self.expression(&field, expression, &seen);
            }
            for (name, expression) in step.set.iter().flatten() {
                self.expression(&field, expression, &seen);
                known.push(name.clone());
            }
            known.extend(step.save.clone());
        }
        known
    }

    fn maybe(&mut self, field: &str, expression: Option<&str>) {
        if let Some(expression) = expression {
            self.expression(field, expression, &[]);
        }
    }

    fn text(&mut self, field: &str, text: &str, more: &[&str]) {
        if text.contains("{{") || text.contains("{%") {
            let reads = self.lint.package.engine.text_reads(&format!("{FIELD}{field}"), text);
            self.report(field, reads, more);
        }
    }

    /// What is kept with a backup is not made from a secret.
    fn no_secret(&mut self, field: &str, expression: &str, what: &str) {
        let reads = self.lint.package.engine.expression_reads(field, expression);
        if reads.is_ok_and(|reads| reads.iter().any(|read| read.split('.').next() == Some("secret"))) {
            let why =
                format!("{what} is kept with the backup, where others may read it: it cannot be made from a secret");
            self.lint.at(field, why);
        }
    }

    fn expression(&mut self, field: &str, expression: &str, more: &[&str]) {
        let mut reads = self.lint.package.engine.expression_reads(&format!("{FIELD}{field}"), expression);
        if let Err(error) = &mut reads
            && expression.contains("{{")
        {
            error.reason.push_str("; this is an expression already: write it without {{ and }}");
        }
        self.report(field, reads, more);
    }

    fn report(
        &mut self,
        field: &str,
        reads: Result<Vec<String>, crate::extension::template::TemplateError>,
        more: &[&str],
    ) {
        match reads {
            Ok(reads) => {
                for read in reads {
                    if let (Some(known), Some(name)) = (self.request, read.strip_prefix("request.")) {
                        let name = name.split('.').next().unwrap_or(name);
                        if !known.keys().any(|known| known.as_str() == name) {
                            let names = known.keys().map(AsRef::as_ref);
                            self.lint.at(field, unknown("parameter of this operation", name, names));
                        }
                    }
                    if let Some(reason) = unreadable(self.lint, self.component, &read, more, true) {
                        self.lint.at(field, reason);
                    }
                }
            }
            Err(error) => self.lint.at(field, error.reason),
        }
    }
}

/// Why a variable will not be there.
fn unreadable(
    lint: &Lint<'_>,
    component: Option<&Component>,
    read: &str,
    more: &[&str],
    attributes: bool,
) -> Option<String> {
    let (root, rest) = read.split_once('.').map_or((read, None), |(root, rest)| (root, Some(rest)));
    if lint.package.engine.knows_function(root) || more.contains(&root) {
        return None;
    }
    if !ALWAYS.contains(&root) {
        let known = ALWAYS.iter().chain(more).copied();
        let hint = closest(root, known.clone())
            .map_or_else(|| format!("there is {}", listed(known)), |name| format!("did you mean \"{name}\"?"));
        return Some(format!("\"{root}\" is not defined; {hint}"));
    }
    let name = rest?.split('.').next()?;
    if !attributes {
        return None;
    }
    let manifest = &lint.package.manifest;
    let known: BTreeSet<&str> = match root {
        "params" => {
            let component = component?;
            if component.other_parameters.is_some() {
                return None;
            }
            component.parameters.keys().map(AsRef::as_ref).collect()
        }
        "ports" => component?.ports.keys().map(String::as_str).collect(),
        "storage" => component?.volumes.keys().map(AsRef::as_ref).collect(),
        "secret" => manifest
            .secrets
            .keys()
            .map(String::as_str)
            .chain(manifest.credentials.iter().flat_map(|_| ["username", "password"]))
            .collect(),
        "components" => manifest.components.keys().map(AsRef::as_ref).collect(),
        "values" => manifest.versions.iter().flat_map(|version| version.values.keys().map(String::as_str)).collect(),
        "tls" => ["enabled", "directory", "cert", "key", "ca", "client_certificates"].into(),
        "pod" => ["name", "ordinal", "ip", "host", "group", "node", "zone"].into(),
        "paths" => ["config", "secrets", "scripts", "tls", "run"].into(),
        _ => return None,
    };
    (!known.contains(name)).then(|| {
        let hint = closest(name, known.iter().copied()).map_or_else(
            || format!("{root} has {}", listed(known.iter().copied())),
            |name| format!("did you mean \"{root}.{name}\"?"),
        );
        format!("\"{root}.{name}\" is not defined; {hint}")
    })
}

/// All texts in a value.
fn strings<'a>(value: &'a serde_json::Value, found: &mut Vec<&'a str>) {
    match value {
        serde_json::Value::String(text) => found.push(text),
        serde_json::Value::Array(items) => items.iter().for_each(|item| strings(item, found)),
        serde_json::Value::Object(map) => map.values().for_each(|item| strings(item, found)),
        _ => {}
    }
}
