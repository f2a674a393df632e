//! The first signal ends what was begun, the second ends everything.

use std::net::TcpListener;
use std::time::Instant;

use k8s_openapi::api::coordination::v1::Lease;
use midship::api::GitSource;
use nix::sys::signal::Signal;

use super::process::{Controller, SOON};
use super::scratch::took;
use super::{create, git_source};
use crate::harness::{api_test, wait_for};

#[test]
fn it_ends_at_once_when_it_only_waits() {
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    runtime.block_on(async {
        for signal in [Signal::SIGTERM, Signal::SIGINT] {
            let mut controller = Controller::start("waits", &folder.path().join("none"), &[]);
            controller.says("the kubeconfig cannot be used").await;
            controller.signal(signal);
            assert_eq!(controller.exit(SOON).await, 0);
            assert!(controller.logged("the controller ends").is_some());
        }
    });
}

#[test]
fn a_second_signal_ends_it_in_the_middle_of_its_work() {
    api_test(async |scene| {
        let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/team/app.git", silent.local_addr().expect("an address"));
        create::<GitSource>(&scene.client, &scene.namespace, git_source("hangs", &url)).await;
        let args = ["--namespaces", &scene.namespace, "--lease-namespace", &scene.namespace];
        let mut controller = Controller::start("busy", &scene.kubeconfig(), &args);
        // it has begun to fetch once somebody knocks
        let (knocked, _) =
            tokio::task::spawn_blocking(move || silent.accept()).await.expect("no panic").expect("a caller");

        controller.signal(Signal::SIGTERM);
        controller.logs("asked to stop; ending what was begun", SOON).await;
        let renewed = async || {
            let lease = scene.objects::<Lease>().get("midship").await.map_err(|error| error.to_string())?;
            let spec = lease.spec.unwrap_or_default();
            let holder = spec.holder_identity.unwrap_or_default();
            assert!(holder.starts_with("busy_"), "the lease was given away in the middle of the work: {holder:?}");
            Ok::<_, String>(spec.renew_time)
        };
        let before = renewed().await.expect("there is a lease");
        wait_for("the lease to be kept while something runs", SOON, async || match renewed().await? {
            now if now != before => Ok(()),
            _ => Err("not renewed".to_owned()),
        })
        .await;
        assert!(controller.still_runs());

        let again = Instant::now();
        controller.signal(Signal::SIGTERM);
        assert_eq!(controller.exit(SOON).await, 130);
        took("ended by the second signal", again);
        drop(knocked);
    });
}
