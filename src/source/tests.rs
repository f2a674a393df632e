//! What a repository's files turn into, good ones and bad ones together.

use std::collections::BTreeSet;

use super::*;
use crate::repo::MemoryTree;

const GOOD: &str = "\
apiVersion: midship.dev/v1alpha1
kind: Instance
metadata: {name: NAME}
spec: {type: cache, extensionVersion: 1.0.0, version: \"7.0\"}
";

fn placement() -> Placement {
    Placement {
        default_namespace: "team".into(),
        allowed: Some(["team", "shop"].map(String::from).into()),
        folder: String::new(),
        sources: false,
    }
}

fn tree(files: &[(&str, &str)]) -> MemoryTree {
    files.iter().map(|(path, text)| (*path, *text)).collect()
}

fn contents(files: &[(&str, &str)], previous: Option<&Contents>) -> Contents {
    read(&tree(files), &Limits::default(), &placement(), previous).expect("the tree can be read")
}

fn defined(files: &[(&str, &str)]) -> Defined {
    contents(files, None).defined()
}

fn said(files: &[(&str, &str)]) -> Vec<String> {
    let line = |error: &FileError| match (error.line, error.column) {
        (Some(line), Some(column)) => format!("{}:{line}:{column}: {}: {}", error.path, error.code, error.message),
        _ => format!("{}: {}: {}", error.path, error.code, error.message),
    };
    defined(files).errors.iter().map(line).collect()
}

fn named(name: &str) -> String {
    GOOD.replace("NAME", name)
}

#[test]
fn objects_go_to_the_namespace_of_their_folder_or_to_the_default() {
    let defined = defined(&[("instances/shop/a.yaml", &named("a")), ("b.yaml", &named("b")), ("README.md", "hello")]);
    let ids: Vec<String> = defined.objects.iter().map(|manifest| manifest.id.to_string()).collect();
    assert_eq!(ids, ["Instance team/b", "Instance shop/a"]);
    assert_eq!(defined.errors, []);
    assert_eq!(defined.objects[1].body["metadata"]["namespace"], "shop");
}

#[test]
fn a_bad_file_never_stops_the_others() {
    let files = [("a.yaml", named("a")), ("bad.yaml", "a: [".to_owned()), ("c.yaml", named("c"))];
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
    let defined = defined(&files);
    assert_eq!(defined.objects.len(), 2);
    assert_eq!(defined.unknown.places, BTreeSet::from(["bad.yaml".to_owned()]));
}

#[test]
fn one_document_of_a_file_may_be_wrong() {
    let two = format!("{}---\n{}", named("a"), named("b").replace("type: cache", "typo: cache"));
    let defined = defined(&[("two.yaml", &two)]);
    assert_eq!(defined.objects.len(), 1);
    assert!(defined.unknown.places.contains("two.yaml"));
}

#[test]
fn a_source_that_may_write_nowhere_says_why() {
    let settings = "namespaces: {elsewhere: {}}\n";
    let defined = defined(&[("midship.yaml", settings), ("x.yaml", &named("a"))]);
    let message = &defined.errors[0].message;
    assert!(
        message.ends_with(
            "nor to any other: spec.namespaces of the GitSource and namespaces in midship.yaml have none in common"
        ),
        "{message}"
    );
}

#[test]
fn wrong_objects_are_told_with_line_and_column() {
    let cases: &[(&str, &str, &str)] = &[
        (
            "x.yaml",
            &named("a").replace("type: cache", "typ: cache"),
            "x.yaml:4:8: unknown-field: spec.typ: unknown field \"typ\"; did you mean \"type\"?",
        ),
        ("x.yaml", &named("A"), "x.yaml:3:18: name: metadata.name: instance name \"A\" is not valid"),
        (
            "x.yaml",
            &named("a").replace("kind: Instance", "kind: Instnce"),
            "x.yaml:2:7: kind: kind: unknown kind \"Instnce\"; did you mean Instance?",
        ),
        ("x.yaml", "kind: Instance\n", "x.yaml:1:1: not-an-object: apiVersion or kind is missing"),
        ("x.yaml", "- a\n- b\n", "x.yaml:1:1: not-an-object: this is no object"),
        (
            "x.yaml",
            &named("a").replace("{name: a}", "{name: a, namespace: other}"),
            "x.yaml:3:32: namespace: metadata.namespace: this source may not write to the namespace other, only to shop, team",
        ),
        (
            "instances/shop/x.yaml",
            &named("a").replace("{name: a}", "{name: a, namespace: team}"),
            "instances/shop/x.yaml:3:32: namespace: metadata.namespace: the file is in instances/shop/ but names the namespace team",
        ),
        (
            "instances/other/x.yaml",
            &named("a"),
            "instances/other/x.yaml:3:11: namespace: metadata.namespace: this source may not write to the namespace other",
        ),
        (
            "x.yaml",
            &format!("{}status: {{}}\n", named("a")),
            "x.yaml:5:1: status: status: status is written by Midship",
        ),
        (
            "x.yaml",
            &named("a").replace("{name: a}", "{name: a, ownerReferences: []}"),
            "x.yaml:3:21: unknown-field: metadata.ownerReferences: ownerReferences is not applied from a repository",
        ),
        (
            "x.yaml",
            "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {a: 5}\n",
            "x.yaml:4:11: wrong-type: data.a: is not a text",
        ),
        (
            "x.yaml",
            "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nimmutable: text\n",
            "x.yaml:4:12: wrong-type: immutable: is not true or false",
        ),
        (
            "x.yaml",
            "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: Tr0ub4dor\n",
            "x.yaml:4:13: wrong-type: stringData: is not a mapping",
        ),
        (
            "x.yaml",
            "apiVersion: v1\nkind: Secret\nmetadata: {name: s, annotations: {pin: 4711}}\n",
            "x.yaml:3:40: wrong-type: metadata.annotations.pin: is not a text",
        ),
        (
            "x.yaml",
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: s}\ndat: {a: b}\n",
            "x.yaml:4:1: unknown-field: dat: unknown field \"dat\"; did you mean \"data\"?",
        ),
        (
            "x.yaml",
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: s}\n",
            "x.yaml:2:7: kind: kind: \"Deployment\" is not applied from a repository",
        ),
        (
            "x.json",
            "{\"apiVersion\": \"v1\",\n \"kind\": \"Namespace\", \"metadata\": {\"name\": \"n\", \"namespace\": \"m\"}}",
            "x.json:2:62: namespace: metadata.namespace: Namespace lives in no namespace",
        ),
    ];
    for (path, text, expected) in cases {
        let errors = said(&[(path, text), ("good.yaml", &named("good"))]);
        let found = errors.iter().any(|error| error.starts_with(expected));
        assert!(found, "\n  got: {errors:#?}\n want: {expected}");
        let defined = defined(&[(path, text), ("good.yaml", &named("good"))]);
        assert_eq!(defined.objects.len(), 1, "the good file is applied all the same");
    }
}

