//! Continuous archiving of logs: the agent of the pod that writes the log is asked for it, again and again, because one that
//! was started anew has forgotten.

use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use super::{BackupPolicies, Ground};
use crate::api::{Instance, labels};
use crate::backup::log::{self, History};
use crate::cluster::Key;
use crate::controller::packages::used_by;
use crate::controller::repositories::coverage::{collector, writes};
use crate::controller::repositories::known::Look;
use crate::controller::repositories::orders;
use crate::extension::{install, methods};
use crate::lifecycle::ArchiveStatus;
use crate::lifecycle::backup::ArchiveOrder;

/// How long an agent may take to say that it archives.
const PATIENCE: Duration = Duration::from_secs(10);
/// Instances that are asked at the same time.
const AT_ONCE: usize = 16;
/// The longest time whose changes may be lost, where nobody says.
const INTERVAL: Duration = Duration::from_mins(5);

impl BackupPolicies {
    /// What does not go well with the logs of the instances, in sentences.
    pub(super) async fn archive(&self, ground: &Ground<'_>) -> Vec<String> {
        let wanted = ground.policy.spec.logs.as_ref().is_some_and(|logs| logs.enabled);
        let repository = self.around.caches.backup_repositories.get(&ground.repository).filter(|_| wanted);
        let Some(repository) = repository else { return Vec::new() };
        let Some(look) = self.around.known.renewed(&repository).await else { return Vec::new() };
        let mut asked = Vec::new();
        for instance in &ground.instances {
            asked.push(self.archived(ground, &look, instance));
        }
        // an agent that does not answer keeps no other one waiting
        let problems: Vec<Option<String>> = futures::stream::iter(asked).buffered(AT_ONCE).collect().await;
        problems.into_iter().flatten().collect()
    }

    async fn archived(&self, ground: &Ground<'_>, look: &Look, instance: &Instance) -> Option<String> {
        let problem = self.archive_of(ground, look, instance).await.err()?;
        Some(format!("the log of {} is not archived: {problem}", instance.name_any()))
    }

    /// From when to when each instance can go back; what cannot be found out is tried again with the next look.
    pub(super) async fn windows(&self, ground: &Ground<'_>) {
        let wanted = ground.policy.spec.logs.as_ref().is_some_and(|logs| logs.enabled);
        let Some(look) = ground.look.as_ref().filter(|_| wanted) else { return };
        let repository = &look.opened.repository;
        let histories = match log::histories(repository).await {
            Ok(histories) => histories,
            Err(error) => return tracing::warn!(%error, "the archived logs cannot be looked through"),
        };
        for instance in &ground.instances {
            let other = self.collected_by_other(ground, instance);
            if other.is_some_and(|(_, into)| into != ground.repository.name) {
                continue;
            }
            let uid = instance.uid().unwrap_or_default();
            match window(look, &uid, &histories).await {
                Ok(window) => self.around.known.put_window(&Key::of(instance.as_ref()), &uid, window),
                Err(error) => {
                    tracing::warn!(%error, instance = instance.name_any(), "its log cannot be looked through");
                }
            }
        }
    }

    /// Another policy that collects the log of an instance instead, and into which repository.
    fn collected_by_other(&self, ground: &Ground<'_>, instance: &Instance) -> Option<(String, String)> {
        let policies = self.around.caches.backup_policies.list();
        let collector = collector(
            policies.iter().map(AsRef::as_ref).filter(|policy| writes(&self.around.caches, policy)),
            instance,
        )?;
        let name = collector.name_any();
        (name != ground.policy.name_any()).then(|| (name, collector.spec.repository.to_string()))
    }

