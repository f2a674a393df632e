//! What the accounts that sources act as may not write: what such a source defines, it cannot take over.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kube::{Client, ResourceExt};
use tokio::time::{Instant, timeout_at};

use super::objects;
use crate::api::{GROUP, GitSource};
use crate::cluster::access::{Permission, lacks};
use crate::cluster::problem::Problem;
use crate::plan::source::{ObjectId, ObjectKind};

/// How much is asked of one account for one plan, and how long that may take; what stays open counts as permitted.
const QUESTIONS: usize = 200;
const PATIENCE: Duration = Duration::from_secs(10);

/// A ServiceAccount: its namespace, and its name.
pub type Account = (String, String);

/// Whom a source acts as; none where it acts as Midship itself.
pub fn account_of(source: &GitSource) -> Option<Account> {
    let account = source.spec.service_account_name.as_ref()?;
    Some((source.namespace().unwrap_or_default(), account.to_string()))
}

/// Accounts, with objects that they may not write. What is not known for certain is not among them.
#[derive(Clone, Debug, Default)]
pub struct Powerless(BTreeMap<Account, BTreeSet<ObjectId>>);

impl Powerless {
    /// Whether this source may not write an object.
    pub fn has(&self, source: &GitSource, id: &ObjectId) -> bool {
        let refused = account_of(source).and_then(|account| self.0.get(&account));
        refused.is_some_and(|refused| refused.contains(id))
    }

    pub fn add(&mut self, account: Account, objects: BTreeSet<ObjectId>) {
        self.0.entry(account).or_default().extend(objects);
    }
}

/// What may still be asked, and until when.
struct Left {
    questions: usize,
    until: Instant,
}

/// Of these objects, those that the account may not write whom this client speaks for. A server that fails once is asked
/// nothing more.
pub async fn refused(client: &Client, objects: &BTreeSet<ObjectId>) -> BTreeSet<ObjectId> {
    let mut left = Left { questions: QUESTIONS, until: Instant::now() + PATIENCE };
    let mut of_all: BTreeMap<(ObjectKind, Option<&str>), bool> = BTreeMap::new();
    let mut refused = BTreeSet::new();
    for id in objects {
        let part = (id.kind, id.namespace.as_deref());
        let all = if let Some(known) = of_all.get(&part) {
            *known
        } else {
            let all = is_refused(client, id, None, &mut left).await;
            of_all.insert(part, all);
            all
        };
        // a role may name single objects
        if all && is_refused(client, id, Some(&id.name), &mut left).await {
            refused.insert(id.clone());
        }
    }
    refused
}

