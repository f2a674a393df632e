//! Every package that ships is right, passes its own tests, and renders fast.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::cases;
use super::*;

pub fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The files of a directory as a package.
pub fn read(directory: &Path) -> PackageFiles {
    fn walk(root: &Path, at: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
        for entry in std::fs::read_dir(at).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(root, &path, found);
            } else {
                let name = path.strip_prefix(root).expect("below").to_string_lossy().replace('\\', "/");
                found.insert(name, std::fs::read(&path).expect("a file"));
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(directory, directory, &mut found);
    PackageFiles::new(found).expect("plain files")
}

pub fn shipped() -> Vec<(String, Package)> {
    let mut packages = Vec::new();
    let root = repository().join("extensions");
    let mut types: Vec<PathBuf> = std::fs::read_dir(&root)
        .expect("extensions")
        .map(|e| e.expect("entry").path())
        .filter(|p| p.is_dir())
        .collect();
    types.sort();
    for kind in types {
        let mut versions: Vec<PathBuf> =
            std::fs::read_dir(&kind).expect("versions").map(|e| e.expect("entry").path()).collect();
        versions.sort();
        for version in versions {
            let name = version.strip_prefix(&root).expect("below").display().to_string();
            match Package::load(read(&version)) {
                Ok(package) => packages.push((name, package)),
                Err(problems) => panic!("{name}:\n{problems}"),
            }
        }
    }
    packages
}

#[test]
fn every_package_that_ships_is_right_and_passes_its_own_tests() {
    let mut failed = Vec::new();
    for (name, package) in shipped() {
        let outcomes = cases::run(&package, &cue::Nobody);
        assert!(!outcomes.is_empty(), "{name} has no tests");
        failed.extend(outcomes.iter().filter(|outcome| !outcome.passed()).map(|outcome| format!("{name}/{outcome}")));
    }
    assert!(failed.is_empty(), "\n{}", failed.join("\n"));
}

#[test]
fn a_package_lies_where_its_name_says_and_stays_small() {
    for (name, package) in shipped() {
        assert_eq!(name, format!("{}/{}", package.manifest.type_, package.manifest.version));
        let lines: usize = package.files.iter().map(|(_, bytes)| bytes.split(|byte| *byte == b'\n').count()).sum();
        assert!(lines < 1000, "{name} has {lines} lines");
        println!("{name}: {lines} lines, {}", package.digest);
    }
}

/// Resolves and renders one instance of a shipped package.
pub fn sample(package: &Package, spec: serde_json::Value) -> (Resolved, Rendered) {
    let name = crate::names::InstanceName::parse("sample").expect("a name");
    let namespace = crate::names::NamespaceName::parse("default").expect("a namespace");
    let spec = serde_json::from_value(spec).expect("a spec");
    let asked = Asked { name: &name, namespace: &namespace, spec: &spec };
    cases::preview(package, asked, &Surroundings::default()).unwrap_or_else(|refusals| panic!("{refusals}"))
}

#[test]
fn rendering_is_deterministic_and_quick() {
    for (name, package) in shipped() {
        let version = package.manifest.versions.first().expect("a version").version.clone();
        for topology in package.manifest.topologies.keys() {
            let spec = serde_json::json!({ "type": package.manifest.type_, "extensionVersion": package.manifest.version,
                "version": version, "topology": topology });
            let (_, first) = sample(&package, spec.clone());
            let begun = std::time::Instant::now();
            for _ in 0..10 {
                let (_, again) = sample(&package, spec.clone());
                assert_eq!(first.manifests(), again.manifests());
                assert_eq!(first.secrets, again.secrets);
            }
            println!("{name} {topology}: {:.2} ms", begun.elapsed().as_secs_f64() * 100.0);
            if std::env::var("MIDSHIP_SHOW").is_ok_and(|wanted| wanted == format!("{name} {topology}")) {
                for manifest in first.manifests() {
                    println!("---\n{}", serde_saphyr::to_string(&manifest).expect("YAML"));
                }
            }
        }
    }
}

#[test]
fn only_the_agent_sees_its_certificate() {
    for (name, package) in shipped() {
        let version = package.manifest.versions.first().expect("a version").version.clone();
        let spec = serde_json::json!({ "type": package.manifest.type_, "extensionVersion": package.manifest.version,
            "version": version });
        let (_, rendered) = sample(&package, spec);
        let components = serde_json::to_value(&rendered.components).expect("plain data").to_string();
        assert!(components.contains("\"secretName\":\"sample-agent\""), "{name}");
        for component in &rendered.components {
            let pods = component.spec.groups.iter().map(|group| group.template.spec.open());
            for pod in pods {
                let containers = ["containers", "initContainers"].iter().filter_map(|list| pod[*list].as_array());
                for container in containers.flatten() {
                    let mounts = container["volumeMounts"].to_string().contains("/midship/agent-tls");
                    assert_eq!(mounts, container["name"] == "midship", "{name}: {}", container["name"]);
                }
            }
        }
    }
}

/// All source text but that of the contract and of tests.
fn source(folder: &std::path::Path, text: &mut String) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            if !path.ends_with("contract") && !path.ends_with("wrong_tests") {
                source(&path, text);
            }
        } else if path.extension().is_some_and(|kind| kind == "rs") && !path.ends_with("extension/tests.rs") {
            text.push_str(&std::fs::read_to_string(&path).expect("text"));
        }
    }
}

#[test]
fn every_action_is_called_or_said_not_to_be() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut text = String::new();
    source(&root.join("src"), &mut text);
    let manual = std::fs::read_to_string(root.join("docs/extensions.md")).expect("the manual");
    for name in super::contract::Actions::NAMES {
        let mut field = String::new();
        for letter in name.chars() {
            if letter.is_uppercase() {
                field.push('_');
            }
            field.extend(letter.to_lowercase());
        }
        let called = text.contains(&format!("\"{name}\"")) || text.contains(&format!("actions.{field}"));
        let line = manual.lines().find(|line| line.starts_with('|') && line.contains(&format!("`{name}`")));
        let line = line.unwrap_or_else(|| panic!("docs/extensions.md has no row with {name}"));
        assert_ne!(called, line.contains("not called yet"), "{name}: called or not, docs/extensions.md says otherwise");
    }
}
