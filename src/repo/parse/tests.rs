//! Good files, hostile files, and that every message says where.

#![allow(clippy::unwrap_used, clippy::format_collect)]

use serde_json::{Value, json};

use super::*;

fn good(text: &str) -> Vec<Value> {
    match parse("f.yaml", text.as_bytes(), &ParseLimits::default()) {
        Ok(documents) => documents.into_iter().map(|d| d.value).collect(),
        Err(problems) => panic!("{text:?}: {problems:?}"),
    }
}

fn bad(text: impl AsRef<[u8]>) -> Vec<String> {
    let problems = parse("f.yaml", text.as_ref(), &ParseLimits::default()).unwrap_err();
    problems.iter().map(|p| format!("{} {}", p.position, p.code.as_str())).collect()
}

#[test]
fn documents_of_a_file_come_in_order_without_the_empty_ones() {
    let text = "# only a comment\n---\na: 1\n---\n---\n# nothing\n---\nb: [1, {c: d}]\n...\n";
    assert_eq!(good(text), [json!({"a": 1}), json!({"b": [1, {"c": "d"}]})]);
    assert!(good("").is_empty());
    assert!(good("---\n").is_empty());
    assert!(good("\u{feff}").is_empty());
}

#[test]
fn a_merge_that_was_not_finished_is_called_one() {
    let text = "a: 1\n<<<<<<< HEAD\nb: 2\n=======\nb: 3\n>>>>>>> other\n";
    let problems = parse("f.yaml", text.as_bytes(), &ParseLimits::default()).unwrap_err();
    let told = "f.yaml:2:1: a merge was not finished here: two versions of the same lines stand in the file; keep what is meant, \
                and remove the lines that begin with <<<<<<<, ======= and >>>>>>>";
    assert_eq!(problems.iter().map(ToString::to_string).collect::<Vec<_>>(), [told]);
    assert_eq!(good("a: |\n  <<<<<<< HEAD\n").len(), 1, "in a text it may stand");
}

#[test]
fn byte_order_marks_windows_line_ends_and_quotes_are_fine() {
    let text = "\u{feff}a: 'it''s'\r\nb: \"\\u00e9\\n\"\r\nc: |\r\n  x\r\n  y\r\nd: >-\r\n  x\r\n  y\r\n";
    assert_eq!(good(text), [json!({"a": "it's", "b": "é\n", "c": "x\ny\n", "d": "x y"})]);
}

#[test]
fn json_works_with_tabs_escapes_and_surrogates() {
    let text = "{\n\t\"a\": [1, -2.5e3, true, null],\n\t\"b\\/c\": \"\\ud83d\\ude00 \\u0041\",\n\t\"d\":{}}\n";
    assert_eq!(good(text), [json!({"a": [1, -2500.0, true, null], "b/c": "😀 A", "d": {}})]);
    let long = format!("{{\"k\": \"{}\", \"{}\": 1}}", "x".repeat(5000), "y".repeat(500));
    assert_eq!(good(&long).len(), 1);
    let nested = serde_json::to_string_pretty(&json!({"a": {"b": {"c": ["d".repeat(3000), 1]}}})).unwrap();
    assert_eq!(good(&nested).len(), 1);
}

#[test]
fn aliases_and_merges_give_what_is_written_out() {
    let text = "base: &b {x: 1, y: 2}\none:\n  <<: *b\n  y: 3\ntwo: *b\nthree:\n  <<: [*b, {z: 9, x: 0}]\n";
    assert_eq!(
        good(text),
        [
            json!({"base": {"x": 1, "y": 2}, "one": {"x": 1, "y": 3}, "two": {"x": 1, "y": 2}, "three": {"x": 1, "y": 2, "z": 9}})
        ]
    );
    assert_eq!(good("\"<<\": 1\n"), [json!({"<<": 1})], "a quoted << is a key like any other");
}

#[test]
fn tags_say_what_a_value_is() {
    let text = "a: !!str 1\nb: !!int \"2\"\nc: !!float 3\nd: !!bool \"true\"\ne: !!null \"\"\nf: ! 4\ng: !!map {}\nh: !!seq []\n";
    assert_eq!(good(text), [json!({"a": "1", "b": 2, "c": 3.0, "d": true, "e": null, "f": "4", "g": {}, "h": []})]);
}

#[test]
fn places_lead_to_keys_and_values() {
    let text = "kind: Instance\nspec:\n  list:\n    - a: 1\n    - b/c: 2\n  empty:\n---\nx: &a {deep: 1}\ny: *a\n";
    let documents = parse("f.yaml", text.as_bytes(), &ParseLimits::default()).unwrap();
    let at = |pointer: &str| {
        let places = &documents[0].places;
        (places.key(pointer).to_string(), places.value(pointer).to_string())
    };
    assert_eq!(at("/kind"), ("1:1".into(), "1:7".into()));
    assert_eq!(at("/spec/list/1/b~1c"), ("5:7".into(), "5:12".into()));
    assert_eq!(at("/spec/list/0"), ("4:7".into(), "4:7".into()));
    assert_eq!(at("/spec/missing/deeper").0, "2:1", "the closest that exists");
    assert_eq!(at("").0, "1:1");
    let second = &documents[1].places;
    assert_eq!(second.start().to_string(), "8:1");
    assert_eq!(second.value("/y").to_string(), "9:4");
    assert_eq!(second.value("/y/deep").to_string(), "8:14", "what is wrong is wrong at its anchor");
}

