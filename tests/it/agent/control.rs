//! The control socket: what is asked and answered, and clients that misbehave in every way they can.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::{Duration, Instant};

use midship::agent::ctl::{Client, CtlError};
use midship::agent::init::protocol::{
    Code, EndReason, MAX_EXEC_REQUEST, MAX_REQUEST, Notice, NoticeKind, Op, Request, Response,
};
use midship::agent::init::state::Shown;
use midship::agent::pid1;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::json;

use super::frugal::MOST_KIB;
use super::pod::{AGENT, LONG, Place, Pod, appears, shell, sleeper, until, with};
use crate::harness::skip;

/// Connects without any manners.
fn raw(pod: &Pod) -> UnixStream {
    let stream = UnixStream::connect(pod.socket()).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.set_write_timeout(Some(LONG)).unwrap();
    stream
}

/// Everything until the end; a reset is an end too.
fn rest(mut stream: UnixStream) -> String {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(got @ 1..) = stream.read(&mut buffer) {
        bytes.extend_from_slice(&buffer[..got]);
    }
    String::from_utf8(bytes).unwrap()
}

fn refusal(answer: &str) -> Code {
    let response: Response = serde_json::from_str(answer).unwrap_or_else(|error| panic!("{error}: {answer:?}"));
    assert!(!response.ok);
    response.error.unwrap().code
}

/// PID 1 answers a probe as if nothing were the matter.
fn still_well(pod: &Pod) {
    let second = Duration::from_secs(1);
    until("an answer within a second", || {
        let start = Instant::now();
        // under a flood, a connection may be sent away for a newer one before it has asked; a probe asks again
        Client::connect(&pod.socket(), second)
            .and_then(|mut client| client.ask(&Request::new(Op::Ready)))
            .map_err(|error| error.to_string())?;
        let took = start.elapsed();
        if took < second { Ok(()) } else { Err(format!("it took {took:?}")) }
    });
}

#[test]
fn requests_are_answered_in_order_with_their_ids() {
    let pod = Pod::start(&sleeper());
    pod.wait_ready();
    let mut stream = raw(&pod);
    stream.write_all(b"{\"id\":7,\"op\":\"ready\"}\n{\"id\":8,\"op\":\"restart\"}\n{\"id\":9,\"op\":\"rea").unwrap();
    stream.write_all(b"dy\"}\n").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let answers: Vec<Response> = rest(stream).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ids: Vec<_> = answers.iter().map(|answer| answer.id).collect();
    assert_eq!(ids, [Some(7), Some(8), Some(9)]);
    assert!(answers.iter().all(|answer| answer.ok));
}

#[test]
fn requests_that_make_no_sense_are_refused_with_a_code_and_a_reason() {
    let pod = Pod::start(&sleeper());
    pod.wait_ready();
    for (line, code, part) in [
        ("{\"op\":\"dance\"}", Code::BadRequest, "unknown variant `dance`"),
        ("{\"op\":\"status\",\"colour\":1}", Code::BadRequest, "unknown field `colour`"),
        ("{\"op\":\"start\",\"timeout\":\"1s\"}", Code::BadRequest, "timeout goes only with stop, restart and exec"),
        ("{\"op\":\"signal\"}", Code::BadRequest, "signal names no signal"),
        ("{\"op\":\"signal\",\"signal\":\"KILL\"}", Code::Unsupported, "SIGKILL is not passed on"),
        ("{\"op\":\"reload\"}", Code::Unsupported, "does not say how to reload"),
        ("GET / HTTP/1.1", Code::BadRequest, "cannot read the request"),
        ("", Code::BadRequest, "cannot read the request"),
    ] {
        let mut stream = raw(&pod);
        stream.write_all(line.as_bytes()).unwrap();
        stream.write_all(b"\n").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let answer = rest(stream);
        assert_eq!(refusal(&answer), code, "{line}");
        assert!(answer.contains(part), "{line}: {answer}");
    }
    still_well(&pod);
}

