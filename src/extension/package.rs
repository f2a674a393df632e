//! A package that was read and found right.

use std::collections::BTreeMap;

use serde_json::Value;

use super::contract::{Component, Manifest, Parameter, Topology, TopologyComponent};
use super::files::{MANIFEST, PackageFiles, is_template};
use super::parameters::{ParameterSet, said_of};
use super::problem::Problem;
use super::rules;
use super::template::{Engine, FIELD, TemplateError};
use super::yaml::{self, Positions};
use crate::names::{ComponentName, ParameterName, TopologyName};

/// Errors shown of all parameters of a component together.
const MOST_ERRORS: usize = 20;

/// One version of one kind of middleware: everything needed to render its instances.
#[derive(Debug)]
pub struct Package {
    pub manifest: Manifest,
    pub digest: String,
    pub files: PackageFiles,
    pub(super) engine: Engine,
    pub(super) positions: Positions,
    parameters: BTreeMap<ComponentName, ParameterSet>,
    schemas: BTreeMap<String, jsonschema::Validator>,
}

/// The topology of packages that declare none.
const ONLY_TOPOLOGY: &str = "standalone";

impl Package {
    /// Reads a package as far as it can be, and notes what is wrong with its parts.
    pub(super) fn read(files: PackageFiles, problems: &mut Vec<Problem>) -> Result<Self, Vec<Problem>> {
        let text = files.text(MANIFEST).map_err(|problem| vec![problem])?;
        let mut manifest: Manifest = yaml::read(MANIFEST, text)?;
        let positions = Positions::read(text);
        if manifest.topologies.is_empty()
            && let Ok(name) = TopologyName::parse(ONLY_TOPOLOGY)
        {
            let components =
                manifest.components.keys().map(|name| (name.clone(), TopologyComponent::default())).collect();
            manifest.topologies.insert(name, Topology { default: true, components, ..Topology::default() });
        }

        for component in manifest.components.values_mut() {
            read_more_parameters(component, &files, problems);
        }
        let mut parameters = BTreeMap::new();
        for (name, component) in &manifest.components {
            match ParameterSet::new(&component.parameters, component.other_parameters.clone()) {
                Ok(set) => {
                    parameters.insert(name.clone(), set);
                }
                Err(wrong) => problems.extend(wrong.into_iter().map(|(parameter, reason)| {
                    let (line, column) = positions.of(&format!("components.{name}.parameters.{parameter}"));
                    Problem::new(MANIFEST, line, column, format!("parameter {parameter}: {reason}"))
                })),
            }
        }

        let mut engine = Engine::new();
        for path in files.paths().filter(|path| is_template(path)) {
            match files.text(path) {
                Ok(source) => problems.extend(engine.add(path, source).err().map(|error| in_template(&error))),
                Err(problem) => problems.push(problem),
            }
        }
        if let Ok(whole) = yaml::value(MANIFEST, text) {
            know_texts(&mut engine, &whole);
        }
        let schemas = compile_schemas(&manifest, &files, problems);
        let digest = files.digest();
        Ok(Self { manifest, digest, files, engine, positions, parameters, schemas })
    }

    /// `type-version`, as the Extension object is named.
    pub fn name(&self) -> String {
        format!("{}-{}", self.manifest.type_, self.manifest.version)
    }

    pub fn component(&self, name: &str) -> Option<&Component> {
        self.manifest.components.get(name)
    }

    /// The parameters of a component.
    pub fn parameters(&self, component: &str) -> &ParameterSet {
        static NONE: std::sync::LazyLock<ParameterSet> = std::sync::LazyLock::new(ParameterSet::default);
        self.parameters.get(component).unwrap_or(&NONE)
    }

    /// The component clients talk to: the one `connection` names, the only one, the one called like the type, or the
    /// first.
    pub fn main_component(&self) -> Option<&ComponentName> {
        let named = self.manifest.connection.as_ref().and_then(|connection| connection.component.as_ref());
        let like_type = || self.manifest.components.keys().find(|name| name.as_str() == self.manifest.type_.as_str());
        named.or_else(like_type).or_else(|| self.manifest.components.keys().next())
    }

