//! What it tells of its work: logs, events, traces; and of which namespaces it tells.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use midship::api::GitSource;
use nix::sys::signal::Signal;
use serde_json::json;

use super::account::{Account, cluster_rules, namespace_rules};
use super::process::{Controller, SOON};
use super::{create, git_source, readiness, repository};
use crate::harness::{Scene, api_test, wait_for};

async fn synced(scene: &Scene, name: &str) {
    wait_for("the repository to be applied", SOON, async || {
        readiness(&scene.objects::<GitSource>().get(name).await.map_err(|error| error.to_string())?)
    })
    .await;
}

#[test]
fn logs_events_and_traces_name_the_object_and_the_reconcile() {
    api_test(async |scene| {
        let received: Arc<Mutex<Vec<u8>>> = Arc::default();
        let keep = received.clone();
        let collector = Router::new().route(
            "/v1/traces",
            post(async move |body: Bytes| {
                keep.lock().expect("no panic").extend_from_slice(&body);
            }),
        );
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let serving = tokio::spawn(async move { axum::serve(listener, collector).await });

        let (_repository, url) = repository(&scene.namespace);
        create::<GitSource>(&scene.client, &scene.namespace, git_source("shop", &url)).await;
        let args =
            ["--namespaces", &scene.namespace, "--lease-namespace", &scene.namespace, "--otlp-endpoint", &endpoint];
        let mut controller = Controller::start("tells", &scene.kubeconfig(), &args);
        synced(scene, "shop").await;
        scene.objects::<ConfigMap>().get("from-git").await.expect("it was applied");

        let line = controller.logs("planned", SOON).await;
        for field in ["timestamp", "level", "target", "message"] {
            assert!(line[field].is_string(), "no {field}: {line}");
        }
        assert_eq!(line["span"]["object"], format!("{}/shop", scene.namespace), "{line}");
        assert_eq!(line["span"]["kind"], "GitSource", "{line}");
        assert!(line["span"]["reconcile"].is_u64(), "{line}");

        let event = wait_for("an event", SOON, async || {
            let events =
                scene.objects::<Event>().list(&ListParams::default()).await.map_err(|error| error.to_string())?;
            let of_ours =
                |event: &Event| event.regarding.as_ref().is_some_and(|about| about.name.as_deref() == Some("shop"));
            let applied = |event: &Event| event.reason.as_deref() == Some("Applied");
            let found = events.items.iter().find(|event| of_ours(event) && applied(event));
            found.cloned().ok_or_else(|| format!("{:?}", events.items))
        })
        .await;
        assert_eq!(event.reporting_controller.as_deref(), Some("midship"));
        assert!(event.note.as_deref().is_some_and(|note| note.starts_with("main@")), "{:?}", event.note);

        controller.signal(Signal::SIGTERM);
        assert_eq!(controller.exit(SOON).await, 0);
        let spans = String::from_utf8_lossy(&received.lock().expect("no panic")).into_owned();
        for part in ["reconcile", "service.name", "midship", "GitSource", &format!("{}/shop", scene.namespace)] {
            assert!(spans.contains(part), "no span says {part:?}: {spans:?}");
        }
        serving.abort();
    });
}

#[test]
fn a_collector_that_is_not_there_stops_nothing() {
    api_test(async |scene| {
        let args = [
            "--namespaces",
            &scene.namespace,
            "--lease-namespace",
            &scene.namespace,
            "--otlp-endpoint",
            "http://127.0.0.1:1",
        ];
        let mut controller = Controller::start("untraced", &scene.kubeconfig(), &args);
        let (_repository, url) = repository(&scene.namespace);
        create::<GitSource>(&scene.client, &scene.namespace, git_source("shop", &url)).await;
        synced(scene, "shop").await;
        controller.signal(Signal::SIGTERM);
        assert_eq!(controller.exit(SOON).await, 0);
    });
}

#[test]
fn with_named_namespaces_it_sees_nothing_else_and_needs_no_more() {
    api_test(async |scene| {
        let other = format!("{}-other", scene.namespace);
        let namespace: Namespace =
            serde_json::from_value(json!({ "metadata": { "name": other } })).expect("a namespace");
        let namespaces: Api<Namespace> = Api::all(scene.client.clone());
        namespaces.create(&PostParams::default(), &namespace).await.expect("it can be made");
        let (_other_repository, other_url) = repository(&other);
        create::<GitSource>(&scene.client, &other, git_source("other", &other_url)).await;
        let (_repository, url) = repository(&scene.namespace);
        create::<GitSource>(&scene.client, &scene.namespace, git_source("own", &url)).await;

        let account = Account::new(&scene.client, &scene.namespace, "midship").await;
        let mut rules = cluster_rules();
        let may_read_metrics = json!({ "nonResourceURLs": ["/metrics"], "verbs": ["get"] });
        rules.as_array_mut().expect("a list").push(may_read_metrics);
        account.grant_everywhere(rules).await;
        account.grant_in(&scene.namespace, namespace_rules()).await;
        let folder = tempfile::tempdir().expect("a folder");
        let config = account.kubeconfig(&scene.kubeconfig(), &folder.path().join("kubeconfig"));
        let home = ["--lease-namespace", &scene.namespace];

        let named = Controller::start("named", &config, &[&home[..], &["--namespaces", &scene.namespace]].concat());
        named.ready(SOON).await;
        synced(scene, "own").await;
        // objects are counted every few seconds
        wait_for("one source to be counted", SOON, async || {
            let (code, _, text) = named.metrics(Some(&account.token)).await;
            let one = text.contains("midship_cached_objects{kind=\"GitSource\"} 1\n");
            if code == 200 && one { Ok(()) } else { Err(format!("{code} {text}")) }
        })
        .await;
        assert!(!named.log_text().contains(&other), "it knows of {other}");
        let untouched: Api<GitSource> = Api::namespaced(scene.client.clone(), &other);
        assert!(untouched.get("other").await.expect("it is there").status.is_none());

        let everywhere = Controller::start("everywhere", &config, &[&home[..], &["--lease-name", "second"]].concat());
        everywhere.says("this account may not list, watch").await;
        namespaces.delete(&other, &DeleteParams::background()).await.expect("it can be deleted");
    });
}
