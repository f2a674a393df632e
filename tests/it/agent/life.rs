//! Start, stop, restart, crash, end: what the process manager does with the process.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use midship::agent::init::protocol::{Code, EndReason, Op, Request, Wanted};
use midship::agent::init::state::Shown;
use midship::api::values;
use nix::sys::signal::Signal;
use serde_json::json;

use super::pod::{AGENT, Place, Pod, alive, appears, everywhere, quick, shell, sleeper, until, with};
use crate::harness::skip;

#[test]
fn a_process_starts_and_stops_with_the_container() {
    everywhere("a_process_starts_and_stops_with_the_container", |place| {
        let mut pod = Pod::start_in(place, &sleeper());
        let status = pod.wait_ready();
        assert_eq!(status.init.pid == 1, place == Place::Namespace);
        let process = pod.outside(status.pid.unwrap());
        assert_eq!(pod.terminate(), 143, "128 and the number of SIGTERM, which ended the process");
        assert!(!alive(process));
        assert!(!pod.socket().exists());
    });
}

#[test]
fn the_exit_code_of_a_process_that_stops_by_itself_is_kept() {
    everywhere("the_exit_code_of_a_process_that_stops_by_itself_is_kept", |place| {
        let dir = tempfile::tempdir().unwrap();
        let script = "trap 'exit 7' TERM; touch up; while :; do sleep 0.05; done";
        let mut pod = Pod::start_in(place, &with(shell(script), json!({ "workingDir": dir.path() })));
        appears(&dir.path().join("up"));
        assert_eq!(pod.terminate(), 7);
    });
}

#[test]
fn a_restart_gives_a_new_process_in_the_same_container_within_two_seconds() {
    everywhere("a_restart_gives_a_new_process_in_the_same_container_within_two_seconds", |place| {
        let pod = Pod::start_in(place, &sleeper());
        quick(&format!("restart ({place:?})"), Duration::from_secs(2), || {
            let before = pod.wait_ready();
            let start = Instant::now();
            let done = pod.order(Op::Restart);
            let took = start.elapsed();
            assert!(done.changed && !done.forced && done.pid != before.pid);
            let after = pod.wait_ready();
            assert_eq!((after.init.clone(), after.restarts), (before.init, before.restarts + 1));
            assert_eq!(after.consecutive_crashes, 0);
            assert_eq!(after.last_exit.unwrap().reason, EndReason::Requested);
            took
        });
    });
}

#[test]
fn a_crashed_process_is_up_again_within_a_second() {
    everywhere("a_crashed_process_is_up_again_within_a_second", |place| {
        // a pod of its own for each: whoever crashes again waits longer
        quick(&format!("crash to ready ({place:?})"), Duration::from_secs(1), || {
            let pod = Pod::start_in(place, &sleeper());
            let before = pod.wait_ready();
            let start = Instant::now();
            pod.kill_process(Signal::SIGKILL);
            let after = pod.wait("another process", |status| status.state == Shown::Ready && status.pid != before.pid);
            let took = start.elapsed();
            assert_eq!(after.consecutive_crashes, 1);
            let exit = after.last_exit.unwrap();
            assert_eq!((exit.signal.as_deref(), exit.reason), (Some("SIGKILL"), EndReason::Crashed));
            assert_eq!((exit.pid, exit.code), (before.pid, None));
            took
        });
    });
}

#[test]
fn a_process_that_keeps_crashing_is_shown_in_a_crash_loop_and_tried_ever_more_rarely() {
    let restart = json!({ "restart": { "delay": "100ms", "maxDelay": "400ms", "crashLoopAfter": 3 } });
    let pod = Pod::start(&with(shell("exit 3"), restart));
    let status = pod.wait_state(Shown::CrashLoop);
    assert!(status.crash_loop && status.consecutive_crashes >= 3);
    assert_eq!(status.reason, "the process exited with code 3");
    assert!(status.next_start_at.is_some() && !status.readiness.ready);
    assert!(status.readiness.reason.starts_with("CrashLoop: "), "{}", status.readiness.reason);
    pod.wait("sixteen endings", |status| status.history.len() == 16);
    let seventeenth = pod.wait("the seventeenth crash", |status| status.restarts > 17);
    assert_eq!(seventeenth.history.len(), 16, "no more are kept");
    assert!(seventeenth.history.iter().all(|end| end.code == Some(3) && end.reason == EndReason::Crashed));
    // out of it by a deliberate stop, which lasts
    let stopped = pod.order(Op::Stop);
    assert_eq!(stopped.state, Shown::Stopped);
}

