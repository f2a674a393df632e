//! Whatever is missing is said within seconds and waited for; once it is there, the same process goes on.

use std::net::TcpListener;
use std::time::Instant;

use serde_json::{Value, json};

use super::account::{Account, cluster_rules, namespace_rules, write};
use super::process::{Controller, SOON};
use super::scratch::{scratch_test, took};
use crate::harness::{api_test, install_definitions, wait_for};

#[test]
fn each_cause_is_said_in_time_and_work_begins_when_the_last_is_mended() {
    api_test(async |scene| {
        let folder = tempfile::tempdir().expect("a folder");
        let config = folder.path().join("kubeconfig");
        let mut controller = Controller::start(
            "waits",
            &config,
            &["--namespaces", &scene.namespace, "--lease-namespace", &scene.namespace],
        );
        controller.says("the kubeconfig cannot be used").await;
        assert_eq!(controller.healthy().await, "200 ok\n", "waiting is no reason to be killed");

        std::fs::write(&config, "clusters: [").expect("it can be written");
        controller.says("check the file, or name another one with --kubeconfig or KUBECONFIG").await;

        // nobody listens there
        write(&scene.kubeconfig(), &config, Some("https://127.0.0.1:1"), Value::Null);
        controller.says("the API server cannot be reached").await;

        let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = silent.local_addr().expect("an address");
        write(&scene.kubeconfig(), &config, Some(&format!("https://{address}")), Value::Null);
        controller.says(&address.to_string()).await;

        write(&scene.kubeconfig(), &config, None, json!({ "token": "expired" }));
        controller.says("the API server does not accept these credentials").await;

        let account = Account::new(&scene.client, &scene.namespace, "midship").await;
        account.kubeconfig(&scene.kubeconfig(), &config);
        controller.says("not permitted").await;

        account.grant_everywhere(cluster_rules()).await;
        let line = controller.logged("the kubeconfig cannot be used").expect("it was said");
        assert_eq!((line["level"].as_str(), line["place"].as_str()), (Some("ERROR"), config.to_str()), "{line}");
        assert!(line["remedy"].as_str().is_some_and(|remedy| !remedy.is_empty()), "{line}");
        controller.says("this account may not get, create, update, patch, watch leases (coordination.k8s.io)").await;
        controller.says("the Helm chart's roles hold everything").await;

        let mended = Instant::now();
        account.grant_in(&scene.namespace, namespace_rules()).await;
        controller.ready(SOON).await;
        took("from the last permission to ready", mended);
        assert!(controller.still_runs() && controller.leads());
    });
}

#[test]
fn definitions_are_waited_for_and_an_api_server_that_dies_is_too() {
    scratch_test(async |scratch| {
        let args = ["--lease-namespace", scratch.namespace];
        let mut first = Controller::start("first", &scratch.kubeconfig(), &args);
        first.says("the cluster lacks the definitions of gitsources").await;
        first.says("midship crds | kubectl apply --server-side --force-conflicts -f -").await;
        install_definitions(&scratch.client).await;
        let installed = Instant::now();
        first.ready(SOON).await;
        took("from the definitions to ready", installed);
        let mut second = Controller::start("second", &scratch.kubeconfig(), &args);
        second.ready(SOON).await;
        assert!(first.leads() && !second.leads());

        let killed = Instant::now();
        scratch.kill_api_server();
        first.says("cannot be reached").await;
        took("until the leader says that the API server is gone", killed);
        second.says("cannot be reached").await;
        first.logs("the lease could not be renewed", SOON).await;
        took("until it stops working", killed);

        let restarted = Instant::now();
        scratch.restart_api_server();
        first.ready(SOON).await;
        second.ready(SOON).await;
        took("from the restart to both being ready", restarted);
        assert!(first.still_runs() && second.still_runs());
        let terms = |controller: &Controller| controller.log_text().matches("this replica leads").count();
        // whoever stands by is ready too, and so may be a moment before the other one says that it leads
        wait_for("one of them to take up the work again", SOON, async || {
            let all = (terms(&first), terms(&second));
            if all.0 + all.1 > 1 { Ok(()) } else { Err(format!("{all:?} terms")) }
        })
        .await;
    });
}
