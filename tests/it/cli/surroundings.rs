//! Repositories as people have them: without a commit, shallow, bare, within one another, with odd names in them.

use serde_json::Value;

use crate::api::git_source::repository::{Repository, instance};
use crate::harness::{Output, midship};

const FILE: &str = "instances/shop/a.yaml";

fn run(args: &[&str]) -> Output {
    midship().args(args).output()
}

/// A repository with an instance that changed once.
fn begun() -> Repository {
    let repository = Repository::new();
    for version in ["1", "2"] {
        repository.write(FILE, &instance("a", version));
        repository.commit(&format!("Version {version}"));
    }
    repository
}

#[test]
fn a_clone_of_any_kind_is_compared_commit_by_commit() {
    let repository = begun();
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name).display().to_string();
    let url = repository.url();
    repository.git(&["worktree", "add", "-q", "--detach", &at("work tree")]);
    repository.git(&["clone", "-q", "--bare", &url, &at("bare")]);
    repository.git(&["clone", "-q", &url, &at("detached")]);
    repository.git(&["-C", &at("detached"), "checkout", "-q", "--detach"]);
    for name in ["work tree", "bare", "detached"] {
        let output = run(&["diff", "--base", "HEAD~1", "--head", "HEAD", "-o", "json", &at(name)]);
        assert_eq!(output.code, 2, "{name}: {output}");
        let told: Value = serde_json::from_str(&output.stdout).expect("JSON");
        assert_eq!(told["changes"][0]["object"], "Instance shop/a", "{name}: {output}");
    }
    repository.git(&["clone", "-q", "--depth", "1", &url, &at("shallow")]);
    assert_eq!(run(&["diff", &at("shallow")]).code, 0);
    let output = run(&["diff", "--base", "HEAD~1", &at("shallow")]);
    assert_eq!(output.code, 1, "{output}");
    for said in ["`HEAD~1` names no commit of this repository", "git fetch --unshallow"] {
        assert!(output.stderr.contains(said), "{said}: {output}");
    }
}

#[test]
fn what_was_never_committed_is_validated_and_a_difference_asks_for_a_commit() {
    let repository = Repository::new();
    repository.write(FILE, &instance("a", "1"));
    let place = repository.path().display().to_string();
    let output = run(&["validate", &place]);
    assert!(output.code == 0 && output.stdout == "all is well: 1 file, 1 object\n", "{output}");
    let output = run(&["diff", &place]);
    assert_eq!(output.code, 1, "{output}");
    for said in ["there is no commit in this repository yet", "commit something first; `midship validate`"] {
        assert!(output.stderr.contains(said), "{said}: {output}");
    }
}

#[test]
fn odd_names_and_ends_of_lines_are_no_mistakes() {
    let repository = Repository::new();
    let file = |name: &str| format!("instances/shop/{name}.yaml");
    for (name, path) in [("space", "with space"), ("snow", "ünïcode ☃"), ("dash", "-dash")] {
        repository.write(&file(path), &instance(name, "1"));
    }
    repository.write(&file("crlf"), &instance("crlf", "1").replace('\n', "\r\n"));
    repository.write(&file("bom"), &format!("\u{feff}{}", instance("bom", "1")));
    repository.write("comments.yaml", "# nothing but\n# comments\n");
    repository.write("dividers.yaml", "---\n---\n...\n");
    repository.commit("Odd");
    let place = repository.path().display().to_string();
    for args in [&["validate", &place][..], &["validate", "--revision", "HEAD", &place]] {
        let output = run(args);
        assert!(output.code == 0 && output.stdout == "all is well: 7 files, 5 objects\n", "{output}");
    }
    let output = run(&["validate", "-o", "markdown", &place]);
    assert!(output.code == 0 && output.stdout == "all is well: 7 files, 5 objects\n", "no empty table: {output}");
    let output = midship().args(["validate", "--", "-dash.yaml"]).within(&repository.path().join("instances/shop"));
    let output = output.output();
    assert!(output.code == 0 && output.stdout == "all is well: 1 file, 1 object\n", "{output}");
    for (name, path) in [("snow", "ünïcode ☃"), ("dash", "-dash"), ("crlf", "crlf"), ("bom", "bom")] {
        let output = run(&["blame", name, "-n", "shop", "--repo", &place]);
        assert!(output.code == 0 && output.stdout.contains(&format!(" {}:", file(path))), "{output}");
    }
}

#[test]
fn a_repository_within_another_is_refused_on_disk_as_it_is_in_a_commit() {
    let (inner, outer) = (begun(), begun());
    outer.git(&["-c", "protocol.file.allow=always", "submodule", "add", "-q", &inner.url(), "module"]);
    outer.commit("One in another");
    let place = outer.path().display().to_string();
    let (folder, commit) = (run(&["validate", &place]), run(&["validate", "--revision", "HEAD", &place]));
    assert_eq!(folder.code, 1, "{folder}");
    assert!(folder.stdout.contains("is a submodule; submodules are not followed"), "{folder}");
    assert_eq!(folder.stdout, commit.stdout);
}

#[test]
fn what_other_programs_keep_in_hidden_folders_is_never_read_nor_told_of() {
    let repository = begun();
    let hidden = |name: &str| {
        let folder = repository.path().join(name);
        std::fs::create_dir_all(&folder).expect("folders can be made");
        folder
    };
    std::os::unix::fs::symlink("/usr/bin/python3", hidden(".venv/bin").join("python")).expect("a link");
    repository.commit("Tools");
    std::fs::write(hidden(".tools/clone").join(".git"), "gitdir: elsewhere\n").expect("it can be written");
    let place = repository.path().display().to_string();
    for args in [&["validate", &place][..], &["validate", "--revision", "HEAD", &place]] {
        let output = run(args);
        assert!(output.code == 0 && output.stdout == "all is well: 1 file, 1 object\n", "{output}");
    }
}
