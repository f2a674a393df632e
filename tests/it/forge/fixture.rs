//! The Git server: the one that MIDSHIP_TEST_FORGE describes, or one of our own that goes when the tests have gone.
//!
//! The variable holds what `tests/services/forge start --tls` prints.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use midship::repo::{Access, Bounds, Credentials, Remote, RemoteUrl, Secret};

/// What the server told about itself.
pub struct Forge {
    said: BTreeMap<String, String>,
}

/// A repository on it, and a clone to push from.
pub struct Repository {
    pub https: String,
    pub ssh: String,
    clone: tempfile::TempDir,
}

pub fn forge() -> &'static Forge {
    static FORGE: OnceLock<Forge> = OnceLock::new();
    FORGE.get_or_init(|| {
        let exports = std::env::var("MIDSHIP_TEST_FORGE").ok().filter(|text| !text.trim().is_empty());
        Forge::from_exports(&exports.unwrap_or_else(start_our_own))
    })
}

pub fn bounds() -> Bounds {
    Bounds::new(Duration::from_mins(1))
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/services/forge")
}

fn start_our_own() -> String {
    // nextest runs each test in a process of its own: the runner lives as long as the server is to
    let runner = std::env::var_os("NEXTEST").map(|_| std::os::unix::process::parent_id());
    let owner = runner.unwrap_or_else(std::process::id).to_string();
    let started = Command::new(script())
        .args(["start", "--tls", "--name", "it", "--owner", &owner])
        .stdin(Stdio::null())
        .output()
        .expect("tests/services/forge can be run");
    assert!(started.status.success(), "no Git server:\n{}", String::from_utf8_lossy(&started.stderr));
    let mut watch = Command::new("sh");
    watch
        .args(["-c", "(tail --pid=\"$2\" -f /dev/null; exec \"$1\" stop --name it --owner \"$2\") &", "sh"])
        .arg(script())
        .arg(&owner)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    std::os::unix::process::CommandExt::process_group(&mut watch, 0);
    watch.status().expect("a shell to watch the tests");
    String::from_utf8(started.stdout).expect("exports are text")
}

impl Forge {
    fn from_exports(text: &str) -> Self {
        let pairs = text.split_whitespace().filter_map(|word| word.split_once('='));
        let said = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Self { said }
    }

    pub fn get(&self, name: &str) -> &str {
        self.said.get(name).unwrap_or_else(|| panic!("the exports of the forge have no {name}"))
    }

    pub fn file(&self, name: &str) -> String {
        fs::read_to_string(self.get(name)).expect(name)
    }

    /// A new, empty repository.
    pub fn repository(&self, name: &str) -> Repository {
        let name = format!("{name}-{}-{:?}", std::process::id(), std::time::Instant::now());
        let name: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
        // the key lies in the folder of the server, which is named after it
        let state = Path::new(self.get("FORGE_SSH_KEY")).ancestors().nth(2).expect("a folder");
        let server = state.file_name().and_then(|n| n.to_str()).and_then(|n| n.strip_prefix("forge-"));
        let made = Command::new(script())
            .args(["repo", &name, "--name", server.expect("a name")])
            .output()
            .expect("tests/services/forge can be run");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let urls = String::from_utf8(made.stdout).expect("addresses are text");
        let mut urls = urls.lines().map(str::to_owned);
        let (https, ssh) = (urls.next().expect("https"), urls.next().expect("ssh"));
        let clone = tempfile::tempdir().expect("a folder");
        let repository = Repository { https, ssh, clone };
        repository.git(&["init", "-q", "-b", "main", "."]);
        repository
    }

    pub fn basic(&self) -> Access {
        self.login("FORGE_USER", "FORGE_PASSWORD")
    }

    pub fn reader(&self) -> Access {
        self.login("FORGE_READER", "FORGE_READER_PASSWORD")
    }

    fn login(&self, user: &str, password: &str) -> Access {
        Access {
            credentials: Credentials::Basic {
                username: self.get(user).to_owned(),
                password: Secret::new(self.get(password)),
            },
            ca: Some(self.file("FORGE_CA")),
            ..Access::default()
        }
    }

    pub fn key(&self, name: &str) -> Access {
        Access {
            credentials: Credentials::Ssh {
                private_key: Secret::new(self.file(name)),
                known_hosts: self.file("FORGE_KNOWN_HOSTS"),
            },
            ..Access::default()
        }
    }
}

pub fn remote(url: &str, access: Access) -> Remote {
    Remote::new(RemoteUrl::parse(url, true).expect(url), access)
}

