//! Parameters in the contract: type, range, default, and what a change needs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_with::skip_serializing_none;

use super::text::Expression;

/// A parameter that users may set.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Parameter {
    /// What kind of value it has.
    #[serde(rename = "type")]
    pub type_: ParameterType,
    /// The value where nobody gives one: a value, or a template such as `{{ (resources.memory * 0.75) | int }}`.
    pub default: Option<Value>,
    /// The smallest value allowed; for bytes and durations written like these.
    pub minimum: Option<Value>,
    /// The largest value allowed.
    pub maximum: Option<Value>,
    /// The values allowed.
    #[serde(rename = "enum", default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<Value>,
    /// A regular expression the text has to match.
    pub pattern: Option<String>,
    /// Whether a text may have line breaks; it is refused with control characters where left out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub multiline: bool,
    /// What a change needs before it is in force; restart where left out.
    pub change: Option<Change>,
    /// Middleware versions that have it, such as `>=7.0`; all where left out.
    pub versions: Option<String>,
    /// When it may be set; always where left out.
    pub when: Option<Expression>,
    /// Why it should no longer be set.
    pub deprecated: Option<String>,
    /// Whether its value is a secret, to be given through `secretParameters` only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub secret: bool,
    /// What it does.
    pub description: Option<String>,
    /// JSON Schema its value has to fulfil besides, for lists and objects.
    pub schema: Option<Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ParameterType {
    String,
    Integer,
    Number,
    Boolean,
    /// A number of bytes, also written 64Mi; templates see the number.
    Bytes,
    /// A length of time such as 30s; templates see it as text (`| seconds`, `| milliseconds`).
    Duration,
    List,
    Object,
}

/// What a changed parameter needs before it is in force, from the least disturbance to the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// Nothing: only Midship uses it.
    None,
    /// The process reads its configuration again.
    Reload,
    /// The process is restarted; pod and container stay.
    Restart,
    /// The pod is made anew.
    Recreate,
    /// It cannot be changed once the instance exists.
    Immutable,
}

/// What becomes of parameters that are not declared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OtherParameters {
    /// What a change of one needs.
    pub change: Change,
}

/// Rules on all parameters of a component together.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rules {
    /// A JSON Schema in the package, such as `params/server.json`.
    pub schema: Option<String>,
    /// A CUE file in the package with a definition `#Parameters`.
    pub cue: Option<String>,
}

impl Parameter {
    pub fn change(&self) -> Change {
        self.change.unwrap_or(Change::Restart)
    }
}
