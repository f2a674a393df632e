//! CPU and memory that a package gives its components, itself and for environments.

use super::Lint;
use crate::api::values::Resources;
use crate::extension::problem::{closest, listed};
use crate::extension::quantity;

/// What Kubernetes hands out under names of its own; others carry a domain, such as example.com/gpu.
const KNOWN: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

pub fn check(lint: &mut Lint<'_>) {
    let manifest = &lint.package.manifest;
    for (name, component) in &manifest.components {
        if let Some(resources) = &component.resources {
            amounts(lint, &format!("components.{name}.resources"), resources);
        }
    }
    for (environment, defaults) in &manifest.environments {
        for (name, component) in &defaults.components {
            if let Some(resources) = &component.resources {
                amounts(lint, &format!("environments.{environment}.components.{name}.resources"), resources);
            }
        }
    }
}

fn amounts(lint: &mut Lint<'_>, field: &str, resources: &Resources) {
    for (kind, list) in [("requests", &resources.requests), ("limits", &resources.limits)] {
        for (name, amount) in list.iter().flatten() {
            let field = format!("{field}.{kind}.{name}");
            if quantity::number(&amount.0).is_none_or(|number| number < 0.0) {
                lint.at(
                    &field,
                    format!("\"{}\" is no amount; write it like 100m, 2 or 1Gi", amount.0.escape_default()),
                );
            }
            if let Some(reason) = quantity::fraction(name, &amount.0) {
                lint.at(&field, reason);
            }
            if !name.contains('/') && !name.starts_with("hugepages-") && !KNOWN.contains(&name.as_str()) {
                let hint = closest(name, KNOWN).map_or_else(
                    || format!("there is {}", listed(KNOWN)),
                    |known| format!("did you mean \"{known}\"?"),
                );
                let name = name.escape_default();
                lint.at(
                    &field,
                    format!("Kubernetes hands out no \"{name}\"; {hint} (others carry a domain: example.com/gpu)"),
                );
            }
        }
    }
    for (name, request) in resources.requests.iter().flatten() {
        let limit = resources.limits.as_ref().and_then(|limits| limits.get(name));
        if let Some(limit) = limit.filter(|limit| limit.number() < request.number()) {
            let reason = format!("the request of {} {name} is above the limit of {}", request.0, limit.0);
            lint.at(&format!("{field}.requests.{name}"), reason);
        }
    }
}
