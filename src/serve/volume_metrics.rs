//! What is measured of volumes: how full those are that are nearly full.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct OfVolume {
    namespace: String,
    instance: String,
    pod: String,
    volume: String,
}

/// Of the volumes of all instances.
#[derive(Clone, Debug, Default)]
pub struct VolumeMetrics {
    filled: Family<OfVolume, Gauge>,
    told: Arc<Mutex<BTreeSet<OfVolume>>>,
}

impl VolumeMetrics {
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let help = "How full a volume that is nearly full is at least";
        registry.register("volume_filled_percent", help, metrics.filled.clone());
        metrics
    }

    /// The volumes of an instance that are nearly full, each by pod and name, in percent. Others of it have room.
    pub fn filled<'a>(
        &self,
        namespace: &str,
        instance: &str,
        volumes: impl IntoIterator<Item = (&'a str, &'a str, i32)>,
    ) {
        let of = |pod: &str, volume: &str| OfVolume {
            namespace: namespace.to_owned(),
            instance: instance.to_owned(),
            pod: pod.to_owned(),
            volume: volume.to_owned(),
        };
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let mut gone: BTreeSet<OfVolume> =
            told.iter().filter(|one| one.namespace == namespace && one.instance == instance).cloned().collect();
        for (pod, volume, percent) in volumes {
            let of = of(pod, volume);
            gone.remove(&of);
            self.filled.get_or_create(&of).set(i64::from(percent));
            told.insert(of);
        }
        for of in &gone {
            self.filled.remove(of);
            told.remove(of);
        }
    }

    pub fn clear(&self) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.filled.clear();
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn a_volume_is_measured_for_as_long_as_it_is_nearly_full() {
        let mut registry = Registry::with_prefix("midship");
        let metrics = VolumeMetrics::register(&mut registry);
        let told = || {
            let mut text = String::new();
            encode(&mut text, &registry).expect("a text has room");
            let mut lines: Vec<String> =
                text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect();
            lines.sort();
            lines
        };
        let of = |instance: &str, pod: &str, percent: i32| {
            format!(
                "midship_volume_filled_percent{{namespace=\"shop\",instance=\"{instance}\",pod=\"{pod}\",\
                 volume=\"data\"}} {percent}"
            )
        };
        metrics.filled("shop", "cache", [("cache-0", "data", 85), ("cache-1", "data", 90)]);
        metrics.filled("shop", "orders", [("orders-0", "data", 85)]);
        assert_eq!(told(), [of("cache", "cache-0", 85), of("cache", "cache-1", 90), of("orders", "orders-0", 85)]);
        metrics.filled("shop", "cache", [("cache-1", "data", 95)]);
        assert_eq!(told(), [of("cache", "cache-1", 95), of("orders", "orders-0", 85)]);
        metrics.filled("shop", "cache", std::iter::empty());
        assert_eq!(told(), [of("orders", "orders-0", 85)], "of others nothing is forgotten");
    }

    #[test]
    fn alerts_of_the_chart_ask_for_what_is_measured() {
        let alerts = include_str!("../../charts/midship/templates/alerts.yaml");
        let words = alerts.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let asked: Vec<&str> = words.filter(|word| word.starts_with("midship_volume_")).collect();
        assert_eq!(asked, ["midship_volume_filled_percent"; 2]);
    }
}
