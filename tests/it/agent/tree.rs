//! The processes below: orphans, stragglers, signals, and a storm of children.

use std::fs;
use std::time::Duration;

use midship::agent::init::protocol::{Op, Request};
use midship::agent::init::state::Shown;
use nix::sys::signal::Signal;
use serde_json::json;

use super::pod::{Place, Pod, alive, appears, children, descendants, everywhere, shell, stat, until, with};
use crate::harness::skip;

#[test]
fn orphans_are_reaped_and_no_zombies_stay() {
    everywhere("orphans_are_reaped_and_no_zombies_stay", |place| {
        let dir = tempfile::tempdir().unwrap();
        // each inner shell leaves its child behind; once ended, that child is PID 1's
        let script = "for i in 1 2 3 4 5 6 7 8 9 10; do sh -c 'sh -c \"echo x >> log\" & exit 0'; done; \
            touch up; exec sleep 1000";
        let pod = Pod::start_in(place, &with(shell(script), json!({ "workingDir": dir.path() })));
        appears(&dir.path().join("up"));
        until("ten orphans to have run", || {
            let lines = fs::read_to_string(dir.path().join("log")).unwrap_or_default().lines().count();
            if lines == 10 { Ok(()) } else { Err(format!("{lines} lines")) }
        });
        until("only the process to be left", || {
            let left = children(pod.init);
            if left.len() == 1 && alive(left[0]) { Ok(()) } else { Err(format!("{left:?}")) }
        });
        assert_eq!(pod.status().restarts, 0);
    });
}

#[test]
fn the_exit_status_of_the_process_is_not_lost_among_hundreds_of_orphans() {
    everywhere("the_exit_status_of_the_process_is_not_lost_among_hundreds_of_orphans", |place| {
        let script = "i=0; while [ $i -lt 300 ]; do (sh -c 'exit 5' & exit 0); i=$((i+1)); done; exit 37";
        let pod = Pod::start_in(place, &with(shell(script), json!({ "restart": { "policy": "Never" } })));
        let status = pod.wait_state(Shown::Failed);
        assert_eq!(status.last_exit.unwrap().code, Some(37));
        until("all orphans to be gone", || {
            let left = children(pod.init);
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
        });
    });
}

#[test]
fn whatever_detached_itself_is_found_and_killed_when_the_process_stops() {
    everywhere("whatever_detached_itself_is_found_and_killed_when_the_process_stops", |place| {
        let dir = tempfile::tempdir().unwrap();
        // its own session, its own parent gone, signals ignored: as far away as a process can get
        let away = "trap '' TERM HUP INT; while :; do sleep 0.05; done";
        let script = format!("(setsid sh -c \"{away}\" & exit 0); touch up; exec sleep 1000");
        let pod = Pod::start_in(place, &with(shell(&script), json!({ "workingDir": dir.path() })));
        appears(&dir.path().join("up"));
        until("the straggler", || if descendants(pod.init).len() >= 2 { Ok(()) } else { Err("none".to_owned()) });
        let before = descendants(pod.init);
        assert_eq!(pod.order(Op::Stop).state, Shown::Stopped);
        let left: Vec<_> = before.into_iter().filter(|pid| alive(*pid)).collect();
        assert!(left.is_empty(), "once the stop is answered, nothing lives");
        assert!(children(pod.init).is_empty());
    });
}

#[test]
fn nothing_of_a_crashed_process_lives_when_the_next_one_starts() {
    everywhere("nothing_of_a_crashed_process_lives_when_the_next_one_starts", |place| {
        let dir = tempfile::tempdir().unwrap();
        // each start notes whether the pid of the worker of the one before is still taken
        let script = "[ ! -f worker ] || { kill -0 $(cat worker) 2>/dev/null && echo overlap >> log; }; \
            setsid sleep 1000 & echo $! > worker; echo start >> log; wait";
        let config = json!({ "workingDir": dir.path(), "restart": { "delay": "100ms" } });
        let pod = Pod::start_in(place, &with(shell(script), config));
        for round in 1..=4 {
            let log = || fs::read_to_string(dir.path().join("log")).unwrap_or_default();
            until("a start", || if log() == "start\n".repeat(round) { Ok(()) } else { Err(log()) });
            pod.wait_ready();
            pod.kill_process(Signal::SIGKILL);
        }
    });
}

