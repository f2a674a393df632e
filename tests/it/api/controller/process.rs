//! A controller of this build as a process of its own, with its logs and endpoints at hand.

use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::wait_for;

/// How soon it has to be there, or end, on a busy machine: it ends what it has begun within 20 s.
pub const SOON: Duration = Duration::from_secs(45);

/// How soon it says what it waits for, on a busy machine: with nothing else to do it takes less than ten seconds.
const SAID_WITHIN: Duration = Duration::from_secs(30);

/// Ends with the test. When that failed, its log is printed.
pub struct Controller {
    pub identity: String,
    child: Child,
    folder: TempDir,
    http: reqwest::Client,
}

/// `unshare`, in a user namespace where we are not root.
fn unshare() -> Command {
    let mut program = Command::new("unshare");
    if !nix::unistd::geteuid().is_root() {
        program.args(["--user", "--map-root-user"]);
    }
    program
}

/// Whether this machine lets us mount a disk for one process alone.
pub fn disks_can_be_made() -> bool {
    let folder = tempfile::tempdir().expect("a folder");
    let mut program = unshare();
    program.args(["--mount", "sh", "-c", "mount -t tmpfs none \"$0\""]).arg(folder.path()).stderr(Stdio::null());
    program.status().is_ok_and(|status| status.success())
}

impl Controller {
    /// Starts it for the cluster that the kubeconfig names, with endpoints on free ports.
    pub fn start(identity: &str, kubeconfig: &Path, args: &[&str]) -> Self {
        // as in the image, the program that checks rules is there
        let cue = std::env::var_os("MIDSHIP_TEST_BIN").map(|folder| Path::new(&folder).join("cue"));
        Self::start_with(identity, kubeconfig, args, cue.as_deref())
    }

    /// The same with another program for rules in CUE.
    pub fn start_with(identity: &str, kubeconfig: &Path, args: &[&str], cue: Option<&Path>) -> Self {
        let program = Command::new(env!("CARGO_BIN_EXE_midship"));
        Self::start_as(program, (identity, kubeconfig), args, cue)
    }

    /// The same where copies of repositories have to fit onto a disk of this size, which nobody else sees.
    pub fn start_on_little_disk(identity: &str, kubeconfig: &Path, args: &[&str], size: &str) -> Self {
        let mut program = unshare();
        let mount = "mkdir -p \"$MIDSHIP_CACHE_DIR\" && mount -t tmpfs -o \"size=$1\" none \"$MIDSHIP_CACHE_DIR\" \
                     && shift && exec \"$@\"";
        program.args(["--mount", "sh", "-c", mount, "sh", size, env!("CARGO_BIN_EXE_midship")]);
        Self::start_as(program, (identity, kubeconfig), args, None)
    }

    fn start_as(program: Command, place: (&str, &Path), args: &[&str], cue: Option<&Path>) -> Self {
        let (mut command, (identity, kubeconfig)) = (program, place);
        let folder = tempfile::tempdir().expect("a folder");
        let log = File::create(folder.path().join("log")).expect("a log");
        command
            .env_clear()
            .env("HOME", folder.path())
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            // as the image has it
            .env("MALLOC_ARENA_MAX", "2")
            .env("MALLOC_TRIM_THRESHOLD_", "131072")
            .arg("controller")
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .args(["--identity", identity, "--health-address", "127.0.0.1:0", "--metrics-address", "127.0.0.1:0"])
            .args(["--allow-insecure-git", "--log-level", "info,midship=debug"])
            .env("MIDSHIP_CACHE_DIR", folder.path().join("cache"))
            .args(args)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log);
        if let Some(cue) = cue {
            command.env("MIDSHIP_CUE", cue);
        }
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let http = reqwest::Client::builder()
            .tls_danger_accept_invalid_certs(true)
            .timeout(SOON)
            .build()
            .expect("an HTTP client");
        Self { identity: identity.to_owned(), child, folder, http }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it keeps local copies of repositories.
    pub fn cache_dir(&self) -> PathBuf {
        self.folder.path().join("cache")
    }