    async fn archive_of(&self, ground: &Ground<'_>, look: &Look, instance: &Instance) -> Result<(), String> {
        let (name, namespace) = (instance.name_any(), instance.namespace().unwrap_or_default());
        if let Some((other, into)) = self.collected_by_other(ground, instance) {
            if into == ground.repository.name {
                return Ok(());
            }
            return Err(format!(
                "BackupPolicy {other} collects it into {into}, and a segment goes to one place; take spec.logs away here"
            ));
        }
        let wanted = install::name(&instance.spec.type_, &instance.spec.extension_version);
        let package = self
            .around
            .packages
            .ready(&wanted)
            .or_else(|| used_by(instance).iter().find_map(|used| self.around.packages.ready(used)));
        let package = package.ok_or_else(|| format!("Extension {wanted} cannot be used"))?;
        let (method, declared) =
            methods::choose(&package, ground.policy.spec.method.as_deref()).map_err(|error| error.to_string())?;
        if declared.logs.is_none() {
            return Err(format!("the method {method} declares no log; take spec.logs away, or choose another method"));
        }
        let pods = self
            .around
            .pods
            .select(|pod| pod.namespace() == instance.namespace() && pod.labels().get(labels::INSTANCE) == Some(&name));
        let Some(pod) = orders::writes_log(instance, &pods, declared) else {
            return Err("no pod is ready that writes it".to_owned());
        };
        let cluster = self.around.known.cluster().await.map_err(|failure| failure.message)?;
        let owner = orders::owner(cluster, instance).map_err(|error| error.to_string())?;
        let interval = ground.policy.spec.logs.as_ref().and_then(|logs| logs.interval).map_or(INTERVAL, |it| it.0);
        let order = orders::archive(method, owner, &look.opened, interval).map_err(|error| error.to_string())?;
        let status = self.ask(&name, &namespace, &pod, &order).await?;
        // what they wrote while they led; nothing is finished there
        let rest = ArchiveOrder { interval: None, ..order };
        for other in orders::wrote_log(&pods, declared, &pod) {
            match self.ask(&name, &namespace, other, &rest).await {
                Ok(ArchiveStatus { error: Some(error), .. }) => return Err(format!("{}: {error}", other.name_any())),
                Ok(_) => {}
                // it may have nothing to archive, and is asked again soon
                Err(error) => tracing::warn!(pod = other.name_any(), error, "its part of the log is not asked for"),
            }
        }
        match status.error {
            Some(error) => Err(error),
            None if status.missing > 0 => Err(format!("{} segments are missing between archived ones", status.missing)),
            None => Ok(()),
        }
    }

    async fn ask(&self, name: &str, namespace: &str, pod: &Pod, order: &ArchiveOrder) -> Result<ArchiveStatus, String> {
        let host = pod.status.as_ref().and_then(|status| status.pod_ip.clone()).unwrap_or_default();
        let client = self.around.agents.client(name, namespace, &host).await.map_err(|error| error.to_string())?;
        client.archive(Some(order), PATIENCE).await.map_err(|problem| problem.message)
    }
}

/// From the oldest backup whose log goes on without a gap to the newest, until the end of what is archived.
async fn window(
    look: &Look,
    uid: &str,
    histories: &[History],
) -> Result<Option<(Timestamp, Timestamp)>, log::LogError> {
    let own = look.catalog.found.iter().filter(|found| {
        found.place.owner.instance.as_str() == uid && found.damage().is_none() && found.tombstone.is_none()
    });
    let mut own: Vec<_> = own.filter_map(|found| Some((&found.manifest, found.manifest.log.as_ref()?))).collect();
    own.sort_by_key(|(manifest, _)| manifest.completed_at);
    let Some((newest, span)) = own.last().copied() else { return Ok(None) };
    let repository = &look.opened.repository;
    let Some(last) = log::window(repository, span, newest.completed_at, histories).await? else { return Ok(None) };
    for (manifest, span) in own {
        let reaches = log::window(repository, span, manifest.completed_at, histories).await?;
        if reaches.is_some_and(|window| window.missing >= last.missing) {
            return Ok(Some((manifest.completed_at, last.recoverable_until)));
        }
    }
    Ok(Some((newest.completed_at, last.recoverable_until)))
}
