//! Steps over drivers that answer what a test tells them to.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::time::Instant;

use super::*;
use crate::agent::drivers::{Answer, Call, DriverError, FileDoes};

#[derive(Default)]
struct Log {
    answers: VecDeque<Answer>,
    calls: Vec<String>,
    ended: Vec<Session>,
}

#[derive(Clone, Default)]
struct Fake(Arc<Mutex<Log>>);

impl Drivers for Fake {
    fn call<'a>(&'a self, _: &'a Session, call: Call, _: Instant) -> BoxFuture<'a, Answer> {
        let mut log = self.0.lock().unwrap();
        log.calls.push(match &call {
            Call::Exec(call) => format!("exec {} {:?} {:?}", call.command.join(" "), call.env, call.stdin),
            Call::Http(call) => format!("{} {}{} {:?}", call.method, call.target, call.path, call.body),
            Call::Tcp(call) => format!("tcp {}", call.target),
            Call::Signal(signal) => format!("signal {signal}"),
            Call::Process(what) => format!("process {what:?}"),
            Call::File(call) => match &call.does {
                FileDoes::Write { content, .. } => format!("write {} {content}", call.path),
                FileDoes::Read => format!("read {}", call.path),
                FileDoes::Remove => format!("remove {}", call.path),
            },
            Call::Resp(call) => format!("resp {} {} login={}", call.target, call.command.join(" "), call.login),
            Call::Postgres(call) => format!("sql {} {} {:?} {:?}", call.target, call.sql, call.values, call.database),
        });
        let answer = log.answers.pop_front().unwrap_or(Ok(json!("OK")));
        drop(log);
        async move {
            match answer {
                // a server that never answers
                Ok(Value::String(text)) if text == "hang" => std::future::pending().await,
                answer => answer,
            }
        }
        .boxed()
    }

    fn end(&self, session: &Session) {
        self.0.lock().unwrap().ended.push(session.clone());
    }
}

struct Stage {
    actor: Actor,
    fake: Fake,
    secrets: TempDir,
}

impl Stage {
    /// An actor whose configuration has these fields besides the usual.
    fn new(fields: Value, answers: Vec<Answer>) -> Self {
        let mut config = json!({
            "instance": "shop", "namespace": "team", "component": "db", "group": "default", "port": 7440,
            "clientPort": 5000, "ports": { "client": 5000, "admin": 5001 }, "tls": false, "login": true,
            "failover": false, "roles": ["replica", { "name": "primary", "exclusive": true }],
            "context": { "instance": "shop", "secret": { "password": "${secret:password}" },
                "username": "${secret:username}", "pod": { "name": "${pod:name}" }, "params": { "size": 3 } },
        });
        let (Value::Object(config_map), Value::Object(fields)) = (&mut config, fields) else { panic!("objects") };
        config_map.extend(fields);
        let config: AgentConfig = serde_json::from_value(config).unwrap();
        let secrets = tempfile::tempdir().unwrap();
        std::fs::write(secrets.path().join("username"), "admin").unwrap();
        std::fs::write(secrets.path().join("password"), "hunter2-hunter2").unwrap();
        let facts = PodFacts::new(&config, |name| (name == "MIDSHIP_POD").then(|| "shop-db-1".to_owned()));
        let settings = ActorSettings {
            config: Arc::new(config),
            control: "/none".into(),
            secrets: secrets.path().to_owned(),
            known: Arc::default(),
            tls: "/none".into(),
            facts,
        };
        let fake = Fake(Arc::new(Mutex::new(Log { answers: answers.into(), ..Log::default() })));
        Self { actor: Actor::with(settings, Box::new(fake.clone())), fake, secrets }
    }

    /// One whose `promote` has these steps.
    fn steps(steps: Value, answers: Vec<Answer>) -> Self {
        Self::new(json!({ "actions": { "promote": { "steps": steps } } }), answers)
    }

    async fn promote(&self, extras: Value) -> Result<Option<Value>, String> {
        self.actor.run("promote", object(extras)).await.map_err(|error| error.to_string())
    }

    fn calls(&self) -> Vec<String> {
        self.fake.0.lock().unwrap().calls.clone()
    }
}

fn object(value: Value) -> Map<String, Value> {
    let Value::Object(map) = value else { panic!("an object") };
    map
}

fn no(reason: &str) -> Answer {
    Err(DriverError::new(reason))
}

