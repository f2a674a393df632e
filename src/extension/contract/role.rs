//! What pods of a component can be to one another.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::short::{self, short_forms};
use crate::names::RoleName;

/// A role a pod can have. Written from the first to be disturbed to the last.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(remote = "Self", rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Role", transform = role_schema)]
pub struct Role {
    pub name: RoleName,
    /// Whether at most one pod of a group may have it at a time.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exclusive: bool,
    pub description: Option<String>,
}

fn role_schema(schema: &mut schemars::Schema) {
    short::or(schema, &serde_json::json!({ "type": "string" }));
}

short_forms!(Role, "a role's name, or name and exclusive", from_text(text: &str) {
    Some(Self { name: RoleName::parse(text).ok()?, exclusive: false, description: None })
});
