//! `midship doctor` against a cluster that is ill in one way after the other, each with its remedy, and then well.

use std::path::Path;

use insta::assert_snapshot;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::chart::definitions::copy;
use super::controller::account::{Account, cluster_rules, namespace_rules};
use super::controller::create;
use super::controller::process::SOON;
use super::controller::scratch::{Scratch, scratch_test};
use crate::chart::helm::{self, chart};
use crate::harness::{Output, Run, install_definitions, midship, remove_definitions, wait_for};

fn doctor(scratch: &Scratch, kubeconfig: &Path, args: &[&str]) -> Output {
    let config = kubeconfig.display().to_string();
    midship().args(["doctor", "--kubeconfig", &config, "--installed-in", scratch.namespace]).args(args).output()
}

/// Does what the doctor said, as a person would: the very words, in a shell, where the chart is.
#[track_caller]
fn obey(scratch: &Scratch, place: &Path, remedy: &str) -> Output {
    let folder = |program: &Path| program.parent().expect("a folder").display().to_string();
    let ours = Path::new(env!("CARGO_BIN_EXE_midship"));
    let own = std::env::var("PATH").unwrap_or_default();
    let path = [folder(ours), folder(&scratch.kubectl()), folder(helm::program()), own].join(":");
    let shell = Run::new("sh").args(["-e", "-c", remedy]).within(place);
    let output = shell.env("PATH", path).env("KUBECONFIG", scratch.kubeconfig()).output();
    assert_eq!(output.code, 0, "{remedy}: {output}");
    output
}

