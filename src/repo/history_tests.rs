//! History read from repositories that git made.

#![allow(clippy::unwrap_used)]

use super::fixture::{Fixture, bounds};
use super::*;

#[test]
fn history_is_told_newest_first_with_what_each_commit_changed() {
    let fixture = Fixture::new();
    let first = fixture.commit(&[("a.yaml", "a: 1\n"), ("dir/b.yaml", "b: 1\n")]);
    let second = fixture.commit(&[("a.yaml", "a: 2\n"), ("dir/b.yaml", "b: 1\n"), ("c.yaml", "c: 1\n")]);
    let third = fixture.commit(&[("a.yaml", "a: 2\n"), ("c.yaml", "c: 1\n")]);
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::with_history(folder.path().join("cache"));
    let session = fixture.remote().open(&bounds()).unwrap();
    assert!(matches!(cache.fetch(session, second).unwrap(), Fetched::New { .. }));
    let session = fixture.remote().open(&bounds()).unwrap();
    assert!(
        matches!(cache.fetch(session, third).unwrap(), Fetched::New { .. }),
        "the second fetch builds on the first"
    );
    for history in [cache.history().unwrap(), History::open(&fixture.path()).unwrap()] {
        let commits: Vec<Commit> = history.commits(third).unwrap().map(Result::unwrap).collect();
        let mut ids: Vec<ObjectId> = commits.iter().map(|c| c.id).collect();
        assert_eq!(ids.pop(), Some(first));
        assert_eq!(commits.len(), 3);
        let changes = |commit: &Commit| -> Vec<String> {
            let touched = history.changes(commit).unwrap();
            touched
                .iter()
                .map(|t| {
                    format!(
                        "{}{}{}",
                        if t.old.is_some() { "-" } else { "" },
                        if t.new.is_some() { "+" } else { "" },
                        t.path
                    )
                })
                .collect()
        };
        let of = |id: ObjectId| changes(commits.iter().find(|c| c.id == id).unwrap());
        assert_eq!(of(first), ["+a.yaml", "+dir/b.yaml"]);
        assert_eq!(of(second), ["-+a.yaml", "+c.yaml"]);
        assert_eq!(of(third), ["-dir/b.yaml"]);
        let file = |id: ObjectId, path: &str| {
            let commit = commits.iter().find(|c| c.id == id).unwrap();
            history.file(commit, path).unwrap().map(|blob| history.blob(blob, 100).unwrap())
        };
        assert_eq!(file(first, "a.yaml"), Some(b"a: 1\n".to_vec()));
        assert_eq!(file(third, "a.yaml"), Some(b"a: 2\n".to_vec()));
        assert_eq!(file(second, "dir/b.yaml"), Some(b"b: 1\n".to_vec()));
        for path in ["dir/b.yaml", "dir", "no/where"] {
            assert_eq!(file(third, path), None, "{path}");
        }
        let parents = |commit: &Commit| -> Vec<ObjectId> { history.parents(commit).unwrap() };
        assert_eq!((parents(&commits[0]), parents(&commits[2])), (vec![second], vec![]));
    }
}

#[test]
fn revisions_are_named_as_people_name_them() {
    let fixture = Fixture::new();
    let first = fixture.commit(&[("a", "1")]);
    let second = fixture.commit(&[("a", "2")]);
    fixture.git(&["tag", "-a", "-m", "x", "v1", &first.to_string()]);
    let history = History::open(&fixture.path()).unwrap();
    for (revision, id) in [("main", second), ("HEAD~1", first), ("v1", first), (&second.to_string()[..10], second)] {
        assert_eq!(history.resolve(revision).unwrap(), id, "{revision}");
    }
    for revision in ["nothing", "", "HEAD~9", "main:a", "-x"] {
        assert!(matches!(history.resolve(revision), Err(HistoryError::NoSuchRevision(_))), "{revision}");
    }
    let nowhere = tempfile::tempdir().unwrap();
    assert!(matches!(History::open(nowhere.path()), Err(HistoryError::NoRepository { .. })));
}

#[test]
fn a_shallow_history_ends_where_it_was_cut() {
    let fixture = Fixture::new();
    fixture.commit(&[("a", "1")]);
    let second = fixture.commit(&[("a", "2")]);
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::new(folder.path().join("cache"));
    cache.fetch(fixture.remote().open(&bounds()).unwrap(), second).unwrap();
    let history = cache.history().unwrap();
    let commits: Vec<Commit> = history.commits(second).unwrap().map(Result::unwrap).collect();
    assert_eq!(commits.len(), 1);
    assert_eq!(history.changes(&commits[0]).unwrap().len(), 1);
    assert!(!commits[0].parents.is_empty() && history.parents(&commits[0]).unwrap().is_empty());
}
