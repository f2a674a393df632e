//! The chart and the repository template on a real API server.

pub mod definitions;
mod install;
mod repository;

use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use kube::Api;
use kube::api::PostParams;
use serde_json::json;

use crate::chart::helm::helm;
use crate::harness::{Run, Scene};

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

    async fn assert_can(&self, who: &str, namespace: &str, whats: &[&str]) {
        for what in whats {
            assert!(self.can(who, namespace, what).await, "{who} cannot {what} in {namespace:?}");
        }
    }

    async fn assert_cannot(&self, who: &str, namespace: &str, whats: &[&str]) {
        for what in whats {
            assert!(!self.can(who, namespace, what).await, "{who} can {what} in {namespace:?}");
        }
    }
}
