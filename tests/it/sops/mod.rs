//! What the real `sops` encrypts is opened to what it was; what was changed since is not opened at all.

mod program;

use std::sync::Arc;

use midship::plan::source::Placement;
use midship::repo::{Document, Limits, MemoryTree, ParseLimits, parse};
use midship::sops::{self, Problem, Tree};
use midship::source::{self, Opening, in_order};
use serde_json::Value;

pub use program::Person;
use program::encrypt_by;

fn documents(text: &str) -> Vec<Document> {
    parse("file", text.as_bytes(), &ParseLimits::default()).unwrap_or_else(|problems| panic!("{problems:?}\n{text}"))
}

fn open(text: &str, person: &Person) -> Result<Vec<Value>, Problem> {
    let documents = documents(text);
    let trees: Vec<Tree> = documents.iter().map(|document| in_order(&document.value, &document.places)).collect();
    sops::open(&trees, &person.keys()).map(|opened| opened.into_iter().map(|one| one.value).collect())
}

const YAML: &str = "\
apiVersion: v1
kind: Secret
metadata:
  name: everything
  annotations: {note_unencrypted: 'clear', other: x}
stringData:
  zebra: last in the alphabet and first in the file
  alpha: \"two\\nlines and ünïcode ☃\"
  empty: \"\"
  number: \"12\"
deep:
  numbers: [1, -7, 2.5, 0.1, 1e21, 0.0000001]
  flags: [true, false, null]
  # a comment
  list:
    # another, in a list
    - {b: 1, a: x}
    - plain
  nothing: null
  map: {}
";

#[test]
fn everything_sops_can_write_is_read_back() {
    let person = Person::new();
    let plain = |text: &str| documents(text).into_iter().map(|document| document.value).collect::<Vec<_>>();
    let variants: [&[&str]; 6] = [
        &[],
        &["--encrypted-regex", "^(data|stringData)$"],
        &["--unencrypted-regex", "^(apiVersion|kind|metadata)$"],
        &["--encrypted-suffix", "Data"],
        &["--unencrypted-suffix", "_unencrypted"],
        &["--unencrypted-suffix", ""],
    ];
    for options in variants {
        let sealed = person.encrypt(YAML, "yaml", options);
        assert!(
            sealed.contains("ENC[AES256_GCM") && !sealed.contains("last in the alphabet")
                || options[0].contains("comment"),
            "{sealed}"
        );
        let opened = open(&sealed, &person).unwrap_or_else(|problem| panic!("{options:?}: {problem:?}\n{sealed}"));
        assert_eq!(opened, plain(YAML), "{options:?}");
        let trees: Vec<Tree> =
            documents(&sealed).iter().map(|document| in_order(&document.value, &document.places)).collect();
        assert_eq!(sops::unopenable(&trees), None, "{options:?}");
    }
    let several =
        format!("{YAML}---\napiVersion: v1\nkind: Secret\nmetadata: {{name: second}}\nstringData: {{b: x, a: y}}\n");
    let sealed = person.encrypt(&several, "yaml", &["--encrypted-regex", "^(data|stringData)$"]);
    assert_eq!(open(&sealed, &person).expect("two documents"), plain(&several));
    let json = serde_json::to_string(&plain(YAML)[0]).expect("JSON");
    for options in variants {
        let sealed = person.encrypt(&json, "json", options);
        if sealed.contains("ENC[") {
            let opened = open(&sealed, &person).unwrap_or_else(|problem| panic!("{options:?}: {problem:?}\n{sealed}"));
            // JSON tells numbers apart only by how they are written
            assert_eq!(opened[0]["stringData"], plain(YAML)[0]["stringData"], "{options:?}");
        }
    }
}

