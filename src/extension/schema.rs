//! The JSON Schema of `extension.yaml` and of its tests, for editors: generated from the same types that read them.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::cases::CaseFile;
use super::contract::Manifest;
use crate::api::schema::for_editors;

/// The schema of `extension.yaml`.
pub fn manifest() -> Value {
    let mut schema = SchemaSettings::draft07().into_generator().into_root_schema_for::<Manifest>().to_value();
    schema["$id"] = "https://midship.dev/schemas/extension.schema.json".into();
    schema["properties"]["contract"]["default"] = "v1".into();
    for_editors(schema)
}

/// The schema of a file in `tests/`.
pub fn cases() -> Value {
    for_editors(SchemaSettings::draft07().into_generator().into_root_schema_for::<CaseFile>().to_value())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn committed(name: &str, schema: &Value) {
        let path = super::super::tests::repository().join("docs").join(name);
        let text = format!("{}\n", serde_json::to_string_pretty(schema).expect("JSON"));
        if std::env::var_os("MIDSHIP_UPDATE").is_some() {
            std::fs::write(&path, &text).expect("written");
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(found == text, "docs/{name} is not what the types say; run the tests with MIDSHIP_UPDATE=1");
    }

    #[test]
    fn the_schemas_for_editors_are_those_of_the_types() {
        committed("extension.schema.json", &manifest());
        committed("extension-tests.schema.json", &cases());
    }

    #[test]
    fn every_package_that_ships_fulfils_the_schema() {
        let schema = jsonschema::options().build(&manifest()).expect("a schema");
        for (name, package) in super::super::tests::shipped() {
            let text = package.files.text(super::super::files::MANIFEST).expect("text");
            let value = super::super::yaml::value(&name, text).expect("YAML");
            let errors: Vec<String> =
                schema.iter_errors(&value).map(|error| format!("{}: {error}", error.instance_path())).collect();
            assert!(errors.is_empty(), "{name}:\n{}", errors.join("\n"));
        }
    }
}
