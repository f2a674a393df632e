//! The cluster of the tests as `tests/cluster/cluster` started it: images are loaded into it, its nodes crash and come back.
//! A test that needs another cluster starts one beside it.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::harness::{Run, find};

/// The program, told about the cluster the tests run in; nothing where that is not one of ours.
pub fn program() -> Option<Run> {
    std::env::var_os("MIDSHIP_CLUSTER").map(|state| program_for(Path::new(&state)))
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/cluster")
}

fn program_for(state: &Path) -> Run {
    let mut run = Run::new(script()).env("MIDSHIP_CLUSTER", state);
    for name in ["MIDSHIP_CACHE", "HOME"] {
        if let Some(value) = std::env::var_os(name) {
            run = run.env(name, value);
        }
    }
    run
}

/// A second cluster, fresh, with servers and a node of its own, beside the one the tests run in. It goes with this, or with
/// this process, however that ends.
pub struct Beside {
    state: PathBuf,
}

impl Beside {
    /// Where the tests run in a cluster of ours.
    pub fn up() -> Self {
        let mut state = std::env::var_os("MIDSHIP_CLUSTER").expect("MIDSHIP_CLUSTER names a cluster of ours");
        state.push("-beside");
        let beside = Self { state: state.into() };
        let owner = std::process::id().to_string();
        let mut watch = Command::new("sh");
        watch
            .args(["-c", "(tail --pid=\"$2\" -f /dev/null; exec \"$1\" down --owner \"$2\") &", "sh"])
            .arg(script())
            .arg(&owner)
            .env("MIDSHIP_CLUSTER", &beside.state)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        watch.status().expect("a shell to watch this test");
        beside.program().args(["up", "--beside", "--owner", &owner]).stdout();
        beside
    }

    /// The program, told about this cluster.
    pub fn program(&self) -> Run {
        program_for(&self.state)
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.state.join("admin.kubeconfig")
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        let output = self.program().args(["down", "--delete"]).output();
        assert!(output.code == 0 || std::thread::panicking(), "{output}");
    }
}

/// What keeps pods off nodes that crash, unless they say that they bear it.
pub const CRASHES: &str = "midship.test/crashes";

/// Has the program do something.
pub fn order(args: &[&str]) {
    told(program().expect("MIDSHIP_CLUSTER names a cluster of ours"), args).stdout();
}

/// The same at the end of a test. Where that is a failure, a second one is told and no more: it would end the process.
pub fn restore(args: &[&str]) {
    let Some(program) = program() else { return };
    let output = told(program, args).output();
    if std::thread::panicking() {
        if output.code != 0 {
            eprintln!("{output}");
        }
        return;
    }
    assert_eq!(output.code, 0, "{output}");
}

fn told(program: Run, args: &[&str]) -> Run {
    program.env("MIDSHIP_NODE_TAINT", format!("{CRASHES}=yes:NoSchedule")).args(args)
}

/// As the cluster's administrator.
pub fn kubectl(args: &[&str]) -> Run {
    let kubeconfig = std::env::var_os("MIDSHIP_TEST_KUBECONFIG").expect("MIDSHIP_TEST_KUBECONFIG names a cluster");
    Run::new(find("kubectl").expect("MIDSHIP_TEST_BIN has kubectl")).env("KUBECONFIG", kubeconfig).args(args)
}