#[test]
fn one_order_at_a_time_and_a_stop_comes_first() {
    let dir = tempfile::tempdir().unwrap();
    let script = "trap '' TERM; touch up; while :; do sleep 0.05; done";
    let config = with(shell(script), json!({ "stop": { "timeout": "20s" }, "workingDir": dir.path() }));
    let pod = Pod::start(&config);
    appears(&dir.path().join("up"));
    let ask = |op: Op, timeout: Option<&str>| {
        let mut client = Client::connect(&pod.socket(), LONG).unwrap();
        let mut request = Request::new(op);
        request.timeout = timeout.map(|text| midship::api::values::Duration::parse(text).unwrap());
        std::thread::spawn(move || match client.ask(&request) {
            Err(CtlError::Refused(problem)) => Err(problem.code),
            other => Ok(other.unwrap()),
        })
    };
    let restart = ask(Op::Restart, None);
    pod.wait("the restart", |status| status.operation.as_deref() == Some("restart"));
    for op in [Op::Restart, Op::Start, Op::Reload] {
        assert_eq!(pod.refused(&Request::new(op)), Code::Busy, "{op:?}");
    }
    let stop = ask(Op::Stop, Some("100ms"));
    assert_eq!(restart.join().unwrap(), Err(Code::Superseded));
    assert_eq!(stop.join().unwrap().unwrap()["forced"], json!(true));
    assert_eq!(pod.status().state, Shown::Stopped);
    let mut request = Request::new(Op::Signal);
    request.signal = midship::agent::init::signals::Signal::parse("HUP");
    assert_eq!(pod.refused(&request), Code::NotRunning);
}

#[test]
fn whoever_leaves_while_waiting_does_not_end_the_order() {
    let pod = Pod::start(&sleeper());
    let before = pod.wait_ready();
    let mut stream = raw(&pod);
    stream.write_all(b"{\"op\":\"restart\"}\n").unwrap();
    drop(stream);
    pod.wait("another process", |status| status.state == Shown::Ready && status.pid != before.pid);
}

#[test]
fn a_reload_is_a_signal_or_a_command() {
    let dir = tempfile::tempdir().unwrap();
    let script = "trap 'echo reloaded >> log' HUP; touch up; while :; do sleep 0.02; done";
    let by = |reload: serde_json::Value| with(shell(script), json!({ "reload": reload, "workingDir": dir.path() }));
    let pod = Pod::start(&by(json!({ "signal": "HUP" })));
    let before = pod.wait_ready();
    appears(&dir.path().join("up"));
    assert_eq!(pod.ask(&Request::new(Op::Reload)).unwrap()["message"], json!("SIGHUP sent"));
    appears(&dir.path().join("log"));
    let reconfigure = |reload: serde_json::Value| {
        let digest = pod.status().config.digest;
        pod.configure(&by(reload));
        pod.wait("the new configuration", |status| status.config.digest != digest);
    };
    reconfigure(json!({ "exec": { "command": ["sh", "-c", "echo done; pwd > where"] } }));
    assert_eq!(pod.ask(&Request::new(Op::Reload)).unwrap()["message"], json!("sh succeeded: done"));
    assert_eq!(fs::read_to_string(dir.path().join("where")).unwrap().trim(), dir.path().display().to_string());
    reconfigure(json!({ "exec": { "command": ["sh", "-c", "echo bad line 3 >&2; exit 2"] } }));
    let problem = pod.ask(&Request::new(Op::Reload)).unwrap_err();
    assert_eq!((problem.code, problem.message.as_str()), (Code::Failed, "sh exited with code 2: bad line 3"));
    reconfigure(json!({ "exec": { "command": ["sleep", "1000"], "timeout": "200ms" } }));
    assert_eq!(pod.ask(&Request::new(Op::Reload)).unwrap_err().message, "sleep took longer than 200 ms");
    assert_eq!((pod.status().pid, pod.status().restarts), (before.pid, 0));
}

