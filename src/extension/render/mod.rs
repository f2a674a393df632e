//! Renders a resolved instance into the objects it is made of. Pure: the same input gives the same bytes.

mod access;
mod config;
mod delivery;
mod exporter;
mod held;
mod metadata;
mod monitoring;
mod objects;
mod patch;
mod pod;
mod process;
mod reach;
mod secrets;
#[cfg(test)]
mod tests;

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use kube::api::ObjectMeta;
use serde_json::{Value, json};

use super::budget::Budget;
use super::context;
use super::contract::Component as Declared;
use super::files::is_template;
use super::naming;
use super::package::Package;
use super::placeholders;
use super::problem::{Code, Problem, Refusal, Refusals};
use super::resolved::{Resolved, ResolvedComponent, ResolvedGroup};
use super::secret::{SecretObject, SecretValue};
use super::template::{self, Engine, TemplateError};
use crate::api::component::{Component, ComponentGroup, ComponentSpec};
use crate::api::instance::DesiredState;
use crate::api::labels;
use crate::names::{ComponentName, GroupName, ObjectName};

pub use objects::grant;
pub use secrets::{SecretNeed, SecretSource, secret_needs};

/// What rendering cannot know by itself.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// The image that has the agent.
    pub agent_image: String,
    /// Values of [`secret_needs`], by name.
    pub secrets: BTreeMap<String, SecretValue>,
    /// Users' own configuration files that lie in ConfigMaps and Secrets, by component and file.
    pub user_files: BTreeMap<(ComponentName, String), UserFileContent>,
    /// The certificate authority of the instance, where TLS is on.
    pub ca: Option<String>,
    /// The namespace Midship runs in; network policies let it in.
    pub controller_namespace: Option<String>,
    /// Pods that exist; metadata tells which are coming and going.
    pub existing_pods: Vec<String>,
}

/// A user's own configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserFileContent {
    pub text: SecretValue,
    /// It came from a Secret and has to stay in one.
    pub secret: bool,
}

/// Configuration of one group, as files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigRevision {
    pub component: String,
    pub group: String,
    /// Digest of what the process reads.
    pub revision: String,
    /// The rendered files, apart from those that came from Secrets.
    pub files: BTreeMap<String, String>,
}

/// A certificate the instance needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateNeed {
    pub secret_name: String,
    pub names: Vec<String>,
}

/// Everything an instance is made of, each list in the order it is to be applied in.
#[derive(Clone, Debug, Default)]
pub struct Rendered {
    pub access: Vec<Value>,
    pub secrets: Vec<SecretObject>,
    pub config_maps: Vec<Value>,
    pub services: Vec<Value>,
    pub components: Vec<Component>,
    pub disruption_budgets: Vec<Value>,
    pub network_policies: Vec<Value>,
    pub monitoring: Vec<Value>,
    pub objects: Vec<Value>,
    pub config: Vec<ConfigRevision>,
    pub certificate: Option<CertificateNeed>,
    /// The instance with the parameters that users' own files set, where they set any: what rules are about.
    pub with_files: Option<Resolved>,
}

impl Rendered {
    /// All manifests in the order they are applied in, with secrets as people may see them.
    pub fn manifests(&self) -> Vec<Value> {
        let components = self.components.iter().map(|component| serde_json::to_value(component).unwrap_or_default());
        let mut all = self.access.clone();
        all.extend(self.secrets.iter().map(SecretObject::redacted));
        all.extend(self.config_maps.iter().cloned());
        all.extend(self.services.iter().cloned());
        all.extend(components);
        for list in [&self.disruption_budgets, &self.network_policies, &self.monitoring, &self.objects] {
            all.extend(list.iter().cloned());
        }
        all
    }
}

