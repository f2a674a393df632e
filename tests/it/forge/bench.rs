//! What a poll, a change, a first fetch and an audit commit cost, beside what `git` takes for the same in the same run.

use std::time::{Duration, Instant};

use midship::repo::{
    Appended, AuditLog, Cache, Draft, Edit, FileTree, Follow, Limits, ParseLimits, Person, Record, parse,
};

use super::fixture::{bounds, forge};

fn spec(n: usize, replicas: usize) -> (String, String) {
    let path = format!("instances/ns-{:03}/inst-{n:05}.yaml", n / 100);
    let text = format!(
        "apiVersion: midship.dev/v1alpha1\nkind: Instance\nmetadata: {{name: inst-{n:05}, namespace: ns-{:03}}}\nspec:\n  \
         type: redis\n  extensionVersion: 1.0.0\n  version: \"7.0\"\n  components:\n    - name: redis\n      replicas: {replicas}\n",
        n / 100
    );
    (path, text)
}

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> (T, Duration) {
    let started = Instant::now();
    let value = work();
    let took = started.elapsed();
    println!("{what}: {took:.1?}");
    (value, took)
}

/// The same work done by us and by `git`.
fn compared<T>(what: &str, git: Duration, work: impl FnOnce() -> T) -> T {
    let (value, took) = timed(what, work);
    println!("{what}: {:.2} × git ({git:.1?})", took.as_secs_f64() / git.as_secs_f64().max(1e-9));
    value
}

#[test]
fn bench_ten_thousand_files_cost_what_changed() {
    let repository = forge().repository("speed");
    let files: Vec<_> = (0..10_000).map(|n| spec(n, 1)).collect();
    repository.push(&files);
    let limits = Limits::default();
    for (way, remote) in repository.remotes() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = Cache::new(folder.path().join("cache"));
        let reference = repository.bare_clone();
        let head = || {
            let mut session = remote.open(&bounds()).expect(way);
            let commit = session.resolve(&Follow::Head).expect(way).commit;
            (session, commit)
        };
        let ((), git) = timed(&format!("{way}: git's first fetch"), || reference.fetch(way));
        let first = compared(&format!("{way}: first fetch"), git, || {
            let (session, first) = head();
            cache.fetch(session, first).expect(way);
            first
        });
        let (before, _) = timed("list 10,000 files", || cache.tree(first).expect(way).list(&limits, None).expect(way));
        assert_eq!(before.len(), 10_000);
        timed("read and parse 10,000 files", || {
            let tree = cache.tree(first).expect(way);
            for (path, file) in before.files() {
                let bytes = tree.read(&path, file, &limits).expect("readable");
                assert_eq!(parse(&path, &bytes, &ParseLimits::default()).expect("good").len(), 1);
            }
        });
        let ((), git) = timed(&format!("{way}: git ls-remote"), || reference.ls_remote(way));
        compared(&format!("{way}: poll without a change"), git, || {
            let (session, commit) = head();
            cache.fetch(session, commit).expect(way);
        });
        repository.push(&[spec(4321, before.len() + way.len())]);
        let ((), git) = timed(&format!("{way}: git's fetch of one change"), || reference.fetch(way));
        let second = compared(&format!("{way}: poll and fetch one change"), git, || {
            let (session, commit) = head();
            cache.fetch(session, commit).expect(way);
            commit
        });
        let (changes, _) = timed("list and compare", || {
            let after = cache.tree(second).expect(way).list(&limits, Some(&before)).expect(way);
            before.diff(&after)
        });
        assert_eq!(changes.len(), 1);
    }
}

#[test]
fn bench_an_audit_commit_costs_little() {
    let repository = forge().repository("audit-speed");
    let person = Person { name: "m".into(), email: "m@example.test".into(), seconds: 1_700_000_000, offset_minutes: 0 };
    let record = |id: usize, edits: Vec<Edit>| Record {
        id: id.to_string(),
        marker: String::new(),
        draft: Draft {
            author: person.clone(),
            committer: person.clone(),
            message: format!("{id}"),
            trailers: Vec::new(),
            edits,
        },
    };
    let edit = |n: usize, replicas: usize| {
        let (path, text) = spec(n, replicas);
        Edit { path, content: Some(text.into_bytes()) }
    };
    for (way, remote) in repository.remotes() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = AuditLog::new(remote, Cache::new(folder.path().join("cache")), &format!("midship/audit/{way}"));
        let append = |record: Record| {
            let appended = log.append(&[record], None, &bounds()).expect(way);
            assert!(matches!(appended, Appended::Pushed { .. }), "{appended:?}");
        };
        timed(&format!("{way}: first audit commit of 10,000 objects"), || {
            append(record(0, (0..10_000).map(|n| edit(n, 1)).collect()));
        });
        let ((), git) = timed(&format!("{way}: git's commit and push of one change"), || {
            repository.push(&[spec(1, 3 + way.len())]);
        });
        for n in 1..4 {
            compared(&format!("{way}: audit commit of one change"), git, || append(record(n, vec![edit(n, 2)])));
        }
    }
}
