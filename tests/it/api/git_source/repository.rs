//! A repository on disk, changed with the real `git`.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::harness::Run;

/// A work tree with a branch `main`.
pub struct Repository {
    folder: TempDir,
}

impl Repository {
    pub fn new() -> Self {
        let repository = Self { folder: tempfile::tempdir().expect("a folder") };
        repository.git(&["init", "-q", "-b", "main"]);
        repository
    }

    pub fn url(&self) -> String {
        format!("file://{}", self.folder.path().display())
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    #[track_caller]
    pub fn git(&self, args: &[&str]) -> String {
        self.run().args(args).stdout().trim_end().to_owned()
    }

    /// The real `git`, here and in somebody's name.
    fn run(&self) -> Run {
        let people = ["-c", "user.name=Ada Lovelace", "-c", "user.email=ada@example.com", "-c", "commit.gpgsign=false"];
        Run::new("git").env("GIT_CONFIG_NOSYSTEM", "1").arg("-C").arg(self.path()).args(people)
    }

    fn file(&self, path: &str) -> PathBuf {
        self.path().join(path)
    }

    pub fn write(&self, path: &str, text: &str) {
        let file = self.file(path);
        std::fs::create_dir_all(file.parent().expect("it is in a folder")).expect("folders can be made");
        std::fs::write(file, text).expect("the file can be written");
    }

    pub fn write_bytes(&self, path: &str, content: &[u8]) {
        let file = self.file(path);
        std::fs::create_dir_all(file.parent().expect("it is in a folder")).expect("folders can be made");
        std::fs::write(file, content).expect("the file can be written");
    }

    /// Stores an object exactly as given, without git's opinion of it.
    pub fn store(&self, kind: &str, content: &[u8]) -> String {
        let run = Run::new("git").arg("-C").arg(self.path()).input(content);
        run.args(["hash-object", "-t", kind, "--literally", "-w", "--stdin"]).stdout().trim_end().to_owned()
    }

    /// Stores a tree of these entries: mode, name, object.
    pub fn tree(&self, entries: &[(&str, &[u8], &str)]) -> String {
        let mut content = Vec::new();
        for (mode, name, object) in entries {
            content.extend_from_slice(mode.as_bytes());
            content.push(b' ');
            content.extend_from_slice(name);
            content.push(0);
            content.extend(hex::decode(object).expect("an object id"));
        }
        self.store("tree", &content)
    }

    pub fn remove(&self, path: &str) {
        std::fs::remove_file(self.file(path)).expect("it is there");
    }

    /// Commits everything; returns the commit.
    pub fn commit(&self, message: &str) -> String {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", message]);
        self.head()
    }

    /// A new SSH key.
    pub fn ssh_key(name: &str) -> SshKey {
        let folder = tempfile::tempdir().expect("a folder");
        let key = SshKey { path: folder.path().join(name), _folder: folder };
        Run::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key.path).stdout();
        key
    }

    /// Commits everything, signed.
    pub fn commit_signed(&self, message: &str, key: &SshKey) -> String {
        self.git(&["add", "-A"]);
        let signing = format!("user.signingKey={}", key.path.display());
        self.git(&["-c", "gpg.format=ssh", "-c", &signing, "commit", "-q", "-S", "--allow-empty", "-m", message]);
        self.head()
    }

    /// Commits everything, signed with an OpenPGP key.
    pub fn commit_signed_by(&self, message: &str, key: &OpenPgpKey) -> String {
        self.git(&["add", "-A"]);
        let signing = format!("user.signingKey={}", key.user);
        let run = self.run().env("GNUPGHOME", key.home.path());
        run.args(["-c", "gpg.format=openpgp", "-c", &signing, "commit", "-q", "-S", "--allow-empty", "-m", message])
            .stdout();
        self.head()
    }

    pub fn head(&self) -> String {
        self.git(&["rev-parse", "main"])
    }

    /// The messages on the audit branch, oldest first.
    pub fn audit(&self) -> Vec<String> {
        if self.git(&["branch", "--list", "midship/audit/test"]).is_empty() {
            return Vec::new();
        }
        let log = self.git(&["log", "--reverse", "--format=%B%x00", "midship/audit/test"]);
        log.split('\0').map(|message| message.trim().to_owned()).filter(|message| !message.is_empty()).collect()
    }

    pub fn audit_files(&self) -> Vec<String> {
        let list = self.git(&["ls-tree", "-r", "--name-only", "midship/audit/test"]);
        list.lines().map(ToOwned::to_owned).collect()
    }
}

/// A key that signs commits.
pub struct SshKey {
    path: PathBuf,
    _folder: TempDir,
}

impl SshKey {
    /// The private half, as it stands in a Secret.
    pub fn private(&self) -> String {
        std::fs::read_to_string(&self.path).expect("ssh-keygen wrote it")
    }

    /// The public half, as it stands in a list of allowed signers.
    pub fn public(&self) -> String {
        let text = std::fs::read_to_string(self.path.with_extension("pub")).expect("ssh-keygen wrote it");
        text.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
    }
}

/// A key of `gpg` that signs commits, in a home of its own.
pub struct OpenPgpKey {
    user: String,
    home: TempDir,
}

impl OpenPgpKey {
    pub fn new(name: &str) -> Self {
        let key = Self { user: format!("{name}@example.com"), home: tempfile::tempdir().expect("a folder") };
        key.gpg(&["--passphrase", "", "--quick-gen-key", &key.user, "ed25519", "sign", "never"]);
        key
    }

    /// The public half, as it stands in a file `*.asc`.
    pub fn public(&self) -> String {
        self.gpg(&["--armor", "--export"])
    }

    fn gpg(&self, args: &[&str]) -> String {
        let run = Run::new("gpg").args(["--batch", "--no-tty", "--quiet", "--pinentry-mode", "loopback", "--homedir"]);
        run.arg(self.home.path()).args(args).stdout()
    }
}

impl Drop for OpenPgpKey {
    fn drop(&mut self) {
        // the agent of this home, and no other
        Run::new("gpgconf").arg("--homedir").arg(self.home.path()).args(["--kill", "all"]).output();
    }
}

/// An instance file.
pub fn instance(name: &str, version: &str) -> String {
    format!(
        "apiVersion: midship.dev/v1alpha1\nkind: Instance\nmetadata: {{name: {name}}}\n\
         spec: {{type: cache, extensionVersion: 1.0.0, version: \"{version}\"}}\n"
    )
}
