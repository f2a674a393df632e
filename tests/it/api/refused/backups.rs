//! Wrong repositories, policies and backups: no default key, no place that moves, no backup kept by accident.

use midship::api::Kind;
use serde_json::{Value, json};

use super::{accepted_changes, refused, refused_changes};

const RECIPIENT: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";

fn spec(changes: Value) -> Value {
    json!({ "spec": changes })
}

fn repository() -> Value {
    json!({ "apiVersion": "midship.dev/v1alpha1", "kind": "BackupRepository", "metadata": { "name": "main" }, "spec": {
        "s3": { "bucket": "shop-backups", "prefix": "east", "credentials": { "name": "s3" } },
        "encryption": { "recipients": [RECIPIENT] } } })
}

fn policy() -> Value {
    json!({ "apiVersion": "midship.dev/v1alpha1", "kind": "BackupPolicy", "metadata": { "name": "nightly" }, "spec": {
        "repository": "main", "schedules": [{ "name": "nightly", "cron": "30 2 * * *" }], "retention": { "count": 14 } } })
}

fn backup() -> Value {
    json!({ "apiVersion": "midship.dev/v1alpha1", "kind": "Backup", "metadata": { "name": "orders-cache-1" }, "spec": {
        "repository": "main", "id": "01ARZ3NDEKTSV4RRFFQ69G5FAV", "instance": { "name": "orders-cache", "namespace": "shop" } } })
}

