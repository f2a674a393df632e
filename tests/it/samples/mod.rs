//! The samples in `docs/` and in every Markdown page: together they show every field, and shipped packages take them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use midship::api::{Instance, Kind};
use midship::extension::{Asked, Package, PackageFiles, Surroundings, resolve};
use midship::names::{InstanceName, NamespaceName};
use midship::plan::source::AUDIT_KEY;
use serde_json::Value;

/// An object of ours that stands somewhere in the documentation.
pub struct Sample {
    /// The file and the line it starts in.
    pub place: String,
    pub kind: Kind,
    pub object: Value,
}

/// Every object of ours in `docs/samples/` and in the fenced blocks of Markdown pages.
pub fn samples() -> Vec<Sample> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![root.join("README.md"), root.join("CONTRIBUTING.md")];
    for folder in ["docs", "charts", "repo-template", "extensions"] {
        files_below(&root.join(folder), &mut files);
    }
    files.sort();
    let mut found = Vec::new();
    for file in files {
        let name = file.strip_prefix(root).expect("below the root").display().to_string();
        let text = || std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{name}: {error}"));
        let ending = file.extension().and_then(std::ffi::OsStr::to_str);
        if name.starts_with("docs/samples/") && ending == Some("yaml") {
            objects(&name, 1, &text(), &mut found);
        } else if ending == Some("md") && file.is_file() {
            for (line, block) in fenced_yaml(&text()) {
                if block.contains("apiVersion: midship.dev") {
                    objects(&name, line, &block, &mut found);
                }
            }
        }
    }
    found
}

fn files_below(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.expect("a folder can be read").path();
        if path.is_dir() { files_below(&path, files) } else { files.push(path) }
    }
}

/// The blocks between ```` ```yaml ```` and ```` ``` ````, each with the line it starts in.
fn fenced_yaml(page: &str) -> Vec<(usize, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, usize, String)> = None;
    for (number, line) in page.lines().enumerate() {
        let indent = line.len() - line.trim_start().len();
        match &mut open {
            None if ["```yaml", "```yml"].contains(&line.trim()) => open = Some((number + 2, indent, String::new())),
            Some(_) if line.trim() == "```" => blocks.extend(open.take().map(|(line, _, block)| (line, block))),
            Some((_, indent, block)) => {
                block.push_str(line.get(*indent..).unwrap_or_default());
                block.push('\n');
            }
            None => {}
        }
    }
    blocks
}

fn objects(file: &str, first_line: usize, text: &str, found: &mut Vec<Sample>) {
    let mut line = first_line;
    for document in text.split_inclusive("\n---\n") {
        let place = format!("{file}:{line}");
        line += document.lines().count();
        let body = document.strip_suffix("---\n").unwrap_or(document);
        let object: Value = serde_saphyr::from_str(body).unwrap_or_else(|error| panic!("{place}: {error}"));
        if object["apiVersion"] != "midship.dev/v1alpha1" {
            continue;
        }
        let kind = object["kind"].as_str().unwrap_or_else(|| panic!("{place}: no kind"));
        let kind = Kind::find(kind).unwrap_or_else(|| panic!("{place}: {kind} is none of our kinds"));
        found.push(Sample { place, kind, object });
    }
}

#[test]
fn every_field_of_every_kind_is_shown_in_a_sample() {
    let mut shown = BTreeSet::new();
    for sample in samples() {
        collect_shown(sample.kind.as_str(), &sample.object["spec"], &mut shown);
    }
    let mut missing = Vec::new();
    for kind in Kind::ALL {
        let crd = serde_json::to_value(kind.crd()).expect("plain data");
        let spec = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        collect_missing(kind.as_str(), spec, &shown, &mut missing);
    }
    assert!(missing.is_empty(), "no sample shows these:\n{}", missing.join("\n"));
}

/// Paths of fields; what is in a list or under a key of one's own has the path of its container.
fn collect_shown(path: &str, value: &Value, shown: &mut BTreeSet<String>) {
    shown.insert(path.to_owned());
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                collect_shown(&format!("{path}.{name}"), field, shown);
                collect_shown(&format!("{path}.*"), field, shown);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect_shown(path, item, shown)),
        _ => {}
    }
}

