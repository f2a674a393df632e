//! How clients reach an instance, in the contract: Services, credentials, the connection Secret, TLS.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::parameter::Change;
use super::short::{self, short_forms};
use super::text::{Expression, Template};
use crate::names::{ComponentName, RoleName};

/// A Service. The one called `main` is named like the instance, others `<instance>-<name>`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Service {
    /// Only pods with this role; every ready pod where left out.
    pub role: Option<RoleName>,
    /// Ports by name; all that are not internal where left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<String>,
    /// When there is such a Service; always where left out.
    pub when: Option<Expression>,
    /// One of each pod's own, named `<pod>`, for clients outside the cluster that must reach single pods.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub per_pod: bool,
}

/// The administrator.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Credentials {
    /// The user's name.
    pub username: String,
    /// Whether the middleware lets nobody choose another name. The user's Secret then needs only `password`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fixed_username: bool,
    /// How the password is generated where the user brings none.
    #[serde(default)]
    pub password: SecretSpec,
}

/// A secret that is generated once. A bare number is its length.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(remote = "Self", rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "SecretSpec", transform = secret_schema)]
pub struct SecretSpec {
    /// Characters; 32 where left out.
    #[schemars(range(min = 8, max = 1024))]
    pub length: Option<u16>,
    /// Which characters; Alphanumeric where left out.
    pub alphabet: Option<Alphabet>,
    pub description: Option<String>,
}

fn secret_schema(schema: &mut schemars::Schema) {
    short::or(schema, &serde_json::json!({ "type": "integer", "minimum": 8, "maximum": 1024 }));
}

short_forms!(SecretSpec, "a length, or length and alphabet", from_number(number: u64) {
    Some(Self { length: Some(u16::try_from(number).ok()?), ..Self::default() })
});

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Alphabet {
    /// a-z, A-Z, 0-9
    Alphanumeric,
    /// 0-9, a-f
    Hex,
    /// base64 of random bytes, `length` characters of it
    Base64,
}

/// How clients connect.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Connection {
    /// The component; the only one, or the one called like the type, where left out.
    pub component: Option<ComponentName>,
    /// The Service; `main` where left out.
    pub service: Option<String>,
    /// The port; the client port where left out.
    pub port: Option<String>,
    /// The database to connect to.
    pub database: Option<Template>,
    /// A URI, with `host`, `port`, `username`, `secret` and `tls` at hand.
    pub uri: Option<Template>,
    /// More keys of the Secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, Template>,
}

/// TLS. Certificates lie in `tls.directory` as `tls.crt`, `tls.key` and `ca.crt`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TlsSupport {
    /// Whether clients can be asked for certificates.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub client_certificates: bool,
    /// What renewed certificates need where no action `rotateCertificates` takes them over: none, reload (assumed) or restart.
    pub renewal: Option<Change>,
    /// Whether it can be switched on and off later: pods are then made anew. With immutable that is refused.
    pub switch: Option<Change>,
}
