//! What a package's pods and objects may use by name: what is the instance's, never what is Midship's or somebody else's.

use serde_json::Value;

use super::patch::list;
use crate::extension::naming;
use crate::extension::problem::listed;
use crate::extension::resolved::Resolved;

/// Endings of Secrets that Midship makes for every instance, of which another one may have a longer name.
const MADE: [&str; 6] = ["-agent", "-ca", "-config", "-connection", "-credentials", "-tls"];
/// Fields of an ephemeral volume's claim that fill it with what others have.
const FILLED: [&str; 3] = ["dataSource", "dataSourceRef", "volumeName"];

/// Whether a name begins as those of the instance do.
pub fn named(resolved: &Resolved, name: &str) -> bool {
    name.strip_prefix(resolved.name.as_str()).is_some_and(|rest| rest.len() > 1 && rest.starts_with('-'))
}

/// Whether a package may have a Secret of this name made.
pub fn free(resolved: &Resolved, name: &str) -> bool {
    named(resolved, name) && !MADE.iter().any(|ending| name.ends_with(ending))
}

/// What Secrets that a package names itself do not end in.
pub fn made() -> String {
    listed(MADE)
}

/// Why a package may not use a Secret of this name.
pub fn secret(resolved: &Resolved, name: &str) -> Option<String> {
    let instance = resolved.name.as_str();
    let own = [naming::credentials(instance), naming::connection(instance), naming::tls(instance)];
    let tls = resolved.tls.as_ref().and_then(|tls| tls.secret_name.as_ref());
    let mut given =
        resolved.credentials.iter().chain(tls).chain(resolved.image_pull_secrets.iter().map(|secret| &secret.name));
    let known = own.iter().any(|known| known == name) || given.any(|known| known.as_str() == name);
    if known || free(resolved, name) {
        return None;
    }
    Some(format!(
        "Secret \"{}\" is not a package's to use; there is {}, {} and {}, what the instance names itself, and others called \
         {instance}-… that do not end in {}",
        name.escape_default(),
        own[0],
        own[1],
        own[2],
        made(),
    ))
}

/// Why a package may not mount a claim of this name.
fn claim(resolved: &Resolved, name: &str) -> Option<String> {
    let pods = resolved.pods();
    let groups = resolved.components.iter().flat_map(|component| &component.groups);
    let own = groups
        .flat_map(|group| group.storage.keys())
        .any(|volume| pods.iter().any(|pod| naming::claim(volume, pod) == name));
    // the claims of pods end in an ordinal
    let of_a_pod = name.rsplit_once('-').is_some_and(|(_, end)| end.bytes().all(|byte| byte.is_ascii_digit()));
    if own || (named(resolved, name) && !of_a_pod) {
        return None;
    }
    let name = name.escape_default();
    Some(format!(
        "claim \"{name}\" is not a package's to use; there are those of the instance's own pods, and others called {}-…",
        resolved.name
    ))
}

/// What a pod, or what is added to one, would use that is not the instance's.
pub fn pod(pod: &Value, resolved: &Resolved) -> Option<String> {
    for volume in list(pod, "volumes") {
        if let Some(reason) = mounted(volume, resolved) {
            return Some(format!("volume {}: {reason}", volume["name"]));
        }
    }
    for container in list(pod, "containers").iter().chain(list(pod, "initContainers")) {
        let variables = list(container, "env").iter().map(|variable| &variable["valueFrom"]["secretKeyRef"]);
        let all = list(container, "envFrom").iter().map(|source| &source["secretRef"]);
        if let Some(reason) = variables.chain(all).find_map(|reference| referred(reference, "name", resolved)) {
            return Some(format!("container {}: {reason}", container["name"]));
        }
    }
    let reason = list(pod, "imagePullSecrets").iter().find_map(|secret| referred(secret, "name", resolved));
    reason.map(|reason| format!("imagePullSecrets: {reason}"))
}

/// Why the Secret that is referred to may not be used.
fn referred(reference: &Value, key: &str, resolved: &Resolved) -> Option<String> {
    if reference.is_null() {
        return None;
    }
    secret(resolved, reference[key].as_str().unwrap_or_default())
}

fn mounted(volume: &Value, resolved: &Resolved) -> Option<String> {
    for source in list(&volume["projected"], "sources") {
        if !source["serviceAccountToken"].is_null() {
            return Some(
                "serviceAccountToken is not a package's to have: the account of the pod is its agent's".into(),
            );
        }
        if let Some(reason) = referred(&source["secret"], "name", resolved) {
            return Some(reason);
        }
    }
    let claimed = &volume["persistentVolumeClaim"];
    let wanted = &volume["ephemeral"]["volumeClaimTemplate"]["spec"];
    if let Some(field) = FILLED.into_iter().find(|field| !wanted[*field].is_null()) {
        return Some(format!("{field} would fill it with what others have, which is not a package's to decide"));
    }
    referred(&volume["secret"], "secretName", resolved)
        .or_else(|| referred(&volume["csi"]["nodePublishSecretRef"], "name", resolved))
        .or_else(|| {
            (!claimed.is_null()).then(|| claim(resolved, claimed["claimName"].as_str().unwrap_or_default())).flatten()
        })
}
