//! What calls do: once where asked for, to their end, and with the same errors over both protocols.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::pin_mut;
use midship::lifecycle::{Code, Order, Status, Task, Transfer};
use serde_json::{Map, json};

use super::world::{LONG, World};
use crate::harness::wait_for;

fn action(name: &str) -> Task {
    Task::Action(name.to_owned())
}

async fn begun(world: &World, count: usize) {
    wait_for("calls to begin", LONG, async || {
        let begun = world.begun();
        if begun == count { Ok(()) } else { Err(format!("{begun} begun")) }
    })
    .await;
}

#[tokio::test]
async fn actions_take_parameters_and_answer() {
    let world = World::new().await;
    let client = world.client(&world.controller());
    let parameters =
        Map::from_iter([("primary".to_owned(), json!("cache-0")), ("deep".to_owned(), json!([1, { "a": null }]))]);
    let answer = client.run(&action("echo"), parameters.clone(), None, LONG).await.unwrap();
    assert_eq!(answer, Some(json!({ "turn": 1, "told": parameters })));
    let body = json!({ "parameters": parameters }).to_string();
    let answer = world.rest("POST", "/v1/actions/echo", &[], &body).await;
    assert_eq!(
        (answer.status, &answer.body),
        (200, &json!({ "ran": true, "result": { "turn": 2, "told": parameters } }))
    );
    assert_eq!(client.run(&action("nothing"), Map::new(), None, LONG).await.unwrap(), None);
    assert_eq!(world.rest("POST", "/v1/actions/nothing", &[], "").await.body, json!({ "ran": false }));
    assert!(client.run(&Task::Operation("rebalance".into()), Map::new(), None, LONG).await.unwrap().is_some());
    assert_eq!(world.rest("POST", "/v1/operations/rebalance", &[], "{}").await.status, 200);
}

#[tokio::test]
async fn the_process_and_the_role_can_be_moved() {
    let world = World::new().await;
    let client = world.client(&world.controller());
    for order in [Order::Start, Order::Stop, Order::Restart] {
        assert!(client.process(order, None, None, LONG).await.unwrap().changed);
        let answer = world.rest("POST", &format!("/v1/process/{}", order.name()), &[], "{\"timeout\":\"5s\"}").await;
        assert_eq!((answer.status, &answer.body["forced"]), (200, &json!(true)));
    }
    let problem = client.process(Order::Reload, None, None, LONG).await.unwrap_err();
    assert_eq!(
        (problem.code, problem.message.as_str()),
        (Code::Unsupported, "the configuration does not say how to reload")
    );
    let transfer = Transfer { target: Some("cache-2".to_owned()), force: false };
    assert_eq!(client.switchover(transfer, None, LONG).await.unwrap().holder, "cache-2");
    let answer = world.rest("POST", "/v1/switchover", &[], "").await;
    assert_eq!(answer.body, json!({ "holder": "cache-0", "epoch": 7 }));
}

#[tokio::test]
async fn capabilities_and_health_are_told() {
    let world = World::new().await;
    let client = world.client(&world.controller());
    let told = client.capabilities(LONG).await.unwrap();
    assert_eq!(json!(told), world.rest("GET", "/v1/capabilities", &[], "").await.body);
    assert_eq!(told.actions[0].description.as_deref(), Some("Says what it was told."));
    let health = client.health(LONG).await.unwrap();
    let answer = world.rest("GET", "/v1/health", &[], "").await;
    assert_eq!((answer.status, answer.body), (200, json!(health)));
    world.agent.well.store(false, Ordering::SeqCst);
    let health = client.health(LONG).await.unwrap();
    assert_eq!((health.healthy, health.reason.as_str()), (false, "the disk is full"));
    let answer = world.rest("GET", "/v1/health", &[], "").await;
    let body = json!({ "code": "unhealthy", "message": "the disk is full", "details": { "free": 0 } });
    assert_eq!((answer.status, answer.body), (503, body));
}

