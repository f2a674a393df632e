//! What an instance of a repository becomes, with secrets made up: for `render`, `diff` and `validate`.

use std::rc::Rc;

use crate::api::instance::InstanceSpec;
use crate::api::values::KeyRef;
use crate::cue::Cue;
use crate::extension::problem::Code;
use crate::extension::{Asked, Package, Refusal, Rendered, Resolved, cases, cue};
use crate::names::{InstanceName, NamespaceName};
use crate::plan::effect::Side;
use crate::plan::source::{Manifest, ObjectKind};

use super::snapshot::Snapshot;

/// An instance with everything that follows from it.
pub struct Preview {
    pub package: Rc<Package>,
    pub resolved: Resolved,
    pub rendered: Rendered,
    /// Rules that could not be checked, or files of the user's own that are not here, and why.
    pub unchecked: Option<String>,
}

/// Why an instance cannot be previewed.
#[derive(Clone, PartialEq)]
pub enum NoPreview {
    /// The repository has no such package, or it is wrong.
    Package(String),
    /// The package refuses the instance, each with its reason.
    Refused(Vec<Refusal>),
}

impl NoPreview {
    pub fn reasons(self) -> Vec<String> {
        match self {
            Self::Package(reason) => vec![reason],
            Self::Refused(refusals) => refusals.iter().map(ToString::to_string).collect(),
        }
    }
}

impl Preview {
    pub fn side(&self) -> Side<'_> {
        Side { package: &self.package, resolved: &self.resolved, rendered: &self.rendered }
    }
}

/// Previews an instance of the repository; nothing for other kinds.
pub fn preview(snapshot: &Snapshot, manifest: &Manifest, rules: &Cue) -> Option<Result<Preview, NoPreview>> {
    (manifest.id.kind == ObjectKind::Instance).then(|| instance(snapshot, manifest, rules))
}

fn instance(snapshot: &Snapshot, manifest: &Manifest, rules: &Cue) -> Result<Preview, NoPreview> {
    let wrong = |field: &str, reason: String| NoPreview::Refused(vec![Refusal::new(field, Code::Invalid, reason)]);
    let spec: InstanceSpec =
        serde_json::from_value(manifest.body["spec"].clone()).map_err(|error| wrong("spec", error.to_string()))?;
    let name = InstanceName::parse(&manifest.id.name).map_err(|error| wrong("metadata.name", error.to_string()))?;
    let namespace = NamespaceName::parse(manifest.id.namespace.as_deref().unwrap_or_default())
        .map_err(|error| wrong("metadata.namespace", error.to_string()))?;
    let package =
        snapshot.shelf.get(spec.type_.as_str(), spec.extension_version.as_str()).map_err(NoPreview::Package)?;
    let mut surroundings =
        snapshot.surroundings(spec.environment.as_ref(), &namespace).map_err(|error| wrong("midship.yaml", error))?;
    surroundings.collectors = snapshot.collectors(manifest);
    let asked = Asked { name: &name, namespace: &namespace, spec: &spec };
    let known = |place: &KeyRef| snapshot.key(&namespace, place);
    let (resolved, rendered, unseen) = cases::preview_with(&package, asked, &surroundings, &known)
        .map_err(|refusals| NoPreview::Refused(refusals.0))?;
    let (unchecked, broken): (Vec<_>, Vec<_>) =
        cue::check(&package, rendered.with_files.as_ref().unwrap_or(&resolved), rules)
            .into_iter()
            .partition(|refusal| refusal.code == Code::Unchecked);
    if !broken.is_empty() {
        return Err(NoPreview::Refused(broken));
    }
    let unchecked = unchecked.into_iter().next().map(|refusal| refusal.reason).or_else(|| unseen.into_iter().next());
    Ok(Preview { package, resolved, rendered, unchecked })
}