#[test]
fn merged_values_are_found_where_they_were_written() {
    let text = "base: &b\n  x: 1\none:\n  <<: *b\n  y: 3\n";
    let documents = parse("f.yaml", text.as_bytes(), &ParseLimits::default()).unwrap();
    assert_eq!(documents[0].places.key("/one/x").to_string(), "2:3");
    assert_eq!(documents[0].places.key("/one/y").to_string(), "5:3");
}

#[test]
fn duplicate_keys_are_all_told_with_the_first_place() {
    assert_eq!(bad("a: 1\nb:\n  c: 1\n  c: 2\na: 3\n"), ["4:3 duplicate-key", "5:1 duplicate-key"]);
    assert_eq!(bad("{\"a\": 1,\n \"a\": 2}"), ["2:2 duplicate-key"]);
    let problems = parse("f.yaml", b"a: 1\n\na: 2\n", &ParseLimits::default()).unwrap_err();
    assert_eq!(problems[0].to_string(), "f.yaml:3:1: the key `a` is there twice, first in line 1; remove one of them");
}

#[test]
fn hostile_text_is_refused_with_its_place() {
    let deep_flow = format!("a: {}{}", "[".repeat(100), "]".repeat(100));
    let deep_block: String = (0..100).map(|n| format!("{}k:\n", " ".repeat(n))).collect();
    let deep_list = format!("{}x\n", "- ".repeat(100));
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (b"a: [1, 2\n".to_vec(), "yaml-syntax"),
        (b"a: 1\n b: 2\n".to_vec(), "yaml-syntax"),
        (b"a: 'open\n".to_vec(), "yaml-syntax"),
        (b"a:\n\t- b\n".to_vec(), "yaml-syntax"),
        (b"a: @x\n".to_vec(), "yaml-syntax"),
        (b"a: }\n".to_vec(), "yaml-syntax"),
        (b"a: *nowhere\n".to_vec(), "unknown-anchor"),
        (b"a: &x [*x]\n".to_vec(), "unknown-anchor"),
        (b"a: &x 1\n---\nb: *x\n".to_vec(), "unknown-anchor"),
        (b"a: \xff\n".to_vec(), "not-utf8"),
        (b"\xff\xfea\0:\0".to_vec(), "not-utf8"),
        (b"a: b\0c\n".to_vec(), "control-character"),
        (b"a: \x1b[2J\n".to_vec(), "control-character"),
        (b"a: 0644\n".to_vec(), "bad-number"),
        (b"a: 99999999999999999999\n".to_vec(), "bad-number"),
        (b"a: .inf\n".to_vec(), "bad-number"),
        (b"a: 1e999\n".to_vec(), "bad-number"),
        (b"a: !!python/object:os.system x\n".to_vec(), "unknown-tag"),
        (b"a: !secret x\n".to_vec(), "unknown-tag"),
        (b"a: !!set {x, y}\n".to_vec(), "unknown-tag"),
        (b"a: !!int x\n".to_vec(), "unknown-tag"),
        (b"a: !!binary aGVsbG8=\n".to_vec(), "unknown-tag"),
        (b"a: {{ .Values.x }}\n".to_vec(), "bad-key"),
        (b"? [a, b]\n: 1\n".to_vec(), "bad-key"),
        (b"'': 1\n".to_vec(), "bad-key"),
        (b"a: {<<: 5}\n".to_vec(), "bad-merge"),
        (b"a: {<<: [1]}\n".to_vec(), "bad-merge"),
        (deep_flow.into_bytes(), "too-deep"),
        (deep_block.into_bytes(), "too-deep"),
        (deep_list.into_bytes(), "too-deep"),
        (vec![b'#'; (1 << 20) + 1], "too-large"),
        ("- 1\n".repeat(100_001).into_bytes(), "too-many-values"),
        ("---\na\n".repeat(1001).into_bytes(), "too-many-documents"),
    ];
    for (text, code) in cases {
        let problems = bad(&text);
        let shown = String::from_utf8_lossy(&text[..text.len().min(60)]).into_owned();
        assert!(problems.iter().any(|p| p.ends_with(code)), "{shown:?}: {problems:?}, not {code}");
    }
}

