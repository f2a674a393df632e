//! How a package's additions are laid over a pod.

use serde_json::Value;

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
            let context = &mut container["securityContext"];
            if context["allowPrivilegeEscalation"].is_null() {
                context["allowPrivilegeEscalation"] = Value::Bool(false);
            }
            if context["capabilities"]["drop"].is_null() {
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

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
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
}
