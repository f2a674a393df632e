//! What differs between what runs and what is asked for, what each difference needs, and which are not allowed.

use serde_json::Value;

use super::contract::Change;
use super::package::Package;
use super::problem::{Code, Refusal, Refusals, listed};
use super::quantity;
use super::resolved::Resolved;

/// A parameter that differs.
#[derive(Clone, Debug, PartialEq)]
pub struct ParameterChange {
    pub component: String,
    pub group: String,
    pub name: String,
    /// The old value; none where it was not set. Secrets are placeholders here.
    pub from: Option<Value>,
    pub to: Option<Value>,
    /// What it needs before it is in force.
    pub needs: Change,
}

/// Compares two states of one instance. Topologies, volumes and parameters that must not change so are refused.
pub fn between(package: &Package, old: &Resolved, new: &Resolved) -> Result<Vec<ParameterChange>, Refusals> {
    let mut refusals = Vec::new();
    topology(package, old, new, &mut refusals);
    tls(package, old, new, &mut refusals);
    let mut changes = Vec::new();
    for component in &new.components {
        let name = component.name.as_str();
        let field = format!("spec.components[{name}]");
        let Some(before) = old.component(name) else { continue };
        let set = package.parameters(name);
        for group in &component.groups {
            let Some(was) = before.group(group.name.as_str()) else { continue };
            volumes(&field, &was.storage, &group.storage, &mut refusals);
            let names = was.parameters.keys().chain(group.parameters.keys());
            let mut names: Vec<&String> = names.collect();
            names.sort();
            names.dedup();
            for parameter in names {
                let (from, to) = (was.parameters.get(parameter), group.parameters.get(parameter));
                if from == to {
                    continue;
                }
                let needs = set.change(parameter);
                if needs == Change::Immutable {
                    let reason = format!(
                        "parameter {parameter} cannot be changed once the instance exists; it is {}",
                        shown(from)
                    );
                    refusals.push(Refusal::new(format!("{field}.parameters.{parameter}"), Code::Immutable, reason));
                }
                changes.push(ParameterChange {
                    component: name.to_owned(),
                    group: group.name.to_string(),
                    name: parameter.clone(),
                    from: from.cloned(),
                    to: to.cloned(),
                    needs,
                });
            }
        }
    }
    refusals.sort();
    refusals.dedup();
    if refusals.is_empty() { Ok(changes) } else { Err(Refusals(refusals)) }
}

/// What all changes together need.
pub fn needs(changes: &[ParameterChange]) -> Change {
    changes.iter().map(|change| change.needs).max().unwrap_or(Change::None)
}

fn shown(value: Option<&Value>) -> String {
    value.map_or_else(|| "not set".to_owned(), super::parameters::plain)
}

fn topology(package: &Package, old: &Resolved, new: &Resolved, refusals: &mut Vec<Refusal>) {
    if old.topology == new.topology {
        return;
    }
    let Some(from) = package.manifest.topologies.get(&old.topology) else { return };
    if !from.change_to.contains(&new.topology) {
        let reason = if from.change_to.is_empty() {
            format!("topology {} of a running instance cannot be changed", old.topology)
        } else {
            format!(
                "topology {} cannot be changed to {}, only to {}",
                old.topology,
                new.topology,
                listed(from.change_to.iter().map(AsRef::as_ref))
            )
        };
        refusals.push(Refusal::new("spec.topology", Code::Immutable, reason));
    }
}

/// Where the package says so, TLS stays as an instance began with it.
fn tls(package: &Package, old: &Resolved, new: &Resolved, refusals: &mut Vec<Refusal>) {
    let fixed = package.manifest.tls.as_ref().is_some_and(|tls| tls.switch == Some(Change::Immutable));
    if fixed && old.tls.is_some() != new.tls.is_some() {
        let (is, to) = if old.tls.is_some() { ("on", "off") } else { ("off", "on") };
        let reason = format!(
            "TLS is {is} and cannot be switched {to} once the instance exists; restore a backup into a new instance"
        );
        refusals.push(Refusal::new("spec.tls", Code::Immutable, reason));
    }
}

fn volumes(
    field: &str,
    old: &std::collections::BTreeMap<String, crate::api::values::Storage>,
    new: &std::collections::BTreeMap<String, crate::api::values::Storage>,
    refusals: &mut Vec<Refusal>,
) {
    // a package may drop, rename or no longer keep one; its pods would begin with nothing
    for (name, was) in old.iter().filter(|(name, _)| !new.contains_key(*name)) {
        let reason = format!(
            "volume {name} of {} would leave the pods with its data; use a package that keeps it, or restore a backup into a new instance",
            was.size.0
        );
        refusals.push(Refusal::new(format!("{field}.storage.{name}"), Code::Immutable, reason));
    }
    for (name, volume) in new {
        let Some(was) = old.get(name) else { continue };
        let field = format!("{field}.storage.{name}");
        let sizes = (quantity::bytes(&was.size.0), quantity::bytes(&volume.size.0));
        if let (Some(before), Some(after)) = sizes
            && after < before
        {
            let reason = format!("volume {name} cannot shrink from {} to {}", was.size.0, volume.size.0);
            refusals.push(Refusal::new(format!("{field}.size"), Code::Immutable, reason));
        }
        if volume.storage_class_name != was.storage_class_name {
            let class = |storage: &crate::api::values::Storage| {
                storage.storage_class_name.as_ref().map_or("the cluster's default", |name| name.as_str()).to_owned()
            };
            let reason = format!(
                "volume {name} cannot move from storage class {} to {}; restore a backup into a new instance",
                class(was),
                class(volume)
            );
            refusals.push(Refusal::new(format!("{field}.storageClassName"), Code::Immutable, reason));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::extension::tests::sample;
    use crate::extension::wrong_tests::{MANIFEST_TEXT, load};

    #[test]
    fn a_package_that_drops_renames_or_no_longer_keeps_a_volume_is_refused() {
        const VOLUME: &str = "data: {path: /data, size: 1Gi}";
        let resolved = |manifest: &str| {
            let package = load(manifest, "count {{ params.count }}\n", None).unwrap_or_else(|wrong| panic!("{wrong}"));
            let spec = json!({ "type": "demo", "extensionVersion": "1.0.0", "version": "2.0" });
            let resolved = sample(&package, spec).0;
            (package, resolved)
        };
        let (package, old) = resolved(MANIFEST_TEXT);
        assert_eq!(between(&package, &old, &old), Ok(Vec::new()));
        for other in ["store: {path: /data, size: 1Gi}", "data: {path: /data}", "store: {path: /store}"] {
            let (package, new) = resolved(&MANIFEST_TEXT.replacen(VOLUME, other, 1));
            // what the status remembers says as much
            let remembered = new.as_it_was(&old.status()).expect("what it was");
            for before in [&old, &remembered] {
                let refusals = between(&package, before, &new).expect_err("its data would be left behind");
                assert_eq!(
                    refusals.to_string(),
                    "spec.components[server].storage.data: volume data of 1Gi would leave the pods with its data; \
                     use a package that keeps it, or restore a backup into a new instance",
                    "{other}"
                );
            }
        }
    }
}
