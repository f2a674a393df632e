//! The chart and the repository template on a real API server.

mod agents;
pub mod definitions;
mod install;
mod repository;

use std::time::Duration;

use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use kube::Api;
use kube::api::PostParams;
use serde_json::json;

use crate::chart::helm::helm;
use crate::harness::{Run, Scene, wait_for};

/// Deadline of what takes a second or two on a machine with nothing else to do.
const SOON: Duration = Duration::from_mins(1);

impl Scene {
    /// Helm on the server under test, in the test's namespace.
    fn helm<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Run {
        helm().env("KUBECONFIG", self.kubeconfig()).args(args)
    }

    /// Whether somebody may do this: `verb group/resource[/subresource] [name]`, with no group before the slash for the
    /// core and no namespace for all of them.
    async fn can(&self, who: &str, namespace: &str, what: &str) -> bool {
        let mut words = what.split(' ');
        let verb = words.next().expect("a verb");
        let mut resource = words.next().expect("a resource").splitn(3, '/');
        let (group, plural, sub) = (resource.next(), resource.next().expect("group/resource"), resource.next());
        let review = json!({ "metadata": {}, "spec": { "user": who, "groups": ["system:authenticated"], "resourceAttributes": {
            "namespace": namespace, "verb": verb, "group": group, "resource": plural, "subresource": sub, "name": words.next() } } });
        let review: SubjectAccessReview = serde_json::from_value(review).expect("a review");
        let reviews: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let answer = reviews.create(&PostParams::default(), &review).await.expect("an answer");
        answer.status.is_some_and(|status| status.allowed)
    }

    /// The server knows of a role that was bound or taken away only after a moment.
    async fn assert_can(&self, who: &str, namespace: &str, whats: &[&str]) {
        for what in whats {
            self.decides(who, namespace, what, true).await;
        }
    }

    async fn assert_cannot(&self, who: &str, namespace: &str, whats: &[&str]) {
        for what in whats {
            self.decides(who, namespace, what, false).await;
        }
    }

    async fn decides(&self, who: &str, namespace: &str, what: &str, allowed: bool) {
        let word = if allowed { "be allowed" } else { "be denied" };
        wait_for(&format!("{who} to {word} to {what} in {namespace:?}"), SOON, async || {
            if self.can(who, namespace, what).await == allowed { Ok(()) } else { Err("it is not so") }
        })
        .await;
    }
}
