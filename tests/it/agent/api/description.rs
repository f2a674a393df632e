//! The shipped description of the REST API against the API itself.

use midship::agent::api::ROUTES;
use midship::lifecycle::{
    ArchiveStatus, Capabilities, Capability, Code, Health, Problem, ProcessResult, Status, Switched,
};
use serde_json::{Value, json};

use super::world::World;

fn description() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/agent-openapi.yaml");
    serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[tokio::test]
async fn every_route_is_described_and_answered() {
    let described = description();
    let mut paths: Vec<(String, String)> = Vec::new();
    for (path, methods) in described["paths"].as_object().unwrap() {
        paths.extend(methods.as_object().unwrap().keys().map(|method| (method.clone(), path.clone())));
    }
    let mut routes: Vec<(String, String)> =
        ROUTES.iter().map(|(method, path)| ((*method).to_owned(), (*path).to_owned())).collect();
    paths.sort();
    routes.sort();
    assert_eq!(paths, routes);

    let world = World::new().await;
    for (method, path) in ROUTES {
        let name = if path.starts_with("/v1/operations") { "rebalance" } else { "echo" };
        let answer = world.rest(&method.to_uppercase(), &path.replace("{name}", name), &[], "").await;
        let operation = &described["paths"][path][method];
        let expected = if path.ends_with("reload") { 501 } else { 200 };
        assert_eq!(answer.status, expected, "{path}");
        // what may come back is described, by itself or as any other error
        let responses = operation["responses"].as_object().unwrap();
        assert!(responses.contains_key("200") && responses.contains_key("default"), "{path}");
        if expected == 200 {
            let schema = responses["200"]["content"]["application/json"]["schema"]["$ref"].as_str().unwrap();
            let schema = described.pointer(schema.trim_start_matches('#')).unwrap();
            fits(path, schema, &answer.body);
        }
    }
}

/// Every field is described, and every required one is there.
fn fits(path: &str, schema: &Value, body: &Value) {
    for field in body.as_object().unwrap().keys() {
        assert!(schema["properties"].get(field).is_some(), "{path}: {field} is not described");
    }
    for field in schema["required"].as_array().into_iter().flatten() {
        assert!(body.get(field.as_str().unwrap()).is_some(), "{path}: {field} is missing");
    }
}

#[test]
fn every_value_and_every_code_is_described() {
    let schemas = &description()["components"]["schemas"];
    let text = || Some(String::from("x"));
    let status = Status {
        reason: text(),
        pid: Some(1),
        role: text(),
        role_since: text(),
        epoch: Some(1),
        data_epoch: Some(1),
        position: Some(1),
        lag: Some(1),
        follows: text(),
        config_revision: text(),
        pending_restart: vec![String::new()],
        archive: Some(ArchiveStatus::default()),
        waits_for_restore: text(),
        ..Status::default()
    };
    let capability = Capability { name: String::new(), description: text(), timeout_millis: 1 };
    let process = ProcessResult { process: String::new(), pid: Some(1), changed: true, forced: true };
    let health = Health { healthy: true, reason: String::new(), details: Some(serde_json::Map::new()) };
    let all = [
        ("Status", json!(status)),
        ("Capabilities", json!(Capabilities::default())),
        ("Capability", json!(capability)),
        ("ProcessResult", json!(process)),
        ("Health", json!(health)),
        ("Switched", json!(Switched { holder: String::new(), epoch: Some(1) })),
        ("Problem", json!(Problem::new(Code::Busy, "").hint(""))),
    ];
    for (name, value) in all {
        fits(name, &schemas[name], &value);
        let known: Vec<&String> = schemas[name]["properties"].as_object().unwrap().keys().collect();
        for field in known {
            let told = value.get(field).is_some() || (name == "Problem" && field == "details");
            assert!(told, "{name}: nothing is ever said in {field}");
        }
    }
    let codes: Vec<&str> =
        schemas["Problem"]["properties"]["code"]["enum"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let known: Vec<&str> = Code::ALL.iter().map(|code| code.name()).collect();
    assert_eq!(codes, known);
}