#[test]
fn what_kubectl_writes_for_nothing_is_no_mistake() {
    let secret = "apiVersion: v1\ndata: {key: eA==}\nkind: Secret\nmetadata:\n  creationTimestamp: null\n  name: s\n";
    let found = defined(&[("s.yaml", secret)]);
    assert_eq!((found.errors.as_slice(), found.objects.len()), (&[][..], 1));
    assert!(found.objects[0].body["metadata"].get("creationTimestamp").is_none());
    let errors = said(&[("s.yaml", &secret.replace("null", "2026-01-01T00:00:00Z"))]);
    assert!(errors[0].contains("creationTimestamp is not applied from a repository"), "{errors:?}");
}

#[test]
fn an_object_in_two_files_is_told_for_both_and_applied_from_neither() {
    let defined = defined(&[("a.yaml", &named("same")), ("b.yaml", &named("same")), ("c.yaml", &named("other"))]);
    let messages: Vec<&str> = defined.errors.iter().map(|error| error.message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "Instance team/same is also defined in b.yaml:1; keep one",
            "Instance team/same is also defined in a.yaml:1; keep one"
        ]
    );
    assert_eq!(defined.objects.len(), 1);
}

#[test]
fn a_later_tree_is_read_only_where_it_changed() {
    let first =
        read(&tree(&[("a.yaml", &named("a")), ("b.yaml", &named("b"))]), &Limits::default(), &placement(), None)
            .expect("the tree can be read");
    let later = tree(&[("a.yaml", &named("a")), ("c.yaml", &named("c"))]);
    let second = read(&later, &Limits::default(), &placement(), Some(&first)).expect("the tree can be read");
    assert!(Arc::ptr_eq(&first.places["a.yaml"].reading, &second.places["a.yaml"].reading));
    let ids: Vec<String> = second.defined().objects.iter().map(|manifest| manifest.id.to_string()).collect();
    assert_eq!(ids, ["Instance team/a", "Instance team/c"]);
}

