//! Whether a value has the form that it is read in: one of our kinds as the API server accepts it, by the same schemas and
//! the same rules, or a file of a package. Every mistake is told, each with its place and a suggestion.

mod forms;

use std::sync::OnceLock;

use jsonschema::ValidationError;
use jsonschema::error::{TypeKind, ValidationErrorKind};
use kube_cel::{CompiledSchema, compile_schema, validate_compiled};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use super::problem::closest;
use crate::api::{Kind, schema};
use crate::names::{ObjectName, rule_in_words};
use forms::Forms;

/// Something wrong with a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where in the value, as a JSON pointer.
    pub pointer: String,
    /// One word for machines.
    pub code: &'static str,
    /// What is wrong and what would be right.
    pub message: String,
}

/// Everything that is wrong with the spec of an object.
pub fn spec(kind: Kind, spec: &Value) -> Vec<Mistake> {
    let mut mistakes = Checker::of(kind).mistakes(spec);
    for mistake in &mut mistakes {
        mistake.pointer.insert_str(0, "/spec");
    }
    mistakes
}

/// Makes ready what specs of a kind are checked with: it takes a while, once.
pub fn make_ready(kind: Kind) {
    Checker::of(kind);
}

/// A schema in the forms that values are checked with.
pub struct Checker {
    schema: Value,
    shape: jsonschema::Validator,
    /// What texts have to look like.
    forms: Forms,
    /// All other rules.
    rules: CompiledSchema,
    /// Whether what YAML takes for a number or a truth value may stand where a text is read.
    lenient: bool,
}

