//! Commands that clients run beside the process: what they see, how they end, and that PID 1 is none the worse for it.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use midship::agent::init::protocol::{Code, ExecOrder, ExecResult, MAX_EXEC_REQUEST, Op, Request};
use midship::agent::init::state::Shown;
use midship::api::values;
use nix::sys::signal::Signal;
use serde_json::json;

use super::pod::{AGENT, Pod, alive, appears, children, descendants, everywhere, sleeper, until, with};

fn order(command: &[&str]) -> Request {
    let mut request = Request::new(Op::Exec);
    let command = command.iter().map(|word| (*word).to_owned()).collect();
    request.exec = Some(ExecOrder { command, ..ExecOrder::default() });
    request
}

fn exec(pod: &Pod, command: &[&str]) -> ExecResult {
    let answer = pod.ask(&order(command)).unwrap_or_else(|problem| panic!("{problem:?}\n{}", pod.log()));
    serde_json::from_value(answer).unwrap()
}

/// `midship-agent ctl exec`, as a person would.
fn ctl(pod: &Pod, options: &[&str], command: &[&str]) -> Command {
    let mut program = Command::new(AGENT);
    program.args(["ctl", "exec", "--socket"]).arg(pod.socket()).args(options).arg("--").args(command);
    program
}

#[test]
fn a_command_sees_what_the_process_sees_and_its_end_is_told() {
    everywhere("a_command_sees_what_the_process_sees_and_its_end_is_told", |place| {
        let dir = tempfile::tempdir().unwrap();
        let config = json!({ "env": { "FROM_CONFIG": "a", "BOTH": "b" }, "workingDir": dir.path() });
        let pod = Pod::start_in(place, &with(sleeper(), config));
        pod.wait_ready();
        let mut request = order(&["sh", "-c", "echo $FROM_CONFIG$BOTH $PWD $0; cat; echo oh >&2; exit 3", "argument"]);
        let exec = request.exec.as_mut().unwrap();
        exec.env = serde_json::from_value(json!({ "BOTH": "c" })).unwrap();
        exec.stdin = serde_json::from_value(json!("read me\n")).unwrap();
        let result: ExecResult = serde_json::from_value(pod.ask(&request).unwrap()).unwrap();
        assert_eq!((result.code, result.signal.as_deref(), result.timed_out), (Some(3), None, false));
        assert_eq!(result.stdout, Some(format!("ac {} argument\nread me\n", dir.path().display())));
        assert_eq!(result.stderr.as_deref(), Some("oh\n"));
        assert_eq!((result.stdout_dropped, result.stderr_dropped), (None, None));

        let killed: ExecResult = self::exec(&pod, &["sh", "-c", "kill -USR1 $$"]);
        assert_eq!((killed.code, killed.signal.as_deref()), (None, Some("SIGUSR1")));
        assert_eq!(pod.status().restarts, 0);
        until("only the process to be left", || match children(pod.init).len() {
            1 => Ok(()),
            more => Err(format!("{more} children")),
        });
    });
}

#[test]
fn a_command_can_be_run_while_the_process_is_stopped() {
    let pod = Pod::start(&sleeper());
    pod.order(Op::Stop);
    assert_eq!(exec(&pod, &["echo", "hello"]).stdout.as_deref(), Some("hello\n"));
    assert_eq!(pod.status().state, Shown::Stopped);
}

#[test]
fn what_cannot_be_run_is_refused_with_the_reason() {
    let pod = Pod::start(&sleeper());
    pod.wait_ready();
    let mut in_nowhere = order(&["true"]);
    in_nowhere.exec.as_mut().unwrap().working_dir = Some("/nowhere".into());
    let mut misplaced = Request::new(Op::Status);
    misplaced.exec = Some(ExecOrder::default());
    for (request, code, reason) in [
        (order(&["no-such-program"]), Code::Failed, "cannot run no-such-program: it is nowhere in PATH of this image"),
        (order(&[]), Code::BadRequest, "command: must name a program"),
        (order(&["a\0b"]), Code::BadRequest, "command: must not hold a NUL character"),
        (in_nowhere, Code::Failed, "cannot enter workingDir /nowhere: No such file or directory"),
        (Request::new(Op::Exec), Code::BadRequest, "exec names no command"),
        (misplaced, Code::BadRequest, "exec goes only with exec"),
    ] {
        let problem = pod.ask(&request).expect_err("refused");
        assert_eq!((problem.code, problem.message.as_str()), (code, reason));
    }
}

