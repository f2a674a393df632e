//! Users' own configuration files that lie in ConfigMaps and Secrets, where there is no cluster to read them from.

use std::collections::BTreeMap;

use super::contract::component::FileFormat;
use super::package::Package;
use super::render::UserFileContent;
use super::resolved::Resolved;
use super::secret::SecretValue;
use crate::api::values::KeyRef;
use crate::names::ComponentName;

/// What is known of such files.
#[derive(Debug, Default)]
pub struct Elsewhere {
    /// What they hold, or what stands in for it.
    pub files: BTreeMap<(ComponentName, String), UserFileContent>,
    /// Those that nobody could look at.
    pub unseen: Vec<String>,
}

/// The files that an instance names. `known` gives the key of a ConfigMap, where that is to be had.
pub fn files(package: &Package, resolved: &Resolved, known: &dyn Fn(&KeyRef) -> Option<String>) -> Elsewhere {
    let mut elsewhere = Elsewhere::default();
    for component in &resolved.components {
        let declared = package.component(component.name.as_str());
        for (name, file) in &component.config_files {
            let (place, secret) = match (&file.config_map, &file.secret) {
                (Some(place), _) => (place, false),
                (None, Some(place)) => (place, true),
                (None, None) => continue,
            };
            let text = if secret { None } else { known(place) };
            let text = text.unwrap_or_else(|| {
                let kind = if secret { "Secret" } else { "ConfigMap" };
                let lies = format!("key {} of {kind} {}", place.key, place.name);
                let field = format!("spec.components[{}].configFiles.{name}", component.name);
                elsewhere
                    .unseen
                    .push(format!("{field}: it is {lies}, which is not here: what it says was not looked at"));
                stand_in(declared.and_then(|declared| declared.config.get(name)?.format), &lies)
            });
            let content = UserFileContent { text: SecretValue::new(text), secret };
            elsewhere.files.insert((component.name.clone(), name.clone()), content);
        }
    }
    elsewhere
}

/// A file that says nothing, and where the real one is.
fn stand_in(format: Option<FileFormat>, lies: &str) -> String {
    match format {
        Some(FileFormat::Json) => "{}\n".to_owned(),
        Some(FileFormat::Yaml) => format!("# {lies}\n{{}}\n"),
        Some(FileFormat::Words | FileFormat::Properties) | None => format!("# {lies}\n"),
    }
}
