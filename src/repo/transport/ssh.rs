//! Git over SSH: the `ssh` program with every choice spelled out, nothing taken from anybody's configuration.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use gix_transport::Service;

use super::process::{bare_command, start};
use super::{BoxedTransport, RemoteError, Wire};
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
    let folder = private_folder(private_key.expose(), known_hosts).map_err(|error| RemoteError::Local {
        what: "writing the SSH key to a temporary file".into(),
        reason: error.to_string(),
    })?;
    let seconds = wire.bounds.left().as_secs().clamp(1, 30);
    let mut command = ssh_command(folder.path(), user, host, port, seconds);
    command.arg(format!("{} '{path}'", service.as_str()));
    let host = remote.host();
    let url = remote.url().to_string();
    let explain = move |words: &str| explain(words, &host, &url);
    Ok(Box::new(start(command, Box::new(explain), Some(folder), wire)?))
}

fn ssh_command(folder: &Path, user: &str, host: &str, port: Option<u16>, connect_seconds: u64) -> Command {
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
        "SetEnv=GIT_PROTOCOL=version=2".to_owned(),
    ] {
        command.arg("-o").arg(option);
    }
    command.arg("-i").arg(file("identity"));
    if let Some(port) = port {
        command.arg("-p").arg(port.to_string());
    }
    command.arg("-l").arg(user);
    command.arg("--").arg(host.trim_matches(['[', ']']));
    command
}

/// A folder only we may read, with the key and the known hosts; it goes away with the connection.
fn private_folder(key: &str, known_hosts: &str) -> std::io::Result<tempfile::TempDir> {
    let folder =
        tempfile::Builder::new().prefix("midship-ssh-").permissions(fs::Permissions::from_mode(0o700)).tempdir()?;
    let mut file =
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(folder.path().join("identity"))?;
    // OpenSSH refuses keys with Windows line ends or without the last one
    let key = zeroize::Zeroizing::new(key.replace("\r\n", "\n"));
    file.write_all(key.trim_end().as_bytes())?;
    file.write_all(b"\n")?;
    fs::write(folder.path().join("known_hosts"), format!("{}\n", known_hosts.trim_end()))?;
    Ok(folder)
}

fn explain(words: &str, host: &str, url: &str) -> RemoteError {
    let host = host.to_owned();
    let reason = clean(words, 300);
    let says = |any: &[&str]| any.iter().any(|text| words.contains(text));
    if says(&["Host key verification failed", "host key is known", "REMOTE HOST IDENTIFICATION"]) {
        RemoteError::HostKey { host, reason }
    } else if says(&["Permission denied (", "Load key", "Too many authentication failures"]) {
        RemoteError::CredentialsRefused { host, reason }
    } else if says(&[
        "not appear to be a git repository",
        "epository not found",
        "does not exist",
        "cannot find repository",
        "could not be found",
    ]) {
        RemoteError::NotFound { url: url.to_owned() }
    } else if says(&["denied", "not allowed", "not authorized", "read-only", "ermission"]) {
        RemoteError::Forbidden { host, reason }
    } else if says(&["ssh: ", "onnection closed", "onnection reset", "timed out", "onnection refused", "kex_exchange"])
    {
        RemoteError::Unreachable { host, reason }
    } else {
        RemoteError::Server { host, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_taken_from_the_users_configuration() {
        let command = ssh_command(Path::new("/keys"), "git", "[::1]", Some(2222), 10);
        let line: Vec<_> = command.get_args().map(|a| a.to_string_lossy().into_owned()).collect();
        let line = line.join(" ");
        for part in [
            "-F none",
            "-o StrictHostKeyChecking=yes",
            "-o UserKnownHostsFile=/keys/known_hosts",
            "-o IdentitiesOnly=yes",
            "-o BatchMode=yes",
            "-i /keys/identity -p 2222 -l git -- ::1",
        ] {
            assert!(line.contains(part), "{part} is not in {line}");
        }
        let names: Vec<_> = command.get_envs().map(|(name, _)| name.to_string_lossy().into_owned()).collect();
        assert!(!names.iter().any(|name| name == "SSH_AUTH_SOCK"), "{names:?}");
    }

    #[test]
    fn the_key_file_is_private_whole_and_gone_afterwards() {
        let folder = private_folder("line\r\nend", "host key").expect("written");
        let path = folder.path().join("identity");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(folder.path()).expect("there").permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::read_to_string(&path).expect("text"), "line\nend\n");
        drop(folder);
        assert!(!path.exists());
    }

    #[test]
    fn what_ssh_says_is_told_apart() {
        let code = |words: &str| explain(words, "forge", "ssh://forge/a").code();
        assert_eq!(code("No ED25519 host key is known for forge.\r\nHost key verification failed.\r\n"), "host-key");
        assert_eq!(code("git@forge: Permission denied (publickey)."), "credentials-refused");
        assert_eq!(code("fatal: '/a' does not appear to be a git repository"), "repository-not-found");
        assert_eq!(code("ssh: connect to host forge port 22: Connection refused"), "unreachable");
        assert_eq!(code("this deploy key is read-only"), "forbidden");
        assert_eq!(code("remote: out of memory"), "server-error");
    }
}
