//! Trees made to do harm: each refusal is asserted, and that everything else is still read.

#![allow(clippy::unwrap_used)]

use std::os::unix::ffi::OsStrExt;

use super::fixture::{Fixture, Odd, id};
use super::*;

fn list(tree: &impl FileTree, limits: &Limits) -> Listing {
    tree.list(limits, None).unwrap()
}

fn paths(listing: &Listing) -> Vec<String> {
    listing.files().into_iter().map(|(path, _)| path).collect()
}

fn refused(listing: &Listing) -> Vec<String> {
    listing.refused().iter().map(|r| format!("{} {}", r.path, r.code.as_str())).collect()
}

fn commit_tree(fixture: &Fixture, tree: ObjectId) -> CommitTree {
    let commit = fixture.commit_tree(tree, "hostile");
    Cache::new(fixture.path()).tree(commit).unwrap()
}

#[test]
fn everything_odd_in_a_commit_is_refused_and_the_rest_is_read() {
    let fixture = Fixture::new();
    let blob = fixture.blob(b"ok: true\n");
    let deep = fixture.tree(&[Odd { mode: "100644", name: b"deep.yaml", id: blob }]);
    let gitlink = id(&"5".repeat(40));
    let long = "n".repeat(500);
    let odd: Vec<(&str, &[u8], ObjectId, &str)> = vec![
        ("120000", b"link.yaml", blob, "link.yaml symlink"),
        ("160000", b"module", gitlink, "module submodule"),
        ("000000", b"nothing", blob, "nothing special-file"),
        ("100644", b"..", blob, ".. name-unsafe"),
        ("100644", b".", blob, ". name-unsafe"),
        ("40000", b"..", deep, ".. name-unsafe"),
        ("100644", b"a/../../etc/passwd", blob, "a/../../etc/passwd name-unsafe"),
        ("100644", b"/etc/passwd", blob, "/etc/passwd name-unsafe"),
        ("40000", b".git", deep, ".git name-unsafe"),
        ("40000", b".GIT", deep, ".GIT name-unsafe"),
        ("100644", b"new\nline.yaml", blob, "new\\nline.yaml name-control"),
        ("100644", b"esc\x1b[2J.yaml", blob, "esc\\x1b[2J.yaml name-control"),
        ("100644", b"latin\xe9.yaml", blob, "latin\\xe9.yaml name-not-utf8"),
        ("100644", "gpj\u{202e}lmay.yaml".as_bytes(), blob, "gpj\\xe2\\x80\\xaelmay.yaml name-control"),
        ("100644", "zero\u{200b}.yaml".as_bytes(), blob, "zero\\xe2\\x80\\x8b.yaml name-control"),
    ];
    for (mode, name, target, expected) in &odd {
        let tree = fixture.tree(&[
            Odd { mode: "100644", name: b"good.yaml", id: blob },
            Odd { mode, name, id: *target },
            Odd { mode: "100755", name: b"script.sh", id: blob },
            Odd { mode: "40000", name: b"sub", id: deep },
        ]);
        let tree = commit_tree(&fixture, tree);
        let listing = list(&tree, &Limits::default());
        assert_eq!(refused(&listing), [*expected]);
        assert_eq!(paths(&listing), ["good.yaml", "script.sh", "sub/deep.yaml"], "{expected}");
        for (path, file) in listing.files() {
            assert_eq!(tree.read(&path, file, &Limits::default()).unwrap(), b"ok: true\n");
        }
        assert!(listing.get("script.sh").unwrap().executable);
    }
    let tree = fixture.tree(&[
        Odd { mode: "100644", name: b"good.yaml", id: blob },
        Odd { mode: "100644", name: long.as_bytes(), id: blob },
    ]);
    let listing = list(&commit_tree(&fixture, tree), &Limits::default());
    assert_eq!(refused(&listing), [format!("{long} path-too-long")]);
    assert_eq!(paths(&listing), ["good.yaml"]);
}

#[test]
fn a_name_that_is_there_twice_is_one_refusal_and_one_file() {
    let fixture = Fixture::new();
    let blob = fixture.blob(b"a: 1\n");
    let other = fixture.blob(b"a: 2\n");
    let tree = fixture.tree(&[
        Odd { mode: "100644", name: b"a.yaml", id: blob },
        Odd { mode: "100644", name: b"a.yaml", id: other },
        Odd { mode: "100644", name: b"A.yaml", id: blob },
    ]);
    let listing = list(&commit_tree(&fixture, tree), &Limits::default());
    assert_eq!(refused(&listing), ["a.yaml duplicate-name"]);
    assert_eq!(paths(&listing), ["A.yaml", "a.yaml"]);
    let warnings: Vec<_> = listing.warnings().iter().map(|w| w.code.as_str()).collect();
    assert_eq!(warnings, ["case-collision"]);
}

