//! What is measured of backups: the newest of each instance, and what failed. Ages are told as times, so that they grow
//! between two looks.

use jiff::{SignedDuration, Timestamp};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfInstance {
    namespace: String,
    instance: String,
}

impl OfInstance {
    fn new(namespace: &str, instance: &str) -> Self {
        Self { namespace: namespace.to_owned(), instance: instance.to_owned() }
    }
}

/// Of the backups of all instances that a policy covers.
#[derive(Clone, Debug, Default)]
pub struct BackupMetrics {
    completed: Family<OfInstance, Gauge>,
    size: Family<OfInstance, Gauge>,
    duration: Family<OfInstance, Gauge>,
    failed: Family<OfInstance, Gauge>,
    covered: Family<OfInstance, Gauge>,
    restored: Family<OfInstance, Gauge>,
    drilled: Family<OfInstance, Gauge>,
}

impl BackupMetrics {
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let Self { completed, size, duration, failed, covered, restored, drilled } = metrics.clone();
        registry.register("backup_completed_timestamp_seconds", "When the newest backup was complete", completed);
        registry.register("backup_size_bytes", "Stored bytes of the newest backup", size);
        registry.register("backup_duration_seconds", "How long the newest backup took", duration);
        registry.register("backup_failed_timestamp_seconds", "When a backup last failed", failed);
        registry.register("backup_covered", "1 for each instance that a policy has backed up", covered);
        let help = "When a backup was last restored as a test";
        registry.register("backup_restored_timestamp_seconds", help, restored);
        let help = "Since when backups are to be restored as a test";
        registry.register("backup_drilled_since_timestamp_seconds", help, drilled);
        metrics
    }

    /// Covered by a policy: what has no backup yet shows by this alone.
    pub fn covered(&self, namespace: &str, instance: &str) {
        self.covered.get_or_create(&OfInstance::new(namespace, instance)).set(1);
    }

    pub fn restored(&self, namespace: &str, instance: &str, at: Timestamp) {
        self.restored.get_or_create(&OfInstance::new(namespace, instance)).set(at.as_second());
    }

    /// Since when restores are wanted as tests, whether any went well or not; nothing where none are.
    pub fn drilled(&self, namespace: &str, instance: &str, since: Option<Timestamp>) {
        let of = OfInstance::new(namespace, instance);
        match since {
            Some(since) => {
                self.drilled.get_or_create(&of).set(since.as_second());
            }
            None => {
                self.drilled.remove(&of);
            }
        }
    }

    pub fn newest(&self, namespace: &str, instance: &str, completed: Timestamp, bytes: u64, took: SignedDuration) {
        let of = OfInstance::new(namespace, instance);
        self.completed.get_or_create(&of).set(completed.as_second());
        self.size.get_or_create(&of).set(i64::try_from(bytes).unwrap_or(i64::MAX));
        self.duration.get_or_create(&of).set(took.as_secs());
    }

    pub fn failed(&self, namespace: &str, instance: &str, at: Timestamp) {
        self.failed.get_or_create(&OfInstance::new(namespace, instance)).set(at.as_second());
    }

    /// Instances that no policy covers any more: namespace and name.
    pub fn forget(&self, instances: &[(String, String)]) {
        for (namespace, instance) in instances {
            let of = OfInstance::new(namespace, instance);
            for family in self.families() {
                family.remove(&of);
            }
        }
    }

    pub fn clear(&self) {
        self.families().into_iter().for_each(Family::clear);
    }

    fn families(&self) -> [&Family<OfInstance, Gauge>; 7] {
        let Self { completed, size, duration, failed, covered, restored, drilled } = self;
        [completed, size, duration, failed, covered, restored, drilled]
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn alerts_of_the_chart_ask_for_what_is_measured() {
        let mut registry = Registry::with_prefix("midship");
        let metrics = BackupMetrics::register(&mut registry);
        let now = Timestamp::now();
        // what has no value yet may be left out
        metrics.covered("shop", "orders");
        metrics.restored("shop", "orders", now);
        metrics.drilled("shop", "orders", Some(now));
        metrics.newest("shop", "orders", now, 1, SignedDuration::ZERO);
        metrics.failed("shop", "orders", now);
        let mut text = String::new();
        encode(&mut text, &registry).expect("a text has room");
        let alerts = include_str!("../../charts/midship/templates/alerts.yaml");
        let words = alerts.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let asked: Vec<&str> = words.filter(|word| word.starts_with("midship_backup_")).collect();
        assert!(asked.len() >= 4, "{asked:?}");
        for name in asked {
            assert!(text.contains(&format!("# HELP {name} ")), "{name} is not in {text}");
        }
    }
}
