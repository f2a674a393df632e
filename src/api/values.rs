//! Values that several kinds share: quantities, durations, references, and what people say about pods.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration as StdDuration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::Value;
use serde_with::skip_serializing_none;

use super::schema;
use crate::names::{ObjectName, form};

/// An amount as Kubernetes writes it: `100m`, `2`, `1.5Gi`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Quantity(pub String);

impl Quantity {
    /// Beyond this a float no longer counts every byte.
    const MOST: f64 = 9_007_199_254_740_992.0;

    /// The amount as a whole number, such as bytes; none where it is malformed or less than nothing.
    pub fn bytes(&self) -> Option<u64> {
        let split = self.0.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(self.0.len());
        let (number, unit) = self.0.split_at(split);
        let factor: f64 = match unit {
            "" => 1.0,
            "m" => 1e-3,
            "k" => 1e3,
            "M" => 1e6,
            "G" => 1e9,
            "T" => 1e12,
            "P" => 1e15,
            "E" => 1e18,
            "Ki" => 1024.0,
            "Mi" => 1_048_576.0,
            "Gi" => 1_073_741_824.0,
            "Ti" => 1_099_511_627_776.0,
            "Pi" => 1_125_899_906_842_624.0,
            exponent => 10f64.powi(exponent.strip_prefix(['e', 'E'])?.parse().ok()?),
        };
        let amount = number.parse::<f64>().ok()? * factor;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        (0.0..Self::MOST).contains(&amount).then_some(amount.ceil() as u64)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(Self(text)),
            Value::Number(number) => Ok(Self(number.to_string())),
            other => Err(de::Error::custom(format!("{other} is no quantity; write it like 500m, 2 or 1Gi"))),
        }
    }
}

impl JsonSchema for Quantity {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Quantity".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "integer" }, { "type": "string" }], "x-kubernetes-int-or-string": true,
            "pattern": "^[0-9]+([.][0-9]*)?([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?$",
            "maxLength": 20, "x-kubernetes-validations": [{
            "rule": "isQuantity(string(self)) && !string(self).startsWith('-')",
            "message": "use a quantity, such as 500m, 2 or 1Gi" }] })
    }
}

/// A length of time: `30s`, `5m`, `1h30m`, `14d`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(pub StdDuration);

impl Duration {
    const UNITS: [(&'static str, u64); 5] =
        [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

    pub fn parse(text: &str) -> Option<Self> {
        let mut rest = text;
        let mut millis = 0u64;
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let number: u64 = rest.get(..digits).filter(|text| text.len() <= 9)?.parse().ok()?;
            rest = &rest[digits..];
            let letters = rest.bytes().take_while(u8::is_ascii_lowercase).count();
            let (_, factor) = Self::UNITS.iter().find(|(unit, _)| *unit == &rest[..letters])?;
            millis = millis.checked_add(number.checked_mul(*factor)?)?;
            rest = &rest[letters..];
        }
        (!text.is_empty()).then_some(Self(StdDuration::from_millis(millis)))
    }

    pub fn from_secs(seconds: u64) -> Self {
        Self(StdDuration::from_secs(seconds))
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut millis = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if millis == 0 {
            return f.write_str("0s");
        }
        for (unit, factor) in Self::UNITS {
            if millis >= factor {
                write!(f, "{}{unit}", millis / factor)?;
                millis %= factor;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for Duration {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| de::Error::custom(format!("{text:?} is no duration; write it like 30s, 5m or 1h30m")))
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        const PATTERN: &str = "^([0-9]{1,9}(ms|s|m|h|d))+$";
        json_schema!({ "type": "string", "maxLength": 32, "pattern": PATTERN,
            "x-kubernetes-validations": [form(PATTERN, "a duration, such as 30s, 5m, 1h30m or 14d")] })
    }
}

/// When something happens: five fields as in crontab, or one of the words for common ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cron(pub String);

impl JsonSchema for Cron {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Cron".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "maxLength": 100, "x-kubernetes-validations": [form(
            r"^(@(hourly|daily|weekly|monthly|yearly)|[^\s@]+( +\S+){4})$",
            "five fields as in crontab, such as 30 2 * * *, or @hourly, @daily, @weekly, @monthly, @yearly"
        )] })
    }
}

/// An object of a known kind in the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LocalRef {
    /// Its name.
    pub name: ObjectName,
}

/// One key of a Secret or ConfigMap in the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyRef {
    /// The object's name.
    pub name: ObjectName,
    /// The key in it.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// CPU and memory of the middleware's container.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-validations" = [
    { "rule": "!has(self.requests) || !has(self.limits) || self.requests.all(r, !(r in self.limits) || quantity(string(self.requests[r])).compareTo(quantity(string(self.limits[r]))) <= 0)",
      "message": "a request is more than its limit" }]))]
pub struct Resources {
    /// What is reserved.
    #[schemars(extend("maxProperties" = 8))]
    pub requests: Option<BTreeMap<String, Quantity>>,
    /// What may be used at most.
    #[schemars(extend("maxProperties" = 8))]
    pub limits: Option<BTreeMap<String, Quantity>>,
}

// No doc comment: it would be shown in place of what the fields of this type say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Spread {
    // wherever the scheduler likes
    None,
    // on different nodes where possible
    Node,
    // in different zones, and on different nodes, where possible
    Zone,
}

