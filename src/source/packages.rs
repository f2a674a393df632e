//! Packages in a repository, `extensions/<type>/<version>/…`: each folder becomes an Extension and the ConfigMaps that hold
//! its files, or errors with their places.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::Place;
use super::ignore::Ignore;
use crate::api::git_source::FileError;
use crate::extension::files::MANIFEST;
use crate::extension::{Package, PackageFiles, Problem, install};
use crate::names::NamespaceName;
use crate::plan::source::manifest::{self, Manifest, Placement, Reading};
use crate::plan::source::{ObjectId, ObjectKind};
use crate::repo::{FileTree, Limits, Listing, TreeError};

/// The folder of the package a file belongs to.
pub fn folder(path: &str, placement: &Placement) -> Option<String> {
    let inside = path.strip_prefix(placement.folder.as_str())?.strip_prefix("extensions/")?;
    let mut parts = inside.splitn(3, '/');
    let (type_, version, _) = (parts.next()?, parts.next()?, parts.next()?);
    Some(format!("{}extensions/{type_}/{version}", placement.folder))
}

/// Reads the packages in these folders anew, and forgets those that are gone.
pub fn read(
    (tree, listing): (&impl FileTree, &Listing),
    limits: &Limits,
    placement: &Placement,
    ignore: &Ignore,
    folders: &BTreeSet<String>,
    places: &mut BTreeMap<String, Place>,
) -> Result<(), TreeError> {
    if folders.is_empty() {
        return Ok(());
    }
    let mut found: BTreeMap<&String, Vec<(String, Vec<u8>)>> = BTreeMap::new();
    let mut refused: BTreeMap<&String, Vec<FileError>> = BTreeMap::new();
    for (path, file) in listing.files() {
        let Some(folder) = folder(&path, placement).and_then(|folder| folders.get(&folder)) else { continue };
        if ignore.of(&path).is_some() {
            continue;
        }
        let inside = path[folder.len() + 1..].to_owned();
        match tree.read(&path, file, limits) {
            Ok(bytes) => found.entry(folder).or_default().push((inside, bytes)),
            Err(TreeError::Refused(refusal)) => {
                let error = super::refused(refusal.path, refusal.code.as_str(), refusal.reason);
                refused.entry(folder).or_default().push(error);
            }
            Err(error) => return Err(error),
        }
    }
    // half a package is none
    for refusal in listing.refused().into_iter().filter(|refusal| ignore.of_anything(&refusal.path).is_none()) {
        if let Some(folder) = folder(&refusal.path, placement).and_then(|folder| folders.get(&folder)) {
            let error = super::refused(refusal.path.clone(), refusal.code.as_str(), refusal.reason.clone());
            refused.entry(folder).or_default().push(error);
        }
    }
    for folder in folders {
        let errors = refused.remove(folder).unwrap_or_default();
        match found.remove(folder) {
            None if errors.is_empty() => {
                places.remove(folder);
            }
            inside => {
                let reading = package(folder, inside.unwrap_or_default(), errors, placement);
                places.insert(folder.clone(), Place { blob: None, reading: Arc::new(reading) });
            }
        }
    }
    Ok(())
}

fn package(folder: &str, files: Vec<(String, Vec<u8>)>, mut errors: Vec<FileError>, placement: &Placement) -> Reading {
    if errors.is_empty() {
        match objects(folder, files, placement) {
            Ok(objects) => return Reading { objects, ..Reading::default() },
            Err(problems) => errors = problems.into_iter().map(|problem| at(folder, problem)).collect(),
        }
    }
    Reading { errors, ..Reading::default() }
}