#[tokio::test]
async fn steps_read_the_pod_thesecrets_and_what_was_given() {
    let stage = Stage::steps(
        json!([
            { "resp": ["FOLLOW", "{{ primary.host }}", "{{ pod.ordinal + 1 }}"] },
            { "resp": { "command": ["PING"], "host": "{{ target }}", "port": "admin", "login": false } },
            { "postgres": { "sql": "SELECT $1", "values": ["pod.name ~ '!'", "params.size"], "database": "d" } },
            { "exec": { "script": "do.sh", "args": ["{{ instance }}"], "env": { "PW": "{{ secret.password | base64 }}" } } },
            { "http": { "path": "/{{ username }}", "method": "PUT", "port": "admin", "body": { "a": ["{{ role }}"], "n": 1 } } },
            { "file": { "path": "/data/x", "content": "{{ pod.host }}" } },
        ]),
        vec![Ok(json!(1)), Ok(json!(1)), Ok(json!(1)), Ok(json!({ "code": 0 })), Ok(json!({ "status": 204 }))],
    );
    let extras = json!({ "primary": { "host": "a.b" }, "target": "c.d", "role": "replica" });
    assert_eq!(stage.promote(extras).await, Ok(Some(json!({}))));
    assert_eq!(
        stage.calls(),
        [
            "resp 127.0.0.1:5000 FOLLOW a.b 2 login=true",
            "resp c.d:5001 PING login=false",
            "sql 127.0.0.1:5000 SELECT $1 [String(\"shop-db-1!\"), Number(3)] Some(\"d\")",
            "exec /midship/scripts/do.sh shop {\"PW\": \"aHVudGVyMi1odW50ZXIy\"} None",
            "PUT 127.0.0.1:5001/admin Some(Object {\"a\": Array [String(\"replica\")], \"n\": Number(1)})",
            "write /data/x shop-db-1.shop-db-pods.team.svc",
        ]
    );
}

#[tokio::test]
async fn what_is_not_declared_or_does_not_apply_is_not_done() {
    let stage = Stage::new(
        json!({ "actions": { "promote": { "when": "role != 'primary'", "steps": [{ "signal": "HUP" }] },
            "demote": { "steps": [{ "when": "is_primary", "signal": "HUP" }, { "process": "stop" }] } } }),
        vec![],
    );
    assert_eq!(stage.actor.run("follow", Extras::new()).await, Ok(None));
    assert_eq!(stage.promote(json!({ "role": "primary" })).await, Ok(None));
    assert_eq!(stage.actor.run("demote", Extras::new()).await, Ok(Some(json!({}))));
    assert_eq!(stage.calls(), ["process Stop"]);
}

#[tokio::test]
async fn steps_know_whether_the_instance_was_created() {
    let actions = json!({ "promote": { "steps": [
        { "when": "created", "process": "restart" }, { "when": "not created", "process": "stop" } ] } });
    let fresh = Stage::new(json!({ "actions": actions }), vec![]);
    assert_eq!(fresh.promote(json!({})).await, Ok(Some(json!({}))));
    assert_eq!(fresh.calls(), ["process Stop"]);
    let settled = Stage::new(json!({ "actions": actions, "context": { "created": true } }), vec![]);
    assert_eq!(settled.promote(json!({})).await, Ok(Some(json!({}))));
    assert_eq!(settled.calls(), ["process Restart"]);
}

#[tokio::test]
async fn a_step_that_is_not_done_saves_nothing_that_can_be_asked_for() {
    let actions = json!({ "promote": {
        "steps": [
            { "when": "is_primary", "resp": ["A"], "save": "asked" },
            { "when": "is_primary", "set": { "much": "1", "kept": "2" } },
            { "set": { "kept": "3" } },
            { "when": "is_primary", "set": { "kept": "4" } },
            { "when": "asked or much", "process": "stop" },
            { "when": "asked is none and kept == 3", "process": "restart" },
        ],
        "result": { "asked": "asked", "kept": "kept" } } });
    let stage = Stage::new(json!({ "actions": actions }), vec![]);
    assert_eq!(stage.promote(json!({})).await, Ok(Some(json!({ "asked": null, "kept": 3 }))));
    assert_eq!(stage.calls(), ["process Restart"]);
}

#[tokio::test]
async fn answers_are_saved_and_make_the_result() {
    let stage = Stage::new(
        json!({ "actions": { "promote": {
            "steps": [
                { "resp": ["A"], "save": "first" },
                { "forEach": "[1, 2]", "resp": ["B", "{{ item }}"], "save": "all" },
                { "set": { "sum": "first.n + all[1]" } },
            ],
            "result": { "sum": "sum", "last": "reply.sum" } } } }),
        vec![Ok(json!({ "n": 40 })), Ok(json!(1)), Ok(json!(2))],
    );
    assert_eq!(stage.promote(json!({})).await, Ok(Some(json!({ "sum": 42, "last": 42 }))));
    assert_eq!(stage.calls()[1..], ["resp 127.0.0.1:5000 B 1 login=true", "resp 127.0.0.1:5000 B 2 login=true"]);
}

