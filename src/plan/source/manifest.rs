//! From the documents of a file to objects: which kind, which namespace, and whether they are well formed.

use std::collections::BTreeSet;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::object::{ObjectId, ObjectKind, closest};
use crate::api::git_source::FileError;
use crate::api::labels;
use crate::extension::check::{self, Mistake};
use crate::names::{InstanceName, NamespaceName, ObjectName};

/// What the names of Secrets end with that keep the keys of audit branches.
pub const AUDIT_KEY: &str = "-audit-key";
/// How many other places an object that is defined in several is told of.
const OTHERS: usize = 5;
/// A field that is nothing in a file, and no mistake where it says nothing.
const CREATED: &str = "creationTimestamp";

/// Where objects of a source go, and where they may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Namespace of objects that name none and are not below `instances/<namespace>/`.
    pub default_namespace: String,
    /// Namespaces that may be written to; none means all.
    pub allowed: Option<BTreeSet<String>>,
    /// The folder that is reconciled, with a slash at its end, or nothing.
    pub folder: String,
    /// Whether further GitSources may be defined: each could be given more than this source may do.
    pub sources: bool,
}

/// An object that a file defines.
#[derive(Clone, Debug)]
pub struct Manifest {
    pub id: ObjectId,
    pub path: Arc<str>,
    pub line: u32,
    /// The object without anything of ours in it, its namespace filled in.
    pub body: Arc<Value>,
    /// Digest of the body.
    pub digest: String,
}

/// What one file turned out to be.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    pub objects: Vec<Manifest>,
    pub errors: Vec<FileError>,
    /// Objects that the errors are about, as far as that can be told.
    pub meant: Vec<ObjectId>,
    /// Whether the errors may be about any object.
    pub unclear: bool,
}

impl Reading {
    /// Nothing can be read of it.
    pub fn unreadable(errors: Vec<FileError>) -> Self {
        Self { errors, unclear: true, ..Self::default() }
    }

    pub fn extend(&mut self, more: Self) {
        self.objects.extend(more.objects);
        self.errors.extend(more.errors);
        self.meant.extend(more.meant);
        self.unclear |= more.unclear;
    }

    /// The same, found in another file: what it says is shared.
    #[must_use]
    pub fn found_at(&self, path: &str) -> Self {
        let mut moved = self.clone();
        let shared: Arc<str> = path.into();
        for object in &mut moved.objects {
            object.path = shared.clone();
        }
        for error in &mut moved.errors {
            path.clone_into(&mut error.path);
        }
        moved
    }

    /// Notes which object a document with mistakes is about.
    fn note(&mut self, path: &str, value: &Value, placement: &Placement) {
        match meant(path, value, placement) {
            Some(id) => self.meant.push(id),
            None => self.unclear |= may_be_ours(value),
        }
    }
}

/// The place of a value in its file: line and column of a JSON pointer.
pub trait Locate {
    /// Of the key, for mistakes about a field itself; of the value otherwise.
    fn locate(&self, pointer: &str, of_key: bool) -> (u32, u32);
}

/// The file with a repository's own settings, in the folder that is reconciled.
pub const SETTINGS: &str = "midship.yaml";

/// What to do about a file that is none of ours.
pub const FOREIGN: &str = "; if the file is for another program, name it under ignore in midship.yaml";

/// Whether a file holds objects: YAML and JSON, but not the repository's own settings, packages, or anything hidden.
/// `path` is that within the folder that is reconciled.
pub fn holds_objects(path: &str) -> bool {
    let hidden = path.split('/').any(|part| part.starts_with('.'));
    let ending = path.rsplit_once('.').is_some_and(|(_, ending)| matches!(ending, "yaml" | "yml" | "json"));
    let own = path == SETTINGS || path.starts_with("extensions/");
    ending && !hidden && !own
}

/// Reads one document of a file.
pub fn read(path: &str, value: Value, places: &impl Locate, placement: &Placement) -> Reading {
    read_kept(path, value, places, placement, &[])
}

