//! Every dependency has its reason in docs/dependencies.md, and what that file says of `ring` is so.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use super::{read, report};

/// The crates that Cargo.toml names, for building and tests too.
fn named(manifest: &str) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    let mut inside = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.ends_with("dependencies]");
        } else if inside && !line.starts_with('#') {
            found.extend(line.split_once(" = ").map(|(name, _)| name));
        }
    }
    found
}

/// The crates of each row of the table, and whether both its use and its reason are said.
fn explained(document: &str) -> Vec<(&str, bool)> {
    let mut found = Vec::new();
    for line in document.lines().filter(|line| !line.starts_with("| crate |") && !line.starts_with("|---")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let ["", crates, purpose, reason, ""] = cells[..] else { continue };
        let crates = crates.split(',').map(|name| name.trim().trim_end_matches(" (build)"));
        found.extend(crates.map(|name| (name, !purpose.is_empty() && !reason.is_empty())));
    }
    found
}

/// What does not agree.
fn unexplained(manifest: &str, document: &str) -> Vec<String> {
    let (named, explained) = (named(manifest), explained(document));
    let mut wrong = Vec::new();
    for name in &named {
        match explained.iter().filter(|(known, _)| known == name).collect::<Vec<_>>()[..] {
            [(_, true)] => {}
            [(_, false)] => wrong.push(format!("docs/dependencies.md: no use or no reason is said of {name}")),
            [] => wrong.push(format!("docs/dependencies.md: {name} has no row; say what it is for, and why this one")),
            _ => wrong.push(format!("docs/dependencies.md: {name} has more than one row")),
        }
    }
    let gone = explained.iter().filter(|(name, _)| !named.contains(name));
    wrong.extend(gone.map(|(name, _)| format!("docs/dependencies.md: {name} is not in Cargo.toml")));
    wrong
}

#[test]
fn every_dependency_has_a_reason() {
    report(&unexplained(&read("Cargo.toml"), &read("docs/dependencies.md")));
}

#[test]
fn a_dependency_without_a_reason_is_found() {
    let manifest = "[package]\nname = \"x\"\n[dependencies]\n# data\na = \"1\"\nb = { version = \"1\" }\n\n\
                    [dev-dependencies]\nc = \"1\"\n[features]\ndefault = []\n";
    let said = "| crate | for | why |\n|---|---|---|\n| a, b (build) | use | reason |\n| c | use | reason |\n";
    assert!(unexplained(manifest, said).is_empty(), "{:?}", unexplained(manifest, said));
    for (from, to, part) in [
        ("| c | use | reason |\n", "", "c has no row"),
        ("| c | use | reason |", "| c | use | |", "no use or no reason is said of c"),
        ("a, b", "a, d, b", "d is not in Cargo.toml"),
        ("| c |", "| c, a |", "a has more than one row"),
    ] {
        let wrong = unexplained(manifest, &said.replace(from, to));
        assert!(wrong.len() == 1 && wrong[0].contains(part), "{part}: {wrong:?}");
    }
}

/// What of all that is built here needs a crate.
fn needs(name: &str) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into());
    let mut tree = Command::new(cargo);
    tree.args(["tree", "--locked", "--offline", "--invert", name]).current_dir(Path::new(env!("CARGO_MANIFEST_DIR")));
    let output = tree.output().unwrap_or_else(|error| panic!("{tree:?}: {error}"));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() || told.contains("did not match any packages"), "{tree:?}: {told}");
    String::from_utf8(output.stdout).expect("text")
}

/// That it is in Cargo.lock says nothing: crates name it for features that nobody asks for.
#[test]
fn one_implementation_of_tls_is_built() {
    assert!(needs("aws-lc-rs").contains("midship"), "this way of asking tells what is built");
    let ring = needs("ring");
    assert!(ring.trim().is_empty(), "ring is built as well, see docs/dependencies.md:\n{ring}");
}