#[test]
fn a_command_that_takes_too_long_is_killed_with_its_group() {
    everywhere("a_command_that_takes_too_long_is_killed_with_its_group", |place| {
        let dir = tempfile::tempdir().unwrap();
        let pod = Pod::start_in(place, &with(sleeper(), json!({ "workingDir": dir.path() })));
        pod.wait_ready();
        let before = descendants(pod.init);
        let mut request = order(&["sh", "-c", "echo so far; sleep 1000 & echo $! > child; trap '' TERM; wait"]);
        request.timeout = values::Duration::parse("3s");
        let result: ExecResult = serde_json::from_value(pod.ask(&request).unwrap()).unwrap();
        assert_eq!((result.timed_out, result.signal.as_deref()), (true, Some("SIGKILL")));
        assert_eq!(result.stdout.as_deref(), Some("so far\n"));
        until("its child to be gone", || {
            let left = descendants(pod.init);
            if left == before { Ok(()) } else { Err(format!("{left:?}")) }
        });
    });
}

#[test]
fn a_command_ends_when_whoever_ordered_it_hangs_up() {
    let dir = tempfile::tempdir().unwrap();
    let pod = Pod::start(&with(sleeper(), json!({ "workingDir": dir.path() })));
    pod.wait_ready();
    let mut client = ctl(&pod, &[], &["sh", "-c", "sleep 1000 & echo $! > child; touch up; wait"]).spawn().unwrap();
    appears(&dir.path().join("up"));
    let child: i32 = fs::read_to_string(dir.path().join("child")).unwrap().trim().parse().unwrap();
    assert!(alive(child));
    client.kill().unwrap();
    client.wait().unwrap();
    until("the command to end", || if alive(child) { Err("it lives".to_owned()) } else { Ok(()) });
    until("only the process to be left", || match children(pod.init).len() {
        1 => Ok(()),
        more => Err(format!("{more} children")),
    });
}

#[test]
fn what_is_kept_of_the_output_is_bounded_and_says_so() {
    let pod = Pod::start(&sleeper());
    pod.wait_ready();
    // what is needed for any command is there before
    exec(&pod, &["true"]);
    let before = pod.memory();
    let script = "$| = 1; print 'a' x 100; print 'o' x 3_000_000; print STDERR 'e' x 1_000_000; print STDERR 'last'";
    let result = exec(&pod, &["perl", "-e", script]);
    let (stdout, stderr) = (result.stdout.unwrap(), result.stderr.unwrap());
    assert!(stdout.starts_with("aaa"));
    assert_eq!(stdout.len() as u64 + result.stdout_dropped.unwrap(), 3_000_100);
    assert!(stderr.ends_with("elast"));
    assert_eq!(stderr.len() as u64 + result.stderr_dropped.unwrap(), 1_000_004);
    let grown = pod.memory().saturating_sub(before);
    assert!(grown < 2048, "PID 1 grew by {grown} KiB");
}

#[test]
fn a_long_command_may_be_sent_where_other_requests_may_not() {
    let pod = Pod::start(&sleeper());
    pod.wait_ready();
    let long = "x".repeat(100_000);
    let result = exec(&pod, &["sh", "-c", "echo ${#0}", &long]);
    assert_eq!(result.stdout.as_deref(), Some("100000\n"));
    assert_eq!(pod.refused(&order(&["true", &"x".repeat(2 * MAX_EXEC_REQUEST)])), Code::TooLong);
}

#[test]
fn only_so_many_commands_run_at_once_and_the_process_stays_in_hand() {
    let pod = Pod::start(&sleeper());
    pod.wait_ready();
    let mut clients: Vec<_> = (0..8).map(|_| ctl(&pod, &[], &["sleep", "1000"]).spawn().unwrap()).collect();
    until("eight commands", || match children(pod.init).len() {
        9 => Ok(()),
        other => Err(format!("{other} children")),
    });
    assert_eq!(pod.refused(&order(&["true"])), Code::TooMany);
    pod.kill_process(Signal::SIGKILL);
    pod.wait("a new process", |status| status.restarts == 1 && status.state == Shown::Ready);
    for client in &mut clients {
        // nothing of the time before the crash is left when the process starts anew
        assert_eq!(client.wait().unwrap().code(), Some(128 + 9));
    }
    assert_eq!(exec(&pod, &["true"]).code, Some(0));
}

#[test]
fn streams_of_any_length_go_past_pid_1() {
    let pod = Pod::start(&sleeper());
    pod.wait_ready();
    // what is needed for any command is there before
    assert!(ctl(&pod, &[], &["true"]).status().unwrap().success());
    let (ticks, memory) = (pod.ticks(), pod.memory());
    let mut client = ctl(&pod, &["--env", "LEVEL=1"], &["sh", "-c", "tr a b; echo $LEVEL >&2; exit 7"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = client.stdin.take().unwrap();
    let writer = std::thread::spawn(move || {
        for _ in 0..64 {
            stdin.write_all(&vec![b'a'; 1024 * 1024]).unwrap();
        }
    });
    let output = client.wait_with_output().unwrap();
    writer.join().unwrap();
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(output.stdout.len(), 64 * 1024 * 1024);
    assert!(output.stdout.iter().all(|byte| *byte == b'b'));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "1\n");
    assert!(pod.ticks() - ticks < 20, "PID 1 has nothing to do with it");
    assert!(pod.memory().saturating_sub(memory) < 1024);
}