#[test]
fn what_was_changed_since_is_refused_with_its_place() {
    let person = Person::new();
    let regex = ["--encrypted-regex", "^(data|stringData)$"];
    let sealed = person.encrypt(YAML, "yaml", &regex);
    // the keys of people are random text, which may begin with anything
    let line = |key: &str| {
        let key = format!("{key}:");
        sealed.lines().find(|line| line.trim_start().starts_with(&key)).expect("the line").to_owned()
    };
    let value = |key: &str| line(key).split_once(": ").expect("a value").1.to_owned();
    let refused = |text: &str| {
        let problem = open(text, &person).expect_err("it was changed");
        assert!(!problem.message.contains("alphabet") && !problem.message.contains("ünïcode"), "{problem:?}");
        format!("{} {}", problem.pointer, problem.code)
    };
    let swapped = sealed
        .replace(&value("zebra"), "X")
        .replace(&value("alpha"), &value("zebra"))
        .replace(": X\n", &format!(": {}\n", value("alpha")));
    assert_eq!(refused(&swapped), "/stringData/zebra sops-value");
    assert_eq!(refused(&sealed.replace(&value("number"), "plain")), "/stringData/number sops-value");
    assert_eq!(refused(&sealed.replace(&format!("{}\n", line("number")), "")), "/sops/mac sops-mac");
    assert_eq!(refused(&sealed.replace("name: everything", "name: something")), "/sops/mac sops-mac");
    assert_eq!(refused(&sealed.replace("    other: x\n", "    other: x\n    more: y\n")), "/sops/mac sops-mac");
    assert_eq!(refused(&sealed.replace(&line("mac"), "    mac: nothing")), "/sops/mac sops-mac");
    assert_eq!(refused(&sealed.replace(&format!("{}\n", line("mac")), "")), "/sops sops-metadata");
    assert_eq!(
        refused(&sealed.replace(&line("lastmodified"), "    lastmodified: \"2020-01-01T00:00:00Z\"")),
        "/sops/mac sops-mac"
    );
    assert_eq!(
        refused(&sealed.replace("^(data|stringData)$", "^(data|stringData|deep)$")),
        "/deep/numbers/0 sops-value"
    );
    assert_eq!(refused(&sealed.replace("^(data|stringData)$", "^nothing$")), "/sops/mac sops-mac");
    assert_eq!(refused(&sealed.replace("^(data|stringData)$", "(")), "/sops/encrypted_regex sops-metadata");
    assert_eq!(refused(&sealed.replace("type:str]", "type:int]")), "/stringData/zebra sops-value");
    assert_eq!(refused(&sealed.replace("type:str]", "type:secret]")), "/stringData/zebra sops-value");
    let other = Person::new();
    let problem = open(&sealed, &other).expect_err("it is for somebody else");
    assert_eq!((problem.pointer.as_str(), problem.code), ("/sops/age", "sops-key"));
    assert!(problem.message.contains(&person.recipient) && problem.message.contains(&other.recipient), "{problem:?}");
}

#[test]
fn the_right_one_of_several_identities_is_found() {
    let (person, other) = (Person::new(), Person::new());
    let sealed = person.encrypt(YAML, "yaml", &[]);
    let both = format!("{}\n{}", other.key_file(), person.key_file());
    let keys = sops::Keys::parse([("both.agekey", both.as_bytes()), ("README", &b"x"[..])].into_iter()).expect("two");
    assert_eq!(keys.recipients().len(), 2);
    let documents = documents(&sealed);
    let trees: Vec<Tree> = documents.iter().map(|document| in_order(&document.value, &document.places)).collect();
    assert!(sops::open(&trees, &keys).is_ok());
    assert!(!format!("{keys:?}").contains("SECRET"));
}

