//! What a test does where something is missing that it needs: it says so, and is counted as skipped and never as passed.

use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

/// Where `make test` and `make check` want to read of it.
const FILE: &str = "MIDSHIP_TEST_SKIPS";

/// Says that a test, or a part of it, cannot run here, and why. The test then returns, or goes on with the rest.
pub fn skip(name: &str, why: impl Display) {
    println!("skipped {name}: {why}");
    if let Some(file) = std::env::var_os(FILE).filter(|file| !file.is_empty()) {
        let full = std::env::var("NEXTEST_TEST_NAME").ok();
        append(Path::new(&file), &line(full.as_deref().unwrap_or(name), &why.to_string()));
    }
}

/// One line, whatever the reason says.
fn line(name: &str, why: &str) -> String {
    format!("{name}: {}\n", why.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// In one go, since many tests write at once.
fn append(file: &Path, line: &str) {
    let opened = OpenOptions::new().create(true).append(true).open(file);
    let written = opened.and_then(|mut file| file.write_all(line.as_bytes()));
    written.unwrap_or_else(|error| panic!("{FILE}={}: {error}", file.display()));
}

#[test]
fn what_is_skipped_is_a_line_each() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("skips");
    append(&file, &line("agent::one", "no root"));
    append(&file, &line("cli::two", "no\n  shell"));
    assert_eq!(std::fs::read_to_string(file).expect("it was written"), "agent::one: no root\ncli::two: no shell\n");
}
