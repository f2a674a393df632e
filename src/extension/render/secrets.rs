//! Credentials and the connection Secret, and which values somebody has to bring for them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use super::{Known, Rendered, Renderer, naming, object_labels};
use crate::api::labels;
use crate::api::values::KeyRef;
use crate::extension::context;
use crate::extension::contract::delivery::{Alphabet, SecretSpec};
use crate::extension::package::Package;
use crate::extension::placeholders::{self, Source};
use crate::extension::problem::{Code, Refusal, listed};
use crate::extension::resolved::{Resolved, ResolvedComponent};
use crate::extension::secret::{SecretObject, SecretValue};
use crate::names::ObjectName;

/// A secret value an instance needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretNeed {
    /// Its key in `<instance>-credentials`.
    pub name: String,
    pub source: SecretSource,
}

/// What an administrator logs in with.
const ADMINISTRATOR: [&str; 2] = ["username", "password"];

/// Where a secret value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// It is no secret at all, such as the administrator's name.
    Fixed(String),
    /// From a Secret of the user's.
    Given(KeyRef),
    /// Made once and then kept.
    Generated { length: u16, alphabet: Alphabet },
}

/// The values [`super::Inputs::secrets`] has to bring.
pub fn secret_needs(package: &Package, resolved: &Resolved) -> Vec<SecretNeed> {
    let manifest = &package.manifest;
    let generated = |spec: &SecretSpec| SecretSource::Generated {
        length: spec.length.unwrap_or(32),
        alphabet: spec.alphabet.unwrap_or(Alphabet::Alphanumeric),
    };
    let mut needs = Vec::new();
    if let Some(credentials) = &manifest.credentials {
        let given = |key: &str| {
            let name: &ObjectName = resolved.credentials.as_ref()?;
            Some(SecretSource::Given(KeyRef { name: name.clone(), key: key.to_owned() }))
        };
        let username = given("username")
            .filter(|_| !credentials.fixed_username)
            .unwrap_or_else(|| SecretSource::Fixed(credentials.username.clone()));
        let password = given("password").unwrap_or_else(|| generated(&credentials.password));
        needs.push(SecretNeed { name: "username".to_owned(), source: username });
        needs.push(SecretNeed { name: "password".to_owned(), source: password });
    }
    for (name, spec) in &manifest.secrets {
        needs.push(SecretNeed { name: name.clone(), source: generated(spec) });
    }
    for component in &resolved.components {
        for (parameter, key) in &component.secret_parameters {
            let name = context::parameter_secret(component.name.as_str(), parameter.as_str());
            needs.push(SecretNeed { name, source: SecretSource::Given(key.clone()) });
        }
    }
    needs
}