impl Checker {
    fn of(kind: Kind) -> &'static Self {
        // each when it is first needed: most repositories hold few kinds, and a schema in this form is large
        static CHECKERS: [OnceLock<Checker>; Kind::ALL.len()] = [const { OnceLock::new() }; Kind::ALL.len()];
        let place = Kind::ALL.iter().position(|known| *known == kind).expect("every kind is in the list");
        CHECKERS[place].get_or_init(|| Self::new(kind))
    }

    fn new(kind: Kind) -> Self {
        let crd = serde_json::to_value(kind.crd()).expect("plain data");
        Self::of_schema(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"].clone())
    }

    /// All mistakes, each once, in the order of their places.
    pub fn mistakes(&self, value: &Value) -> Vec<Mistake> {
        let value = &without_empty_fields(&self.schema, value);
        let mut mistakes: Vec<Mistake> = self.shape.iter_errors(value).flat_map(|error| self.explain(&error)).collect();
        if mistakes.is_empty() {
            mistakes.extend(broken_rules(self, value));
            find_duplicates("", &self.schema, value, &mut mistakes);
        }
        mistakes.sort_by(|a, b| (&a.pointer, &a.message).cmp(&(&b.pointer, &b.message)));
        mistakes.dedup();
        without_echoes(mistakes)
    }

    pub fn of_schema(schema: Value) -> Self {
        let mut strict = schema.clone();
        make_strict(&mut strict);
        let shape = jsonschema::options().build(&strict).expect("our own schemas are valid; a test looks at each");
        let mut rest = schema.clone();
        let forms = Forms::taken_from(&mut rest);
        Self { shape, forms, rules: compile_schema(&rest), schema, lenient: false }
    }

    /// Of what is read as `T`.
    pub fn of_type<T: JsonSchema>() -> Self {
        let settings = SchemaSettings::openapi3().with(|settings| settings.inline_subschemas = true);
        let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
        // it is of the same kind as those of definitions, which do not say so
        if let Some(fields) = schema.as_object_mut() {
            fields.remove("$schema");
        }
        Self::of_schema(schema)
    }

    /// The same of a file that is read by `extension::yaml`.
    pub fn of_file<T: JsonSchema>() -> Self {
        Self { lenient: true, ..Self::of_type::<T>() }
    }

    fn explain(&self, error: &ValidationError<'_>) -> Vec<Mistake> {
        let (pointer, given) = (error.instance_path().to_string(), error.instance());
        let one = |code, message: String| vec![Mistake { pointer: pointer.clone(), code, message }];
        let range = |than: &str, limit: &Value| {
            one("out-of-range", format!("{} is {than} than {}", text_of(given), number(limit)))
        };
        match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected } => {
                if let Some(pattern) = self.pattern_of_names(error) {
                    return unexpected.iter().map(|name| bad_name(&pointer, name, pattern)).collect();
                }
                let known = self.fields_of(error);
                unexpected.iter().map(|field| unknown_field(&pointer, field, &known)).collect()
            }
            ValidationErrorKind::Required { property } => {
                one("missing-field", format!("{} is missing", property.as_str().unwrap_or_default()))
            }
            ValidationErrorKind::Enum { options } => {
                one("not-allowed", not_one_of(given, options.as_array().into_iter().flatten()))
            }
            // nothing after a colon counts as left out, in short forms too
            ValidationErrorKind::Type { .. } if self.lenient && given.is_null() => Vec::new(),
            ValidationErrorKind::Type { kind: TypeKind::Single(jsonschema::JsonType::String) }
                if self.lenient && (given.is_number() || given.is_boolean()) =>
            {
                Vec::new()
            }
            ValidationErrorKind::Type { kind } => {
                one("wrong-type", format!("{} is not {}", text_of(given), type_name(kind)))
            }
            ValidationErrorKind::Minimum { limit } => range("less", limit),
            ValidationErrorKind::Maximum { limit } => range("more", limit),
            ValidationErrorKind::Pattern { pattern } => {
                // what the API server says of it, where the schema is not of its kind
                let words =
                    self.around(error).and_then(|schema| schema["x-kubernetes-validations"][0]["message"].as_str());
                one(
                    "malformed",
                    match words {
                        Some(words) => format!("{}: {words}", text_of(given)),
                        None => format!("{} is malformed: {}", text_of(given), rule_of(pattern)),
                    },
                )
            }
            ValidationErrorKind::AnyOf { context } => match context.iter().find(|form| meant(error, form)) {
                Some(form) => form.iter().flat_map(|error| self.explain(error)).collect(),
                None => one("wrong-type", neither(given, context.iter().flatten())),
            },
            ValidationErrorKind::OneOfNotValid { context } => one("not-allowed", {
                let options = context.iter().flatten().flat_map(|form| match form.kind() {
                    ValidationErrorKind::Enum { options } => options.as_array().cloned().unwrap_or_default(),
                    ValidationErrorKind::Constant { expected_value } => vec![expected_value.as_ref().clone()],
                    _ => Vec::new(),
                });
                not_one_of(given, options.collect::<Vec<_>>().iter())
            }),
            _ => one("invalid", error.to_string()),
        }
    }

    /// The fields that are known where there is one too many.
    fn fields_of(&self, error: &ValidationError<'_>) -> Vec<String> {
        let fields = self.around(error).and_then(|schema| schema["properties"].as_object());
        fields.into_iter().flatten().map(|(name, _)| name.clone()).collect()
    }

    /// What names have to look like where they are not fields.
    fn pattern_of_names(&self, error: &ValidationError<'_>) -> Option<&str> {
        let schema = self.around(error)?;
        let patterns = schema["patternProperties"].as_object().filter(|_| schema.get("properties").is_none())?;
        patterns.keys().next().map(String::as_str)
    }

    /// The part of the schema that has the rule which is broken.
    fn around(&self, error: &ValidationError<'_>) -> Option<&Value> {
        let rule = error.schema_path().to_string();
        self.schema.pointer(rule.rsplit_once('/')?.0)
    }
}

/// Whether a form of several is the one that was meant: the value is of its type.
fn meant(error: &ValidationError<'_>, form: &[ValidationError<'_>]) -> bool {
    let of_type = |one: &ValidationError<'_>| {
        matches!(one.kind(), ValidationErrorKind::Type { .. }) && one.instance_path() == error.instance_path()
    };
    !form.iter().any(of_type)
}

fn neither<'a>(given: &Value, forms: impl Iterator<Item = &'a ValidationError<'a>>) -> String {
    use jsonschema::JsonType;
    let kinds = forms.filter_map(|form| match form.kind() {
        ValidationErrorKind::Type { kind: TypeKind::Single(kind) } => Some(*kind),
        _ => None,
    });
    let names: Vec<&str> = kinds
        .filter_map(|kind| match kind {
            JsonType::Null => None,
            JsonType::Integer | JsonType::Number => Some("a number"),
            JsonType::String => Some("a text"),
            JsonType::Array => Some("a list"),
            JsonType::Object => Some("a mapping"),
            JsonType::Boolean => Some("true or false"),
        })
        .collect();
    match names.as_slice() {
        [] => format!("{} does not fit here", text_of(given)),
        [one] => format!("{} is not {one}", text_of(given)),
        several => format!("{} is neither {}", text_of(given), several.join(" nor ")),
    }
}

