//! The manifest of a package in a registry, pure: from files to what is uploaded, and from what was read to what to fetch.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::reference::is_digest;
use crate::extension::{Package, PackageFiles};

/// The kind of artifact a package is.
pub const TYPE: &str = "application/vnd.midship.extension.v1";
pub(super) const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const FILE_TYPE: &str = "application/vnd.midship.extension.file.v1";
const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";
pub(super) const EMPTY: &[u8] = b"{}";

const TITLE: &str = "org.opencontainers.image.title";
const VERSION: &str = "org.opencontainers.image.version";
const DESCRIPTION: &str = "org.opencontainers.image.description";
const LICENSES: &str = "org.opencontainers.image.licenses";
const PACKAGE_TYPE: &str = "dev.midship.extension.type";
const PACKAGE_DIGEST: &str = "dev.midship.extension.digest";
/// What `oras` says of a folder it packed.
const UNPACK: &str = "io.deis.oras.content.unpack";

/// A file of a package, as its blob is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    pub path: String,
    pub digest: String,
    pub size: usize,
}

/// What a manifest says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    pub blobs: Vec<Blob>,
    annotations: BTreeMap<String, String>,
}

impl Artifact {
    /// The middleware's type and the package's version, where whoever pushed it said so.
    pub fn name(&self) -> (Option<&str>, Option<&str>) {
        (self.annotation(PACKAGE_TYPE), self.annotation(VERSION))
    }

    pub fn description(&self) -> Option<&str> {
        self.annotation(DESCRIPTION)
    }

    fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations.get(name).map(String::as_str)
    }
}

pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// The manifest of a package. The same files give the same bytes.
pub fn manifest(package: &Package) -> Vec<u8> {
    let said = &package.manifest;
    let title = said.title.clone().unwrap_or_else(|| said.type_.to_string());
    let mut annotations = BTreeMap::from([
        (TITLE, title),
        (VERSION, said.version.to_string()),
        (PACKAGE_TYPE, said.type_.to_string()),
        (PACKAGE_DIGEST, package.digest.clone()),
    ]);
    annotations.extend(said.description.clone().map(|text| (DESCRIPTION, text)));
    annotations.extend(said.license.clone().map(|text| (LICENSES, text)));
    let layer = |(path, bytes): (&str, &[u8])| json!({ "mediaType": FILE_TYPE, "digest": digest(bytes), "size": bytes.len(), "annotations": { TITLE: path } });
    let layers: Vec<Value> = package.files.iter().map(layer).collect();
    let config = json!({ "mediaType": EMPTY_TYPE, "digest": digest(EMPTY), "size": EMPTY.len() });
    let manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST_TYPE, "artifactType": TYPE, "config": config,
        "layers": layers, "annotations": annotations });
    manifest.to_string().into_bytes()
}

/// Reads a manifest, or says why it is not one of a package.
pub fn read(bytes: &[u8]) -> Result<Artifact, String> {
    let manifest: Value = serde_json::from_slice(bytes).map_err(|error| format!("its manifest is no JSON: {error}"))?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let kinds = [text(&manifest["artifactType"]), text(&manifest["config"]["mediaType"])];
    if !kinds.iter().any(|kind| kind == TYPE) {
        let kind = kinds.iter().chain([&text(&manifest["mediaType"])]).find(|kind| !kind.is_empty()).cloned();
        let kind = kind.unwrap_or_else(|| "something without a type".to_owned());
        return Err(format!("it is {kind}, and a package has the artifact type {TYPE}"));
    }
    let layers = manifest["layers"].as_array().map_or(&[][..], Vec::as_slice);
    if layers.len() > PackageFiles::MAX_FILES {
        return Err(format!("it has {} files, at most {} are allowed", layers.len(), PackageFiles::MAX_FILES));
    }
    let mut blobs = Vec::with_capacity(layers.len());
    let mut total = 0usize;
    for layer in layers {
        let (path, digest) = (text(&layer["annotations"][TITLE]), text(&layer["digest"]));
        if layer["annotations"][UNPACK] == "true" {
            return Err(format!("{path} is a packed folder; push each file by its path, not the folder"));
        }
        if path.is_empty() {
            return Err(format!("the blob {digest} has no {TITLE}, which says the file's path"));
        }
        if !is_digest(&digest) {
            return Err(format!("{path} has the digest {digest:?}; it is sha256: and 64 hexadecimal digits"));
        }
        let size = layer["size"].as_u64().and_then(|size| usize::try_from(size).ok()).unwrap_or(usize::MAX);
        total = total.saturating_add(size);
        if size > PackageFiles::MAX_FILE || total > PackageFiles::MAX_TOTAL {
            return Err(format!(
                "{path} makes it too large: a file has at most {} bytes, a package {}",
                PackageFiles::MAX_FILE,
                PackageFiles::MAX_TOTAL
            ));
        }
        blobs.push(Blob { path, digest, size });
    }
    let annotations = manifest["annotations"].as_object().into_iter().flatten();
    let annotations = annotations.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
    Ok(Artifact { blobs, annotations: annotations.collect() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extension::describe;
    use crate::names::ExtensionType;

    fn package() -> Package {
        let files = describe::scaffold(&ExtensionType::parse("demo").expect("a type"));
        Package::load(files).unwrap_or_else(|problems| panic!("{problems}"))
    }

    #[test]
    fn a_manifest_names_every_file_and_reads_as_it_was_written() {
        let package = package();
        let artifact = read(&manifest(&package)).expect("a package");
        let paths: Vec<&str> = artifact.blobs.iter().map(|blob| blob.path.as_str()).collect();
        assert_eq!(paths, package.files.paths().collect::<Vec<_>>());
        assert_eq!(artifact.name(), (Some("demo"), Some("0.1.0")));
        assert_eq!(manifest(&package), manifest(&self::package()));
    }

    #[test]
    fn what_is_no_package_is_told_why() {
        let changed = |change: &dyn Fn(&mut Value)| {
            let mut value: Value = serde_json::from_slice(&manifest(&package())).expect("JSON");
            change(&mut value);
            read(value.to_string().as_bytes()).expect_err("wrong")
        };
        let image = changed(&|it| {
            it["artifactType"] = Value::Null;
            it["config"]["mediaType"] = "application/vnd.oci.image.config.v1+json".into();
        });
        assert!(image.starts_with("it is application/vnd.oci.image.config.v1+json, and a package has"), "{image}");
        assert!(changed(&|it| it["layers"][0]["annotations"][UNPACK] = "true".into()).contains("push each file"));
        assert!(changed(&|it| it["layers"][0]["annotations"] = json!({})).contains("has no org.opencontainers"));
        assert!(changed(&|it| it["layers"][0]["digest"] = "sha512:1".into()).contains("64 hexadecimal digits"));
        assert!(changed(&|it| it["layers"][0]["size"] = 1_u64.rotate_right(2).into()).contains("makes it too large"));
        assert!(read(b"<html>").expect_err("no JSON").starts_with("its manifest is no JSON"));
    }
}