#[test]
fn depth_size_and_count_are_bounded() {
    let fixture = Fixture::new();
    let blob = fixture.blob(b"a: 1\n");
    let big = fixture.blob(&[b'x'; 5000]);
    let mut tree = fixture
        .tree(&[Odd { mode: "100644", name: b"a.yaml", id: blob }, Odd { mode: "100644", name: b"big.yaml", id: big }]);
    for _ in 0..6 {
        tree = fixture
            .tree(&[Odd { mode: "100644", name: b"a.yaml", id: blob }, Odd { mode: "40000", name: b"d", id: tree }]);
    }
    let tree = commit_tree(&fixture, tree);
    let limits = Limits { depth: 3, ..Limits::default() };
    let listing = list(&tree, &limits);
    assert_eq!(refused(&listing), ["d/d/d/d too-deep"]);
    assert_eq!(listing.len(), 4);
    let limits = Limits { file_bytes: 4999, ..Limits::default() };
    let listing = list(&tree, &limits);
    assert!(refused(&listing).is_empty(), "nobody may want to read it");
    let path = "d/d/d/d/d/d/big.yaml";
    let error = tree.read(path, listing.get(path).unwrap(), &limits).unwrap_err();
    assert!(matches!(&error, TreeError::Refused(refusal) if refusal.reason.contains("5000 bytes")), "{error}");
    let limits = Limits { entries: 10, ..Limits::default() };
    assert_eq!(tree.list(&limits, None).unwrap_err(), TreeError::TooMany(10));
}

#[test]
fn a_tree_that_multiplies_itself_stops_at_the_limit() {
    let fixture = Fixture::new();
    let blob = fixture.blob(b"a: 1\n");
    let mut tree = fixture.tree(&[Odd { mode: "100644", name: b"a", id: blob }]);
    let names: Vec<String> = (0..10).map(|n| format!("d{n}")).collect();
    for _ in 0..10 {
        let entries: Vec<Odd<'_>> = names.iter().map(|n| Odd { mode: "40000", name: n.as_bytes(), id: tree }).collect();
        tree = fixture.tree(&entries);
    }
    // ten thousand million files behind eleven objects
    let tree = commit_tree(&fixture, tree);
    let limits = Limits { entries: 5000, ..Limits::default() };
    assert_eq!(tree.list(&limits, None).unwrap_err(), TreeError::TooMany(5000));
}

#[test]
fn only_changed_folders_are_read_again() {
    let fixture = Fixture::new();
    let files: Vec<(String, String)> =
        (0..200).map(|n| (format!("d{}/f{n}.yaml", n % 20), format!("n: {n}\n"))).collect();
    let mut files: Vec<(&str, &str)> = files.iter().map(|(p, c)| (p.as_str(), c.as_str())).collect();
    let first = fixture.commit(&files);
    let cache = Cache::new(fixture.path());
    let limits = Limits::default();
    let before = cache.tree(first).unwrap().list(&limits, None).unwrap();
    files[5].1 = "n: changed\n";
    files.remove(100);
    files.push(("new/n.yaml", "n: new\n"));
    let second = fixture.commit(&files);
    let tree = cache.tree(second).unwrap();
    let after = tree.list(&limits, Some(&before)).unwrap();
    assert_eq!(paths(&after), paths(&list(&tree, &limits)), "the same as without a shortcut");
    let changes: Vec<_> = before.diff(&after).into_iter().map(|c| (c.path, c.old.is_some(), c.new.is_some())).collect();
    assert_eq!(
        changes,
        [
            ("d0/f100.yaml".to_owned(), true, false),
            ("d5/f5.yaml".to_owned(), true, true),
            ("new/n.yaml".to_owned(), false, true),
        ]
    );
    assert_eq!(after.diff(&before).len(), 3);
    assert!(after.diff(&after.clone()).is_empty());
}

#[test]
fn a_file_that_becomes_a_folder_is_a_removal_and_an_addition() {
    let limits = Limits::default();
    let before = list(&MemoryTree::default().with("a", "1").with("b", "2"), &limits);
    let after = list(&MemoryTree::default().with("a/x", "1").with("b", "3"), &limits);
    let changes: Vec<_> = before.diff(&after).into_iter().map(|c| (c.path, c.new.is_some())).collect();
    assert_eq!(changes, [("a".to_owned(), false), ("a/x".to_owned(), true), ("b".to_owned(), true)]);
}