async fn becomes_ok(check: &str, look: impl Fn() -> Output) {
    wait_for("the remedy to help", SOON, async || match verdict(&look(), check) {
        (word, ..) if word == "Ok" => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

/// What a person sees, without what differs from run to run.
fn shown(output: &Output) -> String {
    let Output { code, stdout, stderr, .. } = output;
    let text = format!("exit code {code}\n--- stdout\n{stdout}--- stderr\n{stderr}");
    let words = text.split_inclusive([' ', '\n', '"']).map(|word| {
        let bare = word.trim_end_matches([' ', '\n', '"']).trim_start_matches('(');
        let digits = !bare.is_empty() && bare.chars().all(|c| c.is_ascii_digit());
        if bare.starts_with("https://127.0.0.1:") {
            word.replace(bare, "SERVER")
        } else if bare.starts_with("v1.") && bare.matches('.').count() == 2 {
            word.replace(bare, "VERSION")
        } else if digits && bare.len() <= 3 && word.ends_with(' ') {
            word.replace(bare, "N")
        } else {
            word.to_owned()
        }
    });
    words.collect()
}

/// The verdict on one thing, with its remedy.
fn verdict(output: &Output, check: &str) -> (String, String, String) {
    let checks: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output}"));
    let found = checks.as_array().expect("a list").iter().find(|one| one["check"] == check);
    let text = |field: &str| found.expect("it was looked at")[field].as_str().unwrap_or_default().to_owned();
    (text("verdict"), text("found"), text("remedy"))
}

#[test]
fn the_doctor_finds_what_is_ill_and_says_what_mends_it() {
    scratch_test(async |scratch| {
        let admin = scratch.kubeconfig();
        let json = |kubeconfig: &Path| doctor(scratch, kubeconfig, &["-o", "json"]);
        assert_snapshot!("nothing-is-installed", shown(&doctor(scratch, &admin, &[])));

        // old definitions
        install_definitions(&scratch.client).await;
        let definitions: Api<CustomResourceDefinition> = Api::all(scratch.client.clone());
        let path = "/spec/versions/0/schema/openAPIV3Schema/description";
        let patch =
            serde_json::from_value(json!([{ "op": "replace", "path": path, "value": "of old" }])).expect("a patch");
        let older = Patch::Json::<()>(patch);
        definitions.patch("instances.midship.dev", &PatchParams::default(), &older).await.expect("it can be changed");
        let output = json(&admin);
        assert_eq!(output.code, 1, "{output}");
        let (verdict_, found, remedy) = verdict(&output, "definitions");
        assert_eq!((verdict_.as_str(), found.as_str()), ("Failed", "instances of another version"));
        assert_eq!(remedy, "midship crds | kubectl apply --server-side --force-conflicts -f -");
        obey(scratch, Path::new("/"), &remedy);
        becomes_ok("definitions", || json(&admin)).await;
        remove_definitions(&scratch.client, &["instances.midship.dev".to_owned()]).await;
        let (_, found, remedy) = verdict(&json(&admin), "definitions");
        assert_eq!(found, "instances missing");
        obey(scratch, Path::new("/"), &remedy);
        becomes_ok("definitions", || json(&admin)).await;
        let (word, found, remedy) = verdict(&json(&admin), "permissions");
        assert_eq!(word, "Warning", "{found}");
        assert!(found.starts_with("checked as you, not as the controller"), "{found}");
        assert!(remedy.contains("--installed-in"), "{remedy}");

        // an account that may too little, and a lease that is old
        let account = Account::new(&scratch.client, scratch.namespace, "midship").await;
        // valid for longer than anything here takes
        let lease = |age: i64| {
            let renewed = Timestamp::now() - SignedDuration::from_secs(age);
            json!({ "metadata": { "name": "midship" }, "spec": {
                "holderIdentity": "midship-0_1", "leaseDurationSeconds": 300, "renewTime": format!("{renewed:.6}") } })
        };
        create::<Lease>(&scratch.client, scratch.namespace, lease(600)).await;
        assert_snapshot!(
            "old-lease-and-no-permissions",
            shown(&doctor(scratch, &admin, &["--namespaces", scratch.namespace]))
        );
        let output = json(&admin);
        assert_eq!(verdict(&output, "leader").0, "Failed");
        assert!(verdict(&output, "leader").2.starts_with("look at the controller's logs: kubectl logs"), "{output}");
        let (word, found, remedy) = verdict(&output, "permissions");
        assert_eq!(word, "Failed");
        assert!(found.starts_with("ServiceAccount scratch/midship may not get, create, update leases"), "{found}");
        assert!(remedy.contains("Helm chart"), "{remedy}");

        // somebody who may not even look
        let folder = tempfile::tempdir().expect("a folder");
        let stranger = account.kubeconfig(&admin, &folder.path().join("kubeconfig"));
        let output = json(&stranger);
        assert_eq!(output.code, 1, "{output}");
        for check in ["definitions", "permissions", "leader"] {
            let (word, found, remedy) = verdict(&output, check);
            assert!(word == "Failed" && found.contains("forbidden") && !remedy.is_empty(), "{check}: {output}");
        }

        // all is well
        account.grant_everywhere(cluster_rules()).await;
        account.grant_in(scratch.namespace, namespace_rules()).await;
        let leases: Api<Lease> = Api::namespaced(scratch.client.clone(), scratch.namespace);
        leases.patch("midship", &PatchParams::default(), &Patch::Merge(lease(0))).await.expect("it can be renewed");
        wait_for("the permissions to be known", SOON, async || {
            let output = doctor(scratch, &admin, &["--namespaces", scratch.namespace]);
            if output.code == 0 { Ok(()) } else { Err(output.to_string()) }
        })
        .await;
        for format in ["table", "json", "yaml", "markdown"] {
            leases.patch("midship", &PatchParams::default(), &Patch::Merge(lease(0))).await.expect("it can be renewed");
            let output = doctor(scratch, &admin, &["--namespaces", scratch.namespace, "-o", format]);
            assert_snapshot!(format!("well-{format}"), shown(&output));
        }
    });
}

#[test]
fn what_the_doctor_says_of_helm_can_be_done_in_the_order_it_is_said() {
    scratch_test(async |scratch| {
        let admin = scratch.kubeconfig();
        let json = || doctor(scratch, &admin, &["-o", "json"]);
        let place = tempfile::tempdir().expect("a folder");
        let here = place.path().join("charts/midship");
        copy(&chart(), &here, &str::to_owned);
        let file = here.join("files/crds/instances.midship.dev.yaml");
        let today = std::fs::read_to_string(&file).expect("a definition");
        std::fs::write(&file, today.replacen("Scheduled backups.", "What was scheduled.", 1))
            .expect("it can be written");

        // nothing is there: one line installs all, and can be said twice
        let (_, _, remedy) = verdict(&json(), "definitions");
        assert!(remedy.starts_with("helm upgrade --install midship charts/midship -n scratch"), "{remedy}");
        assert_eq!(verdict(&json(), "leader").2, remedy);
        obey(scratch, place.path(), &remedy);
        obey(scratch, place.path(), &remedy);

        // the chart's definitions are older than the program: the chart mends them
        wait_for("the definitions to be served", SOON, async || match verdict(&json(), "definitions").1.as_str() {
            "instances of another version" => Ok(()),
            found => Err(found.to_owned()),
        })
        .await;
        let (_, _, remedy) = verdict(&json(), "definitions");
        assert!(remedy.starts_with("helm upgrade --install midship charts/midship -n scratch"), "{remedy}");
        std::fs::write(&file, today).expect("it can be written");
        obey(scratch, place.path(), &remedy);
        becomes_ok("definitions", json).await;

        // definitions by hand and then the controller by Helm
        obey(scratch, place.path(), "helm uninstall midship -n scratch");
        let all: Vec<String> = midship::api::crds().iter().map(ResourceExt::name_any).collect();
        remove_definitions(&scratch.client, &all).await;
        obey(scratch, place.path(), "midship crds | kubectl apply --server-side --force-conflicts -f -");
        becomes_ok("definitions", json).await;
        let (_, _, remedy) = verdict(&json(), "leader");
        obey(scratch, place.path(), &remedy);
        becomes_ok("definitions", json).await;

        // the Deployment says which namespaces it looks after, as whom, and under which lease
        let named = "helm upgrade midship charts/midship -n scratch --set 'namespaces={scratch}' --set serviceAccount.name=keeper";
        obey(scratch, place.path(), named);
        wait_for("the permissions to be known", SOON, async || match verdict(&json(), "permissions") {
            (word, found, _) if word == "Ok" => {
                assert!(found.starts_with("ServiceAccount scratch/keeper may do all"), "{found}");
                assert!(found.contains("for namespaces scratch"), "{found}");
                Ok(())
            }
            other => Err(format!("{other:?}")),
        })
        .await;
        // as it is with `nameOverride`
        obey(
            scratch,
            place.path(),
            "kubectl -n scratch label deployment midship app.kubernetes.io/name=other --overwrite",
        );
        let config = admin.display().to_string();
        let anywhere = midship().args(["doctor", "--kubeconfig", &config, "-o", "json"]).output();
        assert!(verdict(&anywhere, "permissions").1.contains("scratch/keeper"), "found without being told: {anywhere}");
        let (_, found, remedy) = verdict(&json(), "leader");
        assert_eq!(found, "no lease midship in namespace scratch");
        assert!(remedy.starts_with("look at the controller's logs"), "{remedy}");

        let gone = doctor(scratch, &admin, &["-o", "json", "--namespaces", "scratch,nope"]);
        let (word, found, remedy) = verdict(&gone, "namespaces");
        assert_eq!((word.as_str(), found.as_str()), ("Failed", "nope to be looked after, and not there"));
        assert!(remedy.starts_with("kubectl create namespace nope"), "{remedy}");
        obey(scratch, place.path(), "kubectl delete serviceaccount keeper -n scratch");
        let (word, found, _) = verdict(&json(), "permissions");
        assert_eq!(word, "Failed");
        assert!(found.contains("ServiceAccount scratch/keeper is not there"), "{found}");
    });
}
