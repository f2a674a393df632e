//! How a package's additions are laid over a pod.

use serde_json::Value;

use crate::extension::problem::{listed, unknown};

/// Objects are merged, null takes a field away, lists are merged by name (mounts by path), other lists are appended.
pub fn apply(target: &mut Value, patch: &Value) {
    match (target, patch) {
        (Value::Object(target), Value::Object(patch)) => {
            for (key, value) in patch {
                if value.is_null() {
                    target.remove(key);
                } else if let Some(existing) = target.get_mut(key) {
                    apply(existing, value);
                } else {
                    target.insert(key.clone(), value.clone());
                }
            }
        }
        (Value::Array(target), Value::Array(patch)) => {
            for item in patch {
                let found = target.iter_mut().find(|existing| same(existing, item));
                match found {
                    Some(existing) => apply(existing, item),
                    None => target.push(item.clone()),
                }
            }
        }
        (target, patch) => *target = patch.clone(),
    }
}

fn same(one: &Value, other: &Value) -> bool {
    let key = if one.get("mountPath").is_some() { "mountPath" } else { "name" };
    one.get(key).is_some_and(|value| other.get(key) == Some(value))
}

/// Kinds of volumes that the "restricted" Pod Security Standard knows.
const VOLUMES: [&str; 8] =
    ["configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"];
/// Fields of a pod that say where it is or what it may do, which is not a package's to decide.
const DECIDED: [&str; 3] = ["serviceAccount", "nodeName", "ephemeralContainers"];

/// Containers that a package adds give up what they do not name, as all others do.
pub fn restrict(pod: &mut Value) {
    for list in ["containers", "initContainers"] {
        for container in pod.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            let Some(container) = container.as_object_mut() else { continue };
            let context = container.entry("securityContext").or_insert(Value::Null);
            // what is no object is refused for what it lacks
            if !context.is_null() && !context.is_object() {
                continue;
            }
            if context["allowPrivilegeEscalation"].is_null() {
                context["allowPrivilegeEscalation"] = Value::Bool(false);
            }
            let capabilities = &context["capabilities"];
            if (capabilities.is_null() || capabilities.is_object()) && capabilities["drop"].is_null() {
                context["capabilities"]["drop"] = Value::from(vec!["ALL"]);
            }
        }
    }
}

/// What a pod of a package must never have: what the "restricted" Pod Security Standard refuses, and another account.
pub fn forbidden(pod: &Value, account: &Value) -> Option<String> {
    let not_allowed = |what: String| Some(format!("{what} is not allowed: {STANDARD}"));
    for field in ["hostNetwork", "hostPID", "hostIPC"] {
        if pod[field] == true {
            return not_allowed(field.to_owned());
        }
    }
    let decided = DECIDED.into_iter().find(|field| !pod[field].is_null());
    let token = (pod["automountServiceAccountToken"] == true).then_some("automountServiceAccountToken");
    let other = (pod["serviceAccountName"] != *account).then_some("serviceAccountName");
    if let Some(field) = decided.or(token).or(other) {
        return Some(format!("{field} is not a package's to decide"));
    }
    for volume in list(pod, "volumes") {
        let kinds = volume.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).filter(|key| *key != "name");
        if let Some(kind) = kinds.into_iter().find(|kind| !VOLUMES.contains(kind)) {
            return not_allowed(format!("volume {}, a {kind},", volume["name"]));
        }
    }
    if pod["securityContext"]["sysctls"].as_array().is_some_and(|list| !list.is_empty()) {
        return not_allowed("sysctls".to_owned());
    }
    if let Some(what) = privileges(&pod["securityContext"]) {
        return not_allowed(format!("{what} of the pod"));
    }
    for container in list(pod, "containers").iter().chain(list(pod, "initContainers")) {
        if let Some(what) = privileges(&container["securityContext"]).or_else(|| own_privileges(container)) {
            return not_allowed(format!("{what} of container {}", container["name"]));
        }
    }
    None
}

const STANDARD: &str = "pods keep to the \"restricted\" Pod Security Standard";

