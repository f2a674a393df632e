//! What no look at one object finds: schedules that never come, names that nothing here has, Secrets that everybody can
//! read, a folder that is not the one that was meant.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use super::snapshot::{EXTENSIONS, Snapshot};
use super::spot;
use crate::api::git_source::FileError;
use crate::api::operation::OperationType;
use crate::extension::Refusal;
use crate::extension::problem::{Code, listed, unknown};
use crate::plan::operation::kinds;
use crate::plan::schedule::{Schedule, ScheduleError};
use crate::plan::source::manifest::SETTINGS;
use crate::plan::source::{Manifest, ObjectKind};
use crate::repo::History;

/// Notes of a kind that are told to people one by one.
const NAMED: usize = 10;

/// Schedules of policies that can never come: the API server looks at their form alone.
pub fn wrong_schedules(snapshot: &Snapshot) -> Vec<FileError> {
    let policies = snapshot.defined.objects.iter().filter(|one| one.id.kind == ObjectKind::BackupPolicy);
    let wrong = policies.flat_map(|policy| {
        let wrong = unscheduled(&policy.body["spec"]);
        wrong.into_iter().map(move |refusal| spot::refused(snapshot, policy, &refusal))
    });
    wrong.collect()
}

fn unscheduled(spec: &Value) -> Vec<Refusal> {
    let mut wrong = Vec::new();
    let mut look = |(field, cron): (String, Option<&str>), (zone_field, zone): (String, Option<&str>)| {
        let Some(cron) = cron else { return };
        let (field, error) = match Schedule::parse(cron, zone) {
            Err(error @ ScheduleError::TimeZone(_)) => (zone_field, error),
            Err(error) => (field, error),
            Ok(_) => return,
        };
        wrong.push(Refusal::new(field, Code::Invalid, error.to_string()));
    };
    for (index, one) in spec["schedules"].as_array().into_iter().flatten().enumerate() {
        let said = |field: &str| (format!("spec.schedules[{index}].{field}"), one[field].as_str());
        look(said("cron"), said("timeZone"));
    }
    for field in ["read", "restore"] {
        look((format!("spec.verification.{field}"), spec["verification"][field].as_str()), (String::new(), None));
    }
    wrong
}

/// Everything that is no mistake by itself, and mostly one. `policies` are those that instances go by.
pub fn notes(snapshot: &Snapshot, policies: &[(&Manifest, String)]) -> Vec<String> {
    let kinds = [
        without_package(snapshot),
        dangling(snapshot, policies),
        unsaid(snapshot),
        readable(snapshot),
        unbuilt(snapshot),
        in_capitals(snapshot),
    ];
    kinds.into_iter().flat_map(few).collect()
}

/// The first of many, and how many more there are.
pub fn few(mut notes: Vec<String>) -> Vec<String> {
    let more = notes.len().saturating_sub(NAMED);
    if more > 1 {
        notes.truncate(NAMED);
        notes.push(format!("and {more} more like the last"));
    }
    notes
}

/// Instances whose packages are not in the repository: they may well be installed in the cluster.
fn without_package(snapshot: &Snapshot) -> Vec<String> {
    let mut missing: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for manifest in snapshot.defined.objects.iter().filter(|one| one.id.kind == ObjectKind::Instance) {
        let spec = &manifest.body["spec"];
        let (Some(type_), Some(version)) = (spec["type"].as_str(), spec["extensionVersion"].as_str()) else { continue };
        if !snapshot.shelf.names().any(|name| name == (type_, version)) {
            missing.entry((type_, version)).or_default().push(&manifest.path);
        }
    }
    let has_some = snapshot.shelf.names().next().is_some();
    let told = missing.into_iter().map(|((type_, version), mut files)| {
        files.dedup();
        let meant = snapshot.shelf.get(type_, version).err().filter(|_| has_some);
        let meant = meant.map(|meant| format!("; here {}", meant.trim_start_matches("no package: ")));
        format!(
            "the package {type_} {version} is not in {EXTENSIONS}/: what it makes of {} was not looked at; it has to be there, or installed in the cluster (midship extension install){}",
            listed(files),
            meant.unwrap_or_default()
        )
    });
    told.collect()
}

/// Names of objects that these files do not define. The cluster may have them.
fn dangling(snapshot: &Snapshot, policies: &[(&Manifest, String)]) -> Vec<String> {
    // what a file defines that is wrong is not known
    if !snapshot.defined.errors.is_empty() {
        return Vec::new();
    }
    let objects = &snapshot.defined.objects;
    let mut known: BTreeMap<(ObjectKind, Option<&str>), BTreeSet<&str>> = BTreeMap::new();
    for one in objects {
        known.entry((one.id.kind, one.id.namespace.as_deref())).or_default().insert(&one.id.name);
    }
    let of = policies
        .iter()
        .map(|(instance, name)| (*instance, ObjectKind::BackupPolicy, "spec.backup.policy", name.as_str()));
    let others = objects.iter().filter_map(|one| {
        let (kind, place, name) = match one.id.kind {
            ObjectKind::BackupPolicy => {
                (ObjectKind::BackupRepository, "spec.repository", &one.body["spec"]["repository"])
            }
            ObjectKind::Operation => (ObjectKind::Instance, "spec.instance", &one.body["spec"]["instance"]),
            _ => return None,
        };
        Some((one, kind, place, name.as_str()?))
    });
    let missing = of.chain(others).filter_map(|(from, kind, field, name)| {
        let here = known.get(&(kind, from.id.namespace.as_deref()));
        if here.is_some_and(|here| here.contains(name)) {
            return None;
        }
        let missing = unknown(&format!("{kind:?}"), name, here.into_iter().flatten().copied());
        Some(format!("{}: {field}: in these files {missing}", from.path))
    });
    missing.collect()
}

