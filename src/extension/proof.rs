//! What only rendering shows: every topology of a package, with nothing else asked for, becomes objects that a cluster takes.

use k8s_openapi::api::core::v1::PodSpec;
use serde_json::json;

use super::cases::preview;
use super::cue::{self, CueCheck};
use super::files::MANIFEST;
use super::package::Package;
use super::problem::{Code, Problem, Refusal};
use super::render::Rendered;
use super::resolve::{Asked, Surroundings};
use super::unread::unread;
use crate::names::{InstanceName, NamespaceName};

/// More combinations of version and topology than this are not tried.
const TRIED: usize = 100;

/// Everything wrong that is the package's own fault: an instance may still have to give what has no default.
pub fn check(package: &Package, rules: &dyn CueCheck) -> Vec<Problem> {
    let manifest = &package.manifest;
    let mut found = cue::wrong(package, rules);
    let names = (InstanceName::parse("sample"), NamespaceName::parse("default"));
    let (Ok(name), Ok(namespace)) = names else { return found };
    let pairs = manifest.topologies.keys().flat_map(|topology| {
        let versions = manifest.versions.iter().map(|version| &version.version);
        versions.map(move |version| (topology, version))
    });
    for (topology, version) in pairs.take(TRIED) {
        let spec = json!({
            "type": manifest.type_, "extensionVersion": manifest.version, "version": version, "topology": topology,
        });
        let Ok(spec) = serde_json::from_value(spec) else { continue };
        match preview(package, Asked { name: &name, namespace: &namespace, spec: &spec }, &Surroundings::default()) {
            Ok((_, rendered)) => found.extend(pods(package, &rendered)),
            Err(refusals) => {
                let own = refusals.0.iter().filter(|refusal| refusal.code == Code::Package);
                found.extend(own.map(|refusal| placed(package, refusal)));
            }
        }
    }
    found.sort();
    found.dedup();
    found
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
            let spec = &group.template.spec;
            let reason = match serde_json::from_value::<PodSpec>(spec.clone()) {
                Ok(read) => match unread(spec, &json!(read)) {
                    Some(field) => format!("a pod has no field {field}; write additions as below `spec` of a pod"),
                    None => continue,
                },
                Err(error) => format!("with the additions it is no pod: {error}"),
            };
            let part =
                if package.component(name).is_some_and(|known| known.pod.is_some()) { "pod" } else { "podTemplate" };
            found.push(package.at(&format!("components.{name}.{part}"), reason));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extension::cue::Nobody;
    use crate::extension::wrong_tests::{MANIFEST_TEXT, load};

    const GOOD: &str = "count {{ params.count }}\n";

    /// What the proof says of the package after a change.
    fn says(from: &str, to: &str, config: &str) -> String {
        assert!(MANIFEST_TEXT.contains(from), "the base has no {from}");
        let package = load(&MANIFEST_TEXT.replacen(from, to, 1), config, None);
        let package = package.unwrap_or_else(|problems| panic!("{problems}"));
        check(&package, &Nobody).iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_package_that_is_right_has_nothing_to_mend() {
        assert_eq!(says("env: {}", "env: {}", GOOD), "");
    }

    #[test]
    fn mistakes_that_only_rendering_shows_have_a_place() {
        let cases = [
            ("low: {type: integer, default: 1}", "low: {type: integer, default: \"{{ instance }}\"}"),
            ("low: {type: integer, default: 1}", "low: {type: integer, default: \"{{ params.high }}\"}"),
            ("command: [demod, \"{{ files['demo.conf'] }}\"]", "command: [demod, \"{{ secret.token }}\"]"),
            ("env: {}", "env: {TOKEN: \"Bearer {{ secret.token }}\"}"),
            ("env: {}", "pod: {spec: {nodeSelector: {disk: fast}}}"),
            ("env: {}", "pod: {containers: [{name: server, volumeMount: [{name: data}]}]}"),
            ("env: {}", "pod: {terminationGracePeriodSeconds: soon}"),
            ("env: {}", "pod: {hostNetwork: true}"),
            ("env: {}", "pod: {serviceAccountName: admin}"),
            ("env: {}", "pod: {containers: [{name: helper, image: \"helper:1\"}]}"),
        ];
        let told = cases.map(|(from, to)| format!("{to}\n  {}\n", says(from, to, GOOD).replace('\n', "\n  ")));
        insta::assert_snapshot!(told.concat());
        assert_eq!(
            says("env: {}", "env: {}", "a\n{{ params.count | upcase }}\n"),
            "config/demo.conf.j2:2: unknown filter: filter upcase is unknown"
        );
    }
}