#[tokio::test]
async fn errors_name_the_action_the_step_the_driver_and_no_secret() {
    for (steps, answer, reason) in [
        (
            json!([{ "signal": "HUP" }, { "name": "say hello", "resp": ["AUTH"] }]),
            no("cannot use hunter2-hunter2"),
            "promote: step 2 (say hello, resp): cannot use …",
        ),
        (
            json!([{ "set": {} }, { "resp": ["PING"], "expect": "reply == 'PONG'" }]),
            Ok(json!("LOADING")),
            "promote: step 2 (resp): reply == 'PONG' does not hold; the answer was \"LOADING\"",
        ),
        (
            json!([{ "exec": ["false"] }]),
            Ok(json!({ "code": 3, "stdout": "", "stderr": "bad\nworse: hunter2-hunter2\n" })),
            "promote: step 1 (exec): exited with code 3: worse: …",
        ),
        (
            json!([{ "http": "/x" }]),
            Ok(json!({ "status": 503, "body": "not now", "json": null })),
            "promote: step 1 (http): answered 503: not now",
        ),
        (json!([{ "fail": "no {{ instance }}" }]), Ok(json!(null)), "promote: step 1 (fail): no shop"),
        (
            json!([{ "resp": ["{{ nobody }}"] }]),
            Ok(json!(null)),
            "promote: step 1 (resp): command:1: \"nobody\" is not defined",
        ),
        (
            json!([{ "tcp": "amdin" }]),
            Ok(json!(null)),
            "promote: step 1 (tcp): no port is called \"amdin\"; there are admin, client",
        ),
        (
            json!([{ "forEach": "instance", "signal": "HUP" }]),
            Ok(json!(null)),
            "promote: step 1 (signal): forEach: \"instance\" is no list but \"shop\"",
        ),
    ] {
        let stage = Stage::steps(
            steps.clone(),
            vec![Ok(json!("OK"))].into_iter().take(usize::from(reason.contains("say hello"))).chain([answer]).collect(),
        );
        assert_eq!(stage.promote(json!({})).await, Err(reason.to_owned()), "{steps}");
    }
}

#[tokio::test]
async fn an_expectation_of_its_own_replaces_the_drivers_rule() {
    let stage = Stage::steps(
        json!([{ "exec": ["grep"], "expect": "reply.code in [0, 1]" }, { "http": "/", "expect": "reply.status == 404" }]),
        vec![Ok(json!({ "code": 1, "stdout": "", "stderr": "" })), Ok(json!({ "status": 404 }))],
    );
    assert_eq!(stage.promote(json!({})).await, Ok(Some(json!({}))));
}

#[tokio::test]
async fn a_step_waits_until_the_answer_is_right() {
    let stage = Stage::steps(
        json!([{ "resp": ["ROLE"], "until": "reply[0] == 'primary'", "every": "100ms", "timeout": "10s" }]),
        vec![Ok(json!(["replica"])), no("the connection broke"), Ok(json!([])), Ok(json!(["primary"]))],
    );
    assert_eq!(stage.promote(json!({})).await, Ok(Some(json!({}))));
    assert_eq!(stage.calls().len(), 4);

    let stage =
        Stage::steps(json!([{ "resp": ["ROLE"], "until": "reply == 1", "every": "10ms", "timeout": "50ms" }]), vec![]);
    let reason = "promote: step 1 (resp): took too long: reply == 1 does not hold; the answer was \"OK\"";
    assert_eq!(stage.promote(json!({})).await, Err(reason.to_owned()));
}

#[tokio::test]
async fn a_step_that_fails_is_tried_again_as_often_as_it_says() {
    let answers = || vec![no("one"), no("two"), Ok(json!("fine"))];
    let stage = Stage::steps(json!([{ "resp": ["X"], "retries": 2, "every": "10ms" }]), answers());
    assert_eq!(stage.promote(json!({})).await, Ok(Some(json!({}))));
    let stage = Stage::steps(json!([{ "resp": ["X"], "retries": 1 }]), answers());
    assert_eq!(stage.promote(json!({})).await, Err("promote: step 1 (resp): two".to_owned()));
    let stage = Stage::new(
        json!({ "actions": { "promote": { "retries": 2, "steps": [{ "set": { "n": "1" } }, { "resp": ["X"] }] } } }),
        answers(),
    );
    assert_eq!(stage.promote(json!({})).await, Ok(Some(json!({}))));
    assert_eq!(stage.calls().len(), 3);
}