/// Where pods run. What is written here in Kubernetes' own terms is handed to the pods as it is.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Scheduling {
    /// How far pods are kept apart where possible: not at all (none), by node, by zone and node.
    pub spread: Option<Spread>,
    /// Wait rather than run where `spread` does not allow it.
    pub strict: Option<bool>,
    /// Labels a node must have.
    #[serde(default)]
    #[schemars(schema_with = "schema::labels")]
    pub node_selector: Option<BTreeMap<String, String>>,
    /// Tolerations, as in a pod.
    #[serde(default)]
    #[schemars(schema_with = "schema::any_objects")]
    pub tolerations: Option<Vec<Value>>,
    /// Affinity, as in a pod.
    #[serde(default)]
    #[schemars(schema_with = "schema::any_object")]
    pub affinity: Option<Value>,
    /// As in a pod; a label selector that is left out is filled in.
    #[serde(default)]
    #[schemars(schema_with = "schema::any_objects")]
    pub topology_spread_constraints: Option<Vec<Value>>,
    /// Priority class of the pods.
    #[serde(default)]
    #[schemars(schema_with = "schema::class_name")]
    pub priority_class_name: Option<ObjectName>,
    /// Scheduler of the pods.
    #[serde(default)]
    #[schemars(schema_with = "schema::class_name")]
    pub scheduler_name: Option<ObjectName>,
    /// Runtime class of the pods.
    #[serde(default)]
    #[schemars(schema_with = "schema::class_name")]
    pub runtime_class_name: Option<ObjectName>,
}

/// A volume of each pod.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Storage {
    /// Size of each volume; it grows where the storage class allows it, and never shrinks.
    pub size: Quantity,
    /// Storage class, or else the cluster's default; volumes that exist keep theirs.
    #[serde(default)]
    #[schemars(schema_with = "schema::class_name")]
    pub storage_class_name: Option<ObjectName>,
    /// Labels of the claims.
    #[serde(default)]
    #[schemars(schema_with = "schema::labels")]
    pub labels: Option<BTreeMap<String, String>>,
}

// No doc comment: it would be shown in place of what the fields of this type say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    // volumes stay and are taken over by an instance of the same name and type
    Retain,
    // volumes are deleted with the instance, once the safeguards agree
    Delete,
}

/// An image, where it differs from the one the extension names.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    { "rule": "!(has(self.tag) && has(self.digest))", "message": "give a tag or a digest, not both" }]))]
pub struct ImageOverride {
    /// Registry and repository, such as registry.example.com/cache.
    #[schemars(length(max = 255), extend("x-kubernetes-validations" = [form(
        r"^([a-z0-9.-]+(:[0-9]+)?/)?[a-z0-9._/-]+$", "registry and repository without tag or digest, such as registry.example.com/cache/server")]))]
    pub repository: Option<String>,
    /// Tag.
    #[schemars(length(max = 128), extend("x-kubernetes-validations" = [form(r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$", "an image tag, such as 7.0.5")]))]
    pub tag: Option<String>,
    /// Digest, in place of a tag.
    #[schemars(length(max = 71), extend("x-kubernetes-validations" = [schema::a_digest()]))]
    pub digest: Option<String>,
    /// When the image is pulled.
    pub pull_policy: Option<PullPolicy>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PullPolicy {
    Always,
    IfNotPresent,
    Never,
}

/// Labels and annotations to add.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExtraMetadata {
    /// Labels.
    #[serde(default)]
    #[schemars(schema_with = "schema::labels")]
    pub labels: Option<BTreeMap<String, String>>,
    /// Annotations.
    #[serde(default)]
    #[schemars(schema_with = "schema::annotations")]
    pub annotations: Option<BTreeMap<String, String>>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_written_as_people_write_them() {
        assert_eq!(Duration::parse("1h30m").map(|d| d.0.as_secs()), Some(5400));
        assert_eq!(Duration::parse("14d").map(|d| d.to_string()).as_deref(), Some("14d"));
        for wrong in ["", "5", "m", "5 m", "1.5h", "5M", "-1s", "9999999999d"] {
            assert_eq!(Duration::parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn quantities_are_counted() {
        let bytes = |text: &str| Quantity(text.to_owned()).bytes();
        assert_eq!(bytes("1Gi"), Some(1 << 30));
        assert_eq!(bytes("1.5Ki"), Some(1536));
        assert_eq!(bytes("2M"), Some(2_000_000));
        assert_eq!(bytes("1e3"), Some(1000));
        assert_eq!(bytes("x"), None);
        assert_eq!(bytes("5x"), None);
    }

    #[test]
    fn a_quantity_may_be_a_bare_number() {
        assert_eq!(serde_json::from_str::<Quantity>("2").expect("a number"), Quantity("2".into()));
        assert!(serde_json::from_str::<Quantity>("[]").is_err());
    }

    proptest! {
        #![proptest_config(crate::chance::fixed())]

        #[test]
        fn a_duration_reads_back_as_it_was_written(millis in 0u64..10_000_000_000) {
            let duration = Duration(StdDuration::from_millis(millis));
            prop_assert_eq!(Duration::parse(&duration.to_string()), Some(duration));
        }
    }
}