    pub fn log_text(&self) -> String {
        // a character may be half written
        String::from_utf8_lossy(&std::fs::read(self.folder.path().join("log")).expect("the log can be read"))
            .into_owned()
    }

    /// The lines of its log; each has to be JSON.
    pub fn log(&self) -> Vec<Value> {
        let text = self.log_text();
        // the last line may be half written
        let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        lines.map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
    }

    pub fn logged(&self, message: &str) -> Option<Value> {
        self.log().into_iter().find(|line| line["message"].as_str().is_some_and(|text| text.contains(message)))
    }

    pub async fn logs(&self, message: &str, deadline: Duration) -> Value {
        wait_for(&format!("{} to log {message:?}", self.identity), deadline, async || {
            self.logged(message).ok_or_else(|| self.log_text())
        })
        .await
    }

    async fn address(&self, message: &str) -> SocketAddr {
        let line = self.logs(message, SOON).await;
        line["address"]
            .as_str()
            .and_then(|address| address.parse().ok())
            .unwrap_or_else(|| panic!("no address: {line}"))
    }

    /// Where it takes webhooks.
    pub async fn webhooks(&self) -> SocketAddr {
        self.address("serving webhooks").await
    }

    pub async fn healthy(&self) -> String {
        let address = self.address("serving health checks").await;
        let answer = self.http.get(format!("http://{address}/livez")).send().await.expect("it answers");
        format!("{} {}", answer.status().as_u16(), answer.text().await.expect("it says something"))
    }

    /// The status and text of /readyz.
    pub async fn readyz(&self) -> (u16, String) {
        let address = self.address("serving health checks").await;
        match self.http.get(format!("http://{address}/readyz")).send().await {
            Ok(answer) => (answer.status().as_u16(), answer.text().await.expect("it says something")),
            Err(error) => (0, error.to_string()),
        }
    }

    pub async fn ready(&self, deadline: Duration) {
        wait_for(&format!("{} to be ready", self.identity), deadline, async || match self.readyz().await {
            (200, _) => Ok(()),
            (code, text) => Err(format!("{code} {text}")),
        })
        .await;
    }

    /// Waits until /readyz and the log both say this: people are kept waiting no longer than that.
    pub async fn says(&self, text: &str) {
        wait_for(&format!("/readyz and the log to say {text:?}"), SAID_WITHIN, async || match self.readyz().await {
            (503, said) if said.contains(text) => {
                let log = self.log_text();
                if log.contains(text) { Ok(()) } else { Err(format!("/readyz says so, the log does not:\n{log}")) }
            }
            (code, said) => Err(format!("{code} {said}")),
        })
        .await;
    }

    /// The status, the content type and the text of /metrics.
    pub async fn metrics(&self, token: Option<&str>) -> (u16, String, String) {
        let address = self.address("serving metrics").await;
        let mut request = self.http.get(format!("https://{address}/metrics"));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await.expect("it answers");
        let kind = answer.headers().get("content-type").map(|kind| kind.to_str().expect("text").to_owned());
        (answer.status().as_u16(), kind.unwrap_or_default(), answer.text().await.expect("it says something"))
    }

    pub fn leads(&self) -> bool {
        self.logged("this replica leads").is_some()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        kill(Pid::from_raw(pid), signal).expect("it can be signalled");
    }

    /// The exit code, or the number of the signal that ended it as shells count.
    pub async fn exit(&mut self, deadline: Duration) -> i32 {
        let who = format!("{} to end", self.identity);
        let status: ExitStatus = wait_for(&who, deadline, async || match self.child.try_wait() {
            Ok(Some(status)) => Ok(status),
            Ok(None) => Err("it runs".to_owned()),
            Err(error) => Err(error.to_string()),
        })
        .await;
        status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
    }

    pub fn still_runs(&mut self) -> bool {
        self.child.try_wait().expect("it can be asked for").is_none()
    }

    pub fn resident_mib(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory is known");
        line.trim().trim_end_matches("kB").trim().parse::<f64>().expect("a number") / 1024.0
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- log of the controller {}\n{}--- end", self.identity, self.log_text());
        }
    }
}
