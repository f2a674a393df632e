//! What only rendering shows: every topology of a package, with nothing else asked for, becomes objects that a cluster takes.

use k8s_openapi::api::core::v1::PodSpec;
use serde_json::json;

use super::cases::{misread, preview};
use super::contract::Manifest;
use super::contract::component::FileFormat;
use super::cue::{self, CueCheck};
use super::files::MANIFEST;
use super::package::Package;
use super::placeholders::{self, Source};
use super::problem::{Code, Problem, Refusal, TOO_LONG};
use super::render::Rendered;
use super::resolve::{Asked, Surroundings};
use super::unread::unread;
use super::yaml;
use crate::names::{EnvironmentName, InstanceName, MiddlewareVersion, NamespaceName, TopologyName};

/// More combinations of topology, environment, version and TLS than this are not tried.
const TRIED: usize = 100;

/// What was found of a package.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proof {
    /// Everything wrong that is the package's own fault: an instance may still have to give what has no default.
    pub problems: Vec<Problem>,
    /// What could not be looked at, and why.
    pub notes: Vec<String>,
    /// Why the package's rules could not be checked; it is one of the notes.
    pub unchecked: Option<String>,
}

/// What an instance asks for that asks for nothing.
#[derive(Clone, Copy)]
struct Combination<'a> {
    topology: &'a TopologyName,
    environment: Option<&'a EnvironmentName>,
    version: &'a MiddlewareVersion,
    tls: bool,
    monitored: bool,
}

/// Every topology, and every environment with the topology it leads to, in each version, with and without TLS; the topologies
/// of the last version with all monitoring there is as well.
fn combinations(manifest: &Manifest) -> Vec<Combination<'_>> {
    let bare = manifest.topologies.keys().map(|topology| (topology, None));
    let default = manifest.default_topology().map(|(name, _)| name);
    let with_environment = manifest.environments.iter().filter_map(|(name, defaults)| {
        let named = defaults.topology.as_ref().and_then(|topology| manifest.topologies.get_key_value(topology));
        Some((named.map(|(name, _)| name).or(default)?, Some(name)))
    });
    let places: Vec<_> = bare.chain(with_environment).collect();
    let tls: &[bool] = if manifest.tls.is_some() { &[false, true] } else { &[false] };
    let mut all = Vec::new();
    // what is left out in the end are versions, which differ least
    for version in &manifest.versions {
        for &(topology, environment) in &places {
            let each = tls.iter().map(|&tls| {
                let version = &version.version;
                Combination { topology, environment, version, tls, monitored: false }
            });
            all.extend(each);
        }
    }
    if let Some(last) = manifest.versions.last().filter(|_| manifest.monitoring.is_some()) {
        let monitored = manifest.topologies.keys().map(|topology| {
            let version = &last.version;
            Combination { topology, environment: None, version, tls: false, monitored: true }
        });
        // they come first: nothing else shows what they show
        all.splice(0..0, monitored);
    }
    all
}

impl Combination<'_> {
    fn place(self) -> String {
        match self.environment {
            Some(name) => format!("environments.{name}"),
            None => format!("topologies.{}", self.topology),
        }
    }

    fn told(self) -> String {
        let environment = self.environment.map(|name| format!(", environment {name}")).unwrap_or_default();
        format!("topology {}{environment}", self.topology)
    }
}

/// Looks at what becomes of instances that ask for nothing.
pub fn check(package: &Package, rules: &dyn CueCheck) -> Proof {
    check_while(package, rules, &|| true)
}

/// The same, as long as there is time for it.
pub fn check_while(package: &Package, rules: &dyn CueCheck, time_is_left: &dyn Fn() -> bool) -> Proof {
    let manifest = &package.manifest;
    let (wrong, unchecked) = cue::wrong(package, rules);
    let mut ask = wrong.is_empty() && unchecked.is_none();
    let mut proof = Proof { problems: wrong, notes: unchecked.iter().cloned().collect(), unchecked };
    let names = (InstanceName::parse("sample"), NamespaceName::parse("default"));
    let (Ok(name), Ok(namespace)) = names else { return proof };
    let all = combinations(manifest);
    if all.len() > TRIED {
        let left = all.len() - TRIED;
        proof.notes.push(format!(
            "{left} of {} combinations of topology, environment, version and TLS were not tried: more than {TRIED} take too long",
            all.len()
        ));
    }
    for one in all.into_iter().take(TRIED) {
        if !time_is_left() {
            proof.problems.push(package.at("topologies", TOO_LONG));
            break;
        }
        let mut spec = json!({
            "type": manifest.type_, "extensionVersion": manifest.version, "version": one.version, "topology": one.topology,
        });
        if let Some(environment) = one.environment {
            spec["environment"] = json!(environment);
        }
        if one.tls {
            spec["tls"] = json!({ "issuer": "builtin" });
        }
        if one.monitored {
            let exporter = exports(manifest, one.version);
            spec["monitoring"] = json!({ "exporter": exporter, "podMonitor": true, "alerts": true, "dashboard": true });
        }
        let Ok(spec) = serde_json::from_value(spec) else { continue };
        let asked = Asked { name: &name, namespace: &namespace, spec: &spec };
        let refusals = match preview(package, asked, &Surroundings::default()) {
            Ok((resolved, rendered)) => {
                proof.problems.extend(pods(package, &rendered));
                proof.problems.extend(formats(package, &rendered));
                if ask { cue::check(package, &resolved, rules) } else { Vec::new() }
            }
            Err(refusals) => refusals.0,
        };
        for refusal in refusals {
            match refusal.code {
                Code::Package => proof.problems.push(placed(package, &refusal)),
                Code::Unchecked => {
                    // what took too long once would take as long again
                    ask = false;
                    proof.notes.push(refusal.reason.clone());
                    proof.unchecked.get_or_insert(refusal.reason);
                }
                _ if left_to_instances(&refusal) => {}
                _ => {
                    let reason = format!("an instance that asks for nothing ({}) is refused: {refusal}", one.told());
                    proof.problems.push(package.at(&one.place(), reason));
                }
            }
        }
    }
    proof.problems.extend(misread(package));
    proof.problems.sort();
    proof.problems.dedup();
    proof.notes.dedup();
    proof
}