/// Renders everything, or says everything that went wrong.
pub fn render(package: &Package, resolved: &Resolved, inputs: &Inputs) -> Result<Rendered, Refusals> {
    let budget = Budget::default();
    let mut renderer = Renderer {
        package,
        resolved,
        inputs,
        refusals: Vec::new(),
        from_files: BTreeMap::new(),
        own_objects: BTreeMap::new(),
        budget: &budget,
        spent_at: None,
    };
    let mut rendered = Rendered { access: access::render(resolved), ..Rendered::default() };
    renderer.secrets(&mut rendered);
    renderer.scripts(&mut rendered);
    for component in &resolved.components {
        let Some(declared) = package.component(component.name.as_str()) else { continue };
        renderer.component(component, declared, &mut rendered);
    }
    renderer.connection(&mut rendered);
    renderer.network(&mut rendered);
    renderer.certificate(&mut rendered);
    renderer.monitoring(&mut rendered);
    renderer.objects(&mut rendered);
    renderer.metadata(&mut rendered);
    rendered.with_files = renderer.with_files();
    renderer.no_object_twice(&rendered);
    renderer.within_budget();
    if renderer.refusals.is_empty() {
        Ok(rendered)
    } else {
        renderer.refusals.sort();
        renderer.refusals.dedup();
        Err(Refusals(renderer.refusals))
    }
}

struct Renderer<'a> {
    package: &'a Package,
    resolved: &'a Resolved,
    inputs: &'a Inputs,
    refusals: Vec<Refusal>,
    /// Parameters that users' own files set in place of defaults; without the value where the file is secret.
    from_files: BTreeMap<(ComponentName, GroupName), BTreeMap<String, Option<Value>>>,
    /// The package's own objects, by kind and name: the place in its list that made each.
    own_objects: BTreeMap<(String, String), usize>,
    /// What is left for templates.
    budget: &'a Budget,
    /// How many refusals there were when nothing was left.
    spent_at: Option<usize>,
}

impl Renderer<'_> {
    /// What a file of the user's sets is held to the rules of the package on all parameters together, as what the spec sets is.
    fn with_files(&mut self) -> Option<Resolved> {
        if self.from_files.is_empty() {
            return None;
        }
        let mut resolved = self.resolved.clone();
        for component in &mut resolved.components {
            for group in &mut component.groups {
                let set = self.from_files.get(&(component.name.clone(), group.name.clone()));
                let known = set.into_iter().flatten().filter_map(|(name, value)| Some((name.clone(), value.clone()?)));
                group.parameters.extend(known);
                for reason in self.package.check_rules(component.name.as_str(), &json!(group.parameters)) {
                    let field = format!("spec.components[{}].configFiles", component.name);
                    self.refusals.push(Refusal::new(field, Code::Invalid, reason));
                }
            }
        }
        Some(resolved)
    }
}

/// What templates can read.
struct Known {
    context: minijinja::Value,
    /// The same with secrets in disguise, where there are any: whatever does more with one than to print it gives itself away.
    disguised: Option<minijinja::Value>,
}

impl Known {
    fn new(data: &Value) -> Self {
        let disguised = placeholders::disguised(data).map(|data| template::context(&data));
        Self { context: template::context(data), disguised }
    }
}

/// One group with what its templates can read.
struct Place<'a> {
    component: &'a ResolvedComponent,
    declared: &'a Declared,
    group: &'a ResolvedGroup,
    data: Value,
    context: Known,
    /// What files can read that nobody wrote anything of their own into.
    for_files: OnceCell<Known>,
}

impl Place<'_> {
    fn key(&self) -> (ComponentName, GroupName) {
        (self.component.name.clone(), self.group.name.clone())
    }

    fn without_user_file(&self) -> &Known {
        self.for_files.get_or_init(|| {
            let mut data = self.data.clone();
            data["user_file"] = Value::Null;
            Known::new(&data)
        })
    }
}

