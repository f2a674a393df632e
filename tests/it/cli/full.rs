//! Nowhere to write to: a disk that is full, a reader that has gone. That is an error or nothing, and never a defect.

use std::fs::{File, OpenOptions};
use std::process::{Command, Stdio};

use super::team;
use crate::api::git_source::repository::Repository;

fn full() -> File {
    OpenOptions::new().write(true).open("/dev/full").expect("it is there")
}

fn commands() -> [&'static [&'static str]; 5] {
    [&["validate"], &["validate", "-o", "json"], &["diff"], &["diff", "-o", "markdown"], &["render"]]
}

/// A repository in which every command has something to say, beside the result as well.
fn changed() -> Repository {
    let repository = team();
    let path = "instances/shop/orders.yaml";
    let text = std::fs::read_to_string(repository.path().join(path)).expect("it can be read");
    repository.write(path, &text.replace("replicas: 3", "replicas: 5"));
    repository.write("midship.yaml", "ignore: [left-out.yaml]\n");
    repository.write("left-out.yaml", "a: b\n");
    repository
}

fn command(repository: &Repository, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_midship"));
    command.args(args).arg(repository.path()).stdin(Stdio::null());
    command
}

#[test]
fn a_full_disk_is_told() {
    let repository = changed();
    for args in commands() {
        let output = command(&repository, args).stdout(full()).output().expect("it runs");
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {told}");
        assert!(told.contains("the result cannot be written"), "{args:?}: {told}");
    }
}

#[test]
fn a_full_disk_under_what_is_said_beside_the_result_changes_no_result() {
    let repository = changed();
    for args in commands() {
        let well = command(&repository, args).stderr(Stdio::null()).output().expect("it runs");
        let output = command(&repository, args).stderr(full()).output().expect("it runs");
        assert_eq!((output.status.code(), &output.stdout), (well.status.code(), &well.stdout), "{args:?}");
    }
    let wrong = command(&repository, &["diff", "--base", "nothing"]).stderr(full()).output().expect("it runs");
    assert_eq!(wrong.status.code(), Some(1));
}

#[test]
fn a_reader_that_has_gone_is_no_mistake() {
    let repository = changed();
    for args in commands() {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let output = command(&repository, args).stdout(writer).output().expect("it runs");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(matches!(output.status.code(), Some(0 | 2)), "{args:?}: {:?} {told}", output.status);
        assert!(!told.contains("panicked"), "{args:?}: {told}");
    }
}
