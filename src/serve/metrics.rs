//! The controller's own metrics.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::backup_metrics::BackupMetrics;
use super::volume_metrics::VolumeMetrics;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByKind {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByResult {
    kind: &'static str,
    result: &'static str,
}

/// Counts what the controller does.
pub struct Metrics {
    registry: Registry,
    reconciles: Family<ByResult, Counter>,
    durations: Family<ByKind, Histogram>,
    waiting: Family<ByKind, Gauge>,
    objects: Family<ByKind, Gauge>,
    leading: Gauge,
    memory: Gauge,
    /// Of backups.
    pub backups: BackupMetrics,
    /// Of volumes.
    pub volumes: VolumeMetrics,
}

impl Metrics {
    pub fn new() -> Arc<Self> {
        let mut registry = Registry::with_prefix("midship");
        let reconciles = Family::<ByResult, Counter>::default();
        let durations =
            Family::<ByKind, Histogram>::new_with_constructor(|| Histogram::new(exponential_buckets(0.001, 2.0, 17)));
        let waiting = Family::<ByKind, Gauge>::default();
        let objects = Family::<ByKind, Gauge>::default();
        let leading = Gauge::default();
        let memory = Gauge::default();
        registry.register("reconciles", "Reconciles by kind and result", reconciles.clone());
        registry.register("reconcile_duration_seconds", "How long reconciles took", durations.clone());
        registry.register("queue_length", "Objects that wait for a worker", waiting.clone());
        registry.register("cached_objects", "Objects in the watch caches", objects.clone());
        registry.register("leader", "1 while this process leads", leading.clone());
        registry.register("resident_memory_bytes", "Resident memory of this process", memory.clone());
        registry.register("build", "What runs", Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]));
        let backups = BackupMetrics::register(&mut registry);
        let volumes = VolumeMetrics::register(&mut registry);
        Arc::new(Self { registry, reconciles, durations, waiting, objects, leading, memory, backups, volumes })
    }

    pub fn reconciled(&self, kind: &'static str, failure: Option<&'static str>, took: Duration) {
        self.reconciles.get_or_create(&ByResult { kind, result: failure.unwrap_or("Success") }).inc();
        self.durations.get_or_create(&ByKind { kind }).observe(took.as_secs_f64());
    }

    pub fn set_waiting(&self, kind: &'static str, number: usize) {
        self.waiting.get_or_create(&ByKind { kind }).set(saturated(number));
    }

    pub fn set_objects(&self, kind: &'static str, number: usize) {
        self.objects.get_or_create(&ByKind { kind }).set(saturated(number));
    }

    /// Whoever does not lead tells nothing of the cluster: what it saw last grows old.
    pub fn set_leading(&self, leading: bool) {
        self.leading.set(i64::from(leading));
        if !leading {
            self.waiting.clear();
            self.objects.clear();
            self.backups.clear();
            self.volumes.clear();
        }
    }

    /// Everything in the text format Prometheus reads.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        self.memory.set(resident_memory().unwrap_or_default());
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

fn saturated(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Bytes of memory this process holds, where the system tells.
fn resident_memory() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<i64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_have_names_with_units_and_help() {
        let metrics = Metrics::new();
        metrics.reconciled("GitSource", Some("DeadlineExceeded"), Duration::from_millis(3));
        metrics.set_leading(true);
        let text = metrics.text().expect("it can be written");
        assert!(text.contains("midship_reconciles_total{kind=\"GitSource\",result=\"DeadlineExceeded\"} 1"), "{text}");
        assert!(text.contains("midship_leader 1"), "{text}");
        assert!(text.contains("# HELP midship_reconcile_duration_seconds How long reconciles took"), "{text}");
    }
    #[test]
    fn who_does_not_lead_any_more_tells_nothing_of_the_cluster() {
        let metrics = Metrics::new();
        metrics.set_leading(true);
        metrics.set_objects("Instance", 3);
        metrics.set_waiting("Instance", 1);
        metrics.reconciled("Instance", None, Duration::from_millis(3));
        metrics.backups.covered("shop", "orders");
        metrics.volumes.filled("shop", "orders", [("orders-0", "data", 85)]);
        let samples = || {
            let text = metrics.text().expect("it can be written");
            text.lines().filter(|line| line.contains("{kind=") || line.contains("\"shop\"")).count()
        };
        let told = samples();
        metrics.set_leading(false);
        let own = metrics.text().expect("it can be written");
        assert!(own.contains("midship_reconciles_total") && own.contains("midship_leader 0"), "{own}");
        assert_eq!(told - samples(), 4, "{own}");
        assert!(!own.contains("shop"), "{own}");
    }
}
