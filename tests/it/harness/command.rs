//! Running programs in an environment that knows nothing of the person at the keyboard.

use std::ffi::OsStr;
use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// A program about to be run: no KUBECONFIG, no colours, no language and no home but an empty one of its own.
pub struct Run {
    command: Command,
    home: TempDir,
    input: Vec<u8>,
}

/// How it went.
pub struct Output {
    line: String,
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// The `midship` program of this build.
pub fn midship() -> Run {
    Run::new(env!("CARGO_BIN_EXE_midship"))
}

impl Run {
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let home = tempfile::tempdir().expect("a directory for a home");
        let mut command = Command::new(program);
        command.env_clear().env("HOME", home.path()).current_dir(home.path());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("LC_ALL", "C").env("TZ", "UTC");
        Self { command, home, input: Vec::new() }
    }

    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.command.args(args);
        self
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// What the program reads from its standard input.
    pub fn input(mut self, text: impl Into<Vec<u8>>) -> Self {
        self.input = text.into();
        self
    }

    /// Runs it in this folder instead.
    pub fn within(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// The empty directory it runs in, which is also its home.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Runs it to its end, whatever that is.
    pub fn output(mut self) -> Output {
        let line = format!("{:?}", self.command);
        let mut child = self
            .command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{line}: {error}"));
        let mut stdin = child.stdin.take().expect("it is piped");
        let input = self.input;
        // a program that does not read its input closes the pipe: that is its business
        let feeder = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let output = child.wait_with_output().unwrap_or_else(|error| panic!("{line}: {error}"));
        feeder.join().expect("writing to a pipe does not panic");
        Output {
            line,
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Runs it and returns what it printed; it must succeed.
    #[track_caller]
    pub fn stdout(self) -> String {
        let output = self.output();
        assert_eq!(output.code, 0, "{output}");
        output.stdout
    }

    /// Runs it and returns what it complained of; it must fail.
    #[track_caller]
    pub fn complaint(self) -> String {
        let output = self.output();
        assert_ne!(output.code, 0, "{output}");
        output.stderr
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, code, stdout, stderr } = self;
        write!(f, "{line}\n  exit code {code}\n--- stdout\n{stdout}\n--- stderr\n{stderr}")
    }
}

/// Where a program is that the tests need: in MIDSHIP_TEST_BIN, or on PATH.
pub fn find(program: &str) -> Option<PathBuf> {
    let given = std::env::var_os("MIDSHIP_TEST_BIN").into_iter().map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    given.chain(std::env::split_paths(&path)).map(|folder| folder.join(program)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_sees_nothing_of_the_person_who_runs_the_tests() {
        let seen = Run::new("env").stdout();
        let names: Vec<_> = seen.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name).collect();
        assert!(["HOME", "PATH", "LC_ALL", "TZ"].iter().all(|name| names.contains(name)), "{names:?}");
        assert_eq!(names.len(), 4, "{names:?}");
    }

    #[test]
    fn a_program_is_fed_and_its_output_kept_apart() {
        let run = Run::new("sh").arg("-c").arg("cat; echo oh >&2; exit 3").input("hello");
        assert!(run.home().is_dir());
        let output = run.output();
        assert_eq!((output.code, output.stdout.as_str(), output.stderr.as_str()), (3, "hello", "oh\n"));
    }

    #[test]
    fn a_program_that_must_fail_is_asked_why() {
        assert_eq!(Run::new("sh").args(["-c", "echo no >&2; false"]).complaint(), "no\n");
    }

    #[test]
    fn the_program_of_this_build_is_found() {
        midship().arg("--version").stdout();
    }
}