#[test]
fn aliases_cannot_multiply_without_end() {
    let mut laughs = String::from("a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]\n");
    for n in 1..12 {
        let many = vec![format!("*a{}", n - 1); 10].join(", ");
        laughs.push_str(&format!("a{n}: &a{n} [{many}]\n"));
    }
    assert!(bad(&laughs)[0].ends_with("alias-bomb"));
    let text = format!("a: &a {}\nb: [{}]\n", "x".repeat(500_000), "*a, ".repeat(500));
    assert!(bad(text)[0].ends_with("alias-bomb"));
    let anchors: String = (0..50).map(|n| format!("&n{n} [")).collect();
    let text = format!("a: {anchors}{}{}\n", "x, ".repeat(20_000), "]".repeat(50));
    assert!(bad(text)[0].ends_with("alias-bomb"), "each anchor keeps a copy");
    let mut deep = String::from("a0: &a0 [[[[[[[[[[x]]]]]]]]]]\n");
    for n in 1..50 {
        deep.push_str(&format!("a{n}: &a{n} [[[[[[[[[[*a{}]]]]]]]]]]\n", n - 1));
    }
    assert!(bad(deep)[0].ends_with("too-deep"));
}

#[test]
fn no_message_repeats_a_value_for_it_may_be_a_secret() {
    let cases = [
        ("!Tr0ub4dor", "this tag has no meaning here; remove it, or put the value in quotes where it begins with a !"),
        ("!Tr0ub4dor {}", "this tag has no meaning here; remove it"),
        ("!Tr0ub4dor []", "this tag has no meaning here; remove it"),
        ("!!int Tr0ub4dor", "this is tagged as a whole number but is none; remove the tag or correct the value"),
        ("!!float Tr0ub4dor", "this is tagged as a number but is none; remove the tag or correct the value"),
        ("!!bool Tr0ub4dor", "this is tagged as a boolean but is none; remove the tag or correct the value"),
        ("12345678901234567890123456", "this number is too large to be kept exactly; put it in quotes if it is text"),
        ("0xdeadbeefdeadbeefdead", "this number is too large to be kept exactly; put it in quotes if it is text"),
        ("1e999", "this number is too large to be kept exactly; put it in quotes if it is text"),
        (
            "0123456",
            "a number with a leading zero is octal to some programs and decimal to others; write 0o644 for octal, or put it in quotes",
        ),
    ];
    for (value, told) in cases {
        let text = format!("kind: Secret\nstringData:\n  password: {value}\n");
        let problems = parse("f.yaml", text.as_bytes(), &ParseLimits::default()).unwrap_err();
        let said: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(said.len(), 1, "{said:?}");
        let (place, reason) = said[0].split_once(": ").unwrap();
        assert!(place.starts_with("f.yaml:3:"), "{place}");
        assert_eq!(reason, told, "{value}");
    }
}

#[test]
fn messages_carry_nothing_that_could_fool_a_terminal() {
    let problems =
        parse("f.yaml", "\"a\\e[2J\\u202eb\": 1\n\"a\\e[2J\\u202eb\": 2\n".as_bytes(), &ParseLimits::default());
    let text = problems.unwrap_err()[0].to_string();
    assert!(!text.contains('\x1b') && !text.contains('\u{202e}'), "{text:?}");
}

#[test]
fn reading_many_small_files_is_fast() {
    let text = "apiVersion: midship.dev/v1alpha1\nkind: Instance\nmetadata: {name: orders-cache, namespace: shop}\nspec:\n  \
        type: cache\n  extensionVersion: 1.0.0\n  version: \"7.0\"\n  topology: replication\n  components:\n    - name: cache\n      \
        replicas: 3\n      resources: {requests: {cpu: 100m, memory: 128Mi}}\n      storage: {data: {size: 1Gi}}\n      \
        parameters: {maxmemory-policy: allkeys-lru}\n";
    let started = std::time::Instant::now();
    for _ in 0..500 {
        assert_eq!(parse("f.yaml", text.as_bytes(), &ParseLimits::default()).unwrap().len(), 1);
    }
    let took = started.elapsed();
    println!("{:.0} files/s", 500.0 / took.as_secs_f64());
    assert!(took.as_secs() < 30, "{took:?} for 500 files");
}

proptest::proptest! {
    #![proptest_config(crate::chance::fixed())]

    #[test]
    fn whatever_comes_in_nothing_panics(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
        let _ = parse("f.yaml", &bytes, &ParseLimits::default());
    }

    #[test]
    fn yaml_like_text_never_panics(text in "[a-c:{}\\[\\]&*<!|>'\"\\-,?#% \n\t0-9.~]{0,80}") {
        let _ = parse("f.yaml", text.as_bytes(), &ParseLimits::default());
    }

    #[test]
    fn what_serde_json_writes_is_read_back(map in proptest::collection::btree_map("[a-zA-Z0-9 é\"\\\\/~-]{1,12}", "\\PC{0,30}", 0..8)) {
        let text = serde_json::to_string(&map).unwrap();
        if !text.chars().any(char::is_control) {
            let value = serde_json::to_value(&map).unwrap();
            proptest::prop_assert_eq!(good(&text), vec![value]);
        }
    }
}
