//! `kubectl midship`: the real kubectl finds the plugin on PATH, runs it, and asks it for completions.

use std::os::unix::fs::symlink;

use crate::harness::api_test;

#[test]
fn kubectl_runs_the_plugin_and_completes_it() {
    api_test(async |scene| {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["kubectl-midship", "kubectl_complete-midship"] {
            symlink(env!("CARGO_BIN_EXE_midship"), folder.path().join(name)).expect("a link");
        }
        let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap_or_default());
        let kubectl = |args: &[&str]| scene.kubectl(args.iter().copied()).env("PATH", &path);

        let help = kubectl(&["midship", "--help"]).stdout();
        assert!(help.contains("Usage: kubectl midship [OPTIONS] <COMMAND>"), "{help}");
        let plugins = kubectl(&["plugin", "list"]).stdout();
        assert!(plugins.contains("/kubectl-midship"), "{plugins}");

        let mistake = kubectl(&["midship", "docter"]).output();
        assert_eq!(mistake.code, 1, "{mistake}");
        assert!(mistake.stderr.contains("a similar subcommand exists: 'doctor'"), "{mistake}");

        // what the completion script of kubectl asks for when somebody presses TAB
        let candidates = kubectl(&["__complete", "midship", "doc"]).stdout();
        assert!(candidates.lines().any(|line| line.starts_with("doctor\t")), "{candidates}");
        let candidates = kubectl(&["__complete", "midship", "doctor", "--installed-"]).stdout();
        assert!(candidates.lines().any(|line| line.starts_with("--installed-in\t")), "{candidates}");
    });
}