pub(super) fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

/// What a pod and a container can ask for alike.
fn privileges(context: &Value) -> Option<&'static str> {
    let profile = |key: &str| context[key]["type"] == "Unconfined";
    let windows = context["windowsOptions"]["hostProcess"] == true;
    let label = ["user", "role"].into_iter().any(|key| !context["seLinuxOptions"][key].is_null());
    [
        (context["runAsUser"] == 0, "runAsUser: 0"),
        (context["runAsNonRoot"] == false, "runAsNonRoot: false"),
        (profile("seccompProfile"), "seccompProfile: Unconfined"),
        (profile("appArmorProfile"), "appArmorProfile: Unconfined"),
        (label, "seLinuxOptions"),
        (windows, "hostProcess"),
    ]
    .into_iter()
    .find_map(|(asked, what)| asked.then_some(what))
}

fn own_privileges(container: &Value) -> Option<&'static str> {
    let context = &container["securityContext"];
    let capabilities = &context["capabilities"];
    let adds = list(capabilities, "add").iter().any(|name| name != "NET_BIND_SERVICE");
    let drops = list(capabilities, "drop").iter().any(|name| name == "ALL");
    let mount = context["procMount"].as_str().is_some_and(|mount| mount != "Default");
    let host = list(container, "ports").iter().any(|port| port["hostPort"].as_u64().is_some_and(|port| port > 0));
    [
        (context["privileged"] == true, "privileged: true"),
        (context["allowPrivilegeEscalation"] != false, "allowPrivilegeEscalation"),
        (adds || !drops, "capabilities"),
        (mount, "procMount"),
        (host, "hostPort"),
    ]
    .into_iter()
    .find_map(|(asked, what)| asked.then_some(what))
}

/// What a package may add to a pod.
const POD_FIELDS: [&str; 16] = [
    "affinity",
    "containers",
    "dnsConfig",
    "dnsPolicy",
    "hostAliases",
    "imagePullSecrets",
    "initContainers",
    "nodeSelector",
    "preemptionPolicy",
    "priorityClassName",
    "runtimeClassName",
    "schedulerName",
    "securityContext",
    "tolerations",
    "topologySpreadConstraints",
    "volumes",
];
/// What it may add to the middleware's own container, whose program PID 1 of Midship starts.
const MAIN_FIELDS: [&str; 9] = [
    "env",
    "envFrom",
    "name",
    "ports",
    "resizePolicy",
    "resources",
    "securityContext",
    "terminationMessagePolicy",
    "volumeMounts",
];
/// Volumes of Midship that other containers may mount too.
const SHARED: [&str; 1] = ["midship-tls"];

/// What is wrong with additions before they are laid over the pod.
pub fn refused(addition: &Value, pod: &Value, main: &str, lasting: &[&str]) -> Option<String> {
    let Some(fields) = addition.as_object() else {
        return Some("additions are fields, as below `spec` of a pod".into());
    };
    for (field, value) in fields {
        // these have a reason of their own, which is told of the pod that comes out
        if pod.get(field).is_none() && (DECIDED.contains(&field.as_str()) || field.starts_with("host")) {
            continue;
        }
        if !POD_FIELDS.contains(&field.as_str())
            && field != "serviceAccountName"
            && field != "automountServiceAccountToken"
        {
            let known = listed(POD_FIELDS);
            return Some(format!(
                "{field} cannot be added; write additions as below `spec` of a pod: there is {known}"
            ));
        }
        if value.is_null() && pod.get(field).is_some() {
            return Some(format!("{field}: null would take away what the pod needs"));
        }
    }
    for field in ["containers", "initContainers", "volumes"] {
        match addition.get(field) {
            None => {}
            Some(Value::Array(items)) if items.iter().all(|item| item["name"].is_string()) => {}
            Some(_) => return Some(format!("{field} is a list of objects, each with a name")),
        }
    }
    for volume in list(addition, "volumes") {
        let name = volume["name"].as_str().unwrap_or_default();
        if name.starts_with("midship") || lasting.contains(&name) || named(list(pod, "volumes"), name).is_some() {
            return Some(format!("volume {name} is there already; call an added one otherwise"));
        }
    }
    for container in list(addition, "initContainers") {
        let name = container["name"].as_str().unwrap_or_default();
        if name.starts_with("midship") || name == main {
            return Some(format!("container {name} is not a package's to change"));
        }
    }
    for container in list(addition, "containers") {
        let name = container["name"].as_str().unwrap_or_default();
        if name.starts_with("midship") {
            return Some(format!("container {name} is not a package's to change"));
        }
        if name == main
            && let Some(reason) = main_container(container, named(list(pod, "containers"), main))
        {
            return Some(reason);
        }
    }
    let added = list(addition, "containers").iter().chain(list(addition, "initContainers"));
    added.flat_map(|container| list(container, "volumeMounts").iter().map(move |mount| (container, mount))).find_map(
        |(container, mount)| {
            let (volume, path) = (mount["name"].as_str()?, mount["mountPath"].as_str()?);
            let of = format!("mount of {volume} in container {}", container["name"]);
            if path == "/midship" || path.starts_with("/midship/") {
                return Some(format!("{of}: /midship is taken"));
            }
            (volume.starts_with("midship") && !SHARED.contains(&volume)).then(|| format!("{of}: it is Midship's own"))
        },
    )
}

