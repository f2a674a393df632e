//! The cluster of the tests as `tests/cluster/cluster` started it: images are loaded into it, its nodes crash and come back.

use std::path::Path;

use crate::harness::{Run, find};

/// The program, told about the cluster the tests run in; nothing where that is not one of ours.
pub fn program() -> Option<Run> {
    let state = std::env::var_os("MIDSHIP_CLUSTER")?;
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/cluster");
    let mut run = Run::new(program).env("MIDSHIP_CLUSTER", state);
    for name in ["MIDSHIP_CACHE", "HOME"] {
        if let Some(value) = std::env::var_os(name) {
            run = run.env(name, value);
        }
    }
    Some(run)
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