#[test]
fn processes_that_came_from_outside_are_left_alone() {
    let Some(pod) = namespaced() else {
        skip("processes_that_came_from_outside_are_left_alone", "only root can enter a namespace");
        return;
    };
    // as `kubectl exec` does
    let target = pod.init.to_string();
    let mut visitor = std::process::Command::new("nsenter")
        .args(["--target", &target, "--pid", "--", "sleep", "1000"])
        .spawn()
        .unwrap();
    let process = until("the visitor inside", || {
        children(visitor.id().cast_signed()).first().copied().ok_or("nobody yet".to_owned())
    });
    pod.order(Op::Stop);
    assert!(alive(process), "the visitor is none of ours");
    visitor.kill().unwrap();
    visitor.wait().unwrap();
}

fn namespaced() -> Option<Pod> {
    // entering a namespace of somebody else's making takes root
    let able = super::pod::namespaces_work() && nix::unistd::geteuid().is_root();
    able.then(|| {
        let pod = Pod::start_in(Place::Namespace, &super::pod::sleeper());
        pod.wait_ready();
        pod
    })
}

#[test]
fn signals_to_pid_1_reach_the_process() {
    everywhere("signals_to_pid_1_reach_the_process", |place| {
        let dir = tempfile::tempdir().unwrap();
        let script = "$SIG{$_} = sub { open my $f, '>>', 'log'; print $f \"$_[0]\\n\" } \
            for qw(HUP USR1 USR2 WINCH NUM40); open my $f, '>', 'up'; close $f; sleep 1 while 1";
        let pod = Pod::start_in(place, &json!({ "command": ["perl", "-e", script], "workingDir": dir.path() }));
        appears(&dir.path().join("up"));
        let log = || fs::read_to_string(dir.path().join("log")).unwrap_or_default();
        let mut expected = String::new();
        for signal in ["HUP", "USR1", "USR2", "WINCH", "40"] {
            let status =
                std::process::Command::new("sh").args(["-c", &format!("kill -{signal} {}", pod.init)]).status();
            assert!(status.unwrap().success());
            expected += &format!("{}\n", if signal == "40" { "NUM40" } else { signal });
            until(signal, || if log() == expected { Ok(()) } else { Err(log()) });
        }
        assert_eq!(pod.status().restarts, 0);
        let mut request = Request::new(Op::Signal);
        request.signal = midship::agent::init::signals::Signal::parse("USR1");
        pod.ask(&request).unwrap();
        expected += "USR1\n";
        until("the signal from a client", || if log() == expected { Ok(()) } else { Err(log()) });
    });
}

#[test]
fn a_paused_process_can_be_stopped() {
    let pod = Pod::start(&super::pod::sleeper());
    let pid = pod.wait_ready().pid.unwrap();
    pod.kill_process(Signal::SIGSTOP);
    until("the pause", || match stat(pid) {
        Some(('T', _)) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert!(!pod.order(Op::Stop).forced, "it was woken to take the signal");
}

#[test]
fn a_process_starts_with_no_signal_blocked_or_ignored() {
    let dir = tempfile::tempdir().unwrap();
    let script = "grep -E 'Sig(Blk|Ign)' /proc/self/status > seen; exec sleep 1000";
    let _pod = Pod::start(&with(shell(script), json!({ "workingDir": dir.path() })));
    let seen = until("the masks", || {
        let text = fs::read_to_string(dir.path().join("seen")).unwrap_or_default();
        if text.lines().count() == 2 { Ok(text) } else { Err(text) }
    });
    // two signals belong to the C library, which lets nobody touch them
    let masks = seen.lines().map(|line| u64::from_str_radix(line.rsplit('\t').next().unwrap(), 16).unwrap());
    assert!(masks.into_iter().all(|mask| mask & !(0b11 << 31) == 0), "{seen}");
}

#[test]
fn a_second_process_manager_on_the_same_socket_is_refused() {
    let pod = Pod::start(&super::pod::sleeper());
    pod.wait_ready();
    let output = std::process::Command::new(super::pod::AGENT)
        .args(["init", "--config"])
        .arg(pod.path("process.json"))
        .arg("--socket")
        .arg(pod.socket())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(complaint.contains("another process listens there already"), "{complaint}");
    assert_eq!(children(pod.init).len(), 1);
    assert!(pod.status().restarts == 0);
}

#[test]
fn a_stop_waits_no_longer_than_the_process_needs() {
    let pod = Pod::start(&super::pod::sleeper());
    pod.wait_ready();
    let start = std::time::Instant::now();
    pod.order(Op::Stop);
    assert!(start.elapsed() < Duration::from_secs(25), "the deadline of 25 s is not waited for");
}