#[test]
fn a_deliberate_stop_is_no_crash_and_lasts_until_a_start() {
    everywhere("a_deliberate_stop_is_no_crash_and_lasts_until_a_start", |place| {
        let mut pod = Pod::start_in(place, &with(sleeper(), json!({ "restart": { "delay": "100ms" } })));
        pod.wait_ready();
        let stopped = pod.order(Op::Stop);
        assert_eq!((stopped.state, stopped.pid, stopped.changed), (Shown::Stopped, None, true));
        let status = pod.status();
        assert_eq!((status.wanted, status.consecutive_crashes), (Wanted::Stopped, 0));
        assert_eq!(status.last_exit.unwrap().reason, EndReason::Requested);
        assert!(!pod.order(Op::Stop).changed, "it is stopped already");
        let started = pod.order(Op::Start);
        assert!(started.changed && started.pid.is_some());
        assert!(!pod.order(Op::Start).changed, "it runs already");
        pod.order(Op::Stop);
        assert_eq!(pod.terminate(), 0, "a container whose process was stopped ends well");
    });
}

#[test]
fn a_process_that_ignores_the_stop_signal_is_killed_after_the_deadline() {
    everywhere("a_process_that_ignores_the_stop_signal_is_killed_after_the_deadline", |place| {
        let dir = tempfile::tempdir().unwrap();
        let script = "trap '' TERM; touch up; while :; do sleep 0.05; done";
        let config = json!({ "stop": { "timeout": "20s" }, "workingDir": dir.path() });
        let pod = Pod::start_in(place, &with(shell(script), config));
        appears(&dir.path().join("up"));
        let start = Instant::now();
        let mut request = Request::new(Op::Stop);
        request.timeout = Some(values::Duration::parse("300ms").unwrap());
        let answer = pod.ask(&request).unwrap();
        let took = start.elapsed();
        assert_eq!(answer["forced"], json!(true));
        assert!((Duration::from_millis(300)..Duration::from_secs(20)).contains(&took), "{took:?}");
        let exit = pod.status().last_exit.unwrap();
        assert_eq!((exit.reason, exit.signal.as_deref()), (EndReason::Killed, Some("SIGKILL")));
        assert_eq!(exit.message, "the process was ended by SIGKILL because it did not stop in time");
    });
}

#[test]
fn the_configured_stop_signal_is_sent_to_the_process_or_its_group() {
    let script = "trap 'echo parent >> log; wait; exit 0' USR2; (trap 'echo child >> log; exit 0' USR2; \
        touch up; while :; do sleep 0.05; done) & wait";
    // the child that hears nothing keeps the first one waiting until the end
    for (target, timeout, log) in [("Process", "5s", vec!["parent"]), ("Group", "25s", vec!["child", "parent"])] {
        let dir = tempfile::tempdir().unwrap();
        let pod = Pod::start(&with(
            shell(script),
            json!({ "stop": { "signal": "USR2", "target": target, "timeout": timeout }, "workingDir": dir.path() }),
        ));
        appears(&dir.path().join("up"));
        pod.order(Op::Stop);
        let written = fs::read_to_string(dir.path().join("log")).unwrap();
        let mut lines: Vec<_> = written.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, log, "{target}");
    }
}

#[test]
fn a_container_can_start_with_its_process_stopped() {
    let pod = Pod::start(&with(sleeper(), json!({ "start": "Stopped" })));
    let status = pod.status();
    assert_eq!((status.state, status.pid, status.restarts), (Shown::Stopped, None, 0));
    assert!(!status.readiness.ready);
    pod.order(Op::Start);
    pod.wait_ready();
}

#[test]
fn what_was_stopped_stays_stopped_when_the_container_is_lost_and_comes_back() {
    let keep = with(sleeper(), json!({ "start": "Keep" }));
    let pod = Pod::start(&keep);
    let first = pod.wait_ready();
    let process = first.pid.unwrap();
    let pod = Pod::again(pod.lose(), Place::Here);
    until("the lost process to be gone", || if alive(process) { Err("it lives".to_owned()) } else { Ok(()) });
    let second = pod.wait_ready();
    let lost = second.last_exit.unwrap();
    assert_eq!((lost.reason, lost.pid), (EndReason::Lost, Some(process)));
    assert_eq!(second.restarts, 1, "starts are counted across containers");
    pod.order(Op::Stop);
    let pod = Pod::again(pod.lose(), Place::Here);
    let third = pod.status();
    assert_eq!((third.state, third.wanted), (Shown::Stopped, Wanted::Stopped));
    assert_eq!(third.history.len(), 2);
}