#[test]
fn refusals_of_unchanged_folders_are_kept() {
    let fixture = Fixture::new();
    let blob = fixture.blob(b"a: 1\n");
    let linked = fixture.tree(&[Odd { mode: "120000", name: b"link", id: blob }]);
    let tree = |id: ObjectId| {
        fixture.tree(&[Odd { mode: "100644", name: b"a.yaml", id }, Odd { mode: "40000", name: b"linked", id: linked }])
    };
    let (first, second) = (tree(blob), tree(fixture.blob(b"a: 2\n")));
    let before = list(&commit_tree(&fixture, first), &Limits::default());
    let after = commit_tree(&fixture, second).list(&Limits::default(), Some(&before)).unwrap();
    assert_eq!(refused(&after), ["linked/link symlink"]);
}

#[test]
fn a_folder_of_a_commit_is_listed_with_whole_paths() {
    let fixture = Fixture::new();
    let commit =
        fixture.commit(&[("clusters/a/x.yaml", "x: 1\n"), ("clusters/b/y.yaml", "y: 1\n"), ("z.yaml", "z: 1\n")]);
    let cache = Cache::new(fixture.path());
    let tree = cache.tree(commit).unwrap().at("./clusters/a/").unwrap();
    let listing = list(&tree, &Limits::default());
    assert_eq!(paths(&listing), ["clusters/a/x.yaml"]);
    let file = listing.get("clusters/a/x.yaml").unwrap();
    assert_eq!(tree.read("clusters/a/x.yaml", file, &Limits::default()).unwrap(), b"x: 1\n");
    assert!(listing.get("z.yaml").is_none());
    for path in ["clusters/c", "z.yaml", "..", "clusters/../clusters"] {
        assert!(matches!(cache.tree(commit).unwrap().at(path), Err(TreeError::NoFolder(_))), "{path}");
    }
}

#[test]
fn a_plain_folder_has_the_same_rules() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for folder in [".git", "dir", "other"] {
        std::fs::create_dir(at(folder)).unwrap();
    }
    std::fs::write(at("dir/a.yaml"), "a: 1\n").unwrap();
    std::fs::write(at(".git/config"), "secret").unwrap();
    std::fs::write(at("other/.git"), "gitdir: elsewhere\n").unwrap();
    std::fs::write(at("other/a.yaml"), "a: 1\n").unwrap();
    std::fs::write(at("big.yaml"), vec![b'x'; 2000]).unwrap();
    std::fs::write(folder.path().join(std::ffi::OsStr::from_bytes(b"latin\xe9.yaml")), "a").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", at("link.yaml")).unwrap();
    std::os::unix::fs::symlink("/etc", at("dir/etc")).unwrap();
    nix::unistd::mkfifo(&at("pipe.yaml"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let tree = FolderTree::open(folder.path()).unwrap();
    let limits = Limits { file_bytes: 1000, ..Limits::default() };
    let listing = list(&tree, &limits);
    assert_eq!(paths(&listing), ["big.yaml", "dir/a.yaml"]);
    let error = tree.read("big.yaml", listing.get("big.yaml").unwrap(), &limits).unwrap_err();
    assert!(matches!(&error, TreeError::Refused(refusal) if refusal.code == Code::TooLarge), "{error}");
    let mut all = refused(&listing);
    all.sort();
    assert_eq!(
        all,
        [
            "dir/etc symlink",
            "latin\\xe9.yaml name-not-utf8",
            "link.yaml symlink",
            "other submodule",
            "pipe.yaml special-file",
        ]
    );
    let file = listing.get("dir/a.yaml").unwrap();
    assert_eq!(file.id, blob_id(b"a: 1\n"));
    assert_eq!(tree.read("dir/a.yaml", file, &limits).unwrap(), b"a: 1\n");
    // a file that turned into a link after it was listed is not followed
    std::fs::remove_file(at("dir/a.yaml")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", at("dir/a.yaml")).unwrap();
    assert!(tree.read("dir/a.yaml", file, &limits).is_err());
    assert!(FolderTree::open(&at("nowhere")).is_err());
    assert!(FolderTree::open(&at("big.yaml")).is_err());
}

#[test]
fn the_same_files_are_equal_wherever_they_lie() {
    let fixture = Fixture::new();
    let files = [("a.yaml", "a: 1\n"), ("dir/b.yaml", "b: 1\n")];
    let commit = fixture.commit(&files);
    let limits = Limits::default();
    let from_git = list(&Cache::new(fixture.path()).tree(commit).unwrap(), &limits);
    let from_memory = list(&files.into_iter().collect::<MemoryTree>(), &limits);
    assert!(from_git.diff(&from_memory).is_empty());
}
