//! Midship installed with its chart: it gets ready, leads, hands over, follows a repository, and goes without a trace but
//! the definitions.

mod rights;

use std::time::Instant;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt};

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
        serving(scene, &first).await;
        // the definitions are served
        scene.kubectl(["get", "instances,gitsources,backups"]).stdout();

        let pods: Api<Pod> = scene.objects();
        let started = Instant::now();
        pods.delete(&first, &DeleteParams::default()).await.expect("the leader can be deleted");
        let second = leader(scene, Some(&first)).await;
        handed_over("a deleted leader, which releases its lease", started);

        // the next one is to be there, or the time until it runs is counted too
        serving(scene, &second).await;
        let started = Instant::now();
        let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        pods.delete(&second, &at_once).await.expect("the leader can be killed");
        leader(scene, Some(&second)).await;
        handed_over("a killed leader, whose lease has to run out", started);

        let uninstall = helm().env("KUBECONFIG", scene.kubeconfig());
        uninstall.args(["uninstall", "midship", "--namespace", &scene.namespace]).stdout();
        scene.kubectl(["get", "crd", "instances.midship.dev"]).stdout();
    });
}

/// Says how long it took until another pod had the lease.
fn handed_over(what: &str, since: Instant) {
    println!("{what}, was replaced after {:.1} s", since.elapsed().as_secs_f64());
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

/// Waits until two replicas of Midship run and are ready, `leader` among them.
async fn serving(scene: &Scene, leader: &str) {
    let parameters = ListParams::default().labels("app.kubernetes.io/name=midship");
    wait_for("two replicas that are ready, the leader among them", SOON, async || {
        let pods = scene.objects::<Pod>().list(&parameters).await.map_err(|error| error.to_string())?.items;
        let ready = pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none() && is_ready(pod));
        let names: Vec<String> = ready.map(ResourceExt::name_any).collect();
        if names.len() == 2 && names.iter().any(|name| name == leader) { Ok(()) } else { Err(format!("{names:?}")) }
    })
    .await;
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|one| one.type_ == "Ready" && one.status == "True")
}
