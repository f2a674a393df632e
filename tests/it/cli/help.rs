//! What `--help` and `--version` say.

use std::os::unix::fs::symlink;

use insta::assert_snapshot;

use super::{commands, shown};
use crate::harness::{Run, midship};

#[test]
fn help_says_what_there_is() {
    assert_snapshot!("help", shown(midship().arg("--help")));
}

#[test]
fn every_command_explains_itself() {
    let commands = commands();
    assert!(commands.len() >= 7, "{commands:?}");
    for command in commands {
        let help = shown(midship().args([command.as_str(), "--help"]));
        assert!(help.lines().all(|line| line.chars().count() <= 100), "wider than 100 columns:\n{help}");
        assert_snapshot!(format!("help-{command}"), help);
    }
}

#[test]
fn commands_of_commands_explain_themselves() {
    let all = [
        ("extension", &["new", "lint", "test", "show", "list", "diff", "install", "push", "pull"][..]),
        ("audit", &["verify"]),
        ("backup", &["create", "list", "describe", "verify", "prune", "kit"]),
    ];
    for (command, inner) in all {
        for name in inner {
            let help = shown(midship().args([command, name, "--help"]));
            assert!(help.lines().all(|line| line.chars().count() <= 100), "wider than 100 columns:\n{help}");
            assert_snapshot!(format!("help-{command}-{name}"), help);
        }
    }
}

#[test]
fn the_version_is_one_line() {
    assert_snapshot!(shown(midship().arg("--version")), @r"
    exit code 0
    --- stdout
    midship VERSION
    --- stderr
    ");
}

#[test]
fn without_a_command_the_help_is_shown_and_nothing_was_done() {
    let output = midship().output();
    assert_eq!((output.code, output.stdout.as_str()), (1, ""), "{output}");
    assert!(output.stderr.contains("Usage: midship [OPTIONS] <COMMAND>"), "{output}");
}

#[test]
fn as_a_plugin_it_calls_itself_as_kubectl_does() {
    let folder = tempfile::tempdir().expect("a folder");
    let plugin = folder.path().join("kubectl-midship");
    symlink(env!("CARGO_BIN_EXE_midship"), &plugin).expect("a link");
    let help = Run::new(&plugin).arg("--help").stdout();
    assert!(help.contains("Usage: kubectl midship [OPTIONS] <COMMAND>"), "{help}");
    let help = Run::new(&plugin).args(["doctor", "--help"]).stdout();
    assert!(help.contains("Usage: kubectl midship doctor [OPTIONS]"), "{help}");
}
