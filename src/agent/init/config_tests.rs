//! How configurations are read, refused and compared.

use std::path::Path;

use super::*;

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(Path::new("process.json"), text.as_bytes()).map(|loaded| loaded.config).map_err(|e| e.to_string())
}

#[test]
fn a_command_is_all_that_is_needed() {
    let config = parse(r#"{"command": ["sleep", "1"]}"#).unwrap();
    assert_eq!(config.restart.policy, RestartPolicy::Always);
    assert_eq!(config.stop.signal, Signal::TERM);
    assert_eq!(config.readiness.check, Check::Process);
    assert!(!config.output.captured());
}

#[test]
fn an_unknown_field_is_refused_with_its_place() {
    let error = parse("{\"command\": [\"a\"],\n  \"comand\": []}").unwrap_err();
    assert!(error.starts_with("process.json:2:10: unknown field `comand`, expected one of `command`"), "{error}");
    let nested = parse(r#"{"command": ["a"], "stop": {"after": "1s"}}"#).unwrap_err();
    assert!(nested.contains("unknown field `after`, expected one of `signal`, `timeout`, `target`"), "{nested}");
}

#[test]
fn values_that_make_no_sense_are_refused_by_name() {
    for (text, part) in [
        (r#"{"command": []}"#, "command: must name a program"),
        (r#"{"command": ["a"], "stop": {"signal": "TEMR"}}"#, "\"TEMR\" is no signal"),
        (r#"{"command": ["a"], "stop": {"timeout": "30"}}"#, "\"30\" is no duration"),
        (r#"{"command": ["a"], "stop": {"timeout": "30d"}}"#, "stop.timeout: 30d is out of bounds"),
        (r#"{"command": ["a"], "workingDir": "data"}"#, "workingDir: must be an absolute path"),
        (r#"{"command": ["a"], "readiness": {"interval": "1ms"}}"#, "readiness.interval: 1ms is out of bounds"),
        (r#"{"command": ["a"], "readiness": {"check": {"tcp": {"host": "localhost", "port": 1}}}}"#, "IP address"),
        (r#"{"command": ["a"], "output": {"files": [{"path": "x"}]}}"#, "output.files[0].path: must be an absolute"),
        (r#"{"command": ["a"], "preStart": [{"command": []}]}"#, "preStart[0].command: must name a program"),
        (r#"{"command": ["a"], "restart": {"crashLoopAfter": 0}}"#, "restart.crashLoopAfter: must be at least 1"),
        (r#"{"command": ["a"], "env": {"A=B": "c"}}"#, "env: \"A=B\" cannot be set"),
        (r#"{"command": ["a"], "reload": {"signal": "KILL"}}"#, "reload.signal: no program reloads"),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.contains(part), "{text}: {error}");
    }
}

#[test]
fn the_value_of_a_variable_is_never_shown() {
    let config = parse(r#"{"command": ["a"], "env": {"PASSWORD": "hunter2"}}"#).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
    let other = parse(r#"{"command": ["a"], "env": {"PASSWORD": "hunter3", "B": "c"}}"#).unwrap();
    assert_eq!(config.pending(&other)[0].reason, "PASSWORD, B changed");
    for wrong in ["4711", "47.11", "-4711", "true", "[4711]", "{\"4711\": 1}"] {
        let error = parse(&format!(r#"{{"command": ["a"], "env": {{"PASSWORD": {wrong}}}}}"#)).unwrap_err();
        assert!(!error.contains("4711") && error.contains("string"), "{error}");
    }
}

#[test]
fn only_what_the_process_was_started_with_needs_a_restart() {
    let old = parse(r#"{"command": ["a"], "limits": {"nofile": 10}}"#).unwrap();
    let live = parse(
        r#"{"command": ["a"], "limits": {"nofile": 10}, "stop": {"timeout": "1s"}, "restart": {"policy": "Never"},
            "readiness": {"interval": "5s"}, "reload": {"signal": "HUP"}, "preStart": [{"command": ["b"]}]}"#,
    )
    .unwrap();
    assert_eq!(old.pending(&live), []);
    let new = parse(r#"{"command": ["b"], "workingDir": "/", "uid": 1, "output": {"capture": true}}"#).unwrap();
    let fields: Vec<_> = old.pending(&new).into_iter().map(|pending| pending.field).collect();
    assert_eq!(fields, ["command", "workingDir", "uid", "limits", "output"]);
}

#[test]
fn a_configuration_is_written_as_it_is_read() {
    let text = r#"{"command": ["a", "b"], "env": {"X": "y"}, "workingDir": "/data", "uid": 999, "start": "Keep",
        "startTimeout": "1m", "preStart": [{"command": ["c"], "timeout": "5s"}], "limits": {"nofile": 1024},
        "stop": {"signal": "INT", "timeout": "1m30s", "target": "Group"}, "reload": {"exec": {"command": ["r"]}},
        "readiness": {"check": {"file": {"path": "/r", "maxAge": "10s"}}, "interval": "500ms"},
        "output": {"files": [{"path": "/l", "streams": ["stderr"], "maxBytes": 4096, "keep": 1}]},
        "control": {"allowUids": [5]}}"#;
    let config = parse(text).unwrap();
    assert_eq!(parse(&serde_json::to_string(&config).unwrap()).unwrap(), config);
}

#[test]
fn a_fifo_as_configuration_is_refused_without_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("process.json");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(Config::load(&path).unwrap_err().to_string().ends_with("is no regular file"));
    let error = Config::load(&dir.path().join("none")).unwrap_err().to_string();
    assert!(error.contains("cannot be read: No such file"), "{error}");
}
