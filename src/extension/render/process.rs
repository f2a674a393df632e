//! What PID 1 is told: the command, its variables, how the process stops, and how it shows that it serves.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Place, Renderer, naming};
use crate::api::instance::ProcessRestart;
use crate::api::values::{Duration, KeyRef};
use crate::extension::context::paths;
use crate::extension::contract::step::{Exec, Step, Tcp};
use crate::extension::placeholders;
use crate::extension::problem::{Code, Refusal};
use crate::extension::quantity;
use crate::extension::resolved::ResolvedComponent;

/// Where the agent says that the middleware is ready, for probes PID 1 cannot ask itself.
const READY_FILE: &str = "/midship/run/ready";

/// How long a pod may wait for its turn and for its data before PID 1 asks again: a copy of a large database takes hours.
const PERMIT_TIMEOUT: &str = "24h";

impl Renderer<'_> {
    /// Plain variables go to PID 1, so that a change needs no new pod; the others to the container.
    pub(super) fn environment(&mut self, place: &Place<'_>) -> (BTreeMap<String, String>, BTreeMap<String, Value>) {
        let component = place.component.name.as_str();
        let mut plain = BTreeMap::new();
        let mut referenced = BTreeMap::new();
        let credentials = naming::credentials(self.resolved.name.as_str());
        for (name, source) in &place.declared.env {
            let field = format!("components.{component}.env.{name}");
            let text = self.text(&field, source, &place.context);
            if let Some(key) = placeholders::only_secret(&text) {
                referenced.insert(name.clone(), json!({ "secretKeyRef": { "name": credentials, "key": key } }));
            } else if placeholders::has_secret(&text) {
                let problem =
                    self.package.at(&field, "a variable is either one secret and nothing else, or has none in it");
                self.refusals.push(Refusal::new("", Code::Package, problem.to_string()));
            } else {
                plain.insert(name.clone(), text);
            }
        }
        for variable in &place.component.env {
            let key = |reference: &KeyRef| json!({ "name": reference.name, "key": reference.key });
            plain.remove(&variable.name);
            referenced.remove(&variable.name);
            if let Some(reference) = &variable.secret {
                referenced.insert(variable.name.clone(), json!({ "secretKeyRef": key(reference) }));
            } else if let Some(reference) = &variable.config_map {
                referenced.insert(variable.name.clone(), json!({ "configMapKeyRef": key(reference) }));
            } else {
                plain.insert(variable.name.clone(), variable.value.clone().unwrap_or_default());
            }
        }
        (plain, referenced)
    }

    pub(super) fn stop_timeout(place: &Place<'_>) -> Duration {
        let declared = place.declared.process.as_ref().and_then(|process| process.stop_timeout);
        place.component.process.stop_timeout.or(declared).unwrap_or(Duration::from_secs(30))
    }

    /// What PID 1 is told.
    pub(super) fn process(&mut self, place: &Place<'_>, env: &BTreeMap<String, String>) -> Value {
        let component = place.component.name.as_str();
        let command: Vec<String> = place
            .declared
            .command
            .iter()
            .enumerate()
            .map(|(index, word)| self.text(&format!("components.{component}.command[{index}]"), word, &place.context))
            .filter(|word| !word.is_empty())
            .collect();
        if command.is_empty() {
            let problem = self.package.at(&format!("components.{component}.command"), "the command renders to nothing");
            self.refusals.push(Refusal::new("", Code::Package, problem.to_string()));
        }
        if command.iter().any(|word| placeholders::has_secret(word)) {
            let field = format!("components.{component}.command");
            let problem = self.package.at(&field, "a secret in the command would be seen by everybody who lists processes; put it into a file or a variable");
            self.refusals.push(Refusal::new("", Code::Package, problem.to_string()));
        }
        let declared = place.declared.process.clone().unwrap_or_default();
        let options = &place.component.process;
        let restart = match options.restart.or(declared.restart).unwrap_or(ProcessRestart::Always) {
            ProcessRestart::Always => "Always",
            ProcessRestart::OnFailure => "OnFailure",
            ProcessRestart::Never => "Never",
        };
        let mut process = json!({
            "command": command,
            "env": env,
            "startTimeout": options.start_timeout.or(declared.start_timeout).unwrap_or(Duration::from_secs(60)),
            "stop": {
                "signal": short_signal(declared.stop_signal.as_deref().unwrap_or("TERM")),
                "timeout": Self::stop_timeout(place),
            },
            "restart": { "policy": restart },
            "readiness": Self::readiness(place),
        });
        if self.needs_permission(place) {
            // the agent prepares the start, and knows whether this pod may run at all
            process["preStart"] = json!([{
                "command": [format!("{}/midship-agent", paths::BIN), "permit"],
                "timeout": PERMIT_TIMEOUT,
            }]);
        }
        if let Some(directory) = &declared.working_directory {
            let field = format!("components.{component}.process.workingDirectory");
            process["workingDir"] = json!(self.text(&field, directory, &place.context));
        }
        if let Some(signal) = &declared.reload_signal {
            process["reload"] = json!({ "signal": short_signal(signal) });
        }
        if place.component.logs.files == Some(true) {
            let size = place.component.logs.max_size.as_ref().and_then(|size| quantity::bytes(&size.0));
            process["output"] = json!({ "files": [{
                "path": format!("{}/{component}.log", paths::LOGS),
                "maxBytes": size.unwrap_or(10 << 20),
                "keep": place.component.logs.keep.unwrap_or(3),
            }] });
        }
        process
    }

    /// Whether the process may start only when the agent says so.
    fn needs_permission(&self, place: &Place<'_>) -> bool {
        place.declared.actions.prepare.is_some() || self.failover(place) || self.is_restored_to(place)
    }

    /// Whether backups are restored to these pods: their process waits until that was done.
    fn is_restored_to(&self, place: &Place<'_>) -> bool {
        let main = self.package.main_component();
        let mut methods = self.package.manifest.backup.iter().flat_map(|backup| backup.methods.values());
        Self::data(place).is_some()
            && methods.any(|method| method.component.as_ref().or(main) == Some(&place.component.name))
    }

    /// How PID 1 finds out whether the process serves. What needs a protocol the agent asks, and leaves a file.
    fn readiness(place: &Place<'_>) -> Value {
        let probe = Self::ready_probe(place).unwrap_or_default();
        let options = &place.component.process;
        let interval = options.probe_interval.or(probe.every).unwrap_or(Duration::from_secs(2));
        let failures = options.failure_threshold.map_or(probe.failures.unwrap_or(3), |n| u32::try_from(n).unwrap_or(3));
        let itself = match probe.steps.as_slice() {
            [] => Some(json!("process")),
            [step] => by_itself(step, place.component),
            _ => None,
        };
        let check = itself.unwrap_or_else(|| {
            let rounds = u64::from(failures) + 1;
            let age = interval.0.as_millis().saturating_mul(u128::from(rounds)).max(5_000);
            let age = Duration(std::time::Duration::from_millis(u64::try_from(age).unwrap_or(60_000)));
            json!({ "file": { "path": READY_FILE, "maxAge": age } })
        });
        json!({
            "check": check,
            "interval": interval,
            "timeout": probe.timeout.unwrap_or(Duration::from_secs(2)),
            "failureThreshold": failures,
        })
    }
}

/// What PID 1 can do of a probe without the agent: a bare connection, or a command as it stands. Nothing of the step is lost.
fn by_itself(step: &Step, component: &ResolvedComponent) -> Option<Value> {
    let bare = |tcp: &Tcp| Step { tcp: Some(Tcp { port: tcp.port.clone(), ..Tcp::default() }), ..Step::default() };
    if let Some(tcp) = &step.tcp {
        let port = component.ports.get(&tcp.port).filter(|port| !port.udp && *step == bare(tcp))?;
        return Some(json!({ "tcp": { "port": port.port } }));
    }
    let command = &step.exec.as_ref()?.command;
    let exec = Exec { command: command.clone(), ..Exec::default() };
    let plain = !command.is_empty() && !command.iter().any(|word| is_rendered(word));
    (plain && *step == Step { exec: Some(exec), ..Step::default() }).then(|| json!({ "exec": { "command": command } }))
}

/// Whether a text of the manifest is more than itself.
fn is_rendered(text: &str) -> bool {
    ["{{", "{%", "{#"].into_iter().any(|begin| text.contains(begin))
}

fn short_signal(name: &str) -> &str {
    name.strip_prefix("SIG").unwrap_or(name)
}
