//! Who is answered, and who is not.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use midship::lifecycle::client::Address;
use midship::lifecycle::identity::{CONTROLLER, agents_of};
use midship::lifecycle::{Client, Code, Order, Plea, Task};
use midship::pki::Authority;
use rustls::{ClientConfig, RootCertStore};
use serde_json::Map;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::world::{LONG, World, expired, identity, own_name, write};

const DAY: Duration = Duration::from_hours(24);

#[tokio::test]
async fn the_controller_may_ask_everything_over_both_protocols() {
    let world = World::new().await;
    let client = world.client(&world.controller());
    let status = client.status(LONG).await.unwrap();
    assert_eq!((status.pod.as_str(), status.position), ("cache-1", Some(9_007_199_254_740_993)));
    let answer = world.rest("GET", "/v1/status", &[], "").await;
    assert_eq!((answer.status, &answer.body["position"]), (200, &9_007_199_254_740_993_i64.into()));
    assert_eq!(client.process(Order::Restart, None, None, LONG).await.unwrap().process, "Running");
    assert_eq!(world.rest("POST", "/v1/process/stop", &[], "").await.body["process"], "Stopped");
}

#[tokio::test]
async fn agents_of_the_same_instance_may_ask_for_the_status_alone() {
    let world = World::new().await;
    let sibling = world.sibling();
    let client = world.client(&sibling);
    assert_eq!(client.status(LONG).await.unwrap().pod, "cache-1");
    let problem = client.process(Order::Stop, None, None, LONG).await.unwrap_err();
    assert_eq!(problem.code, Code::Forbidden);
    assert_eq!(problem.hint.as_deref(), Some("agents of the same instance may ask for the status alone"));
    assert_eq!(client.capabilities(LONG).await.unwrap_err().code, Code::Forbidden);
    assert_eq!(client.events(LONG).await.map(drop).unwrap_err().code, Code::Forbidden);

    assert_eq!(world.rest_by(&sibling, "GET", "/v1/status", &[], "").await.unwrap().status, 200);
    for (method, path) in
        [("GET", "/v1/capabilities"), ("POST", "/v1/process/stop"), ("POST", "/v1/status/"), ("GET", "/")]
    {
        let answer = world.rest_by(&sibling, method, path, &[], "").await.unwrap();
        assert_eq!((answer.status, &answer.body["code"]), (403, &"forbidden".into()), "{path}");
    }
    assert_eq!(world.begun(), 0);
}

#[tokio::test]
async fn agents_of_the_same_instance_and_nobody_else_ask_for_a_promise() {
    let world = World::new().await;
    let plea = |epoch| Plea { pod: "cache-0".into(), uid: "a".into(), epoch, duration: Duration::from_secs(10) };
    let sibling = world.client(&world.sibling());
    let promised = sibling.promise(plea(7), LONG).await.unwrap();
    assert_eq!(promised.pod, "cache-1", "whoever counts promises has to know whose they are");
    assert_eq!(sibling.promise(plea(6), LONG).await.unwrap_err().code, Code::Precondition);
    let controller = world.client(&world.controller());
    assert_eq!(controller.promise(plea(7), LONG).await.unwrap_err().code, Code::Forbidden);
}

#[tokio::test]
async fn everybody_else_is_told_that_they_may_not() {
    let world = World::new().await;
    for name in [
        agents_of("cache", "other"),
        agents_of("other", "shop"),
        "*.midship".to_owned(),
        "*.shop.agents.midship".to_owned(),
        format!("{CONTROLLER}.example"),
    ] {
        let stranger = identity(&world.authority, &name, DAY);
        let answer = world.rest_by(&stranger, "GET", "/v1/status", &[], "").await.unwrap();
        assert_eq!((answer.status, &answer.body["code"]), (403, &"forbidden".into()), "{name}");
        assert_eq!(world.client(&stranger).status(LONG).await.unwrap_err().code, Code::Forbidden);
    }
}

