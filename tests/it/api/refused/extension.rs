//! Wrong extensions: one version of one type, and it never changes.

use midship::api::Kind;
use serde_json::{Value, json};

use super::{accepted_changes, refused, refused_changes};

/// Extensions are not in a namespace: each test has a type of its own.
fn good(type_: &str) -> Value {
    let name = format!("{type_}-1.0.0");
    json!({ "apiVersion": "midship.dev/v1alpha1", "kind": "Extension", "metadata": { "name": name }, "spec": {
        "type": type_, "version": "1.0.0", "digest": format!("sha256:{}", "0".repeat(64)),
        "parts": [{ "kind": "ConfigMap", "namespace": "midship-system", "name": name }] } })
}

fn spec(changes: Value) -> Value {
    json!({ "spec": changes })
}

#[test]
fn an_extension_is_one_version_of_one_type() {
    refused(Kind::Extension, &good("refused"), &[
        ("another name", json!({ "metadata": { "name": "refused" } }),
            "<nil>: Invalid value: the name of an extension is <type>-<version>"),
        ("no digest", spec(json!({ "digest": null })),
            "spec.digest: Required value"),
        ("a digest of another kind", spec(json!({ "digest": "md5:d41d8cd98f00b204e9800998ecf8427e" })),
            r#"spec.digest: Invalid value: "md5:d41d8cd98f00b204e9800998ecf8427e": use sha256: and 64 hexadecimal digits"#),
        ("a version of two numbers", spec(json!({ "version": "1.0" })),
            r#"<nil>: Invalid value: the name of an extension is <type>-<version>; spec.version: Invalid value: "1.0": use an exact version of three numbers, such as 1.0.0 (no range, no leading 'v')"#),
        ("a version with a leading zero", spec(json!({ "version": "1.00.0" })),
            r#"<nil>: Invalid value: the name of an extension is <type>-<version>; spec.version: Invalid value: "1.00.0": use an exact version of three numbers, such as 1.0.0 (no range, no leading 'v')"#),
        ("no parts", spec(json!({ "parts": [] })),
            "spec.parts: Invalid value: 0: spec.parts in body should have at least 1 items"),
        ("a part of another kind", spec(json!({ "parts": [{ "kind": "PersistentVolumeClaim", "namespace": "a", "name": "b" }] })),
            r#"spec.parts[0].kind: Unsupported value: "PersistentVolumeClaim": supported values: "ConfigMap", "Secret""#),
        ("a part without a namespace", spec(json!({ "parts": [{ "kind": "ConfigMap", "name": "b" }] })),
            "spec.parts[0].namespace: Required value"),
    ]);
}

#[test]
fn a_published_version_never_changes() {
    refused_changes(Kind::Extension, &good("published"), &[
        ("another digest", json!({}), spec(json!({ "digest": format!("sha256:{}", "1".repeat(64)) })),
            "spec: Invalid value: an installed version never changes: it was installed as sha256:0000000000000000000000000000000000000000000000000000000000000000, and this is sha256:1111111111111111111111111111111111111111111111111111111111111111; publish the change under a new version"),
        ("another version", json!({}), spec(json!({ "version": "1.0.1" })),
            "<nil>: Invalid value: the name of an extension is <type>-<version>; spec: Invalid value: an installed version never changes: publish the change under a new version"),
    ]);
    accepted_changes(Kind::Extension, &good("published"), &[
        ("its files moved", json!({}), spec(json!({ "parts": [{ "kind": "Secret", "namespace": "other", "name": "refused" }] }))),
    ]);
}
