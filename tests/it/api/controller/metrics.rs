//! /metrics: whom it answers, and that collectors understand it.

use std::collections::HashMap;

use serde_json::json;

use super::account::Account;
use super::process::{Controller, SOON};
use crate::harness::{api_test, wait_for};

#[test]
fn metrics_are_for_those_whom_the_cluster_permits() {
    api_test(async |scene| {
        let args = ["--namespaces", &scene.namespace, "--lease-namespace", &scene.namespace];
        let controller = Controller::start("metrics", &scene.kubeconfig(), &args);
        controller.ready(SOON).await;
        let (code, _, text) = controller.metrics(None).await;
        assert_eq!(code, 401);
        assert!(text.contains("Authorization: Bearer"), "{text}");
        let (code, _, text) = controller.metrics(Some("nonsense")).await;
        assert_eq!((code, text.as_str()), (401, "the token is not valid\n"));

        let account = Account::new(&scene.client, &scene.namespace, "collector").await;
        let (code, _, text) = controller.metrics(Some(&account.token)).await;
        assert_eq!(code, 403);
        assert!(text.starts_with(&format!("system:serviceaccount:{}:collector needs", scene.namespace)), "{text}");

        account.grant_everywhere(json!([{ "nonResourceURLs": ["/metrics"], "verbs": ["get"] }])).await;
        let (kind, text) = wait_for("the permission to be known", SOON, async || {
            match controller.metrics(Some(&account.token)).await {
                (200, kind, text) => Ok((kind, text)),
                (code, _, text) => Err(format!("{code} {text}")),
            }
        })
        .await;
        assert_eq!(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
        let samples = parse(&text).unwrap_or_else(|problem| panic!("{problem}\n{text}"));
        assert!(samples["midship_leader"] > 0.0, "{text}");
        assert!(samples[r#"midship_cached_objects{kind="Instance"}"#] < 1.0, "{text}");
        assert!(samples["midship_resident_memory_bytes"] > 1e6, "{text}");
        assert!(samples.keys().any(|name| name.starts_with("midship_build_info{")), "{text}");
    });
}

/// The samples of an OpenMetrics text, held to the rules that collectors are strict about.
fn parse(text: &str) -> Result<HashMap<String, f64>, String> {
    let body = text.strip_suffix("# EOF\n").ok_or("it does not end with # EOF")?;
    let (mut types, mut helps, mut samples) = (HashMap::new(), HashMap::new(), HashMap::new());
    let mut current = String::new();
    for line in body.lines() {
        let wrong = |what: &str| Err(format!("{what}: {line}"));
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let (what, name, rest) = (words.next(), words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let told = match what {
                Some("HELP") => helps.insert(name.to_owned(), rest.to_owned()),
                Some("TYPE") => types.insert(name.to_owned(), rest.to_owned()),
                Some("UNIT") => None,
                _ => return wrong("an unknown comment"),
            };
            if told.is_some() {
                return wrong("said twice");
            }
            name.clone_into(&mut current);
            continue;
        }
        let (name, value) = line.rsplit_once(' ').ok_or_else(|| format!("no value: {line}"))?;
        let value: f64 = value.parse().map_err(|_| format!("not a number: {line}"))?;
        let family = name.split('{').next().unwrap_or_default();
        if !family.starts_with(current.as_str()) || !types.contains_key(&current) || !helps.contains_key(&current) {
            return wrong("a sample outside of its family");
        }
        let suffix = &family[current.len()..];
        let suffixes: &[&str] = match types[&current].as_str() {
            "counter" => &["_total", "_created"],
            "gauge" => &[""],
            "histogram" => &["_bucket", "_sum", "_count"],
            "info" => &["_info"],
            _ => return wrong("an unknown type"),
        };
        if !suffixes.contains(&suffix) {
            return wrong("a name that does not suit its type");
        }
        let labels = name.strip_prefix(family).unwrap_or_default();
        let plain = labels.is_empty()
            || labels.starts_with('{') && labels.ends_with("\"}") && labels.matches('"').count() % 2 == 0;
        if !plain {
            return wrong("labels that cannot be read");
        }
        if samples.insert(name.to_owned(), value).is_some() {
            return wrong("a sample that is there twice");
        }
    }
    for family in types.keys() {
        if helps.get(family).is_none_or(|help| help.trim().is_empty()) {
            return Err(format!("no help: {family}"));
        }
    }
    Ok(samples)
}

#[test]
fn broken_metrics_would_be_noticed() {
    let good = "# HELP a A.\n# TYPE a counter\na_total{x=\"y\"} 1\n# EOF\n";
    assert!(parse(good).is_ok());
    for (from, to) in [
        ("# EOF\n", ""),
        ("a_total", "a"),
        ("} 1", "} one"),
        ("# TYPE a counter\n", ""),
        ("A.", ""),
        ("a_total{", "b_total{"),
    ] {
        assert!(parse(&good.replacen(from, to, 1)).is_err(), "{from} -> {to}");
    }
}