impl<'a> Renderer<'a> {
    fn component(&mut self, component: &'a ResolvedComponent, declared: &'a Declared, rendered: &mut Rendered) {
        let resolved = self.resolved;
        let mut groups = Vec::new();
        for group in &component.groups {
            let data = context::group(self.package, resolved, component, group);
            let context = Known::new(&data);
            let place = Place { component, declared, group, data, context, for_files: OnceCell::new() };
            let config = self.config(&place, rendered);
            let template = self.pod(&place, &config);
            groups.push(ComponentGroup {
                name: group.name.clone(),
                replicas: (!component.free_replicas).then(|| i32::from(group.replicas)),
                offline: group.offline.clone(),
                template,
            });
            rendered.config.push(config.revision);
        }
        self.services(component, declared, rendered);
        self.disruption_budgets(component, rendered);
        let headless = naming::headless(resolved.name.as_str(), component.name.as_str());
        let mut made = Component::new(
            &naming::component(resolved.name.as_str(), component.name.as_str()),
            ComponentSpec {
                instance: resolved.name.clone(),
                component: component.name.clone(),
                replicas: component
                    .free_replicas
                    .then(|| component.groups.first().map(|group| i32::from(group.replicas)))
                    .flatten(),
                allowed_replicas: component.free_replicas.then_some(component.allowed_replicas),
                groups,
                state: resolved.stopped.then_some(DesiredState::Stopped),
                // one that is not part of the topology keeps nobody waiting
                after: declared
                    .after
                    .iter()
                    .filter(|after| resolved.components.iter().any(|other| other.name == **after))
                    .cloned()
                    .collect(),
                update: Some(component.update.clone()),
                start: declared.start,
                deletion_policy: Some(resolved.deletion_policy),
                service_name: ObjectName::parse(&headless).ok(),
                role_order: declared.roles.iter().map(|role| role.name.clone()).collect(),
            },
        );
        made.metadata = ObjectMeta {
            name: made.metadata.name,
            namespace: Some(resolved.namespace.to_string()),
            labels: Some(object_labels(resolved, Some(component.name.as_str()))),
            ..ObjectMeta::default()
        };
        rendered.components.push(made);
    }

    /// The one would overwrite the other again and again.
    fn no_object_twice(&mut self, rendered: &Rendered) {
        let mut seen = BTreeSet::new();
        let services = rendered.config_maps.iter().chain(&rendered.services).chain(&rendered.network_policies);
        let all = services.chain(&rendered.disruption_budgets).chain(&rendered.monitoring).chain(&rendered.objects);
        for object in all {
            let (kind, name) = (&object["kind"], &object["metadata"]["name"]);
            let (kind, name) = (kind.as_str().unwrap_or_default(), name.as_str().unwrap_or_default());
            if !seen.insert((kind, name)) {
                let own = self.own_objects.get(&(kind.to_owned(), name.to_owned()));
                let place = own.map_or_else(|| "objects".to_owned(), |place| format!("objects[{place}]"));
                let reason = format!("{kind} {name} is made twice; give the package's own another name");
                let problem = self.package.at(&place, reason);
                self.refusals.push(Refusal::new("", Code::Package, problem.to_string()));
            }
        }
    }

    /// What was found once nothing was left is about texts that were not rendered. What was found before is mended first.
    fn within_budget(&mut self) {
        let Some(before) = self.spent_at else { return };
        self.refusals.truncate(before);
        if self.refusals.is_empty() {
            self.failed(&TemplateError::spent(self.budget));
        }
    }

    fn failed(&mut self, error: &TemplateError) {
        let problem = self.package.in_template(error);
        self.refusals.push(Refusal::new("", Code::Package, problem.to_string()));
    }

    /// A text of the manifest, rendered; empty where that failed, which is reported.
    fn text(&mut self, field: &str, source: &str, known: &Known) -> String {
        let name = format!("{}{field}", template::FIELD);
        let budget = self.budget;
        self.rendered(&name, known, |engine, context| engine.text(&name, source, context, budget))
    }

    fn holds(&mut self, field: &str, source: Option<&str>, known: &Known) -> bool {
        let name = format!("{}{field}", template::FIELD);
        match self.package.engine.holds(&name, source, &known.context) {
            Ok(holds) => holds,
            Err(error) => {
                self.failed(&error);
                false
            }
        }
    }