fn main_container(addition: &Value, there: Option<&Value>) -> Option<String> {
    for (field, value) in addition.as_object().into_iter().flatten() {
        if !MAIN_FIELDS.contains(&field.as_str()) {
            let known = listed(MAIN_FIELDS);
            return Some(format!(
                "{field} of the middleware's container cannot be added; there is {known} (the program is the component's `command`)"
            ));
        }
        if value.is_null() {
            return Some(format!("{field}: null would take away what the middleware's container needs"));
        }
    }
    let mut taken = list(addition, "env").iter().filter_map(|variable| variable["name"].as_str());
    if let Some(name) = taken.find(|name| name.starts_with("MIDSHIP_")) {
        return Some(format!("variable {name} is Midship's own"));
    }
    let mounts = there.map_or(&[][..], |there| list(there, "volumeMounts"));
    list(addition, "volumeMounts").iter().find_map(|mount| {
        let same = mounts.iter().find(|other| other["mountPath"] == mount["mountPath"])?;
        (same["name"] != mount["name"] && !mount["name"].is_null())
            .then(|| format!("volume {} is mounted at {} already", same["name"], mount["mountPath"]))
    })
}

fn named<'a>(list: &'a [Value], name: &str) -> Option<&'a Value> {
    list.iter().find(|item| item["name"] == name)
}