/// Reads one document in which values at `hidden`, as JSON pointers, may be told to nobody: it was encrypted, and may
/// define nothing but Secrets.
pub fn read_decrypted(
    path: &str,
    value: Value,
    places: &impl Locate,
    placement: &Placement,
    hidden: &[String],
) -> Reading {
    if let Some(reading) = not_a_secret(path, &value, places, placement) {
        return reading;
    }
    read_kept(path, value, places, placement, hidden)
}

/// Reads one document whose values nobody here can decrypt: what it defines is known, and what is in it is not checked.
pub fn read_sealed(path: &str, mut value: Value, places: &impl Locate, placement: &Placement) -> Reading {
    if let Some(map) = value.as_object_mut() {
        map.remove("sops");
    }
    if let Some(reading) = not_a_secret(path, &value, places, placement) {
        return reading;
    }
    let mut reading = Reading::default();
    match identify(path, &value, placement) {
        Err(mistakes) => {
            reading.errors = mistakes.iter().map(|mistake| error_at(path, mistake, places, &[])).collect();
            reading.note(path, &value, placement);
        }
        Ok((id, body)) => reading.objects.push(manifest(path, id, body, places)),
    }
    reading
}

fn not_a_secret(path: &str, value: &Value, places: &impl Locate, placement: &Placement) -> Option<Reading> {
    if value["kind"] == "Secret" {
        return None;
    }
    let message = "only Secrets are applied from encrypted files, everything else is shown in the audit branch; leave kind and metadata readable with encrypted_regex: ^(data|stringData)$";
    let mistake = mistake("/kind", "encrypted", message);
    let mut reading = Reading { errors: vec![error_at(path, &mistake, places, &[])], ..Reading::default() };
    reading.note(path, value, placement);
    Some(reading)
}

fn manifest(path: &str, id: ObjectId, mut body: Value, places: &impl Locate) -> Manifest {
    if let Some(namespace) = &id.namespace {
        body["metadata"]["namespace"] = Value::String(namespace.clone());
    }
    if id.kind == ObjectKind::Secret {
        as_stored(&mut body);
    }
    let digest = digest(&body);
    let (line, _) = places.locate("", false);
    Manifest { id, path: path.into(), line, body: Arc::new(body), digest }
}

fn read_kept(path: &str, value: Value, places: &impl Locate, placement: &Placement, hidden: &[String]) -> Reading {
    let mut reading = Reading::default();
    let errors = |mistakes: &[Mistake]| mistakes.iter().map(|one| error_at(path, one, places, hidden)).collect();
    match identify(path, &value, placement) {
        Err(mistakes) => {
            reading.errors = errors(&mistakes);
            reading.note(path, &value, placement);
        }
        Ok((id, body)) => {
            let mut mistakes = well_formed(id.kind, &body);
            if mistakes.is_empty() {
                mistakes.extend(beyond(&id, placement));
            }
            if mistakes.is_empty() {
                reading.objects.push(manifest(path, id, body, places));
            } else {
                reading.meant.push(id);
            }
            reading.errors = errors(&mistakes);
        }
    }
    reading
}

/// The object that a document with mistakes seems to be about.
pub fn meant(path: &str, value: &Value, placement: &Placement) -> Option<ObjectId> {
    let kind = ObjectKind::of(value["apiVersion"].as_str()?, value["kind"].as_str()?).ok()?;
    let metadata = &value["metadata"];
    let namespace = || {
        let given = metadata["namespace"].as_str().or_else(|| folder_of(path, placement));
        given.unwrap_or(&placement.default_namespace).to_owned()
    };
    let namespace = kind.is_namespaced().then(namespace);
    Some(ObjectId { kind, namespace, name: metadata["name"].as_str()?.to_owned() })
}

/// Whether what cannot be read as an object may be meant as one: what is of another program is none of ours.
fn may_be_ours(value: &Value) -> bool {
    let Some(map) = value.as_object() else { return false };
    match (map.get("apiVersion"), map.get("kind")) {
        (None, None) => false,
        (Some(Value::String(version)), Some(Value::String(kind))) => {
            let known = ObjectKind::ALL.into_iter().map(ObjectKind::as_str);
            version.starts_with("midship.dev/") || (version == "v1" && closest(kind, known).is_some())
        }
        _ => true,
    }
}

