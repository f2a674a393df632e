//! Small helper programs that get some bytes and give some back, within the time there is.

use std::fs;
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::bounds::Bounds;
use super::error::RemoteError;

/// More than this nobody reads.
const MAX_OUTPUT: u64 = 1 << 20;

/// A command that takes nothing over from our environment but what is needed to find programs.
pub(super) fn bare_command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("LC_ALL", "C").env("GIT_CONFIG_NOSYSTEM", "1");
    for name in ["PATH", "HOME"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

/// How a program ended.
pub(super) struct Done {
    pub success: bool,
    pub output: Vec<u8>,
    pub complaint: String,
}

/// Runs a program to its end or to the deadline, whichever comes first. Files stand in for pipes, so
/// that neither side can wait for the other.
pub(super) fn run(mut command: Command, input: &[u8], bounds: &Bounds) -> Result<Done, RemoteError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let failed = |e: std::io::Error| RemoteError::Local { what: format!("running `{program}`"), reason: e.to_string() };
    let file = || tempfile::tempfile().map_err(failed);
    let (mut stdin, mut stdout, mut stderr) = (file()?, file()?, file()?);
    stdin.write_all(input).and_then(|()| stdin.rewind()).map_err(failed)?;
    let mut child = command
        .stdin(Stdio::from(stdin))
        .stdout(stdout.try_clone().map_err(failed)?)
        .stderr(stderr.try_clone().map_err(failed)?)
        .process_group(0)
        .spawn()
        .map_err(failed)?;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            break status;
        }
        if let Err(over) = bounds.check() {
            let _ = child.kill();
            let _ = child.wait();
            return Err(over);
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let read = |file: &mut fs::File| -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        file.rewind()?;
        file.take(MAX_OUTPUT).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let output = read(&mut stdout).map_err(failed)?;
    let complaint = read(&mut stderr).map_err(failed)?;
    Ok(Done { success: status.success(), output, complaint: String::from_utf8_lossy(&complaint).into_owned() })
}

/// A folder only we may read, with these files in it; it goes away when it is dropped.
pub(super) fn private_folder(files: &[(&str, &str)]) -> Result<tempfile::TempDir, RemoteError> {
    let write = || -> std::io::Result<tempfile::TempDir> {
        let folder =
            tempfile::Builder::new().prefix("midship-git-").permissions(fs::Permissions::from_mode(0o700)).tempdir()?;
        for (name, text) in files {
            let path = folder.path().join(name);
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
            // OpenSSH refuses keys with Windows line ends or without the last one
            let text = zeroize::Zeroizing::new(text.replace("\r\n", "\n"));
            file.write_all(text.trim_end().as_bytes())?;
            file.write_all(b"\n")?;
        }
        Ok(folder)
    };
    write().map_err(|e| RemoteError::Local { what: "writing a key to a temporary file".into(), reason: e.to_string() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_key_file_is_private_whole_and_gone_afterwards() {
        let folder = private_folder(&[("identity", "line\r\nend")]).unwrap();
        let path = folder.path().join("identity");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(folder.path()).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::read_to_string(&path).unwrap(), "line\nend\n");
        drop(folder);
        assert!(!path.exists());
    }

    #[test]
    fn a_program_gets_its_input_and_is_ended_at_the_deadline() {
        let bounds = Bounds::new(Duration::from_mins(1));
        let done = run(Command::new("cat"), b"hello", &bounds).unwrap();
        assert_eq!((done.success, done.output.as_slice()), (true, &b"hello"[..]));
        let mut sleep = Command::new("sleep");
        sleep.arg("30");
        let over = run(sleep, b"", &Bounds::new(Duration::from_millis(50))).err().unwrap();
        assert_eq!(over.code(), "deadline");
        let missing = run(Command::new("no-such-program"), b"", &bounds).err().unwrap();
        assert_eq!(missing.code(), "local");
    }
}
