//! The port to CUE. Running the program needs processes, which this room has not: `crate::cue` does it.

use serde_json::{Value, json};

use super::package::Package;
use super::problem::{Code, Refusal};
use super::resolved::Resolved;

/// Checks a value against CUE source with a definition `#Parameters`. Errors are what the author of the value has to know.
pub trait CueCheck {
    fn check(&self, source: &str, value: &Value) -> Result<(), Vec<String>>;
}

/// Checks the parameters of every group whose component has CUE rules.
pub fn check(package: &Package, resolved: &Resolved, cue: &dyn CueCheck) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    for component in &resolved.components {
        let name = component.name.as_str();
        let path = package.component(name).and_then(|declared| declared.rules.as_ref()?.cue.as_deref());
        let Some(source) = path.and_then(|path| package.files.text(path).ok()) else { continue };
        for group in &component.groups {
            let value = json!(group.parameters);
            if let Err(errors) = cue.check(source, &value) {
                refusals.extend(
                    errors
                        .into_iter()
                        .map(|error| Refusal::new(format!("spec.components[{name}].parameters"), Code::Invalid, error)),
                );
            }
        }
    }
    refusals.sort();
    refusals.dedup();
    refusals
}
