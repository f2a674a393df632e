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
        for part in ["\n  where: ", "\n  to do: "] {
            assert!(output.stderr.contains(part), "{output}");
        }
    }
    let burst = shown(midship().args(["controller", "--burst=1e+06"]));
    assert!(
        burst.contains("where: --burst <N>\n") && burst.contains("to do: give a whole number: Requests"),
        "{burst}"
    );
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
fn nothing_that_stands_in_a_broken_kubeconfig_is_printed() {
    let run = midship();
    let path = run.home().join("kubeconfig");
    let text = KUBECONFIG.replace("token: abc", "token: s3cret").replace("current-context", "  - [");
    std::fs::write(&path, text).expect("it can be written");
    let text = shown(run.arg("get").arg("--kubeconfig").arg(&path));
    has_three_parts(&text);
    assert!(!text.contains("s3cret"), "{text}");
}

#[test]
fn of_several_kubeconfigs_one_may_be_missing() {
    let run = midship();
    let path = run.home().join("there");
    std::fs::write(&path, KUBECONFIG.replace("SERVER", "127.0.0.1:1")).expect("it can be written");
    let named = format!("/nowhere/kubeconfig:{}", path.display());
    let text = shown(run.arg("get").env("KUBECONFIG", named));
    has_three_parts(&text);
    assert!(text.contains("where: https://127.0.0.1:1/"), "{text}");
}

#[test]
fn an_address_without_a_scheme_is_named() {
    let (run, path) = with_kubeconfig("here");
    std::fs::write(&path, KUBECONFIG.replace("https://SERVER", "127.0.0.1:6443")).expect("it can be written");
    let text = shown(run.arg("get"));
    has_three_parts(&text);
    assert!(text.contains("to do: write the whole address, such as https://127.0.0.1:6443"), "{text}");
}

#[test]
fn a_credential_plugin_that_hangs_is_given_up_in_time() {
    let (run, path) = with_kubeconfig("127.0.0.1:1");
    let plugin =
        "{exec: {apiVersion: client.authentication.k8s.io/v1, command: sleep, args: ['60'], interactiveMode: Never}}";
    let text = KUBECONFIG.replace("SERVER", "127.0.0.1:1").replace("{token: abc}", plugin);
    std::fs::write(&path, text).expect("it can be written");
    let start = Instant::now();
    let text = shown(run.args(["get", "--request-timeout", "500ms"]));
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    has_three_parts(&text);
    assert!(text.contains("the credential plugin \"sleep\" did not answer within 500ms"), "{text}");
}

#[test]
fn a_namespace_is_a_name_and_no_path() {
    for args in [["get", "-n", "../../.."], ["get", "inst/..", "-n=x"], ["doctor", "--installed-in", "a/b"]] {
        let (run, _) = with_kubeconfig("127.0.0.1:1");
        let text = shown(run.args(args));
        assert!(text.contains("is not valid; use"), "{text}");
    }
}

#[test]
fn a_full_disk_is_an_error_and_no_defect() {
    for args in
        [&["crds"][..], &["completion", "bash"], &["completion", "zsh"], &["--help"], &["extension", "new", "x"]]
    {
        let run = midship();
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_midship"));
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("it is there");
        let output = child.args(args).current_dir(run.home()).stdout(full).output().expect("it runs");
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {told}");
        assert!(told.contains("the result cannot be written") && told.contains("standard output"), "{args:?}: {told}");
    }
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
fn nobody_waits_longer_than_time_can_be_counted() {
    let endless = u64::MAX.to_string();
    for args in [["start", "x", "--timeout"], ["sync", "x", "--timeout"], ["blame", "x", "--fetch-timeout"]] {
        let output = midship().args(args).arg(&endless).output();
        assert!(output.code == 1 && output.stderr.contains(&endless), "{output}");
        assert!(!output.stderr.contains("panicked"), "{output}");
    }
}

#[test]
fn what_cannot_be_written_is_named() {
    for args in [["crds", "--to", "/proc/nowhere"], ["man", "--to", "/proc/nowhere"]] {
        has_three_parts(&shown(midship().args(args)));
    }
}

#[test]
fn the_controller_refuses_options_that_cannot_work() {
    for args in [
        ["--workers", "0"],
        ["--qps", "0"],
        ["--log-level", "midship=loud"],
        ["--log-level", "inof"],
        ["--cluster-name", "a..b c"],
        ["--lease-name", "Bad/Name"],
        ["--lease-namespace", "a.b"],
        ["--health-address", "192.0.2.1:1"],
    ] {
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
    for args in [&["crds"][..], &["completion", "bash"], &["completion", "fish"]] {
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_midship"))
            .args(args)
            .env_clear()
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut first = [0; 100];
        child.stdout.take().expect("it is piped").read_exact(&mut first).expect("it prints");
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{args:?}: a closed pipe is nothing to complain of");
        assert_eq!(output.status.code(), Some(0), "{args:?}");
    }
}

#[test]
fn what_needs_no_cluster_says_so_where_none_is_named() {
    let without = |args: &[&str]| {
        let text = shown(midship().args(args));
        has_three_parts(&text);
        text
    };
    for args in [&["history", "inst/a"][..], &["blame", "inst/a"], &["audit", "verify"]] {
        let text = without(args);
        assert!(
            text.contains("to do: or name the repository itself, which needs no cluster: --repo FOLDER\n"),
            "{text}"
        );
    }
    let text = without(&["backup", "list"]);
    assert!(
        text.contains("to do: or name the store itself, which needs no cluster: --from s3://BUCKET/PREFIX\n"),
        "{text}"
    );
    let text = without(&["audit", "verify", "--repo", "/nowhere/clone"]);
    assert!(text.contains("error: there is no such folder\n  where: /nowhere/clone\n"), "{text}");
}

#[test]
fn a_time_is_taken_as_kubectl_takes_it() {
    let (run, _) = with_kubeconfig("127.0.0.1:1");
    let text = shown(run.args(["start", "x", "--timeout", "5m"]));
    assert!(!text.contains("--timeout"), "{text}");
    let text = shown(midship().args(["logs", "x", "--since", "soon"]));
    has_three_parts(&text);
    assert!(text.contains("'--since <TIME>': this is no time\n"), "{text}");
    assert!(text.contains("to do: give a time such as 30s, 5m or 1h, or a number of seconds: Only what was"), "{text}");
}

#[test]
fn definitions_are_printed_as_they_are_asked_for() {
    let list: serde_json::Value = serde_json::from_str(&midship().args(["crds", "-o", "json"]).stdout()).expect("JSON");
    let kinds: Vec<_> = list["items"].as_array().into_iter().flatten().map(|one| &one["kind"]).collect();
    assert_eq!((&list["kind"], kinds.len()), (&serde_json::json!("List"), 9));
    assert!(kinds.iter().all(|kind| *kind == "CustomResourceDefinition"), "{kinds:?}");
}