/// What a source may not define, whatever it says.
fn beyond(id: &ObjectId, placement: &Placement) -> Option<Mistake> {
    let allowed = placement.allowed.as_ref().filter(|allowed| !allowed.contains(&id.name));
    match (id.kind, allowed) {
        (ObjectKind::Namespace, Some(allowed)) => {
            let message = outside(&id.name, allowed);
            Some(mistake("/metadata/name", "namespace", message))
        }
        (ObjectKind::GitSource, _) if !placement.sources => {
            let message = "only a source that may write to all namespaces, and has no serviceAccountName, defines further GitSources: each may be given more than this one may do; apply it by hand";
            Some(mistake("/kind", "kind", message))
        }
        _ => None,
    }
}

/// Takes out objects that several files define: each is told, and none of them wins. Returns which they are.
pub fn defined_twice(objects: &mut Vec<Manifest>) -> (Vec<FileError>, BTreeSet<ObjectId>) {
    let mut order: Vec<usize> = (0..objects.len()).collect();
    order.sort_by(|a, b| objects[*a].id.cmp(&objects[*b].id));
    let mut errors = Vec::new();
    let (mut bad, mut ids) = (BTreeSet::new(), BTreeSet::new());
    for same in order.chunk_by(|a, b| objects[*a].id == objects[*b].id).filter(|same| same.len() > 1) {
        for one in same {
            let manifest = &objects[*one];
            let others = same.iter().filter(|other| *other != one).map(|other| &objects[*other]);
            // each is told of, and thousands that each name all others would be no end of text
            let others = others.take(OTHERS).map(|other| format!("{}:{}", other.path, other.line));
            let others: Vec<String> = others.collect();
            let more = match same.len() - 1 - others.len() {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            errors.push(FileError {
                path: manifest.path.to_string(),
                line: Some(manifest.line),
                column: Some(1),
                code: "defined-twice".into(),
                message: format!("{} is also defined in {}{more}; keep one", manifest.id, others.join(", ")),
            });
            bad.insert(*one);
            ids.insert(manifest.id.clone());
        }
    }
    let mut place = 0;
    objects.retain(|_| {
        place += 1;
        !bad.contains(&(place - 1))
    });
    (errors, ids)
}

fn mistake(pointer: &str, code: &'static str, message: impl Into<String>) -> Mistake {
    Mistake { pointer: pointer.to_owned(), code, message: message.into() }
}

/// The name of the object, and the object.
fn identify(path: &str, value: &Value, placement: &Placement) -> Result<(ObjectId, Value), Vec<Mistake>> {
    let Value::Object(map) = value else {
        let message = format!("this is no object; it begins with apiVersion and kind{FOREIGN}");
        return Err(vec![mistake("", "not-an-object", message)]);
    };
    let text = |field: &str| map.get(field).and_then(Value::as_str);
    let (Some(api_version), Some(kind)) = (text("apiVersion"), text("kind")) else {
        let message = format!("apiVersion or kind is missing: this is no Kubernetes object{FOREIGN}");
        return Err(vec![mistake("", "not-an-object", message)]);
    };
    if map.contains_key("sops") {
        return Err(vec![mistake(
            "/sops",
            "encrypted",
            "sops is the name of what SOPS writes, and this is not that; remove it, or encrypt the file with sops",
        )]);
    }
    let kind = ObjectKind::of(api_version, kind).map_err(|reason| {
        let foreign = if may_be_ours(value) || api_version == "v1" { "" } else { FOREIGN };
        vec![mistake("/kind", "kind", format!("{reason}{foreign}"))]
    })?;
    let mut mistakes = Vec::new();
    mistakes.extend(metadata_mistakes(map.get("metadata"), kind));
    if map.contains_key("status") {
        mistakes.push(mistake("/status", "status", "status is written by Midship; remove it from the file"));
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    let metadata = &value["metadata"];
    let name = metadata["name"].as_str().unwrap_or_default().to_owned();
    let namespace = place(path, kind, metadata["namespace"].as_str(), placement).map_err(|mistake| vec![mistake])?;
    let mut body = value.clone();
    if let Some(Value::Object(metadata)) = body.get_mut("metadata") {
        metadata.remove(CREATED);
    }
    Ok((ObjectId { kind, namespace, name }, body))
}

fn metadata_mistakes(metadata: Option<&Value>, kind: ObjectKind) -> Vec<Mistake> {
    const KNOWN: [&str; 4] = ["name", "namespace", "labels", "annotations"];
    let Some(Value::Object(metadata)) = metadata else {
        return vec![mistake("/metadata", "missing-field", "metadata with a name is missing")];
    };
    let mut mistakes = Vec::new();
    // `kubectl create --dry-run=client -o yaml` writes one
    let fine = |field: &str, value: &Value| KNOWN.contains(&field) || (field == CREATED && value.is_null());
    for (field, _) in metadata.iter().filter(|(field, value)| !fine(field.as_str(), value)) {
        let pointer = format!("/metadata/{}", field.replace('~', "~0").replace('/', "~1"));
        let message = match closest(field, KNOWN.into_iter()) {
            Some(close) => format!("unknown field \"{}\"; did you mean \"{close}\"?", field.escape_default()),
            None => {
                format!("{} is not applied from a repository; known are {}", field.escape_default(), KNOWN.join(", "))
            }
        };
        mistakes.push(mistake(&pointer, "unknown-field", message));
    }
    let bad_name = match metadata.get("name").and_then(Value::as_str) {
        None => Some("name is missing, or is no text".to_owned()),
        Some(name) if kind == ObjectKind::Instance => InstanceName::parse(name).err().map(|error| error.to_string()),
        Some(name) => ObjectName::parse(name).err().map(|error| error.to_string()),
    };
    let key_of_ours = kind == ObjectKind::Secret
        && metadata.get("name").and_then(Value::as_str).is_some_and(|name| name.ends_with(AUDIT_KEY));
    if key_of_ours {
        let message = format!("names that end with {AUDIT_KEY} are those of Midship's own keys; take another");
        mistakes.push(mistake("/metadata/name", "reserved", message));
    }
    mistakes.extend(bad_name.map(|message| mistake("/metadata/name", "name", message)));
    for field in ["labels", "annotations"] {
        match metadata.get(field) {
            None | Some(Value::Null) => {}
            Some(Value::Object(entries)) => {
                let pointer = |key: &str| format!("/metadata/{field}/{}", key.replace('~', "~0").replace('/', "~1"));
                let ours = |key: &&String| {
                    key.starts_with(labels::OURS)
                        && !(field == "annotations" && labels::SETTABLE.contains(&key.as_str()))
                };
                for key in entries.keys().filter(ours) {
                    let message = "is written by Midship itself and decides what it does; remove it from the file";
                    mistakes.push(mistake(&pointer(key), "reserved", message));
                }
                for (key, value) in entries.iter().filter(|(_, value)| !value.is_string()) {
                    // of a Secret no value is repeated, wherever it stands
                    let given = if kind == ObjectKind::Secret { String::new() } else { format!("{value} ") };
                    let message = format!("{given}is not a text (put it in quotes)");
                    mistakes.push(mistake(&pointer(key), "wrong-type", message));
                }
            }
            Some(_) => {
                mistakes.push(mistake(
                    &format!("/metadata/{field}"),
                    "wrong-type",
                    format!("{field} is not a mapping"),
                ));
            }
        }
    }
    mistakes
}

/// The namespace an object goes to.
fn place(path: &str, kind: ObjectKind, given: Option<&str>, placement: &Placement) -> Result<Option<String>, Mistake> {
    let wrong = |message: String| mistake("/metadata/namespace", "namespace", message);
    if !kind.is_namespaced() {
        return match given {
            None => Ok(None),
            Some(_) => Err(wrong(format!("{} lives in no namespace; remove it", kind.as_str()))),
        };
    }
    let folder = folder_of(path, placement);
    let namespace = match (given, folder) {
        (Some(given), Some(folder)) if given != folder => {
            return Err(wrong(format!(
                "the file is in instances/{folder}/ but names the namespace {given}; make them agree"
            )));
        }
        (Some(namespace), _) | (None, Some(namespace)) => namespace,
        (None, None) => &placement.default_namespace,
    };
    NamespaceName::parse(namespace).map_err(|error| wrong(error.to_string()))?;
    match &placement.allowed {
        Some(allowed) if !allowed.contains(namespace) => Err(wrong(outside(namespace, allowed))),
        _ => Ok(Some(namespace.to_owned())),
    }
}

/// The namespace that a file's folder names: beside what is in the file, all that decides what it is read as.
pub fn folder_of<'a>(path: &'a str, placement: &Placement) -> Option<&'a str> {
    let inside = path.strip_prefix(placement.folder.as_str()).unwrap_or(path);
    inside.strip_prefix("instances/").and_then(|rest| rest.split_once('/')).map(|(folder, _)| folder)
}