#[test]
fn one_content_is_read_once_wherever_it_lies() {
    let wrong = named("b").replace("version:", "versoin:");
    let body = |contents: &Contents, path: &str| contents.places[path].reading.objects[0].body.clone();
    let first = contents(&[("a.yaml", &named("a")), ("b.yaml", &wrong)], None);
    let files = [
        ("instances/shop/a.yaml", named("a")),
        ("moved.yaml", named("a")),
        ("of/b.yaml", wrong),
        ("a.yaml", named("c")),
    ];
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
    let second = contents(&files, Some(&first));
    assert!(Arc::ptr_eq(&body(&first, "a.yaml"), &body(&second, "moved.yaml")), "it was not read again");
    let defined = second.defined();
    let found: Vec<String> = defined.objects.iter().map(|one| format!("{} in {}", one.id, one.path)).collect();
    // elsewhere the same text means another object
    assert_eq!(
        found,
        ["Instance team/c in a.yaml", "Instance shop/a in instances/shop/a.yaml", "Instance team/a in moved.yaml"]
    );
    assert!(!defined.errors.is_empty());
    assert!(
        defined.errors.iter().all(|error| error.path == "of/b.yaml" && error.line == Some(4)),
        "{:?}",
        defined.errors
    );
    // two that are the same are told of where each lies, also in one tree
    let both = contents(&[("x.yaml", &named("x")), ("y.yaml", &named("x"))], None);
    assert!(Arc::ptr_eq(&body(&both, "x.yaml"), &body(&both, "y.yaml")));
    let told: Vec<String> = both.defined().errors.into_iter().map(|error| error.message).collect();
    assert_eq!(
        told,
        [
            "Instance team/x is also defined in y.yaml:1; keep one",
            "Instance team/x is also defined in x.yaml:1; keep one"
        ]
    );
}

#[test]
fn of_an_object_that_very_many_files_define_each_names_a_few_others() {
    let files: Vec<(String, String)> = (0..2000).map(|n| (format!("{n:04}.yaml"), named("same"))).collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let defined = defined(&files);
    assert!(defined.objects.is_empty());
    assert_eq!(defined.errors.len(), 2000);
    assert_eq!(
        defined.errors[0].message,
        "Instance team/same is also defined in 0001.yaml:1, 0002.yaml:1, 0003.yaml:1, 0004.yaml:1, 0005.yaml:1 and 1994 \
         more; keep one"
    );
    assert_eq!(defined.unknown.objects.len(), 1);
}

#[test]
fn a_file_with_its_ending_in_capitals_is_not_read_and_can_be_told() {
    let files = [
        ("a.yaml", named("a")),
        ("b.YAML", named("b")),
        ("instances/shop/c.Yml", named("c")),
        ("midship.YAML", "ignore: [x]\n".to_owned()),
        ("extensions/x/1.0.0/D.JSON", "{}".to_owned()),
        (".github/E.YML", "{}".to_owned()),
        ("README.MD", "hello".to_owned()),
    ];
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
    let read = contents(&files, None);
    let mut found = read.in_capitals();
    found.sort();
    assert_eq!(found, ["b.YAML", "instances/shop/c.Yml", "midship.YAML"]);
    assert_eq!(read.defined().objects.len(), 1);
}

#[test]
fn only_a_file_that_would_be_read_may_be_too_large() {
    let large = "# nothing\n".repeat(110_000);
    let errors = said(&[("a.yaml", &named("a")), ("docs/map.svg", &large), ("b.yaml", &large)]);
    assert_eq!(errors.len(), 1, "{errors:#?}");
    assert!(errors[0].starts_with("b.yaml: too-large: "), "{errors:?}");
}

#[test]
fn a_mistake_is_about_the_object_that_it_names() {
    let wrong = named("a").replace("version:", "versoin:");
    let unknown = |files: &[(&str, &str)]| defined(files).unknown;
    let about = |unknown: &Unknown| unknown.objects.iter().map(ToString::to_string).collect::<Vec<_>>();
    let found = unknown(&[("instances/shop/new.yaml", &wrong)]);
    assert_eq!((about(&found), found.unclear.len()), (vec!["Instance shop/a".to_owned()], 0));
    let twice = unknown(&[("a.yaml", &named("same")), ("b.yaml", &named("same"))]);
    assert_eq!(about(&twice), ["Instance team/same"]);
    let misspelt = named("a").replace("kind: Instance", "kind: Instnce");
    for text in ["a: [", misspelt.as_str(), "kind: Instance\nmetadata: {name: a}\n"] {
        let found = unknown(&[("x.yaml", text)]);
        assert_eq!((about(&found).len(), found.unclear.contains("x.yaml")), (0, true), "{text}");
    }
    for text in ["services: {web: {}}\n", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\n", "- a\n"] {
        let found = unknown(&[("compose.yaml", text)]);
        assert!(found.unclear.is_empty() && found.places.contains("compose.yaml"), "{text}");
    }
}

