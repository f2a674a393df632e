//! The authority of the agents and their certificates, kept in Secrets of a real API server.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams};
use midship::controller::agents::{AUTHORITY_SECRET, Agents, AgentsError};
use midship::lifecycle::tls::Identity;
use midship::pki::{Certificate, KeyPem, certificates, matches};
use serde_json::json;

use crate::harness::{Scene, api_test, wait_for};

type Data = BTreeMap<String, ByteString>;

async fn authority(scene: &Scene) -> Secret {
    scene.objects::<Secret>().get(AUTHORITY_SECRET).await.expect("the Secret is there")
}

/// Writes what the instance's controller would write.
async fn applied(scene: &Scene, agents: &Agents, held: Option<&Data>) -> (Secret, Option<String>) {
    let wanted = agents.secret("cache", &scene.namespace, held).await.expect("a Secret");
    let how = PatchParams::apply("midship");
    let patch = Patch::Apply(wanted.secret.manifest());
    let secret = scene.objects::<Secret>().patch(&wanted.secret.name, &how, &patch).await.expect("it is accepted");
    (secret, wanted.renewed)
}

fn text(secret: &Secret, key: &str) -> String {
    String::from_utf8(secret.data.as_ref().expect("data")[key].0.clone()).expect("text")
}

fn usable(secret: &Secret) {
    let [certificate, key, trusted] = ["tls.crt", "tls.key", "ca.crt"].map(|name| text(secret, name));
    let identity = Identity { certificate, key: KeyPem::new(key), trusted };
    identity.server().expect("it can be served with");
    identity.client().expect("it can be called with");
}

#[test]
fn the_authority_is_made_once_and_its_certificates_stay_the_same() {
    api_test(async |scene| {
        let agents = Agents::new(scene.client.clone(), &scene.namespace);
        let (first, renewed) = applied(scene, &agents, None).await;
        assert_eq!(renewed.as_deref(), Some("there is no certificate yet"));
        usable(&first);
        let certificate = Certificate::read("it", &text(&first, "tls.crt")).expect("a certificate");
        assert!(matches(&certificate, &format!("cache.{}.agents.midship", scene.namespace)));
        let made = authority(scene).await;
        usable(&made);
        assert_eq!(text(&made, "ca.crt"), text(&first, "ca.crt"));

        // another process, such as the next leader
        let agents = Agents::new(scene.client.clone(), &scene.namespace);
        let (again, renewed) = applied(scene, &agents, first.data.as_ref()).await;
        assert_eq!((again.resource_version(), renewed), (first.resource_version(), None), "nothing is written");
        assert_eq!(authority(scene).await.resource_version(), made.resource_version());
    });
}

#[test]
fn two_controllers_that_start_at_once_agree_on_one_authority() {
    api_test(async |scene| {
        let both = [(); 2].map(|()| Agents::new(scene.client.clone(), &scene.namespace));
        let [one, two] = &both;
        let (one, two) = tokio::join!(one.secret("a", "shop", None), two.secret("a", "shop", None));
        let trusted = |kept: midship::controller::agents::AgentSecret| kept.secret.data["ca.crt"].expose().to_owned();
        let (one, two) = (trusted(one.expect("a Secret")), trusted(two.expect("a Secret")));
        assert_eq!(one, two);
        assert_eq!(text(&authority(scene).await, "ca.crt"), one);
    });
}

#[test]
fn a_broken_authority_is_never_overwritten_and_a_deleted_one_is_made_anew() {
    api_test(async |scene| {
        let secrets = scene.objects::<Secret>();
        let (first, _) = applied(scene, &Agents::new(scene.client.clone(), &scene.namespace), None).await;
        let broken = json!({ "data": { "ca.key": "bm9uc2Vuc2U=" } });
        secrets.patch(AUTHORITY_SECRET, &PatchParams::default(), &Patch::Merge(&broken)).await.expect("it is broken");
        let before = authority(scene).await;
        let agents = Agents::new(scene.client.clone(), &scene.namespace);
        let error = agents.secret("cache", &scene.namespace, first.data.as_ref()).await.expect_err("it is broken");
        assert!(matches!(error, AgentsError::Authority { .. }), "{error}");
        let said = error.to_string();
        assert!(
            said.contains("midship-agents cannot be used: ") && said.contains("restore it, or delete it"),
            "{said}"
        );
        assert_eq!(authority(scene).await.resource_version(), before.resource_version());

        secrets.delete(AUTHORITY_SECRET, &DeleteParams::default()).await.expect("it can be deleted");
        wait_for("the Secret to be gone", std::time::Duration::from_mins(1), async || {
            match secrets.get_opt(AUTHORITY_SECRET).await {
                Ok(None) => Ok(()),
                other => Err(format!("{:?}", other.map(|found| found.is_some()))),
            }
        })
        .await;
        let (second, renewed) = applied(scene, &agents, first.data.as_ref()).await;
        assert_eq!(renewed.as_deref(), Some("another authority signed the certificate"));
        assert_ne!(text(&second, "ca.crt"), text(&first, "ca.crt"));
        usable(&second);
        assert_eq!(certificates("it", &text(&second, "ca.crt")).expect("one").len(), 1);
    });
}

#[test]
fn what_is_no_certificate_any_more_is_replaced() {
    api_test(async |scene| {
        let agents = Agents::new(scene.client.clone(), &scene.namespace);
        let (first, _) = applied(scene, &agents, None).await;
        let mut spoilt = first.data.clone().expect("data");
        spoilt.insert("tls.crt".into(), ByteString(b"nonsense".to_vec()));
        let (second, renewed) = applied(scene, &agents, Some(&spoilt)).await;
        assert!(renewed.expect("a reason").starts_with("the certificate cannot be used: "));
        usable(&second);
        assert_ne!(text(&second, "tls.crt"), text(&first, "tls.crt"));
    });
}