#[test]
fn events_tell_each_change_as_it_happens() {
    let pod = Pod::start(&sleeper());
    let before = pod.wait_ready();
    let mut client = Client::connect(&pod.socket(), LONG).unwrap();
    let seq = client.ask(&Request::new(Op::Events)).unwrap()["seq"].as_u64().unwrap();
    let mut heard = Vec::new();
    pod.order(Op::Restart);
    pod.wait_ready();
    let next = |client: &mut Client| -> Notice { serde_json::from_str(&client.line().unwrap().unwrap()).unwrap() };
    loop {
        let notice = next(&mut client);
        assert_eq!(notice.seq, seq + 1 + heard.len() as u64, "none is missing");
        heard.push((notice.kind, notice.state));
        if notice.kind == NoticeKind::State && notice.state == Shown::Ready {
            assert_ne!(notice.pid, before.pid);
            break;
        }
    }
    let states: Vec<_> = heard.iter().filter(|(kind, _)| *kind == NoticeKind::State).map(|(_, state)| *state).collect();
    assert_eq!(states.first(), Some(&Shown::Stopping));
    assert!(states.contains(&Shown::Starting), "{states:?}");
    assert!(heard.iter().any(|(kind, _)| *kind == NoticeKind::Exit));
    // whoever comes later can ask for what it missed
    let mut late = Client::connect(&pod.socket(), LONG).unwrap();
    let mut request = Request::new(Op::Events);
    request.since = Some(seq);
    late.ask(&request).unwrap();
    assert_eq!(next(&mut late).seq, seq + 1);
}

#[test]
fn garbage_half_lines_and_endless_lines_harm_nobody() {
    let pod = Pod::start(&sleeper());
    let before = pod.wait_ready();
    let mut garbage = raw(&pod);
    let noise: Vec<u8> = (0..200_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let _ = garbage.write_all(&noise);
    assert_eq!(rest(garbage).lines().count(), 1, "one complaint, then the end");
    // ten megabytes without a line's end: taken in and thrown away, and told why
    let mut endless = raw(&pod);
    let writer = endless.try_clone().unwrap();
    let feeder = std::thread::spawn(move || {
        let mut writer = writer;
        let _ = (0..660).try_for_each(|_| writer.write_all(&[b'x'; 16_000]));
        let _ = writer.shutdown(std::net::Shutdown::Write);
    });
    let mut line = String::new();
    endless.read_to_string(&mut line).unwrap();
    assert_eq!(refusal(&line), Code::TooLong);
    feeder.join().unwrap();
    // half a line and then silence: cut off after a while, and until then nobody waits
    let mut half = raw(&pod);
    half.write_all(b"{\"op\":").unwrap();
    still_well(&pod);
    assert_eq!(rest(half), "");
    assert_eq!(pod.status().pid, before.pid);
}

#[test]
fn a_request_is_as_long_as_it_says_though_it_comes_as_one_line() {
    let pod = Pod::start(&sleeper());
    pod.wait_ready();
    let ask = |request: &str, length: usize| {
        let mut stream = raw(&pod);
        // whoever asks too much may be cut off before the end
        let line = format!("{request}{}\n", " ".repeat(length - request.len()));
        let _ = stream.write_all(line.as_bytes());
        let _ = stream.shutdown(std::net::Shutdown::Write);
        rest(stream)
    };
    let answer = ask("{\"op\":\"ready\"}", MAX_REQUEST);
    assert!(answer.contains("\"ok\":true"), "{answer}");
    let exec = "{\"op\":\"exec\",\"exec\":{\"command\":[\"true\"]}}";
    for (request, most) in [("{\"op\":\"ready\"}", MAX_REQUEST), (exec, MAX_EXEC_REQUEST)] {
        let answer = ask(request, most + 1);
        assert_eq!(refusal(&answer), Code::TooLong);
        assert!(answer.contains(&format!("a request has at most {most} bytes")), "{answer}");
    }
}

#[test]
fn descriptors_that_nobody_takes_are_closed_however_many_come() {
    let pod = Pod::start(&sleeper());
    let before = pod.wait_ready();
    let path = pod.path("sent along");
    let file = fs::File::create(&path).unwrap();
    let open = || -> Vec<_> {
        let entries = fs::read_dir(format!("/proc/{}/fd", pod.init)).unwrap();
        entries.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok()).collect()
    };
    let at_first = open().len();
    let ask = |request: &str, count: usize| {
        let stream = raw(&pod);
        let sent = pid1::send(stream.as_raw_fd(), request.as_bytes(), &vec![file.as_raw_fd(); count]).unwrap();
        assert_eq!(sent, request.len());
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        rest(stream)
    };
    let (status, exec) = ("{\"op\":\"status\"}\n", "{\"op\":\"exec\",\"exec\":{\"command\":[\"true\"]}}\n");
    for _ in 0..100 {
        for (request, count) in [(status, 4), (status, 5), (status, 253), (exec, 253), ("{\"op\":", 5)] {
            let answer = ask(request, count);
            assert_eq!(refusal(&answer), Code::BadRequest, "{count}: {answer}");
            assert!(answer.contains("more than 3 descriptors came with the request"), "{count}: {answer}");
        }
        let answer = ask(status, 3);
        assert!(answer.contains("\"ok\":true"), "{answer}");
    }
    until("what was sent to be closed", || {
        let open = open();
        if !open.contains(&path) && open.len() <= at_first { Ok(()) } else { Err(format!("{open:?}")) }
    });
    still_well(&pod);
    assert_eq!(pod.status().pid, before.pid);
    pod.kill_process(nix::sys::signal::Signal::SIGKILL);
    pod.wait("another process", |status| status.state == Shown::Ready && status.pid != before.pid);
}