impl Renderer<'_> {
    pub(super) fn secrets(&mut self, rendered: &mut Rendered) {
        let mut data = BTreeMap::new();
        for need in secret_needs(self.package, self.resolved) {
            if let Some(value) = self.inputs.secrets.get(&need.name) {
                if let SecretSource::Given(key) = &need.source
                    && ADMINISTRATOR.contains(&need.name.as_str())
                    && value.expose().contains(char::is_control)
                {
                    let reason = format!(
                        "key {} of Secret {} has a line break or another control character, which nobody could log in \
                         with; write it without, as with echo -n",
                        key.key, key.name
                    );
                    self.refusals.push(Refusal::new("spec.credentials.secretName", Code::Invalid, reason));
                }
                data.insert(need.name, value.clone());
                continue;
            }
            let reason = match need.source {
                SecretSource::Given(key) => format!("Secret {} has no key {}", key.name, key.key),
                _ => format!("secret {} was not generated", need.name),
            };
            self.refusals.push(Refusal::new("", Code::Missing, reason));
        }
        if !data.is_empty() {
            rendered.secrets.push(self.secret(naming::credentials(self.resolved.name.as_str()), data));
        }
    }

    fn secret(&self, name: String, data: BTreeMap<String, SecretValue>) -> SecretObject {
        SecretObject {
            name,
            namespace: self.resolved.namespace.to_string(),
            labels: object_labels(self.resolved, None),
            type_: "Opaque".to_owned(),
            data,
        }
    }

    /// The Service that clients are led to: the one the package names, `main`, the only other one with that port, or the
    /// headless one, which there always is.
    fn leads_to(&mut self, rendered: &Rendered, component: &ResolvedComponent, port: u16) -> String {
        let instance = self.resolved.name.as_str();
        let declared = self.package.manifest.connection.as_ref();
        let named = declared.and_then(|connection| connection.service.as_deref());
        let wanted = naming::service(instance, named.unwrap_or(naming::MAIN_SERVICE));
        let fits = |made: &&Value| {
            let mut ports = made["spec"]["ports"].as_array().into_iter().flatten();
            let of_all = made["spec"]["clusterIP"] != "None" && made["spec"]["selector"][labels::ORDINAL].is_null();
            of_all && ports.any(|known| known["port"] == port)
        };
        let made: Vec<&Value> = rendered.services.iter().filter(fits).collect();
        if made.iter().any(|made| made["metadata"]["name"] == wanted.as_str()) {
            return wanted;
        }
        let mine = |made: &&Value| made["spec"]["selector"][labels::COMPONENT] == component.name.as_str();
        let others: Vec<&str> =
            made.into_iter().filter(mine).filter_map(|made| made["metadata"]["name"].as_str()).collect();
        if let (None, [only]) = (named, others.as_slice()) {
            return (*only).to_owned();
        }
        if declared.is_some() {
            let reason = format!(
                "leads to Service {wanted} with port {port}, which is not made in topology {}; name one in connection.service that \
                 always is, here there is {}",
                self.resolved.topology,
                listed(others)
            );
            let problem = self.package.at("connection", reason);
            self.refusals.push(Refusal::new("", Code::Package, problem.to_string()));
        }
        naming::headless(instance, component.name.as_str())
    }

    /// How clients connect, once it is known which Services there are.
    pub(super) fn connection(&mut self, rendered: &mut Rendered) {
        let manifest = &self.package.manifest;
        let Some(component) = self.package.main_component().and_then(|name| self.resolved.component(name.as_str()))
        else {
            return;
        };
        let connection = manifest.connection.clone().unwrap_or_default();
        let port = connection
            .port
            .as_ref()
            .and_then(|name| component.ports.get(name))
            .copied()
            .or_else(|| component.client_port().map(|(_, port)| port));
        let Some(port) = port else { return };
        let service = self.leads_to(rendered, component, port.port);
        let host = format!("{service}.{}.svc", self.resolved.namespace);
        let mut texts = BTreeMap::from([
            ("type".to_owned(), self.resolved.type_.to_string()),
            ("provider".to_owned(), "midship".to_owned()),
            ("host".to_owned(), host.clone()),
            ("port".to_owned(), port.port.to_string()),
        ]);
        let Some(group) = component.groups.first() else { return };
        let mut data = context::group(self.package, self.resolved, component, group);
        data["host"] = host.into();
        data["port"] = port.port.into();
        data["database"] = "".into();
        if let Some(database) = &connection.database {
            let database = self.text("connection.database", database, &Known::new(&data));
            data["database"] = database.clone().into();
            texts.insert("database".to_owned(), database);
        }
        let known = Known::new(&data);
        if manifest.credentials.is_some() {
            texts.insert("username".to_owned(), placeholders::secret("username"));
            texts.insert("password".to_owned(), placeholders::secret("password"));
        }
        if let Some(uri) = &connection.uri {
            texts.insert("uri".to_owned(), self.text("connection.uri", uri, &known));
        }
        for (name, text) in &connection.extra {
            let text = self.text(&format!("connection.extra.{name}"), text, &known);
            if !text.is_empty() {
                texts.insert(name.clone(), text);
            }
        }
        if let Some(ca) = self.inputs.ca.as_ref().filter(|_| self.resolved.tls.is_some()) {
            texts.insert("ca".to_owned(), ca.clone());
        }
        let mut values = BTreeMap::new();
        for (key, text) in texts {
            let in_uri = key == "uri";
            let expanded = placeholders::expand(&text, |source| match source {
                Source::Secret(name) => {
                    let value = self.inputs.secrets.get(name)?.expose();
                    Some(if in_uri { percent_encoded(value) } else { value.to_owned() })
                }
                Source::Pod(_) => None,
            });
            match expanded {
                Ok(value) => {
                    values.insert(key, SecretValue::new(value));
                }
                // a secret that is missing was reported above
                Err(placeholders::ExpandError::Missing(what)) if what.starts_with("secret") => {}
                Err(error) => {
                    let reason = format!("connection.{key}: {error}");
                    self.refusals.push(Refusal::new("", Code::Package, reason));
                }
            }
        }
        let mut secret = self.secret(naming::connection(self.resolved.name.as_str()), values);
        secret.type_ = format!("servicebinding.io/{}", self.resolved.type_);
        let credentials = naming::credentials(self.resolved.name.as_str());
        let after = rendered.secrets.iter().take_while(|made| made.name == credentials).count();
        rendered.secrets.insert(after, secret);
    }
}

/// A password may have any character, a URI may not.
fn percent_encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}
