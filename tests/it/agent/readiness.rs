//! Readiness: what the kubelet's probe is told, by each kind of check.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;
use std::time::{Duration, Instant};

use midship::agent::init::protocol::Op;
use midship::agent::init::state::Shown;
use serde_json::json;

use super::pod::{AGENT, Pod, children, sleeper, with};

/// What `midship-agent ctl ready` says, and with which exit code.
fn probe(pod: &Pod) -> (i32, String) {
    let output = Command::new(AGENT).args(["ctl", "ready", "--socket"]).arg(pod.socket()).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn the_probe_of_the_kubelet_follows_the_process_while_the_container_stays() {
    let pod = Pod::start(&sleeper());
    pod.wait_ready();
    assert_eq!(probe(&pod), (0, "ready: the process runs\n".to_owned()));
    pod.order(Op::Stop);
    assert_eq!(probe(&pod), (1, "not ready: Stopped: stopped on request\n".to_owned()));
    pod.order(Op::Start);
    pod.wait_ready();
    assert_eq!(probe(&pod).0, 0);
}

#[test]
fn the_probe_answers_within_twenty_milliseconds() {
    let pod = Pod::start(&sleeper());
    pod.wait_ready();
    let mut times: Vec<Duration> = Vec::new();
    // on a busy machine any of them may be held up
    super::pod::until("one of fifteen answers or more to be that quick", || {
        let start = Instant::now();
        assert_eq!(probe(&pod).0, 0);
        times.push(start.elapsed());
        times.sort_unstable();
        let quick = times[0] < Duration::from_millis(20);
        if quick && times.len() >= 15 { Ok(()) } else { Err(format!("{:?} at best", times[0])) }
    });
    println!("ctl ready: fastest {:?}, median {:?}", times[0], times[times.len() / 2]);
}

#[test]
fn without_a_process_manager_the_probe_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("none.sock");
    let output = Command::new(AGENT).args(["ctl", "ready", "--socket"]).arg(&socket).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.starts_with(&format!("not ready: nobody answers at {}", socket.display())), "{said}");
}

#[test]
fn a_port_that_takes_connections_makes_it_ready() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let readiness = json!({ "check": { "tcp": { "port": port } }, "interval": "100ms", "failureThreshold": 2 });
    let pod = Pod::start(&with(sleeper(), json!({ "readiness": readiness })));
    let status = pod.wait_ready();
    assert_eq!(status.readiness.reason, format!("127.0.0.1:{port} takes connections"));
    drop(listener);
    let status = pod.wait("not ready", |status| !status.readiness.ready);
    assert_eq!((status.state, status.restarts), (Shown::Running, 0));
    assert_eq!(status.readiness.reason, format!("127.0.0.1:{port}: Connection refused"));
}

#[test]
fn a_command_decides_and_its_last_words_are_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let flag = dir.path().join("flag");
    let script =
        format!("test -f {0} && echo all is well || {{ echo noise; echo no {0} >&2; exit 3; }}", flag.display());
    let readiness = json!({ "check": { "exec": { "command": ["sh", "-c", script] } }, "interval": "100ms" });
    let pod = Pod::start(&with(sleeper(), json!({ "readiness": readiness })));
    let failed = format!("sh exited with code 3: no {}", flag.display());
    let status = pod.wait("the reason", |status| status.readiness.reason == failed);
    assert_eq!(status.state, Shown::Running);
    fs::write(&flag, "").unwrap();
    assert_eq!(pod.wait_ready().readiness.reason, "sh succeeded: all is well");
}

#[test]
fn a_command_that_hangs_or_babbles_fails_in_time_and_leaves_nothing() {
    for (script, reason) in [
        ("sleep 1000 & sleep 1000", "sh took longer than 200 ms"),
        ("while :; do echo babble; done", "sh took longer than 200 ms: "),
    ] {
        let check = json!({ "exec": { "command": ["sh", "-c", script] } });
        let pod = Pod::start(&with(
            sleeper(),
            json!({ "readiness": { "check": check, "interval": "100ms", "timeout": "200ms" } }),
        ));
        pod.wait("the reason", |status| status.readiness.reason.starts_with(reason));
        pod.configure(&sleeper());
        pod.wait_ready();
        super::pod::until("only the process to be left", || {
            let left = children(pod.init);
            if left.len() == 1 { Ok(()) } else { Err(format!("{left:?}")) }
        });
    }
}

#[test]
fn a_file_that_is_kept_fresh_makes_it_ready() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ready");
    fs::write(&path, "").unwrap();
    let check = json!({ "file": { "path": path, "maxAge": "1s" } });
    let readiness = json!({ "check": check, "interval": "100ms", "failureThreshold": 1 });
    let pod = Pod::start(&with(sleeper(), json!({ "readiness": readiness })));
    let kept_fresh = || {
        super::pod::until("it to be ready", || {
            fs::write(&path, "again").unwrap();
            let state = pod.status().state;
            if state == Shown::Ready { Ok(()) } else { Err(format!("{state:?}")) }
        });
    };
    kept_fresh();
    // nobody touches it any more
    let status = pod.wait("an old file", |status| !status.readiness.ready);
    let reason = &status.readiness.reason;
    assert!(reason.contains("was last written ") && reason.contains(" s ago"), "{reason}");
    kept_fresh();
}

#[test]
fn thresholds_and_the_initial_delay_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let count = "echo x >> log; test $(wc -l < log) -ge 3";
    let check = json!({ "exec": { "command": ["sh", "-c", count] } });
    let readiness = json!({ "check": check, "interval": "100ms", "initialDelay": "300ms", "successThreshold": 2 });
    let start = Instant::now();
    let pod = Pod::start(&with(sleeper(), json!({ "workingDir": dir.path(), "readiness": readiness })));
    pod.wait_ready();
    assert!(start.elapsed() >= Duration::from_millis(300 + 300), "{:?}", start.elapsed());
    assert!(fs::read_to_string(dir.path().join("log")).unwrap().lines().count() >= 4);
}
