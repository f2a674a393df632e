//! Colour: on a terminal, unless somebody does not want it, and never in what programs read.

use crate::harness::{Output, Run, midship};

const ESCAPE: char = '\u{1b}';

/// A folder with a mistake in it, which is told in red.
const MISTAKE: &str = "apiVersion: midship.dev/v1alpha1\nkind: Instance\nmetadata: {name: x}\nspec: {nonsense: true}\n";

fn with_mistake(run: Run) -> Run {
    std::fs::write(run.home().join("instance.yaml"), MISTAKE).expect("it can be written");
    run
}

fn in_pipe(args: &[&str], env: &[(&str, &str)]) -> Output {
    let run = with_mistake(midship()).args(args);
    env.iter().fold(run, |run, (name, value)| run.env(name, value)).output()
}

/// What the program writes to its standard output on a terminal; `script` gives it one.
fn on_terminal(args: &str, env: &[(&str, &str)]) -> String {
    let line = format!("{} {args} 2>/dev/null", env!("CARGO_BIN_EXE_midship"));
    let run = with_mistake(Run::new("script")).args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    let run = run.env("TERM", "xterm-256color").env("SHELL", "/bin/sh");
    env.iter().fold(run, |run, (name, value)| run.env(name, value)).output().stdout
}

#[test]
fn a_terminal_gets_colours() {
    let text = on_terminal("validate", &[]);
    assert!(text.contains("instance.yaml"), "{text:?}");
    assert!(text.contains(ESCAPE), "{text:?}");
    assert!(on_terminal("--help", &[]).contains(ESCAPE));
}

#[test]
fn a_pipe_gets_none() {
    for args in [&["validate"][..], &["--help"], &["nonsense"], &["doctor"]] {
        let Output { stdout, stderr, .. } = in_pipe(args, &[]);
        assert!(!stdout.contains(ESCAPE) && !stderr.contains(ESCAPE), "{args:?}: {stdout:?} {stderr:?}");
    }
}

#[test]
fn no_color_is_obeyed_on_a_terminal() {
    for args in ["validate", "--help"] {
        let text = on_terminal(args, &[("NO_COLOR", "1")]);
        assert!(!text.is_empty() && !text.contains(ESCAPE), "{args}: {text:?}");
    }
}

#[test]
fn clicolor_force_is_obeyed_in_a_pipe() {
    let Output { stdout, stderr, .. } = in_pipe(&["validate"], &[("CLICOLOR_FORCE", "1")]);
    assert!(stdout.contains(ESCAPE), "{stdout:?}");
    assert!(stderr.contains(ESCAPE), "{stderr:?}");
}

#[test]
fn what_programs_read_is_never_coloured() {
    for format in ["json", "yaml", "markdown"] {
        let text = on_terminal(&format!("validate -o {format}"), &[("CLICOLOR_FORCE", "1")]);
        assert!(text.contains("instance.yaml"), "{format}: {text:?}");
        assert!(!text.contains(ESCAPE), "{format}: {text:?}");
        let Output { stdout, .. } = in_pipe(&["validate", "-o", format], &[("CLICOLOR_FORCE", "1")]);
        assert!(!stdout.contains(ESCAPE), "{format}: {stdout:?}");
    }
    for args in ["crds", "completion bash"] {
        let text = on_terminal(args, &[("CLICOLOR_FORCE", "1")]);
        assert!(text.len() > 1000 && !text.contains(ESCAPE), "{args}");
    }
}
