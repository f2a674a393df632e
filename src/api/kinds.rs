//! The nine kinds as a list: for definitions, for finding a kind by any of its names, for the order things are applied in.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use kube::core::ApiResource;

use super::{
    Backup, BackupPolicy, BackupRepository, Component, Extension, GitSource, Instance, Operation, PodSet, schema,
};

/// A kind of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    GitSource,
    Extension,
    BackupRepository,
    BackupPolicy,
    Instance,
    Component,
    PodSet,
    Operation,
    Backup,
}

impl Kind {
    pub const ALL: [Self; 9] = [
        Self::GitSource,
        Self::Extension,
        Self::BackupRepository,
        Self::BackupPolicy,
        Self::Instance,
        Self::Component,
        Self::PodSet,
        Self::Operation,
        Self::Backup,
    ];

    pub fn crd(self) -> CustomResourceDefinition {
        schema::tidy(match self {
            Self::GitSource => GitSource::crd(),
            Self::Extension => Extension::crd(),
            Self::BackupRepository => BackupRepository::crd(),
            Self::BackupPolicy => BackupPolicy::crd(),
            Self::Instance => Instance::crd(),
            Self::Component => Component::crd(),
            Self::PodSet => PodSet::crd(),
            Self::Operation => Operation::crd(),
            Self::Backup => Backup::crd(),
        })
    }

    /// The definition as a file: one line for each thing that can be said in one.
    pub fn crd_yaml(self) -> String {
        let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
        serde_saphyr::to_string_with_options(&self.crd(), options).expect("a definition is plain data")
    }

    pub fn resource(self) -> ApiResource {
        match self {
            Self::GitSource => GitSource::api_resource(),
            Self::Extension => Extension::api_resource(),
            Self::BackupRepository => BackupRepository::api_resource(),
            Self::BackupPolicy => BackupPolicy::api_resource(),
            Self::Instance => Instance::api_resource(),
            Self::Component => Component::api_resource(),
            Self::PodSet => PodSet::api_resource(),
            Self::Operation => Operation::api_resource(),
            Self::Backup => Backup::api_resource(),
        }
    }

    /// As it stands in a manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::GitSource => "GitSource",
            Self::Extension => "Extension",
            Self::BackupRepository => "BackupRepository",
            Self::BackupPolicy => "BackupPolicy",
            Self::Instance => "Instance",
            Self::Component => "Component",
            Self::PodSet => "PodSet",
            Self::Operation => "Operation",
            Self::Backup => "Backup",
        }
    }

    /// The one word kubectl calls it when it is in a hurry.
    pub fn short(self) -> &'static str {
        match self {
            Self::GitSource => "gs",
            Self::Extension => "ext",
            Self::BackupRepository => "repo",
            Self::BackupPolicy => "bp",
            Self::Instance => "inst",
            Self::Component => "comp",
            Self::PodSet => "ps",
            Self::Operation => "op",
            Self::Backup => "bak",
        }
    }

    pub fn plural(self) -> String {
        self.resource().plural
    }

    /// Finds a kind by any name a person uses for it: `Instance`, `instance`, `instances`, `inst`.
    pub fn find(word: &str) -> Option<Self> {
        let word = word.to_ascii_lowercase();
        let word = word.strip_suffix(".midship.dev").unwrap_or(&word);
        Self::ALL
            .into_iter()
            .find(|kind| word == kind.short() || word == kind.as_str().to_ascii_lowercase() || word == kind.plural())
    }
}

/// The definitions of all kinds, in the order they are installed.
pub fn crds() -> Vec<CustomResourceDefinition> {
    Kind::ALL.into_iter().map(Kind::crd).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_definition_stays_small() {
        for kind in Kind::ALL {
            let yaml = kind.crd_yaml();
            assert!(yaml.len() < 64 * 1024, "{} has {} bytes", kind.as_str(), yaml.len());
        }
    }

    #[test]
    fn no_definition_sets_a_default() {
        for kind in Kind::ALL {
            let json = serde_json::to_string(&kind.crd()).expect("plain data");
            assert!(!json.contains("\"default\":"), "{}", kind.as_str());
        }
    }

    /// In whole sentences, of which nobody sees in which language they were written.
    #[test]
    fn every_field_a_person_sees_is_explained() {
        fn explains(text: &str) -> bool {
            let begins = text.starts_with(|first: char| first.is_uppercase() || first == '`');
            begins
                && text.ends_with('.')
                && !["::", "Vec<", "Option<", "[`", "#["].iter().any(|code| text.contains(code))
        }
        fn walk(path: &str, schema: &serde_json::Value, missing: &mut Vec<String>) {
            for inner in ["items", "additionalProperties"] {
                if schema[inner].is_object() {
                    walk(&format!("{path}[]"), &schema[inner], missing);
                }
            }
            for (name, property) in schema["properties"].as_object().into_iter().flatten() {
                let here = format!("{path}.{name}");
                walk(&here, property, missing);
                let text = property["description"].as_str().unwrap_or_default();
                if !explains(text) {
                    missing.push(format!("{here}: {text:?}"));
                }
            }
        }
        let mut missing = Vec::new();
        for kind in Kind::ALL {
            let crd = serde_json::to_value(kind.crd()).expect("plain data");
            walk(kind.as_str(), &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"], &mut missing);
        }
        assert!(missing.is_empty(), "{missing:#?}");
    }

    #[test]
    fn a_choice_is_explained_by_the_field_that_has_it() {
        let spec = |kind: Kind| {
            let crd = serde_json::to_value(kind.crd()).expect("plain data");
            crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"].clone()
        };
        let (instance, source) = (spec(Kind::Instance), spec(Kind::GitSource));
        let spread = &instance["components"]["items"]["properties"]["scheduling"]["properties"]["spread"];
        for (field, said) in [
            (spread, "not at all (none), by node, by zone"),
            (&instance["deletionPolicy"], "Retain (assumed) or Delete"),
            (&source["drift"], "Revert (assumed) changes it back"),
        ] {
            let description = field["description"].as_str().unwrap_or_default();
            assert!(description.contains(said), "{field}");
        }
    }

    #[test]
    fn a_kind_is_found_by_every_name_people_use() {
        for word in ["inst", "Instance", "instances", "instances.midship.dev"] {
            assert_eq!(Kind::find(word), Some(Kind::Instance), "{word}");
        }
        assert_eq!(Kind::find("pods"), None);
    }

    #[test]
    fn short_names_are_those_in_the_definitions() {
        for kind in Kind::ALL {
            assert_eq!(kind.crd().spec.names.short_names, Some(vec![kind.short().to_owned()]));
        }
    }
}
