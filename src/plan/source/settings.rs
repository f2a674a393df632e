//! A repository's own settings, `midship.yaml`: which namespace is which environment, what environments assume, how much
//! a commit may delete, which files are left out.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::manifest::{Locate, Placement, error_at};
use super::sync::Prune;
use crate::api::git_source::{AppliedSettings, FileError};
use crate::extension::Surroundings;
use crate::extension::check::{Checker, Mistake};
use crate::extension::defaults::Defaults;
use crate::names::{EnvironmentName, NamespaceName};

/// Everything `midship.yaml` can say. All of it is optional.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RepositorySettings {
    /// Namespaces this repository fills; those that the GitSource allows where left out.
    #[serde(default)]
    pub namespaces: BTreeMap<NamespaceName, NamespaceSettings>,
    /// How much one commit may delete; where the GitSource is stricter, that counts.
    pub prune: Option<Budget>,
    /// What instances get where they say nothing, by environment.
    #[serde(default)]
    pub environments: BTreeMap<EnvironmentName, Defaults>,
    /// Files that are left out as if they were not there, by patterns as a `.gitignore` has them.
    #[serde(default)]
    pub ignore: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NamespaceSettings {
    /// The environment of instances in it that name none.
    pub environment: Option<EnvironmentName>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Budget {
    /// Deletions one commit may cause.
    #[schemars(range(min = 0, max = 100_000))]
    pub max_count: Option<u32>,
    /// The same as a share of the applied objects, in percent.
    #[schemars(range(min = 0, max = 100))]
    pub max_percent: Option<u32>,
}

/// Reads the document of the file.
pub fn read(path: &str, value: &Value, places: &impl Locate) -> Result<RepositorySettings, Vec<FileError>> {
    let mistakes = mistakes(value);
    if !mistakes.is_empty() {
        return Err(mistakes.iter().map(|mistake| error_at(path, mistake, places, &[])).collect());
    }
    let mut value = value.clone();
    if let Value::Object(fields) = &mut value {
        // one with nothing after its colon counts as left out
        fields.retain(|_, field| !field.is_null());
    }
    serde_json::from_value(value).map_err(|error| {
        let mistake = Mistake { pointer: String::new(), code: "invalid", message: error.to_string() };
        vec![error_at(path, &mistake, places, &[])]
    })
}

/// Everything that is wrong with the document.
fn mistakes(value: &Value) -> Vec<Mistake> {
    static CHECKER: OnceLock<Checker> = OnceLock::new();
    CHECKER.get_or_init(Checker::of_type::<RepositorySettings>).mistakes(value)
}

impl RepositorySettings {
    /// Where objects may go: what the GitSource allows, and of that what the repository says it fills.
    pub fn narrow(&self, placement: &Placement) -> Placement {
        if self.namespaces.is_empty() {
            return placement.clone();
        }
        let named = self.namespaces.keys().map(ToString::to_string);
        let allowed = match &placement.allowed {
            None => named.collect(),
            Some(allowed) => named.filter(|name| allowed.contains(name)).collect(),
        };
        Placement { allowed: Some(allowed), ..placement.clone() }
    }

    /// The stricter of two budgets.
    pub fn limit(&self, prune: Prune) -> Prune {
        let Some(budget) = self.prune else { return prune };
        let least = |given: Option<u32>, other: usize| {
            given.and_then(|given| usize::try_from(given).ok()).map_or(other, |given| given.min(other))
        };
        Prune {
            max_count: least(budget.max_count, prune.max_count),
            max_percent: least(budget.max_percent, prune.max_percent),
            ..prune
        }
    }

    /// What is published for those who resolve instances.
    pub fn applied(&self) -> Option<AppliedSettings> {
        let environment = |(name, settings): (&NamespaceName, &NamespaceSettings)| {
            settings.environment.as_ref().map(|environment| (name.to_string(), environment.to_string()))
        };
        let namespaces: BTreeMap<_, _> = self.namespaces.iter().filter_map(environment).collect();
        let defaults = |(name, defaults): (&EnvironmentName, &Defaults)| {
            serde_json::to_value(defaults).ok().map(|value| (name.to_string(), value))
        };
        let environments: BTreeMap<_, _> = self.environments.iter().filter_map(defaults).collect();
        (!namespaces.is_empty() || !environments.is_empty()).then_some(AppliedSettings { namespaces, environments })
    }
}

/// The environment of an instance, and what its repository assumes for it. `own` is the environment it names itself,
/// `of_source` the one that its GitSource names. Settings that cannot be understood are an error: without them the
/// instance would become another one.
pub fn surroundings(
    settings: Option<&AppliedSettings>,
    namespace: &str,
    own: Option<&EnvironmentName>,
    of_source: Option<&EnvironmentName>,
) -> Result<Surroundings, String> {
    let of_namespace = match settings.and_then(|settings| settings.namespaces.get(namespace)) {
        Some(name) => Some(EnvironmentName::parse(name).map_err(|error| error.to_string())?),
        None => None,
    };
    let environment = own.cloned().or(of_namespace).or_else(|| of_source.cloned());
    let assumed = environment.as_ref().and_then(|name| settings?.environments.get_key_value(name.as_str()));
    let defaults = match assumed {
        Some((name, value)) => {
            let read = serde_json::from_value::<Defaults>(value.clone());
            vec![read.map_err(|error| format!("environments.{name}: {error}"))?]
        }
        None => Vec::new(),
    };
    Ok(Surroundings { environment, defaults, ..Surroundings::default() })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;

    struct Nowhere;

    impl Locate for Nowhere {
        fn locate(&self, _: &str, _: bool) -> (u32, u32) {
            (1, 1)
        }
    }

    fn settings(value: Value) -> RepositorySettings {
        read("midship.yaml", &value, &Nowhere).expect("good settings")
    }

    fn wrong(value: Value) -> Vec<String> {
        let errors = read("midship.yaml", &value, &Nowhere).expect_err("wrong settings");
        errors.into_iter().map(|error| format!("{}: {}", error.code, error.message)).collect()
    }

    #[test]
    fn mistakes_are_told_with_a_suggestion() {
        assert_eq!(
            wrong(json!({ "enviroments": {} })),
            ["unknown-field: enviroments: unknown field \"enviroments\"; did you mean \"environments\"?"]
        );
        assert_eq!(
            wrong(json!({ "environments": { "production": { "components": { "*": { "replica": 1 } } } } })),
            [
                "unknown-field: environments.production.components.*.replica: unknown field \"replica\"; did you mean \"replicas\"?"
            ]
        );
        assert_eq!(
            wrong(json!({ "namespaces": { "Shop_Dev": {} } })),
            [
                "bad-name: namespaces.Shop_Dev: \"Shop_Dev\" is not a valid name; use lower-case letters, digits and inner '-'"
            ]
        );
        assert_eq!(
            wrong(json!({ "prune": { "maxPercent": 200 } })),
            ["out-of-range: prune.maxPercent: 200 is more than 100"]
        );
    }

    #[test]
    fn a_field_without_a_value_counts_as_left_out() {
        assert_eq!(
            settings(json!({ "ignore": null, "namespaces": null, "prune": null })),
            RepositorySettings::default()
        );
    }

    #[test]
    fn the_repository_narrows_what_the_source_allows_and_never_widens_it() {
        let settings = settings(json!({ "namespaces": { "a": { "environment": "production" }, "b": {} } }));
        let placement = |allowed: Option<&[&str]>| Placement {
            default_namespace: "a".into(),
            allowed: allowed.map(|names| names.iter().map(ToString::to_string).collect()),
            folder: String::new(),
            sources: false,
        };
        let names = |names: &[&str]| Some(names.iter().map(ToString::to_string).collect::<BTreeSet<_>>());
        assert_eq!(settings.narrow(&placement(None)).allowed, names(&["a", "b"]));
        assert_eq!(settings.narrow(&placement(Some(&["b", "c"]))).allowed, names(&["b"]));
    }

    #[test]
    fn the_stricter_budget_counts() {
        let given = Prune { enabled: true, max_count: 10, max_percent: 5, agreed: 2 };
        let limited = settings(json!({ "prune": { "maxCount": 3, "maxPercent": 25 } })).limit(given);
        assert_eq!((limited.max_count, limited.max_percent, limited.agreed), (3, 5, 2));
    }

    #[test]
    fn an_instance_gets_the_defaults_of_its_own_environment_first() {
        let applied = settings(json!({
            "namespaces": { "shop": { "environment": "production" } },
            "environments": { "production": { "deletionPolicy": "Retain" }, "test": { "deletionPolicy": "Delete" } },
        }))
        .applied();
        let name = |text: &str| EnvironmentName::parse(text).expect("a name");
        let of = |namespace: &str, own: Option<&str>| {
            let found = surroundings(applied.as_ref(), namespace, own.map(name).as_ref(), Some(&name("staging")));
            let found = found.expect("they can be understood");
            (found.environment.expect("one").to_string(), !found.defaults.is_empty())
        };
        assert_eq!(of("shop", None), ("production".into(), true));
        assert_eq!(of("shop", Some("test")), ("test".into(), true));
        assert_eq!(of("other", None), ("staging".into(), false));
    }

    #[test]
    fn settings_that_cannot_be_understood_are_no_settings_that_say_nothing() {
        let applied = AppliedSettings {
            namespaces: BTreeMap::from([("shop".to_owned(), "production".to_owned())]),
            environments: BTreeMap::from([("production".to_owned(), json!({ "fromTheFuture": true }))]),
        };
        let error = surroundings(Some(&applied), "shop", None, None).expect_err("unknown");
        assert!(error.starts_with("environments.production: unknown field `fromTheFuture`"), "{error}");
    }
}