#[tokio::test]
async fn errors_have_one_form_everywhere() {
    let world = World::new().await;
    let client = world.client(&world.controller());
    for (method, path, body, status, code, message) in [
        ("GET", "/nowhere", "", 404, "not-found", "there is nothing at /nowhere"),
        ("GET", "/v1/switchover", "", 405, "method-not-allowed", "/v1/switchover does not take GET"),
        ("DELETE", "/v1/status", "", 405, "method-not-allowed", "/v1/status does not take DELETE"),
        ("POST", "/v1/actions/none", "", 404, "not-found", "the package declares no action \"none\""),
        ("POST", "/v1/actions/fails", "", 500, "failed", "it broke, turn 1"),
        ("POST", "/v1/actions/echo", "{", 400, "bad-request", "the body cannot be understood: EOF while parsing"),
        ("POST", "/v1/actions/echo", "[]", 400, "bad-request", "the body cannot be understood: invalid"),
        (
            "POST",
            "/v1/actions/echo",
            "{\"a\":1}",
            400,
            "bad-request",
            "the body cannot be understood: unknown field `a`",
        ),
        ("POST", "/v1/process/stop", "{\"timeout\":\"soon\"}", 400, "bad-request", "the body cannot be understood: "),
        ("POST", "/v1/process/stop", "{\"timeout\":\"1h\"}", 400, "bad-request", "the timeout is longer than"),
    ] {
        let answer = world.rest(method, path, &[], body).await;
        assert_eq!((answer.status, &answer.body["code"]), (status, &json!(code)), "{path} {body}");
        let said = answer.body["message"].as_str().unwrap();
        assert!(said.starts_with(message), "{path} {body}: {said}");
        assert!(answer.head.contains("content-type: application/json"), "{}", answer.head);
    }
    let problem = client.run(&action("none"), Map::new(), None, LONG).await.unwrap_err();
    assert_eq!(
        problem.to_string(),
        "the package declares no action \"none\"; it declares echo, fails, nothing, slow, stuck"
    );
    let problem = client.run(&action("fails"), Map::new(), None, LONG).await.unwrap_err();
    assert_eq!((problem.code, problem.hint.as_deref()), (Code::Failed, Some("mend it")));
}

#[tokio::test]
async fn the_same_key_has_a_call_made_once() {
    let world = World::new().await;
    let client = world.client(&world.controller());
    let key = [("idempotency-key", "first")];
    let (one, two) = tokio::join!(world.rest("POST", "/v1/actions/slow", &key, ""), async {
        begun(&world, 1).await;
        world.agent.release.add_permits(1);
        // while it runs or after: both come out the same
        client.run(&action("slow"), Map::new(), Some("first"), LONG).await.unwrap()
    });
    assert_eq!((one.body, two), (json!({ "ran": true, "result": { "turn": 1 } }), Some(json!({ "turn": 1 }))));
    let again = world.rest("POST", "/v1/actions/slow", &key, "").await;
    assert_eq!(again.body["result"]["turn"], 1);
    assert!(again.head.contains("idempotency-replayed: true"), "{}", again.head);
    assert_eq!(world.begun(), 1);

    let other = world.rest("POST", "/v1/actions/echo", &key, "").await;
    assert_eq!((other.status, &other.body["code"]), (409, &json!("key-reused")));
    let other = world.rest("POST", "/v1/actions/slow", &key, "{\"parameters\":{\"a\":1}}").await;
    assert_eq!(other.body["code"], "key-reused");

    let key = [("idempotency-key", "second")];
    for _ in 0..3 {
        let failed = world.rest("POST", "/v1/actions/fails", &key, "").await;
        assert_eq!((failed.status, &failed.body["message"]), (500, &json!("it broke, turn 2")));
    }
    for key in ["", "a b", &"x".repeat(129)] {
        let answer = world.rest("POST", "/v1/actions/echo", &[("idempotency-key", key)], "").await;
        assert_eq!((answer.status, &answer.body["code"]), (400, &json!("bad-request")), "{key}");
    }
}

