//! Pieces of schema that several kinds use, and the tidying every generated schema goes through.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use crate::names::{ObjectName, form};

/// What Kubernetes takes for the value of a label.
pub const LABEL_VALUE: &str = "^([A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?)?$";

/// Any object, checked later by whoever understands it: the API server for parts of a pod, the extension for parameters.
pub fn any_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
}

/// A list of such objects.
pub fn any_objects(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "array", "maxItems": 64,
        "items": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } })
}

/// A Kubernetes object with apiVersion, kind and metadata.
pub fn kubernetes_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true })
}

/// The name of a storage class and the like. There can be too many of them for a rule with words.
pub fn class_name(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "maxLength": 253, "pattern": ObjectName::PATTERN })
}

/// Values of parameters: the extension's own schema says what each may be.
pub fn parameters(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true,
        "maxProperties": 512 })
}

/// Labels, on whatever object.
pub fn labels(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "maxProperties": 32, "additionalProperties": { "type": "string", "maxLength": 63,
        // a rule with words would cost more than the API server allows: there can be very many labels
        "pattern": LABEL_VALUE } })
}

/// Annotations, on whatever object.
pub fn annotations(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "maxProperties": 32, "additionalProperties": { "type": "string", "maxLength": 16384 } })
}

/// A list of ordinals, each at most once.
pub fn ordinals(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "array", "maxItems": 1000, "x-kubernetes-list-type": "set",
        "items": { "type": "integer", "minimum": 0, "maximum": 999 } })
}

/// A pod label selector.
pub fn selector(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "properties": {
        "matchLabels": { "type": "object", "description": "Labels and the values they must have.",
            "additionalProperties": { "type": "string", "maxLength": 63 } },
        "matchExpressions": { "type": "array", "maxItems": 32, "description": "Further requirements, all of which must hold.",
            "items": { "type": "object", "required": ["key", "operator"],
                "x-kubernetes-validations": [{
                    "rule": "(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)",
                    "message": "In and NotIn need values, Exists and DoesNotExist have none" }],
                "properties": {
                    "key": { "type": "string", "maxLength": 317, "description": "The label." },
                    "operator": { "type": "string", "enum": ["In", "NotIn", "Exists", "DoesNotExist"],
                        "description": "How the label relates to values." },
                    "values": { "type": "array", "maxItems": 64, "items": { "type": "string", "maxLength": 63 },
                        "description": "Values of the label." } } } } } })
}

/// A rule for updates: none of these fields is given, taken away or changed.
pub fn unchanged(required: &[&str], optional: &[&str]) -> String {
    let required = required.iter().map(|field| format!("self.{field} == oldSelf.{field}"));
    let optional = optional.iter().map(|field| {
        format!("has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field})")
    });
    required.chain(optional).collect::<Vec<_>>().join(" && ")
}

/// Items of a list that all have one form.
pub fn texts(max: usize, rule: &Value) -> Value {
    json!({ "type": "string", "maxLength": max, "x-kubernetes-validations": [rule] })
}

/// The address of a repository.
pub fn a_repository() -> Value {
    form(
        r"^(https?://|ssh://|file:///|/|[A-Za-z0-9_][A-Za-z0-9_.-]*@[^/:\s]+:)[^\s]+$",
        "https://host/path, ssh://user@host/path or user@host:path",
    )
}

/// Nobody is to read a password where everybody may read.
pub fn no_secret_inside() -> Value {
    json!({ "rule": r"!self.matches(r'^https?://[^/]*@|^ssh://[^/@]*:[^/]*@')",
        "message": "leave user name, password and token out of the address and put them in the Secret that credentials names" })
}

/// A name that Git takes for a branch or tag.
pub fn a_git_name() -> Value {
    form(r"^[^-\s/.~^:?*\[\\][^\s~^:?*\[\\]*$", "the bare name of a branch or tag, such as main or release/1.2")
}

/// An address that a browser could open, without anything secret in it.
pub fn a_web_address() -> Value {
    form(r"^https?://[^\s@]+$", "an address that starts with https:// or http://, without credentials in it")
}

