//! Every sample in the documentation is accepted by a real API server, with strict validation.

use std::fmt::Write;

use axum::http::Request;
use midship::api::Kind;
use serde_json::Value;

use crate::harness::api_test;
use crate::samples::{Sample, samples};

#[test]
fn every_sample_in_the_documentation_is_accepted() {
    api_test(async |scene| {
        let samples = samples();
        let mut refused = String::new();
        for Sample { place, kind, object } in &samples {
            let mut object = object.clone();
            let scope = if *kind == Kind::Extension {
                String::new()
            } else {
                object["metadata"]["namespace"] = scene.namespace.clone().into();
                format!("/namespaces/{}", scene.namespace)
            };
            let path = format!("/apis/midship.dev/v1alpha1{scope}/{}?dryRun=All&fieldValidation=Strict", kind.plural());
            let request =
                Request::post(path).body(serde_json::to_vec(&object).expect("plain data")).expect("a request");
            match scene.client.request::<Value>(request).await {
                Ok(created) if created["spec"] == object["spec"] => {}
                Ok(created) => writeln!(refused, "{place}: stored as {}", created["spec"]).expect("a String"),
                Err(error) => writeln!(refused, "{place}: {error}").expect("a String"),
            }
        }
        assert!(refused.is_empty(), "{refused}");
        for kind in Kind::ALL {
            assert!(samples.iter().any(|sample| sample.kind == kind), "no sample of a {}", kind.as_str());
        }
    });
}
