//! The port to CUE. Running the program needs processes, which this room has not: `crate::cue` does it.

use serde_json::{Value, json};

use super::package::Package;
use super::problem::{Code, Problem, Refusal};
use super::resolved::Resolved;
use crate::names::ComponentName;

/// Why a value does not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Objection {
    /// It breaks the rules: what its author has to know.
    Broken(Vec<String>),
    /// The rules themselves are wrong, whatever the value is.
    Wrong(Vec<Mistake>),
    /// Nothing can be said of the value: the rules could not be checked, for this reason.
    Unchecked(String),
    /// Nothing can be said of the value: checking it takes more than the rules of any package may use.
    Costly(String),
}

/// What is wrong with rules: where in their source, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    pub line: usize,
    pub column: usize,
    pub reason: String,
}

impl Mistake {
    fn problem(&self, path: &str) -> Problem {
        Problem::new(path, self.line, self.column, &self.reason)
    }
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
        let Some((path, source)) = source(package, name) else { continue };
        for group in &component.groups {
            let value = json!(group.parameters);
            let (code, errors) = match cue.check(source, &value) {
                Ok(()) => continue,
                Err(Objection::Broken(errors)) => (Code::Invalid, errors),
                Err(Objection::Wrong(mistakes)) => {
                    let refused =
                        |mistake: &Mistake| Refusal::new("", Code::Package, mistake.problem(path).to_string());
                    refusals.extend(mistakes.iter().map(refused));
                    continue;
                }
                Err(Objection::Unchecked(why) | Objection::Costly(why)) => {
                    (Code::Unchecked, vec![not_checked(name, &why)])
                }
            };
            refusals.extend(errors.into_iter().map(|error| Refusal::new(field(name), code, error)));
        }
    }
    refusals.sort();
    refusals.dedup();
    refusals
}

/// The CUE rules of a component: their path and text.
fn source<'a>(package: &'a Package, component: &str) -> Option<(&'a str, &'a str)> {
    let path = package.component(component)?.rules.as_ref()?.cue.as_deref()?;
    Some((path, package.files.text(path).ok()?))
}

/// What is wrong with the rules of a package, whatever its instances ask for, and why they could not be checked.
pub fn wrong(package: &Package, cue: &dyn CueCheck) -> (Vec<Problem>, Option<String>) {
    let named = package.manifest.components.keys().map(ComponentName::as_str);
    let (mut found, mut unchecked) = (Vec::new(), None);
    for (name, (path, source)) in named.filter_map(|name| Some((name, source(package, name)?))) {
        match cue.check(source, &json!({})) {
            Err(Objection::Wrong(mistakes)) => found.extend(mistakes.iter().map(|mistake| mistake.problem(path))),
            Err(Objection::Costly(why)) => found.push(Problem::new(path, 1, 1, format!("cannot be checked: {why}"))),
            Err(Objection::Unchecked(why)) => {
                unchecked.get_or_insert(not_checked(name, &why));
            }
            Ok(()) | Err(Objection::Broken(_)) => {}
        }
    }
    (found, unchecked)
}

fn not_checked(component: &str, why: &str) -> String {
    format!("the rules of {component} could not be checked: {why}")
}
