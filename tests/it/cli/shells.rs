//! Completions and manual pages: what shells, kubectl and man make of them.

use std::os::unix::fs::symlink;
use std::path::Path;

use super::commands;
use crate::harness::{Run, find, midship, skip};

fn script(shell: &str) -> String {
    midship().args(["completion", shell]).stdout()
}

/// Feeds the script to the shell with `check`, where that shell is on this machine.
fn accepted_by(shell: &str, check: &[&str]) {
    let text = script(shell);
    for command in commands() {
        assert!(text.contains(&command), "{shell}: {command} is missing");
    }
    match find(shell) {
        Some(program) => {
            let run = Run::new(program);
            std::fs::write(run.home().join("script"), text).expect("it can be written");
            run.args(check).stdout();
        }
        None => skip(
            &format!("{shell}_accepts_its_script"),
            format!("{shell} is not on this machine: its script was looked at, but not run"),
        ),
    }
}

#[test]
fn bash_completes_commands_and_options() {
    accepted_by("bash", &["-n", "script"]);
    let ask = "source /dev/stdin
        complete -p midship
        ask() { COMP_WORDS=(\"$@\") COMP_CWORD=$(($# - 1)) COMPREPLY=(); _midship midship \"${@: -1}\" \"${@: -2:1}\"; echo \"${COMPREPLY[*]}\"; }
        ask midship doc; ask midship doctor --req; ask midship completion f; ask midship -o j";
    let answers = Run::new("bash").args(["--norc", "-c", ask]).input(script("bash")).stdout();
    let lines: Vec<&str> = answers.lines().collect();
    assert!(lines[0].starts_with("complete ") && lines[0].ends_with(" -F _midship midship"), "{answers}");
    assert_eq!(lines[1..], ["doctor", "--request-timeout", "fish", "json"], "{answers}");
}

#[test]
fn zsh_accepts_its_script() {
    assert!(script("zsh").starts_with("#compdef midship\n"));
    accepted_by("zsh", &["-n", "script"]);
}

#[test]
fn fish_accepts_its_script() {
    assert!(script("fish").lines().any(|line| line.starts_with("complete -c midship ")));
    accepted_by("fish", &["--no-execute", "script"]);
}

#[test]
fn as_a_plugin_it_completes_the_name_that_was_called() {
    let folder = tempfile::tempdir().expect("a folder");
    let plugin = linked(folder.path(), "kubectl-midship");
    let text = Run::new(&plugin).args(["completion", "bash"]).stdout();
    let registered =
        Run::new("bash").args(["--norc", "-c", "source /dev/stdin; complete -p kubectl-midship"]).input(text);
    assert!(registered.stdout().ends_with(" kubectl-midship\n"));
}

#[test]
fn kubectl_gets_candidates_when_it_asks_for_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let completion = linked(folder.path(), "kubectl_complete-midship");
    let asked = |words: &[&str]| Run::new(&completion).args(words).stdout();
    let all = asked(&[""]);
    for command in commands() {
        assert!(all.lines().any(|line| line.split('\t').next() == Some(command.as_str())), "{command}: {all}");
    }
    assert!(all.ends_with("\n:4\n"), "{all}");
    assert_eq!(asked(&["completion", "fi"]), "fish\t\n:4\n");
    assert!(asked(&["doctor", "--contex"]).starts_with("--context\t"), "{}", asked(&["doctor", "--contex"]));
    assert_eq!(asked(&["--kubeconfig", ""]), ":0\n");
}

fn linked(folder: &Path, name: &str) -> std::path::PathBuf {
    let link = folder.join(name);
    symlink(env!("CARGO_BIN_EXE_midship"), &link).expect("a link");
    link
}

#[test]
fn every_command_has_a_manual_page_that_man_can_read() {
    let folder = tempfile::tempdir().expect("a folder");
    midship().arg("man").arg("--to").arg(folder.path().join("man")).stdout();
    let pages = commands().into_iter().map(|command| format!("midship-{command}.1"));
    for page in pages.chain(["midship.1".to_owned()]) {
        let path = folder.path().join("man").join(&page);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{page}: {error}"));
        for part in [".TH ", ".SH NAME", ".SH SYNOPSIS"] {
            assert!(text.lines().any(|line| line.starts_with(part)), "{page}: no {part}");
        }
    }
    let Some(groff) = find("groff") else {
        return skip(
            "every_command_has_a_manual_page_that_man_can_read",
            "groff is not on this machine: the pages were looked at, but not set",
        );
    };
    // those of commands below commands too
    let pages = std::fs::read_dir(folder.path().join("man")).expect("a folder");
    let pages = pages.map(|page| page.expect("a file").path());
    let output = Run::new(groff).args(["-man", "-Tascii", "-ww", "-z"]).args(pages).output();
    assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{output}");
}
