//! Midship installed with its chart: it gets ready, leads, hands over, follows a repository, and goes without a trace but
//! the definitions.

use std::time::Instant;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, ListParams};

use super::{SOON, images};
use crate::chart::helm::{chart, helm};
use crate::harness::{Scene, e2e_test, wait_for};

#[test]
fn midship_installed_with_its_chart_gets_ready_leads_and_hands_over() {
    e2e_test(async |scene| {
        let image = images::load("midship");
        let (repository, tag) = image.rsplit_once(':').expect("a tag");
        let set = [format!("image.repository={repository}"), format!("image.tag={tag}")];
        let install =
            helm().env("KUBECONFIG", scene.kubeconfig()).args(["install", "midship", "--take-ownership"]).arg(chart());
        let install = set.iter().fold(install, |install, one| install.args(["--set-string", one]));
        install.args(["--namespace", &scene.namespace]).stdout();

        wait_for("both replicas to be ready", SOON, async || {
            let deployment = scene.objects::<Deployment>().get("midship").await.map_err(|error| error.to_string())?;
            let status = deployment.status.unwrap_or_default();
            if status.ready_replicas == Some(2) { Ok(()) } else { Err(format!("{status:?}")) }
        })
        .await;
        let first = leader(scene, None).await;
        assert_eq!(serving(scene, &first).await, 2, "the definitions are served and both replicas run");

        let started = Instant::now();
        let pods: Api<Pod> = scene.objects();
        pods.delete(&first, &DeleteParams::default()).await.expect("the leader can be deleted");
        let second = leader(scene, Some(&first)).await;
        println!("a deleted leader handed over in {:.1} s", started.elapsed().as_secs_f64());

        let started = Instant::now();
        let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        pods.delete(&second, &at_once).await.expect("the leader can be killed");
        leader(scene, Some(&second)).await;
        println!("a killed leader was replaced in {:.1} s", started.elapsed().as_secs_f64());

        let uninstall = helm().env("KUBECONFIG", scene.kubeconfig());
        uninstall.args(["uninstall", "midship", "--namespace", &scene.namespace]).stdout();
        scene.kubectl(["get", "crd", "instances.midship.dev"]).stdout();
    });
}

/// Waits until a pod other than `before` holds the lease; returns its name.
async fn leader(scene: &Scene, before: Option<&str>) -> String {
    wait_for("a leader", SOON, async || {
        let lease = scene.objects::<Lease>().get("midship").await.map_err(|error| error.to_string())?;
        let holder = lease.spec.and_then(|spec| spec.holder_identity).unwrap_or_default();
        match holder.rsplit_once('_') {
            Some((pod, _)) if Some(pod) != before => Ok(pod.to_owned()),
            _ => Err(format!("{holder:?} holds the lease")),
        }
    })
    .await
}

/// How many replicas of Midship run, `leader` among them.
async fn serving(scene: &Scene, leader: &str) -> usize {
    let parameters = ListParams::default().labels("app.kubernetes.io/name=midship");
    let pods = scene.objects::<Pod>().list(&parameters).await.expect("pods can be listed").items;
    assert!(pods.iter().any(|pod| pod.metadata.name.as_deref() == Some(leader)), "{leader} is one of them");
    scene.kubectl(["get", "instances,gitsources,backups"]).stdout();
    pods.len()
}
