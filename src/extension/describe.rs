//! Packages for people: what one is, how two differ, and the beginning of a new one.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::{Value, json};

use super::contract::{Count, Manifest, Parameter, TopologyComponent};
use super::files::{MANIFEST, PackageFiles};
use super::package::Package;
use super::parameters::plain;
use crate::names::{ComponentName, ExtensionType};

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

/// A page about a package: what it runs and how, and every parameter with its range and what a change needs.
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
        let note = upgrade.note.as_ref().map(|note| format!(": {note}")).unwrap_or_default();
        let _ = writeln!(text, "Upgrade     {} to {}{back}{note}", upgrade.from, upgrade.to);
    }
    for (name, topology) in &manifest.topologies {
        let mark = if topology.default && manifest.topologies.len() > 1 { " (default)" } else { "" };
        let pods: Vec<String> =
            topology.components.iter().map(|(component, pods)| pods_text(component, pods)).collect();
        let about = topology.description.as_ref().map(|about| format!(". {about}")).unwrap_or_default();
        let _ = writeln!(text, "Topology    {name}{mark}: {}{about}", pods.join("; "));
    }
    if let Some(backup) = &manifest.backup {
        let methods: Vec<&str> = backup.methods.keys().map(String::as_str).collect();
        let _ = writeln!(text, "Backup      {}", methods.join(", "));
    }
    for (name, component) in &manifest.components {
        let about = component.description.as_ref().map(|about| format!(": {about}")).unwrap_or_default();
        let _ = writeln!(text, "\nComponent {name}{about}");
        let ports = component
            .ports
            .iter()
            .map(|(name, port)| format!("{name} {}{}", port.port, if port.internal { " (internal)" } else { "" }));
        let volumes = component.volumes.iter().map(|(name, volume)| {
            let size = volume.size.as_ref().map(|size| format!(" {}", size.0)).unwrap_or_default();
            format!("{name}{size} at {}", volume.path)
        });
        let roles = component.roles.iter().map(|role| role.name.to_string());
        for (what, items) in
            [("Ports", ports.collect::<Vec<_>>()), ("Volumes", volumes.collect()), ("Roles", roles.collect())]
        {
            if !items.is_empty() {
                let _ = writeln!(text, "  {what:<9} {}", items.join(", "));
            }
        }
        let mut parameters = package.parameters(name.as_str()).iter().peekable();
        if parameters.peek().is_some() {
            let _ = writeln!(text, "  Parameters");
        }
        for (parameter, declared) in parameters {
            let about = declared.description.as_ref().map(|about| format!(" {about}")).unwrap_or_default();
            let _ = writeln!(text, "  {parameter}  {}.{about}", parameter_text(declared));
        }
    }
    for (name, operation) in &manifest.operations {
        let about = operation.description.as_ref().map(|about| format!(": {about}")).unwrap_or_default();
        let mark = if operation.dangerous { " (dangerous)" } else { "" };
        let _ = writeln!(text, "\nOperation {name}{mark}{about}");
    }
    text
}

/// `server 3 pods (3 to 7, odd)`, `server 2 pods in each of 3 groups shard-0 …`.
fn pods_text(component: &ComponentName, pods: &TopologyComponent) -> String {
    let counted = |count: &Count, what: &str| {
        let mut limits = Vec::new();
        match (count.min, count.max) {
            (Some(min), Some(max)) => limits.push(format!("{min} to {max}")),
            (Some(min), None) => limits.push(format!("at least {min}")),
            (None, Some(max)) => limits.push(format!("at most {max}")),
            (None, None) => {}
        }
        limits.extend(count.odd.then(|| "odd".to_owned()));
        let limits = if limits.is_empty() { String::new() } else { format!(" ({})", limits.join(", ")) };
        format!("{} {what}{}{limits}", count.default, if count.default == 1 { "" } else { "s" })
    };
    let one = Count { default: 1, ..Count::default() };
    let replicas = counted(pods.replicas.as_ref().unwrap_or(&one), "pod");
    match &pods.groups {
        None => format!("{component} {replicas}"),
        Some(groups) => {
            format!(
                "{component} {replicas} in each of {} called {}-0 and so on",
                counted(&groups.count, "group"),
                groups.prefix
            )
        }
    }
}

/// `integer, default 100, 1 to 10000, change: reload`.
pub(super) fn parameter_text(declared: &Parameter) -> String {
    let word = |value: Value| plain(&value);
    let default = declared.default.as_ref().map_or_else(|| "-".to_owned(), plain);
    let mut parts = vec![word(json!(declared.type_)), format!("default {default}")];
    match (&declared.minimum, &declared.maximum) {
        (Some(minimum), Some(maximum)) => parts.push(format!("{} to {}", plain(minimum), plain(maximum))),
        (Some(minimum), None) => parts.push(format!("at least {}", plain(minimum))),
        (None, Some(maximum)) => parts.push(format!("at most {}", plain(maximum))),
        (None, None) => {}
    }
    if !declared.values.is_empty() {
        parts.push(format!("one of {}", declared.values.iter().map(plain).collect::<Vec<_>>().join(" ")));
    }
    parts.extend(declared.versions.as_ref().map(|versions| format!("versions {versions}")));
    parts.extend(declared.when.as_ref().map(|when| format!("when {when}")));
    parts.extend(declared.secret.then(|| "secret".to_owned()));
    parts.push(format!("change: {}", word(json!(declared.change()))));
    parts.extend(declared.deprecated.as_ref().map(|why| format!("deprecated: {why}")));
    parts.join(", ")
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
    use crate::extension::compare::differences;

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
        assert_eq!(
            lines,
            [
                "~ package: upgradableFrom [0.1.0] is new",
                "~ parameter demo.connections: maximum 10000 becomes 20000",
                "+ version 2.0: image demo:2.0",
            ]
        );
        let back = differences(&second, &first);
        assert_eq!(back[0], "~ package: upgradableFrom is gone");
        assert_eq!(back[2], "- version 2.0");
        let page = page(&second);
        assert!(
            page.contains("connections  integer, default 100, 1 to 20000, change: restart. Connections at a time."),
            "{page}"
        );
        assert!(Summary::of(&second.manifest).matches("DEMO sentence"));
        assert_eq!(Summary::of(&second.manifest).line(), "2.0, 1.0 · standalone");
    }
}
