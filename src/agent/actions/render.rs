//! From a step to what its driver is to do: templates rendered, ports found by name.

use std::collections::BTreeMap;

use crate::agent::drivers::{Call, ExecCall, FileCall, FileDoes, HttpCall, PostgresCall, RespCall, Target, TcpCall};
use crate::extension::agent::AgentConfig;
use crate::extension::context::paths;
use crate::extension::contract::Step;
use crate::extension::contract::step::Exec;

use super::scope::Scope;

/// The call of a step that uses a driver; nothing for `set`, `fail` and `run`. Errors are for people.
pub fn call(step: &Step, scope: &Scope, config: &AgentConfig) -> Result<Option<Call>, String> {
    let text = |name: &str, source: &str| scope.text(name, source).map_err(|error| error.to_string());
    let maybe = |name: &str, source: Option<&String>| source.map(|source| text(name, source)).transpose();
    let target = |host: Option<&String>, port: Option<&String>| {
        Ok::<_, String>(Target {
            host: maybe("host", host)?.filter(|host| !host.is_empty()),
            port: find_port(config, maybe("port", port)?.as_deref())?,
        })
    };
    Ok(Some(if let Some(step) = &step.exec {
        Call::Exec(exec(step, scope)?)
    } else if let Some(http) = &step.http {
        Call::Http(HttpCall {
            target: target(http.host.as_ref(), http.port.as_ref())?,
            method: http.method.clone().unwrap_or_else(|| "GET".to_owned()),
            path: text("path", &http.path)?,
            headers: all(&http.headers, |name, source| text(&format!("headers.{name}"), source))?,
            body: http
                .body
                .as_ref()
                .map(|body| scope.texts("body", body))
                .transpose()
                .map_err(|error| error.to_string())?,
            login: http.login,
            secure: config.tls && http.tls != Some(false),
        })
    } else if let Some(tcp) = &step.tcp {
        Call::Tcp(TcpCall {
            target: target(tcp.host.as_ref(), Some(&tcp.port))?,
            send: maybe("send", tcp.send.as_ref())?,
            read: tcp.read,
            secure: config.tls && tcp.tls != Some(false),
        })
    } else if let Some(signal) = &step.signal {
        Call::Signal(signal.clone())
    } else if let Some(process) = step.process {
        Call::Process(process)
    } else if let Some(file) = &step.file {
        let does = match &file.content {
            _ if file.remove => FileDoes::Remove,
            Some(content) => FileDoes::Write { content: text("content", content)?, mode: file.mode.clone() },
            None => FileDoes::Read,
        };
        Call::File(FileCall { path: text("path", &file.path)?, does })
    } else if let Some(resp) = &step.resp {
        Call::Resp(RespCall {
            target: target(resp.host.as_ref(), resp.port.as_ref())?,
            command: resp.command.iter().map(|word| text("command", word)).collect::<Result<_, _>>()?,
            login: resp.login.unwrap_or(true) && config.login,
        })
    } else if let Some(postgres) = &step.postgres {
        let value = |(index, source): (usize, &String)| {
            scope.value(&format!("values[{index}]"), source).map_err(|error| error.to_string())
        };
        Call::Postgres(PostgresCall {
            target: target(postgres.host.as_ref(), postgres.port.as_ref())?,
            sql: text("sql", &postgres.sql)?,
            values: postgres.values.iter().enumerate().map(value).collect::<Result<_, _>>()?,
            database: maybe("database", postgres.database.as_ref())?.or_else(|| config.database.clone()),
        })
    } else {
        return Ok(None);
    }))
}

/// A command in the middleware's container.
pub fn exec(exec: &Exec, scope: &Scope) -> Result<ExecCall, String> {
    let text = |name: &str, source: &str| scope.text(name, source).map_err(|error| error.to_string());
    let words = exec.command.iter().map(|word| text("command", word));
    let args = exec.args.iter().map(|word| text("args", word));
    let script = exec.script.iter().map(|script| Ok(format!("{}/{script}", paths::SCRIPTS)));
    Ok(ExecCall {
        command: words.chain(script).chain(args).collect::<Result<_, _>>()?,
        env: all(&exec.env, |name, source| text(&format!("env.{name}"), source))?,
        stdin: exec.stdin.as_ref().map(|stdin| text("stdin", stdin)).transpose()?,
    })
}

fn all(
    sources: &BTreeMap<String, String>,
    text: impl Fn(&str, &str) -> Result<String, String>,
) -> Result<BTreeMap<String, String>, String> {
    sources.iter().map(|(name, source)| Ok((name.clone(), text(name, source)?))).collect()
}

/// A port by name or number; the client port where none is named.
fn find_port(config: &AgentConfig, port: Option<&str>) -> Result<u16, String> {
    match port {
        None | Some("") => config.client_port.ok_or_else(|| "the component has no client port: name one".to_owned()),
        Some(port) => config.ports.get(port).copied().or_else(|| port.parse().ok()).ok_or_else(|| {
            let known: Vec<&str> = config.ports.keys().map(String::as_str).collect();
            format!("no port is called \"{port}\"; there are {}", known.join(", "))
        }),
    }
}
