//! Our definitions on the server under test: applied when they are not yet what this build says, taken away, and waited
//! for.

use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::wait_for;

const DIGEST: &str = "midship.dev/test-digest";
/// How long a server may take to take them up, or away, while others are at work beside it.
const IN_TIME: Duration = Duration::from_mins(2);

/// Makes the server serve exactly `midship::api::crds()`. Costs one request where it already does.
pub async fn install(client: &Client) {
    let wanted = midship::api::crds();
    let digest = hex::encode(Sha256::digest(serde_json::to_vec(&wanted).expect("plain data")));
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let last = wanted.last().expect("there are kinds").name_any();
    // the last one is marked only when all of them are served
    let marked = api.get_metadata_opt(&last).await.expect("definitions can be read");
    if marked.is_some_and(|found| found.annotations().get(DIGEST) == Some(&digest)) {
        return;
    }
    join_all(wanted.iter().map(|crd| apply(&api, crd))).await;
    wait_for("the definitions to be served as they are wanted", IN_TIME, async || served(client, &api, &wanted).await)
        .await;
    let mark = json!({ "metadata": { "annotations": { DIGEST: digest } } });
    api.patch_metadata(&last, &PatchParams::default(), &Patch::Merge(&mark)).await.expect("a definition can be marked");
}

/// Takes definitions away with all that they define.
pub async fn remove(client: &Client, names: &[String]) {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for name in names {
        api.delete(name, &DeleteParams::default()).await.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    gone(client, names).await;
}

/// Waits until definitions that somebody deleted are gone. Where a server is asked while it has not yet read what there is
/// of a kind, it gives up and looks again only minutes later, or when the definition changes: so what stays is touched.
pub async fn gone(client: &Client, names: &[String]) {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let mut looks = 0;
    wait_for("the definitions to go", IN_TIME, async || {
        looks += 1;
        for name in names {
            let touched = json!({ "metadata": { "annotations": { "midship.dev/test-waits": looks.to_string() } } });
            match api.patch_metadata(name, &PatchParams::default(), &Patch::Merge(&touched)).await {
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => return Err(format!("{name}: {error}")),
                Ok(_) => {
                    let there = api.get_opt(name).await.map_err(|error| format!("{name}: {error}"))?;
                    return Err(format!(
                        "{name}: {:?}",
                        there.and_then(|there| there.status).map(|status| status.conditions)
                    ));
                }
            }
        }
        Ok(())
    })
    .await;
}

async fn apply(api: &Api<CustomResourceDefinition>, crd: &CustomResourceDefinition) {
    let name = crd.name_any();
    let applied = api.patch(&name, &PatchParams::apply("midship").force(), &Patch::Apply(crd)).await;
    if let Err(error) = applied {
        panic!("the definition {name} is refused: {error}");
    }
}

/// Established says nothing of a definition that was changed: the published schema tells when the change has arrived.
async fn served(
    client: &Client,
    api: &Api<CustomResourceDefinition>,
    wanted: &[CustomResourceDefinition],
) -> Result<(), String> {
    for crd in wanted {
        let name = crd.name_any();
        let found = api.get(&name).await.map_err(|error| format!("{name}: {error}"))?;
        let conditions = found.status.and_then(|status| status.conditions).unwrap_or_default();
        if !conditions.iter().any(|condition| condition.type_ == "Established" && condition.status == "True") {
            return Err(format!("{name} is not established: {conditions:?}"));
        }
    }
    let request =
        axum::http::Request::get("/openapi/v3/apis/midship.dev/v1alpha1").body(Vec::new()).expect("a request");
    let published: Value = client.request(request).await.map_err(|error| format!("no schema is published: {error}"))?;
    for crd in wanted {
        let wanted = serde_json::to_value(&crd.spec.versions[0].schema).expect("plain data");
        let wanted = &wanted["openAPIV3Schema"]["properties"]["spec"];
        let kind = &crd.spec.names.kind;
        let published =
            &published["components"]["schemas"][format!("dev.midship.v1alpha1.{kind}")]["properties"]["spec"];
        if let Some(place) = difference("spec", wanted, published) {
            return Err(format!("{kind}: another schema is published, it differs at {place}"));
        }
    }
    Ok(())
}

/// The first place where the published schema is not the wanted one. An integer-or-string and an embedded object are
/// published in other words.
fn difference(place: &str, wanted: &Value, published: &Value) -> Option<String> {
    match (wanted, published) {
        (Value::Object(wanted), Value::Object(published)) => {
            let embedded = wanted.contains_key("x-kubernetes-embedded-resource");
            let in_other_words = |key: &str| key == "anyOf" || key == "allOf" || embedded;
            let keys = wanted.keys().chain(published.keys().filter(|key| !wanted.contains_key(*key)));
            keys.filter(|key| !in_other_words(key)).find_map(|key| {
                let place = format!("{place}.{key}");
                match (wanted.get(key), published.get(key)) {
                    (Some(wanted), Some(published)) => difference(&place, wanted, published),
                    _ => Some(place),
                }
            })
        }
        (Value::Number(wanted), Value::Number(published)) if wanted.as_f64() == published.as_f64() => None,
        _ => (wanted != published).then(|| place.to_owned()),
    }
}
