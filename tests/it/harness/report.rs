//! What a person needs to see when a test has failed: the status of every object in its namespace, events, and logs.

use std::fmt::Write;

use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{DynamicObject, ListParams, LogParams};
use kube::discovery::{ApiCapabilities, ApiResource, Discovery, Scope, verbs};
use kube::{Api, Client, ResourceExt};

/// Never fails: what cannot be read is said in its place.
pub async fn of_namespace(client: &Client, namespace: &str) -> String {
    let mut text =
        format!("\n=== namespace {namespace} is kept; remove it with: kubectl delete namespace {namespace}\n");
    objects(client, namespace, &mut text).await;
    events(client, namespace, &mut text).await;
    logs(client, namespace, &mut text).await;
    text + "=== end of what is in it\n"
}

async fn objects(client: &Client, namespace: &str, text: &mut String) {
    let discovery = match Discovery::new(client.clone()).run_aggregated().await {
        Ok(discovery) => discovery,
        Err(error) => return line(text, &format!("the kinds of object cannot be listed: {error}")),
    };
    let kinds = discovery.groups().flat_map(kube::discovery::ApiGroup::recommended_resources);
    for (kind, _) in kinds.filter(|(kind, can)| tells_something(kind, can)) {
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &kind);
        match api.list(&ListParams::default()).await {
            Ok(list) => list.iter().for_each(|object| describe(&kind, object, text)),
            Err(error) => line(text, &format!("{}: {error}", kind.plural)),
        }
    }
}

fn tells_something(kind: &ApiResource, can: &ApiCapabilities) -> bool {
    let dull = ["Event", "EndpointSlice", "Endpoints", "ControllerRevision"];
    can.scope == Scope::Namespaced && can.supports_operation(verbs::LIST) && !dull.contains(&kind.kind.as_str())
}

fn describe(kind: &ApiResource, object: &DynamicObject, text: &mut String) {
    let name = object.name_any();
    let made_by_kubernetes = ["kube-root-ca.crt", "default"].contains(&name.as_str());
    let status = &object.data["status"];
    if status.is_null() && made_by_kubernetes {
        return;
    }
    line(text, &format!("--- {} {name}", kind.kind));
    if let Some(since) = object.metadata.deletion_timestamp.as_ref() {
        line(text, &format!("deleted at {:?}, held by {:?}", since.0, object.finalizers()));
    }
    if !status.is_null() {
        let status = serde_saphyr::to_string(status).unwrap_or_else(|error| error.to_string());
        line(text, status.trim_end());
    }
}

async fn events(client: &Client, namespace: &str, text: &mut String) {
    let api: Api<Event> = Api::namespaced(client.clone(), namespace);
    let mut events = match api.list(&ListParams::default()).await {
        Ok(list) => list.items,
        Err(error) => return line(text, &format!("events cannot be read: {error}")),
    };
    events.sort_by_key(|event| {
        event.event_time.as_ref().map(|time| time.0).or(event.last_timestamp.as_ref().map(|time| time.0))
    });
    for event in events {
        let object = event.involved_object;
        let what = format!("{} {}", object.kind.unwrap_or_default(), object.name.unwrap_or_default());
        let [type_, reason, message] = [event.type_, event.reason, event.message].map(Option::unwrap_or_default);
        line(text, &format!("event: {type_} {what}: {reason}: {message}"));
    }
}

async fn logs(client: &Client, namespace: &str, text: &mut String) {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let Ok(pods) = api.list(&ListParams::default()).await else { return };
    for pod in pods {
        let name = pod.name_any();
        let (spec, status) = (pod.spec.unwrap_or_default(), pod.status.unwrap_or_default());
        let seen = [status.init_container_statuses, status.container_statuses];
        let seen: Vec<_> = seen.into_iter().flatten().flatten().collect();
        for container in spec.init_containers.unwrap_or_default().into_iter().chain(spec.containers) {
            let restarted = seen.iter().any(|one| one.name == container.name && one.restart_count > 0);
            for previous in [true, false].into_iter().filter(|previous| restarted || !previous) {
                let which = if previous { ", before it was started again" } else { "" };
                line(text, &format!("--- log of {name}, container {}{which}", container.name));
                let container = Some(container.name.clone());
                let wanted = LogParams { container, previous, tail_lines: Some(40), ..LogParams::default() };
                match api.logs(&name, &wanted).await {
                    Ok(log) => line(text, log.trim_end()),
                    Err(error) => line(text, &format!("none: {error}")),
                }
            }
        }
    }
}

fn line(text: &mut String, line: &str) {
    writeln!(text, "{line}").expect("a String takes everything");
}