#[test]
fn each_command_has_the_descriptors_that_came_with_it() {
    let pod = Pod::start(&sleeper());
    pod.wait_ready();
    let stream = raw(&pod);
    for name in ["first", "second"] {
        let file = fs::File::create(pod.path(name)).unwrap();
        let request = format!("{{\"op\":\"exec\",\"exec\":{{\"command\":[\"echo\",\"{name}\"]}}}}\n");
        pid1::send(stream.as_raw_fd(), request.as_bytes(), &[file.as_raw_fd(); 3]).unwrap();
    }
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let answers = rest(stream);
    assert_eq!(answers.matches("\"code\":0").count(), 2, "{answers}");
    assert_eq!((pod.read("first").as_str(), pod.read("second").as_str()), ("first\n", "second\n"));
}

#[test]
fn a_stop_is_answered_once_the_next_pid_1_would_know_of_it() {
    let mut pod = Pod::start(&sleeper());
    for _ in 0..10 {
        pod.wait_ready();
        pod.order(Op::Stop);
        pod = Pod::again(pod.lose(), Place::Here);
        let last = pod.status().last_exit.expect("it ended");
        assert_eq!(last.reason, EndReason::Requested, "{}", last.message);
    }
}

#[test]
fn a_thousand_connections_neither_lock_others_out_nor_take_memory() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard.min(4096), hard).unwrap();
    let pod = Pod::start(&sleeper());
    let before = pod.wait_ready();
    let mut open = Vec::new();
    for n in 0..1_000 {
        let mut stream = raw(&pod);
        // some say nothing, some ask and never read, some follow the events and never read
        let line: &[u8] = match n % 4 {
            0 => b"",
            1 => b"{\"op\":\"status\"}\n{\"op\":\"status\"}\n{\"op\":\"status\"}\n",
            2 => b"{\"op\":\"events\",\"since\":0}\n",
            _ => b"{\"op\":",
        };
        let _ = stream.write_all(line);
        open.push(stream);
        if n % 250 == 249 {
            still_well(&pod);
        }
    }
    let descriptors = || fs::read_dir(format!("/proc/{}/fd", pod.init)).unwrap().count();
    until("most to be sent away", || {
        let count = descriptors();
        if count < 60 { Ok(()) } else { Err(format!("{count} descriptors")) }
    });
    let memory = until("memory to be given back", || {
        let memory = pod.memory();
        if memory <= MOST_KIB { Ok(memory) } else { Err(format!("{memory} KiB")) }
    });
    println!("resident memory of PID 1 with a thousand connections: {memory} KiB");
    still_well(&pod);
    let (used, time) = until("PID 1 to have little to do with those that stay", || {
        let (ticks, since) = (pod.ticks(), Instant::now());
        std::thread::sleep(Duration::from_millis(500));
        let (used, time) = (Duration::from_millis((pod.ticks() - ticks) * 10), since.elapsed());
        if used <= time / 4 { Ok((used, time)) } else { Err(format!("{used:?} in {time:?}")) }
    });
    println!("processor time of PID 1 with them: {used:?} in {time:?}");
    pod.order(Op::Restart);
    drop(open);
    until("all to be gone", || {
        let count = descriptors();
        if count < 15 { Ok(()) } else { Err(format!("{count} descriptors")) }
    });
    assert_ne!(pod.wait_ready().pid, before.pid);
}

