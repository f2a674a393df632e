//! Objects for an existing Prometheus and Grafana. Their kinds need not be installed; the controller leaves them out then.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Known, Rendered, Renderer, config_map, object_metadata, selector};
use crate::api::labels;
use crate::extension::context;
use crate::extension::naming;
use crate::extension::resolved::Resolved;

impl Renderer<'_> {
    pub(super) fn monitoring(&mut self, rendered: &mut Rendered) {
        let Some(declared) = self.package.manifest.monitoring.clone() else { return };
        let asked = &self.resolved.monitoring;
        let mut endpoints = Vec::new();
        if let Some(metrics) = &declared.metrics {
            endpoints.push((metrics.port.clone(), metrics.path.clone()));
        }
        if let Some(exporter) = declared.exporter.as_ref().filter(|_| asked.exporter == Some(true)) {
            endpoints.push(("exporter".to_owned(), exporter.path.clone()));
        }
        if asked.pod_monitor == Some(true) && !endpoints.is_empty() {
            let interval = asked.interval.map_or_else(|| "30s".to_owned(), |interval| interval.to_string());
            let endpoints: Vec<Value> = endpoints
                .into_iter()
                .map(|(port, path)| {
                    json!({ "port": port, "path": path.unwrap_or_else(|| "/metrics".to_owned()), "interval": interval })
                })
                .collect();
            rendered.monitoring.push(json!({
                "apiVersion": "monitoring.coreos.com/v1",
                "kind": "PodMonitor",
                "metadata": self.monitoring_metadata(self.resolved.name.as_str()),
                "spec": {
                    "selector": { "matchLabels": selector(self.resolved, None, None, None) },
                    "podMetricsEndpoints": endpoints,
                    "podTargetLabels": [labels::INSTANCE, labels::COMPONENT, labels::ROLE],
                },
            }));
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