#[tokio::test]
async fn who_shows_no_certificate_or_a_wrong_one_gets_no_connection() {
    let world = World::new().await;
    let mut roots = RootCertStore::empty();
    roots.add(world.authority.certificate().der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    // with TLS 1.3 a client learns of its refusal when it reads
    let mut stream = world.connect_with(config).await.unwrap();
    let _ = stream.write_all(b"GET /v1/status HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let error = stream.read_to_end(&mut Vec::new()).await.unwrap_err();
    assert!(error.to_string().contains("CertificateRequired"), "{error}");

    let other = Authority::create("agents", 365 * DAY, Timestamp::now()).unwrap();
    let mut forged = identity(&other, CONTROLLER, DAY);
    forged.trusted = world.authority.pem().to_owned();
    let problem = world.client(&forged).status(LONG).await.unwrap_err();
    assert_eq!(problem.code, Code::Unavailable, "{problem}");
    assert!(world.rest_by(&forged, "GET", "/v1/status", &[], "").await.is_err());

    let old = expired(&world.authority, CONTROLLER);
    let error = world.rest_by(&old, "GET", "/v1/status", &[], "").await.unwrap_err();
    assert!(error.to_string().to_lowercase().contains("expired"), "{error}");
    assert_eq!(world.rest("GET", "/v1/status", &[], "").await.status, 200, "others are served as before");
}

#[tokio::test]
async fn a_caller_finds_out_when_somebody_else_answers() {
    let world = World::new().await;
    let tls = Arc::new(world.controller().client().unwrap());
    let name = agents_of("other", "shop");
    let address = Address { host: "127.0.0.1".into(), port: world.address.port(), name };
    let problem = Client::new(address, tls).unwrap().status(LONG).await.unwrap_err();
    assert_eq!(problem.code, Code::Unavailable);
    assert!(problem.message.contains("not valid for name"), "{problem}");
}

#[tokio::test]
async fn an_agent_that_is_not_there_is_told_apart_within_the_deadline() {
    let world = World::new().await;
    world.stop.cancel();
    let client = world.client(&world.controller());
    crate::harness::wait_for("the agent to be gone", LONG, async || {
        match client.run(&Task::Action("echo".into()), Map::new(), None, Duration::from_secs(5)).await {
            Err(problem) if problem.code == Code::Unavailable => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test]
async fn certificates_are_renewed_while_it_runs() {
    let world = World::new().await;
    let before = world.controller();
    let mut held = world.client(&before);
    assert!(held.status(LONG).await.is_ok());

    // files that are of no use change nothing
    std::fs::write(world.dir.path().join("tls.key"), "nonsense").unwrap();
    assert_eq!(world.rest("GET", "/v1/status", &[], "").await.status, 200);

    // another authority altogether, and nobody restarted anything
    let other = Authority::create("agents", 365 * DAY, Timestamp::now()).unwrap();
    write(world.dir.path(), &identity(&other, &own_name(), DAY));
    let after = identity(&other, CONTROLLER, DAY);
    assert_eq!(world.rest_by(&after, "GET", "/v1/status", &[], "").await.unwrap().status, 200);
    assert!(world.rest_by(&before, "GET", "/v1/status", &[], "").await.is_err(), "the old authority counts no more");
    assert!(held.status(LONG).await.is_ok(), "a connection that was opened before goes on");
    held = world.client(&before);
    assert_eq!(held.status(LONG).await.unwrap_err().code, Code::Unavailable);

    // both trusted, as during a change of authorities
    let mut both = identity(&other, &own_name(), DAY);
    both.trusted.push_str(world.authority.pem());
    write(world.dir.path(), &both);
    let mut trusting = before.clone();
    trusting.trusted.push_str(other.pem());
    assert_eq!(world.rest_by(&trusting, "GET", "/v1/status", &[], "").await.unwrap().status, 200);
}

#[tokio::test]
async fn a_connection_lasts_no_longer_than_its_certificate() {
    let world = World::new().await;
    let brief = identity(&world.authority, CONTROLLER, Duration::from_secs(10));
    let mut stream = world.connect(&brief).await.unwrap();
    stream.write_all(b"GET /v1/status HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut text = Vec::new();
    // it is kept alive until then
    tokio::time::timeout(LONG, stream.read_to_end(&mut text)).await.expect("it ends").unwrap();
    assert!(text.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&text));
}