#[tokio::test]
async fn who_waits_no_longer_does_not_end_what_he_ordered() {
    let world = World::new().await;
    let headers = [("idempotency-key", "k"), ("midship-timeout", "100ms")];
    let late = world.rest("POST", "/v1/actions/slow", &headers, "").await;
    assert_eq!((late.status, &late.body["code"]), (504, &json!("timeout")));
    assert_eq!(late.body["message"], "the action slow did not end within 100ms; it goes on");
    let client = world.client(&world.controller());
    // the connection is there before the second begins
    client.status(LONG).await.unwrap();
    let late = client.run(&action("slow"), Map::new(), Some("k"), Duration::from_secs(1)).await.unwrap_err();
    assert_eq!((late.code, world.begun()), (Code::Timeout, 1));

    // one who hangs up in the middle
    let gone = {
        let client = client.clone();
        tokio::spawn(async move { client.run(&action("slow"), Map::new(), Some("gone"), LONG).await })
    };
    begun(&world, 2).await;
    gone.abort();
    world.agent.release.add_permits(2);
    for (key, turn) in [("k", 1), ("gone", 2)] {
        let outcome = client.run(&action("slow"), Map::new(), Some(key), LONG).await.unwrap();
        assert_eq!(outcome, Some(json!({ "turn": turn })));
    }
    assert_eq!(world.begun(), 2);
    for time in ["0s", "soon"] {
        let answer = world.rest("POST", "/v1/actions/echo", &[("midship-timeout", time)], "").await;
        assert_eq!(answer.status, 400);
    }
}

#[tokio::test]
async fn an_action_gets_no_more_time_than_the_package_gives_it() {
    let world = World::new().await;
    let answer = world.rest("POST", "/v1/actions/stuck", &[("midship-timeout", "1h")], "").await;
    assert_eq!((answer.status, &answer.body["code"]), (504, &json!("timeout")));
    let client = world.client(&world.controller());
    assert_eq!(client.run(&action("stuck"), Map::new(), None, LONG).await.unwrap_err().code, Code::Timeout);
}

#[tokio::test]
async fn only_so_many_calls_run_at_once_and_looking_is_always_possible() {
    let world = World::with(|bounds| bounds.calls = 2).await;
    let client = world.client(&world.controller());
    let slow = || {
        let client = client.clone();
        tokio::spawn(async move { client.run(&action("slow"), Map::new(), None, LONG).await })
    };
    let running = [slow(), slow()];
    begun(&world, 2).await;
    let problem = client.run(&action("echo"), Map::new(), Some("k"), LONG).await.unwrap_err();
    assert_eq!((problem.code, problem.message.as_str()), (Code::TooMany, "2 calls are under way already"));
    let answer = world.rest("POST", "/v1/process/stop", &[], "").await;
    assert_eq!((answer.status, &answer.body["code"]), (429, &json!("too-many")));
    assert!(client.status(LONG).await.is_ok() && client.capabilities(LONG).await.is_ok());
    world.agent.release.add_permits(2);
    for call in running {
        assert!(call.await.unwrap().unwrap().is_some());
    }
    assert!(client.run(&action("echo"), Map::new(), Some("k"), LONG).await.is_ok(), "nothing was remembered of it");
}

#[tokio::test]
async fn changes_of_the_status_are_followed() {
    let world = World::with(|bounds| bounds.followers = 1).await;
    let client = world.client(&world.controller());
    let events = client.events(LONG).await.unwrap();
    pin_mut!(events);
    let next = async |events: &mut std::pin::Pin<&mut _>| {
        let events: &mut std::pin::Pin<&mut _> = events;
        tokio::time::timeout(LONG, futures::StreamExt::next(events)).await.unwrap().unwrap()
    };
    let first: Result<Status, _> = next(&mut events).await;
    assert_eq!(first.unwrap().role.as_deref(), Some("replica"));
    assert_eq!(client.events(LONG).await.map(drop).unwrap_err().code, Code::TooMany);
    let change = |change: fn(&mut Status)| world.agent.status.send_modify(|status| change(Arc::make_mut(status)));
    change(|status| status.position = Some(1));
    change(|status| {
        status.role = Some("primary".to_owned());
        status.epoch = Some(4);
    });
    let second: Result<Status, _> = next(&mut events).await;
    let second = second.unwrap();
    assert_eq!((second.role.as_deref(), second.epoch, second.position), (Some("primary"), Some(4), Some(1)));
    change(|status| status.position = Some(2));
    change(|status| status.lag = Some(2));
    change(|status| status.ready = false);
    let third: Result<Status, _> = next(&mut events).await;
    assert!(!third.unwrap().ready, "progress alone is no event");
}