/// A folder below some other.
pub fn a_relative_path() -> Value {
    form(
        r"^([^/.]|[.][^/.]|[.]{2}[^/])[^/]*(/([^/.]|[.][^/.]|[.]{2}[^/])[^/]*)*$",
        "a path such as clusters/east: no '/' at its start or end, no '.' or '..' in it",
    )
}

/// What a package or an image comes down to.
pub fn a_digest() -> Value {
    form(r"^sha256:[0-9a-f]{64}$", "sha256: and 64 hexadecimal digits")
}

/// A moment, as RFC 3339 writes it.
pub fn a_moment() -> Value {
    form(
        r"^[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9]([.][0-9]+)?(Z|[+-][0-2][0-9]:[0-5][0-9])$",
        "a moment with its time zone, such as 2026-11-21T03:30:00Z",
    )
}

/// The identity of a backup.
pub fn a_backup_id() -> Value {
    form(r"^[0-9A-HJKMNP-TV-Z]{26}$", "an id as `kubectl get backups` shows it: 26 capital letters and digits")
}

/// Rules that a whole object must keep, its name among them.
fn object_rules(kind: &str) -> Option<Value> {
    Some(match kind {
        "Instance" => {
            json!([{ "rule": "size(self.metadata.name) <= 40 && self.metadata.name.matches(r'^[a-z]([-a-z0-9]*[a-z0-9])?$')",
            "message": "the name of an instance has at most 40 lower-case letters, digits and '-', starting with a letter" }])
        }
        "Extension" => json!([{ "rule": "self.metadata.name == self.spec.type + '-' + self.spec.version",
            "message": "the name of an extension is <type>-<version>" }]),
        "GitSource" | "BackupRepository" | "BackupPolicy" => json!([{ "rule": "size(self.metadata.name) <= 63",
            "message": "the name has at most 63 characters, so that it fits into a label" }]),
        _ => return None,
    })
}

/// Makes a generated definition what we promise: no defaults (the user's spec is never written), no null in place of a
/// value, no formats that say nothing, descriptions in one line and once.
pub fn tidy(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        let Some(schema) = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut()) else {
            continue;
        };
        let mut value = serde_json::to_value(&*schema).expect("a schema is plain data");
        tidy_value(&mut value);
        if let Some(rules) = object_rules(&crd.spec.names.kind) {
            value["x-kubernetes-validations"] = rules;
        }
        *schema = serde_json::from_value(value).expect("still a schema");
    }
    crd
}

/// The same without what only the API server understands.
pub fn for_editors(mut schema: Value) -> Value {
    match &mut schema {
        Value::Object(map) => {
            map.retain(|key, _| !key.starts_with("x-kubernetes-"));
            map.values_mut().for_each(|child| *child = for_editors(child.take()));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| *item = for_editors(item.take())),
        _ => {}
    }
    schema
}

fn tidy_value(schema: &mut Value) {
    let Value::Object(map) = schema else { return };
    map.remove("default");
    map.remove("nullable");
    if let Some(Value::Array(values)) = map.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
    if map.contains_key("x-kubernetes-int-or-string") {
        map.remove("anyOf");
    }
    // editors read patterns, people are told by the rule
    if map.contains_key("x-kubernetes-validations") {
        map.remove("pattern");
        map.remove("minLength");
    }
    let says_nothing = |format: &str| matches!(format, "uint8" | "uint16" | "uint32" | "uint64" | "int32" | "int64");
    if map.get("format").and_then(Value::as_str).is_some_and(says_nothing) {
        map.remove("format");
    }
    if let Some(Value::String(text)) = map.get_mut("description") {
        *text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    }
    let explained = map.contains_key("description");
    for key in ["properties", "additionalProperties", "items"] {
        match map.get_mut(key) {
            Some(Value::Object(children)) if key == "properties" => children.values_mut().for_each(tidy_value),
            Some(child) => {
                // what a list or map is of is said by the field that has it
                if explained && let Some(child) = child.as_object_mut() {
                    child.remove("description");
                }
                tidy_value(child);
            }
            None => {}
        }
    }
}
