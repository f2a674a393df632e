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

/// What a pod of a package must never have.
pub fn forbidden(pod: &Value) -> Option<String> {
    for field in ["hostNetwork", "hostPID", "hostIPC"] {
        if pod[field] == true {
            return Some(format!("{field} is not allowed: pods keep to the \"restricted\" Pod Security Standard"));
        }
    }
    let list = |key: &str| pod[key].as_array().cloned().unwrap_or_default();
    if let Some(volume) = list("volumes").iter().find(|volume| volume.get("hostPath").is_some()) {
        return Some(format!("volume {} is a hostPath, which is not allowed", volume["name"]));
    }
    for container in list("containers").iter().chain(&list("initContainers")) {
        let context = &container["securityContext"];
        let rooted = context["runAsUser"] == 0 || context["runAsNonRoot"] == false;
        if context["privileged"] == true || context["allowPrivilegeEscalation"] == true || rooted {
            return Some(format!("container {} asks for privileges, which is not allowed", container["name"]));
        }
        if context["capabilities"]["add"].as_array().is_some_and(|added| !added.is_empty()) {
            return Some(format!("container {} adds capabilities, which is not allowed", container["name"]));
        }
    }
    (pod["securityContext"]["runAsUser"] == 0).then(|| "the pod runs as root, which is not allowed".to_owned())
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
    fn privileges_are_refused() {
        for pod in [
            json!({ "hostNetwork": true }),
            json!({ "volumes": [{ "name": "a", "hostPath": { "path": "/" } }] }),
            json!({ "containers": [{ "name": "a", "securityContext": { "privileged": true } }] }),
            json!({ "securityContext": { "runAsUser": 0 } }),
        ] {
            assert!(forbidden(&pod).is_some(), "{pod}");
        }
        assert_eq!(forbidden(&json!({ "containers": [{ "name": "a" }] })), None);
    }
}