/// What is missing in a pod that was added to.
pub fn lacking(pod: &Value, lasting: &[&str]) -> Option<String> {
    let context = &pod["securityContext"];
    if context["runAsNonRoot"] != true {
        return Some(format!("runAsNonRoot of the pod is not true, which is not allowed: {STANDARD}"));
    }
    if !matches!(context["seccompProfile"]["type"].as_str(), Some("RuntimeDefault" | "Localhost")) {
        return Some(format!("the pod has no seccompProfile, which is not allowed: {STANDARD}"));
    }
    for container in list(pod, "containers").iter().chain(list(pod, "initContainers")) {
        let name = &container["name"];
        if container["image"].as_str().is_none_or(str::is_empty) {
            return Some(format!("container {name} has no image; the middleware's own is called like the component"));
        }
        for mount in list(container, "volumeMounts") {
            let volume = mount["name"].as_str().unwrap_or_default();
            if !lasting.contains(&volume) && named(list(pod, "volumes"), volume).is_none() {
                let volumes = list(pod, "volumes").iter().filter_map(|volume| volume["name"].as_str());
                let known = volumes.filter(|name| !name.starts_with("midship")).chain(lasting.iter().copied());
                return Some(format!(
                    "container {name} mounts a volume that is not there: {}",
                    unknown("volume", volume, known)
                ));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_are_merged_by_name_and_null_takes_away() {
        let mut pod =
            json!({ "a": 1, "containers": [{ "name": "x", "image": "i", "env": [{ "name": "A", "value": "1" }] }] });
        apply(
            &mut pod,
            &json!({ "a": null, "containers": [
                { "name": "x", "env": [{ "name": "A", "value": "2" }, { "name": "B", "value": "3" }] }, { "name": "y" }] }),
        );
        assert_eq!(
            pod,
            json!({ "containers": [
                { "name": "x", "image": "i", "env": [{ "name": "A", "value": "2" }, { "name": "B", "value": "3" }] },
                { "name": "y" }] })
        );
    }

    #[test]
    fn privileges_are_refused_by_name() {
        let container = |more: Value| {
            let mut container = json!({ "name": "a" });
            apply(&mut container, &more);
            json!({ "containers": [container] })
        };
        let cases = [
            (json!({ "hostNetwork": true }), "hostNetwork"),
            (json!({ "volumes": [{ "name": "a", "hostPath": { "path": "/" } }] }), "volume \"a\", a hostPath,"),
            (json!({ "volumes": [{ "name": "a", "nfs": { "server": "b", "path": "/" } }] }), "volume \"a\", a nfs,"),
            (container(json!({ "securityContext": { "privileged": true } })), "privileged: true of container \"a\""),
            (
                container(json!({ "securityContext": { "capabilities": { "drop": ["KILL"] } } })),
                "capabilities of container \"a\"",
            ),
            (
                container(json!({ "securityContext": { "capabilities": { "add": ["SYS_ADMIN"] } } })),
                "capabilities of container \"a\"",
            ),
            (
                container(json!({ "securityContext": { "seccompProfile": { "type": "Unconfined" } } })),
                "seccompProfile: Unconfined of container \"a\"",
            ),
            (container(json!({ "ports": [{ "containerPort": 1, "hostPort": 1 }] })), "hostPort of container \"a\""),
            (json!({ "securityContext": { "runAsUser": 0 } }), "runAsUser: 0 of the pod"),
            (json!({ "securityContext": { "runAsNonRoot": false } }), "runAsNonRoot: false of the pod"),
            (json!({ "securityContext": { "sysctls": [{ "name": "kernel.shm", "value": "1" }] } }), "sysctls"),
        ];
        for (mut pod, what) in cases {
            restrict(&mut pod);
            let expected = format!("{what} is not allowed: {STANDARD}");
            assert_eq!(forbidden(&pod, &Value::Null), Some(expected), "{pod}");
        }
        for field in ["serviceAccountName", "nodeName", "serviceAccount"] {
            let reason = forbidden(&json!({ field: "other" }), &Value::Null);
            assert_eq!(reason, Some(format!("{field} is not a package's to decide")));
        }
    }

    #[test]
    fn containers_that_are_added_give_up_what_they_do_not_name() {
        let mut pod = json!({ "containers": [{ "name": "a" }], "volumes": [{ "name": "b", "emptyDir": {} }] });
        restrict(&mut pod);
        assert_eq!(forbidden(&pod, &Value::Null), None);
        assert_eq!(pod["containers"][0]["securityContext"]["capabilities"]["drop"][0], "ALL");
    }

    #[test]
    fn additions_that_would_break_the_pod_are_refused_by_name() {
        let pod = json!({
            "serviceAccountName": "a",
            "securityContext": { "runAsNonRoot": true, "seccompProfile": { "type": "RuntimeDefault" } },
            "containers": [
                { "name": "server", "image": "i", "volumeMounts": [{ "name": "data", "mountPath": "/data" }] },
                { "name": "midship", "image": "i" },
            ],
            "initContainers": [{ "name": "midship-init", "image": "i" }],
            "volumes": [{ "name": "midship-run", "emptyDir": {} }, { "name": "tmp", "emptyDir": {} }],
        });
        let cases = [
            (json!({ "securityContext": null }), "securityContext: null would take away"),
            (json!({ "containers": null }), "containers: null would take away"),
            (json!({ "containers": {} }), "containers is a list of objects, each with a name"),
            (json!({ "containers": [{ "image": "b" }] }), "containers is a list of objects, each with a name"),
            (
                json!({ "containers": [{ "name": "server", "command": ["sh"] }] }),
                "command of the middleware's container",
            ),
            (json!({ "containers": [{ "name": "server", "args": ["a"] }] }), "args of the middleware's container"),
            (json!({ "containers": [{ "name": "server", "image": "b" }] }), "image of the middleware's container"),
            (
                json!({ "containers": [{ "name": "server", "volumeMounts": null }] }),
                "volumeMounts: null would take away",
            ),
            (
                json!({ "containers": [{ "name": "server", "env": [{ "name": "MIDSHIP_POD", "value": "b" }] }] }),
                "variable MIDSHIP_POD is Midship's own",
            ),
            (
                json!({ "containers": [{ "name": "server", "volumeMounts": [{ "name": "tmp", "mountPath": "/data" }] }] }),
                "volume \"data\" is mounted at \"/data\" already",
            ),
            (
                json!({ "containers": [{ "name": "midship", "image": "evil:1" }] }),
                "container midship is not a package's",
            ),
            (json!({ "initContainers": [{ "name": "midship-init", "image": "b" }] }), "container midship-init is not"),
            (
                json!({ "containers": [{ "name": "b", "image": "b", "volumeMounts": [{ "name": "tmp", "mountPath": "/midship/run" }] }] }),
                "mount of tmp in container \"b\": /midship is taken",
            ),
            (
                json!({ "containers": [{ "name": "b", "image": "b", "volumeMounts": [{ "name": "midship-run", "mountPath": "/run" }] }] }),
                "mount of midship-run in container \"b\": it is Midship's own",
            ),
            (json!({ "volumes": [{ "name": "midship-run", "emptyDir": {} }] }), "volume midship-run is there already"),
            (json!({ "volumes": [{ "name": "data", "emptyDir": {} }] }), "volume data is there already"),
            (json!({ "shareProcessNamespace": true }), "shareProcessNamespace cannot be added"),
            (json!([1]), "additions are fields"),
        ];
        for (addition, expected) in cases {
            let reason = refused(&addition, &pod, "server", &["data"]);
            assert!(reason.as_deref().is_some_and(|reason| reason.starts_with(expected)), "{addition}: {reason:?}");
        }
        let after = [
            (json!({ "securityContext": { "runAsNonRoot": null } }), "runAsNonRoot of the pod is not true"),
            (json!({ "securityContext": { "seccompProfile": null } }), "the pod has no seccompProfile"),
            (json!({ "containers": [{ "name": "b" }] }), "container \"b\" has no image"),
            (
                json!({ "containers": [{ "name": "b", "image": "b", "volumeMounts": [{ "name": "dat", "mountPath": "/x" }] }] }),
                "container \"b\" mounts a volume that is not there: there is no volume \"dat\"; did you mean \"data\"?",
            ),
        ];
        for (addition, expected) in after {
            assert_eq!(refused(&addition, &pod, "server", &["data"]), None, "{addition}");
            let mut made = pod.clone();
            apply(&mut made, &addition);
            let reason = lacking(&made, &["data"]);
            assert!(reason.as_deref().is_some_and(|reason| reason.starts_with(expected)), "{addition}: {reason:?}");
        }
        let fine = json!({
            "nodeSelector": { "disk": "fast" },
            "volumes": [{ "name": "cache", "emptyDir": {} }],
            "containers": [
                { "name": "server", "env": [{ "name": "A", "value": "b" }], "volumeMounts": [{ "name": "cache", "mountPath": "/cache" }] },
                { "name": "side", "image": "side:1", "volumeMounts": [{ "name": "data", "mountPath": "/data", "readOnly": true }] },
            ],
        });
        assert_eq!(refused(&fine, &pod, "server", &["data"]), None);
        let mut made = pod.clone();
        apply(&mut made, &fine);
        assert_eq!(lacking(&made, &["data"]), None);
    }
}
