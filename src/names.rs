//! Names people and extensions give to things, parsed once at the edge so that the rest of the code can trust them.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::{Value, json};

/// A rule for the API server: a text must have this form, and a person is told so in words, not by the pattern.
pub fn form(pattern: &str, words: &str) -> Value {
    json!({ "rule": format!("self.matches(r'{pattern}')"), "message": format!("use {words}") })
}

/// Why a text is not the name it was meant to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("{what} is empty; give {rule}")]
    Empty { what: &'static str, rule: &'static str },
    #[error("{what} \"{text}\" has {length} characters, at most {max} are allowed")]
    TooLong { what: &'static str, text: String, length: usize, max: usize },
    #[error("{what} \"{text}\" is not valid; use {rule}")]
    Malformed { what: &'static str, text: String, rule: &'static str },
}

/// The shapes a name can have. Each knows how to check a text, the pattern the API server checks, and how to say it.
#[derive(Clone, Copy)]
enum Shape {
    /// lower-case letters, digits and inner dashes, starting with a letter
    Label,
    /// like a label, but may start with a digit
    HostLabel,
    /// Kubernetes object name: host labels joined by dots
    Subdomain,
    /// an exact semantic version
    Semver,
    /// a middleware's own version, such as 7.0 or 17.2-alpine
    Version,
    /// a key in a configuration file, such as `maxmemory-policy` or `log.retention.ms`
    Key,
    /// a full object id of Git
    CommitId,
}

impl Shape {
    const fn pattern(self) -> &'static str {
        match self {
            Self::Label => "^[a-z]([-a-z0-9]*[a-z0-9])?$",
            Self::HostLabel => "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
            Self::Subdomain => "^[a-z0-9]+((-+|[.])[a-z0-9]+)*$",
            Self::Semver => concat!(
                "^((0|[1-9][0-9]{0,8})[.]){2}(0|[1-9][0-9]{0,8})",
                "(-(0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)([.](0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*))*)?$"
            ),
            Self::Version => "^[0-9A-Za-z]([0-9A-Za-z._-]*[0-9A-Za-z])?$",
            Self::Key => "^[A-Za-z_][A-Za-z0-9._/-]*$",
            Self::CommitId => "^([0-9a-f]{40}|[0-9a-f]{64})$",
        }
    }

    const fn rule(self) -> &'static str {
        match self {
            Self::Label => "lower-case letters, digits and inner '-', starting with a letter",
            Self::HostLabel => "lower-case letters, digits and inner '-'",
            Self::Subdomain => "lower-case letters, digits, inner '-' and '.'",
            Self::Semver => "an exact version of three numbers, such as 1.0.0 (no range, no leading 'v')",
            Self::Version => "letters, digits and inner '.', '_' and '-', such as 7.0",
            Self::Key => "letters, digits, '.', '_', '/' and '-', starting with a letter or '_'",
            Self::CommitId => "a full commit id of 40 or 64 lower-case hexadecimal digits",
        }
    }

    fn holds(self, text: &str) -> bool {
        let label = |part: &str, starts: fn(u8) -> bool| {
            let lower = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
            let bytes = part.as_bytes();
            bytes.first().is_some_and(|b| starts(*b))
                && bytes.last().is_some_and(|b| lower(*b))
                && bytes.iter().all(|b| lower(*b) || *b == b'-')
        };
        match self {
            Self::Label => label(text, |b| b.is_ascii_lowercase()),
            Self::HostLabel => label(text, |b| b.is_ascii_lowercase() || b.is_ascii_digit()),
            Self::Subdomain => text.split('.').all(|part| Self::HostLabel.holds(part)),
            Self::Semver => semver::Version::parse(text).is_ok_and(|version| {
                let numbers = [version.major, version.minor, version.patch];
                version.build.is_empty() && numbers.iter().all(|number| *number < 1_000_000_000)
            }),
            Self::Version => {
                let bytes = text.as_bytes();
                bytes.first().is_some_and(u8::is_ascii_alphanumeric)
                    && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
                    && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(b))
            }
            Self::Key => {
                let bytes = text.as_bytes();
                bytes.first().is_some_and(|b| b.is_ascii_alphabetic() || *b == b'_')
                    && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"._/-".contains(b))
            }
            Self::CommitId => {
                matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
            }
        }
    }
}