#[tokio::test]
async fn every_wait_has_a_deadline() {
    let hang = || vec![Ok(json!("hang"))];
    let ends = async |stage: Stage| {
        let error = stage.actor.run("promote", Extras::new()).await.unwrap_err();
        assert_eq!(error.kind, FailureKind::TimedOut, "{error}");
    };
    ends(Stage::steps(json!([{ "resp": ["X"], "timeout": "20ms" }]), hang())).await;
    let both =
        json!({ "actions": { "promote": { "timeout": "20ms", "steps": [{ "resp": ["X"], "timeout": "10m" }] } } });
    ends(Stage::new(both, hang())).await;
    let inner = json!({ "actions": { "promote": { "timeout": "20ms", "steps": [{ "run": "prepare" }] },
        "prepare": { "timeout": "10m", "steps": [{ "resp": ["X"] }] } } });
    ends(Stage::new(inner, hang())).await;
}

#[tokio::test]
async fn a_step_that_takes_the_time_it_asked_for_takes_none_from_the_others() {
    let steps: Vec<Step> = serde_json::from_value(json!([
        { "resp": ["X"], "until": "reply == 1", "every": "10ms", "timeout": "400ms", "ignoreFailure": true },
        { "resp": ["Y"], "until": "reply == 1", "every": "10ms" },
    ]))
    .unwrap();
    let stage = Stage::new(json!({}), (0..1000).map(|_| Ok(json!(0))).collect());
    let began = Instant::now();
    let mut scope = stage.actor.scope(&Extras::new()).ok().unwrap();
    let clock = Clock::new(None, Duration::from_millis(200));
    let failure = stage.actor.runner(&Session::Probe).steps(&steps, &mut scope, clock, &[]).await.unwrap_err();
    assert_eq!((failure.kind, failure.step.unwrap().number), (FailureKind::TimedOut, 2));
    assert!(began.elapsed() >= Duration::from_millis(550));
}

#[tokio::test]
async fn a_failure_that_may_be_is_an_empty_answer() {
    let stage = Stage::steps(
        json!([
            { "resp": ["WHO"], "save": "known", "ignoreFailure": true },
            { "when": "known and known[0] == 'x'", "signal": "HUP" },
            { "when": "not known", "signal": "USR1" },
        ]),
        vec![no("nobody there")],
    );
    assert_eq!(stage.promote(json!({})).await, Ok(Some(json!({}))));
    assert_eq!(stage.calls()[1..], ["signal USR1"]);
    let ignored = json!({ "actions": { "promote": { "onFailure": "Ignore", "steps": [{ "resp": ["X"] }] } } });
    assert_eq!(Stage::new(ignored, vec![no("x")]).promote(json!({})).await, Ok(Some(json!({}))));
    let paused = json!({ "actions": { "promote": { "onFailure": "Pause", "steps": [{ "resp": ["X"] }] } } });
    let error = Stage::new(paused, vec![no("x")]).actor.run("promote", Extras::new()).await.unwrap_err();
    assert_eq!(error.on_failure, OnFailure::Pause);
}

#[tokio::test]
async fn an_action_may_run_others_but_never_itself() {
    let actions = json!({ "actions": {
        "promote": { "steps": [{ "set": { "who": "'me'" } }, { "run": "prepare", "save": "done" }], "result": { "n": "done.n" } },
        "prepare": { "steps": [{ "resp": ["HELLO", "{{ who }}"] }], "result": { "n": "7" } },
    } });
    let stage = Stage::new(actions, vec![]);
    assert_eq!(stage.promote(json!({})).await, Ok(Some(json!({ "n": 7 }))));
    let circle = json!({ "actions": {
        "promote": { "steps": [{ "run": "prepare" }] }, "prepare": { "steps": [{ "run": "promote" }] } } });
    assert_eq!(
        Stage::new(circle, vec![]).promote(json!({})).await,
        Err("promote: step 1 (run): prepare: step 1 (run): promote: it runs itself: promote, then prepare, then promote"
            .to_owned())
    );
    let inner = json!({ "actions": {
        "promote": { "steps": [{ "run": "prepare" }] }, "prepare": { "steps": [{ "resp": ["X"] }] } } });
    let stage = Stage::new(inner, vec![no("broken")]);
    assert_eq!(stage.promote(json!({})).await, Err("promote: step 1 (run): prepare: step 1 (resp): broken".to_owned()));
}