fn outside(namespace: &str, allowed: &BTreeSet<String>) -> String {
    if allowed.is_empty() {
        return format!(
            "this source may not write to the namespace {namespace}, nor to any other: spec.namespaces of the GitSource and namespaces in midship.yaml have none in common"
        );
    }
    let allowed: Vec<_> = allowed.iter().map(String::as_str).collect();
    format!(
        "this source may not write to the namespace {namespace}, only to {}; spec.namespaces of the GitSource and namespaces in midship.yaml say so",
        allowed.join(", ")
    )
}

fn well_formed(kind: ObjectKind, body: &Value) -> Vec<Mistake> {
    if let Some(ours) = kind.ours() {
        let mut mistakes = unknown_at_top(body, &["apiVersion", "kind", "metadata", "spec"]);
        match body.get("spec") {
            Some(spec) => mistakes.extend(check::spec(ours, spec)),
            None => mistakes.push(mistake("", "missing-field", "spec is missing")),
        }
        return mistakes;
    }
    match kind {
        ObjectKind::Secret => {
            let mut mistakes =
                unknown_at_top(body, &["apiVersion", "kind", "metadata", "type", "data", "stringData", "immutable"]);
            mistakes.extend(mistyped(body));
            mistakes.extend(entries(body, "data", true));
            mistakes.extend(entries(body, "stringData", false));
            if mistakes.is_empty() {
                mistakes.extend(readable::<Secret>(body));
            }
            mistakes
        }
        ObjectKind::ConfigMap => {
            let mut mistakes =
                unknown_at_top(body, &["apiVersion", "kind", "metadata", "data", "binaryData", "immutable"]);
            mistakes.extend(mistyped(body));
            mistakes.extend(entries(body, "data", false));
            mistakes.extend(entries(body, "binaryData", true));
            if mistakes.is_empty() {
                mistakes.extend(readable::<ConfigMap>(body));
            }
            mistakes
        }
        _ => {
            let mut mistakes = unknown_at_top(body, &["apiVersion", "kind", "metadata", "spec"]);
            mistakes.extend(readable::<Namespace>(body));
            mistakes
        }
    }
}