impl Repository {
    /// The same repository over both protocols, for somebody who may push.
    pub fn remotes(&self) -> [(&'static str, Remote); 2] {
        let forge = forge();
        [("https", remote(&self.https, forge.basic())), ("ssh", remote(&self.ssh, forge.key("FORGE_SSH_KEY")))]
    }

    /// Commits these files beside those that are there, and pushes.
    pub fn push(&self, files: &[(String, String)]) -> String {
        for (path, content) in files {
            let path = self.clone.path().join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, content).expect("written");
        }
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", "test"]);
        self.push_from(self.clone.path(), "HEAD");
        self.git(&["rev-parse", "HEAD"])
    }

    /// Makes a commit of another repository the newest here.
    pub fn push_from(&self, folder: &Path, commit: &str) {
        let (user, password) = (forge().get("FORGE_USER"), forge().get("FORGE_PASSWORD"));
        let helper = format!("credential.helper=!f() {{ echo username={user}; echo password={password}; }}; f");
        let ca = format!("http.sslCAInfo={}", forge().get("FORGE_CA"));
        let what = format!("{commit}:refs/heads/main");
        git(folder, &["-c", &helper, "-c", &ca, "push", "-q", &self.https, &what]);
    }

    /// Has a script judge every push from now on, as long as the file is there.
    pub fn hook(&self, script: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let hook = self.on_server(&["rev-parse", "--git-path", "hooks/pre-receive"]);
        let hook = Path::new(&self.on_server(&["rev-parse", "--absolute-git-dir"])).join(hook);
        fs::create_dir_all(hook.parent().expect("a folder")).expect("made");
        fs::write(&hook, script).expect("written");
        fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).expect("executable");
        hook
    }

    /// A bare clone that `git` itself keeps, to compare with.
    pub fn bare_clone(&self) -> Reference<'_> {
        let folder = tempfile::tempdir().expect("a folder");
        git(folder.path(), &["init", "-q", "--bare", "."]);
        Reference { repository: self, folder }
    }

    /// Where the server keeps the repository.
    pub fn folder(&self) -> PathBuf {
        let state = Path::new(forge().get("FORGE_SSH_KEY")).ancestors().nth(2).expect("a folder");
        let name = self.https.rsplit('/').next().expect("a name");
        state.join("repos").join(name)
    }

    /// Runs git on the server's side of the repository.
    pub fn on_server(&self, args: &[&str]) -> String {
        git(&self.folder(), args)
    }

    fn git(&self, args: &[&str]) -> String {
        git(self.clone.path(), args)
    }
}

/// What `git` does for the same purpose.
pub struct Reference<'a> {
    repository: &'a Repository,
    folder: tempfile::TempDir,
}

impl Reference<'_> {
    pub fn fetch(&self, way: &str) {
        self.ask(way, &["fetch", "-q", "--depth", "1"], &["main"]);
    }

    pub fn ls_remote(&self, way: &str) {
        self.ask(way, &["ls-remote", "-q"], &["HEAD"]);
    }

    fn ask(&self, way: &str, order: &[&str], what: &[&str]) {
        let (user, password) = (forge().get("FORGE_USER"), forge().get("FORGE_PASSWORD"));
        let helper = format!("credential.helper=!f() {{ echo username={user}; echo password={password}; }}; f");
        let ca = format!("http.sslCAInfo={}", forge().get("FORGE_CA"));
        let ssh = format!(
            "core.sshCommand=ssh -i {} -o IdentitiesOnly=yes -o UserKnownHostsFile={}",
            forge().get("FORGE_SSH_KEY"),
            forge().get("FORGE_KNOWN_HOSTS")
        );
        let url = if way == "ssh" { &self.repository.ssh } else { &self.repository.https };
        let mut args = vec!["-c", &helper, "-c", &ca, "-c", &ssh];
        args.extend(order);
        args.push(url);
        args.extend(what);
        git(self.folder.path(), &args);
    }
}

fn git(folder: &Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .args(args)
        .current_dir(folder)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", folder)
        .envs([("GIT_CONFIG_NOSYSTEM", "1"), ("GIT_TERMINAL_PROMPT", "0")])
        .envs([("GIT_AUTHOR_NAME", "Test"), ("GIT_AUTHOR_EMAIL", "test@example.test")])
        .envs([("GIT_COMMITTER_NAME", "Test"), ("GIT_COMMITTER_EMAIL", "test@example.test")])
        .output()
        .expect("git runs");
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").trim_end().to_owned()
}
