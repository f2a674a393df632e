//! What an instance becomes.

use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::Role;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams, PostParams};
use midship::api::instance::Phase;
use midship::api::{Component, PodSet};
use serde_json::json;

use crate::api::extension::kit::{SOON, kit_test};
use crate::harness::wait_for;

#[test]
fn an_instance_becomes_everything_it_is_made_of() {
    kit_test(async |kit| {
        kit.install("1.0.0", "").await;
        kit.instance("cache", json!({})).await;
        let status = kit.becomes("cache", "Creating").await;
        let instance = kit.instances().get("cache").await.expect("it is there");
        let component: Component = kit.there("cache-server").await;
        assert_eq!(component.spec.groups[0].replicas, Some(2));
        assert_eq!(component.owner_references()[0].uid, instance.uid().expect("a UID"));
        kit.there::<ServiceAccount>("cache").await;
        kit.there::<Role>("cache").await;
        kit.there::<PodDisruptionBudget>("cache-server").await;
        kit.there::<Service>("cache-server-pods").await;
        kit.there::<Service>("cache").await;
        let config: ConfigMap = kit.there("cache-server-config").await;
        assert_eq!(config.data.expect("files")["server.conf"], "connections = 10\n");
        let credentials: Secret = kit.there("cache-credentials").await;
        let password = String::from_utf8(credentials.data.expect("values")["password"].0.clone()).expect("text");
        assert_eq!(password.len(), 32);
        let connection: Secret = kit.there("cache-connection").await;
        let uri = String::from_utf8(connection.data.expect("values")["uri"].0.clone()).expect("text");
        assert_eq!(uri, format!("demo://admin:{password}@cache.{}.svc:7000", kit.scene.namespace));
        let agent: Secret = kit.there("cache-agent").await;
        assert!(agent.data.expect("values").contains_key("tls.crt"));
        kit.there::<PodSet>("cache-server").await;

        assert_eq!(status.phase, Some(Phase::Creating));
        assert_eq!(status.ready.as_deref(), Some("0/2"));
        let connection = status.connection.expect("how to connect");
        assert_eq!((connection.port, connection.secret_name.as_deref()), (Some(7000), Some("cache-connection")));
        let resolved = status.resolved.expect("what was decided");
        assert_eq!((resolved.version.as_deref(), resolved.extension_version.as_deref()), (Some("1.0"), Some("1.0.0")));
    });
}

#[test]
fn everything_it_is_made_of_goes_with_it_and_its_metadata_tells_what_it_is() {
    kit_test(async |kit| {
        kit.install("1.0.0", "").await;
        kit.instance("cache", json!({})).await;
        kit.becomes("cache", "Creating").await;
        let uid = kit.instances().get("cache").await.expect("it is there").uid();
        let kinds =
            "configmap,secret,service,serviceaccount,role,rolebinding,poddisruptionbudget,components.midship.dev";
        let list = kit.scene.kubectl(["get", kinds, "-l", "midship.dev/instance=cache", "-o", "json"]).stdout();
        let list: serde_json::Value = serde_json::from_str(&list).expect("JSON");
        let mut kinds = std::collections::BTreeSet::new();
        for object in list["items"].as_array().expect("a list") {
            let owner = &object["metadata"]["ownerReferences"][0];
            let named = (owner["kind"].as_str(), owner["uid"].as_str(), owner["controller"].as_bool());
            assert_eq!(named, (Some("Instance"), uid.as_deref(), Some(true)), "{}", object["metadata"]);
            kinds.insert(object["kind"].as_str().unwrap_or_default().to_owned());
        }
        assert_eq!(kinds.len(), 8, "{kinds:?}");

        let nodes = json!({ "normal": ["cache-server-0", "cache-server-1"], "adding": [], "deleting": [] });
        let wanted = json!({ "instance": "cache", "type": kit.type_, "extensionVersion": "1.0.0", "version": "1.0",
            "topology": "standalone", "nodes": nodes, "configuration": { "cache-server": { "connections": 10 } } });
        wait_for("the metadata to tell of both pods", SOON, async || {
            let text = kit.there::<ConfigMap>("cache-metadata").await.data.expect("files")["metadata.json"].clone();
            let told: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            if told == wanted { Ok(()) } else { Err(text) }
        })
        .await;
    });
}

