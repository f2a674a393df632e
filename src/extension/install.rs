//! A package as objects of the cluster: one Extension, and immutable ConfigMaps that hold its files.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::ObjectMeta;

use super::files::{MANIFEST, PackageFiles};
use super::package::Package;
use super::problem::Problem;
use crate::api::extension::{Extension, ExtensionSpec, PackagePart, PartKind};
use crate::api::labels;
use crate::names::{ExtensionType, ExtensionVersion, NamespaceName, ObjectName};

/// Most bytes of files in one ConfigMap. The API server takes a mebibyte; names and metadata need their share of it.
const PART: usize = 768 * 1024;
/// Longest key of a ConfigMap.
const LONGEST_KEY: usize = 253;

/// What is applied to install a package. The ConfigMaps come first.
#[derive(Clone, Debug, PartialEq)]
pub struct Objects {
    pub parts: Vec<ConfigMap>,
    pub extension: Extension,
}

/// The name of the Extension object of a version. Object names have no capital letters.
pub fn name(type_: &ExtensionType, version: &ExtensionVersion) -> String {
    format!("{type_}-{version}").to_lowercase()
}

/// The key a file has in a ConfigMap or Secret: keys have no slash, so `/` becomes `_.`, and `_` becomes `__`.
pub fn key(path: &str) -> String {
    let key = path.replace('_', "__").replace('/', "_.");
    // a key must not begin with two dots
    match key.strip_prefix("..") {
        Some(rest) => format!("_-.{rest}"),
        None => key,
    }
}

/// The path of the file that has this key.
pub fn path(key: &str) -> Result<String, &'static str> {
    let mut path = String::with_capacity(key.len());
    let mut letters = key.chars();
    while let Some(letter) = letters.next() {
        match (letter, if letter == '_' { letters.next() } else { None }) {
            ('_', Some('_')) => path.push('_'),
            ('_', Some('.')) => path.push('/'),
            ('_', Some('-')) => path.push('.'),
            ('_', _) => {
                return Err("is no key of a package's file: '/' is written \"_.\" there, and '_' is written \"__\"");
            }
            (other, _) => path.push(other),
        }
    }
    Ok(path)
}

/// The files that parts hold: for each part its name, for people, and its keys.
pub fn files(parts: &[(String, BTreeMap<String, Vec<u8>>)]) -> Result<PackageFiles, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut found = Vec::new();
    for (part, keys) in parts {
        for (key, bytes) in keys {
            match path(key) {
                Ok(path) => found.push((path, bytes.clone())),
                Err(reason) => problems.push(Problem::in_file(part, format!("{key} {reason}"))),
            }
        }
    }
    match PackageFiles::new(found) {
        Ok(files) if problems.is_empty() => Ok(files),
        Ok(_) => Err(problems),
        Err(more) => Err(problems.into_iter().chain(more).collect()),
    }
}

/// The keys of a ConfigMap and what is in them.
type Part = Vec<(String, Vec<u8>)>;

