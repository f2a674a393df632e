//! What a package may have besides: operations of its own, backup methods, monitoring, further objects.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_with::skip_serializing_none;

use super::parameter::Parameter;
use super::step::{Exec, Step};
use super::text::{Expression, Template};
use crate::api::operation::BackupType;
use crate::api::values::{Duration, Resources};
use crate::names::{ComponentName, ParameterName, RoleName, VolumeName};

/// An operation of its own.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Operation {
    pub description: Option<String>,
    /// The component whose pods do it; the only one where left out.
    pub component: Option<ComponentName>,
    /// Which of its pods: `all` (assumed), `any`, or those with a role. The Operation's target narrows it.
    pub on: Option<String>,
    /// Its parameters.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<ParameterName, Parameter>,
    /// How long it may take on one pod; 5m where left out.
    pub timeout: Option<Duration>,
    /// How many pods at a time; 1 where left out.
    pub concurrency: Option<u16>,
    /// Whether it destroys data or interrupts clients: people are told where it is described.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dangerous: bool,
    pub steps: Vec<Step>,
    /// What it answers, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub result: BTreeMap<String, Expression>,
}

/// How it is backed up.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Backup {
    /// The method where nobody names one; the only one where left out.
    pub default: Option<String>,
    pub methods: BTreeMap<String, BackupMethod>,
}

/// A way of making and restoring backups.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BackupMethod {
    pub description: Option<String>,
    /// The component that holds the data; the only one where left out.
    pub component: Option<ComponentName>,
    /// Types of backup; Full where left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<BackupType>,
    /// What incremental backups need of the instance; nothing where left out.
    pub incremental: Option<Incremental>,
    /// The role to take it from by preference.
    pub prefer: Option<RoleName>,
    /// Whether each group is backed up for itself, as for shards.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub each_group: bool,
    /// With `eachGroup`: how the parts that one operation makes of all groups are one backup, which is put back as a whole.
    /// Without it each part can only be restored by itself.
    pub set: Option<PartSet>,
    /// When this method can be used; always where left out.
    pub when: Option<Expression>,
    /// Steps before the data is read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<Step>,
    /// What is read.
    pub stream: Stream,
    /// Steps after the data was read, whether that worked or not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<Step>,
    /// What is kept with the backup, to compare with it what was restored: expressions over what the steps saved.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub facts: BTreeMap<String, Expression>,
    /// Log archiving, for going back to a point in time.
    pub logs: Option<LogStream>,
    /// How it is put back. The process does not run while this is done.
    pub restore: Restore,
    /// Steps that prove the data once the restored process runs. They read `restore.facts`, each null where the backup has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub check: Vec<Step>,
}

/// What has to hold for incremental backups. Where it does not, a full one is made, and people are told why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Incremental {
    /// Whether the instance can have them.
    pub when: Expression,
    /// What it needs, for people, as in "needs version 3 and change-log: true".
    pub needs: String,
}

/// The parts that one operation makes of all groups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PartSet {
    /// How the data is spread over the groups, as every group tells it alike: an expression over what the steps in `before`
    /// saved and, under the same names, those in `after`. Where it is not the same before and after the reading, and in all
    /// parts, there is no backup.
    pub same: Expression,
}

/// What a backup reads: exactly one of these.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Stream {
    /// The standard output of a command.
    pub exec: Option<Exec>,
    /// Files of a volume as a tar archive, between `freeze` and `unfreeze` where these are declared.
    pub volume: Option<VolumeStream>,
    /// One file.
    pub file: Option<Template>,
    /// What has to be the last bytes of the stream, in hexadecimal digits, `??` for any byte: the engine's own end mark.
    pub ends_with: Option<String>,
    /// A text that has to stand in the last 512 bytes: the end mark of dumps.
    pub end_text: Option<String>,
    /// What the stream is, where that has an end mark of its own.
    pub format: Option<StreamFormat>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum StreamFormat {
    /// A tar archive, which ends in two empty blocks.
    Tar,
}

#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VolumeStream {
    pub name: VolumeName,
    /// Files and folders in it; all where left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<Template>,
    /// What is left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<Template>,
}

/// Continuous archiving of a log directory.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LogStream {
    /// The directory finished log files appear in.
    pub directory: Template,
    /// A regular expression their names match.
    pub pattern: String,
    /// Whether a file is removed once it is archived.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub remove: bool,
    /// The part of the log a backup needs; without it nobody can go back to a point in time.
    pub span: Option<LogMarks>,
    /// Steps that finish the file that is being written, where anything is in it: so often that no more is lost than a
    /// policy allows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cut: Vec<Step>,
}

/// The part of a log that a backup needs, from what its steps saved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LogMarks {
    /// The name of the first file, from what the steps in `before` saved.
    pub first: Expression,
    /// The name of the last file, from what the steps in `after` saved.
    pub last: Expression,
    /// What tells the system whose log it is from others, from what the steps in `before` saved.
    pub system: Expression,
}

/// How a backup is put back.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Restore {
    /// Steps before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<Step>,
    /// Where a tar archive is unpacked to.
    pub volume: Option<VolumeName>,
    /// Where a file is written to.
    pub file: Option<Template>,
    /// A command that reads the backup on standard input. For an incremental one it runs for each backup that is needed, the
    /// full one first: `restore.index` counts them from 0, and the steps after it put them together.
    pub exec: Option<Exec>,
    /// Steps after, before the process starts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<Step>,
}

/// Metrics, alerts and dashboard.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Monitoring {
    /// Where the middleware itself serves metrics for Prometheus.
    pub metrics: Option<Metrics>,
    /// A program beside it that does.
    pub exporter: Option<Exporter>,
    /// Rules for alerts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub alerts: BTreeMap<String, Alert>,
    /// Thresholds that alerts use and users may set: `{{ thresholds.<name> }}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub thresholds: BTreeMap<String, f64>,
    /// A Grafana dashboard in the package.
    pub dashboard: Option<String>,
}

/// Where metrics are served.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metrics {
    /// The component; every one that has the port where left out.
    pub component: Option<ComponentName>,
    /// The port's name.
    pub port: String,
    /// The path; /metrics where left out.
    pub path: Option<String>,
}

/// A container that serves metrics. It is added where the version names its image (`images.exporter`).
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Exporter {
    /// The component; the only one, or the one called like the type, where left out.
    pub component: Option<ComponentName>,
    /// Its name among the version's images; `exporter` where left out.
    pub image: Option<String>,
    #[schemars(range(min = 1, max = 65_535))]
    pub port: u16,
    /// The path; /metrics where left out.
    pub path: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<Template>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, Template>,
    pub resources: Option<Resources>,
}

/// An alert.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Alert {
    /// A PromQL expression. `{{ selector }}` selects the instance's series.
    pub expr: Template,
    /// How long it has to hold; 1m where left out.
    #[serde(rename = "for")]
    pub for_: Option<Duration>,
    pub severity: Severity,
    /// What it means, in a sentence.
    pub summary: Template,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Critical,
    Warning,
    Info,
}

/// A template of one or more Kubernetes objects in the instance's namespace.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ObjectTemplate {
    /// Its path in the package, such as `templates/ingress.yaml.j2`.
    pub template: String,
    /// When they exist; always where left out.
    pub when: Option<Expression>,
    /// More values for the template.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, Value>,
}
