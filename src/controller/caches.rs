//! The watch caches of all kinds of ours, shared by every controller.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use kube::Client;
use kube::api::ObjectMeta;

use crate::api::{
    Backup, BackupPolicy, BackupRepository, Component, Extension, GitSource, Instance, Kind, Operation, PodSet,
};
use crate::cluster::parts::OnChange as OnPart;
use crate::cluster::{Cache, Key, Parts, Scope};
use crate::serve::health::Readiness;
use crate::serve::metrics::Metrics;

/// Told of every object that appears, changes or goes.
pub type OnChange = Arc<dyn Fn(Kind, &Key, Option<&ObjectMeta>) + Send + Sync>;

macro_rules! caches {
    ($($field:ident: $kind:ident),+ $(,)?) => {
        /// One cache per kind.
        pub struct Caches {
            $(pub $field: Cache<$kind>,)+
            /// What Midship made of other kinds.
            pub parts: Parts,
        }

        impl Caches {
            /// Starts watching everything. `on_change` is told of each object that appears, changes or goes.
            pub fn start(client: &Client, scope: &Scope, on_change: &OnChange, on_part: &OnPart) -> Self {
                Self {
                    parts: Parts::start(client, scope, on_part),
                    $($field: {
                        let on_change = on_change.clone();
                        let told = move |key: &Key, meta: Option<&ObjectMeta>| on_change(Kind::$kind, key, meta);
                        Cache::start(client, scope, &(Arc::new(told) as _))
                    },)+
                }
            }

            /// Returns once every object of every kind has been seen.
            pub async fn synced(&self) {
                $(self.$field.synced().await;)+
                self.parts.synced().await;
            }

            /// The number of objects of each kind, and what keeps its watch from running.
            fn state(&self) -> [(Kind, usize, Option<String>); Kind::ALL.len()] {
                [$((Kind::$kind, self.$field.len(), self.$field.problem()),)+]
            }
        }
    };
}

caches! {
    git_sources: GitSource,
    extensions: Extension,
    backup_repositories: BackupRepository,
    backup_policies: BackupPolicy,
    instances: Instance,
    components: Component,
    pod_sets: PodSet,
    operations: Operation,
    backups: Backup,
}

/// The readiness gate this room keeps.
pub const GATE: &str = "watches";

impl Caches {
    pub fn len(&self) -> usize {
        self.state().iter().map(|(_, number, _)| number).sum()
    }

    /// Keeps gauges and readiness true to the caches, for as long as it is polled.
    pub async fn measure(self: Arc<Self>, metrics: Arc<Metrics>, readiness: Readiness) {
        loop {
            let mut problem = self.parts.problem();
            for (kind, number, trouble) in self.state() {
                metrics.set_objects(kind.as_str(), number);
                problem = problem.or(trouble);
            }
            let synced = self.synced().now_or_never().is_some();
            match problem {
                Some(problem) => {
                    readiness.waits(GATE, problem);
                }
                None if synced => readiness.passed(GATE),
                None => {
                    readiness.waits(GATE, "all objects are being listed");
                }
            }
            tokio::time::sleep(if synced { Duration::from_secs(5) } else { Duration::from_millis(200) }).await;
        }
    }
}
