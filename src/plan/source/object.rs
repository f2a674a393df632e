//! What a repository may hold, and how an object is named.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::api::{self, Kind};

/// The kinds that are applied from a repository, in the order they are applied in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKind {
    Namespace,
    Secret,
    ConfigMap,
    Extension,
    BackupRepository,
    BackupPolicy,
    GitSource,
    Instance,
    Operation,
}

impl ObjectKind {
    pub const ALL: [Self; 9] = [
        Self::Namespace,
        Self::Secret,
        Self::ConfigMap,
        Self::Extension,
        Self::BackupRepository,
        Self::BackupPolicy,
        Self::GitSource,
        Self::Instance,
        Self::Operation,
    ];

    /// The kind a manifest names, or why it is not applied.
    pub fn of(api_version: &str, kind: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|known| known.as_str() == kind);
        match known {
            Some(known) if known.api_version() == api_version => Ok(known),
            Some(known) => Err(format!("{kind} has apiVersion {}, not {}", known.api_version(), show(api_version))),
            None if api_version == api::API_VERSION && Kind::find(kind).is_some_and(|found| found.as_str() == kind) => {
                Err(format!("{kind} is made by Midship itself; change the Instance or the policy it follows from"))
            }
            None => Err(match closest(kind, Self::ALL.iter().map(|known| known.as_str())) {
                Some(close) => format!("unknown kind {}; did you mean {close}?", show(kind)),
                None => format!("{} is not applied from a repository; it may hold {}", show(kind), all_kinds()),
            }),
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Namespace => "Namespace",
            Self::Secret => "Secret",
            Self::ConfigMap => "ConfigMap",
            Self::Extension => "Extension",
            Self::BackupRepository => "BackupRepository",
            Self::BackupPolicy => "BackupPolicy",
            Self::GitSource => "GitSource",
            Self::Instance => "Instance",
            Self::Operation => "Operation",
        }
    }

    pub fn api_version(self) -> &'static str {
        if self.ours().is_some() { api::API_VERSION } else { "v1" }
    }

    pub fn is_namespaced(self) -> bool {
        !matches!(self, Self::Namespace | Self::Extension)
    }

    /// Whether we hear of every change of such objects. The others are mostly other people's, and asked for now and then;
    /// they are applied before all that are watched.
    pub fn is_watched(self) -> bool {
        self.ours().is_some()
    }

    /// The kind of ours it is, where it is one.
    pub fn ours(self) -> Option<Kind> {
        Some(match self {
            Self::Namespace | Self::Secret | Self::ConfigMap => return None,
            Self::Extension => Kind::Extension,
            Self::BackupRepository => Kind::BackupRepository,
            Self::BackupPolicy => Kind::BackupPolicy,
            Self::GitSource => Kind::GitSource,
            Self::Instance => Kind::Instance,
            Self::Operation => Kind::Operation,
        })
    }
}

fn all_kinds() -> String {
    ObjectKind::ALL.map(ObjectKind::as_str).join(", ")
}

fn show(text: &str) -> String {
    format!("\"{}\"", text.chars().take(80).collect::<String>().escape_default())
}

/// The known word that was probably meant.
pub fn closest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|candidate| (strsim::jaro_winkler(&word.to_lowercase(), &candidate.to_lowercase()), candidate))
        .filter(|(likeness, _)| *likeness >= 0.82)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// Names an object in a cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId {
    pub kind: ObjectKind,
    pub namespace: Option<String>,
    pub name: String,
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.kind.as_str())?;
        if let Some(namespace) = &self.namespace {
            write!(f, "{namespace}/")?;
        }
        f.write_str(&self.name)
    }
}

/// The name of a source as a label value: at most 63 characters, and its own for every source.
pub fn source_label(namespace: &str, name: &str) -> String {
    let full = format!("{namespace}.{name}");
    if full.len() <= 63 {
        return full;
    }
    let digest = hex::encode(&Sha256::digest(full.as_bytes())[..8]);
    format!("{}-{digest}", &full[..46])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_that_nobody_watches_come_before_all_others() {
        assert!(ObjectKind::ALL.is_sorted());
        assert!(ObjectKind::ALL.is_sorted_by_key(|kind| kind.is_watched()));
    }

    #[test]
    fn a_long_name_still_fits_a_label_and_stays_its_own() {
        let long = "n".repeat(60);
        let (a, b) = (source_label(&long, "a"), source_label(&long, "b"));
        assert!(a.len() <= 63 && a != b);
        assert_eq!(source_label("team", "main"), "team.main");
    }

    #[test]
    fn a_mistyped_kind_gets_a_suggestion() {
        let error = ObjectKind::of(api::API_VERSION, "Instence").expect_err("mistyped");
        assert_eq!(error, "unknown kind \"Instence\"; did you mean Instance?");
    }

    #[test]
    fn what_midship_makes_is_not_applied_from_a_repository() {
        let error = ObjectKind::of(api::API_VERSION, "PodSet").expect_err("made by us");
        assert!(error.starts_with("PodSet is made by Midship itself"), "{error}");
    }

    #[test]
    fn foreign_kinds_are_refused_with_the_list_of_what_is_taken() {
        let error = ObjectKind::of("apps/v1", "Deployment").expect_err("foreign");
        assert!(error.contains("is not applied from a repository; it may hold Namespace, Secret"), "{error}");
    }
}