#[test]
fn each_of_several_recipients_opens_a_file_and_its_mac_covers_what_its_rules_say() {
    let (person, other, stranger) = (Person::new(), Person::new(), Person::new());
    let both = format!("{},{}", person.recipient, other.recipient);
    let rules =
        |more: &str| format!("creation_rules:\n  - age: \"{both}\"\n    encrypted_regex: ^(data|stringData)$\n{more}");
    let plain: Vec<Value> = documents(YAML).into_iter().map(|document| document.value).collect();
    let sealed = encrypt_by(&rules(""), YAML);
    let encrypted_alone = encrypt_by(&rules("    mac_only_encrypted: true\n"), YAML);
    assert!(encrypted_alone.contains("mac_only_encrypted: true"), "{encrypted_alone}");
    for text in [&sealed, &encrypted_alone] {
        assert_eq!(open(text, &person).as_ref(), Ok(&plain));
        assert_eq!(open(text, &other).as_ref(), Ok(&plain));
        assert_eq!(open(text, &stranger).map_err(|problem| problem.code), Err("sops-key"));
        let line = text.lines().find(|line| line.trim_start().starts_with("number:")).expect("the line");
        let shorter = text.replace(&format!("{line}\n"), "");
        assert_eq!(open(&shorter, &person).map_err(|problem| problem.code), Err("sops-mac"));
    }
    let renamed = |text: &str| open(&text.replace("name: everything", "name: something"), &person).is_ok();
    assert!(!renamed(&sealed) && renamed(&encrypted_alone), "whoever wrote the rules chose what the MAC covers");
    // one cannot be taken for the other
    let claimed = encrypted_alone.replace("    mac_only_encrypted: true\n", "");
    assert_eq!(open(&claimed, &person).map_err(|problem| problem.code), Err("sops-mac"));
}

#[test]
fn a_key_that_is_split_over_groups_is_refused_with_what_to_do() {
    let (person, other) = (Person::new(), Person::new());
    let groups = format!("      - age: [{}]\n      - age: [{}]\n", person.recipient, other.recipient);
    let rules = format!("creation_rules:\n  - shamir_threshold: 2\n    key_groups:\n{groups}");
    let problem = open(&encrypt_by(&rules, YAML), &person).expect_err("it takes two");
    assert_eq!((problem.pointer.as_str(), problem.code), ("/sops/key_groups", "sops-key"));
    assert_eq!(
        problem.message,
        "the data key is split over key groups, which is not supported; encrypt it for one group of age recipients"
    );
}

#[test]
fn what_sops_makes_of_other_formats_is_refused_by_itself_and_nothing_of_it_is_told() {
    let person = Person::new();
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: good}\nstringData: {password: hunter2}\n";
    let tree = MemoryTree::default()
        .with("good.yaml", person.encrypt(secret, "yaml", &["--encrypted-regex", "^(data|stringData)$"]))
        .with("binary.json", person.encrypt("hunter2\n", "binary", &[]))
        .with("dotenv.yaml", person.encrypt("password=hunter2\n", "dotenv", &[]));
    let placement = Placement { default_namespace: "shop".into(), allowed: None, folder: String::new(), sources: true };
    let opening = Opening::With(Arc::new(person.keys()));
    let contents = source::read_opening(&tree, &Limits::default(), &placement, &opening, None).expect("a tree");
    let defined = contents.defined();
    let names: Vec<&str> = defined.objects.iter().map(|object| object.id.name.as_str()).collect();
    assert_eq!(names, ["good"], "{:#?}", defined.errors);
    let told: Vec<(&str, &str)> =
        defined.errors.iter().map(|error| (error.path.as_str(), error.code.as_str())).collect();
    assert_eq!(told, [("binary.json", "encrypted"), ("dotenv.yaml", "not-an-object")], "{:#?}", defined.errors);
    assert!(defined.errors.iter().all(|error| !error.message.contains("hunter2")), "{:#?}", defined.errors);
}

#[test]
fn a_secret_without_an_identity_is_told_apart_from_one_with_a_wrong_one() {
    let error = |name: &str, text: &str| {
        sops::Keys::parse([(name, text.as_bytes())].into_iter()).expect_err("no identity").to_string()
    };
    assert!(error("identity", "x").starts_with("no entry ends with .agekey"));
    assert!(error("a.agekey", "# nothing\n").starts_with("a.agekey holds no age identity"));
    assert!(error("a.agekey", "\nAGE-SECRET-KEY-1QQ\n").starts_with("a.agekey:2: this is no age identity"));
    assert!(!error("a.agekey", "AGE-SECRET-KEY-1QQ").contains("1QQ"));
}