#[tokio::test]
async fn the_role_is_what_the_expressions_make_of_the_answer() {
    let role = json!({ "role": { "steps": [{ "resp": ["ROLE"] }],
        "role": "'primary' if reply[0] == 'master' else 'replica'",
        "position": "reply[1] if reply[0] == 'master' else reply[4]",
        "follows": "'' if reply[0] == 'master' else reply[1]" } });
    let ask = async |answer: Answer| {
        let stage = Stage::new(role.clone(), vec![answer]);
        stage.actor.role(Extras::new()).await.map_err(|error| error.to_string())
    };
    let seen = |role: &str, position, follows: Option<&str>| {
        Ok(RoleSeen { role: role.to_owned(), position, lag: None, follows: follows.map(str::to_owned) })
    };
    assert_eq!(ask(Ok(json!(["master", 4711, []]))).await, seen("primary", Some(4711), None));
    assert_eq!(ask(Ok(json!(["slave", "h", 1, "connected", 99]))).await, seen("replica", Some(99), Some("h")));
    assert_eq!(ask(Ok(json!(["slave", "h", 1, "connect", -1]))).await, seen("replica", None, Some("h")));
    assert_eq!(ask(no("refused")).await, Err("role: step 1 (resp): refused".to_owned()));
    let odd = json!({ "role": { "steps": [], "role": "'king'" } });
    let error = Stage::new(odd, vec![]).actor.role(Extras::new()).await.unwrap_err();
    assert_eq!(error.to_string(), "role: the answer \"king\" is no role of the component");
}

#[tokio::test]
async fn a_probe_has_two_seconds_unless_it_says_more() {
    let probe: Probe = serde_json::from_value(json!({ "steps": [{ "tcp": "client" }] })).unwrap();
    let stage = Stage::new(json!({}), vec![Ok(json!(null)), no("refused"), Ok(json!("hang"))]);
    let mut outcomes = Vec::new();
    for _ in 0..3 {
        outcomes.push(stage.actor.probe(&probe, Extras::new()).await.map_err(|error| error.to_string()));
    }
    let failed = |reason: &str| Err(format!("probe: step 1 (tcp): {reason}"));
    assert_eq!(outcomes, [Ok(()), failed("refused"), failed("took too long")]);
    assert!(stage.fake.0.lock().unwrap().ended.is_empty(), "connections of probes last");
}

#[tokio::test]
async fn an_operation_reads_its_parameters_and_answers_by_name() {
    let operations = json!({ "operations": { "flush": {
        "steps": [{ "resp": ["FLUSH", "{{ 'ASYNC' if request.asynchronous else 'SYNC' }}"], "save": "done" }],
        "result": { "said": "done" } } } });
    let stage = Stage::new(operations, vec![]);
    let parameters = object(json!({ "asynchronous": true }));
    assert_eq!(stage.actor.operation("flush", parameters, Extras::new()).await, Ok(json!({ "said": "OK" })));
    assert_eq!(stage.calls(), ["resp 127.0.0.1:5000 FLUSH ASYNC login=true"]);
    let error = stage.actor.operation("flsh", Map::new(), Extras::new()).await.unwrap_err();
    assert_eq!(error.to_string(), "operation flsh: there is no such operation; there are flush");
}

#[tokio::test]
async fn the_connections_of_a_run_end_with_it_and_those_of_a_freeze_with_the_unfreeze() {
    let actions =
        json!({ "actions": { "promote": { "steps": [] }, "freeze": { "steps": [] }, "unfreeze": { "steps": [] } } });
    let stage = Stage::new(actions, vec![]);
    for action in ["promote", "freeze", "unfreeze"] {
        stage.actor.run(action, Extras::new()).await.unwrap();
    }
    assert_eq!(stage.fake.0.lock().unwrap().ended, [Session::Run(0), Session::Named("freeze".to_owned())]);
}

#[tokio::test]
async fn newsecrets_are_used_at_once() {
    let stage = Stage::steps(json!([{ "resp": ["AUTH", "{{ secret.password }}"] }]), vec![]);
    stage.promote(json!({})).await.unwrap();
    std::fs::write(stage.secrets.path().join("password"), "another-one").unwrap();
    stage.promote(json!({})).await.unwrap();
    let calls = stage.calls();
    assert!(calls[0].contains("hunter2-hunter2") && calls[1].contains("another-one"), "{calls:?}");
}