/// What a name has to look like that has to match one of our patterns.
pub fn rule_in_words(pattern: &str) -> Option<&'static str> {
    const ALL: [Shape; 7] =
        [Shape::Label, Shape::HostLabel, Shape::Subdomain, Shape::Semver, Shape::Version, Shape::Key, Shape::CommitId];
    ALL.into_iter().find(|shape| shape.pattern() == pattern).map(Shape::rule)
}

fn parse(what: &'static str, shape: Shape, max: usize, text: &str) -> Result<(), NameError> {
    let rule = shape.rule();
    if text.is_empty() {
        return Err(NameError::Empty { what, rule });
    }
    if text.chars().count() > max {
        return Err(NameError::TooLong {
            what,
            text: text.chars().take(max).collect(),
            length: text.chars().count(),
            max,
        });
    }
    if !shape.holds(text) {
        return Err(NameError::Malformed { what, text: text.escape_default().to_string(), rule });
    }
    Ok(())
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal, $shape:expr, $max:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $type(String);

        impl $type {
            pub const MAX: usize = $max;

            pub fn parse(text: &str) -> Result<Self, NameError> {
                parse($what, $shape, $max, text).map(|()| Self(text.to_owned()))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::parse(text)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "minLength": 1, "maxLength": $max, "pattern": $shape.pattern(),
                    "x-kubernetes-validations": [form($shape.pattern(), $shape.rule())] })
            }
        }
    };
}

name!(
    /// The name of an Instance. Short enough that every object made from it still fits Kubernetes' 63 characters.
    InstanceName, "instance name", Shape::Label, 40
);
name!(
    /// A component of an instance, such as `broker`.
    ComponentName, "component name", Shape::Label, 20
);
name!(
    /// A group of identical pods within a component, such as `shard-0`.
    GroupName, "group name", Shape::Label, 20
);
name!(
    /// A volume that an extension declares, such as `data`.
    VolumeName, "volume name", Shape::Label, 20
);
name!(
    /// A kind of middleware, as extensions name it.
    ExtensionType, "extension type", Shape::Label, 30
);
name!(
    /// The exact version of an extension package.
    ExtensionVersion, "extension version", Shape::Semver, 40
);
name!(
    /// A version of the middleware itself.
    MiddlewareVersion, "middleware version", Shape::Version, 40
);
name!(
    /// A topology that an extension declares, such as `replication`.
    TopologyName, "topology", Shape::Label, 30
);
name!(
    /// The environment an instance belongs to, such as `production`.
    EnvironmentName, "environment", Shape::Label, 30
);
name!(
    /// A role that a pod can have, such as `primary`.
    RoleName, "role", Shape::Label, 20
);
name!(
    /// A schedule of a backup policy, such as `nightly`.
    ScheduleName, "schedule name", Shape::Label, 32
);
name!(
    /// A parameter of a middleware's configuration.
    ParameterName, "parameter name", Shape::Key, 128
);
name!(
    /// The name of any Kubernetes object.
    ObjectName, "object name", Shape::Subdomain, 253
);
name!(
    /// The name of a Kubernetes namespace.
    NamespaceName, "namespace", Shape::HostLabel, 63
);
name!(
    /// The name of a cluster in audit branches.
    ClusterName, "cluster name", Shape::HostLabel, 63
);
name!(
    /// A full commit id.
    CommitId, "commit id", Shape::CommitId, 64
);

impl ObjectName {
    /// Its form as a bare pattern: costs the API server nothing, and a person more.
    pub const PATTERN: &str = Shape::Subdomain.pattern();
}

impl ExtensionVersion {
    pub fn semver(&self) -> semver::Version {
        semver::Version::parse(&self.0).expect("checked when it was parsed")
    }
}

/// The place of a pod in its group. It names the pod and its volumes for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Ordinal(u16);

impl Ordinal {
    pub const MAX: u16 = 999;

    pub fn new(number: u16) -> Result<Self, NameError> {
        if number > Self::MAX {
            return Err(NameError::Malformed {
                what: "ordinal",
                text: number.to_string(),
                rule: "a number from 0 to 999",
            });
        }
        Ok(Self(number))
    }

    pub fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for Ordinal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Ordinal {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let malformed = || NameError::Malformed {
            what: "ordinal",
            text: text.escape_default().to_string(),
            rule: "a number from 0 to 999",
        };
        let canonical = text == "0" || (!text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit()));
        if !canonical {
            return Err(malformed());
        }
        Self::new(text.parse().map_err(|_| malformed())?)
    }
}