#[test]
fn settings_that_are_no_file_are_wrong_and_not_absent() {
    let contents =
        read(&tree(&[("midship.yaml/a", "a"), ("b.yaml", &named("b"))]), &Limits::default(), &placement(), None);
    let contents = contents.expect("the tree can be read");
    assert!(contents.settings().is_none());
    let errors = contents.defined().errors;
    assert_eq!((errors.len(), errors[0].code.as_str()), (1, "settings"), "{errors:?}");
}

#[test]
fn a_source_that_is_bound_defines_neither_other_namespaces_nor_sources() {
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: NAME}\n";
    let source = "apiVersion: midship.dev/v1alpha1\nkind: GitSource\nmetadata: {name: evil}\nspec: {url: 'https://example.com/x.git', namespaces: ['*']}\n";
    let files = [
        ("other.yaml", namespace.replace("NAME", "kube-system")),
        ("own.yaml", namespace.replace("NAME", "shop")),
        ("source.yaml", source.to_owned()),
    ];
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
    let errors = said(&files);
    assert_eq!(errors.len(), 2, "{errors:#?}");
    assert!(errors[0].starts_with("other.yaml:3:18: namespace: metadata.name: this source may not write to the namespace kube-system, only to shop, team"), "{errors:#?}");
    assert!(
        errors[1].starts_with("source.yaml:2:7: kind: kind: only a source that may write to all namespaces"),
        "{errors:#?}"
    );
}

#[test]
fn what_the_settings_leave_out_is_as_if_it_were_not_there() {
    let package = "extensions/demo/1.0.0/extension.yaml";
    let files = [
        ("midship.yaml", "ignore:\n  - /charts/\n  - docker-compose.yaml\n  - extensions/demo/\n".to_owned()),
        ("charts/app/values.yaml", "replicas: 3\n".to_owned()),
        ("charts/app/templates/app.yaml", "{{ if .Values.x }}\n".to_owned()),
        ("deep/docker-compose.yaml", "services: {}\n".to_owned()),
        (package, "nonsense: true\n".to_owned()),
        ("a.yaml", named("a")),
    ];
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
    let found = defined(&files);
    assert_eq!(found.errors, []);
    assert_eq!((found.objects.len(), found.files, found.may_be_ignored), (1, 1, false));
    let ignored: Vec<(&str, &str)> =
        found.ignored.iter().map(|(path, place)| (path.as_str(), place.as_str())).collect();
    assert_eq!(
        ignored,
        [
            ("charts/app/templates/app.yaml", "midship.yaml:2"),
            ("charts/app/values.yaml", "midship.yaml:2"),
            ("deep/docker-compose.yaml", "midship.yaml:3"),
            (package, "midship.yaml:4"),
        ]
    );
    assert_eq!(found.unknown, Unknown::default());
}

#[test]
fn a_file_of_another_program_is_told_how_it_is_left_out() {
    let way_out = "if the file is for another program, name it under ignore in midship.yaml";
    let ours = named("a").replace("kind: Instance", "kind: Instnce");
    for (text, foreign) in [
        ("services: {web: {}}\n", true),
        ("- a\n", true),
        ("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\n", true),
        ("{{ if .Values.x }}\nkind: Deployment\n{{ end }}\n", true),
        (ours.as_str(), false),
        ("apiVersion: v1\nkind: Secrt\nmetadata: {name: a}\n", false),
    ] {
        let errors = said(&[("x.yaml", text)]);
        assert!(!errors.is_empty() && errors.iter().all(|error| error.contains(way_out) == foreign), "{errors:#?}");
    }
}

#[test]
fn a_tree_with_other_patterns_is_read_anew() {
    let files = |patterns: &str| {
        let settings = format!("ignore: {patterns}\n");
        tree(&[("midship.yaml", &settings), ("a.yaml", &named("a")), ("ci/b.yaml", &named("b"))])
    };
    let read = |patterns: &str, before: Option<&Contents>| {
        super::read(&files(patterns), &Limits::default(), &placement(), before).expect("the tree can be read")
    };
    let names = |contents: &Contents| {
        contents.defined().objects.iter().map(|manifest| manifest.id.name.clone()).collect::<Vec<_>>()
    };
    let first = read("[]", None);
    assert_eq!(names(&first), ["a", "b"]);
    let second = read("[ci/]", Some(&first));
    assert_eq!(names(&second), ["a"]);
    // what cannot be read leaves out what was left out before, and says that it may leave out anything
    let third = read("[ci/, '[']", Some(&second));
    assert_eq!(names(&third), ["a"]);
    let defined = third.defined();
    assert!(defined.may_be_ignored);
    assert_eq!(
        (defined.errors.len(), defined.errors[0].line, defined.errors[0].code.as_str()),
        (1, Some(1), "pattern")
    );
    assert_eq!(names(&read("[]", Some(&third))), ["a", "b"]);
}