    fn file(&mut self, path: &str, known: &Known) -> String {
        if is_template(path) {
            let budget = self.budget;
            return self.rendered(path, known, |engine, context| engine.file(path, context, budget));
        }
        match self.package.files.text(path) {
            Ok(text) => text.to_owned(),
            Err(problem) => {
                let Problem { path: name, line, reason, .. } = problem;
                self.failed(&TemplateError { name, line: line.max(1), reason });
                String::new()
            }
        }
    }

    fn rendered(
        &mut self,
        name: &str,
        known: &Known,
        render: impl Fn(&Engine, &minijinja::Value) -> Result<String, TemplateError>,
    ) -> String {
        if self.budget.is_spent() {
            self.spent_at.get_or_insert(self.refusals.len());
            return String::new();
        }
        let engine = &self.package.engine;
        let outcome = render(engine, &known.context).and_then(|text| {
            let again = known.disguised.as_ref().map(|disguised| render(engine, disguised)).transpose()?;
            match again.map(|again| placeholders::undisguised(&again)) {
                Some(again) if again != text => {
                    let differs = |(one, other): &(&str, &str)| one != other;
                    let line = text.lines().zip(again.lines()).find(differs).map_or("", |(line, _)| line);
                    Err(TemplateError { name: name.to_owned(), line: 0, reason: changed_secret(line) })
                }
                _ => Ok(text),
            }
        });
        match outcome {
            Ok(text) => text,
            Err(error) => {
                self.failed(&error);
                String::new()
            }
        }
    }

    /// Renders every text within a value.
    fn value(&mut self, field: &str, value: &Value, known: &Known) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(field, text, known)),
            Value::Array(items) => items.iter().map(|item| self.value(field, item, known)).collect(),
            Value::Object(map) => map.iter().map(|(key, item)| (key.clone(), self.value(field, item, known))).collect(),
            other => other.clone(),
        }
    }
}

/// A secret is not known where templates are rendered: a digest, a length or an escaped form would be that of its name.
fn changed_secret(line: &str) -> String {
    let shown: String = line.chars().take(60).collect();
    format!(
        "a secret can only be printed as it is, with no filter: it is filled in in the pod; this renders \"{}\"",
        shown.escape_default()
    )
}

/// Labels of every object of an instance.
pub fn object_labels(resolved: &Resolved, component: Option<&str>) -> BTreeMap<String, String> {
    let mut all = BTreeMap::from([
        ("app.kubernetes.io/name".to_owned(), resolved.type_.to_string()),
        ("app.kubernetes.io/instance".to_owned(), resolved.name.to_string()),
        (labels::MANAGED_BY.to_owned(), labels::MANAGER.to_owned()),
        (labels::INSTANCE.to_owned(), resolved.name.to_string()),
        (labels::TYPE.to_owned(), resolved.type_.to_string()),
    ]);
    if let Some(component) = component {
        all.insert("app.kubernetes.io/component".to_owned(), component.to_owned());
        all.insert(labels::COMPONENT.to_owned(), component.to_owned());
    }
    all
}

/// What selects pods, and never changes.
fn selector(resolved: &Resolved, component: Option<&str>, group: Option<&str>, role: Option<&str>) -> Value {
    let mut selector = json!({ labels::INSTANCE: resolved.name });
    for (label, value) in [(labels::COMPONENT, component), (labels::GROUP, group), (labels::ROLE, role)] {
        if let Some(value) = value {
            selector[label] = json!(value);
        }
    }
    selector
}

/// The metadata of an object of an instance.
fn object_metadata(resolved: &Resolved, name: &str, component: Option<&str>) -> Value {
    json!({ "name": name, "namespace": resolved.namespace, "labels": object_labels(resolved, component) })
}

fn config_map(resolved: &Resolved, name: &str, component: Option<&str>, data: &BTreeMap<String, String>) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": object_metadata(resolved, name, component),
        "data": data,
    })
}
