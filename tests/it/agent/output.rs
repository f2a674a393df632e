//! The process's output: passed on untouched, or led to files that are rotated, however full the disk is.

use std::fs;
use std::path::Path;
use std::process::Command;

use midship::agent::ctl::Client;
use midship::agent::init::protocol::Op;
use serde_json::json;

use super::pod::{AGENT, LONG, Place, Pod, appears, namespaces_work, shell, unshare, until, with};
use crate::harness::skip;

fn holds(path: &Path, text: &str) {
    until(&format!("{text:?} in {}", path.display()), || {
        let found = fs::read_to_string(path).unwrap_or_default();
        if found.contains(text) { Ok(()) } else { Err(found) }
    });
}

#[test]
fn output_is_passed_on_as_it_is() {
    let pod = Pod::start(&shell("echo to stdout; echo to stderr >&2; exec sleep 1000"));
    holds(&pod.path("stdout"), "to stdout\n");
    holds(&pod.path("stderr"), "to stderr\n");
    let status = pod.wait_ready();
    let target = fs::read_link(format!("/proc/{}/fd/1", status.pid.unwrap())).unwrap();
    assert_eq!(target, fs::canonicalize(pod.path("stdout")).unwrap(), "nothing stands between");
}

#[test]
fn output_goes_to_files_too_which_are_rotated_by_size_and_count() {
    let dir = tempfile::tempdir().unwrap();
    let logs = dir.path().to_owned();
    let script = "i=1000; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done; echo oh >&2; touch done; \
        exec sleep 1000";
    let files = json!([
        { "path": logs.join("out.log"), "streams": ["stdout"], "maxBytes": 8192, "keep": 2 },
        { "path": logs.join("err.log"), "streams": ["stderr"] },
    ]);
    let pod = Pod::start(&with(shell(script), json!({ "workingDir": logs, "output": { "files": files } })));
    appears(&logs.join("done"));
    holds(&logs.join("out.log"), "line 2999\n");
    holds(&logs.join("err.log"), "oh\n");
    holds(&pod.path("stdout"), "line 2999\n");
    assert_eq!(pod.read("stdout").lines().count(), 2000, "the console has it all");
    for name in ["out.log", "out.log.1", "out.log.2"] {
        let text = fs::read_to_string(logs.join(name)).unwrap();
        assert!(text.len() <= 8192 && text.ends_with('\n') && text.starts_with("line "), "{name}");
    }
    assert!(!logs.join("out.log.3").exists());
    let written =
        pod.wait("the count", |status| status.output.first().is_some_and(|file| file.written_bytes == 20_000));
    assert_eq!(written.output[0].dropped_bytes, 0);
}

#[test]
fn files_can_be_changed_and_left_out_while_the_process_runs() {
    let dir = tempfile::tempdir().unwrap();
    let script = "while :; do echo tick; sleep 0.02; done";
    let to = |names: &[&str]| {
        let files: Vec<_> = names.iter().map(|name| json!({ "path": dir.path().join(name) })).collect();
        with(shell(script), json!({ "output": { "capture": true, "files": files } }))
    };
    let pod = Pod::start(&to(&[]));
    let before = pod.wait_ready();
    pod.configure(&to(&["a.log", "b.log"]));
    holds(&dir.path().join("b.log"), "tick\n");
    pod.configure(&to(&["a.log"]));
    pod.wait("one file", |status| status.output.len() == 1);
    let size = || fs::metadata(dir.path().join("b.log")).unwrap().len();
    let then = size();
    let grown = fs::metadata(dir.path().join("a.log")).unwrap().len() + 50;
    until("the other file to grow", || {
        let now = fs::metadata(dir.path().join("a.log")).unwrap().len();
        if now > grown { Ok(()) } else { Err(format!("{now}")) }
    });
    assert_eq!(size(), then);
    let after = pod.status();
    assert_eq!((after.pid, after.pending_restart), (before.pid, vec![]));
}

#[test]
fn what_was_not_captured_from_the_start_needs_a_restart() {
    let pod = Pod::start(&shell("echo hello; exec sleep 1000"));
    pod.wait_ready();
    let log = pod.path("out.log");
    pod.configure(&with(shell("echo hello; exec sleep 1000"), json!({ "output": { "files": [{ "path": log }] } })));
    let status = pod.wait("a pending restart", |status| !status.pending_restart.is_empty());
    assert_eq!(status.pending_restart[0].field, "output");
    pod.order(Op::Restart);
    holds(&log, "hello\n");
}