/// Whether it is certain that an object may not be written, or none of its kind there.
async fn is_refused(client: &Client, id: &ObjectId, name: Option<&str>, left: &mut Left) -> bool {
    let Some(fewer) = left.questions.checked_sub(1) else { return false };
    left.questions = fewer;
    let permission = Permission {
        verb: "patch",
        group: if id.kind.ours().is_some() { GROUP } else { "" },
        resource: objects::resource(id.kind).plural,
        subresource: None,
        namespace: if id.kind == ObjectKind::Namespace { Some(id.name.clone()) } else { id.namespace.clone() },
    };
    let problem = match timeout_at(left.until, lacks(client, &permission, name)).await {
        Ok(Ok(lacks)) => return lacks,
        // whoever may not be acted as can do nothing at all
        Ok(Err(kube::Error::Api(status))) if status.code == 403 && status.message.contains("cannot impersonate") => {
            return true;
        }
        Ok(Err(error)) => Problem::from_kube(&error).to_string(),
        Err(_) => format!("the API server did not answer all questions within {} seconds", PATIENCE.as_secs()),
    };
    left.questions = 0;
    tracing::warn!(object = %id, problem, "whether another source may write it is not known");
    false
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::{Arc, Mutex};

    use kube::client::Body;
    use serde_json::{Value, json};

    use super::*;

    fn instance(namespace: &str, name: &str) -> ObjectId {
        ObjectId { kind: ObjectKind::Instance, namespace: Some(namespace.into()), name: name.into() }
    }

    /// A server that answers by what is asked: namespace and name, as far as they are given. Also how often it was asked.
    fn server(answer: fn(&str, &str) -> (u16, Value)) -> (Client, Arc<Mutex<usize>>) {
        let asked = Arc::new(Mutex::new(0));
        let count = asked.clone();
        let service = tower::service_fn(move |request: http::Request<Body>| {
            let count = count.clone();
            async move {
                *count.lock().expect("no panic while it is held") += 1;
                let body = request.into_body().collect_bytes().await.expect("a question");
                let review: Value = serde_json::from_slice(&body).expect("a review");
                let about = &review["spec"]["resourceAttributes"];
                assert_eq!((&about["verb"], &about["resource"]), (&json!("patch"), &json!("instances")));
                let text = |field: &str| about[field].as_str().unwrap_or_default().to_owned();
                let (code, answer) = answer(&text("namespace"), &text("name"));
                let answer = http::Response::builder().status(code).body(Body::from(answer.to_string().into_bytes()));
                Ok::<_, Infallible>(answer.expect("an answer"))
            }
        });
        (Client::new(service, "team"), asked)
    }

    fn review(status: Value) -> (u16, Value) {
        let kind = ("authorization.k8s.io/v1", "SelfSubjectAccessReview");
        (201, json!({ "apiVersion": kind.0, "kind": kind.1, "spec": {}, "status": status }))
    }

    fn allowed(allowed: bool) -> (u16, Value) {
        review(json!({ "allowed": allowed }))
    }

    fn no(code: u16, message: &str) -> (u16, Value) {
        let status =
            json!({ "apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "message": message });
        (code, status)
    }

    #[tokio::test]
    async fn what_an_account_may_write_is_asked_by_namespace_and_else_by_name() {
        let (client, asked) = server(|namespace, name| allowed(namespace == "team" || name == "lent"));
        let objects = [("team", "a"), ("team", "b"), ("shop", "a"), ("shop", "lent")];
        let objects = BTreeSet::from(objects.map(|(namespace, name)| instance(namespace, name)));
        assert_eq!(refused(&client, &objects).await, BTreeSet::from([instance("shop", "a")]));
        assert_eq!(*asked.lock().expect("no panic while it is held"), 4);
    }

    #[tokio::test]
    async fn only_a_clear_no_counts_and_questions_have_an_end() {
        let one = BTreeSet::from([instance("shop", "a")]);
        let (client, _) = server(|_, _| no(403, "selfsubjectaccessreviews is forbidden"));
        assert_eq!(refused(&client, &one).await, BTreeSet::new(), "nobody can tell");
        let (client, _) = server(|_, _| review(json!({ "allowed": false, "evaluationError": "a webhook is away" })));
        assert_eq!(refused(&client, &one).await, BTreeSet::new(), "nobody can tell");
        let two = BTreeSet::from([instance("shop", "a"), instance("team", "a")]);
        let (client, asked) = server(|_, _| no(500, "etcd is away"));
        assert_eq!(refused(&client, &two).await, BTreeSet::new(), "nobody can tell");
        assert_eq!(*asked.lock().expect("no panic while it is held"), 1, "it is asked nothing more");
        let (client, _) =
            server(|_, _| no(403, "serviceaccounts \"a\" is forbidden: User \"m\" cannot impersonate it"));
        assert_eq!(refused(&client, &one).await, one, "Midship may not even act as it");

        let many: BTreeSet<ObjectId> = (0..1000).map(|n| instance("shop", &format!("i{n}"))).collect();
        let (client, asked) = server(|_, _| allowed(false));
        assert_eq!(refused(&client, &many).await.len(), QUESTIONS - 1);
        assert_eq!(*asked.lock().expect("no panic while it is held"), QUESTIONS);
    }
}
