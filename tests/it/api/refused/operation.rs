//! Wrong operations: each type with what belongs to it and nothing else, and done once.

use midship::api::Kind;
use serde_json::{Value, json};

use super::{accepted_changes, refused, refused_changes};

fn good() -> Value {
    json!({ "apiVersion": "midship.dev/v1alpha1", "kind": "Operation", "metadata": { "name": "restart-orders-cache" },
        "spec": { "instance": "orders-cache", "type": "Restart" } })
}

fn spec(changes: Value) -> Value {
    json!({ "spec": changes })
}

#[test]
fn an_operation_says_what_to_do_to_which_instance() {
    refused(Kind::Operation, &good(), &[
        ("no instance", spec(json!({ "instance": null })),
            "spec.instance: Required value"),
        ("no type", spec(json!({ "type": null })),
            "spec.type: Required value"),
        ("a type that does not exist", spec(json!({ "type": "Reboot" })),
            r#"spec.type: Unsupported value: "Reboot": supported values: "Restart", "Reload", "Stop", "Start", "Switchover", "Process", "VerticalScale", "HorizontalScale", "VolumeExpand", "Configure", "Upgrade", "Rollback", "Backup", "Restore", "Rotate", "Custom""#),
        ("an instance in another namespace", spec(json!({ "instance": "shop/orders-cache" })),
            r#"spec.instance: Invalid value: "shop/orders-cache": use lower-case letters, digits and inner '-', starting with a letter"#),
        ("a role in capitals", spec(json!({ "target": { "role": "Primary" } })),
            r#"spec.target.role: Invalid value: "Primary": use lower-case letters, digits and inner '-', starting with a letter"#),
        ("a pod twice", spec(json!({ "target": { "pods": ["a-0", "a-0"] } })),
            r#"spec.target.pods[1]: Duplicate value: "a-0""#),
        ("a target for what acts on all", spec(json!({ "type": "Stop", "target": { "role": "replica" } })),
            "spec: Invalid value: target is only for the types Restart, Reload, Process, Backup, Rotate and Custom; the others act on the whole instance or name a component themselves"),
        ("too many retries", spec(json!({ "retries": 101 })),
            "spec.retries: Invalid value: 101: spec.retries in body should be less than or equal to 100"),
        ("a failure policy that does not exist", spec(json!({ "onFailure": "Ignore" })),
            r#"spec.onFailure: Unsupported value: "Ignore": supported values: "Abort", "Continue", "Rollback", "Pause""#),
        ("a timeout as a number", spec(json!({ "timeout": 3600 })),
            r#"spec.timeout: Invalid value: "integer": spec.timeout in body must be of type string: "integer""#),
        ("a check that is approved without its name", spec(json!({ "approve": [""] })),
            r#"spec.approve[0]: Invalid value: "": spec.approve[0] in body should be at least 1 chars long"#),
    ]);
}

#[test]
fn each_type_has_what_it_needs_and_nothing_else() {
    refused(Kind::Operation, &good(), &[
        ("a switchover that is none", spec(json!({ "switchover": { "to": "cache-1" } })),
            "spec: Invalid value: switchover is only for type Switchover"),
        ("a switchover to itself", spec(json!({ "type": "Switchover", "switchover": { "from": "cache-1", "to": "cache-1" } })),
            "spec.switchover: Invalid value: from and to are the same pod"),
        ("processes without what to do", spec(json!({ "type": "Process" })),
            "spec: Invalid value: type Process needs process, and only that type has it"),
        ("what to do without its type", spec(json!({ "process": { "action": "Stop" } })),
            "spec: Invalid value: type Process needs process, and only that type has it"),
        ("processes without an action", spec(json!({ "type": "Process", "process": { "concurrency": 2 } })),
            "spec.process.action: Required value"),
        ("no process at a time", spec(json!({ "type": "Process", "process": { "action": "Stop", "concurrency": 0 } })),
            "spec.process.concurrency: Invalid value: 0: spec.process.concurrency in body should be greater than or equal to 1"),
        ("a vertical scale without figures", spec(json!({ "type": "VerticalScale" })),
            "spec: Invalid value: type VerticalScale needs verticalScale, and only that type has it"),
        ("a vertical scale beyond its limit", spec(json!({ "type": "VerticalScale", "verticalScale": { "component": "cache",
            "resources": { "requests": { "cpu": "2" }, "limits": { "cpu": "1" } } } })),
            "spec.verticalScale.resources: Invalid value: a request is more than its limit"),
        ("a horizontal scale without figures", spec(json!({ "type": "HorizontalScale" })),
            "spec: Invalid value: type HorizontalScale needs horizontalScale, and only that type has it"),
        ("a horizontal scale without a number", spec(json!({ "type": "HorizontalScale", "horizontalScale": { "component": "cache" } })),
            "spec.horizontalScale.replicas: Required value"),
        ("a volume that is to grow by nothing", spec(json!({ "type": "VolumeExpand", "volumeExpand": { "component": "cache", "sizes": {} } })),
            "spec.volumeExpand.sizes: Invalid value: 0: spec.volumeExpand.sizes in body should have at least 1 properties"),
        ("a volume's size in words", spec(json!({ "type": "VolumeExpand", "volumeExpand": { "component": "cache", "sizes": { "data": "10 GB" } } })),
            r#"spec.volumeExpand.sizes[data]: Invalid value: "10 GB": use a quantity, such as 500m, 2 or 1Gi"#),
        ("volumes without the type", spec(json!({ "volumeExpand": { "component": "cache", "sizes": { "data": "2Gi" } } })),
            "spec: Invalid value: type VolumeExpand needs volumeExpand, and only that type has it"),
        ("a configuration without a change", spec(json!({ "type": "Configure", "configure": { "component": "cache" } })),
            "spec.configure: Invalid value: give parameters, or the revision to go back to"),
        ("a change and a revision", spec(json!({ "type": "Configure", "configure": { "component": "cache", "parameters": { "a": 1 }, "revision": "r2" } })),
            "spec.configure: Invalid value: give parameters, or the revision to go back to"),
        ("a configuration without its type", spec(json!({ "configure": { "component": "cache", "parameters": { "a": 1 } } })),
            "spec: Invalid value: type Configure needs configure, and only that type has it"),
        ("an upgrade to nothing", spec(json!({ "type": "Upgrade" })),
            "spec: Invalid value: type Upgrade needs upgrade"),
        ("two upgrades in one", spec(json!({ "type": "Upgrade", "upgrade": { "version": "7.2", "extensionVersion": "1.1.0" } })),
            "spec.upgrade: Invalid value: give extensionVersion or version: they are upgraded one at a time"),
        ("an upgrade without its type", spec(json!({ "upgrade": { "version": "7.2" } })),
            "spec: Invalid value: upgrade is only for the types Upgrade and Rollback"),
        ("an upgrade to a range", spec(json!({ "type": "Upgrade", "upgrade": { "extensionVersion": "1.x" } })),
            r#"spec.upgrade.extensionVersion: Invalid value: "1.x": use an exact version of three numbers, such as 1.0.0 (no range, no leading 'v')"#),
        ("a backup without its type", spec(json!({ "backup": { "repository": "main" } })),
            "spec: Invalid value: backup is only for type Backup"),
        ("a kind of backup that does not exist", spec(json!({ "type": "Backup", "backup": { "type": "Differential" } })),
            r#"spec.backup.type: Unsupported value: "Differential": supported values: "Full", "Incremental""#),
        ("a rotation with parameters of another", spec(json!({ "type": "Rotate", "process": { "action": "Restart" } })),
            "spec: Invalid value: type Process needs process, and only that type has it"),
    ]);
}

#[test]
fn data_is_replaced_only_by_agreement() {
    refused(Kind::Operation, &good(), &[
        ("a restore from nothing", spec(json!({ "type": "Restore" })),
            "spec: Invalid value: type Restore needs restore, and only that type has it"),
        ("a restore without agreement", spec(json!({ "type": "Restore", "restore": { "source": { "backup": "b" } } })),
            "spec.restore.replaceDataOf: Required value"),
        ("an agreement about another instance", spec(json!({ "type": "Restore", "restore": { "source": { "backup": "b" }, "replaceDataOf": "other" } })),
            "spec: Invalid value: restore.replaceDataOf must repeat the name of the instance: its present data will be replaced"),
        ("a restore without a source", spec(json!({ "type": "Restore", "restore": { "source": {}, "replaceDataOf": "orders-cache" } })),
            "spec.restore.source: Invalid value: give backup, or repository with instance, not both"),
    ]);
}

#[test]
fn steps_of_ones_own_are_checked() {
    let steps = |steps: Value| spec(json!({ "type": "Custom", "custom": { "steps": steps } }));
    refused(Kind::Operation, &good(), &[
        ("custom without anything", spec(json!({ "type": "Custom", "custom": {} })),
            "spec.custom: Invalid value: give name or steps, not both"),
        ("a declared operation and steps", spec(json!({ "type": "Custom", "custom": { "name": "defrag", "steps": [{ "name": "a", "wait": { "duration": "1s" } }] } })),
            "spec.custom: Invalid value: give name or steps, not both"),
        ("a step that does nothing", steps(json!([{ "name": "a" }])),
            "spec.custom.steps[0]: Invalid value: a step does exactly one of apply, delete, call and wait"),
        ("a step that does two things", steps(json!([{ "name": "a", "wait": { "duration": "1s" }, "call": { "action": "reload" } }])),
            "spec.custom.steps[0]: Invalid value: a step does exactly one of apply, delete, call and wait"),
        ("a step without a name", steps(json!([{ "wait": { "duration": "1s" } }])),
            "spec.custom.steps[0].name: Required value"),
        ("two steps of one name", steps(json!([{ "name": "a", "wait": { "duration": "1s" } }, { "name": "a", "wait": { "duration": "2s" } }])),
            r#"spec.custom.steps[1]: Duplicate value: {"name":"a"}"#),
        ("a wait for nothing", steps(json!([{ "name": "a", "wait": {} }])),
            "spec.custom.steps[0].wait: Invalid value: give condition or duration, exactly one"),
        ("a wait for two things", steps(json!([{ "name": "a", "wait": { "condition": "Ready", "duration": "1m" } }])),
            "spec.custom.steps[0].wait: Invalid value: give condition or duration, exactly one"),
        ("an object without a kind", steps(json!([{ "name": "a", "apply": { "metadata": { "name": "x" } } }])),
            "spec.custom.steps[0].apply.apiVersion: Required value; spec.custom.steps[0].apply.kind: Required value"),
        ("a deletion without a kind", steps(json!([{ "name": "a", "delete": { "apiVersion": "v1", "name": "x" } }])),
            "spec.custom.steps[0].delete.kind: Required value"),
        ("a call without an action", steps(json!([{ "name": "a", "call": { "concurrency": 1 } }])),
            "spec.custom.steps[0].call.action: Required value"),
    ]);
}

#[test]
fn an_operation_is_done_once() {
    let configure = |value: u32| json!({ "type": "Configure", "configure": { "component": "cache", "parameters": { "a": value } } });
    let custom = |value: u32| json!({ "type": "Custom", "custom": { "name": "defrag", "parameters": { "a": value } } });
    let apply = |value: &str| json!({ "type": "Custom", "custom": { "steps": [{ "name": "a", "apply": {
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "x" }, "data": { "a": value } } }] } });
    let scale = |replicas: u32| json!({ "type": "HorizontalScale", "horizontalScale": { "component": "cache", "replicas": replicas } });
    refused_changes(Kind::Operation, &good(), &[
        ("another instance", json!({}), spec(json!({ "instance": "other" })),
            "spec: Invalid value: an operation is done once: make a new one to do something else (only suspend, cancel, approve and ttl can be changed)"),
        ("another type", json!({}), spec(json!({ "type": "Reload" })),
            "spec: Invalid value: an operation is done once: make a new one to do something else (only suspend, cancel, approve and ttl can be changed)"),
        ("a target later on", json!({}), spec(json!({ "target": { "role": "replica" } })),
            "spec: Invalid value: an operation is done once: make a new one to do something else (only suspend, cancel, approve and ttl can be changed)"),
        ("another target", spec(json!({ "target": { "role": "replica" } })), spec(json!({ "target": { "role": "primary" } })),
            "spec: Invalid value: an operation is done once: make a new one to do something else (only suspend, cancel, approve and ttl can be changed)"),
        ("another number of pods", spec(scale(3)), spec(scale(5)),
            "spec: Invalid value: an operation is done once: make a new one to do something else (only suspend, cancel, approve and ttl can be changed)"),
        ("another parameter", spec(configure(1)), spec(configure(2)),
            "spec: Invalid value: an operation is done once: make a new one to do something else (only suspend, cancel, approve and ttl can be changed)"),
        ("another argument", spec(custom(1)), spec(custom(2)),
            "spec: Invalid value: an operation is done once: make a new one to do something else (only suspend, cancel, approve and ttl can be changed)"),
        ("another object", spec(apply("x")), spec(apply("y")),
            "spec: Invalid value: an operation is done once: make a new one to do something else (only suspend, cancel, approve and ttl can be changed)"),
        ("another timeout", json!({}), spec(json!({ "timeout": "2h" })),
            "spec: Invalid value: an operation is done once: make a new one to do something else (only suspend, cancel, approve and ttl can be changed)"),
        ("another failure policy", spec(json!({ "onFailure": "Abort" })), spec(json!({ "onFailure": null })),
            "spec: Invalid value: an operation is done once: make a new one to do something else (only suspend, cancel, approve and ttl can be changed)"),
        ("cancel taken back", spec(json!({ "cancel": true })), spec(json!({ "cancel": false })),
            "spec: Invalid value: cancel cannot be taken back: make a new operation"),
        ("cancel forgotten", spec(json!({ "cancel": true })), spec(json!({ "cancel": null })),
            "spec: Invalid value: cancel cannot be taken back: make a new operation"),
    ]);
}

#[test]
fn an_operation_can_be_held_approved_and_cancelled() {
    let configure = json!({ "type": "Configure", "configure": { "component": "cache", "parameters": { "a": { "b": [1, "x"] } } } });
    accepted_changes(Kind::Operation, &good(), &[
        ("held", json!({}), spec(json!({ "suspend": true }))),
        ("held, with parameters", spec(configure), spec(json!({ "suspend": true }))),
        ("approved", json!({}), spec(json!({ "approve": ["replica-lag"] }))),
        ("cancelled", spec(json!({ "suspend": true, "target": { "pods": ["a-0"] } })), spec(json!({ "cancel": true, "suspend": null }))),
        ("kept longer", json!({}), spec(json!({ "ttl": "30d" }))),
    ]);
}
