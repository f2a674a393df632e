//! The audit branch against a real repository, with git itself as the judge.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::fixture::{Fixture, bounds, git_in, id};
use super::*;

struct Scene {
    fixture: Fixture,
    folder: tempfile::TempDir,
}

const BRANCH: &str = "midship/audit/test";

impl Scene {
    fn new() -> Self {
        Self { fixture: Fixture::new(), folder: tempfile::tempdir().unwrap() }
    }

    /// A controller's view of the branch; another name is another controller with a cache of its own.
    fn log(&self, name: &str) -> AuditLog {
        AuditLog::new(self.fixture.remote(), Cache::new(self.folder.path().join(name)), BRANCH)
    }

    fn git(&self, args: &[&str]) -> String {
        self.fixture.git(args)
    }

    fn hook(&self, name: &str, script: &str) {
        let path = self.fixture.path().join("hooks").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn subjects(&self) -> Vec<String> {
        let text = self.git(&["log", "--reverse", "--format=%s", BRANCH]);
        text.lines().map(str::to_owned).collect()
    }
}

fn person(name: &str) -> Person {
    Person { name: name.into(), email: format!("{name}@example.test"), seconds: 1_700_000_000, offset_minutes: 60 }
}

fn record(id: &str, edits: &[(&str, Option<&str>)]) -> Record {
    Record {
        id: id.into(),
        marker: String::new(),
        draft: Draft {
            author: person("ann"),
            committer: person("midship"),
            message: format!("Apply {id}\n\nBecause of a push.\n"),
            trailers: vec![("Midship-Source".into(), "0123".into())],
            edits: edits
                .iter()
                .map(|(path, content)| Edit {
                    path: (*path).into(),
                    content: content.map(|text| text.as_bytes().to_vec()),
                })
                .collect(),
        },
    }
}

fn pushed(result: Result<Appended, AuditError>) -> Vec<ObjectId> {
    match result.unwrap() {
        Appended::Pushed { commits, .. } => commits.into_iter().map(|(_, id)| id).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn records_become_commits_that_git_reads() {
    let scene = Scene::new();
    let log = scene.log("a");
    assert_eq!(log.tip(&bounds()).unwrap(), None);
    let first = [
        record("1", &[("shop/inst/a.yaml", Some("a: 1\n")), ("shop/inst/b.yaml", Some("b: 1\n"))]),
        record("2", &[("shop/inst/b.yaml", None), ("bank/inst/c.yaml", Some("c: 1\n"))]),
    ];
    assert_eq!(pushed(log.append(&first, None, &bounds())).len(), 2);
    let third = record("3", &[("shop/inst/a.yaml", Some("a: 2\n"))]);
    let commits = pushed(log.append(&[third], None, &bounds()));
    scene.git(&["fsck", "--strict", "--full"]);
    assert_eq!(scene.subjects(), ["Apply 1", "Apply 2", "Apply 3"]);
    assert_eq!(scene.git(&["rev-parse", BRANCH]), commits[0].to_string());
    assert_eq!(scene.git(&["ls-tree", "-r", "--name-only", BRANCH]), "bank/inst/c.yaml\nshop/inst/a.yaml");
    assert_eq!(scene.git(&["show", &format!("{BRANCH}:shop/inst/a.yaml")]), "a: 2");
    assert_eq!(
        scene.git(&["log", "-1", "--format=%an|%cn|%ce|%ad|%b", "--date=iso", BRANCH]),
        "ann|midship|midship@example.test|2023-11-14 23:13:20 +0100|Because of a push.\n\nMidship-Source: 0123\nMidship-Record: 3"
    );
    assert_eq!(scene.git(&["log", "-1", "--format=%(trailers:key=Midship-Record,valueonly)", BRANCH]).trim(), "3");
    assert_eq!(log.tip(&bounds()).unwrap().unwrap().trailer("Midship-Source").as_deref(), Some("0123"));
}

#[test]
fn a_fresh_controller_continues_the_chain_and_repeats_nothing() {
    let scene = Scene::new();
    let all: Vec<Record> = (1..=4).map(|n| record(&n.to_string(), &[("x.yaml", Some(&format!("x: {n}\n")))])).collect();
    pushed(scene.log("a").append(&all[..2], None, &bounds()));
    // it pushed two of four and died before it could note that
    assert_eq!(pushed(scene.log("b").append(&all, None, &bounds())).len(), 2);
    assert_eq!(pushed(scene.log("b").append(&all, None, &bounds())).len(), 0);
    // the first comes back with an old idea of the tip
    let fifth = [all.as_slice(), &[record("5", &[("y.yaml", Some("y: 1\n"))])]].concat();
    assert_eq!(pushed(scene.log("a").append(&fifth, None, &bounds())).len(), 1);
    assert_eq!(scene.subjects(), ["Apply 1", "Apply 2", "Apply 3", "Apply 4", "Apply 5"]);
    scene.git(&["fsck", "--strict", "--full"]);
}

#[test]
fn two_writers_at_once_lose_nothing() {
    let scene = Scene::new();
    std::thread::scope(|scope| {
        for writer in 0..2 {
            let scene = &scene;
            scope.spawn(move || {
                let log = scene.log(&writer.to_string());
                for n in 0..8 {
                    let id = format!("{writer}-{n}");
                    let one = [record(&id, &[(&format!("{writer}.yaml"), Some(&id))])];
                    let append = || log.append(&one, None, &bounds()).unwrap();
                    // git refuses whoever waits too long for one who moves the branch: he comes again as if he had lost it
                    let missed = |outcome: &Appended| !matches!(outcome, Appended::Pushed { .. });
                    let mut outcome = append();
                    for _ in 0..100 {
                        if missed(&outcome) {
                            outcome = append();
                        }
                    }
                    assert!(!missed(&outcome), "{outcome:?}");
                }
            });
        }
    });
    let subjects = scene.subjects();
    assert_eq!(subjects.len(), 16, "{subjects:?}");
    for writer in 0..2 {
        let own: Vec<_> = subjects.iter().filter(|s| s.starts_with(&format!("Apply {writer}-"))).collect();
        assert_eq!(own.len(), 8);
        assert!(own.is_sorted());
    }
    scene.git(&["fsck", "--strict", "--full"]);
}

#[test]
fn a_push_from_an_old_tip_is_lost_with_the_new_one_told() {
    let scene = Scene::new();
    let log = scene.log("a");
    pushed(log.append(&[record("1", &[("x", Some("1"))])], None, &bounds()));
    let cache = Cache::new(scene.folder.path().join("a"));
    let base = id(&scene.git(&["rev-parse", BRANCH]));
    let main = scene.fixture.commit(&[("z", "z")]);
    let draft = record("2", &[("y", Some("2"))]).draft;
    let remote = scene.fixture.remote();
    let (_, outcome) = propose(&remote, &cache, base, "main", &draft, None, &bounds()).unwrap();
    assert_eq!(outcome, PushOutcome::LostRace { now: Some(main) });
    let (new, outcome) = propose(&remote, &cache, base, "proposal/1", &draft, None, &bounds()).unwrap();
    assert_eq!(outcome, PushOutcome::Pushed);
    assert_eq!(scene.git(&["rev-parse", "proposal/1"]), new.to_string());
    let again = propose(&remote, &cache, base, "proposal/1", &draft, None, &bounds()).unwrap();
    assert_eq!(again, (new, PushOutcome::Pushed), "the same proposal twice is one");
}

#[test]
fn a_refusal_carries_the_words_of_the_server() {
    let scene = Scene::new();
    scene.hook("pre-receive", "echo 'the branch is frozen until Monday' >&2; exit 1");
    let log = scene.log("a");
    let one = [record("1", &[("x", Some("1"))])];
    let Appended::Refused { reason } = log.append(&one, None, &bounds()).unwrap() else { panic!("refused") };
    assert!(reason.contains("pre-receive hook declined") && reason.contains("frozen until Monday"), "{reason}");
    fs::remove_file(scene.fixture.path().join("hooks/pre-receive")).unwrap();
    scene.hook("update", "echo \"\\033[31mno $1\\033[0m\" >&2; exit 1");
    let Appended::Refused { reason } = log.append(&one, None, &bounds()).unwrap() else { panic!("refused") };
    assert!(reason.contains("no refs/heads/midship/audit/test") && !reason.contains('\x1b'), "{reason:?}");
    fs::remove_file(scene.fixture.path().join("hooks/update")).unwrap();
    assert_eq!(pushed(log.append(&one, None, &bounds())).len(), 1, "nothing was lost by the refusals");
}

#[test]
fn a_branch_that_somebody_else_has_locked_refuses_nothing() {
    let scene = Scene::new();
    let log = scene.log("a");
    let one = [record("1", &[("x", Some("1"))])];
    let lock = scene.fixture.path().join(format!("refs/heads/{BRANCH}.lock"));
    fs::create_dir_all(lock.parent().unwrap()).unwrap();
    fs::write(&lock, "").unwrap();
    let Appended::Unreachable(error) = log.append(&one, None, &bounds()).unwrap() else { panic!("it is locked") };
    assert!(error.is_transient(), "{error}");
    let words = "somebody else moves refs/heads/midship/audit/test, or left a lock behind: atomic transaction failed";
    assert!(error.to_string().contains(words), "{error}");
    fs::remove_file(&lock).unwrap();
    assert_eq!(pushed(log.append(&one, None, &bounds())).len(), 1);

    // a branch where a folder has to be is not gone by itself
    let scene = Scene::new();
    let main = scene.fixture.commit(&[("z", "z")]).to_string();
    scene.git(&["update-ref", "refs/heads/midship/audit", &main]);
    let Appended::Refused { reason } = scene.log("a").append(&one, None, &bounds()).unwrap() else { panic!("refused") };
    assert!(reason.contains("'refs/heads/midship/audit' exists"), "{reason}");
}

#[test]
fn a_repository_that_is_gone_is_refused_and_a_slow_one_unreachable() {
    let scene = Scene::new();
    let one = [record("1", &[("x", Some("1"))])];
    scene.hook("pre-receive", "sleep 30");
    let quick = Bounds::new(std::time::Duration::from_millis(700));
    let Appended::Unreachable(error) = scene.log("a").append(&one, None, &quick).unwrap() else {
        panic!("unreachable")
    };
    assert_eq!(error.code(), "deadline");
    fs::rename(scene.fixture.path(), scene.folder.path().join("moved")).unwrap();
    assert!(matches!(scene.log("a").append(&one, None, &bounds()).unwrap(), Appended::Refused { .. }));
}

#[test]
fn a_branch_that_was_deleted_or_rewritten_is_continued_from_what_it_is_now() {
    let scene = Scene::new();
    let log = scene.log("a");
    pushed(log.append(&[record("1", &[("x", Some("1"))])], None, &bounds()));
    scene.git(&["update-ref", "-d", &format!("refs/heads/{BRANCH}")]);
    scene.git(&["reflog", "expire", "--expire=now", "--all"]);
    scene.git(&["prune", "--expire=now"]);
    // the same file again: it is in our cache, but no longer with the server
    pushed(log.append(&[record("2", &[("x", Some("1"))])], None, &bounds()));
    assert_eq!(scene.subjects(), ["Apply 2"]);
    scene.git(&["fsck", "--strict", "--full"]);
    let other = scene.fixture.commit(&[("other", "1")]);
    scene.git(&["update-ref", &format!("refs/heads/{BRANCH}"), &other.to_string()]);
    pushed(log.append(&[record("3", &[("x", Some("3"))])], None, &bounds()));
    assert_eq!(scene.subjects(), ["test", "Apply 3"]);
    assert_eq!(scene.git(&["ls-tree", "-r", "--name-only", BRANCH]), "other\nx");
}

#[test]
fn a_branch_that_lost_what_was_pushed_is_told_of_before_anything_is_appended() {
    let scene = Scene::new();
    let reference = format!("refs/heads/{BRANCH}");
    let all: Vec<Record> = (1..=3).map(|n| record(&n.to_string(), &[("x", Some(&n.to_string()))])).collect();
    let commits = pushed(scene.log("a").append(&all, None, &bounds()));
    let after = || scene.log("a").after(Some(commits[2]));
    // others may add to it, also where nothing of it is here
    let foreign = |at: &str| {
        let tree = scene.git(&["rev-parse", &format!("{at}^{{tree}}")]);
        let commit = scene.git(&["commit-tree", &tree, "-p", at, "-m", "foreign"]);
        scene.git(&["update-ref", &reference, &commit]);
        id(&commit)
    };
    foreign(BRANCH);
    assert_eq!(pushed(after().append(&[record("4", &[("x", Some("4"))])], None, &bounds())).len(), 1);
    foreign(BRANCH);
    let fresh = scene.log("fresh").after(Some(commits[2]));
    assert_eq!(pushed(fresh.append(&[record("5", &[("x", Some("5"))])], None, &bounds())).len(), 1);

    let now = foreign(&commits[0].to_string());
    let sixth = [record("6", &[("x", Some("6"))])];
    let rewritten = Appended::Rewritten { before: commits[2], now: Some(now) };
    assert_eq!(after().append(&sixth, None, &bounds()).unwrap(), rewritten);
    assert_eq!(scene.git(&["rev-parse", BRANCH]), now.to_string(), "nothing was appended");
    assert_eq!(pushed(scene.log("a").after(Some(now)).append(&sixth, None, &bounds())).len(), 1);
    scene.git(&["update-ref", "-d", &reference]);
    let gone = Appended::Rewritten { before: commits[2], now: None };
    assert_eq!(after().append(&[record("7", &[("x", Some("7"))])], None, &bounds()).unwrap(), gone);
}

#[test]
fn a_damaged_cache_does_not_stop_the_log() {
    let scene = Scene::new();
    for (n, harm) in ["nothing", "objects", "refs/midship/tip", "HEAD"].iter().enumerate() {
        let log = scene.log("a");
        let path = scene.folder.path().join("a").join(harm);
        if path.is_dir() {
            fs::remove_dir_all(&path).unwrap();
        } else if path.exists() {
            fs::write(&path, "garbage").unwrap();
        }
        let text = format!("x: {n}\n");
        pushed(log.append(&[record(&n.to_string(), &[("deep/er/x.yaml", Some(&text))])], None, &bounds()));
    }
    assert_eq!(scene.subjects(), ["Apply 0", "Apply 1", "Apply 2", "Apply 3"]);
    scene.git(&["fsck", "--strict", "--full"]);
}

#[test]
fn damage_below_the_tip_is_mended_as_well() {
    let scene = Scene::new();
    let log = scene.log("a");
    let files = |name: &str| {
        let entries = fs::read_dir(scene.folder.path().join(name).join("objects/pack")).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect::<Vec<_>>()
    };
    let append = |id: &str, path: &str| pushed(log.append(&[record(id, &[(path, Some(id))])], None, &bounds()))[0];
    let first = append("1", "old/x.yaml");
    let before = files("a");
    append("2", "new/y.yaml");
    for file in &before {
        fs::remove_file(file).unwrap();
    }
    let third = append("3", "old/x.yaml");
    assert_eq!(scene.subjects(), ["Apply 1", "Apply 2", "Apply 3"]);

    // the copy with ancestors, which tells whether the branch still has what was pushed
    let follows = |tip: ObjectId, known: ObjectId| scene.log("b").follows(tip, known, &bounds()).unwrap();
    assert!(follows(third, first));
    let before = files("b-history");
    let fourth = append("4", "old/x.yaml");
    assert!(follows(fourth, first));
    for file in &before {
        fs::remove_file(file).unwrap();
    }
    assert!(follows(fourth, first));
    let stranger = scene.fixture.commit(&[("other", "1")]);
    assert!(!follows(fourth, stranger), "damage is told apart from a branch that others cut");
    scene.git(&["fsck", "--strict", "--full"]);
}

#[test]
fn a_long_log_does_not_fill_its_cache() {
    let scene = Scene::new();
    let log = scene.log("a");
    for n in 0..60 {
        pushed(log.append(&[record(&n.to_string(), &[("x.yaml", Some(&n.to_string()))])], None, &bounds()));
    }
    assert_eq!(scene.subjects().len(), 60);
    let packs = fs::read_dir(scene.folder.path().join("a/objects/pack")).unwrap().count();
    assert!(packs <= 90, "{packs} files");
}

#[test]
fn paths_names_and_trailers_cannot_break_out() {
    let scene = Scene::new();
    let log = scene.log("a");
    for path in ["", "/etc/passwd", "a/../b", "../x", ".git/config", "a//b", "a/", "a/.GIT/x", "a\nb", "./a"] {
        let error = log.append(&[record("1", &[(path, Some("x"))])], None, &bounds()).unwrap_err();
        assert!(matches!(error, AuditError::Draft(DraftError::Path { .. })), "{path:?}: {error}");
    }
    let mut one = record("1\nMidship-Evil: yes", &[("a.yaml", Some("a"))]);
    one.draft.author.name = "Eve <root@x>\nparent 0000".into();
    one.draft.message = "Subject\x1b[2J\0\n\nbody".into();
    one.draft.trailers = vec![("Reason".into(), "one\n\nFake-Trailer: two".into())];
    pushed(log.append(&[one], None, &bounds()));
    scene.git(&["fsck", "--strict", "--full"]);
    assert_eq!(
        scene.git(&["log", "-1", "--format=%an|%s|%(trailers:unfold,separator=%x2c)", BRANCH]),
        "Eve root@x parent 0000|Subject[2J|Reason: one Fake-Trailer: two,Midship-Record: 1 Midship-Evil: yes"
    );
    let mut bad = record("2", &[("a.yaml", Some("a"))]);
    bad.draft.trailers = vec![("No way: x".into(), "y".into())];
    assert!(matches!(log.append(&[bad], None, &bounds()), Err(AuditError::Draft(DraftError::Trailer(_)))));
}

#[test]
fn signed_commits_verify_with_git() {
    let scene = Scene::new();
    let key = scene.folder.path().join("key");
    let made = std::process::Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "audit", "-f"])
        .arg(&key)
        .status()
        .unwrap();
    assert!(made.success());
    let signer = Signer::ssh(Secret::new(fs::read_to_string(&key).unwrap()));
    pushed(scene.log("a").append(&[record("1", &[("x", Some("1"))])], Some(&signer), &bounds()));
    let public = fs::read_to_string(key.with_extension("pub")).unwrap();
    let allowed = scene.folder.path().join("allowed");
    fs::write(&allowed, format!("midship@example.test {public}")).unwrap();
    scene.git(&["config", "gpg.ssh.allowedSignersFile", allowed.to_str().unwrap()]);
    git_in(&scene.fixture.path(), &["verify-commit", BRANCH], b"");
    scene.git(&["fsck", "--strict", "--full"]);
    assert!(scene.log("a").tip(&bounds()).unwrap().unwrap().signed);
    let error = scene.log("a").append(
        &[record("2", &[("x", Some("2"))])],
        Some(&Signer::ssh(Secret::new("no key"))),
        &bounds(),
    );
    assert!(matches!(error, Err(AuditError::Draft(DraftError::Sign(SignError::Refused(_))))), "{error:?}");
}