fn objects(folder: &str, files: Vec<(String, Vec<u8>)>, placement: &Placement) -> Result<Vec<Manifest>, Vec<Problem>> {
    let wrong = |reason: String| vec![Problem::new(MANIFEST, 1, 1, reason)];
    let package = Package::load(PackageFiles::new(files)?).map_err(|problems| problems.0)?;
    let manifest = &package.manifest;
    let own = format!("{}/{}", manifest.type_, manifest.version);
    if !folder.ends_with(&format!("/{own}")) {
        return Err(wrong(format!("this is {own}, but the folder is {folder}; name the folder extensions/{own}")));
    }
    let namespace = NamespaceName::parse(&placement.default_namespace).map_err(|error| wrong(error.to_string()))?;
    let made = install::objects(&package, &namespace, None)?;
    let typed = |mut body: Value, api_version: &str, kind: &str| {
        body["apiVersion"] = api_version.into();
        body["kind"] = kind.into();
        if let Some(body) = body.as_object_mut() {
            body.remove("status");
        }
        body
    };
    let parts = made.parts.iter().map(|part| {
        let body = serde_json::to_value(part).unwrap_or_default();
        (ObjectKind::ConfigMap, typed(body, "v1", "ConfigMap"))
    });
    let extension = serde_json::to_value(&made.extension).unwrap_or_default();
    let extension = (ObjectKind::Extension, typed(extension, crate::api::API_VERSION, "Extension"));
    let path: Arc<str> = format!("{folder}/{MANIFEST}").into();
    let manifests = parts.chain([extension]).map(|(kind, body)| Manifest {
        id: ObjectId {
            kind,
            namespace: body["metadata"]["namespace"].as_str().map(str::to_owned),
            name: body["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
        },
        path: path.clone(),
        line: 1,
        digest: manifest::digest(&body),
        body: Arc::new(body),
    });
    Ok(manifests.collect())
}

/// A problem of a package with its place in the repository.
fn at(folder: &str, problem: Problem) -> FileError {
    let number = |number: usize| u32::try_from(number).ok().filter(|number| *number > 0);
    FileError {
        path: format!("{folder}/{}", problem.path),
        line: number(problem.line),
        column: number(problem.column),
        code: "package".to_owned(),
        message: problem.reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extension::describe;
    use crate::names::ExtensionType;
    use crate::repo::MemoryTree;
    use crate::source::{Defined, read};

    fn defined(folder: &str, change: impl Fn(&str, String) -> String) -> Defined {
        let plain = describe::scaffold(&ExtensionType::parse("demo").expect("a type"));
        let files: Vec<(String, String)> = plain
            .iter()
            .map(|(path, bytes)| {
                (format!("{folder}/{path}"), change(path, String::from_utf8_lossy(bytes).into_owned()))
            })
            .collect();
        let tree: MemoryTree = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        let placement =
            Placement { default_namespace: "team".into(), allowed: None, folder: String::new(), sources: true };
        read(&tree, &Limits::default(), &placement, None).expect("the tree can be read").defined()
    }

    #[test]
    fn a_package_becomes_its_files_and_then_its_extension() {
        let defined = defined("extensions/demo/0.1.0", |_, text| text);
        assert_eq!(defined.errors, []);
        let kinds: Vec<&str> = defined.objects.iter().map(|manifest| manifest.id.kind.as_str()).collect();
        assert_eq!(kinds, ["ConfigMap", "Extension"]);
        assert_eq!(defined.objects[0].id.namespace.as_deref(), Some("team"));
        assert_eq!(defined.objects[1].id.to_string(), "Extension demo-0.1.0");
    }

    #[test]
    fn a_mistake_in_a_package_has_its_place_in_the_repository() {
        let defined =
            defined("extensions/demo/0.1.0", |_, text| text.replace("connections = {{ params", "x = {{ parms"));
        assert!(defined.objects.is_empty());
        let error = &defined.errors[0];
        assert_eq!((error.path.as_str(), error.line), ("extensions/demo/0.1.0/config/server.conf.j2", Some(2)));
        // what was installed of it stays
        let extension = ObjectId { kind: ObjectKind::Extension, namespace: None, name: "demo-0.1.0".to_owned() };
        assert!(defined.unknown.covers(&extension, Some("extensions/demo/0.1.0/extension.yaml")));
        assert!(!defined.unknown.covers(&extension, Some("extensions/demo/0.2.0/extension.yaml")));
    }

    #[test]
    fn a_folder_is_named_after_its_package() {
        let defined = defined("extensions/demo/0.2.0", |_, text| text);
        let wanted =
            "this is demo/0.1.0, but the folder is extensions/demo/0.2.0; name the folder extensions/demo/0.1.0";
        assert_eq!(defined.errors[0].message, wanted);
    }
}