fn not_one_of<'a>(given: &Value, options: impl Iterator<Item = &'a Value>) -> String {
    let allowed: Vec<String> = options.filter(|option| !option.is_null()).map(plain).collect();
    let hint = closest(&plain(given), allowed.iter().map(String::as_str));
    let hint = hint.map(|close| format!("; did you mean {close}?")).unwrap_or_default();
    format!("{} is not one of {}{hint}", text_of(given), allowed.join(", "))
}

/// What a Kubernetes schema leaves to the API server's own ways, said in JSON Schema: unknown fields are wrong, and an
/// object within an object says what it is.
fn make_strict(schema: &mut Value) {
    let Value::Object(map) = schema else { return };
    let open = map.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true));
    if map.contains_key("properties") && !map.contains_key("additionalProperties") && !open {
        map.insert("additionalProperties".into(), Value::Bool(false));
    }
    if map.contains_key("x-kubernetes-embedded-resource") {
        map.insert("required".into(), json!(["apiVersion", "kind"]));
    }
    if let Some(Value::Object(properties)) = map.get_mut("properties") {
        properties.values_mut().for_each(make_strict);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(child) = map.get_mut(key) {
            make_strict(child);
        }
    }
}

/// A field with nothing after its colon counts as left out: the API server takes such fields away before it looks.
fn without_empty_fields(schema: &Value, value: &Value) -> Value {
    let child = |name: &str| schema["properties"].get(name).unwrap_or(&schema["additionalProperties"]);
    match value {
        Value::Object(fields) => fields
            .iter()
            .filter(|(name, field)| !(field.is_null() && schema["properties"].get(name.as_str()).is_some()))
            .map(|(name, field)| (name.clone(), without_empty_fields(child(name), field)))
            .collect(),
        Value::Array(items) => items.iter().map(|item| without_empty_fields(&schema["items"], item)).collect(),
        other => other.clone(),
    }
}

fn broken_rules(checker: &Checker, spec: &Value) -> Vec<Mistake> {
    let mut broken = checker.forms.broken(spec);
    if let Err(errors) = validate_compiled(&checker.rules, spec, None) {
        let errors = errors.into_vec().into_iter();
        broken.extend(errors.map(|error| (pointer_of_field_path(&error.field_path), error.message)));
    }
    let mistake = |(pointer, message): (String, String)| {
        let message = match spec.pointer(&pointer) {
            Some(value @ (Value::String(_) | Value::Number(_))) if !may_hold_a_login(value) => {
                format!("{}: {message}", text_of(value))
            }
            _ => message,
        };
        Mistake { pointer, code: "rule", message }
    };
    broken.into_iter().map(mistake).collect()
}

/// A rule that cannot be evaluated, because of a value below that is told of already, says nothing more.
fn without_echoes(mistakes: Vec<Mistake>) -> Vec<Mistake> {
    let unevaluated = |mistake: &Mistake| mistake.message.contains("rule evaluation error: ");
    let told: Vec<String> = mistakes.iter().filter(|one| !unevaluated(one)).map(|one| one.pointer.clone()).collect();
    let is_echo = |one: &Mistake| {
        let below = format!("{}/", one.pointer);
        unevaluated(one) && told.iter().any(|place| place.starts_with(&below))
    };
    mistakes.into_iter().filter(|one| !is_echo(one)).collect()
}

/// Whether a value is an address with a user name, and so perhaps a password, in it: it is not repeated in a message.
fn may_hold_a_login(value: &Value) -> bool {
    value.as_str().and_then(|text| text.split_once("://")).is_some_and(|(_, rest)| rest.contains('@'))
}

