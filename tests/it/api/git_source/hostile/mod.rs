//! Repositories that mean harm, or were written in a hurry: each mistake is told by its place and in these words, and every
//! good file is applied all the same.

mod objects;
mod text;
mod tree;

use std::collections::BTreeSet;

use serde_json::json;

use super::repository::instance;
use super::team_test;

/// A file with one mistake.
pub struct Case {
    path: &'static str,
    content: Vec<u8>,
    /// `line:column code: message`; NAMESPACE stands for the team's.
    says: &'static str,
}

impl Case {
    fn new(path: &'static str, content: Vec<u8>, says: &'static str) -> Self {
        Self { path, content, says }
    }
}

/// Commits these files in between two good ones.
fn told(cases: Vec<Case>) {
    team_test(async |team| {
        team.repository.write("a-good.yaml", &instance("first", "1"));
        team.repository.write("zz-good.yaml", &instance("last", "1"));
        for case in &cases {
            team.repository.write_bytes(case.path, &case.content);
        }
        team.repository.commit("Good and bad");
        team.follow(json!({})).await;
        team.becomes("InvalidFiles").await;
        let says = |case: &Case| format!("{}:{}", case.path, case.says.replace("NAMESPACE", &team.scene.namespace));
        compare(&team.errors().await, cases.iter().map(says));
        // of a file with several documents, the good ones count
        let expected: &[&str] = if cases.iter().any(|case| case.path == "second-document.yaml") {
            &["fine 7.0", "first 1", "last 1"]
        } else {
            &["first 1", "last 1"]
        };
        team.has(expected).await;
        // once the bad ones are gone, so is every complaint
        for case in &cases {
            team.repository.remove(case.path);
        }
        team.repository.commit("Only good");
        team.becomes("Applied").await;
        assert!(team.errors().await.is_empty());
    });
}

fn compare(found: &[String], expected: impl Iterator<Item = String>) {
    let (found, expected): (BTreeSet<String>, BTreeSet<String>) = (found.iter().cloned().collect(), expected.collect());
    let missing: Vec<_> = expected.difference(&found).collect();
    let surplus: Vec<_> = found.difference(&expected).collect();
    assert!(missing.is_empty() && surplus.is_empty(), "not said: {missing:#?}\nsaid instead: {surplus:#?}");
}

#[test]
fn texts_that_cannot_be_read_harm_no_other_file() {
    told(text::cases());
}

#[test]
fn objects_that_may_not_be_defined_harm_no_other_file() {
    told(objects::cases());
}

#[test]
fn entries_that_lead_elsewhere_harm_no_other_file() {
    team_test(async |team| {
        team.repository.write("a-good.yaml", &instance("first", "1"));
        team.repository.commit("Good");
        let odd = tree::entries(&team.repository);
        let good = team.repository.store("blob", instance("first", "1").as_bytes());
        let last = team.repository.store("blob", instance("last", "1").as_bytes());
        let mut entries: Vec<(&str, &[u8], &str)> =
            vec![("100644", b"a-good.yaml", &good), ("100644", b"zz-good.yaml", &last)];
        entries.extend(odd.iter().map(|odd| (odd.mode, odd.name.as_slice(), odd.object.as_str())));
        let tree = team.repository.tree(&entries);
        let commit = team.repository.git(&["commit-tree", &tree, "-p", "main", "-m", "Odd"]);
        team.repository.git(&["update-ref", "refs/heads/main", &commit]);
        team.follow(json!({})).await;
        team.becomes("InvalidFiles").await;
        let expected = odd.into_iter().map(|odd| odd.says).filter(|says| !says.is_empty());
        compare(&team.errors().await, expected);
        team.has(&["first 1", "last 1"]).await;
    });
}

#[test]
fn there_are_enough_of_them() {
    let number = text::cases().len() + objects::cases().len();
    assert!(number >= 60, "only {number}");
}
