//! `tests/cluster/cluster` itself: whatever ends a command or a cluster, nothing of it stays behind.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::harness::wait_for;

const IN_TIME: Duration = Duration::from_mins(1);

/// A state directory, and the process it is kept for.
struct Own {
    folder: TempDir,
    owner: Child,
}

impl Own {
    fn new() -> Self {
        let owner = Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().expect("a process to own it");
        Self { folder: tempfile::tempdir().expect("a folder"), owner }
    }

    fn state(&self) -> PathBuf {
        self.folder.path().canonicalize().expect("it is there").join("cluster")
    }

    fn cluster(&self, args: &[&str]) -> Command {
        let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/cluster"));
        command.env("MIDSHIP_CLUSTER", self.state()).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn up(&self) -> Command {
        self.cluster(&["up", "--api-only", "--controllers", "--owner", &self.owner.id().to_string()])
    }

    fn end_owner(&mut self) {
        self.owner.kill().expect("it can be killed");
        self.owner.wait().expect("it has ended");
    }

    /// What is there of the cluster.
    fn left(&self) -> Vec<String> {
        let mark = format!("MIDSHIP_STATE={}", self.state().display());
        let entries = fs::read_dir("/proc").expect("processes can be listed").flatten();
        let processes = entries.filter(|entry| {
            let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
        });
        let name = |process: &fs::DirEntry| fs::read_to_string(process.path().join("comm")).unwrap_or_default();
        let mut left: Vec<String> = processes.map(|process| name(&process).trim().to_owned()).collect();
        left.extend(self.state().exists().then(|| self.state().display().to_string()));
        left
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let _ = self.owner.kill();
        let _ = self.owner.wait();
        if self.state().exists() {
            let _ = self.cluster(&["down", "--delete"]).status();
        }
    }
}

#[tokio::test]
async fn an_up_that_is_killed_in_the_middle_leaves_nothing_after_a_reap() {
    // before anything runs, with etcd alone, and with an API server that does not answer yet
    for moment in ["owners", "run/etcd.pid", "run/apiserver.pid"] {
        let mut own = Own::new();
        let mut up = own.up().spawn().expect("it starts");
        let file = own.state().join(moment);
        wait_for(moment, IN_TIME, async || if file.exists() { Ok(()) } else { Err("it is not there") }).await;
        up.kill().expect("it can be killed");
        up.wait().expect("it has ended");
        own.end_owner();
        // what it had just begun to start may come a moment later
        wait_for(&format!("nothing to be left of an `up` killed at {moment}"), IN_TIME, async || {
            own.cluster(&["reap"]).status().map_err(|error| error.to_string())?;
            let left = own.left();
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
        })
        .await;
    }
}

#[tokio::test]
async fn an_ended_cluster_leaves_no_process_and_no_folder() {
    let own = Own::new();
    assert!(own.up().status().expect("it starts").success());
    assert!(
        ["etcd", "kube-apiserver", "kube-controller"]
            .iter()
            .all(|name| { own.left().iter().any(|process| process.starts_with(name)) }),
        "{:?}",
        own.left()
    );
    assert!(own.cluster(&["down", "--delete"]).status().expect("it runs").success());
    wait_for("nothing to be left", IN_TIME, async || {
        let left = own.left();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
}
