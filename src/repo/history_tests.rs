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
        let path = history.of_path(third, "a.yaml").unwrap();
        let path: Vec<_> =
            path.into_iter().map(|(c, blob)| (c.id, history.blob(blob.unwrap(), 100).unwrap())).collect();
        assert_eq!(path, [(second, b"a: 2\n".to_vec()), (first, b"a: 1\n".to_vec())]);
        let removed = history.of_path(third, "dir/b.yaml").unwrap();
        assert_eq!(
            removed.iter().map(|(c, blob)| (c.id, blob.is_some())).collect::<Vec<_>>(),
            [(third, false), (first, true)]
        );
        assert!(history.of_path(third, "no/where").unwrap().is_empty());
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
    assert_eq!(history.of_path(second, "a").unwrap().len(), 1);
}