    /// What the JSON Schema of a component's rules says of all its parameters.
    pub fn check_rules(&self, component: &str, parameters: &Value) -> Vec<String> {
        let path = self.component(component).and_then(|component| component.rules.as_ref()?.schema.as_deref());
        let Some(validator) = path.and_then(|path| self.schemas.get(path)) else { return Vec::new() };
        validator
            .iter_errors(parameters)
            .take(MOST_ERRORS)
            .map(|error| {
                let place = error.instance_path().to_string();
                let name = place.trim_start_matches('/');
                let said = said_of(&error);
                if name.is_empty() { said } else { format!("parameter {name}: {said}") }
            })
            .collect()
    }

    /// The problem that stands at a field of the manifest.
    pub(super) fn at(&self, field: &str, reason: impl Into<String>) -> Problem {
        let (line, column) = self.positions.of(field);
        Problem::new(MANIFEST, line, column, reason)
    }

    /// The problem a template has: in its file, or at the field that holds it.
    pub(super) fn in_template(&self, error: &TemplateError) -> Problem {
        match error.name.strip_prefix(FIELD) {
            Some(field) => {
                let (line, column) = self.positions.of(field);
                Problem::new(MANIFEST, line, column, format!("{field}: {}", error.reason))
            }
            None => in_template(error),
        }
    }
}

/// Texts of the manifest are rendered for every instance, and are compiled but once.
fn know_texts(engine: &mut Engine, value: &Value) {
    match value {
        Value::String(text) => engine.know(text),
        Value::Array(items) => items.iter().for_each(|item| know_texts(engine, item)),
        Value::Object(fields) => fields.values().for_each(|item| know_texts(engine, item)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn in_template(error: &TemplateError) -> Problem {
    Problem::new(&error.name, error.line, 0, &error.reason)
}

fn read_more_parameters(component: &mut Component, files: &PackageFiles, problems: &mut Vec<Problem>) {
    let Some(path) = component.parameters_file.as_deref() else { return };
    let text = files.text(path).map_err(|problem| vec![problem]);
    match text.and_then(|text| Ok((text, yaml::read::<BTreeMap<ParameterName, Parameter>>(path, text)?))) {
        Ok((text, more)) => {
            for (name, parameter) in more {
                if component.parameters.contains_key(&name) {
                    let (line, column) = Positions::read(text).of(name.as_str());
                    problems.push(Problem::new(path, line, column, format!("parameter {name} is also in {MANIFEST}")));
                }
                component.parameters.insert(name, parameter);
            }
        }
        Err(more) => problems.extend(more),
    }
}

/// Why a JSON Schema cannot be used, and which place in it is to blame.
fn no_schema(path: &str, text: &str, wrong: &rules::Wrong) -> Problem {
    let (line, column) = Positions::read(text).of(&wrong.field);
    let what = if wrong.refused { "" } else { "is no JSON Schema: " };
    Problem::new(path, line, column, format!("{what}{}", wrong.reason))
}

fn compile_schemas(
    manifest: &Manifest,
    files: &PackageFiles,
    problems: &mut Vec<Problem>,
) -> BTreeMap<String, jsonschema::Validator> {
    let paths = manifest.components.values().filter_map(|component| component.rules.as_ref()?.schema.clone());
    let mut schemas = BTreeMap::new();
    for path in paths {
        let compiled = files.text(&path).and_then(|text| {
            let schema = yaml::value(&path, text)?;
            rules::compile(&schema).map_err(|wrong| no_schema(&path, text, &wrong))
        });
        match compiled {
            Ok(validator) => {
                schemas.insert(path, validator);
            }
            Err(problem) => problems.push(problem),
        }
    }
    schemas
}
