//! From a configured command to a process: environment, search path, and what to say when it cannot be started.

use std::collections::BTreeMap;
use std::ffi::{CString, OsString};
use std::os::fd::RawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use nix::errno::Errno;

use super::config::Config;
use super::sys::{Program, Step};

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Where a program's stdout and stderr go, if not where ours go.
pub type Streams = Option<(RawFd, RawFd)>;

/// `command` as it runs under `config`, in its surroundings.
pub fn prepare(command: &[String], config: &Config, streams: Streams) -> Program {
    let mut environment: BTreeMap<OsString, OsString> =
        if config.inherit_env { std::env::vars_os().collect() } else { BTreeMap::new() };
    environment.extend(config.env.iter().map(|(name, value)| (name.into(), value.0.as_str().into())));
    let path =
        environment.get("PATH".as_ref() as &std::ffi::OsStr).map_or(DEFAULT_PATH.as_bytes(), |path| path.as_bytes());
    Program {
        candidates: candidates(&command[0], path),
        arguments: command.iter().map(|word| text(word.as_bytes().to_vec())).collect(),
        environment: environment
            .into_iter()
            .map(|(name, value)| text([name.into_vec(), value.into_vec()].join(&b'=')))
            .collect(),
        directory: config.working_dir.as_ref().map(|dir| text(dir.as_os_str().as_bytes().to_vec())),
        uid: config.uid,
        gid: config.gid,
        groups: config.groups.clone(),
        nofile: config.limits.nofile,
        stdin: None,
        stdout: streams.map(|(stdout, _)| stdout),
        stderr: streams.map(|(_, stderr)| stderr),
    }
}

fn candidates(program: &str, path: &[u8]) -> Vec<CString> {
    if program.contains('/') {
        return vec![text(program.as_bytes().to_vec())];
    }
    path.split(|byte| *byte == b':')
        .map(|dir| if dir.is_empty() { b".".as_slice() } else { dir })
        .map(|dir| text([dir, program.as_bytes()].join(&b'/')))
        .collect()
}

/// The configuration was checked for NUL characters, and the kernel hands out none.
fn text(bytes: Vec<u8>) -> CString {
    CString::new(bytes).unwrap_or_default()
}

/// What to tell people about a process that did not become its program.
pub fn explain(step: Step, error: Errno, command: &str, config: &Config) -> String {
    let why = error.desc();
    match step {
        Step::Limit => format!(
            "limits.nofile cannot be {}: {why}; the container's own limit is lower and only root may raise it",
            config.limits.nofile.unwrap_or_default()
        ),
        Step::Groups => format!("cannot set the supplementary groups: {why}; only root can, leave uid and groups out"),
        Step::Gid => format!("cannot become group {}: {why}; only root can", config.gid.unwrap_or_default()),
        Step::Uid => format!("cannot become user {}: {why}; only root can", config.uid.unwrap_or_default()),
        Step::Directory => {
            let dir = config.working_dir.clone().unwrap_or_default();
            format!("cannot enter workingDir {}: {why}", dir.display())
        }
        Step::Execute => match error {
            Errno::ENOENT if command.contains('/') => {
                format!("cannot run {command}: it, or the interpreter it names, is not in this image")
            }
            Errno::ENOENT => format!("cannot run {command}: it is nowhere in PATH of this image"),
            Errno::ENOEXEC => {
                format!("cannot run {command}: neither a program for this machine nor a script that begins with #!")
            }
            _ => format!("cannot run {command}: {why}"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_name_is_looked_for_along_the_path() {
        let found = candidates("server", b"/a:/b::");
        let found: Vec<_> = found.iter().map(|path| path.to_str().unwrap()).collect();
        assert_eq!(found, ["/a/server", "/b/server", "./server", "./server"]);
        assert_eq!(candidates("./run", b"/a").len(), 1);
    }

    #[test]
    fn configured_variables_win_over_inherited_ones() {
        let loaded = Config::parse(
            std::path::Path::new("c"),
            br#"{"command": ["x"], "env": {"PATH": "/only", "A": "1"}, "inheritEnv": false}"#,
        )
        .unwrap();
        let program = prepare(&loaded.config.command, &loaded.config, None);
        assert_eq!(program.candidates, [c"/only/x".to_owned()]);
        assert_eq!(program.environment, [c"A=1".to_owned(), c"PATH=/only".to_owned()]);
    }
}