fn collect_missing(path: &str, schema: &Value, shown: &BTreeSet<String>, missing: &mut Vec<String>) {
    if !shown.contains(path) {
        missing.push(path.to_owned());
        return;
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        collect_missing(&format!("{path}.{name}"), property, shown, missing);
    }
    if schema["items"].is_object() {
        collect_missing(path, &schema["items"], shown, missing);
    }
    if schema["additionalProperties"].is_object() {
        collect_missing(&format!("{path}.*"), &schema["additionalProperties"], shown, missing);
    }
}

#[test]
fn instances_in_samples_are_what_the_shipped_packages_take() {
    let mut resolved = 0;
    for Sample { place, object, .. } in samples().into_iter().filter(|sample| sample.kind == Kind::Instance) {
        let instance: Instance = serde_json::from_value(object).unwrap_or_else(|error| panic!("{place}: {error}"));
        let spec = &instance.spec;
        let folder =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("extensions/{}/{}", spec.type_, spec.extension_version));
        if !folder.is_dir() {
            continue;
        }
        let mut paths = Vec::new();
        files_below(&folder, &mut paths);
        let files = paths.iter().map(|path| {
            let name = path.strip_prefix(&folder).expect("below it").display().to_string();
            (name, std::fs::read(path).expect("a file"))
        });
        let files = PackageFiles::new(files).expect("plain files");
        let package = Package::load(files).unwrap_or_else(|problems| panic!("{problems}"));
        let name = InstanceName::parse(instance.metadata.name.as_deref().expect("a name")).expect("a name");
        let namespace = NamespaceName::parse(instance.metadata.namespace.as_deref().unwrap_or("default")).expect("one");
        let asked = Asked { name: &name, namespace: &namespace, spec };
        if let Err(refusals) = resolve(&package, asked, &Surroundings::default()) {
            panic!("{place}: {refusals}");
        }
        resolved += 1;
    }
    assert!(resolved >= 3, "only {resolved}");
}

/// The newest version of a package that is shipped.
fn newest(type_: &str) -> Option<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("extensions").join(type_);
    let versions = std::fs::read_dir(folder).ok()?;
    let versions = versions.filter_map(|entry| semver::Version::parse(entry.ok()?.file_name().to_str()?).ok());
    versions.max().map(|version| version.to_string())
}

#[test]
fn whoever_begins_with_a_sample_or_the_template_begins_on_the_newest_packages() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let begin = |sample: &Sample| ["README.md", "docs/samples/"].iter().any(|start| sample.place.starts_with(start));
    let mut found: Vec<Sample> = samples().into_iter().filter(begin).collect();
    let mut files = Vec::new();
    files_below(&root.join("repo-template/instances"), &mut files);
    for file in files {
        let text = std::fs::read_to_string(&file).expect("text");
        objects(&file.display().to_string(), 1, &text, &mut found);
    }
    let mut compared = 0;
    for Sample { place, object, .. } in found.into_iter().filter(|sample| sample.kind == Kind::Instance) {
        let (type_, version) = (&object["spec"]["type"], &object["spec"]["extensionVersion"]);
        if let Some(newest) = type_.as_str().and_then(newest) {
            assert_eq!(version.as_str(), Some(newest.as_str()), "{place}");
            compared += 1;
        }
    }
    assert!(compared >= 8, "only {compared}");
}

#[test]
fn no_sample_names_a_secret_that_midship_keeps_for_itself() {
    for Sample { place, object, .. } in samples() {
        assert!(!object.to_string().contains(&format!("{AUDIT_KEY}\"")), "{place}");
    }
}

#[test]
fn samples_in_pages_are_found_where_they_stand() {
    let page =
        "# A page\n\n```yaml\na: 1\n```\n\n- in a list\n  ```yaml\n  b:\n    c: 2\n  ```\n```sh\nnot: this\n```\n";
    assert_eq!(fenced_yaml(page), [(4, "a: 1\n".to_owned()), (9, "b:\n  c: 2\n".to_owned())]);
}
