//! Parameters of each group: the package's defaults, then environment, repository, instance, group.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::parameters::Refused;
use super::super::problem::Code;
use super::super::resolved::Resolved;
use super::super::template::{self, TemplateError};
use super::super::{context, placeholders};
use super::{MOST_PODS, Resolver};

/// More than this is not said of parameters: what is wrong in an instance is wrong in each of its groups.
const MOST_REFUSALS: usize = 1000;

/// Where each parameter is set.
type Said = BTreeMap<String, String>;

impl Resolver<'_> {
    pub(super) fn parameters(&mut self, resolved: &mut Resolved) {
        let known = self.refusals.len();
        for place in 0..resolved.components.len() {
            for group in 0..resolved.components[place].groups.len() {
                let (values, said) = self.said(resolved, place, group);
                let all = self.with_defaults(resolved, place, group, values);
                self.say_once(known);
                resolved.components[place].groups[group].parameters = all;
                resolved.components[place].groups[group].said = said;
            }
        }
        if self.refusals.is_empty() {
            self.rules(resolved);
        }
        self.refusals.sort();
        self.refusals.dedup();
    }

    /// What is wrong with values by themselves, where other things are wrong too: people hear of all of it at once.
    pub(super) fn what_is_said(&mut self, resolved: &Resolved) {
        let known = self.refusals.len();
        let components = resolved.components.iter().enumerate();
        let groups =
            components.flat_map(|(place, component)| (0..component.groups.len()).map(move |group| (place, group)));
        for (place, group) in groups.take(MOST_PODS) {
            self.said(resolved, place, group);
            self.say_once(known);
        }
    }

    /// Of what was refused besides what was known, each once and in order.
    fn say_once(&mut self, known: usize) {
        if self.refusals.len() > known {
            let mut found = self.refusals.split_off(known);
            found.sort();
            found.dedup();
            self.refusals.append(&mut found);
        }
    }

    /// What anybody says, checked, and where; a stronger null takes a value back.
    fn said(&mut self, resolved: &Resolved, place: usize, group: usize) -> (BTreeMap<String, Value>, Said) {
        let component = &resolved.components[place];
        let group = &component.groups[group];
        let name = component.name.as_str();
        let asked = self.asked.spec.components.iter().find(|asked| asked.name == component.name);
        let own = asked.and_then(|asked| asked.groups.iter().find(|other| other.name == group.name));
        let field = format!("spec.components[{name}]");
        let mut layers: Vec<(String, BTreeMap<String, Value>)> = Vec::new();
        let environment = self.environment.as_ref().map_or("none", |name| name.as_str());
        for defaults in self.layers.iter().flat_map(|layer| layer.of(name)) {
            if let Some(parameters) = &defaults.parameters {
                layers.push((format!("defaults of environment {environment}, component {name}"), parameters.clone()));
            }
        }
        if let Some(parameters) = asked.and_then(|asked| asked.parameters.clone()) {
            layers.push((field.clone(), parameters));
        }
        if let Some(parameters) = own.and_then(|own| own.parameters.clone()) {
            layers.push((format!("{field}.groups[{}]", group.name), parameters));
        }
        let set = self.package.parameters(name);
        let version = self.asked.spec.version.as_str();
        let (mut values, mut said) = (BTreeMap::new(), Said::new());
        for (from, parameters) in layers {
            for (parameter, value) in parameters {
                if self.refusals.len() >= MOST_REFUSALS {
                    return (values, said);
                }
                let field = format!("{from}.parameters.{parameter}");
                if value.is_null() {
                    values.remove(&parameter);
                    said.remove(&parameter);
                    continue;
                }
                if set.get(&parameter).is_some_and(|declared| declared.secret) {
                    let reason = format!("parameter {parameter} is secret: give it in secretParameters, from a Secret");
                    self.refuse(field, Code::Invalid, reason);
                    continue;
                }
                if let Some(placeholder) = placeholders::within(&value) {
                    self.refuse(field, Code::Invalid, placeholders::refused(&placeholder));
                    continue;
                }
                match set.check(&parameter, &value, version) {
                    Ok(value) => {
                        if let Some(why) = set.get(&parameter).and_then(|declared| declared.deprecated.as_deref()) {
                            self.warnings.push(format!("parameter {parameter} should no longer be set: {why}"));
                        }
                        said.insert(parameter.clone(), field);
                        values.insert(parameter, value);
                    }
                    Err(Refused::Unknown(reason)) => self.refuse(field, Code::Unknown, reason),
                    Err(Refused::Invalid(reason)) => self.refuse(field, Code::Invalid, reason),
                }
            }
        }
        self.warnings.dedup();
        (values, said)
    }

    /// Adds the package's defaults, which may depend on sizes, versions and topology.
    fn with_defaults(
        &mut self,
        resolved: &Resolved,
        place: usize,
        group: usize,
        mut values: BTreeMap<String, Value>,
    ) -> BTreeMap<String, Value> {
        let component = &resolved.components[place];
        let name = component.name.as_str();
        let set = self.package.parameters(name);
        let version = self.asked.spec.version.as_str();
        let data = context::group(self.package, resolved, component, &component.groups[group]);
        let known = template::context(&data);
        let mut failed = Vec::new();
        for (parameter, declared) in set.iter() {
            if self.budget.is_spent() {
                failed.push(TemplateError::spent(&self.budget));
                break;
            }
            let field = format!("{}components.{name}.parameters.{parameter}.default", template::FIELD);
            let applies = declared
                .versions
                .as_deref()
                .is_none_or(|requirement| super::super::versions::fulfils(version, requirement) == Ok(true));
            let applies = applies
                && self.package.engine.holds(&field, declared.when.as_deref(), &known).unwrap_or_else(|error| {
                    failed.push(error);
                    false
                });
            if let Some(reference) = component.secret_parameters.get(parameter) {
                let key = context::parameter_secret(name, parameter.as_str());
                let _ = reference;
                values.insert(parameter.to_string(), Value::String(super::super::placeholders::secret(&key)));
                continue;
            }
            if !applies {
                if values.contains_key(parameter.as_str()) {
                    let reason = format!(
                        "parameter {parameter} cannot be set here: {}",
                        declared.when.as_deref().unwrap_or("another version is needed")
                    );
                    let field = format!("spec.components[{name}].parameters.{parameter}");
                    self.refusals.push(super::Refusal::new(field, Code::Invalid, reason));
                }
                continue;
            }
            if values.contains_key(parameter.as_str()) {
                continue;
            }
            let default = match &declared.default {
                None => continue,
                Some(Value::String(text)) if text.contains("{{") || text.contains("{%") => {
                    match self.package.engine.text(&field, text, &known, &self.budget) {
                        Ok(text) => set.check_text(parameter.as_str(), text.trim(), version),
                        Err(error) => {
                            failed.push(error);
                            continue;
                        }
                    }
                }
                Some(value) => set.check(parameter.as_str(), value, version),
            };
            match default {
                Ok(value) => {
                    values.insert(parameter.to_string(), value);
                }
                Err(refused) => failed.push(TemplateError {
                    name: field,
                    line: 1,
                    reason: format!("its default is not allowed: {}", refused.reason()),
                }),
            }
        }
        for error in failed {
            let problem = self.package.in_template(&error);
            self.refuse("", Code::Package, problem.to_string());
        }
        values
    }

    /// Rules on all parameters together.
    fn rules(&mut self, resolved: &Resolved) {
        for component in &resolved.components {
            let name = component.name.as_str();
            for group in &component.groups {
                let all = serde_json::json!(group.parameters);
                for reason in self.package.check_rules(name, &all) {
                    self.refuse(format!("spec.components[{name}].parameters"), Code::Invalid, reason);
                }
            }
        }
    }
}
