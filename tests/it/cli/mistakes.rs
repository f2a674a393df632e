//! Mistakes are answered with what is wrong, where, and what to do; and never with the exit code of changes.

use std::io::Read;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use insta::assert_snapshot;

use super::{commands, shown};
use crate::harness::{Run, midship};

const KUBECONFIG: &str = "
apiVersion: v1
kind: Config
clusters: [{name: here, cluster: {server: \"https://SERVER\", insecure-skip-tls-verify: true}}]
users: [{name: me, user: {token: abc}}]
contexts:
  - {name: staging, context: {cluster: here, user: me}}
  - {name: production, context: {cluster: here, user: me}}
current-context: staging
";

fn with_kubeconfig(server: &str) -> (Run, String) {
    let run = midship();
    let path = run.home().join("kubeconfig");
    std::fs::write(&path, KUBECONFIG.replace("SERVER", server)).expect("it can be written");
    let path = path.display().to_string();
    (run.args(["--kubeconfig", &path]), path)
}

/// What is wrong, where, and what to do.
#[track_caller]
fn has_three_parts(text: &str) {
    for part in ["\nerror: ", "\n  where: ", "\n  to do: "] {
        assert!(text.contains(part), "no{part:?}in:\n{text}");
    }
    assert!(text.starts_with("exit code 1\n"), "{text}");
}

#[test]
fn an_unknown_command_is_answered_with_the_one_that_was_meant() {
    assert_snapshot!(shown(midship().arg("docter")));
}

#[test]
fn a_bad_option_or_value_is_an_error_and_not_a_change() {
    for args in [
        &["--frobnicate"][..],
        &["doctor", "-o", "xml"],
        &["man"],
        &["controller", "--qps", "many"],
        &["completion", "tcl"],
    ] {
        let output = midship().args(args).output();
        assert_eq!((output.code, output.stdout.as_str()), (1, ""), "{output}");
        assert!(output.stderr.starts_with("error: "), "{output}");
    }
    assert_snapshot!(shown(midship().args(["doctor", "-o", "jsn"])));
    for command in commands() {
        assert_eq!(midship().args([command.as_str(), "--frobnicate"]).output().code, 1, "{command}");
    }
}

#[test]
fn without_any_kubeconfig_it_says_how_to_name_one() {
    let text = shown(midship().arg("doctor"));
    has_three_parts(&text);
    assert_snapshot!(text);
}

#[test]
fn a_kubeconfig_that_is_not_there_is_named() {
    let text = shown(midship().args(["--kubeconfig", "/nowhere/kubeconfig", "doctor"]));
    has_three_parts(&text);
    assert_snapshot!(text);
}

#[test]
fn a_broken_kubeconfig_is_named_with_the_place_of_the_mistake() {
    let run = midship();
    let path = run.home().join("kubeconfig");
    std::fs::write(&path, "clusters:\n  - name: [\n").expect("it can be written");
    let text = shown(run.arg("doctor").arg("--kubeconfig").arg(&path));
    has_three_parts(&text);
    assert_snapshot!(text);
}

#[test]
fn a_kubeconfig_of_the_environment_is_named_too() {
    let text = shown(midship().arg("doctor").env("KUBECONFIG", "/nowhere/kubeconfig"));
    has_three_parts(&text);
    assert!(text.contains("/nowhere/kubeconfig"), "{text}");
}

#[test]
fn a_pod_without_a_token_is_told_to_mount_one() {
    let text =
        shown(midship().arg("doctor").env("KUBERNETES_SERVICE_HOST", "10.0.0.1").env("KUBERNETES_SERVICE_PORT", "443"));
    has_three_parts(&text);
    assert!(text.contains("the pod's own account cannot be used"), "{text}");
}

#[test]
fn a_mistyped_context_is_answered_with_the_one_that_was_meant() {
    let (run, _) = with_kubeconfig("127.0.0.1:1");
    let text = shown(run.args(["--context", "stagin", "doctor"]));
    has_three_parts(&text);
    assert_snapshot!(text);
    for (option, name) in [("--cluster", "there"), ("--user", "you")] {
        let (run, _) = with_kubeconfig("127.0.0.1:1");
        let text = shown(run.args([option, name, "doctor"]));
        has_three_parts(&text);
    }
}

#[test]
fn a_server_that_cannot_be_reached_is_named() {
    let (run, _) = with_kubeconfig("127.0.0.1:1");
    let text = shown(run.arg("doctor"));
    has_three_parts(&text);
    assert_snapshot!(text);
}

#[test]
fn a_server_that_never_answers_is_given_up_in_time() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("an address").to_string();
    let (run, _) = with_kubeconfig(&address);
    let start = Instant::now();
    let text = shown(run.args(["doctor", "--request-timeout", "1"]));
    // after how long it gave up stands in the text
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    has_three_parts(&text);
    assert_snapshot!(text.replace(&address, "SERVER"));
}

#[test]
fn what_cannot_be_written_is_named() {
    for args in [["crds", "--to", "/proc/nowhere"], ["man", "--to", "/proc/nowhere"]] {
        has_three_parts(&shown(midship().args(args)));
    }
}

#[test]
fn the_controller_refuses_options_that_cannot_work() {
    for args in
        [["--workers", "0"], ["--qps", "0"], ["--log-level", "midship=loud"], ["--health-address", "192.0.2.1:1"]]
    {
        let run = midship().arg("controller").args(args);
        let text = shown(run);
        has_three_parts(&text);
        assert!(text.contains(args[1].trim_end_matches(":1")), "{text}");
    }
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let text = shown(midship().args(["controller", "--health-address", &address]));
    has_three_parts(&text);
    assert!(text.contains(&address) && text.contains("in use"), "{text}");
}

#[test]
fn a_reader_that_leaves_early_is_no_defect() {
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_midship"))
        .arg("crds")
        .env_clear()
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut first = [0; 100];
    child.stdout.take().expect("it is piped").read_exact(&mut first).expect("it prints");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "a closed pipe is nothing to complain of");
}
