//! An API server for one test alone, which may be broken in every way.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use futures::FutureExt;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::PostParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::Scene;

/// etcd and an API server with an audit log and one namespace, without controllers. It goes with the test.
pub struct Scratch {
    pub client: Client,
    pub namespace: &'static str,
    folder: TempDir,
}

/// Runs `body` with an API server of its own.
pub fn scratch_test(body: impl AsyncFnOnce(&Scratch)) {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let scratch = Scratch::start().await;
        let result = AssertUnwindSafe(body(&scratch)).catch_unwind().await;
        scratch.script(&["down", "--delete"]);
        if let Err(panic) = result {
            resume_unwind(panic);
        }
    });
}

impl Scratch {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let start = Instant::now();
        up(folder.path());
        eprintln!("an API server of its own: {:.1} s", start.elapsed().as_secs_f32());
        let read = Kubeconfig::read_from(folder.path().join("admin.kubeconfig")).expect("a kubeconfig");
        let config =
            Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await.expect("a configuration");
        let client = Client::try_from(config).expect("a client");
        let namespace = "scratch";
        let object: Namespace =
            serde_json::from_value(json!({ "metadata": { "name": namespace } })).expect("plain data");
        Api::all(client.clone()).create(&PostParams::default(), &object).await.expect("a namespace");
        Self { client, namespace, folder }
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("admin.kubeconfig")
    }

    /// The same as other tests have it. Nothing in it is printed or deleted: all of it goes with the server.
    pub fn scene(&self) -> Scene {
        Scene::at(self.client.clone(), self.namespace.to_owned(), &self.kubeconfig(), self.kubectl())
    }

    /// The kubectl that this server was built with.
    pub fn kubectl(&self) -> PathBuf {
        let programs = std::fs::read_to_string(self.folder.path().join("programs")).expect("it was started");
        Path::new(programs.trim()).join("kubectl")
    }

    /// The API server dies at once.
    pub fn kill_api_server(&self) {
        let file = self.folder.path().join("run/apiserver.pid");
        let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let pid = text.split_whitespace().next().and_then(|pid| pid.parse().ok()).expect("a process id");
        kill(Pid::from_raw(pid), Signal::SIGKILL).expect("it runs");
    }

    /// The API server comes back at the same address with what it knew.
    pub fn restart_api_server(&self) {
        up(self.folder.path());
    }

    /// What the audit log knows, oldest first.
    pub fn audit(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.folder.path().join("log/audit.log")).expect("there is an audit log");
        let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        lines.map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    fn script(&self, args: &[&str]) {
        script(self.folder.path(), args);
    }
}

fn up(state: &Path) {
    script(state, &["up", "--api-only", "--audit", "--owner", &std::process::id().to_string()]);
}

fn script(state: &Path, args: &[&str]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/cluster");
    let mut command = Command::new(&path);
    command.args(args).env("MIDSHIP_CLUSTER", state).stdin(Stdio::null());
    let output = command.output().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(output.status.success(), "{command:?}:\n{}", String::from_utf8_lossy(&output.stderr));
}

/// How long something took, for people who read the output of tests.
pub fn took(what: &str, since: Instant) -> Duration {
    let elapsed = since.elapsed();
    eprintln!("{what}: {:.1} s", elapsed.as_secs_f32());
    elapsed
}
