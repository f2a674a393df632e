//! From what an instance asks for to what is to be in force, or why not.

use std::sync::Arc;

use kube::ResourceExt;

use crate::api::instance::InstanceSpec;
use crate::api::{Extension, Instance, InstanceStatus};
use crate::controller::packages::{Packages, State, UNCHECKED};
use crate::cue::Cue;
use crate::extension::changes::{self, ParameterChange};
use crate::extension::contract::Manifest;
use crate::extension::gates::Step;
use crate::extension::problem::Code;
use crate::extension::{Asked, Package, Refusal, Refusals, Resolved, Surroundings, cue, install, methods, resolve};
use crate::names::{InstanceName, NamespaceName};
use crate::plan::instance::health::{Verdict, has_served};
use crate::plan::instance::versions::{self, Course, Stand};

/// What is to be in force.
pub struct Going {
    pub package: Arc<Package>,
    /// What is wrong with the package by now, which serves all the same what runs on it.
    pub doubt: Option<String>,
    pub resolved: Resolved,
    pub runs: Stand,
    pub target: Option<Stand>,
    /// The upgrade that begins now.
    pub begins: Option<Step>,
    /// Parameters that differ from what was in force.
    pub changes: Vec<ParameterChange>,
}

/// Whether the Extension that an instance asks for is in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Installed {
    No,
    Yes,
    /// It is being deleted, and there only as long as instances run on it.
    Leaving,
}

impl Installed {
    pub fn of(extension: Option<&Extension>) -> Self {
        match extension {
            None => Self::No,
            Some(extension) if extension.metadata.deletion_timestamp.is_none() => Self::Yes,
            Some(_) => Self::Leaving,
        }
    }
}

/// How far an instance has got.
#[derive(Clone, Copy, Debug)]
pub struct SoFar {
    /// Every pod is as it was last asked for, and well; or there are to be none.
    pub settled: bool,
    /// Pod sets tell of a pod that served.
    pub served: bool,
}

/// Decides, or says why nothing is to be done. Nothing at all is said while packages are still being read.
pub async fn decide(
    instance: &Instance,
    status: &InstanceStatus,
    packages: &Packages,
    installed: Installed,
    surroundings: &Surroundings,
    so_far: SoFar,
    rules: &Arc<Cue>,
) -> Result<Going, Option<Verdict>> {
    let spec = &instance.spec;
    let refuse = |refusal: Refusal| Some(Verdict::Refused(Refusals(vec![refusal])));
    let name = InstanceName::parse(&instance.name_any())
        .map_err(|error| refuse(Refusal::new("metadata.name", Code::Invalid, error.to_string())))?;
    let namespace = NamespaceName::parse(&instance.namespace().unwrap_or_default())
        .map_err(|error| refuse(Refusal::new("metadata.namespace", Code::Invalid, error.to_string())))?;
    let extension = install::name(&spec.type_, &spec.extension_version);
    let wanted = Stand { extension: spec.extension_version.to_string(), version: spec.version.to_string() };
    let (runs, target) = stands(status);
    let on_it = |stand: &Option<Stand>| stand.as_ref().is_some_and(|stand| stand.extension == wanted.extension);
    let is_on_it = on_it(&runs) || on_it(&target);
    let (package, doubt) = match packages.state(&extension) {
        Some(state) => usable(&extension, state, is_on_it).map_err(Some)?,
        None if installed != Installed::No => return Err(None),
        None => return Err(Some(missing(spec.type_.as_str(), spec.extension_version.as_str(), packages))),
    };
    if installed == Installed::Leaving && !is_on_it {
        let message = format!(
            "Extension {extension} is being deleted, and nothing begins to use it; ask for another version, or install it again once it is gone"
        );
        return Err(Some(Verdict::Waits { reason: "ExtensionLeaves", message }));
    }
    let all = packages.of_type(spec.type_.as_str());
    let manifests: Vec<&Manifest> = all.iter().map(|package| &package.manifest).collect();
    let course = versions::course(versions::Situation {
        installed: &manifests,
        runs: runs.as_ref(),
        target: target.as_ref(),
        wanted: &wanted,
        settled: so_far.settled,
        served: has_served(status.phase, so_far.served),
    });
    let (runs, target, begins) = match course.map_err(refuse)? {
        Course::Go { runs, target, begins } => (runs, target, begins),
        Course::Wait(message) => return Err(Some(Verdict::Waits { reason: "WaitsForUpgrade", message })),
    };
    let checked = checked(package.clone(), (name, namespace, spec.clone()), surroundings.clone(), rules.clone()).await;
    let (resolved, refusals) = checked.map_err(|refusals| Some(Verdict::Refused(refusals)))?;
    if !refusals.is_empty() {
        // what is broken is told even where something else could not be checked
        let (unchecked, broken): (Vec<_>, Vec<_>) =
            refusals.into_iter().partition(|refusal| refusal.code == Code::Unchecked);
        return Err(Some(if broken.is_empty() {
            Verdict::Waits { reason: UNCHECKED, message: Refusals(unchecked).to_string().replace('\n', "; ") }
        } else {
            Verdict::Refused(Refusals(broken))
        }));
    }
    // before anything is made: what was restored in part would pass for the whole
    if let Some(refusal) = methods::in_parts(&package, &resolved) {
        return Err(refuse(refusal));
    }
    let changes = match status.resolved.as_ref().and_then(|before| resolved.as_it_was(before)) {
        Some(before) => changes::between(&package, &before, &resolved).map_err(|it| Some(Verdict::Refused(it)))?,
        None => Vec::new(),
    };
    Ok(Going { package, doubt, resolved, runs, target, begins, changes })
}

