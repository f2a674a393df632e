//! The port to CUE. Running the program needs processes, which this room has not: `crate::cue` does it.

use serde_json::{Value, json};

use super::package::Package;
use super::problem::{Code, Refusal};
use super::resolved::Resolved;

/// Why a value does not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Objection {
    /// It breaks the rules: what its author has to know.
    Broken(Vec<String>),
    /// Nothing can be said of the value: the rules could not be checked, for this reason.
    Unchecked(String),
}

/// Checks a value against CUE source with a definition `#Parameters`.
pub trait CueCheck {
    fn check(&self, source: &str, value: &Value) -> Result<(), Objection>;
}

/// Where nobody can be asked.
pub struct Nobody;

impl CueCheck for Nobody {
    fn check(&self, _: &str, _: &Value) -> Result<(), Objection> {
        Err(Objection::Unchecked("nobody can be asked here".to_owned()))
    }
}

/// Where the refusals of rules point, which are about all parameters of a component together.
pub fn field(component: &str) -> String {
    format!("spec.components[{component}].parameters")
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
            let (code, errors) = match cue.check(source, &value) {
                Ok(()) => continue,
                Err(Objection::Broken(errors)) => (Code::Invalid, errors),
                Err(Objection::Unchecked(why)) => {
                    (Code::Unchecked, vec![format!("the rules of {name} could not be checked: {why}")])
                }
            };
            refusals.extend(errors.into_iter().map(|error| Refusal::new(field(name), code, error)));
        }
    }
    refusals.sort();
    refusals.dedup();
    refusals
}