#[test]
fn restart_policies_decide_whether_an_ended_process_comes_back() {
    let run = |policy: &str, script: &str| {
        Pod::start(&with(shell(script), json!({ "restart": { "policy": policy, "delay": "100ms" } })))
    };
    let status = run("OnFailure", "exit 0").wait_state(Shown::Stopped);
    assert_eq!((status.last_exit.unwrap().reason, status.wanted), (EndReason::Completed, Wanted::Run));
    let status = run("Never", "exit 9").wait_state(Shown::Failed);
    assert_eq!(status.reason, "the process exited with code 9");
    run("OnFailure", "exit 1").wait("a second start", |status| status.restarts > 0);
    run("Always", "exit 0").wait("a second start", |status| status.restarts > 0);
}

#[test]
fn a_command_on_the_command_line_ends_as_it_ends() {
    let dir = tempfile::tempdir().unwrap();
    for (script, code) in [("exit 0", 0), ("exit 42", 42), ("kill -KILL $$", 137)] {
        let mut command = Command::new(AGENT);
        command.arg("init").arg("--socket").arg(dir.path().join("s")).args(["--", "sh", "-c", script]);
        assert_eq!(command.output().unwrap().status.code(), Some(code), "{script}");
    }
}

#[test]
fn a_control_socket_that_cannot_be_made_does_not_keep_the_process_from_running() {
    let output = Command::new(AGENT)
        .args(["init", "--socket", "/dev/null/init.sock", "--", "sh", "-c", "echo runs; exit 3"])
        .output()
        .unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(3), b"runs\n".as_slice()));
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(log.contains("nobody can control the process: /dev/null/init.sock: cannot listen"), "{log}");
}

#[test]
fn a_program_that_cannot_run_is_explained() {
    for (config, message) in [
        (
            json!({ "command": ["no-such-program"], "env": { "PATH": "/usr/bin:/bin" } }),
            "cannot run no-such-program: it is nowhere in PATH of this image",
        ),
        (
            json!({ "command": ["/no/such/program"] }),
            "cannot run /no/such/program: it, or the interpreter it names, is not in this image",
        ),
        (json!({ "command": ["/etc/passwd"] }), "cannot run /etc/passwd: Permission denied"),
        (
            json!({ "command": ["sleep", "1"], "workingDir": "/no/such/dir" }),
            "cannot enter workingDir /no/such/dir: No such file or directory",
        ),
    ] {
        let pod = Pod::start(&config);
        let status = pod.wait("an ending", |status| status.last_exit.is_some());
        let exit = status.last_exit.unwrap();
        assert_eq!((exit.reason, exit.message.as_str()), (EndReason::StartFailed, message));
        // it goes on trying, and who asks for a start is told why there is none
        let problem = pod.ask(&Request::new(Op::Restart)).unwrap_err();
        assert_eq!(problem.code, Code::Failed);
        assert!(problem.message.contains(message), "{problem:?}");
    }
}

#[test]
fn commands_before_the_start_run_in_order_and_a_failed_one_prevents_it() {
    let dir = tempfile::tempdir().unwrap();
    let hook = |script: &str| json!({ "command": ["sh", "-c", script], "timeout": "10s" });
    let steps = [hook("echo one >> log"), hook("sleep 0.1; echo two >> log")];
    let config = with(
        shell("echo start >> log; exec sleep 1000"),
        json!({ "workingDir": dir.path(), "preStart": steps, "restart": { "delay": "100ms" } }),
    );
    let pod = Pod::start(&config);
    pod.wait_ready();
    let log = || fs::read_to_string(dir.path().join("log")).unwrap();
    until("the process to write", || if log() == "one\ntwo\nstart\n" { Ok(()) } else { Err(log()) });
    let failing = with(config, json!({ "preStart": [hook("exit 4"), hook("echo never >> log")] }));
    let digest = pod.status().config.digest;
    pod.configure(&failing);
    pod.wait("the new configuration", |status| status.config.digest != digest);
    assert_eq!(pod.refused(&Request::new(Op::Restart)), Code::Failed);
    let exit = pod.status().last_exit.unwrap();
    assert_eq!(exit.message, "command 1 before the start exited with code 4");
    assert_eq!((exit.reason, log().contains("never")), (EndReason::StartFailed, false));
}

