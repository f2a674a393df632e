//! `midship doctor` against a cluster that is ill in one way after the other, each with its remedy, and then well.

use std::path::Path;

use insta::assert_snapshot;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::controller::account::{Account, cluster_rules, namespace_rules};
use super::controller::create;
use super::controller::process::SOON;
use super::controller::scratch::{Scratch, scratch_test};
use crate::harness::{Output, install_definitions, midship, wait_for};

fn doctor(scratch: &Scratch, kubeconfig: &Path, args: &[&str]) -> Output {
    let config = kubeconfig.display().to_string();
    midship().args(["doctor", "--kubeconfig", &config, "--installed-in", scratch.namespace]).args(args).output()
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
        assert_eq!(remedy, "midship crds | kubectl apply --server-side -f -");
        definitions.delete("instances.midship.dev", &DeleteParams::default()).await.expect("it can be deleted");
        wait_for("the definition to go", SOON, async || match definitions.get_opt("instances.midship.dev").await {
            Ok(None) => Ok(()),
            other => Err(format!("{:?}", other.map(|found| found.is_some()))),
        })
        .await;
        assert_eq!(verdict(&json(&admin), "definitions").1, "instances missing");
        let crds = midship().arg("crds").stdout();
        crate::harness::Run::new(scratch.kubectl())
            .arg("--kubeconfig")
            .arg(&admin)
            .args(["apply", "--server-side", "--force-conflicts", "-f", "-"])
            .input(crds)
            .stdout();
        wait_for("the remedy to help", SOON, async || match verdict(&json(&admin), "definitions") {
            (word, ..) if word == "Ok" => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;

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
