//! Clients that hang, flood or send too much, and the end of serving.

use std::time::Duration;

use midship::lifecycle::{Code, Task};
use serde_json::{Map, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::world::{LONG, World, read_answer};
use crate::harness::wait_for;

/// Until the other side hangs up.
async fn cut_off(stream: &mut (impl AsyncReadExt + Unpin)) {
    let mut text = Vec::new();
    // a reset counts as well
    let _ = timeout(LONG, stream.read_to_end(&mut text)).await.expect("it is cut off");
}

#[tokio::test]
async fn who_does_not_finish_the_handshake_is_cut_off_and_keeps_nobody_out() {
    let world = World::with(|bounds| {
        bounds.handshake = Duration::from_millis(500);
        bounds.handshakes = 8;
    })
    .await;
    let mut silent = Vec::new();
    for _ in 0..40 {
        silent.push(TcpStream::connect(world.address).await.unwrap());
    }
    silent[0].write_all(b"\x16\x03\x01").await.unwrap();
    let client = world.client(&world.controller());
    // it is served after them; on a busy machine its own handshake may take too long as well
    wait_for("an answer", LONG, async || client.status(LONG).await).await;
    for stream in &mut silent {
        cut_off(stream).await;
    }
}

#[tokio::test]
async fn one_address_has_only_so_many_handshakes() {
    let world = World::with(|bounds| {
        bounds.handshakes_of_one = 2;
        bounds.handshake = Duration::from_secs(2);
    })
    .await;
    let mut silent = Vec::new();
    for _ in 0..2 {
        silent.push(TcpStream::connect(world.address).await.unwrap());
    }
    // whoever comes now is sent away, until the silent ones have been
    wait_for("a place", LONG, async || {
        world.rest_by(&world.controller(), "GET", "/v1/status", &[], "").await.map(drop)
    })
    .await;
}

#[tokio::test]
async fn slow_requests_are_cut_off() {
    let world = World::with(|bounds| bounds.reading = Duration::from_secs(3)).await;
    let mut nothing = world.connect(&world.controller()).await.unwrap();
    let mut head = world.connect(&world.controller()).await.unwrap();
    head.write_all(b"GET /v1/status HTTP/1.1\r\nhost:").await.unwrap();
    let mut body = world.connect(&world.controller()).await.unwrap();
    let request = "POST /v1/actions/echo HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 10\r\n\r\n{";
    body.write_all(request.as_bytes()).await.unwrap();
    cut_off(&mut nothing).await;
    cut_off(&mut head).await;
    let answer = read_answer(&mut body).await.unwrap();
    assert_eq!((answer.status, &answer.body["message"]), (400, &json!("the body did not arrive within 3s")));
    assert_eq!(world.begun(), 0);
}

#[tokio::test]
async fn bodies_that_are_too_large_are_refused_over_both_protocols() {
    let world = World::with(|bounds| bounds.body = 64 << 10).await;
    let large = json!({ "parameters": { "a": "x".repeat(64 << 10) } }).to_string();
    let answer = world.rest("POST", "/v1/actions/echo", &[], &large).await;
    assert_eq!((answer.status, &answer.body["code"]), (413, &json!("too-large")));

    let mut stream = world.connect(&world.controller()).await.unwrap();
    let head = "POST /v1/actions/echo HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("4000\r\n{}\r\n", "x".repeat(0x4000));
    for _ in 0..5 {
        stream.write_all(chunk.as_bytes()).await.unwrap();
    }
    assert_eq!(read_answer(&mut stream).await.unwrap().status, 413, "before it has ended");

    let client = world.client(&world.controller());
    let parameters = Map::from_iter([("a".to_owned(), json!("x".repeat(64 << 10)))]);
    let problem = client.run(&Task::Action("echo".into()), parameters, None, LONG).await.unwrap_err();
    assert_eq!(problem.code, Code::TooLarge);
    let fits = Map::from_iter([("a".to_owned(), json!("x".repeat(60 << 10)))]);
    assert!(client.run(&Task::Action("echo".into()), fits, None, LONG).await.is_ok());
    assert_eq!(world.begun(), 1);
}

#[tokio::test]
async fn siblings_never_take_the_places_of_controllers() {
    let world = World::with(|bounds| bounds.siblings = 2).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = world.connect(&world.sibling()).await.unwrap();
        stream.write_all(b"GET /v1/status HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        stream.read_u8().await.unwrap();
        held.push(stream);
    }
    assert!(world.rest_by(&world.sibling(), "GET", "/v1/status", &[], "").await.is_err());
    assert_eq!(world.rest("GET", "/v1/status", &[], "").await.status, 200);
}

#[tokio::test]
async fn a_stop_lets_what_was_begun_be_answered() {
    let mut world = World::new().await;
    let client = world.client(&world.controller());
    let call = tokio::spawn(async move { client.run(&Task::Action("slow".into()), Map::new(), None, LONG).await });
    wait_for("the call to begin", LONG, async || if world.begun() == 1 { Ok(()) } else { Err("not yet") }).await;
    let mut idle = world.connect(&world.controller()).await.unwrap();
    world.stop.cancel();
    cut_off(&mut idle).await;
    wait_for("nobody to listen", LONG, async || match TcpStream::connect(world.address).await {
        Ok(_) => Err("connected"),
        Err(_) => Ok(()),
    })
    .await;
    world.agent.release.add_permits(1);
    assert_eq!(call.await.unwrap().unwrap(), Some(json!({ "turn": 1 })));
    timeout(LONG, &mut world.serving.ended).await.expect("it ends").unwrap();
}
