//! What the definitions promise to whoever has objects already: an object that was stored or pushed yesterday is taken and
//! read today.

mod shape;
mod stored;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::json;

use self::shape::{Shape, broken, of_all};

const WHAT_TO_DO: &str = "Objects like that are stored in clusters and stand in repositories. Let the field stay, if need be without \
    effect, and give what is new a name of its own. Where it has to be (a hole, a field that never did anything), change these lines of \
    tests/it/definitions/v1alpha1.shape by hand, and say under Changed in CHANGELOG.md what becomes of objects that exist.";

fn here(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/definitions").join(file)
}

#[test]
fn the_definitions_take_every_object_that_those_before_them_took() {
    let path = here("v1alpha1.shape");
    let committed = std::fs::read_to_string(&path).expect("the shape of the definitions");
    let now = of_all();
    let broken = broken(&shape::read(&committed), &now);
    assert!(broken.is_empty(), "{}\n\n{WHAT_TO_DO}", broken.join("\n"));
    let text = shape::write(&now);
    if std::env::var_os("MIDSHIP_UPDATE").is_some() {
        std::fs::write(&path, &text).expect("it can be written");
    } else {
        assert!(
            text == committed,
            "the definitions take more than tests/it/definitions/v1alpha1.shape says, which is fine: run the tests with \
             MIDSHIP_UPDATE=1 and commit it"
        );
    }
}

/// A field that is given as JSON, under a name.
fn one(path: &str, facts: serde_json::Value) -> Shape {
    let facts = serde_json::from_value(facts).expect("an object");
    BTreeMap::from([("Thing.spec".to_owned(), BTreeMap::new()), (path.to_owned(), facts)])
}

#[test]
fn what_takes_less_than_before_is_told_with_its_place() {
    let field = "Thing.spec.field";
    for (before, now, told) in [
        (json!({ "type": "string" }), json!({ "type": "integer" }), "was of type string, and is of type integer"),
        (
            json!({ "type": "int-or-string" }),
            json!({ "type": "string" }),
            "was of type int-or-string, and is of type string",
        ),
        (json!({}), json!({ "type": "string" }), "was of any type, and is of type string"),
        (json!({}), json!({ "required": true }), "could be left out, and has to be there"),
        (json!({ "enum": ["a", "b"] }), json!({ "enum": ["a"] }), "could be \"b\", and may not be any more"),
        (json!({}), json!({ "enum": ["a"] }), "could be anything, and may only be one of [\"a\"]"),
        (json!({ "maxLength": 9 }), json!({ "maxLength": 8 }), "had maxLength 9, and has 8"),
        (json!({}), json!({ "maxItems": 8 }), "had no maxItems, and has 8"),
        (json!({ "minimum": 0.0 }), json!({ "minimum": 1.0 }), "had minimum 0.0, and has 1.0"),
        (json!({}), json!({ "pattern": "^a$" }), "had no pattern, and has \"^a$\""),
        (json!({ "list": "map" }), json!({ "list": "set" }), "had list \"map\", and has \"set\""),
        (json!({ "open": true }), json!({}), "took fields of any name, and takes only its own"),
        (json!({ "rules": ["a"] }), json!({ "rules": ["a", "b"] }), "has to keep the rule \"b\", which is new"),
    ] {
        let found = broken(&one(field, before), &one(field, now));
        assert_eq!(found, [format!("{field} {told}")]);
    }
}

#[test]
fn what_takes_more_than_before_is_welcome() {
    let field = "Thing.spec.field";
    for (before, now) in [
        (json!({ "type": "string" }), json!({ "type": "int-or-string" })),
        (json!({ "type": "integer" }), json!({ "type": "number" })),
        (json!({ "required": true }), json!({})),
        (json!({ "enum": ["a"] }), json!({ "enum": ["a", "b"] })),
        (json!({ "enum": ["a"] }), json!({})),
        (json!({ "maxLength": 8, "minimum": 1 }), json!({ "maxLength": 9, "minimum": 0 })),
        (json!({ "maxLength": 8, "pattern": "^a$" }), json!({})),
        (json!({}), json!({ "open": true })),
        (json!({ "rules": ["a", "b"] }), json!({ "rules": ["b"] })),
    ] {
        assert_eq!(broken(&one(field, before), &one(field, now)), Vec::<String>::new());
    }
}

#[test]
fn a_field_that_goes_is_told_once_and_a_new_one_may_not_be_asked_of_objects_that_exist() {
    let mut before = one("Thing.spec.old", json!({ "type": "object" }));
    before.extend(one("Thing.spec.old.inner", json!({ "type": "string" })));
    let mut now = one("Thing.spec.new", json!({ "type": "object", "required": true }));
    now.extend(one("Thing.spec.new.inner", json!({ "type": "string", "required": true })));
    now.extend(one("Thing.spec.older", json!({ "type": "string" })));
    assert_eq!(broken(&before, &now), ["Thing.spec.old was taken away", "Thing.spec.new is new, and has to be there"]);
}
