//! The fuse beside a process: who does not renew its permission in time loses it, whatever became of the agent.

use std::io::Write;
use std::os::unix::net::UnixStream;

use midship::agent::ctl::Client;
use midship::agent::init::boottime;
use midship::agent::init::protocol::{EndReason, Op, Request};
use midship::agent::init::state::Shown;
use nix::sys::stat::Mode;
use serde_json::{Value, json};

use super::pod::{LONG, Pod, alive, appears, everywhere, shell, sleeper, until, with};

fn set(pod: &Pod, deadline: Option<u64>) -> Value {
    let mut request = Request::new(Op::Fuse);
    request.deadline = deadline;
    Client::connect(&pod.socket(), LONG).unwrap().ask(&request).unwrap()
}

#[test]
fn a_process_without_renewed_permission_is_killed_and_has_to_ask_again() {
    everywhere("the fuse", |place| {
        let asks = json!({ "preStart": [{ "command": ["true"] }] });
        let pod = Pod::start_in(place, &with(sleeper(), asks));
        pod.wait_ready();
        let before = pod.status().pid;
        set(&pod, Some(boottime() + 600_000));
        assert!(pod.status().fuse_at.is_some());
        set(&pod, Some(boottime() + 200));
        let status = until("another process", || {
            let status = pod.status();
            if status.pid.is_some() && status.pid != before { Ok(status) } else { Err(format!("{status:?}")) }
        });
        let last = status.last_exit.expect("it ended");
        assert_eq!(last.reason, EndReason::Fenced);
        assert_eq!((status.consecutive_crashes, status.fuse_at), (0, None));
    });
}

#[test]
fn a_fuse_that_is_moved_on_or_taken_away_harms_nobody() {
    let pod = Pod::start(&sleeper());
    pod.wait_ready();
    let before = pod.status().pid;
    for _ in 0..5 {
        set(&pod, Some(boottime() + 600_000));
    }
    assert_eq!(set(&pod, None)["armed"], json!(false));
    assert_eq!(pod.status().pid, before);
}

#[test]
fn a_fuse_that_is_over_already_burns_before_the_answer() {
    let pod = Pod::start(&sleeper());
    pod.wait_ready();
    assert_eq!(set(&pod, Some(0))["armed"], json!(false));
    until("the end of the process", || {
        let status = pod.status();
        status.last_exit.map(|exit| assert_eq!(exit.reason, EndReason::Fenced)).ok_or("it runs".to_owned())
    });
}

#[test]
fn a_disk_that_does_not_answer_holds_up_no_kill() {
    let dir = tempfile::tempdir().unwrap();
    let stubborn = shell("trap '' TERM; touch up; while :; do sleep 1; done");
    let pod = Pod::start(&with(stubborn, json!({ "stop": { "timeout": "600s" }, "workingDir": dir.path() })));
    let process = pod.wait_ready().pid.expect("it runs");
    // ready when it runs, and stubborn a moment later
    appears(&dir.path().join("up"));
    // what is to be remembered goes where nobody takes it
    let disk = pod.path("init.state.json.new");
    nix::unistd::mkfifo(&disk, Mode::S_IRWXU).unwrap();
    set(&pod, Some(boottime() + 15_000));
    let mut stop = serde_json::to_vec(&Request::new(Op::Stop)).unwrap();
    stop.push(b'\n');
    let mut asks = UnixStream::connect(pod.socket()).unwrap();
    asks.write_all(&stop).unwrap();
    until("the end of the process", || if alive(process) { Err("it runs".to_owned()) } else { Ok(()) });

    // once the disk answers, PID 1 goes on
    std::fs::read(&disk).unwrap();
    let status = pod.wait_state(Shown::Stopped);
    assert_eq!(status.last_exit.and_then(|ending| ending.signal).as_deref(), Some("SIGKILL"));
}