fn unknown_at_top(body: &Value, known: &[&str]) -> Vec<Mistake> {
    let fields = body.as_object().map(Map::keys).into_iter().flatten();
    fields
        .filter(|field| !known.contains(&field.as_str()))
        .map(|field| {
            let pointer = format!("/{}", field.replace('~', "~0").replace('/', "~1"));
            let message = match closest(field, known.iter().copied()) {
                Some(close) => format!("unknown field \"{}\"; did you mean \"{close}\"?", field.escape_default()),
                None => format!("unknown field \"{}\"; known are {}", field.escape_default(), known.join(", ")),
            };
            mistake(&pointer, "unknown-field", message)
        })
        .collect()
}

/// Fields of a Secret or ConfigMap that are of another type. Their values are not repeated: they may be secret.
fn mistyped(body: &Value) -> Vec<Mistake> {
    type Is = fn(&Value) -> bool;
    const FIELDS: [(&str, Is, &str); 5] = [
        ("type", Value::is_string, "is not a text (put it in quotes)"),
        ("immutable", Value::is_boolean, "is not true or false"),
        ("data", Value::is_object, "is not a mapping"),
        ("stringData", Value::is_object, "is not a mapping"),
        ("binaryData", Value::is_object, "is not a mapping"),
    ];
    let wrong = FIELDS
        .into_iter()
        .filter(|(field, is, _)| body.get(*field).is_some_and(|value| !value.is_null() && !is(value)));
    wrong.map(|(field, _, message)| mistake(&format!("/{field}"), "wrong-type", message)).collect()
}