#[test]
fn tls_comes_with_an_authority_of_the_instance_s_own() {
    kit_test(async |kit| {
        kit.install("1.0.0", "").await;
        kit.instance("cache", json!({ "tls": { "issuer": "builtin" } })).await;
        kit.becomes("cache", "Creating").await;
        let tls: Secret = kit.there("cache-tls").await;
        let connection: Secret = kit.there("cache-connection").await;
        let (tls, connection) = (tls.data.expect("values"), connection.data.expect("values"));
        assert_eq!(tls["ca.crt"], connection["ca"]);
        let certificate = midship::pki::Certificate::read("it", std::str::from_utf8(&tls["tls.crt"].0).expect("PEM"));
        let certificate = certificate.expect("a certificate");
        let authority = midship::pki::Certificate::read("it", std::str::from_utf8(&tls["ca.crt"].0).expect("PEM"));
        assert!(certificate.signed_by(&authority.expect("an authority")));
        assert!(midship::pki::matches(&certificate, &format!("cache.{}.svc", kit.scene.namespace)));
    });
}

#[test]
fn an_instance_touches_nothing_of_others_by_the_same_name() {
    kit_test(async |kit| {
        kit.install("1.0.0", "").await;
        let mine: Service = serde_json::from_value(json!({
            "metadata": { "name": "cache" }, "spec": { "ports": [{ "port": 1 }], "selector": { "app": "mine" } } }))
        .expect("a Service");
        kit.scene.objects::<Service>().create(&PostParams::default(), &mine).await.expect("it can be made");
        kit.instance("cache", json!({})).await;
        let status = kit.becomes("cache", "Invalid").await;
        let message = &status.conditions[0].message;
        let wanted = "metadata.name: Service cache exists already and belongs to somebody else";
        assert!(message.starts_with(wanted), "{message}");
        let mine: Service = kit.there("cache").await;
        assert_eq!(mine.spec.and_then(|spec| spec.selector).expect("a selector")["app"], "mine");
        assert!(kit.scene.objects::<Component>().get_opt("cache-server").await.expect("it answers").is_none());
    });
}

#[test]
fn a_free_number_of_pods_is_left_to_those_who_scale() {
    kit_test(async |kit| {
        kit.install("1.0.0", "").await;
        kit.instance("cache", json!({ "components": [] })).await;
        kit.becomes("cache", "Creating").await;
        let component: Component = kit.there("cache-server").await;
        assert_eq!(component.spec.replicas, Some(1));
        let scale = Patch::Merge(json!({ "spec": { "replicas": 3 } }));
        let components = kit.scene.objects::<Component>();
        components.patch_scale("cache-server", &PatchParams::default(), &scale).await.expect("it can be scaled");
        wait_for("the number to be taken over", SOON, async || {
            let status = kit.instances().get("cache").await.expect("it is there").status.unwrap_or_default();
            if status.ready.as_deref() == Some("0/3") { Ok(()) } else { Err(format!("{:?}", status.ready)) }
        })
        .await;
        kit.patch(
            "cache",
            json!({ "spec": { "components": [{ "name": "server", "parameters": { "connections": 5 } }] } }),
        )
        .await;
        kit.becomes("cache", "Creating").await;
        assert_eq!(kit.there::<Component>("cache-server").await.spec.replicas, Some(3));
    });
}

#[test]
fn two_versions_run_side_by_side() {
    kit_test(async |kit| {
        kit.install("1.0.0", "").await;
        kit.instance("old", json!({})).await;
        kit.becomes("old", "Creating").await;
        let before: Component = kit.there("old-server").await;
        kit.install("1.1.0", "1.0.0").await;
        kit.instance("new", json!({ "extensionVersion": "1.1.0" })).await;
        kit.becomes("new", "Creating").await;
        let after: Component = kit.there("old-server").await;
        assert_eq!(before.metadata.generation, after.metadata.generation, "an installed version touches nobody");
        for (version, users) in [("1.0.0", 1), ("1.1.0", 1)] {
            wait_for("the users to be counted", SOON, async || {
                let found = kit.extension(version, "True", "Installed").await.status.unwrap_or_default().instances;
                if found == Some(users) { Ok(()) } else { Err(format!("{found:?}")) }
            })
            .await;
        }
    });
}
