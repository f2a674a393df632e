//! Steps in the contract: each uses exactly one driver.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_with::skip_serializing_none;

use super::short::{self, short_forms};
use super::text::{Expression, Template};
use crate::api::values::Duration;

/// One step: exactly one of the drivers `exec`, `http`, `tcp`, `signal`, `process`, `file`, `resp`, `postgres`, or one of
/// `set`, `fail`, `run`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Step {
    /// What it is called in errors and progress; the driver's name where left out.
    pub name: Option<String>,
    /// When it is done; always where left out.
    pub when: Option<Expression>,
    /// Do it once for each item of this list, as `item`.
    pub for_each: Option<Expression>,
    /// Run a command in the middleware's container.
    pub exec: Option<Exec>,
    /// Send an HTTP request.
    pub http: Option<Http>,
    /// Connect to a port.
    pub tcp: Option<Tcp>,
    /// Send the process a signal.
    pub signal: Option<String>,
    /// Start, stop or restart the process.
    pub process: Option<ProcessStep>,
    /// Read, write or remove a file in the middleware's container.
    pub file: Option<FileStep>,
    /// Send a command to a server that speaks RESP.
    pub resp: Option<Resp>,
    /// Send a statement to a server that speaks the postgres protocol.
    pub postgres: Option<Postgres>,
    /// Set variables for the steps that follow.
    pub set: Option<BTreeMap<String, Expression>>,
    /// Give up with this message.
    pub fail: Option<Template>,
    /// Do another action of the component.
    pub run: Option<String>,
    /// Save the answer under this name for expressions that follow.
    pub save: Option<String>,
    /// What has to hold of the answer (`reply`), else the step has failed.
    pub expect: Option<Expression>,
    /// Do it again until this holds of the answer (`reply`).
    pub until: Option<Expression>,
    /// Pause between tries; 500ms where left out.
    pub every: Option<Duration>,
    /// How long the step may take with all its tries; the action's timeout where left out.
    pub timeout: Option<Duration>,
    /// How often it is tried again when it fails.
    pub retries: Option<u32>,
    /// Go on when it fails; the answer is then empty.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ignore_failure: bool,
}

impl Step {
    /// What the step uses. Exactly one entry, or the step is wrong.
    pub fn uses(&self) -> Vec<&'static str> {
        [
            ("exec", self.exec.is_some()),
            ("http", self.http.is_some()),
            ("tcp", self.tcp.is_some()),
            ("signal", self.signal.is_some()),
            ("process", self.process.is_some()),
            ("file", self.file.is_some()),
            ("resp", self.resp.is_some()),
            ("postgres", self.postgres.is_some()),
            ("set", self.set.is_some()),
            ("fail", self.fail.is_some()),
            ("run", self.run.is_some()),
        ]
        .into_iter()
        .filter_map(|(name, used)| used.then_some(name))
        .collect()
    }
}

/// A command in the middleware's container: a list of words, or `command` or `script` with more.
/// The answer is `{code, stdout, stderr, json}`, `json` being what it wrote where that is an object or a list; a code
/// other than 0 is a failure unless `expect` says otherwise.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(remote = "Self", rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Exec", transform = words_schema)]
pub struct Exec {
    /// Program and arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<Template>,
    /// A file of the package's `scripts/`, run with `args`.
    pub script: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<Template>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, Template>,
    /// What it reads on standard input.
    pub stdin: Option<Template>,
}

fn words_schema(schema: &mut schemars::Schema) {
    short::or(schema, &serde_json::json!({ "type": "array", "items": { "type": "string" } }));
}

short_forms!(Exec, "a list of words, or command, script, args, env and stdin", from_list(list: Vec<String>) {
    Some(Self { command: list, ..Self::default() })
});

/// An HTTP request; a bare text is the path. The answer is `{status, headers, body, json}`; a status from 400 is a failure
/// unless `expect` says otherwise.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(remote = "Self", rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Http", transform = text_schema)]
pub struct Http {
    /// GET where left out.
    pub method: Option<String>,
    pub path: Template,
    /// The host; the pod itself where left out.
    pub host: Option<Template>,
    /// A port by name; the client port where left out.
    pub port: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Template>,
    /// The body: a template, or an object that is sent as JSON.
    pub body: Option<Value>,
    /// Whether the administrator's name and password are sent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub login: bool,
    /// `false` for a port that is never TLS, such as one for metrics; TLS where the instance has it where left out.
    pub tls: Option<bool>,
}

fn text_schema(schema: &mut schemars::Schema) {
    short::or(schema, &serde_json::json!({ "type": "string" }));
}

short_forms!(Http, "a path, or path, method, host, port, headers, body, login and tls", from_text(text: &str) {
    Some(Self { path: text.to_owned(), ..Self::default() })
});

/// A connection; a bare text is the port's name. The answer is what was read, as text.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(remote = "Self", rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Tcp", transform = text_schema)]
pub struct Tcp {
    /// A port by name.
    pub port: String,
    /// The host; the pod itself where left out.
    pub host: Option<Template>,
    /// What is sent.
    pub send: Option<Template>,
    /// How many bytes of an answer are read at most, up to the first line's end; none where left out.
    pub read: Option<u32>,
    /// `false` for a port that is never TLS, such as one for metrics; TLS where the instance has it where left out.
    pub tls: Option<bool>,
}

short_forms!(Tcp, "a port's name, or port, host, send, read and tls", from_text(text: &str) {
    Some(Self { port: text.to_owned(), ..Self::default() })
});

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProcessStep {
    Start,
    Stop,
    Restart,
}

/// A file in the middleware's container. The answer is `{exists, content}`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(remote = "Self", rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "FileStep", transform = text_schema)]
pub struct FileStep {
    pub path: Template,
    /// Write this; only read where left out.
    pub content: Option<Template>,
    /// Mode of a file that is written, such as 0600 (assumed).
    pub mode: Option<String>,
    /// Remove it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub remove: bool,
}

short_forms!(FileStep, "a path, or path, content, mode and remove", from_text(text: &str) {
    Some(Self { path: text.to_owned(), ..Self::default() })
});

/// A command in RESP; a bare list is the command. The answer is what the server answers, as JSON; an error is a failure.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(remote = "Self", rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Resp", transform = words_schema)]
pub struct Resp {
    pub command: Vec<Template>,
    /// The host; the pod itself where left out.
    pub host: Option<Template>,
    /// A port by name or a number; the client port where left out.
    pub port: Option<Template>,
    /// Whether to log in as the administrator first; true where left out and there is one.
    pub login: Option<bool>,
}

short_forms!(Resp, "a list of words, or command, host, port and login", from_list(list: Vec<String>) {
    Some(Self { command: list, ..Self::default() })
});

/// A statement; a bare text is the SQL. The answer is `{rows, affected}`, each row an object.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(remote = "Self", rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Postgres", transform = text_schema)]
pub struct Postgres {
    pub sql: Template,
    /// Values of $1, $2, …
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<Expression>,
    /// The database; the connection's where left out.
    pub database: Option<Template>,
    /// The host; the pod itself where left out.
    pub host: Option<Template>,
    /// A port by name or a number; the client port where left out.
    pub port: Option<Template>,
}

short_forms!(Postgres, "SQL, or sql, values, database, host and port", from_text(text: &str) {
    Some(Self { sql: text.to_owned(), ..Self::default() })
});
