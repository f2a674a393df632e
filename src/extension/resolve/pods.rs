//! What an instance says of its pods in the words of Kubernetes: the API takes it as it comes, and this reads it.

use k8s_openapi::api::core::v1::{Affinity, Toleration, TopologySpreadConstraint};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::Resolver;
use crate::api::labels;
use crate::api::values::{ExtraMetadata, Scheduling};
use crate::extension::problem::Code;
use crate::extension::unread::unread;

impl Resolver<'_> {
    pub(super) fn check_metadata(&mut self, extra: Option<&ExtraMetadata>, field: &str) {
        let Some(extra) = extra else { return };
        for (kind, all) in [("labels", &extra.labels), ("annotations", &extra.annotations)] {
            for key in all.iter().flatten().map(|(key, _)| key).filter(|key| key.starts_with(labels::OURS)) {
                let reason = format!(
                    "{key} is how Midship marks pods, such as the one that clients write to; choose another name"
                );
                self.refuse(format!("{field}.podMetadata.{kind}"), Code::Invalid, reason);
            }
        }
    }

    pub(super) fn check_scheduling(&mut self, scheduling: &Scheduling, field: &str) {
        let field = format!("{field}.scheduling");
        if let Some(affinity) = &scheduling.affinity {
            self.check_as::<Affinity>(affinity, &format!("{field}.affinity"));
        }
        for (place, toleration) in scheduling.tolerations.iter().flatten().enumerate() {
            self.check_as::<Toleration>(toleration, &format!("{field}.tolerations[{place}]"));
        }
        for (place, constraint) in scheduling.topology_spread_constraints.iter().flatten().enumerate() {
            let field = format!("{field}.topologySpreadConstraints[{place}]");
            self.check_as::<TopologySpreadConstraint>(constraint, &field);
        }
    }

    /// Refuses what Kubernetes would refuse with each pod, or would not read.
    fn check_as<T: DeserializeOwned + Serialize>(&mut self, written: &Value, field: &str) {
        match serde_json::from_value::<T>(written.clone()) {
            Ok(read) => {
                for unknown in unread(written, &json!(read)) {
                    self.refuse(format!("{field}.{unknown}"), Code::Unknown, "Kubernetes has no such field");
                }
            }
            Err(error) => self.refuse(field, Code::Invalid, format!("Kubernetes cannot read it: {error}")),
        }
    }
}
