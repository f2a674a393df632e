//! Git over SSH: the `ssh` program with every choice spelled out, nothing taken from anybody's configuration.

use std::path::Path;
use std::process::Command;

use gix_transport::Service;

use super::process::start;
use super::{BoxedTransport, RemoteError, Wire};
use crate::repo::child::{bare_command, private_folder};
use crate::repo::credentials::Credentials;
use crate::repo::error::clean;
use crate::repo::remote::Remote;

pub(super) fn connect(
    remote: &Remote,
    user: &str,
    host: &str,
    port: Option<u16>,
    path: &str,
    service: Service,
    wire: &Wire,
) -> Result<BoxedTransport, RemoteError> {
    let Credentials::Ssh { private_key, known_hosts } = &remote.access().credentials else {
        return Err(RemoteError::Unfit(
            "an ssh address needs a private key and known_hosts (keys `identity` and `known_hosts` in the Secret)"
                .into(),
        ));
    };
    if remote.access().proxy.is_some() {
        return Err(RemoteError::Unfit("a proxy is only for https addresses; remove it or use https".into()));
    }
    let folder = private_folder(&[("identity", private_key.expose()), ("known_hosts", known_hosts.as_str())])?;
    let seconds = wire.bounds.left().as_secs().clamp(1, 30);
    let mut command = ssh_command(folder.path(), port, seconds);
    if service == Service::UploadPack {
        command.args(["-o", "SetEnv=GIT_PROTOCOL=version=2"]);
    }
    command.arg("-l").arg(user);
    command.arg("--").arg(host.trim_matches(['[', ']']));
    command.arg(format!("{} '{path}'", service.as_str()));
    let host = remote.host();
    let url = remote.url().to_string();
    let explain = move |code: Option<i32>, words: &str| explain(service, code, words, &host, &url);
    Ok(Box::new(start(command, Box::new(explain), Some(folder), wire)?))
}

fn ssh_command(folder: &Path, port: Option<u16>, connect_seconds: u64) -> Command {
    let mut command = bare_command("ssh");
    command.args(["-F", "none", "-T", "-a", "-x"]);
    let file = |name: &str| folder.join(name).display().to_string();
    for option in [
        "BatchMode=yes".to_owned(),
        "StrictHostKeyChecking=yes".to_owned(),
        format!("UserKnownHostsFile={}", file("known_hosts")),
        "GlobalKnownHostsFile=/dev/null".to_owned(),
        "UpdateHostKeys=no".to_owned(),
        "IdentitiesOnly=yes".to_owned(),
        "IdentityAgent=none".to_owned(),
        "PreferredAuthentications=publickey".to_owned(),
        "ControlMaster=no".to_owned(),
        "ControlPath=none".to_owned(),
        "ClearAllForwardings=yes".to_owned(),
        "PermitLocalCommand=no".to_owned(),
        "LogLevel=ERROR".to_owned(),
        format!("ConnectTimeout={connect_seconds}"),
        "ServerAliveInterval=10".to_owned(),
        "ServerAliveCountMax=3".to_owned(),
    ] {
        command.arg("-o").arg(option);
    }
    command.arg("-i").arg(file("identity"));
    if let Some(port) = port {
        command.arg("-p").arg(port.to_string());
    }
    command
}

/// `ssh` itself ends with 255; anything else comes from the program on the other side.
fn explain(service: Service, code: Option<i32>, words: &str, host: &str, url: &str) -> RemoteError {
    let host = host.to_owned();
    let reason = clean(words, 300);
    let words = words.to_lowercase();
    let says = |any: &[&str]| any.iter().any(|text| words.contains(text));
    if code == Some(255) {
        return if says(&["host key verification failed", "host key is known", "remote host identification"]) {
            RemoteError::HostKey { host, reason }
        } else if says(&["permission denied", "load key", "too many authentication failures"]) {
            RemoteError::CredentialsRefused { host, reason }
        } else {
            RemoteError::Unreachable { host, reason }
        };
    }
    if says(&["not appear to be a git repository", "not found", "no such repository", "not exist", "not be found"]) {
        RemoteError::NotFound { url: url.to_owned() }
    } else if service == Service::ReceivePack || says(&["denied", "not allowed", "not authorized", "permission"]) {
        RemoteError::Forbidden { host, reason }
    } else {
        RemoteError::Server { host, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_taken_from_the_users_configuration() {
        let command = ssh_command(Path::new("/keys"), Some(2222), 10);
        let line: Vec<_> = command.get_args().map(|a| a.to_string_lossy().into_owned()).collect();
        let line = line.join(" ");
        for part in [
            "-F none",
            "-o StrictHostKeyChecking=yes",
            "-o UserKnownHostsFile=/keys/known_hosts",
            "-o IdentitiesOnly=yes",
            "-o BatchMode=yes",
            "-i /keys/identity -p 2222",
        ] {
            assert!(line.contains(part), "{part} is not in {line}");
        }
        let names: Vec<_> = command.get_envs().map(|(name, _)| name.to_string_lossy().into_owned()).collect();
        assert!(!names.iter().any(|name| name == "SSH_AUTH_SOCK"), "{names:?}");
    }

    #[test]
    fn what_ssh_says_is_told_apart() {
        let of = |service, code, words: &str| explain(service, Some(code), words, "forge", "ssh://forge/a").code();
        let read = |code, words: &str| of(Service::UploadPack, code, words);
        assert_eq!(
            read(255, "No ED25519 host key is known for forge.\r\nHost key verification failed.\r\n"),
            "host-key"
        );
        assert_eq!(read(255, "git@forge: Permission denied (publickey)."), "credentials-refused");
        assert_eq!(read(255, "ssh: connect to host forge port 22: Connection refused"), "unreachable");
        assert_eq!(read(128, "fatal: '/a' does not appear to be a git repository"), "repository-not-found");
        assert_eq!(read(1, "ERROR: Repository not found."), "repository-not-found");
        assert_eq!(read(1, "Permission to a/b denied to key."), "forbidden");
        assert_eq!(read(1, "remote: out of memory"), "server-error");
        assert_eq!(of(Service::ReceivePack, 1, "this deploy key is read-only"), "forbidden");
    }
}
