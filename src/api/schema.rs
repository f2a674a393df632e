//! Pieces of schema that several kinds use, and the tidying every generated schema goes through.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::Value;

/// Any object, checked later by whoever understands it: the API server for parts of a pod, the extension for parameters.
pub fn any_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
}

/// A list of such objects.
pub fn any_objects(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "array", "maxItems": 64,
        "items": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } })
}

/// Values of parameters: the extension's own schema says what each may be.
pub fn parameters(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true,
        "maxProperties": 512 })
}

/// A list of ordinals, each at most once.
pub fn ordinals(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "array", "maxItems": 1000, "x-kubernetes-list-type": "set",
        "items": { "type": "integer", "minimum": 0, "maximum": 999 } })
}

/// A pod label selector.
pub fn selector(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "properties": {
        "matchLabels": { "type": "object", "additionalProperties": { "type": "string" } },
        "matchExpressions": { "type": "array", "items": { "type": "object", "required": ["key", "operator"], "properties": {
            "key": { "type": "string" },
            "operator": { "type": "string", "enum": ["In", "NotIn", "Exists", "DoesNotExist"] },
            "values": { "type": "array", "items": { "type": "string" } } } } } } })
}

/// Makes a generated definition what we promise: no defaults (the user's spec is never written), no formats and bounds
/// that say nothing, descriptions in one line.
pub fn tidy(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        let Some(schema) = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut()) else {
            continue;
        };
        let mut value = serde_json::to_value(&*schema).expect("a schema is plain data");
        tidy_value(&mut value);
        *schema = serde_json::from_value(value).expect("still a schema");
    }
    crd
}

fn tidy_value(schema: &mut Value) {
    let Value::Object(map) = schema else { return };
    map.remove("default");
    let says_nothing = |format: &str| matches!(format, "uint8" | "uint16" | "uint32" | "uint64" | "int32" | "int64");
    if map.get("format").and_then(Value::as_str).is_some_and(says_nothing) {
        map.remove("format");
    }
    if let Some(Value::String(text)) = map.get_mut("description") {
        *text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    }
    for key in ["properties", "additionalProperties", "items"] {
        match map.get_mut(key) {
            Some(Value::Object(children)) if key == "properties" => children.values_mut().for_each(tidy_value),
            Some(child) => tidy_value(child),
            None => {}
        }
    }
}