/// Entries that are no text, or not encoded where they have to be. Their values are not repeated: they may be secret.
fn entries(body: &Value, field: &str, encoded: bool) -> Vec<Mistake> {
    let Some(Value::Object(entries)) = body.get(field) else { return Vec::new() };
    let wrong = entries.iter().filter_map(|(key, value)| {
        let message = match value.as_str() {
            None => "is not a text (put it in quotes)",
            Some(text) if encoded && BASE64.decode(text.trim()).is_err() => {
                "is not encoded in base64; plain text belongs under stringData of a Secret, or data of a ConfigMap"
            }
            Some(_) => return None,
        };
        let pointer = format!("/{field}/{}", key.replace('~', "~0").replace('/', "~1"));
        Some(mistake(&pointer, "wrong-type", message))
    });
    wrong.collect()
}

fn readable<T: DeserializeOwned>(body: &Value) -> Option<Mistake> {
    // the error of a Secret may quote a value, so that only its kind is told
    let error = serde_json::from_value::<T>(body.clone()).err()?;
    let text = error.to_string();
    let expected = text.rsplit_once("expected ").map_or("another type", |(_, expected)| expected);
    Some(mistake("", "wrong-type", format!("a value has the wrong type: expected {expected}")))
}

/// A Secret as the API server keeps it: what was given as text is stored encoded.
fn as_stored(body: &mut Value) {
    let Some(Value::Object(texts)) = body.as_object_mut().and_then(|body| body.remove("stringData")) else { return };
    if !body["data"].is_object() {
        body["data"] = Value::Object(Map::new());
    }
    for (key, text) in texts {
        body["data"][key] = Value::String(BASE64.encode(text.as_str().unwrap_or_default()));
    }
}

/// A mistake with its place; what it says of a hidden value is left out.
pub fn error_at(path: &str, mistake: &Mistake, places: &impl Locate, hidden: &[String]) -> FileError {
    let of_key = matches!(mistake.code, "unknown-field" | "bad-name" | "status" | "encrypted");
    let (line, column) = places.locate(&mistake.pointer, of_key);
    FileError {
        path: path.to_owned(),
        line: Some(line),
        column: Some(column),
        code: mistake.code.to_owned(),
        message: match mistake.pointer.as_str() {
            "" => mistake.message.clone(),
            pointer => {
                let inside = |one: &String| {
                    pointer.strip_prefix(one.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
                };
                let secret = hidden.iter().any(inside);
                let said = if secret { "the encrypted value is not what belongs here" } else { &mistake.message };
                format!("{}: {said}", pointer[1..].replace("~1", "/").replace("~0", "~").replace('/', "."))
            }
        },
    }
}

/// A digest of what an object asks for; the order of its fields does not matter.
pub fn digest(body: &Value) -> String {
    let mut hasher = Sha256::new();
    feed(body, &mut hasher);
    hex::encode(&hasher.finalize()[..12])
}

fn feed(value: &Value, hasher: &mut Sha256) {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            hasher.update(format!("{{{}", keys.len()));
            for key in keys {
                hasher.update(format!("{}:{key}", key.len()));
                feed(&map[key], hasher);
            }
        }
        Value::Array(items) => {
            hasher.update(format!("[{}", items.len()));
            for item in items {
                feed(item, hasher);
            }
        }
        Value::String(text) => hasher.update(format!("\"{}:{text}", text.len())),
        other => hasher.update(format!("={other};")),
    }
}
