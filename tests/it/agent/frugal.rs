//! What PID 1 costs: memory, processor time, and both under clients that misbehave.

use std::time::Duration;

use midship::agent::init::protocol::{Op, Request};
use midship::agent::init::state::Shown;
use serde_json::json;

use super::pod::{Pod, shell, sleeper, until, with};

/// A debug build has to relocate megabytes of tables of everything else the agent can do.
pub const MOST_KIB: u64 = if cfg!(debug_assertions) { 12 * 1024 } else { 4 * 1024 };

#[test]
fn an_idle_process_manager_needs_little_memory() {
    let pod = Pod::start(&with(sleeper(), json!({ "output": { "files": [{ "path": "/dev/null/none" }] } })));
    pod.wait_ready();
    pod.order(Op::Restart);
    let memory = until("memory to be given back", || {
        let memory = pod.memory();
        if memory <= MOST_KIB { Ok(memory) } else { Err(format!("{memory} KiB")) }
    });
    println!("resident memory of PID 1: {memory} KiB");
}

/// What PID 1 may hold, as people run it.
const TARGET_KIB: f64 = 4096.0;

#[test]
fn bench_an_idle_process_manager_is_small() {
    let pod = Pod::start(&sleeper());
    pod.wait_ready();
    let kib = f64::from(u32::try_from(pod.memory()).unwrap());
    println!("resident memory of PID 1: {kib:.0} KiB, {:.2} × the target", kib / TARGET_KIB);
}

#[test]
fn an_idle_process_manager_uses_no_processor_time() {
    // ends by itself: while we wait for that, nothing else is to be done
    let restart = json!({ "restart": { "policy": "Never" }, "readiness": { "check": { "tcp": { "port": 1 } } } });
    let pod = Pod::start(&with(shell("sleep 4"), restart));
    pod.wait("the check to fail", |status| status.readiness.reason.contains("refused"));
    let before = pod.ticks();
    let socket = pod.socket();
    let mut events = midship::agent::ctl::Client::connect(&socket, Duration::from_secs(30)).unwrap();
    let mut request = Request::new(Op::Events);
    // it may have ended by now
    request.since = Some(0);
    events.ask(&request).unwrap();
    while !events.line().unwrap().unwrap().contains("\"exit\"") {}
    let used = pod.ticks() - before;
    println!("processor time of PID 1 in four idle seconds: {} ms", used * 10);
    // a slow machine takes longer for the little there is; whoever looked again and again would need far more
    assert!(used <= 8, "{used} ticks of 10 ms");
    pod.wait_state(Shown::Stopped);
}