/// Environments that namespaces are said to be of, and that nobody says anything of: a word that is mistyped gives
/// instances none of what is assumed for the one that was meant.
fn unsaid(snapshot: &Snapshot) -> Vec<String> {
    let Some(own) = snapshot.own.as_deref().filter(|own| !own.environments.is_empty()) else { return Vec::new() };
    let named = own.namespaces.iter().filter_map(|(namespace, said)| Some((namespace, said.environment.as_ref()?)));
    let unsaid = named.filter(|(_, environment)| !own.environments.contains_key(*environment));
    let packages = || snapshot.shelf.names().filter_map(|(type_, version)| snapshot.shelf.get(type_, version).ok());
    let unsaid = unsaid
        .filter(|(_, environment)| !packages().any(|one| one.manifest.environments.contains_key(*environment)))
        .map(|(namespace, environment)| {
            let known = own.environments.keys().map(AsRef::as_ref);
            let missing = unknown("environment", environment.as_str(), known);
            format!("{SETTINGS}: namespaces.{namespace}.environment: {missing}")
        });
    unsaid.collect()
}

/// Secrets that are not encrypted.
fn readable(snapshot: &Snapshot) -> Vec<String> {
    let secrets = snapshot.defined.objects.iter().filter(|one| one.id.kind == ObjectKind::Secret);
    let open = secrets.filter(|one| {
        let holds = |field: &str| one.body[field].as_object().is_some_and(|held| !held.is_empty());
        !snapshot.sealed.contains_key(&*one.path) && (holds("data") || holds("stringData"))
    });
    let told = open.map(|one| {
        format!(
            "{}:{}: {} is not encrypted: whoever can read the repository can read it, and its history keeps it; encrypt it with sops, and change what is in it",
            one.path, one.line, one.id
        )
    });
    told.collect()
}

/// Operations of types that nothing carries out yet.
fn unbuilt(snapshot: &Snapshot) -> Vec<String> {
    let operations = snapshot.defined.objects.iter().filter(|one| one.id.kind == ObjectKind::Operation);
    let told = operations.filter_map(|one| {
        let type_: OperationType = serde_json::from_value(one.body["spec"]["type"].clone()).ok()?;
        let fails = kinds::of(type_).is_none();
        fails.then(|| format!("{}: spec.type: operations of the type {type_:?} are not built yet, and fail", one.path))
    });
    told.collect()
}

/// Files that look as if they were read, and are not.
fn in_capitals(snapshot: &Snapshot) -> Vec<String> {
    let told = snapshot.in_capitals.iter().filter_map(|path| {
        let (stem, ending) = path.rsplit_once('.')?;
        let small = ending.to_ascii_lowercase();
        Some(format!(
            "{path} is not read: its ending is in capitals; name it {stem}.{small} if it is meant for Midship, or under ignore in midship.yaml if it is not"
        ))
    });
    told.collect()
}

/// Why these files may not be all that was meant to be looked at.
pub fn elsewhere(folder: &Path) -> Option<String> {
    let full = folder.canonicalize().ok().filter(|full| full.is_dir())?;
    let top = History::open(&full).ok()?.work_tree()?.canonicalize().ok()?;
    let mut inside = full.ancestors().take_while(|above| above.starts_with(&top));
    let above = inside.find(|above| above.join(SETTINGS).is_file()).filter(|above| *above != full)?;
    Some(format!(
        "{SETTINGS} lies in {}: what it says, and the packages beside it, count only where that folder is looked at",
        above.display()
    ))
}

/// What a folder without any file that is read mostly is.
pub fn nothing_here(files: usize) -> Option<String> {
    let told = "no file here ends in .yaml, .yml or .json: is this the folder that the GitSource reconciles?";
    (files == 0).then(|| told.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_schedule_that_never_comes_is_refused_with_its_field() {
        let told = |spec: Value| unscheduled(&spec).iter().map(ToString::to_string).collect::<Vec<_>>();
        let schedules =
            |cron: &str, zone: &str| json!({ "schedules": [{ "cron": "@daily" }, { "cron": cron, "timeZone": zone }] });
        assert!(told(schedules("30 1 * * *", "UTC")).is_empty());
        assert_eq!(told(schedules("0 0 30 2 *", "UTC")), ["spec.schedules[1].cron: \"0 0 30 2 *\" never happens"]);
        let zone = told(schedules("30 1 * * *", "Europe/Berln"));
        let refused = "spec.schedules[1].timeZone: \"Europe/Berln\" is no time zone; use a name such as Europe/Berlin, or leave it out for UTC";
        assert_eq!(zone, [refused]);
        let proofs = told(json!({ "verification": { "read": "0 25 * * *", "restore": "@weekly" } }));
        assert!(
            matches!(&proofs[..], [one] if one.starts_with("spec.verification.read: \"0 25 * * *\" is no schedule: ")),
            "{proofs:?}"
        );
    }

    #[test]
    fn of_many_notes_the_first_are_told() {
        assert_eq!(few(vec!["a".to_owned(); 11]).len(), 11);
        let told = few(vec!["a".to_owned(); 12]);
        assert_eq!((told.len(), told[10].as_str()), (11, "and 2 more like the last"));
    }
}
