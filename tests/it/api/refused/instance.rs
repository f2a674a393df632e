//! Wrong instances: what people mistype most, what contradicts itself, what cannot be changed.

use midship::api::Kind;
use serde_json::{Value, json};

use super::{EMPTY, accepted_changes, patched, refused, refused_changes};

fn good() -> Value {
    json!({ "apiVersion": "midship.dev/v1alpha1", "kind": "Instance", "metadata": { "name": "orders-cache" }, "spec": {
        "type": "cache", "extensionVersion": "1.0.0", "version": "7.0", "components": [{ "name": "cache", "replicas": 3 }] } })
}

fn spec(changes: Value) -> Value {
    json!({ "spec": changes })
}

/// The instance's one component, with more in it.
fn component(more: Value) -> Value {
    let mut component = json!({ "name": "cache" });
    component.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    spec(json!({ "components": [component] }))
}

#[test]
fn an_instance_is_one_of_a_kind() {
    refused(Kind::Instance, &good(), &[
        ("no type", spec(json!({ "type": null })),
            "spec.type: Required value"),
        ("no extension version", spec(json!({ "extensionVersion": null })),
            "spec.extensionVersion: Required value"),
        ("no version", spec(json!({ "version": null })),
            "spec.version: Required value"),
        ("no spec", json!({ "spec": null }),
            "spec: Required value"),
        ("capitals in the type", spec(json!({ "type": "Cache" })),
            r#"spec.type: Invalid value: "Cache": use lower-case letters, digits and inner '-', starting with a letter"#),
        ("a type that is empty", spec(json!({ "type": "" })),
            r#"spec.type: Invalid value: "": use lower-case letters, digits and inner '-', starting with a letter"#),
        ("a type that is too long", spec(json!({ "type": "a".repeat(31) })),
            "spec.type: Too long: may not be more than 30 bytes"),
        ("a range of extension versions", spec(json!({ "extensionVersion": "^1.0" })),
            r#"spec.extensionVersion: Invalid value: "^1.0": use an exact version of three numbers, such as 1.0.0 (no range, no leading 'v')"#),
        ("an extension version with a v", spec(json!({ "extensionVersion": "v1.0.0" })),
            r#"spec.extensionVersion: Invalid value: "v1.0.0": use an exact version of three numbers, such as 1.0.0 (no range, no leading 'v')"#),
        ("a number as version", spec(json!({ "version": 7.0 })),
            r#"spec.version: Invalid value: "number": spec.version in body must be of type string: "number""#),
        ("a version with a blank", spec(json!({ "version": "7.0 alpine" })),
            r#"spec.version: Invalid value: "7.0 alpine": use letters, digits and inner '.', '_' and '-', such as 7.0"#),
        ("a topology in capitals", spec(json!({ "topology": "Replication" })),
            r#"spec.topology: Invalid value: "Replication": use lower-case letters, digits and inner '-', starting with a letter"#),
        ("a state in small letters", spec(json!({ "state": "running" })),
            r#"spec.state: Unsupported value: "running": supported values: "Running", "Stopped""#),
        ("an environment with an underscore", spec(json!({ "environment": "pre_prod" })),
            r#"spec.environment: Invalid value: "pre_prod": use lower-case letters, digits and inner '-', starting with a letter"#),
        ("a deletion policy of other objects", spec(json!({ "deletionPolicy": "Orphan" })),
            r#"spec.deletionPolicy: Unsupported value: "Orphan": supported values: "Retain", "Delete""#),
        ("a text where yes or no is meant", spec(json!({ "suspend": "yes" })),
            r#"spec.suspend: Invalid value: "string": spec.suspend in body must be of type boolean: "string""#),
        ("a mistyped field", spec(json!({ "topolgy": "replication" })),
            r#"unknown field "spec.topolgy""#),
        ("a section that says nothing", spec(json!({ "tls": {} })),
            "spec.tls: Invalid value: give exactly one of issuer, certManager and secretName"),
        ("pull secrets as plain names", spec(json!({ "imagePullSecrets": ["registry"] })),
            r#"spec.imagePullSecrets[0]: Invalid value: "registry": must be an object for an array of list-type map; spec.imagePullSecrets[0]: Invalid value: "string": spec.imagePullSecrets[0] in body must be of type object: "string""#),
        ("a pull secret twice", spec(json!({ "imagePullSecrets": [{ "name": "a" }, { "name": "a" }] })),
            r#"spec.imagePullSecrets[1]: Duplicate value: {"name":"a"}"#),
    ]);
}

#[test]
fn an_instance_has_a_name_that_fits_everything_made_from_it() {
    refused(Kind::Instance, &good(), &[
        ("41 characters", json!({ "metadata": { "name": "a".repeat(41) } }),
            "<nil>: Invalid value: the name of an instance has at most 40 lower-case letters, digits and '-', starting with a letter"),
        ("a dot", json!({ "metadata": { "name": "orders.cache" } }),
            "<nil>: Invalid value: the name of an instance has at most 40 lower-case letters, digits and '-', starting with a letter"),
        ("a digit first", json!({ "metadata": { "name": "7cache" } }),
            "<nil>: Invalid value: the name of an instance has at most 40 lower-case letters, digits and '-', starting with a letter"),
    ]);
}

#[test]
fn a_field_without_a_value_counts_as_left_out() {
    accepted_changes(Kind::Instance, &patched(&good(), &spec(json!({ "tls": EMPTY, "topology": EMPTY, "state": EMPTY }))), &[
        ("stopped later", json!({}), spec(json!({ "state": "Stopped" }))),
    ]);
    refused(Kind::Instance, &good(), &[
        ("an empty amount", component(json!({ "storage": { "data": { "size": EMPTY } } })),
            "spec.components[0].storage.data.size: Required value"),
    ]);
}

#[test]
fn components_say_how_many_pods_in_one_way() {
    refused(Kind::Instance, &good(), &[
        ("no name", spec(json!({ "components": [{ "replicas": 1 }] })),
            "spec.components[0].name: Required value"),
        ("the same component twice", spec(json!({ "components": [{ "name": "cache" }, { "name": "cache" }] })),
            r#"spec.components[1]: Duplicate value: {"name":"cache"}"#),
        ("components as a mapping", spec(json!({ "components": { "cache": { "replicas": 3 } } })),
            r#"unknown field "spec.components.cache""#),
        ("17 components", spec(json!({ "components": (0..17).map(|n| json!({ "name": format!("c{n}") })).collect::<Vec<_>>() })),
            "spec.components: Too many: 17: must have at most 16 items"),
        ("a component's name too long", spec(json!({ "components": [{ "name": "a".repeat(21) }] })),
            "spec.components[0].name: Too long: may not be more than 20 bytes"),
        ("replicas in quotes", component(json!({ "replicas": "3" })),
            r#"spec.components[0].replicas: Invalid value: "string": spec.components[0].replicas in body must be of type integer: "string""#),
        ("fewer than no replicas", component(json!({ "replicas": -1 })),
            "spec.components[0].replicas: Invalid value: -1: spec.components[0].replicas in body should be greater than or equal to 0"),
        ("too many replicas", component(json!({ "replicas": 1001 })),
            "spec.components[0].replicas: Invalid value: 1001: spec.components[0].replicas in body should be less than or equal to 1000"),
        ("half a replica", component(json!({ "replicas": 1.5 })),
            r#"<nil>: Invalid value: "": Checked value must be of type integer (default format) in spec.components[0].replicas; spec.components[0].replicas: Invalid value: "number": spec.components[0].replicas in body must be of type integer: "number""#),
        ("replicas and groups", component(json!({ "replicas": 3, "groups": [{ "name": "a", "replicas": 1 }] })),
            "spec.components[0]: Invalid value: give replicas and offline here, or in each of groups, not both"),
        ("offline and groups", component(json!({ "offline": [1], "groups": [{ "name": "a", "replicas": 1 }] })),
            "spec.components[0]: Invalid value: give replicas and offline here, or in each of groups, not both"),
        ("an ordinal out of range", component(json!({ "offline": [1000] })),
            "spec.components[0].offline[0]: Invalid value: 1000: spec.components[0].offline[0] in body should be less than or equal to 999"),
        ("an ordinal twice", component(json!({ "offline": [1, 1] })),
            "spec.components[0].offline[1]: Duplicate value: 1"),
        ("a group without replicas", component(json!({ "groups": [{ "name": "a" }] })),
            "spec.components[0].groups[0].replicas: Required value"),
        ("the same group twice", component(json!({ "groups": [{ "name": "a", "replicas": 1 }, { "name": "a", "replicas": 2 }] })),
            r#"spec.components[0].groups[1]: Duplicate value: {"name":"a"}"#),
        ("a group with a capital", component(json!({ "groups": [{ "name": "Shard", "replicas": 1 }] })),
            r#"spec.components[0].groups[0].name: Invalid value: "Shard": use lower-case letters, digits and inner '-', starting with a letter"#),
        ("a mistyped field in a group", component(json!({ "groups": [{ "name": "a", "replica": 1, "replicas": 1 }] })),
            r#"unknown field "spec.components[0].groups[0].replica""#),
    ]);
}

#[test]
fn resources_and_volumes_are_quantities() {
    refused(Kind::Instance, &good(), &[
        ("megabytes as people say them", component(json!({ "resources": { "requests": { "memory": "128 MB" } } })),
            r#"spec.components[0].resources.requests[memory]: Invalid value: "128 MB": use a quantity, such as 500m, 2 or 1Gi"#),
        ("less than nothing", component(json!({ "resources": { "limits": { "cpu": "-1" } } })),
            r#"spec.components[0].resources.limits[cpu]: Invalid value: "-1": use a quantity, such as 500m, 2 or 1Gi"#),
        ("a negative number", component(json!({ "resources": { "limits": { "cpu": -1 } } })),
            "spec.components[0].resources.limits[cpu]: Invalid value: -1: use a quantity, such as 500m, 2 or 1Gi"),
        ("a request above its limit", component(json!({ "resources": { "requests": { "memory": "2Gi" }, "limits": { "memory": "1024Mi" } } })),
            "spec.components[0].resources: Invalid value: a request is more than its limit"),
        ("resources without requests or limits", component(json!({ "resources": { "cpu": "1" } })),
            r#"unknown field "spec.components[0].resources.cpu""#),
        ("a volume without a size", component(json!({ "storage": { "data": { "storageClassName": "fast" } } })),
            "spec.components[0].storage.data.size: Required value"),
        ("a volume's size in words", component(json!({ "storage": { "data": { "size": "big" } } })),
            r#"spec.components[0].storage[data].size: Invalid value: "big": use a quantity, such as 500m, 2 or 1Gi"#),
        ("a size instead of a volume", component(json!({ "storage": { "data": "1Gi" } })),
            r#"spec.components[0].storage.data: Invalid value: "string": spec.components[0].storage.data in body must be of type object: "string""#),
        ("a storage class with a capital", component(json!({ "storage": { "data": { "size": "1Gi", "storageClassName": "Fast" } } })),
            r#"spec.components[0].storage.data.storageClassName: Invalid value: "Fast": spec.components[0].storage.data.storageClassName in body should match '^[a-z0-9]+((-+|[.])[a-z0-9]+)*$'"#),
        ("nine volumes", component(json!({ "storage": (0..9).map(|n| (format!("v{n}"), json!({ "size": "1Gi" }))).collect::<serde_json::Map<_, _>>() })),
            "spec.components[0].storage: Too many: 9: must have at most 8 items"),
        ("a label value with a blank", component(json!({ "storage": { "data": { "size": "1Gi", "labels": { "team": "our shop" } } } })),
            r#"spec.components[0].storage.data.labels.team: Invalid value: "our shop": spec.components[0].storage.data.labels.team in body should match '^([A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?)?$'"#),
        ("another request in a group", component(json!({ "groups": [{ "name": "a", "replicas": 1, "resources": { "requests": { "cpu": 2 }, "limits": { "cpu": "1500m" } } }] })),
            "spec.components[0].groups[0].resources: Invalid value: a request is more than its limit"),
    ]);
}

#[test]
fn what_is_said_of_pods_is_checked() {
    refused(Kind::Instance, &good(), &[
        ("a spread that does not exist", component(json!({ "scheduling": { "spread": "rack" } })),
            r#"spec.components[0].scheduling.spread: Unsupported value: "rack": supported values: "none", "node", "zone""#),
        ("tolerations as one", component(json!({ "scheduling": { "tolerations": { "key": "dedicated" } } })),
            r#"unknown field "spec.components[0].scheduling.tolerations.key""#),
        ("a selector with a number", component(json!({ "scheduling": { "nodeSelector": { "disks": 2 } } })),
            r#"spec.components[0].scheduling.nodeSelector.disks: Invalid value: "integer": spec.components[0].scheduling.nodeSelector.disks in body must be of type string: "integer""#),
        ("a tag and a digest", component(json!({ "image": { "tag": "7.0", "digest": format!("sha256:{}", "0".repeat(64)) } })),
            "spec.components[0].image: Invalid value: give a tag or a digest, not both"),
        ("a tag inside the repository", component(json!({ "image": { "repository": "registry.example.com/cache:7.0" } })),
            r#"spec.components[0].image.repository: Invalid value: "registry.example.com/cache:7.0": use registry and repository without tag or digest, such as registry.example.com/cache/server"#),
        ("a tag with a blank", component(json!({ "image": { "tag": "7 0" } })),
            r#"spec.components[0].image.tag: Invalid value: "7 0": use an image tag, such as 7.0.5"#),
        ("a digest cut short", component(json!({ "image": { "digest": "sha256:abc" } })),
            r#"spec.components[0].image.digest: Invalid value: "sha256:abc": use sha256: and 64 hexadecimal digits"#),
        ("a pull policy that does not exist", component(json!({ "image": { "pullPolicy": "Sometimes" } })),
            r#"spec.components[0].image.pullPolicy: Unsupported value: "Sometimes": supported values: "Always", "IfNotPresent", "Never""#),
        ("a variable that starts with a digit", component(json!({ "env": [{ "name": "7UP", "value": "x" }] })),
            r#"spec.components[0].env[0].name: Invalid value: "7UP": use letters, digits and '_', not starting with a digit"#),
        ("a variable without a value", component(json!({ "env": [{ "name": "A" }] })),
            "spec.components[0].env[0]: Invalid value: give exactly one of value, secret and configMap"),
        ("a variable with two values", component(json!({ "env": [{ "name": "A", "value": "x", "secret": { "name": "s", "key": "k" } }] })),
            "spec.components[0].env[0]: Invalid value: give exactly one of value, secret and configMap"),
        ("a variable twice", component(json!({ "env": [{ "name": "A", "value": "x" }, { "name": "A", "value": "y" }] })),
            r#"spec.components[0].env[1]: Duplicate value: {"name":"A"}"#),
        ("a secret without its key", component(json!({ "env": [{ "name": "A", "secret": { "name": "s" } }] })),
            "spec.components[0].env[0].secret.key: Required value"),
        ("a secret with an underscore", component(json!({ "secretParameters": { "password": { "name": "my_secret", "key": "k" } } })),
            r#"spec.components[0].secretParameters[password].name: Invalid value: "my_secret": use lower-case letters, digits, inner '-' and '.'"#),
        ("a service account with a blank", component(json!({ "serviceAccountName": "my account" })),
            r#"spec.components[0].serviceAccountName: Invalid value: "my account": use lower-case letters, digits, inner '-' and '.'"#),
        ("annotations that are no texts", component(json!({ "podMetadata": { "annotations": { "count": 3 } } })),
            r#"spec.components[0].podMetadata.annotations.count: Invalid value: "integer": spec.components[0].podMetadata.annotations.count in body must be of type string: "integer""#),
        ("a configuration file from nowhere", component(json!({ "configFiles": { "cache.conf": {} } })),
            "spec.components[0].configFiles[cache.conf]: Invalid value: give exactly one of content, configMap and secret"),
        ("a configuration file from two places", component(json!({ "configFiles": { "cache.conf": { "content": "a", "configMap": { "name": "m", "key": "k" } } } })),
            "spec.components[0].configFiles[cache.conf]: Invalid value: give exactly one of content, configMap and secret"),
        ("parameters as a list", component(json!({ "parameters": ["maxmemory=1gb"] })),
            r#"spec.components[0].parameters: Invalid value: "array": spec.components[0].parameters in body must be of type object: "array""#),
    ]);
}

#[test]
fn how_the_process_is_kept_is_checked() {
    refused(Kind::Instance, &good(), &[
        ("a number of seconds", component(json!({ "process": { "stopTimeout": 30 } })),
            r#"spec.components[0].process.stopTimeout: Invalid value: "integer": spec.components[0].process.stopTimeout in body must be of type string: "integer""#),
        ("a duration with a blank", component(json!({ "process": { "stopTimeout": "30 s" } })),
            r#"spec.components[0].process.stopTimeout: Invalid value: "30 s": use a duration, such as 30s, 5m, 1h30m or 14d"#),
        ("a fraction of an hour", component(json!({ "process": { "startTimeout": "1.5h" } })),
            r#"spec.components[0].process.startTimeout: Invalid value: "1.5h": use a duration, such as 30s, 5m, 1h30m or 14d"#),
        ("a duration longer than anything", component(json!({ "process": { "startTimeout": "9999999999d" } })),
            r#"spec.components[0].process.startTimeout: Invalid value: "9999999999d": use a duration, such as 30s, 5m, 1h30m or 14d"#),
        ("no failure before it counts", component(json!({ "process": { "failureThreshold": 0 } })),
            "spec.components[0].process.failureThreshold: Invalid value: 0: spec.components[0].process.failureThreshold in body should be greater than or equal to 1"),
        ("a restart policy of other objects", component(json!({ "process": { "restart": "UnlessStopped" } })),
            r#"spec.components[0].process.restart: Unsupported value: "UnlessStopped": supported values: "Always", "OnFailure", "Never""#),
        ("an update strategy of other objects", component(json!({ "update": { "strategy": "Recreate" } })),
            r#"spec.components[0].update.strategy: Unsupported value: "Recreate": supported values: "Rolling", "Parallel", "OnDelete""#),
        ("none may be unavailable", component(json!({ "update": { "maxUnavailable": 0 } })),
            "spec.components[0].update.maxUnavailable: Invalid value: 0: spec.components[0].update.maxUnavailable in body should be greater than or equal to 1"),
        ("more than all may be down", component(json!({ "update": { "disruptionBudget": "101%" } })),
            r#"spec.components[0].update.disruptionBudget: Invalid value: "101%": use a number or a percentage"#),
        ("no log file is kept", component(json!({ "logs": { "files": true, "keep": 0 } })),
            "spec.components[0].logs.keep: Invalid value: 0: spec.components[0].logs.keep in body should be greater than or equal to 1"),
        ("a log file of an odd size", component(json!({ "logs": { "maxSize": "10 MiB" } })),
            r#"spec.components[0].logs.maxSize: Invalid value: "10 MiB": use a quantity, such as 500m, 2 or 1Gi"#),
    ]);
}

#[test]
fn how_clients_reach_it_is_checked() {
    refused(Kind::Instance, &good(), &[
        ("a service type that does not exist", component(json!({ "service": { "type": "Ingress" } })),
            r#"spec.components[0].service.type: Unsupported value: "Ingress": supported values: "ClusterIP", "NodePort", "LoadBalancer""#),
        ("a load balancer's class without one", component(json!({ "service": { "loadBalancerClass": "internal" } })),
            "spec.components[0].service: Invalid value: loadBalancerClass needs type LoadBalancer"),
        ("source ranges without a load balancer", component(json!({ "service": { "type": "NodePort", "loadBalancerSourceRanges": ["10.0.0.0/8"] } })),
            "spec.components[0].service: Invalid value: loadBalancerSourceRanges needs type LoadBalancer"),
        ("a source range without its length", component(json!({ "service": { "type": "LoadBalancer", "loadBalancerSourceRanges": ["10.0.0.1"] } })),
            r#"spec.components[0].service.loadBalancerSourceRanges[0]: Invalid value: "10.0.0.1": use ranges such as 10.0.0.0/8"#),
        ("TLS from two places", spec(json!({ "tls": { "issuer": "builtin", "secretName": "my-tls" } })),
            "spec.tls: Invalid value: give exactly one of issuer, certManager and secretName"),
        ("an issuer that does not exist", spec(json!({ "tls": { "issuer": "letsencrypt" } })),
            r#"spec.tls.issuer: Unsupported value: "letsencrypt": supported values: "builtin", "none""#),
        ("a kind of issuer that does not exist", spec(json!({ "tls": { "certManager": { "name": "ca", "kind": "CertificateAuthority" } } })),
            r#"spec.tls.certManager.kind: Unsupported value: "CertificateAuthority": supported values: "Issuer", "ClusterIssuer""#),
        ("a name in the certificate that is empty", spec(json!({ "tls": { "issuer": "builtin", "extraNames": [""] } })),
            r#"spec.tls.extraNames[0]: Invalid value: "": spec.tls.extraNames[0] in body should be at least 1 chars long"#),
        ("peers as one", spec(json!({ "network": { "allowFrom": { "podSelector": {} } } })),
            r#"unknown field "spec.network.allowFrom.podSelector""#),
        ("credentials as they are", spec(json!({ "credentials": { "username": "admin", "password": "secret" } })),
            r#"unknown field "spec.credentials.password", unknown field "spec.credentials.username""#),
    ]);
}

#[test]
fn care_in_operation_is_checked() {
    refused(Kind::Instance, &good(), &[
        ("a backup without a policy", spec(json!({ "backup": {} })),
            "spec.backup.policy: Required value"),
        ("a restore from nowhere", spec(json!({ "restore": {} })),
            "spec.restore: Invalid value: give backup, or repository with instance, not both"),
        ("a restore from two places", spec(json!({ "restore": { "backup": "b", "repository": "r", "instance": { "name": "old" } } })),
            "spec.restore: Invalid value: give backup, or repository with instance, not both"),
        ("a repository without an instance", spec(json!({ "restore": { "repository": "r" } })),
            "spec.restore: Invalid value: repository and instance belong together"),
        ("an instance without a repository", spec(json!({ "restore": { "backup": "b", "instance": { "name": "old" } } })),
            "spec.restore: Invalid value: repository and instance belong together"),
        ("an instance without name and uid", spec(json!({ "restore": { "repository": "r", "instance": { "namespace": "shop" } } })),
            "spec.restore.instance: Invalid value: give name or uid"),
        ("an id and a moment", spec(json!({ "restore": { "repository": "r", "instance": { "name": "old" }, "id": "01ARZ3NDEKTSV4RRFFQ69G5FAV", "pointInTime": "2026-11-20T10:00:00Z" } })),
            "spec.restore: Invalid value: give id only with repository, and without pointInTime"),
        ("an id of something else", spec(json!({ "restore": { "repository": "r", "instance": { "name": "old" }, "id": "backup-7" } })),
            r#"spec.restore.id: Invalid value: "backup-7": use an id as `kubectl get backups` shows it: 26 capital letters and digits"#),
        ("a moment without a time zone", spec(json!({ "restore": { "repository": "r", "instance": { "name": "old" }, "pointInTime": "2026-11-20 10:00" } })),
            r#"spec.restore.pointInTime: Invalid value: "2026-11-20 10:00": use a moment with its time zone, such as 2026-11-21T03:30:00Z"#),
        ("a failover mode that does not exist", spec(json!({ "failover": { "mode": "Auto" } })),
            r#"spec.failover.mode: Unsupported value: "Auto": supported values: "Automatic", "Manual""#),
        ("a lag in words", spec(json!({ "failover": { "maxLag": "1 MiB" } })),
            r#"spec.failover.maxLag: Invalid value: "1 MiB": use a quantity, such as 500m, 2 or 1Gi"#),
        ("fewer than no confirmations", spec(json!({ "failover": { "synchronous": -1 } })),
            "spec.failover.synchronous: Invalid value: -1: spec.failover.synchronous in body should be greater than or equal to 0"),
        ("a window without a duration", spec(json!({ "maintenance": { "window": "0 3 * * 0" } })),
            "spec.maintenance.duration: Required value"),
        ("a window of four fields", spec(json!({ "maintenance": { "window": "0 3 * *", "duration": "2h" } })),
            r#"spec.maintenance.window: Invalid value: "0 3 * *": use five fields as in crontab, such as 30 2 * * *, or @hourly, @daily, @weekly, @monthly, @yearly"#),
        ("a threshold list", spec(json!({ "monitoring": { "thresholds": [80] } })),
            r#"spec.monitoring.thresholds: Invalid value: "array": spec.monitoring.thresholds in body must be of type object: "array""#),
    ]);
}

#[test]
fn what_cannot_be_changed_later_says_what_to_do_instead() {
    let restored = json!({ "backup": "nightly" });
    refused_changes(Kind::Instance, &good(), &[
        ("another type", json!({}), spec(json!({ "type": "database" })),
            "spec: Invalid value: type cannot be changed: another type is another instance; create a new one and move the data"),
        ("a restore later on", json!({}), spec(json!({ "restore": restored })),
            "spec: Invalid value: restore is only for a new instance: restore in place with an Operation"),
        ("a second restore", spec(json!({ "restore": restored })), spec(json!({ "restore": { "backup": "older" } })),
            "spec: Invalid value: restore is only for a new instance: restore in place with an Operation"),
    ]);
}

#[test]
fn what_can_be_changed_later_is_accepted() {
    accepted_changes(Kind::Instance, &good(), &[
        ("versions", json!({}), spec(json!({ "version": "7.2", "extensionVersion": "1.1.0" }))),
        ("the restore is forgotten", spec(json!({ "restore": { "backup": "nightly" } })), spec(json!({ "restore": null }))),
        ("a wrong storage class is mended", component(json!({ "storage": { "data": { "size": "1Gi", "storageClassName": "fsat" } } })),
            component(json!({ "storage": { "data": { "size": "1Gi", "storageClassName": "fast" } } }))),
        ("it is stopped", json!({}), spec(json!({ "state": "Stopped" }))),
        ("from replicas to groups", json!({}), component(json!({ "groups": [{ "name": "a", "replicas": 2 }] }))),
    ]);
}