/// Items that are twice in a list that is a set, or a mapping by one of its fields.
fn find_duplicates(pointer: &str, schema: &Value, value: &Value, mistakes: &mut Vec<Mistake>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                let child = schema["properties"].get(name).unwrap_or(&schema["additionalProperties"]);
                let name = name.replace('~', "~0").replace('/', "~1");
                find_duplicates(&format!("{pointer}/{name}"), child, field, mistakes);
            }
        }
        Value::Array(items) => {
            let keys = schema["x-kubernetes-list-map-keys"].as_array();
            let key = |item: &Value| match keys {
                Some(keys) => keys.iter().filter_map(Value::as_str).map(|key| item[key].clone()).collect(),
                None => vec![item.clone()],
            };
            let unique = matches!(schema["x-kubernetes-list-type"].as_str(), Some("set" | "map"));
            for (index, item) in items.iter().enumerate() {
                let here = format!("{pointer}/{index}");
                if unique && items[..index].iter().any(|before| key(before) == key(item)) {
                    let what: Vec<_> = key(item).iter().map(text_of).collect();
                    let message = format!("{} is there twice", what.join(", "));
                    mistakes.push(Mistake { pointer: here.clone(), code: "duplicate", message });
                }
                find_duplicates(&here, &schema["items"], item, mistakes);
            }
        }
        _ => {}
    }
}

/// `components[0].service` as `/components/0/service`.
fn pointer_of_field_path(path: &str) -> String {
    let mut pointer = String::new();
    for part in path.split(['.', '[']).map(|part| part.trim_end_matches(']')).filter(|part| !part.is_empty()) {
        pointer.push('/');
        pointer.push_str(&part.replace('~', "~0").replace('/', "~1"));
    }
    pointer
}

fn unknown_field(pointer: &str, field: &str, known: &[String]) -> Mistake {
    let message = match closest(field, known.iter().map(String::as_str)) {
        Some(close) => format!("unknown field \"{}\"; did you mean \"{close}\"?", field.escape_default()),
        None if known.is_empty() => format!("unknown field \"{}\"", field.escape_default()),
        None => format!("unknown field \"{}\"; known are {}", field.escape_default(), known.join(", ")),
    };
    let escaped = field.replace('~', "~0").replace('/', "~1");
    Mistake { pointer: format!("{pointer}/{escaped}"), code: "unknown-field", message }
}

fn bad_name(pointer: &str, name: &str, pattern: &str) -> Mistake {
    let rule = rule_in_words(pattern).map_or_else(|| rule_of(pattern), |words| format!("use {words}"));
    let message = format!("\"{}\" is not a valid name; {rule}", name.escape_default());
    let escaped = name.replace('~', "~0").replace('/', "~1");
    Mistake { pointer: format!("{pointer}/{escaped}"), code: "bad-name", message }
}

/// What a pattern wants, for those that are not rules with words of their own.
fn rule_of(pattern: &str) -> String {
    const KNOWN: [(&str, &str); 2] = [
        (schema::LABEL_VALUE, "use letters, digits and inner '-', '_' and '.'"),
        (ObjectName::PATTERN, "use lower-case letters, digits, inner '-' and '.'"),
    ];
    let known = KNOWN.iter().find(|(known, _)| pattern == *known);
    known.map_or_else(|| format!("it must match {pattern}"), |(_, rule)| (*rule).to_owned())
}

fn type_name(kind: &TypeKind) -> String {
    use jsonschema::JsonType;
    let name = |kind: JsonType| match kind {
        JsonType::Array => "a list",
        JsonType::Boolean => "true or false",
        JsonType::Integer => "a whole number",
        JsonType::Null => "null",
        JsonType::Number => "a number",
        JsonType::Object => "a mapping",
        JsonType::String => "a text (put it in quotes)",
    };
    match kind {
        TypeKind::Single(kind) => name(*kind).to_owned(),
        TypeKind::Multiple(kinds) => {
            let names: Vec<_> = kinds.iter().filter(|kind| *kind != JsonType::Null).map(name).collect();
            names.join(" or ")
        }
    }
}

/// A JSON pointer into a value as people write it: `components[0].replicas`.
pub fn field_of(value: &Value, pointer: &str) -> String {
    let (mut here, mut field) = (Some(value), String::new());
    for part in pointer.split('/').skip(1) {
        let part = part.replace("~1", "/").replace("~0", "~");
        if here.is_some_and(Value::is_array) {
            field = format!("{field}[{part}]");
            here = here.and_then(|list| list.get(part.parse::<usize>().ok()?));
        } else {
            field = if field.is_empty() { part.clone() } else { format!("{field}.{part}") };
            here = here.and_then(|fields| fields.get(&part));
        }
    }
    field
}