/// Whether there is an exporter and an image of it.
fn exports(manifest: &Manifest, version: &MiddlewareVersion) -> bool {
    let exporter = manifest.monitoring.as_ref().and_then(|monitoring| monitoring.exporter.as_ref());
    let image = exporter.map(|exporter| exporter.image.as_deref().unwrap_or("exporter"));
    image.is_some_and(|image| {
        manifest.version(version.as_str()).is_some_and(|version| version.images.contains_key(image))
    })
}

/// What has no default is for the instance to give.
fn left_to_instances(refusal: &Refusal) -> bool {
    let said = ["incomplete value", "required but not present", "is a required property"];
    refusal.code == Code::Missing || said.iter().any(|words| refusal.reason.contains(words))
}

/// The place that a refusal's text begins with, where it is one of the package.
fn placed(package: &Package, refusal: &Refusal) -> Problem {
    let whole = || Problem::new(MANIFEST, 1, 1, &refusal.reason);
    let Some((place, reason)) = refusal.reason.split_once(": ") else { return whole() };
    let mut parts = place.split(':');
    let path = parts.next().unwrap_or_default();
    if package.files.get(path).is_none() {
        return whole();
    }
    let mut number = || parts.next().and_then(|number| number.parse().ok()).unwrap_or(0);
    Problem::new(path, number(), number(), reason)
}

/// Fields that Kubernetes does not know of would be refused with each pod, or be lost.
fn pods(package: &Package, rendered: &Rendered) -> Vec<Problem> {
    let mut found = Vec::new();
    for component in &rendered.components {
        let name = component.spec.component.as_str();
        let added = package.component(name).is_some_and(|known| known.pod.is_some() || known.pod_template.is_some());
        for group in component.spec.groups.iter().filter(|_| added) {
            let spec = &group.template.spec.open();
            let reasons = match serde_json::from_value::<PodSpec>(spec.clone()) {
                Ok(read) => unread(spec, &json!(read))
                    .iter()
                    .map(|field| format!("a pod has no field {field}; write additions as below `spec` of a pod"))
                    .collect(),
                Err(error) => vec![format!("with the additions it is no pod: {error}")],
            };
            let part =
                if package.component(name).is_some_and(|known| known.pod.is_some()) { "pod" } else { "podTemplate" };
            let at = format!("components.{name}.{part}");
            found.extend(reasons.into_iter().map(|reason| package.at(&at, reason)));
        }
    }
    found
}

/// Configuration files that are not of the format that the package says they have.
fn formats(package: &Package, rendered: &Rendered) -> Vec<Problem> {
    let mut found = Vec::new();
    for group in &rendered.config {
        let declared = package.component(&group.component).map(|component| &component.config);
        for (name, text) in &group.files {
            let Some(config) = declared.and_then(|declared| declared.get(name)) else { continue };
            let Some(reason) = config.format.and_then(|format| misformed(format, text)) else { continue };
            let reason = format!("{} renders {reason}", config.template);
            found.push(package.at(&format!("components.{}.config.{name}", group.component), reason));
        }
    }
    found
}

fn misformed(format: FileFormat, text: &str) -> Option<String> {
    // a placeholder within braces or for a number would be none of the format's
    let known = |source: Source<'_>| Some(if source == Source::Pod("ordinal") { "0" } else { "made-up" }.to_owned());
    let text = placeholders::expand(text, known).ok()?;
    if text.trim().is_empty() {
        // one that is not wanted here
        return None;
    }
    match format {
        FileFormat::Yaml => {
            let problem = yaml::values("", &text).err()?;
            Some(format!("no YAML: line {}: {}", problem.line, problem.reason))
        }
        FileFormat::Json => {
            let error = serde_json::from_str::<serde_json::Value>(&text).err()?;
            Some(format!("no JSON: {error}"))
        }
        FileFormat::Words | FileFormat::Properties => None,
    }
}

#[cfg(test)]
mod tests;
