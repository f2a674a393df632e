//! The configuration while it changes: followed within two seconds, refused where it is wrong, never lost.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use midship::agent::init::protocol::{EndReason, Op};
use midship::agent::init::state::Shown;
use serde_json::json;

use super::pod::{Place, Pod, quick, shell, sleeper, until, with, write};

#[test]
fn a_changed_policy_is_in_effect_within_two_seconds_without_a_restart() {
    let pod = Pod::start(&with(sleeper(), json!({ "stop": { "timeout": "20s" } })));
    let mut before = pod.wait_ready();
    let mut seconds = 9;
    quick("configuration in effect", Duration::from_secs(2), || {
        seconds += 1;
        let stop = json!({ "timeout": format!("{seconds}s") });
        let start = Instant::now();
        pod.configure(&with(sleeper(), json!({ "stop": stop, "restart": { "policy": "Never" } })));
        let after = pod.wait("another configuration", |status| status.config.digest != before.config.digest);
        let took = start.elapsed();
        assert!(after.pid == before.pid && after.pending_restart.is_empty(), "{after:?}");
        before = after;
        took
    });
    pod.kill_process(nix::sys::signal::Signal::SIGKILL);
    pod.wait_state(Shown::Failed);
}

#[test]
fn a_mounted_config_map_is_followed_through_its_symlinks() {
    let dir = tempfile::tempdir().unwrap();
    // as the kubelet lays it out: a link to a link to a folder with a date for a name
    let place = |name: &str, config: &serde_json::Value| {
        fs::create_dir(dir.path().join(name)).unwrap();
        write(&dir.path().join(name).join("process.json"), config);
    };
    place("..1", &sleeper());
    symlink("..1", dir.path().join("..data")).unwrap();
    symlink("..data/process.json", dir.path().join("process.json")).unwrap();
    let pod = Pod::again(dir, Place::Here);
    let mut before = pod.wait_ready();
    let mut number = 1;
    quick("config map in effect", Duration::from_secs(2), || {
        let old = format!("..{number}");
        number += 1;
        let new = format!("..{number}");
        fs::create_dir(pod.path(&new)).unwrap();
        let config = with(sleeper(), json!({ "stop": { "timeout": format!("{number}s") } }));
        write(&pod.path(&new).join("process.json"), &config);
        symlink(&new, pod.path("..data_tmp")).unwrap();
        let start = Instant::now();
        fs::rename(pod.path("..data_tmp"), pod.path("..data")).unwrap();
        fs::remove_dir_all(pod.path(&old)).unwrap();
        before = pod.wait("another configuration", |status| status.config.digest != before.config.digest);
        start.elapsed()
    });
}