#[test]
fn a_repository_is_one_place() {
    refused(Kind::BackupRepository, &repository(), &[
        ("nowhere", spec(json!({ "s3": null })),
            "spec: Invalid value: give s3 or filesystem, exactly one"),
        ("in two places", spec(json!({ "filesystem": { "claim": "backups" } })),
            "spec: Invalid value: give s3 or filesystem, exactly one"),
        ("no bucket", spec(json!({ "s3": { "bucket": null } })),
            "spec.s3.bucket: Required value"),
        ("a bucket with a capital", spec(json!({ "s3": { "bucket": "ShopBackups" } })),
            r#"spec.s3.bucket: Invalid value: "ShopBackups": use a bucket name of 3 to 63 lower-case letters, digits, '-' and '.'"#),
        ("a bucket of two letters", spec(json!({ "s3": { "bucket": "ab" } })),
            r#"spec.s3.bucket: Invalid value: "ab": use a bucket name of 3 to 63 lower-case letters, digits, '-' and '.'"#),
        ("a prefix that starts with a slash", spec(json!({ "s3": { "prefix": "/east" } })),
            r#"spec.s3.prefix: Invalid value: "/east": use a path such as clusters/east: no '/' at its start or end, no '.' or '..' in it"#),
        ("an endpoint without http", spec(json!({ "s3": { "endpoint": "s3.example.com:9000" } })),
            r#"spec.s3.endpoint: Invalid value: "s3.example.com:9000": use an address that starts with https:// or http://, without credentials in it"#),
        ("an endpoint with a password", spec(json!({ "s3": { "endpoint": "https://key:secret@s3.example.com" } })),
            r#"spec.s3.endpoint: Invalid value: "https://key:secret@s3.example.com": use an address that starts with https:// or http://, without credentials in it"#),
        ("two identities", spec(json!({ "s3": { "webIdentity": true } })),
            "spec.s3: Invalid value: give credentials, or webIdentity: true, and not both"),
        ("no identity", spec(json!({ "s3": { "credentials": null } })),
            "spec.s3: Invalid value: give credentials, or webIdentity: true, and not both"),
        ("keys as they are", spec(json!({ "s3": { "accessKeyId": "AKIA" } })),
            r#"unknown field "spec.s3.accessKeyId""#),
        ("checksums that do not exist", spec(json!({ "s3": { "checksums": "Never" } })),
            r#"spec.s3.checksums: Unsupported value: "Never": supported values: "WhenSupported", "WhenRequired""#),
        ("a lock of a kind that does not exist", spec(json!({ "s3": { "lock": { "period": "35d", "mode": "Forever" } } })),
            r#"spec.s3.lock.mode: Unsupported value: "Forever": supported values: "Governance", "Compliance""#),
        ("a lock without an end", spec(json!({ "s3": { "lock": { "mode": "Compliance" } } })),
            "spec.s3.lock.period: Required value"),
        ("a file system that is none", spec(json!({ "s3": null, "filesystem": {} })),
            "spec.filesystem: Invalid value: give claim or nfs, exactly one"),
        ("two file systems", spec(json!({ "s3": null, "filesystem": { "claim": "a", "nfs": { "server": "nfs", "path": "/a" } } })),
            "spec.filesystem: Invalid value: give claim or nfs, exactly one"),
        ("an export that is relative", spec(json!({ "s3": null, "filesystem": { "nfs": { "server": "nfs", "path": "exports/a" } } })),
            r#"spec.filesystem.nfs.path: Invalid value: "exports/a": use the exported path, which starts with '/'"#),
        ("a folder above the file system", spec(json!({ "s3": null, "filesystem": { "claim": "a", "path": "../b" } })),
            r#"spec.filesystem.path: Invalid value: "../b": use a path such as clusters/east: no '/' at its start or end, no '.' or '..' in it"#),
        ("an access that does not exist", spec(json!({ "access": "WriteOnly" })),
            r#"spec.access: Unsupported value: "WriteOnly": supported values: "ReadWrite", "ReadOnly""#),
        ("no backup at a time", spec(json!({ "limits": { "concurrency": 0 } })),
            "spec.limits.concurrency: Invalid value: 0: spec.limits.concurrency in body should be greater than or equal to 1"),
        ("a bandwidth in words", spec(json!({ "limits": { "bandwidth": "10MB/s" } })),
            r#"spec.limits.bandwidth: Invalid value: "10MB/s": use a quantity, such as 500m, 2 or 1Gi"#),
        ("a name too long for a label", json!({ "metadata": { "name": "a".repeat(64) } }),
            "<nil>: Invalid value: the name has at most 63 characters, so that it fits into a label"),
    ]);
}

#[test]
fn encryption_is_a_decision() {
    refused(Kind::BackupRepository, &repository(), &[
        ("not decided", spec(json!({ "encryption": null })),
            "spec.encryption: Required value"),
        ("decided for neither", spec(json!({ "encryption": { "recipients": [] } })),
            "spec.encryption: Invalid value: name the recipients (age public keys), or say disabled: true"),
        ("decided for both", spec(json!({ "encryption": { "disabled": true } })),
            "spec.encryption: Invalid value: name the recipients (age public keys), or say disabled: true"),
        ("a private key", spec(json!({ "encryption": { "recipients": [format!("AGE-SECRET-KEY-1{}", "Q".repeat(46))] } })),
            r#"spec.encryption.recipients[0]: Invalid value: "AGE-SECRET-KEY-1QQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQ": use an age public key: age1 and 58 characters, as age-keygen prints it (never the private key)"#),
        ("a key of another kind", spec(json!({ "encryption": { "recipients": ["ssh-ed25519 AAAA"] } })),
            r#"spec.encryption.recipients[0]: Invalid value: "ssh-ed25519 AAAA": use an age public key: age1 and 58 characters, as age-keygen prints it (never the private key)"#),
        ("a key twice", spec(json!({ "encryption": { "recipients": [RECIPIENT, RECIPIENT] } })),
            r#"spec.encryption.recipients[1]: Duplicate value: "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p""#),
    ]);
}

#[test]
fn a_repository_stays_where_the_backups_are() {
    let claim = |name: &str| json!({ "s3": null, "filesystem": { "claim": name } });
    refused_changes(Kind::BackupRepository, &repository(), &[
        ("another bucket", json!({}), spec(json!({ "s3": { "bucket": "other-backups" } })),
            "spec.s3: Invalid value: bucket and prefix cannot be changed, the backups are there: make a new repository"),
        ("another prefix", json!({}), spec(json!({ "s3": { "prefix": "west" } })),
            "spec.s3: Invalid value: bucket and prefix cannot be changed, the backups are there: make a new repository"),
        ("no prefix any more", json!({}), spec(json!({ "s3": { "prefix": null } })),
            "spec.s3: Invalid value: bucket and prefix cannot be changed, the backups are there: make a new repository"),
        ("another kind of store", json!({}), spec(claim("backups")),
            "spec: Invalid value: a repository stays on its kind of store: make a new one"),
        ("another claim", spec(claim("backups")), spec(claim("other")),
            "spec.filesystem: Invalid value: the place cannot be changed, the backups are there: make a new repository"),
    ]);
    accepted_changes(Kind::BackupRepository, &repository(), &[
        ("another address of the same store", json!({}), spec(json!({ "s3": { "endpoint": "https://s3.example.com", "region": "eu-1" } }))),
        ("one more recipient", json!({}), spec(json!({ "encryption": { "recipients": [RECIPIENT, "age1lggyhqrw2nlhcxprm67z43rta597azn8gknawjehu9d9dl0jq3yqqvfafg"] } }))),
        ("the pod's own identity", json!({}), spec(json!({ "s3": { "credentials": null, "webIdentity": true } }))),
    ]);
}

#[test]
fn a_policy_says_when_and_for_how_long() {
    refused(Kind::BackupPolicy, &policy(), &[
        ("no repository", spec(json!({ "repository": null })),
            "spec.repository: Required value"),
        ("no schedule", spec(json!({ "schedules": null })),
            "spec.schedules: Required value"),
        ("an empty list of schedules", spec(json!({ "schedules": [] })),
            "spec.schedules: Invalid value: 0: spec.schedules in body should have at least 1 items"),
        ("six fields", spec(json!({ "schedules": [{ "name": "nightly", "cron": "0 30 2 * * *" }] })),
            r#"spec.schedules[0].cron: Invalid value: "0 30 2 * * *": use five fields as in crontab, such as 30 2 * * *, or @hourly, @daily, @weekly, @monthly, @yearly"#),
        ("every day in words", spec(json!({ "schedules": [{ "name": "nightly", "cron": "every day" }] })),
            r#"spec.schedules[0].cron: Invalid value: "every day": use five fields as in crontab, such as 30 2 * * *, or @hourly, @daily, @weekly, @monthly, @yearly"#),
        ("a word that does not exist", spec(json!({ "schedules": [{ "name": "nightly", "cron": "@nightly" }] })),
            r#"spec.schedules[0].cron: Invalid value: "@nightly": use five fields as in crontab, such as 30 2 * * *, or @hourly, @daily, @weekly, @monthly, @yearly"#),
        ("a schedule with a capital", spec(json!({ "schedules": [{ "name": "Nightly", "cron": "@daily" }] })),
            r#"spec.schedules[0].name: Invalid value: "Nightly": use lower-case letters, digits and inner '-', starting with a letter"#),
        ("a schedule twice", spec(json!({ "schedules": [{ "name": "a", "cron": "@daily" }, { "name": "a", "cron": "@hourly" }] })),
            r#"spec.schedules[1]: Duplicate value: {"name":"a"}"#),
        ("a schedule without a time", spec(json!({ "schedules": [{ "name": "a" }] })),
            "spec.schedules[0].cron: Required value"),
        ("no retention", spec(json!({ "retention": null })),
            "spec.retention: Required value"),
        ("a retention that keeps nothing", spec(json!({ "retention": { "count": null } })),
            "spec.retention: Invalid value: give count, age or byLabel: how long backups are kept is a decision of yours"),
        ("a count of none", spec(json!({ "retention": { "count": 0 } })),
            "spec.retention.count: Invalid value: 0: spec.retention.count in body should be greater than or equal to 1"),
        ("an age in weeks", spec(json!({ "retention": { "age": "2w" } })),
            r#"spec.retention.age: Invalid value: "2w": use a duration, such as 30s, 5m, 1h30m or 14d"#),
        ("a label without an age", spec(json!({ "retention": { "byLabel": [{ "label": "kind", "value": "monthly" }] } })),
            "spec.retention.byLabel[0].age: Required value"),
        ("a test restore in words", spec(json!({ "verification": { "restore": "weekly" } })),
            r#"spec.verification.restore: Invalid value: "weekly": use five fields as in crontab, such as 30 2 * * *, or @hourly, @daily, @weekly, @monthly, @yearly"#),
        ("an instance with a namespace", spec(json!({ "instances": ["shop/orders-cache"] })),
            r#"spec.instances[0]: Invalid value: "shop/orders-cache": use lower-case letters, digits and inner '-', starting with a letter"#),
        ("a selector with an operator of its own", spec(json!({ "selector": { "matchExpressions": [{ "key": "a", "operator": "Equals", "values": ["b"] }] } })),
            r#"spec.selector.matchExpressions[0].operator: Unsupported value: "Equals": supported values: "In", "NotIn", "Exists", "DoesNotExist""#),
        ("a selector without values", spec(json!({ "selector": { "matchExpressions": [{ "key": "a", "operator": "In" }] } })),
            "spec.selector.matchExpressions[0]: Invalid value: In and NotIn need values, Exists and DoesNotExist have none"),
        ("a selector with useless values", spec(json!({ "selector": { "matchExpressions": [{ "key": "a", "operator": "Exists", "values": ["b"] }] } })),
            "spec.selector.matchExpressions[0]: Invalid value: In and NotIn need values, Exists and DoesNotExist have none"),
        ("labels at the top of a selector", spec(json!({ "selector": { "app": "cache" } })),
            r#"unknown field "spec.selector.app""#),
        ("archiving that may or may not be", spec(json!({ "logs": { "interval": "1m" } })),
            "spec.logs.enabled: Required value"),
    ]);
}

#[test]
fn a_backup_is_what_the_repository_holds() {
    refused(Kind::Backup, &backup(), &[
        ("an id of its own", spec(json!({ "id": "nightly-7" })),
            r#"spec.id: Invalid value: "nightly-7": use an id as `kubectl get backups` shows it: 26 capital letters and digits"#),
        ("an id in small letters", spec(json!({ "id": "01arz3ndektsv4rrffq69g5fav" })),
            r#"spec.id: Invalid value: "01arz3ndektsv4rrffq69g5fav": use an id as `kubectl get backups` shows it: 26 capital letters and digits"#),
        ("of no instance", spec(json!({ "instance": {"name": null} })),
            "spec.instance: Invalid value: give name or uid"),
        ("held perhaps", spec(json!({ "hold": "maybe" })),
            r#"spec.hold: Invalid value: "string": spec.hold in body must be of type boolean: "string""#),
    ]);
    refused_changes(Kind::Backup, &backup(), &[
        ("another backup", json!({}), spec(json!({ "id": "01BX5ZZKBKACTAV9WEVGEMMVRZ" })),
            "spec: Invalid value: a backup cannot become another one; only hold and labels can be changed"),
        ("another repository", json!({}), spec(json!({ "repository": "other" })),
            "spec: Invalid value: a backup cannot become another one; only hold and labels can be changed"),
        ("another instance", json!({}), spec(json!({ "instance": { "name": "other" } })),
            "spec: Invalid value: a backup cannot become another one; only hold and labels can be changed"),
    ]);
    accepted_changes(Kind::Backup, &backup(), &[
        ("held", json!({}), spec(json!({ "hold": true, "labels": { "kind": "monthly" } }))),
    ]);
}
