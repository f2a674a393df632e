//! Packages for people: what one is, how two differ, and the beginning of a new one.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use serde_json::{Value, json};

use super::contract::Manifest;
use super::files::{MANIFEST, PackageFiles};
use super::package::Package;
use super::parameters::plain;
use crate::names::ExtensionType;

/// What lists and searches show of a package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    #[serde(rename = "type")]
    pub type_: String,
    pub version: String,
    pub title: String,
    pub description: String,
    pub versions: Vec<String>,
    /// The default first.
    pub topologies: Vec<String>,
    pub upgradable_from: Vec<String>,
    pub keywords: Vec<String>,
}

impl Summary {
    pub fn of(manifest: &Manifest) -> Self {
        let mut topologies: Vec<(bool, String)> =
            manifest.topologies.iter().map(|(name, topology)| (!topology.default, name.to_string())).collect();
        topologies.sort();
        Self {
            type_: manifest.type_.to_string(),
            version: manifest.version.to_string(),
            title: manifest.title.clone().unwrap_or_else(|| manifest.type_.to_string()),
            description: manifest.description.clone().unwrap_or_default(),
            versions: manifest.versions.iter().map(|version| version.version.to_string()).collect(),
            topologies: topologies.into_iter().map(|(_, name)| name).collect(),
            upgradable_from: manifest.upgradable_from.iter().map(ToString::to_string).collect(),
            keywords: manifest.keywords.clone(),
        }
    }

    /// In one line: `6.2, 7.0 · replication, cluster`.
    pub fn line(&self) -> String {
        format!("{} · {}", self.versions.join(", "), self.topologies.join(", "))
    }

    /// Whether all words of a search are somewhere in it.
    pub fn matches(&self, search: &str) -> bool {
        let text = format!("{} {} {} {}", self.type_, self.title, self.description, self.keywords.join(" "));
        let text = text.to_lowercase();
        search.split_whitespace().all(|word| text.contains(&word.to_lowercase()))
    }
}

/// A page about a package: what it runs, and every parameter with its range and what a change needs.
pub fn page(package: &Package) -> String {
    let manifest = &package.manifest;
    let summary = Summary::of(manifest);
    let mut text = format!("{} {} ({})\n", summary.title, summary.version, package.digest);
    // writing to a String cannot fail
    if !summary.description.is_empty() {
        let _ = writeln!(text, "{}", summary.description);
    }
    let _ = writeln!(text, "\nVersions    {}", summary.versions.join(", "));
    if !summary.upgradable_from.is_empty() {
        let _ = writeln!(text, "From        {}", summary.upgradable_from.join(", "));
    }
    for upgrade in &manifest.upgrades {
        let back = if upgrade.rollback == Some(false) { ", no way back" } else { "" };
        let _ = writeln!(text, "Upgrade     {} to {}{back}", upgrade.from, upgrade.to);
    }
    for (name, topology) in &manifest.topologies {
        let mark = if topology.default { " (default)" } else { "" };
        let about = topology.description.as_deref().unwrap_or_default();
        let _ = writeln!(text, "Topology    {name}{mark}: {about}");
    }
    for (name, component) in &manifest.components {
        let _ = writeln!(text, "\nComponent {name}: {}", component.description.as_deref().unwrap_or_default());
        for (parameter, declared) in package.parameters(name.as_str()).iter() {
            let kind = serde_json::to_value(declared.type_).map(|kind| plain(&kind)).unwrap_or_default();
            let change = serde_json::to_value(declared.change()).map(|change| plain(&change)).unwrap_or_default();
            let default = declared.default.as_ref().map_or_else(|| "-".to_owned(), plain);
            let about = declared.description.as_deref().unwrap_or_default();
            let _ = writeln!(text, "  {parameter}  {kind}, default {default}, change: {change}. {about}");
        }
    }
    for (name, operation) in &manifest.operations {
        let about = operation.description.as_deref().unwrap_or_default();
        let _ = writeln!(text, "\nOperation {name}: {about}");
    }
    text
}

/// How two versions of a package differ, as far as people who run it care: one line per difference.
pub fn differences(old: &Package, new: &Package) -> Vec<String> {
    let (before, after) = (facts(old), facts(new));
    let mut lines = Vec::new();
    for (fact, value) in &after {
        match before.get(fact) {
            None => lines.push(format!("+ {fact}: {value}")),
            Some(was) if was != value => lines.push(format!("~ {fact}: {was} becomes {value}")),
            Some(_) => {}
        }
    }
    lines.extend(
        before.iter().filter(|(fact, _)| !after.contains_key(*fact)).map(|(fact, was)| format!("- {fact}: {was}")),
    );
    for path in new.files.paths() {
        match old.files.get(path) {
            None => lines.push(format!("+ file {path}")),
            Some(was) if path != MANIFEST && Some(was) != new.files.get(path) => lines.push(format!("~ file {path}")),
            Some(_) => {}
        }
    }
    lines.extend(old.files.paths().filter(|path| new.files.get(path).is_none()).map(|path| format!("- file {path}")));
    lines
}

