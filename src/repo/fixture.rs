//! Repositories made by the real `git` for tests, hostile ones among them.

#![allow(clippy::unwrap_used, clippy::format_collect)]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use gix::ObjectId;

use super::{Access, Bounds, Remote, RemoteUrl};

/// A bare repository in a temporary folder.
pub struct Fixture {
    pub folder: tempfile::TempDir,
}

/// One entry of a tree that may break every rule.
pub struct Odd<'a> {
    pub mode: &'a str,
    pub name: &'a [u8],
    pub id: ObjectId,
}

impl Fixture {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let fixture = Self { folder };
        fs::create_dir(fixture.path()).unwrap();
        fixture.git(&["init", "-q", "--bare", "-b", "main", "."]);
        fixture.git(&["config", "uploadpack.allowAnySHA1InWant", "true"]);
        // nothing goes on in it once a push has ended
        fixture.git(&["config", "receive.autogc", "false"]);
        fixture
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("remote.git")
    }

    pub fn url(&self) -> String {
        format!("file://{}", self.path().display())
    }

    pub fn remote(&self) -> Remote {
        Remote::new(RemoteUrl::parse(&self.url(), true).unwrap(), Access::default())
    }

    pub fn git(&self, args: &[&str]) -> String {
        git_in(&self.path(), args, b"")
    }

    pub fn git_with(&self, args: &[&str], input: &[u8]) -> String {
        git_in(&self.path(), args, input)
    }

    pub fn blob(&self, content: &[u8]) -> ObjectId {
        id(&self.git_with(&["hash-object", "-w", "--stdin"], content))
    }

    /// A tree object exactly as given, without git's opinion of it.
    pub fn tree(&self, entries: &[Odd<'_>]) -> ObjectId {
        let mut raw = Vec::new();
        for entry in entries {
            raw.extend_from_slice(entry.mode.as_bytes());
            raw.push(b' ');
            raw.extend_from_slice(entry.name);
            raw.push(0);
            raw.extend_from_slice(entry.id.as_slice());
        }
        id(&self.git_with(&["hash-object", "-t", "tree", "--literally", "-w", "--stdin"], &raw))
    }

    /// Commits a tree on `main`.
    pub fn commit_tree(&self, tree: ObjectId, message: &str) -> ObjectId {
        let parent = self.git(&["for-each-ref", "--format=%(objectname)", "refs/heads/main"]);
        let tree = tree.to_string();
        let mut args = vec!["commit-tree", tree.as_str(), "-m", message];
        if !parent.is_empty() {
            args.extend(["-p", parent.as_str()]);
        }
        let commit = self.git(&args);
        self.git(&["update-ref", "refs/heads/main", &commit]);
        id(&commit)
    }

    /// Commits these files, and nothing else, on `main`. Paths may have folders.
    pub fn commit(&self, files: &[(&str, &str)]) -> ObjectId {
        let mut script =
            String::from("commit refs/heads/main\ncommitter T <t@example.test> 1700000000 +0000\ndata 4\ntest\n");
        let parent = self.git(&["for-each-ref", "--format=%(objectname)", "refs/heads/main"]);
        if !parent.is_empty() {
            script.push_str(&format!("from {parent}\n"));
        }
        script.push_str("deleteall\n");
        for (path, content) in files {
            script.push_str(&format!("M 100644 inline {path}\ndata {}\n{content}\n", content.len()));
        }
        self.git_with(&["fast-import", "--quiet", "--force"], script.as_bytes());
        id(&self.git(&["rev-parse", "refs/heads/main"]))
    }
}

pub fn git_in(dir: &Path, args: &[&str], input: &[u8]) -> String {
    let mut child = Command::new("git")
        .args(args)
        .current_dir(dir)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", dir)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .envs([
            ("GIT_AUTHOR_NAME", "Test"),
            ("GIT_AUTHOR_EMAIL", "test@example.test"),
            ("GIT_COMMITTER_NAME", "Test"),
            ("GIT_COMMITTER_EMAIL", "test@example.test"),
            ("GIT_AUTHOR_DATE", "1700000000 +0000"),
            ("GIT_COMMITTER_DATE", "1700000000 +0000"),
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

pub fn id(hex: &str) -> ObjectId {
    ObjectId::from_hex(hex.trim().as_bytes()).unwrap()
}

pub fn bounds() -> Bounds {
    Bounds::new(Duration::from_mins(1))
}