#[test]
fn a_command_before_the_start_that_takes_too_long_is_killed_with_all_it_started() {
    let dir = tempfile::tempdir().unwrap();
    let hook = json!({ "command": ["sh", "-c", "setsid sleep 1000 & echo $! > pid; wait"], "timeout": "3s" });
    let config = json!({ "workingDir": dir.path(), "preStart": [hook], "restart": { "policy": "Never" } });
    let status = Pod::start(&with(sleeper(), config)).wait_state(Shown::Failed);
    assert_eq!(status.last_exit.unwrap().message, "command 1 before the start took longer than 3000 ms");
    let pid: i32 = fs::read_to_string(dir.path().join("pid")).unwrap().trim().parse().unwrap();
    assert!(!alive(pid), "what it started is gone before anything else begins");
}

#[test]
fn a_process_that_does_not_become_ready_in_time_is_started_anew() {
    let pod = Pod::start(&with(
        sleeper(),
        json!({ "startTimeout": "300ms", "readiness": { "check": { "file": { "path": "/no/such/file" } } } }),
    ));
    let status = pod.wait("a second start", |status| status.restarts > 0);
    let exit = status.history[0].clone();
    assert_eq!((exit.reason, exit.message.as_str()), (EndReason::Crashed, "the process was not ready within 300 ms"));
}

#[test]
fn limits_user_and_directory_are_those_configured() {
    let root = nix::unistd::geteuid().is_root();
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("seen");
    fs::write(&target, "").unwrap();
    let script =
        format!("echo $(id -u) $(id -g) $(id -G) $(ulimit -n) $PWD $X > {}; exec sleep 1000", target.display());
    let (uid, gid) =
        if root { (65534, 65533) } else { (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw()) };
    for path in [dir.path(), target.as_path()] {
        fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    }
    let identity =
        json!({ "uid": uid, "gid": gid, "limits": { "nofile": 321 }, "workingDir": "/", "env": { "X": "y" } });
    let _pod = Pod::start(&with(shell(&script), identity));
    let seen = until("the process to write", || {
        let text = fs::read_to_string(&target).unwrap();
        if text.ends_with('\n') { Ok(text) } else { Err(text) }
    });
    let words: Vec<_> = seen.split_whitespace().collect();
    assert_eq!(words[..2], [uid.to_string(), gid.to_string()]);
    assert_eq!(words[words.len() - 3..], ["321", "/", "y"]);
    if root {
        assert_eq!(words.len(), 6, "no supplementary groups are left: {seen}");
    } else {
        skip("limits_user_and_directory_are_those_configured", "another user and its groups: only root can become one");
    }
}

#[test]
fn a_process_killed_for_memory_is_told_from_other_crashes() {
    let Some(group) = MemoryGroup::new() else {
        skip("a_process_killed_for_memory_is_told_from_other_crashes", "no control group can be made here");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let hog =
        json!({ "command": ["perl", "-e", "my @x; push @x, 'x' x 1048576 while 1"], "restart": { "policy": "Never" } });
    super::pod::write(&dir.path().join("process.json"), &hog);
    let mut program = Command::new("sh");
    program.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]).arg(group.procs()).arg(AGENT);
    let pod = Pod::run(dir, Place::Here, program);
    let status = pod.wait_state(Shown::Failed);
    assert_eq!(status.last_exit.unwrap().reason, EndReason::OutOfMemory);
    assert_eq!(status.reason, "the process was killed by the kernel because the memory limit was reached");
    drop(pod);
}

/// A control group with little memory, gone with the test.
struct MemoryGroup(std::path::PathBuf);

impl MemoryGroup {
    fn new() -> Option<Self> {
        let name = format!("midship-test-{}", std::process::id());
        let limits = [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")];
        limits.into_iter().find_map(|(root, limit)| {
            let dir = std::path::Path::new(root).join(&name);
            fs::create_dir(&dir).ok()?;
            let group = Self(dir);
            fs::write(group.0.join(limit), "67108864").ok()?;
            // what can be swapped out is never too much; where nothing can, there is no such limit
            for (limit, most) in [("memory.memsw.limit_in_bytes", "67108864"), ("memory.swap.max", "0")] {
                let _ = fs::write(group.0.join(limit), most);
            }
            Some(group)
        })
    }

    fn procs(&self) -> std::path::PathBuf {
        self.0.join("cgroup.procs")
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        // the group can go once its last process was collected
        for _ in 0..100 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