/// The package to work with, and what to warn of where it is only for what runs on it already.
fn usable(extension: &str, state: State, is_on_it: bool) -> Result<(Arc<Package>, Option<String>), Verdict> {
    let not_ready = |reason: &str| format!("Extension {extension} is not ready: {reason}");
    match state {
        State::Ready(package) => Ok((package, None)),
        State::Unchecked(package, _) if is_on_it => Ok((package, None)),
        State::Refused(package, reason) if is_on_it => {
            let way_out = "move to a version that is mended";
            Ok((package, Some(format!("Extension {extension} is found wrong by now: {reason}; {way_out}"))))
        }
        State::Unchecked(_, reason) => Err(Verdict::Waits { reason: UNCHECKED, message: not_ready(&reason) }),
        State::Refused(_, reason) | State::Broken(reason) => {
            Err(Verdict::Waits { reason: "ExtensionNotReady", message: not_ready(&reason) })
        }
    }
}

/// What the rules refuse of an instance as users' own files make it.
pub async fn refused(package: Arc<Package>, resolved: Resolved, rules: Arc<Cue>) -> Vec<Refusal> {
    let check = tokio::task::spawn_blocking(move || cue::check(&package, &resolved, rules.as_ref()));
    check.await.unwrap_or_else(|_| {
        let reason = "checking the rules panicked; this is a defect of Midship, please report it";
        vec![Refusal::new("", Code::Package, reason)]
    })
}

/// What is asked for with everything decided, and what its rules refuse: templates and CUE take their time, and nobody is kept
/// waiting by them.
async fn checked(
    package: Arc<Package>,
    (name, namespace, spec): (InstanceName, NamespaceName, InstanceSpec),
    surroundings: Surroundings,
    rules: Arc<Cue>,
) -> Result<(Resolved, Vec<Refusal>), Refusals> {
    let check = tokio::task::spawn_blocking(move || {
        let asked = Asked { name: &name, namespace: &namespace, spec: &spec };
        let resolved = resolve(&package, asked, &surroundings)?;
        let refusals = cue::check(&package, &resolved, rules.as_ref());
        Ok::<_, Refusals>((resolved, refusals))
    });
    check.await.unwrap_or_else(|_| {
        let reason = "resolving the instance panicked; this is a defect of Midship, please report it";
        Err(Refusals(vec![Refusal::new("", Code::Package, reason)]))
    })
}

/// What the instance runs, and where an upgrade leads that is under way.
pub fn stands(status: &InstanceStatus) -> (Option<Stand>, Option<Stand>) {
    let stand = |extension: Option<&String>, version: Option<&String>| {
        Some(Stand { extension: extension?.clone(), version: version?.clone() })
    };
    let Some(resolved) = &status.resolved else { return (None, None) };
    let target = resolved.target.as_ref();
    (
        stand(resolved.extension_version.as_ref(), resolved.version.as_ref()),
        target.and_then(|target| stand(target.extension_version.as_ref(), target.version.as_ref())),
    )
}

fn missing(type_: &str, version: &str, packages: &Packages) -> Verdict {
    let all = packages.of_type(type_);
    let mut known: Vec<&str> = all.iter().map(|package| package.manifest.version.as_str()).collect();
    known.sort_unstable();
    let message = if known.is_empty() {
        format!("no Extension of type {type_} is installed; install {type_} {version}, and this goes on by itself")
    } else {
        let known = crate::extension::problem::listed(known);
        format!("Extension {type_} {version} is not installed, only {known}; install it, and this goes on by itself")
    };
    Verdict::Waits { reason: "ExtensionMissing", message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extension::describe;
    use crate::names::ExtensionType;

    #[test]
    fn a_package_that_is_found_wrong_after_an_upgrade_of_midship_serves_what_runs_on_it_and_nothing_else() {
        let files = describe::scaffold(&ExtensionType::parse("demo").expect("a type"));
        let package = Arc::new(Package::load(files).unwrap_or_else(|problems| panic!("{problems}")));
        let refused = || State::Refused(package.clone(), "extension.yaml:3: it is too much".to_owned());

        let (served, doubt) = usable("demo-0.1.0", refused(), true).expect("it runs");
        assert_eq!(served.digest, package.digest);
        let told = "Extension demo-0.1.0 is found wrong by now: extension.yaml:3: it is too much; move to a version that is mended";
        assert_eq!(doubt.as_deref(), Some(told));

        let waits = |state, is_on_it| match usable("demo-0.1.0", state, is_on_it).expect_err("it waits") {
            Verdict::Waits { reason, message } => (reason, message),
            other => panic!("{other:?}"),
        };
        let message = "Extension demo-0.1.0 is not ready: extension.yaml:3: it is too much".to_owned();
        assert_eq!(waits(refused(), false), ("ExtensionNotReady", message.clone()));
        let broken = State::Broken("extension.yaml:3: it is too much".to_owned());
        assert_eq!(waits(broken, true), ("ExtensionNotReady", message));
    }
}
