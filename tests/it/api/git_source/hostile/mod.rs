//! Repositories that mean harm, or were written in a hurry: each mistake is told by its place and in these words, and every
//! good file is applied all the same.

mod objects;
mod text;
mod tree;

use std::collections::BTreeSet;

use serde_json::json;

use super::repository::{Repository, instance};
use super::served::{becomes, ways};
use super::team_test;
use crate::forge::fixture::forge;

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

/// A commit with all of them between two good files, of which the last has this version.
fn between(repository: &Repository, odd: &[tree::Odd], version: &str, parent: &str) -> String {
    let good = repository.store("blob", instance("first", "1").as_bytes());
    let last = repository.store("blob", instance("last", version).as_bytes());
    let mut entries: Vec<(&str, &[u8], &str)> =
        vec![("100644", b"a-good.yaml", &good), ("100644", b"zz-good.yaml", &last)];
    entries.extend(odd.iter().map(|odd| (odd.mode, odd.name.as_slice(), odd.object.as_str())));
    let tree = repository.tree(&entries);
    repository.git(&["commit-tree", &tree, "-p", parent, "-m", "Odd"])
}

#[test]
fn entries_that_lead_elsewhere_harm_no_other_file_whichever_way_they_come() {
    team_test(async |team| {
        team.repository.write("a-good.yaml", &instance("first", "1"));
        let begin = team.repository.commit("Good");
        let odd = tree::entries(&team.repository);
        let expected = || odd.iter().map(|odd| odd.says.clone()).filter(|says| !says.is_empty());
        let mut commit = between(&team.repository, &odd, "1", &begin);
        team.repository.git(&["update-ref", "refs/heads/main", &commit]);
        team.follow(json!({})).await;
        team.becomes("InvalidFiles").await;
        compare(&team.errors().await, expected());
        team.has(&["first 1", "last 1"]).await;
        // each server has a commit that no other has
        for (way, version) in [(0, "2"), (1, "3")] {
            let server = forge().repository("hostile");
            commit = between(&team.repository, &odd, version, &commit);
            server.push_from(team.repository.path(), &commit);
            let (url, login) = ways(&server)[way].clone();
            let (name, login) = (format!("login-{way}"), login.iter().map(|(key, value)| (*key, value.as_str())));
            team.secret(&name, &login.collect::<Vec<_>>()).await;
            team.patch_source(json!({ "spec": { "url": url, "credentials": { "name": name } } })).await;
            becomes(team, "InvalidFiles", &commit).await;
            compare(&team.errors().await, expected());
            team.has(&["first 1", &format!("last {version}")]).await;
        }
    });
}

#[test]
fn there_are_enough_of_them() {
    let number = text::cases().len() + objects::cases().len();
    assert!(number >= 60, "only {number}");
}
