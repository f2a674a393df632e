//! Objects for an existing Prometheus and Grafana. Their kinds need not be installed; the controller leaves them out then.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Known, Rendered, Renderer, config_map, object_metadata, selector};
use crate::api::labels;
use crate::extension::context;
use crate::extension::naming;
use crate::extension::resolved::Resolved;
use crate::names::ComponentName;

impl Renderer<'_> {
    pub(super) fn monitoring(&mut self, rendered: &mut Rendered) {
        let Some(declared) = self.package.manifest.monitoring.clone() else { return };
        let asked = &self.resolved.monitoring;
        let interval = asked.interval.map_or_else(|| "30s".to_owned(), |interval| interval.to_string());
        let endpoint = |port: &str, path: Option<&String>| json!({ "port": port, "path": path.map_or("/metrics", String::as_str), "interval": interval });
        let mut endpoints: BTreeMap<Option<&ComponentName>, Vec<Value>> = BTreeMap::new();
        if let Some(metrics) = &declared.metrics {
            let of = endpoints.entry(metrics.component.as_ref()).or_default();
            of.push(endpoint(&metrics.port, metrics.path.as_ref()));
        }
        if let Some(exporter) = declared.exporter.as_ref().filter(|_| asked.exporter == Some(true)) {
            endpoints.entry(None).or_default().push(endpoint("exporter", exporter.path.as_ref()));
        }
        if asked.pod_monitor == Some(true) {
            for (component, endpoints) in endpoints {
                let instance = self.resolved.name.as_str();
                let name = component.map_or_else(|| instance.to_owned(), |component| format!("{instance}-{component}"));
                let component = component.map(ComponentName::as_str);
                rendered.monitoring.push(json!({
                    "apiVersion": "monitoring.coreos.com/v1",
                    "kind": "PodMonitor",
                    "metadata": self.monitoring_metadata(&name),
                    "spec": {
                        "selector": { "matchLabels": selector(self.resolved, component, None, None) },
                        "podMetricsEndpoints": endpoints,
                        "podTargetLabels": [labels::INSTANCE, labels::COMPONENT, labels::ROLE],
                    },
                }));
            }
        }
        if asked.alerts == Some(true) && !declared.alerts.is_empty() {
            self.alerts(&declared, rendered);
        }
        if let Some(path) = declared.dashboard.as_ref().filter(|_| asked.dashboard == Some(true)) {
            let text = self.package.files.text(path).unwrap_or_default().to_owned();
            let data = BTreeMap::from([(format!("{}.json", self.resolved.name), text)]);
            let name = format!("{}-dashboard", self.resolved.name);
            let mut made = config_map(self.resolved, &name, None, &data);
            made["metadata"]["labels"]["grafana_dashboard"] = json!("1");
            rendered.monitoring.push(made);
        }
    }

    fn alerts(&mut self, declared: &crate::extension::contract::Monitoring, rendered: &mut Rendered) {
        let mut data = Value::Object(context::instance(self.package, self.resolved));
        let mut thresholds: Map<String, Value> =
            declared.thresholds.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        for (name, value) in self.resolved.monitoring.thresholds.iter().flatten() {
            thresholds.insert(name.clone(), value.clone());
        }
        data["thresholds"] = Value::Object(thresholds);
        data["selector"] = json!(pods_of(self.resolved));
        let known = Known::new(&data);
        let rules: Vec<Value> = declared
            .alerts
            .iter()
            .map(|(name, alert)| {
                let field = format!("monitoring.alerts.{name}");
                json!({
                    "alert": name,
                    "expr": self.text(&field, &alert.expr, &known),
                    "for": alert.for_.map_or_else(|| "1m".to_owned(), |time| time.to_string()),
                    "labels": { "severity": alert.severity, "instance_name": self.resolved.name },
                    "annotations": { "summary": self.text(&field, &alert.summary, &known) },
                })
            })
            .collect();
        rendered.monitoring.push(json!({
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PrometheusRule",
            "metadata": self.monitoring_metadata(self.resolved.name.as_str()),
            "spec": { "groups": [{ "name": format!("{}/{}", self.resolved.namespace, self.resolved.name), "rules": rules }] },
        }));
    }

    fn monitoring_metadata(&self, name: &str) -> Value {
        let mut metadata = object_metadata(self.resolved, name, None);
        for (label, value) in self.resolved.monitoring.labels.iter().flatten() {
            metadata["labels"][label] = json!(value);
        }
        metadata
    }
}

/// Selects the series of an instance's pods, and not of one whose name begins like its own.
fn pods_of(resolved: &Resolved) -> String {
    let name = resolved.name.as_str();
    let groups = resolved.components.iter().flat_map(|component| {
        component.groups.iter().map(|group| naming::pod_set(name, component.name.as_str(), group.name.as_str()))
    });
    let sets: Vec<String> = groups.collect();
    format!("namespace=\"{}\", pod=~\"{name}-.*\", pod=~\"({})-[0-9]+\"", resolved.namespace, sets.join("|"))
}
