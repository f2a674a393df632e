//! The program in an image that holds nothing else: what it copies into a volume runs as PID 1 there.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::json;

use super::pod::{AGENT, namespaces_work, unshare};
use crate::harness::skip;

/// The whole program.
const WHOLE: &str = env!("CARGO_BIN_EXE_midship-agent");

#[test]
fn the_part_for_the_container_of_the_middleware_is_copied_into_a_volume() {
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new(WHOLE).arg("copy").arg(dir.path()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let copy = dir.path().join("midship-agent");
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), copy.display().to_string());
    assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o755);
    assert!(fs::read(&copy).unwrap() == fs::read(AGENT).unwrap(), "the copy is that part");
    // again, while the first copy runs
    let mut running = Command::new(&copy)
        .args(["init", "--socket"])
        .arg(dir.path().join("s"))
        .args(["--", "sleep", "1000"])
        .spawn()
        .unwrap();
    assert!(Command::new(WHOLE).arg("copy").arg(dir.path()).status().unwrap().success());
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(running.id().cast_signed()), nix::sys::signal::Signal::SIGKILL)
        .unwrap();
    running.wait().unwrap();
}

#[test]
fn it_writes_the_files_of_the_middleware_on_the_way() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::create_dir(path("secrets")).unwrap();
    fs::write(path("secrets/password"), "s3cret").unwrap();
    fs::write(path("source"), "id ${pod:ordinal+100} of ${pod:host}, ${secret:password}\n").unwrap();
    let file = |name: &str| json!({ "source": path(name), "path": path("files/server.conf"), "mode": "0600" });
    let config = |files: serde_json::Value| {
        let config = json!({ "instance": "shop", "namespace": "team", "component": "db", "group": "default",
            "port": 7440, "ports": {}, "tls": false, "login": true, "failover": false, "context": {}, "files": files });
        fs::write(path("agent.json"), config.to_string()).unwrap();
        let mut command = Command::new(WHOLE);
        command.arg("copy").arg(dir.path()).arg("--files").arg(path("agent.json"));
        command.arg("--secrets").arg(path("secrets")).env("MIDSHIP_POD", "shop-db-2").output().unwrap()
    };
    let output = config(json!([file("none")]));
    assert_eq!(output.status.code(), Some(1));
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(complaint.contains("/none: No such file or directory"), "{complaint}");
    assert!(!path("midship-agent").exists(), "nothing starts without its files");

    let output = config(json!([file("source")]));
    assert!(output.status.success(), "{output:?}");
    let written = fs::read_to_string(path("files/server.conf")).unwrap();
    assert_eq!(written, "id 102 of shop-db-2.shop-db-pods.team.svc, s3cret\n");
    assert_eq!(fs::metadata(path("files/server.conf")).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(path("midship-agent").exists());
}

#[test]
fn it_works_in_an_image_without_anything_else() {
    if !namespaces_work() {
        skip("it_works_in_an_image_without_anything_else", "this machine lets us make no namespaces");
        return;
    }
    let root = tempfile::tempdir().unwrap();
    for dir in ["proc", "midship"] {
        fs::create_dir(root.path().join(dir)).unwrap();
    }
    fs::copy(WHOLE, root.path().join("agent")).unwrap();
    fs::copy(AGENT, root.path().join("midship-init")).unwrap();
    let inside = |arguments: &[&str]| {
        let mut command = unshare(&["--mount", "--pid", "--fork", "--kill-child"]);
        let script = "mount -t proc proc \"$0/proc\" && exec chroot \"$0\" \"$@\"";
        let output = command.args(["sh", "-c", script]).arg(root.path()).args(arguments).output().unwrap();
        (
            output.status.code(),
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)),
        )
    };
    assert_eq!(inside(&["/agent", "copy", "/midship"]), (Some(0), "/midship/midship-agent\n".to_owned()));
    let (code, said) = inside(&["/midship/midship-agent", "init", "--", "/agent", "--version"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(concat!("midship-agent ", env!("CARGO_PKG_VERSION"))), "{said}");
    let (code, said) = inside(&["/midship/midship-agent", "init", "--", "/none"]);
    assert_eq!(code, Some(127), "{said}");
}