impl<'de> Deserialize<'de> for Ordinal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(u16::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

impl JsonSchema for Ordinal {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Ordinal".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 0, "maximum": Self::MAX })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_with_capitals_says_which_letters_are_allowed() {
        let error = InstanceName::parse("Orders").expect_err("capitals are refused");
        assert_eq!(
            error.to_string(),
            "instance name \"Orders\" is not valid; use lower-case letters, digits and inner '-', starting with a letter"
        );
    }

    #[test]
    fn an_empty_name_says_what_to_give() {
        assert!(
            ComponentName::parse("")
                .expect_err("empty")
                .to_string()
                .starts_with("component name is empty; give lower-case")
        );
    }

    #[test]
    fn a_long_name_says_how_long_it_may_be() {
        let error = InstanceName::parse(&"a".repeat(41)).expect_err("41 characters");
        assert!(error.to_string().ends_with("has 41 characters, at most 40 are allowed"), "{error}");
    }

    #[test]
    fn a_version_range_is_no_exact_version() {
        for range in ["^1.0", "1.0", "v1.0.0", "1.0.0+build", "01.0.0", "latest"] {
            assert!(ExtensionVersion::parse(range).is_err(), "{range}");
        }
        assert_eq!(ExtensionVersion::parse("1.10.0-rc.1").expect("exact").semver().minor, 10);
    }

    #[test]
    fn control_characters_never_reach_a_message() {
        let error = InstanceName::parse("a\u{1b}[2J").expect_err("escape sequence");
        assert!(!error.to_string().contains('\u{1b}'));
    }

    #[test]
    fn an_ordinal_has_one_spelling() {
        assert_eq!("12".parse::<Ordinal>().expect("a number").get(), 12);
        for text in ["", "-1", "+1", "01", "1000", "70000", "one", "1 "] {
            assert!(text.parse::<Ordinal>().is_err(), "{text:?}");
        }
    }

    fn matches(shape: Shape, text: &str) -> bool {
        let schema = serde_json::json!({ "pattern": shape.pattern() });
        jsonschema::options().build(&schema).expect("the pattern compiles").is_valid(&serde_json::json!(text))
    }

    fn of_shape(shape: Shape) -> impl Strategy<Value = String> {
        let bare = shape.pattern().trim_start_matches('^').trim_end_matches('$');
        proptest::string::string_regex(bare).expect("the pattern compiles")
    }

    fn all_shapes() -> [Shape; 7] {
        [Shape::Label, Shape::HostLabel, Shape::Subdomain, Shape::Semver, Shape::Version, Shape::Key, Shape::CommitId]
    }

    proptest! {
        #![proptest_config(crate::chance::fixed())]

        #[test]
        fn parsing_never_panics(text in any::<String>()) {
            for shape in all_shapes() {
                let _ = parse("name", shape, 40, &text);
            }
        }

        #[test]
        fn what_the_code_accepts_the_api_server_accepts_and_the_other_way_round(text in "[a-cA-C0-2._/+-]{1,8}") {
            for shape in all_shapes() {
                prop_assert_eq!(parse("name", shape, 40, &text).is_ok(), matches(shape, &text), "{} {}", shape.pattern(), text);
            }
        }

        #[test]
        fn what_the_api_server_accepts_the_code_can_read(texts in all_shapes().map(of_shape)) {
            for (shape, text) in all_shapes().into_iter().zip(texts) {
                prop_assert!(matches(shape, &text), "{} {text}", shape.pattern());
                prop_assert!(parse("name", shape, usize::MAX, &text).is_ok(), "{} {text}", shape.pattern());
            }
        }

        #[test]
        fn a_name_survives_json(text in "[a-z][a-z0-9]{0,10}(-[a-z0-9]{1,10})?") {
            let name = InstanceName::parse(&text).expect("well formed");
            let json = serde_json::to_string(&name).expect("a string");
            prop_assert_eq!(serde_json::from_str::<InstanceName>(&json).expect("back again"), name);
        }

        #[test]
        fn labels_fit_kubernetes_object_names(text in "[a-z][a-z0-9-]{0,39}") {
            if let Ok(name) = InstanceName::parse(&text) {
                prop_assert!(ObjectName::parse(name.as_str()).is_ok());
            }
        }
    }
}