/// A value in a message: short, and harmless on a terminal.
fn text_of(value: &Value) -> String {
    match value {
        Value::Object(_) => "a mapping".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::String(text) => format!("\"{}\"", text.chars().take(60).collect::<String>().escape_default()),
        other => other.to_string(),
    }
}

/// A bound as people write it: definitions hold all numbers with a decimal point.
fn number(limit: &Value) -> String {
    let text = limit.to_string();
    text.strip_suffix(".0").map(ToOwned::to_owned).unwrap_or(text)
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(extra: Value) -> Value {
        let mut spec = json!({ "type": "cache", "extensionVersion": "1.0.0", "version": "7.0" });
        spec.as_object_mut().expect("a mapping").extend(extra.as_object().expect("a mapping").clone());
        spec
    }

    fn said(spec_value: &Value) -> Vec<String> {
        spec(Kind::Instance, spec_value)
            .into_iter()
            .map(|m| format!("{} {}: {}", m.pointer, m.code, m.message))
            .collect()
    }

    #[test]
    fn a_good_instance_has_no_mistakes() {
        let good = instance(json!({ "components": [{ "name": "cache", "replicas": 3,
            "resources": { "requests": { "cpu": 1, "memory": "1Gi" } }, "parameters": { "any": ["thing"] } }] }));
        assert_eq!(said(&good), Vec::<String>::new());
    }

    #[test]
    fn a_field_without_a_value_counts_as_left_out() {
        let empty =
            instance(json!({ "tls": null, "components": [{ "name": "a", "storage": { "data": { "size": null } } }] }));
        assert_eq!(said(&empty), ["/spec/components/0/storage/data missing-field: size is missing"]);
    }

    #[test]
    fn a_rule_that_cannot_be_evaluated_for_a_mistake_below_is_not_told() {
        let resources = json!({ "requests": { "memory": "1Gib" }, "limits": { "memory": "2Gi" } });
        let wrong = instance(json!({ "components": [{ "name": "cache", "resources": resources }] }));
        let told =
            "/spec/components/0/resources/requests/memory rule: \"1Gib\": use a quantity, such as 500m, 2 or 1Gi";
        assert_eq!(said(&wrong), [told]);
    }

    #[test]
    fn each_mistake_is_told_with_its_place_and_a_suggestion() {
        let cases = [
            (
                json!({ "topolgy": "x" }),
                "/spec/topolgy unknown-field: unknown field \"topolgy\"; did you mean \"topology\"?",
            ),
            (
                json!({ "state": "Stoped" }),
                "/spec/state not-allowed: \"Stoped\" is not one of Running, Stopped; did you mean Stopped?",
            ),
            (
                json!({ "components": [{ "name": "a", "replicas": "3" }] }),
                "/spec/components/0/replicas wrong-type: \"3\" is not a whole number",
            ),
            (
                json!({ "components": [{ "name": "a", "replicas": -1 }] }),
                "/spec/components/0/replicas out-of-range: -1 is less than 0",
            ),
            (json!({ "version": 7.0 }), "/spec/version wrong-type: 7.0 is not a text (put it in quotes)"),
            (
                json!({ "extensionVersion": "1.0" }),
                "/spec/extensionVersion rule: \"1.0\": use an exact version of three numbers, such as 1.0.0 (no range, no leading 'v')",
            ),
            (json!({ "components": [{ "replicas": 1 }] }), "/spec/components/0 missing-field: name is missing"),
            (
                json!({ "components": [{ "name": "a" }, { "name": "a" }] }),
                "/spec/components/1 duplicate: \"a\" is there twice",
            ),
            (
                json!({ "components": [{ "name": "a", "offline": [1, 2, 1] }] }),
                "/spec/components/0/offline/2 duplicate: 1 is there twice",
            ),
            (
                json!({ "tls": { "issuer": "builtin", "secretName": "x" } }),
                "/spec/tls rule: give exactly one of issuer, certManager and secretName",
            ),
        ];
        for (extra, expected) in cases {
            assert_eq!(said(&instance(extra)), [expected]);
        }
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let wrong = instance(json!({ "topolgy": "x", "state": "Stoped", "components": [{ "replicas": -1 }] }));
        assert_eq!(said(&wrong).len(), 4);
    }
}
