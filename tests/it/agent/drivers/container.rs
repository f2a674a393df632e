//! Commands, signals, files and the process itself, through the real PID 1.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use midship::agent::drivers::ExecCall;
use midship::agent::init::state::Shown;
use midship::agent::pid1::Pid1;
use midship::agent::stream;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Stage;
use crate::agent::pod::{LONG, Pod, alive, appears, children, shell, sleeper, until, with};

async fn ask(pod: &Pod, step: Value) -> Result<Value, String> {
    Stage::with_step(&pod.socket(), 1, step).ask().await
}

fn failed(driver: &str, reason: &str) -> Result<Value, String> {
    Err(format!("operation try: step 1 ({driver}): {reason}"))
}

#[tokio::test]
async fn exec_runs_a_command_in_the_middlewares_container() {
    let pod = Pod::start(&with(sleeper(), json!({ "env": { "OF_PROCESS": "p" } })));
    pod.wait_ready();
    let script = "echo $OF_PROCESS $OF_STEP $0; tr a-z A-Z; echo careful >&2";
    let step = json!({ "exec": { "command": ["sh", "-c", script, "{{ pod.name }}"], "env": { "OF_STEP": "s" },
        "stdin": "hello {{ pod.ordinal }}\n" } });
    let answer = json!({ "code": 0, "json": null, "stdout": "p s shop-db-0\nHELLO 0\n", "stderr": "careful\n" });
    assert_eq!(ask(&pod, step).await, Ok(answer));

    let step = json!({ "exec": ["sh", "-c", "echo one; echo two >&2; exit 4"] });
    assert_eq!(ask(&pod, step).await, failed("exec", "exited with code 4: two"));
    let step = json!({ "exec": ["sh", "-c", "kill -9 $$"], "expect": "reply.code == 137" });
    assert_eq!(ask(&pod, step).await, Ok(json!({ "code": 137, "json": null, "stdout": "", "stderr": "" })));
    let step = json!({ "exec": ["echo", r#" {"members": [{"id": 7}]}"#], "expect": "reply.json.members[0].id == 7" });
    assert_eq!(ask(&pod, step).await.map(|answer| answer["json"].clone()), Ok(json!({ "members": [{ "id": 7 }] })));
    let step = json!({ "exec": ["echo", "{no json"] });
    assert_eq!(ask(&pod, step).await.map(|answer| answer["json"].clone()), Ok(Value::Null));
    let step = json!({ "exec": ["none"] });
    assert_eq!(ask(&pod, step).await, failed("exec", "cannot run none: it is nowhere in PATH of this image"));
}

#[tokio::test]
async fn exec_takes_large_inputs_and_bounds_large_outputs() {
    let pod = Pod::start(&sleeper());
    pod.wait_ready();
    let step = json!({ "exec": { "command": ["wc", "-c"], "stdin": "abcdefgh".repeat(8000) } });
    assert_eq!(ask(&pod, step).await.unwrap()["stdout"], "64000\n");
    let answer = ask(&pod, json!({ "exec": ["perl", "-e", "print 'x' x 3_000_000"] })).await.unwrap();
    let kept = answer["stdout"].as_str().unwrap().len() as u64;
    assert_eq!(kept + answer["truncated"].as_u64().unwrap(), 3_000_000);
    // who does not read is no failure, and somebody left behind keeps nobody waiting
    let step =
        json!({ "exec": { "command": ["sh", "-c", "setsid sleep 1000 & echo done"], "stdin": "a".repeat(60000) } });
    assert_eq!(ask(&pod, step).await.unwrap()["stdout"], "done\n");
}

#[tokio::test]
async fn a_command_that_nobody_waits_for_any_more_is_ended() {
    let dir = tempfile::tempdir().unwrap();
    let pod = Pod::start(&with(sleeper(), json!({ "workingDir": dir.path() })));
    pod.wait_ready();
    let pid = || fs::read_to_string(dir.path().join("pid")).unwrap_or_default().trim().parse::<i32>().ok();
    let gone = |why: &str| {
        let pid = pid().expect("it began");
        until(why, || if alive(pid) { Err("it lives".to_owned()) } else { Ok(()) });
        fs::remove_file(dir.path().join("pid")).unwrap();
    };
    let command = json!(["sh", "-c", "echo $$ > pid.new; mv pid.new pid; sleep 1000"]);
    let step = json!({ "exec": command, "timeout": "5s" });
    let error = ask(&pod, step).await.unwrap_err();
    assert!(error.contains("took too long"), "{error}");
    gone("the command to end in time");

    let stage = Stage::with_step(&pod.socket(), 1, json!({ "exec": command }));
    let asked = tokio::spawn(async move { stage.ask().await });
    let file = dir.path().join("pid");
    tokio::task::spawn_blocking(move || appears(&file)).await.unwrap();
    asked.abort();
    assert!(asked.await.unwrap_err().is_cancelled());
    gone("the command to end with whoever waited");
}

#[tokio::test]
async fn a_stream_is_whole_only_when_its_command_ends_well() {
    let pod = Pod::start(&sleeper());
    pod.wait_ready();
    let pid1 = Pid1::new(&pod.socket());
    let call =
        |script: &str| ExecCall { command: ["sh", "-c", script].map(str::to_owned).into(), ..ExecCall::default() };
    let read = async |script: &str| {
        let (mut stdout, ending) = stream::read_from(&pid1, &call(script), LONG).await.unwrap();
        let mut bytes = Vec::new();
        stdout.read_to_end(&mut bytes).await.unwrap();
        (bytes.len(), ending.wait().await.map_err(|error| error.to_string()))
    };
    assert_eq!(read("head -c 3000000 /dev/zero").await, (3_000_000, Ok(())));
    let noisy = "head -c 1000000 /dev/zero >&2; head -c 10 /dev/zero; echo; echo >&2; echo disk full >&2; exit 2";
    assert_eq!(read(noisy).await, (11, Err("sh exited with code 2: disk full".to_owned())));
    assert_eq!(read("kill -9 $$").await, (0, Err("sh was ended by SIGKILL".to_owned())));

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("restored");
    let (mut sink, ending) = stream::write_to(&pid1, &call(&format!("cat > {}", file.display())), LONG).await.unwrap();
    sink.write_all(&vec![7; 2_000_000]).await.unwrap();
    drop(sink);
    ending.wait().await.unwrap();
    assert_eq!(fs::metadata(&file).unwrap().len(), 2_000_000);

    let (stdout, ending) = stream::read_from(&pid1, &call("yes"), LONG).await.unwrap();
    drop((stdout, ending));
    until("the command to end", || match children(pod.init).len() {
        1 => Ok(()),
        more => Err(format!("{more} children")),
    });
}

#[tokio::test]
async fn signals_reach_the_process_and_orders_are_obeyed() {
    let dir = tempfile::tempdir().unwrap();
    let script = "trap 'touch heard' USR1; touch up; while :; do sleep 0.05; done";
    let pod = Pod::start(&with(shell(script), json!({ "workingDir": dir.path() })));
    appears(&dir.path().join("up"));
    let first = pod.wait_ready().pid;
    ask(&pod, json!({ "signal": "SIGUSR1" })).await.unwrap();
    appears(&dir.path().join("heard"));
    let answer = ask(&pod, json!({ "process": "restart" })).await.unwrap();
    assert_eq!(answer["changed"], true);
    let second = pod.wait_ready().pid;
    assert_ne!(first, second);
    ask(&pod, json!({ "process": "stop" })).await.unwrap();
    assert_eq!(pod.status().state, Shown::Stopped);
    let error = ask(&pod, json!({ "signal": "HUP" })).await.unwrap_err();
    assert!(error.starts_with("operation try: step 1 (signal): the process does not run"), "{error}");
    assert_eq!(ask(&pod, json!({ "process": "start" })).await.unwrap()["changed"], true);
    pod.wait_ready();
    let gone = Stage::with_step("/nowhere/init.sock".as_ref(), 1, json!({ "process": "stop" })).ask().await;
    let reason = "PID 1 does not answer at /nowhere/init.sock: No such file or directory (os error 2)";
    assert_eq!(gone, failed("process", reason));
}

#[tokio::test]
async fn files_are_read_written_and_removed() {
    let pod = Pod::start(&sleeper());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sub/marker");
    let step = json!({ "file": { "path": path, "content": "{{ pod.name }}\n", "mode": "0640" } });
    ask(&pod, step).await.unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    let read = || ask(&pod, json!({ "file": path }));
    assert_eq!(read().await, Ok(json!({ "exists": true, "content": "shop-db-0\n" })));
    ask(&pod, json!({ "file": { "path": path, "remove": true } })).await.unwrap();
    assert_eq!(read().await, Ok(json!({ "exists": false, "content": null })));
    let fifo = dir.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let reason = format!("cannot read {}: it is no regular file", fifo.display());
    assert_eq!(ask(&pod, json!({ "file": fifo })).await, failed("file", &reason));
}