fn facts(package: &Package) -> BTreeMap<String, String> {
    let manifest = &package.manifest;
    let mut facts = BTreeMap::new();
    for version in &manifest.versions {
        let image = version.image.clone().unwrap_or_default();
        facts.insert(format!("version {}", version.version), image);
    }
    for upgrade in &manifest.upgrades {
        let back = if upgrade.rollback == Some(false) { "no way back" } else { "and back" };
        facts.insert(format!("upgrade {} to {}", upgrade.from, upgrade.to), back.to_owned());
    }
    for (name, topology) in &manifest.topologies {
        facts.insert(format!("topology {name}"), json!(topology).to_string());
    }
    for name in manifest.components.keys() {
        for (parameter, declared) in package.parameters(name.as_str()).iter() {
            let mut value = json!(declared);
            if let Value::Object(map) = &mut value {
                map.remove("description");
            }
            facts.insert(format!("parameter {name}.{parameter}"), value.to_string());
        }
        if let Some(component) = package.component(name.as_str()) {
            for (action, declared) in component.actions.declared() {
                facts.insert(format!("action {name}.{action}"), format!("{} steps", declared.steps.len()));
            }
        }
    }
    for name in manifest.operations.keys() {
        facts.insert(format!("operation {name}"), "there".to_owned());
    }
    facts
}

/// The files of a new package: it is right as it stands, and says what to fill in.
pub fn scaffold(type_: &ExtensionType) -> PackageFiles {
    let manifest = format!(
        r#"# yaml-language-server: $schema=https://midship.dev/schemas/extension.schema.json
type: {type_}
version: 0.1.0
description: What it is, in a sentence.
versions:
  - {{version: "1.0", image: "docker.io/library/{type_}:1.0"}}
components:
  {component}:
    user: 1001 # the user the image has for its program
    command: [{type_}, --config, "{{{{ files['server.conf'] }}}}"]
    ports: {{client: 8080}}
    config:
      server.conf: config/server.conf.j2
    volumes:
      data: {{path: /data, size: 1Gi}}
    resources:
      requests: {{cpu: 50m, memory: 128Mi}}
      limits: {{memory: 128Mi}}
    parameters:
      connections: {{type: integer, minimum: 1, maximum: 10000, default: 100, description: Connections at a time.}}
"#,
        component = shortened(type_),
    );
    let config = "listen = 0.0.0.0:{{ ports.client }}\nconnections = {{ params.connections }}\n";
    let component = shortened(type_);
    let tests = format!(
        "cases:\n  - name: connections are in the configuration file\n    spec: {{components: [{{name: {component}, parameters: {{connections: 7}}}}]}}\n    \
         expect:\n      - {{kind: ConfigMap, name: sample-{component}-config, file: server.conf, contains: [connections = 7]}}\n"
    );
    let files =
        [(MANIFEST, manifest.as_str()), ("config/server.conf.j2", config), ("tests/render.yaml", tests.as_str())];
    PackageFiles::new(files.map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec()))).unwrap_or_default()
}

/// A component's name is shorter than a type's may be.
fn shortened(type_: &ExtensionType) -> String {
    let text: String = type_.as_str().chars().take(20).collect();
    text.trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extension::cases;

    #[test]
    fn a_new_package_is_right_and_passes_its_test() {
        for name in ["mosquitto", "a-very-long-name-of-a-broker"] {
            let package = Package::load(scaffold(&ExtensionType::parse(name).expect("a type")));
            let package = package.unwrap_or_else(|problems| panic!("{problems}"));
            let outcomes = cases::run(&package, &crate::extension::cue::Nobody);
            assert!(outcomes.len() == 1 && outcomes[0].passed(), "{}", outcomes[0]);
        }
    }

    #[test]
    fn the_next_version_of_a_package_says_what_it_adds() {
        let next = scaffold(&ExtensionType::parse("demo").expect("a type"));
        let first = Package::load(next.clone()).unwrap_or_else(|problems| panic!("{problems}"));
        let changed = next.iter().map(|(path, bytes)| {
            let text =
                String::from_utf8_lossy(bytes).replace("version: 0.1.0", "version: 0.2.0\nupgradableFrom: [0.1.0]");
            let text = text.replace("maximum: 10000", "maximum: 20000");
            let text = text.replace("versions:\n", "versions:\n  - {version: \"2.0\", image: \"demo:2.0\"}\n");
            (path.to_owned(), text.into_bytes())
        });
        let files = PackageFiles::new(changed.collect::<Vec<_>>()).expect("plain files");
        let second = Package::load(files).unwrap_or_else(|problems| panic!("{problems}"));
        let lines = differences(&first, &second);
        assert_eq!(lines.len(), 2, "{}", lines.join("\n"));
        assert_eq!(
            lines[0],
            "~ parameter demo.connections: {\"default\":100,\"maximum\":10000,\"minimum\":1,\"type\":\"integer\"} becomes {\"default\":100,\"maximum\":20000,\"minimum\":1,\"type\":\"integer\"}"
        );
        let page = page(&second);
        assert!(page.contains("connections  integer, default 100, change: restart."), "{page}");
        assert!(Summary::of(&second.manifest).matches("DEMO sentence"));
        assert_eq!(Summary::of(&second.manifest).line(), "2.0, 1.0 · standalone");
    }
}