/// What installs a package. `namespace` is where the ConfigMaps go; `origin` says where the package comes from.
pub fn objects(package: &Package, namespace: &NamespaceName, origin: Option<String>) -> Result<Objects, Vec<Problem>> {
    let (type_, version) = (&package.manifest.type_, &package.manifest.version);
    let mut problems = Vec::new();
    let mut filled: Vec<(usize, Part)> = Vec::new();
    for (path, bytes) in package.files.iter() {
        let key = key(path);
        if key.len() > LONGEST_KEY {
            let reason =
                format!("its name is too long for a key of a ConfigMap, which has at most {LONGEST_KEY} letters");
            problems.push(Problem::in_file(path, reason));
            continue;
        }
        let size = key.len() + bytes.len();
        match filled.last_mut().filter(|(full, _)| full + size <= PART) {
            Some((full, part)) => {
                *full += size;
                part.push((key, bytes.to_vec()));
            }
            None => filled.push((size, vec![(key, bytes.to_vec())])),
        }
    }
    let digest = package.digest.trim_start_matches("sha256:");
    let stem = format!("extension-{}-{}", name(type_, version), digest.get(..10).unwrap_or(digest));
    let labels = BTreeMap::from([
        (labels::MANAGED_BY.to_owned(), labels::MANAGER.to_owned()),
        (labels::EXTENSION.to_owned(), name(type_, version)),
    ]);
    let mut parts = Vec::new();
    let mut references = Vec::new();
    for (number, (_, files)) in filled.into_iter().enumerate() {
        let name = format!("{stem}-{number}");
        match ObjectName::parse(&name) {
            Ok(name) => references.push(PackagePart { kind: PartKind::ConfigMap, namespace: namespace.clone(), name }),
            Err(error) => problems.push(Problem::in_file(MANIFEST, error.to_string())),
        }
        parts.push(config_map(name, namespace, &labels, files));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let spec = ExtensionSpec {
        type_: type_.clone(),
        version: version.clone(),
        digest: package.digest.clone(),
        parts: references,
        origin,
    };
    Ok(Objects { parts, extension: Extension::new(&name(type_, version), spec) })
}

fn config_map(
    name: String,
    namespace: &NamespaceName,
    labels: &BTreeMap<String, String>,
    files: Vec<(String, Vec<u8>)>,
) -> ConfigMap {
    let (mut data, mut binary) = (BTreeMap::new(), BTreeMap::new());
    for (key, bytes) in files {
        match String::from_utf8(bytes) {
            Ok(text) => {
                data.insert(key, text);
            }
            Err(error) => {
                binary.insert(key, ByteString(error.into_bytes()));
            }
        }
    }
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(namespace.to_string()),
            labels: Some(labels.clone()),
            ..ObjectMeta::default()
        },
        data: (!data.is_empty()).then_some(data),
        binary_data: (!binary.is_empty()).then_some(binary),
        immutable: Some(true),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::extension::describe;

    fn keys(map: &ConfigMap) -> BTreeMap<String, Vec<u8>> {
        let texts = map.data.iter().flatten().map(|(key, text)| (key.clone(), text.clone().into_bytes()));
        let binary = map.binary_data.iter().flatten().map(|(key, bytes)| (key.clone(), bytes.0.clone()));
        texts.chain(binary).collect()
    }

    fn sample(more: &[(String, Vec<u8>)]) -> Package {
        let plain = describe::scaffold(&ExtensionType::parse("demo").expect("a type"));
        let files = plain.iter().map(|(path, bytes)| (path.to_owned(), bytes.to_vec())).chain(more.iter().cloned());
        let files = PackageFiles::new(files).unwrap_or_else(|problems| panic!("{problems:?}"));
        Package::load(files).unwrap_or_else(|problems| panic!("{problems}"))
    }

    fn install(package: &Package) -> Objects {
        let namespace = NamespaceName::parse("home").expect("a name");
        objects(package, &namespace, None).unwrap_or_else(|problems| panic!("{problems:?}"))
    }

    #[test]
    fn what_was_installed_reads_back_with_the_same_digest() {
        let package = sample(&[("docs/pg_hba.md".to_owned(), b"x".to_vec()), ("docs/a.png".to_owned(), vec![0xff, 0])]);
        let made = install(&package);
        let parts: Vec<_> = made.parts.iter().map(|part| ("part".to_owned(), keys(part))).collect();
        assert_eq!(files(&parts).expect("plain").digest(), package.digest);
        assert_eq!(made.extension.metadata.name.as_deref(), Some("demo-0.1.0"));
        assert_eq!(made.extension.spec.digest, package.digest);
        assert!(made.parts[0].data.as_ref().expect("texts").contains_key("docs_.pg__hba.md"));
    }

    #[test]
    fn a_large_package_spans_parts_of_its_digest_s_name() {
        let big = |name: &str| (format!("docs/{name}.md"), vec![b'x'; 500 * 1024]);
        let package = sample(&[big("a"), big("b"), big("c")]);
        let made = install(&package);
        let names: Vec<&str> = made.extension.spec.parts.iter().map(|part| part.name.as_str()).collect();
        assert_eq!(names.len(), 3, "{names:?}");
        assert!(names[2].starts_with("extension-demo-0.1.0-") && names[2].ends_with("-2"), "{names:?}");
        assert_ne!(install(&sample(&[])).extension.spec.parts[0].name, made.extension.spec.parts[0].name);
    }

    #[test]
    fn a_key_that_is_no_file_says_how_keys_are_written() {
        let parts = [("ConfigMap home/x".to_owned(), BTreeMap::from([("a_b".to_owned(), Vec::new())]))];
        let problems = files(&parts).expect_err("a bare underscore");
        assert!(problems[0].to_string().starts_with("ConfigMap home/x: a_b is no key"), "{}", problems[0]);
    }

    proptest! {
        #![proptest_config(crate::chance::fixed())]

        #[test]
        fn every_path_has_a_key_of_its_own(one in "[a-z0-9._-]{1,12}(/[a-z0-9._-]{1,12}){0,3}") {
            let key = key(&one);
            prop_assert!(key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)));
            prop_assert!(!key.starts_with(".."));
            let back = path(&key);
            prop_assert_eq!(back.as_deref(), Ok(one.as_str()));
        }
    }
}