#[test]
fn a_client_that_asks_all_the_time_is_slowed_down() {
    let pod = Pod::start(&sleeper());
    pod.wait_ready();
    let mut stream = raw(&pod);
    stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    let start = Instant::now();
    let (mut answers, mut buffer) = (0, [0; 4_096]);
    while start.elapsed() < Duration::from_millis(1_500) || (answers == 0 && start.elapsed() < LONG) {
        stream.set_nonblocking(true).unwrap();
        let _ = stream.write(b"{\"op\":\"ready\"}\n{\"op\":\"ready\"}\n");
        stream.set_nonblocking(false).unwrap();
        if let Ok(got) = stream.read(&mut buffer) {
            answers += buffer[..got].split(|byte| *byte == b'\n').count() - 1;
        }
    }
    let elapsed = start.elapsed();
    let most = usize::try_from(elapsed.as_millis() / 5).unwrap();
    assert!((1..=most).contains(&answers), "{answers} answers in {elapsed:?}");
    still_well(&pod);
}

#[test]
fn a_socket_that_somebody_removed_comes_back() {
    let pod = Pod::start(&sleeper());
    let before = pod.wait_ready();
    fs::remove_file(pod.socket()).unwrap();
    until("somebody who listens", || UnixStream::connect(pod.socket()).map(drop).map_err(|error| error.to_string()));
    assert_eq!(pod.status().pid, before.pid);
}

#[test]
fn the_socket_is_for_its_user_and_group_and_those_that_are_named() {
    let pod = Pod::start(&sleeper());
    pod.wait_ready();
    let mode = fs::metadata(pod.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    if !nix::unistd::geteuid().is_root() {
        skip(
            "the_socket_is_for_its_user_and_group_and_those_that_are_named",
            "all but its mode: only root can be somebody else",
        );
        return;
    }
    fs::set_permissions(pod.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let nobody = || {
        let script = "use IO::Socket::UNIX; my $s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die \"denied\\n\"; \
            print $s '{\"op\":\"ready\"}', \"\\n\"; print scalar <$s>";
        let output = Command::new("setpriv")
            .args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "timeout", "30", "perl", "-e", script])
            .arg(pod.socket())
            .output()
            .unwrap();
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    };
    assert_eq!(nobody(), "denied\n");
    // even where the file lets everybody in
    fs::set_permissions(pod.socket(), fs::Permissions::from_mode(0o666)).unwrap();
    let answer = nobody();
    assert_eq!(refusal(&answer), Code::Forbidden);
    assert!(answer.contains("user 65534 may not control the process"), "{answer}");
    let digest = pod.status().config.digest;
    pod.configure(&with(sleeper(), json!({ "control": { "allowUids": [65534] } })));
    pod.wait("the new configuration", |status| status.config.digest != digest);
    assert!(nobody().contains("\"ready\":true"), "{}", nobody());
}

#[test]
fn the_command_line_speaks_to_people_and_programs() {
    let pod = Pod::start(&sleeper());
    let status = pod.wait_ready();
    let ctl = |arguments: &[&str]| {
        let output = Command::new(AGENT).arg("ctl").arg("--socket").arg(pod.socket()).args(arguments).output().unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.code().unwrap(), text)
    };
    let (code, page) = ctl(&["status"]);
    assert!(
        code == 0 && page.starts_with("State      Ready since ") && page.contains("yes: the process runs"),
        "{page}"
    );
    let (_, json) = ctl(&["status", "-o", "json"]);
    let parsed: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(parsed["pid"], json!(status.pid));
    assert_eq!(ctl(&["start"]).1, format!("Ready, process {}: nothing had to be done\n", status.pid.unwrap()));
    assert_eq!(ctl(&["stop", "--timeout", "20s"]), (0, "Stopped\n".to_owned()));
    let (code, complaint) = ctl(&["signal", "USR1"]);
    assert_eq!(
        (code, complaint.as_str()),
        (1, "midship-agent: the process does not run: stopped on request; start it first\n")
    );
    assert_eq!(ctl(&["signal", "BOO"]).0, 2);
}