#[test]
fn a_full_disk_never_blocks_the_process() {
    if !namespaces_work() {
        skip("a_full_disk_never_blocks_the_process", "this machine lets us mount nothing");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk");
    fs::create_dir(&disk).unwrap();
    // far more than the disk holds, and then a sign that it got through
    let script = format!(
        "perl -e 'print \"x\" x 99, \"\\n\" for 1..50000'; touch {}; exec sleep 1000",
        dir.path().join("done").display()
    );
    let config = with(shell(&script), json!({ "output": { "files": [{ "path": disk.join("log") }] } }));
    super::pod::write(&dir.path().join("process.json"), &config);
    let mut program = unshare(&["--mount"]);
    program.args(["sh", "-c", "mount -t tmpfs -o size=64k none \"$0\" && exec \"$@\""]).arg(&disk).arg(AGENT);
    let pod = Pod::run(dir, Place::Here, program);
    appears(&pod.path("done"));
    let status =
        pod.wait("the loss", |status| status.output.first().is_some_and(|file| file.dropped_bytes > 4_000_000));
    assert!(status.output[0].error.as_ref().unwrap().contains("No space left"), "{:?}", status.output);
    assert!(status.output[0].written_bytes >= 60_000);
    holds(&pod.path("stdout"), "x\n");
    until("all of it on the console", || {
        let size = fs::metadata(pod.path("stdout")).unwrap().len();
        if size == 5_000_000 { Ok(()) } else { Err(format!("{size} bytes")) }
    });
}

#[test]
fn a_file_that_cannot_be_written_never_blocks_the_process_and_is_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("missing/log");
    let script = "while :; do echo tick; sleep 0.02; done";
    let pod = Pod::start(&with(shell(script), json!({ "output": { "files": [{ "path": log }] } })));
    let status = pod.wait("the loss", |status| status.output.first().is_some_and(|file| file.dropped_bytes > 20));
    assert!(status.output[0].error.as_ref().unwrap().contains("No such file"), "{:?}", status.output);
    fs::create_dir(dir.path().join("missing")).unwrap();
    holds(&log, "tick\n");
    pod.wait("no error", |status| status.output[0].error.is_none());
}

#[test]
fn last_words_reach_the_files_when_the_container_ends() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let script = "trap 'echo last words; exit 0' TERM; touch up; while :; do sleep 0.05; done";
    let output = json!({ "workingDir": dir.path(), "output": { "files": [{ "path": log }], "console": false } });
    let mut pod = Pod::start(&with(shell(script), output));
    appears(&dir.path().join("up"));
    assert_eq!(pod.terminate(), 0);
    assert_eq!(fs::read_to_string(&log).unwrap(), "last words\n");
    assert_eq!(pod.read("stdout"), "");
}

#[test]
fn a_console_that_nobody_reads_does_not_stop_pid_1() {
    // a pipe that is full and stays so
    let dir = tempfile::tempdir().unwrap();
    let config = with(shell("yes >&2"), json!({ "stop": { "timeout": "1s" }, "output": { "capture": true } }));
    super::pod::write(&dir.path().join("process.json"), &config);
    let socket = dir.path().join("init.sock");
    let mut init = Command::new(AGENT)
        .args(["init", "--config"])
        .arg(dir.path().join("process.json"))
        .arg("--socket")
        .arg(&socket)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    until("the control socket", || Client::connect(&socket, LONG).map(drop).map_err(|error| error.to_string()));
    let ctl = |order: &str| {
        let output = Command::new(AGENT).args(["ctl", order, "--socket"]).arg(&socket).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    for _ in 0..3 {
        assert!(ctl("restart").starts_with("Running"));
    }
    assert!(ctl("stop").starts_with("Stopped"));
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(init.id().cast_signed()), nix::sys::signal::Signal::SIGTERM)
        .unwrap();
    let code = until("the end", || init.try_wait().unwrap().ok_or_else(|| "it runs".to_owned()));
    assert_eq!(code.code(), Some(0));
}