#[test]
fn what_needs_a_restart_is_told_and_comes_with_the_restart() {
    let pod = Pod::start(&with(sleeper(), json!({ "env": { "SECRET": "hunter2" } })));
    let before = pod.wait_ready();
    pod.configure(&json!({ "command": ["sleep", "2000"], "env": { "SECRET": "hunter3", "MORE": "x" } }));
    let status = pod.wait("a pending restart", |status| !status.pending_restart.is_empty());
    assert_eq!((status.pid, status.state), (before.pid, Shown::Ready));
    let told: Vec<_> = status.pending_restart.iter().map(|p| (p.field.as_str(), p.reason.as_str())).collect();
    assert_eq!(
        told,
        [("command", r#"runs ["sleep", "1000"], configured is ["sleep", "2000"]"#), ("env", "SECRET, MORE changed")]
    );
    assert_eq!(status.config.process_digest, before.config.digest);
    pod.order(Op::Restart);
    let after = pod.wait_ready();
    assert_eq!((after.pending_restart, after.config.process_digest), (vec![], None));
    let command = fs::read_to_string(format!("/proc/{}/cmdline", after.pid.unwrap())).unwrap();
    assert_eq!(command, "sleep\x002000\0");
    assert!(!pod.log().contains("hunter"), "values of variables are never written anywhere");
}

#[test]
fn a_broken_configuration_is_kept_out_with_its_reason_and_the_old_one_stays() {
    let pod = Pod::start(&sleeper());
    let before = pod.wait_ready();
    for (text, reason) in [
        ("{\"command\": [\"sleep\"],\n  \"comand\": 1}", "process.json:2:10: unknown field `comand`"),
        ("{\"command\": []}", "process.json: command: must name a program"),
        ("", "process.json:1:0: EOF while parsing a value"),
    ] {
        fs::write(pod.path("new.json"), text).unwrap();
        fs::rename(pod.path("new.json"), pod.path("process.json")).unwrap();
        let holds = |error: &String| error.contains(reason);
        let status = pod.wait(reason, |status| status.config.error.as_ref().is_some_and(holds));
        assert_eq!((status.config.digest, status.pid), (before.config.digest.clone(), before.pid));
        assert_eq!(status.state, Shown::Ready);
    }
    fs::remove_file(pod.path("process.json")).unwrap();
    let gone = pod.wait("the file to be missed", |status| {
        status.config.error.as_ref().is_some_and(|error| error.contains("No such file"))
    });
    assert_eq!(gone.pid, before.pid);
    pod.configure(&sleeper());
    let healed = pod.wait("no error", |status| status.config.error.is_none());
    assert_eq!((healed.pid, healed.config.digest), (before.pid, before.config.digest));
}

#[test]
fn output_is_not_written_into_what_pid_1_lives_from() {
    let pod = Pod::start(&sleeper());
    let before = pod.wait_ready();
    symlink(".", pod.path("here")).unwrap();
    for (name, what) in [
        ("process.json", "the configuration of PID 1"),
        ("here/process.json", "the configuration of PID 1"),
        ("init.sock", "the control socket"),
        ("here/init.state.json", "where PID 1 keeps its state"),
        ("init.state.json.new", "where PID 1 writes its state"),
    ] {
        let path = pod.path(name);
        pod.configure(&with(sleeper(), json!({ "output": { "files": [{ "path": path }] } })));
        let reason = format!(
            "{}: output.files[0].path: {} is {what}; output needs a file of its own",
            pod.path("process.json").display(),
            path.display()
        );
        let status = pod.wait(&reason, |status| status.config.error.as_ref() == Some(&reason));
        assert_eq!((status.config.digest, status.pid), (before.config.digest.clone(), before.pid));
    }
    pod.configure(&with(sleeper(), json!({ "output": { "files": [{ "path": pod.path("process.json.log") }] } })));
    pod.wait("no error", |status| status.config.error.is_none() && status.config.digest != before.config.digest);
}

#[test]
fn a_file_written_in_pieces_is_taken_whole() {
    let pod = Pod::start(&sleeper());
    let before = pod.wait_ready();
    let text = serde_json::to_vec(&with(sleeper(), json!({ "stop": { "timeout": "7s" } }))).unwrap();
    let mut file = fs::File::create(pod.path("process.json")).unwrap();
    for piece in text.chunks(20) {
        std::io::Write::write_all(&mut file, piece).unwrap();
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(file);
    let after = pod.wait("the whole file", |status| status.config.digest != before.config.digest);
    assert_eq!(after.config.error, None);
}

#[test]
fn without_a_usable_configuration_it_waits_for_one() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("process.json"), "{}").unwrap();
    let mut pod = Pod::again(dir, Place::Here);
    let status = pod.status();
    assert_eq!((status.state, status.pid), (Shown::Failed, None));
    assert!(status.config.error.unwrap().contains("missing field `command`"));
    assert!(status.reason.starts_with("waits for a usable configuration in "), "{}", status.reason);
    pod.configure(&sleeper());
    pod.wait_ready();
    assert_eq!(pod.terminate(), 143);
}

#[test]
fn a_corrected_command_ends_a_crash_loop_at_once() {
    let restart = json!({ "restart": { "delay": "1m", "maxDelay": "10m", "crashLoopAfter": 2 } });
    let pod = Pod::start(&with(shell("exit 1"), restart.clone()));
    pod.wait_state(Shown::CrashLoop);
    pod.configure(&with(sleeper(), restart));
    // the next try would be in a minute, and that is longer than anybody waits here
    let status = pod.wait_ready();
    assert_eq!((status.consecutive_crashes, status.crash_loop), (0, false));
}

#[test]
fn other_checks_are_in_effect_at_once() {
    let pod = Pod::start(&sleeper());
    pod.wait_ready();
    let check = |path: &std::path::Path| {
        with(sleeper(), json!({ "readiness": { "check": { "file": { "path": path } }, "failureThreshold": 1 } }))
    };
    pod.configure(&check(&pod.path("flag")));
    let status = pod.wait("not ready", |status| !status.readiness.ready);
    assert_eq!(status.state, Shown::Running);
    fs::write(pod.path("flag"), "").unwrap();
    pod.wait_ready();
    pod.configure(&sleeper());
    fs::remove_file(pod.path("flag")).unwrap();
    let status = pod.wait("the old check", |status| status.readiness.reason == "the process runs");
    assert_eq!(status.state, Shown::Ready);
}

#[test]
fn a_restart_during_a_bad_configuration_uses_the_last_good_one() {
    let pod = Pod::start(&sleeper());
    pod.wait_ready();
    fs::write(pod.path("process.json"), "{").unwrap();
    pod.wait("the error", |status| status.config.error.is_some());
    pod.order(Op::Restart);
    let status = pod.wait_ready();
    assert_eq!(status.last_exit.unwrap().reason, EndReason::Requested);
    until("the process", || {
        let command = fs::read_to_string(format!("/proc/{}/cmdline", status.pid.unwrap())).unwrap_or_default();
        if command == "sleep\x001000\0" { Ok(()) } else { Err(command) }
    });
}
