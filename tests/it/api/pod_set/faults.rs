//! Pods end, vanish, lose their nodes, or have agents that do not answer.

use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::{SOON, stage_test};
use crate::harness::wait_for;

#[test]
fn a_pod_that_is_deleted_or_evicted_comes_back_with_its_volume() {
    stage_test(async |stage| {
        stage.apply(json!({})).await;
        stage.becomes("Ready").await;
        let before = stage.uids().await;
        stage.pods().delete("shop-store-0", &DeleteParams::default()).await.expect("it can be deleted");
        let evicted = json!({ "status": { "phase": "Failed", "reason": "Evicted", "message": "low on memory" } });
        let patched = stage.pods().patch_status("shop-store-1", &PatchParams::default(), &Patch::Merge(&evicted)).await;
        patched.expect("it can be evicted");
        wait_for("two new pods", SOON, async || {
            let now = stage.uids().await;
            let new = now.iter().filter(|(name, uid)| before.get(*name) != Some(uid)).count();
            if now.len() == 3 && new == 2 { Ok(()) } else { Err(format!("{now:?}")) }
        })
        .await;
        stage.becomes("Ready").await;
        assert_eq!(stage.uids().await["shop-store-2"], before["shop-store-2"]);
        wait_for("the event", SOON, async || {
            let events = stage.scene.kubectl(["get", "events"]).stdout();
            if events.contains("shop-store-1 ended: Evicted: low on memory") { Ok(()) } else { Err(events) }
        })
        .await;
    });
}

#[test]
fn a_pod_of_somebody_else_stands_in_the_way_and_is_named() {
    stage_test(async |stage| {
        // the namespace's account, which a pod has to have, comes a moment after the namespace
        wait_for("the pod of somebody else", SOON, async || {
            let run = stage.scene.kubectl(["run", "shop-store-1", "--image=other:1"]).output();
            if run.code == 0 { Ok(()) } else { Err(run) }
        })
        .await;
        stage.apply(json!({})).await;
        let message = wait_for("the pod set to complain", SOON, async || {
            let status = stage.component().await.status.unwrap_or_default();
            let ready = midship::api::conditions::find(&status.conditions, "Ready").cloned();
            match ready {
                Some(ready) if ready.message.contains("that Midship did not make") => Ok(ready.message),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        assert!(message.contains("shop-store-1"), "{message}");
        stage.scene.kubectl(["delete", "pod", "shop-store-1", "--force", "--grace-period=0"]).output();
        stage.becomes("Ready").await;
    });
}

#[test]
fn a_role_that_changes_while_the_agent_of_another_pod_does_not_answer_is_shown_meanwhile() {
    stage_test(async |stage| {
        stage.apply(json!({})).await;
        stage.becomes("Ready").await;
        // it takes connections, and never says a word
        let silent = TcpListener::bind("127.66.0.1:7440").await.expect("the address is free");
        let (pods, how) = (stage.pods(), PatchParams::default());
        let address = json!({ "status": { "podIP": "127.66.0.1", "podIPs": [{ "ip": "127.66.0.1" }] } });
        let patched = pods.patch_status("shop-store-2", &how, &Patch::Merge(&address)).await;
        patched.expect("it gets an address");
        let report = json!({ "ready": true, "configRevision": "c1", "pendingRestart": ["size"] }).to_string();
        let report = json!({ "metadata": { "annotations": { "midship.dev/report": report } } });
        pods.patch("shop-store-2", &how, &Patch::Merge(&report)).await.expect("its process has to be restarted");
        let called = timeout(SOON, silent.accept()).await.expect("its agent is called in time");
        let _called = called.expect("there is a connection");
        let role = json!({ "metadata": { "labels": { "midship.dev/role": "first" } } });
        pods.patch("shop-store-0", &how, &Patch::Merge(&role)).await.expect("another one gets a role");
        wait_for("the role to be shown", SOON, async || {
            let members = stage.set().await.status.unwrap_or_default().pods;
            let shown = members.iter().any(|member| member.role.as_deref() == Some("first"));
            if shown { Ok(()) } else { Err(format!("{members:?}")) }
        })
        .await;
        // that takes four attempts of three seconds
        let ended = stage.controller.logged("an agent did not do what it was asked for");
        assert_eq!(ended, None, "the call is still under way");
    });
}

#[test]
fn what_the_api_server_refuses_is_said_in_its_words() {
    stage_test(async |stage| {
        let mut template = super::template("store:1");
        template["spec"]["containers"][0]["resources"] =
            json!({ "requests": { "cpu": "2" }, "limits": { "cpu": "1" } });
        stage.group(json!({ "template": template })).await;
        wait_for("the refusal to be told", SOON, async || {
            let status = stage.component().await.status.unwrap_or_default();
            match midship::api::conditions::find(&status.conditions, "Ready") {
                Some(ready) if ready.message.contains("must be less than or equal to cpu limit") => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        stage.group(json!({})).await;
        stage.becomes("Ready").await;
    });
}

#[test]
fn what_is_refused_again_and_again_wakes_nobody_and_is_tried_less_and_less_often() {
    stage_test(async |stage| {
        stage.scene.kubectl(["create", "quota", "none", "--hard=pods=0"]).stdout();
        // until then it is said that nobody knows what is used
        wait_for("the quota to count", SOON, async || {
            let quota = ["get", "quota", "none", "--output=jsonpath={.status.hard.pods}"];
            let hard = stage.scene.kubectl(quota).stdout();
            if hard == "0" { Ok(()) } else { Err(format!("{hard:?}")) }
        })
        .await;
        // without volumes, of which there would be news
        let mut template = super::template("store:1");
        template["volumes"] = json!({});
        template["spec"]["containers"][0]["volumeMounts"] = json!([]);
        stage.group(json!({ "template": template })).await;
        waits_for(stage, 800).await;
        let before = stage.set().await;
        let status = before.status.clone().unwrap_or_default();
        let ready = midship::api::conditions::find(&status.conditions, "Ready").expect("it is said");
        assert!(ready.reason == "NotCarriedOut" && ready.message.contains("exceeded quota: none"), "{ready:?}");
        waits_for(stage, 3_200).await;
        let after = stage.set().await;
        assert_eq!(after.metadata.resource_version, before.metadata.resource_version, "nothing new is said");
        stage.scene.kubectl(["delete", "quota", "none"]).stdout();
        stage.becomes("Ready").await;
    });
}

/// Waits until a try of the pod set failed after which the next one is so many milliseconds away.
async fn waits_for(stage: &super::Stage<'_>, milliseconds: u64) {
    wait_for(&format!("a wait of {milliseconds} ms"), SOON, async || {
        let log = stage.controller.log();
        let failed = log.iter().filter(|line| line["reason"] == "NotCarriedOut" && line["span"]["kind"] == "PodSet");
        let waits: Vec<u64> = failed.filter_map(|line| line["retry_in_ms"].as_str()?.parse().ok()).collect();
        if waits.iter().any(|wait| *wait >= milliseconds) { Ok(()) } else { Err(format!("{waits:?}")) }
    })
    .await;
}
