//! `curl` and `grpcurl`, called as `docs/agent.md` shows it.

use std::process::Command;

use serde_json::{Value, json};

use super::world::{World, own_name, write};

/// Runs a line of the documentation against the world's API.
async fn run(world: &World, program: &str, arguments: &[&str]) -> (bool, String, String) {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &world.controller());
    let mut command = Command::new(program);
    command.current_dir(dir.path()).args(arguments);
    let output = tokio::task::spawn_blocking(move || {
        let _dir = dir;
        command.output()
    });
    let output = output.await.unwrap().unwrap_or_else(|error| panic!("{program}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout), text(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_speaks_to_an_agent() {
    let world = World::new().await;
    let port = world.address.port();
    let name = own_name();
    let to = format!("{name}:{port}:127.0.0.1");
    let url = |path: &str| format!("https://{name}:{port}{path}");
    let tls = ["-sS", "--cacert", "ca.crt", "--cert", "tls.crt", "--key", "tls.key", "--resolve", &to];
    let (well, stdout, stderr) = run(&world, "curl", &[&tls[..], &[&url("/v1/status")]].concat()).await;
    assert!(well, "{stderr}");
    assert_eq!(serde_json::from_str::<Value>(&stdout).unwrap()["pod"], "cache-1");
    let body = json!({ "parameters": { "a": 1 } }).to_string();
    let more = ["--fail-with-body", "-H", "idempotency-key: 42", "-H", "midship-timeout: 10s", "-d", &body];
    let echo = url("/v1/actions/echo");
    let arguments = [&tls[..], &more, &[&echo]].concat();
    let (well, stdout, stderr) = run(&world, "curl", &arguments).await;
    assert!(well, "{stderr}");
    assert_eq!(stdout, r#"{"ran":true,"result":{"told":{"a":1},"turn":1}}"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn grpcurl_speaks_to_an_agent() {
    let world = World::new().await;
    let tool = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tools/tool");
    let found = tokio::task::spawn_blocking(move || Command::new(tool).arg("grpcurl").output()).await.unwrap().unwrap();
    assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
    let grpcurl = String::from_utf8(found.stdout).unwrap();
    let grpcurl = grpcurl.trim();
    let name = own_name();
    let address = format!("127.0.0.1:{}", world.address.port());
    let protos = concat!(env!("CARGO_MANIFEST_DIR"), "/src/lifecycle");
    let tls = ["-cacert", "ca.crt", "-cert", "tls.crt", "-key", "tls.key", "-authority", &name];
    let proto = ["-import-path", protos, "-proto", "lifecycle.proto"];
    let call = async |data: &str, method: &str| {
        let method = format!("midship.lifecycle.v1.Lifecycle/{method}");
        let arguments = [&tls[..], &proto, &["-d", data, &address, &method]].concat();
        run(&world, grpcurl, &arguments).await
    };
    let (well, stdout, stderr) = call("{}", "Status").await;
    assert!(well, "{stderr}");
    assert_eq!(serde_json::from_str::<Value>(&stdout).unwrap()["pod"], "cache-1");
    let (well, stdout, stderr) = call(r#"{"action": "echo", "parameters": {"a": [1, "b"]}}"#, "Call").await;
    assert!(well, "{stderr}");
    let answer: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(answer["result"], json!({ "turn": 1, "told": { "a": [1, "b"] } }));
    let (well, _, stderr) = call(r#"{"action": "none"}"#, "Call").await;
    assert!(!well && stderr.contains("NotFound") && stderr.contains("the package declares no action"), "{stderr}");
}
