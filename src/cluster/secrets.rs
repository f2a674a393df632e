//! Secrets that people and other programs make, watched by their metadata alone: whoever works with one hears at once that it
//! changed. Nothing of them is kept.

use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Secret;
use kube::api::PartialObjectMeta;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{Config, Event, watcher};
use kube::{Api, Client};
use tokio_util::task::AbortOnDropHandle;

use super::cache::{Key, describe};
use super::scope::{Scope, Watched};
use super::watching::{self, Trouble};
use crate::api::labels;

/// Told of every Secret that appears, changes or goes.
pub type OnChange = Arc<dyn Fn(&Key) + Send + Sync>;

/// The watches of a scope. Dropping it ends them.
pub struct Secrets {
    _tasks: Vec<AbortOnDropHandle<()>>,
}

impl Secrets {
    pub fn start(client: &Client, scope: &Scope, on_change: &OnChange) -> Self {
        let apis = <Secret as Watched>::apis::<PartialObjectMeta<Secret>>(client, scope);
        let task = |(_, api)| AbortOnDropHandle::new(tokio::spawn(watch(api, on_change.clone())));
        Self { _tasks: apis.into_iter().map(task).collect() }
    }
}

async fn watch(api: Api<PartialObjectMeta<Secret>>, on_change: OnChange) {
    // what Midship makes itself is no credential of anybody, and releases of Helm are many and large
    let others = format!("{}!={}", labels::MANAGED_BY, labels::MANAGER);
    let config = Config::default().timeout(290).labels(&others).fields("type!=helm.sh/release.v1");
    // nobody waits for this one: what it has missed is seen at the next look
    let trouble = Trouble::default();
    let mut events = std::pin::pin!(watcher(api, config).backoff(watching::backoff()));
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Apply(secret) | Event::InitApply(secret) | Event::Delete(secret)) => {
                on_change(&Key::of_meta(&secret.metadata));
            }
            Ok(Event::Init | Event::InitDone) => {}
            Err(error) => trouble.happened("Secret", &describe(&error), &error),
        }
    }
}
