//! `BackupPolicy`: when backups are made, how long they are kept, and how it is proven that they can be restored.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_with::skip_serializing_none;

use super::conditions::Condition;
use super::operation::BackupType;
use super::schema;
use super::values::{Cron, Duration, LocalRef, Quantity};
use crate::names::{InstanceName, ObjectName, RoleName, ScheduleName};

/// When, what, where to, how long.
#[skip_serializing_none]
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "midship.dev",
    version = "v1alpha1",
    kind = "BackupPolicy",
    plural = "backuppolicies",
    namespaced,
    status = "BackupPolicyStatus",
    shortname = "bp",
    category = "midship",
    derive = "PartialEq",
    doc = "When backups are made, where they go, how long they are kept, and how often they are restored as a test.",
    printcolumn(name = "Repository", type_ = "string", json_path = ".spec.repository"),
    printcolumn(name = "Instances", type_ = "integer", json_path = ".status.instances"),
    printcolumn(name = "Last", type_ = "date", json_path = ".status.lastSuccess"),
    printcolumn(name = "Next", type_ = "string", json_path = ".status.next"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
pub struct BackupPolicySpec {
    /// The BackupRepository in the same namespace.
    pub repository: ObjectName,
    /// Instances by name. Those that name this policy themselves need not be listed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub instances: Vec<InstanceName>,
    /// Instances by label.
    #[serde(default)]
    #[schemars(schema_with = "schema::selector")]
    pub selector: Option<Value>,
    /// Method, as the extension names it; its default where left out.
    #[schemars(length(min = 1, max = 63))]
    pub method: Option<String>,
    /// When backups are made.
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub schedules: Vec<Schedule>,
    /// Role to take backups from where a pod has it, such as replica.
    pub prefer: Option<RoleName>,
    /// Continuous log archiving, for going back to a point in time.
    pub logs: Option<LogArchiving>,
    /// How long backups are kept.
    pub retention: Retention,
    /// How it is proven that they can be restored.
    pub verification: Option<BackupVerification>,
    /// No scheduled backups while this is true.
    pub suspend: Option<bool>,
    /// Bandwidth of one backup, in bytes per second.
    pub bandwidth: Option<Quantity>,
    /// How long one backup may take.
    pub timeout: Option<Duration>,
}

/// When backups are made.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Schedule {
    /// A name for it, such as nightly.
    pub name: ScheduleName,
    /// Five fields as in crontab, or @hourly, @daily, @weekly, @monthly.
    pub cron: Cron,
    /// Time zone, such as Europe/Berlin; UTC where left out.
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: Option<String>,
    /// Full (assumed) or Incremental.
    #[serde(rename = "type")]
    pub type_: Option<BackupType>,
    /// Start up to this much later, differently for each instance.
    pub jitter: Option<Duration>,
    /// A start that was missed by more than this is left out; 1h where left out.
    pub deadline: Option<Duration>,
    /// Labels of the backups; retention can keep by them.
    #[serde(default)]
    #[schemars(schema_with = "schema::labels")]
    pub labels: Option<BTreeMap<String, String>>,
}

#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogArchiving {
    /// Whether logs are archived.
    pub enabled: bool,
    /// Longest time whose changes may be lost; 5m where left out.
    pub interval: Option<Duration>,
}

/// How long backups are kept: as long as any rule keeps them, or a kept one needs them.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    { "rule": "has(self.count) || has(self.age) || (has(self.byLabel) && size(self.byLabel) > 0)",
      "message": "give count, age or byLabel: how long backups are kept is a decision of yours" }]))]
pub struct Retention {
    /// The newest so many.
    #[schemars(range(min = 1, max = 10_000))]
    pub count: Option<i32>,
    /// Those younger than this.
    pub age: Option<Duration>,
    /// Those with a label, for as long as it says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub by_label: Vec<LabelRetention>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LabelRetention {
    /// The label.
    #[schemars(length(min = 1, max = 317))]
    pub label: String,
    /// The value it must have.
    #[schemars(length(max = 63))]
    pub value: String,
    /// How long they are kept.
    pub age: Duration,
}

/// How it is proven that backups can be restored.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BackupVerification {
    /// When a backup is restored into a scratch instance: five fields as in crontab.
    pub restore: Option<Cron>,
    /// When stored data is read in full, a part each time.
    pub read: Option<Cron>,
    /// A Secret with the key `identity`, which test restores decrypt with.
    pub identity: Option<LocalRef>,
    /// Alert when the newest verified backup is older than this.
    pub alert: Option<Duration>,
}

/// How the policy fares.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupPolicyStatus {
    /// The generation of the spec that was last looked at.
    pub observed_generation: Option<i64>,
    /// Instances it covers.
    pub instances: Option<i32>,
    /// The last backup that was completed.
    #[schemars(extend("format" = "date-time"))]
    pub last_success: Option<String>,
    /// The next start, with its time zone.
    pub next: Option<String>,
    /// Share of the last hundred backups that were completed, in percent.
    pub success_rate: Option<i32>,
    /// Backups whose turn came and that wait for a place: so many are made at the same time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["uid", "schedule"]))]
    pub waiting: Vec<WaitingTurn>,
    /// Test restores that failed, the last of each instance; one that succeeds takes it away.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["uid"]))]
    pub failed_drills: Vec<FailedDrill>,
    /// What is well and what is not: Ready, Reconciling, Stalled and others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// A backup whose turn came and that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WaitingTurn {
    /// UID of the instance.
    pub uid: String,
    /// Name of the schedule.
    pub schedule: String,
    /// When its turn was.
    #[schemars(extend("format" = "date-time"))]
    pub at: String,
}

/// A test restore that failed.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailedDrill {
    /// UID of the instance whose backup it was.
    pub uid: String,
    /// Name of the instance.
    pub instance: String,
    /// The backup; none where it did not come to that.
    pub backup: Option<String>,
    /// When it failed.
    #[schemars(extend("format" = "date-time"))]
    pub at: String,
    /// Why.
    pub message: String,
}
