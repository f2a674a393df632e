//! Packages in a real registry: published and fetched by `midship`, and by `oras` as anybody else has it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tempfile::TempDir;

use crate::harness::{Output, Run, files_below, find, midship};

const TYPE: &str = "application/vnd.midship.extension.v1";

fn in_tests(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(path)
}

/// A registry with TLS and a password, gone with the test.
struct Server {
    name: String,
    exports: BTreeMap<String, String>,
    folder: TempDir,
}

impl Server {
    fn start() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("it-registry-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let owner = std::process::id().to_string();
        let mut start = Command::new(in_tests("services/registry"));
        start.args(["start", "--tls", "--auth", "ada:lovelace", "--name", &name, "--owner", &owner]);
        let started = start.stdin(Stdio::null()).output().expect("tests/services/registry can be run");
        assert!(started.status.success(), "no registry:\n{}", String::from_utf8_lossy(&started.stderr));
        let text = String::from_utf8(started.stdout).expect("exports are text");
        let pairs = text.split_whitespace().filter_map(|word| word.split_once('='));
        let exports = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let server = Self { name, exports, folder: tempfile::tempdir().expect("a folder") };
        server.log_in("ada:lovelace");
        server
    }

    fn get(&self, name: &str) -> &str {
        &self.exports[name]
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Keeps a password as `docker login` does.
    fn log_in(&self, login: &str) {
        let file = json!({ "auths": { self.get("REGISTRY"): { "auth": STANDARD.encode(login) } } });
        std::fs::write(self.path("login.json"), file.to_string()).expect("it can be written");
    }

    fn reference(&self, rest: &str) -> String {
        format!("oci://{}/team/{rest}", self.get("REGISTRY"))
    }

    fn midship(&self, args: &[&str]) -> Output {
        let run = midship().env("REGISTRY_AUTH_FILE", self.path("login.json")).arg("extension").args(args);
        run.args(["--ca-file", self.get("REGISTRY_CA")]).output()
    }

    fn oras(&self, at: &Path, args: &[&str]) -> Output {
        let login = ["--ca-file", self.get("REGISTRY_CA"), "--username", "ada", "--password", "lovelace"];
        Run::new(oras()).within(at).args(args).args(login).output()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let wiped = Command::new(in_tests("services/registry")).args(["wipe", "--name", &self.name]).output();
        assert!(wiped.is_ok_and(|wiped| wiped.status.success()), "the registry is left behind");
    }
}

fn oras() -> PathBuf {
    find("oras").unwrap_or_else(|| {
        let built = Command::new(in_tests("tools/tool")).arg("oras").output().expect("tests/tools/tool can be run");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        PathBuf::from(String::from_utf8_lossy(&built.stdout).trim())
    })
}

#[test]
fn a_package_goes_through_a_registry_unchanged_whoever_carries_it() {
    let server = Server::start();
    let package = in_tests("packages/sharded/1.0.0");
    let pushed = server.midship(&["push", package.to_str().expect("text"), &server.reference("sharded")]);
    assert_eq!(pushed.code, 0, "{pushed}");
    let pinned = pushed.stdout.trim().to_owned();
    assert!(pinned.starts_with(&server.reference("sharded:1.0.0@sha256:")), "{pushed}");
    let again = server.midship(&["push", package.to_str().expect("text"), &server.reference("sharded")]);
    assert_eq!(again.stdout, format!("{pinned} was there already\n"), "{again}");

    // by its digest alone
    let to = server.path("pulled");
    let digest = pinned.split_once('@').expect("a digest").1;
    let by_digest = server.reference(&format!("sharded@{digest}"));
    let pulled = server.midship(&["pull", &by_digest, "--to", to.to_str().expect("text")]);
    assert_eq!(pulled.code, 0, "{pulled}");
    assert_eq!(files_below(&to.join("sharded/1.0.0")), files_below(&package));

    // oras reads what midship wrote
    let theirs = server.path("theirs");
    std::fs::create_dir(&theirs).expect("a folder");
    let tagged = format!("{}/team/sharded:1.0.0", server.get("REGISTRY"));
    let output = server.oras(&theirs, &["pull", &tagged]);
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(files_below(&theirs), files_below(&package));

    // midship reads what oras wrote
    let names: Vec<String> = files_below(&package).into_keys().collect();
    let other = format!("{}/team/other:1", server.get("REGISTRY"));
    let args: Vec<&str> =
        ["push", &other, "--artifact-type", TYPE].into_iter().chain(names.iter().map(String::as_str)).collect();
    let output = server.oras(&package, &args);
    assert_eq!(output.code, 0, "{output}");
    let to = server.path("other");
    let pulled = server.midship(&["pull", &server.reference("other:1"), "--to", to.to_str().expect("text")]);
    assert_eq!(pulled.code, 0, "{pulled}");
    assert_eq!(files_below(&to.join("sharded/1.0.0")), files_below(&package));

    let list = server.midship(&["list", &server.reference("sharded"), "-o", "json"]);
    let list: serde_json::Value = serde_json::from_str(&list.stdout).expect("JSON");
    assert_eq!(
        (&list[0]["tag"], &list[0]["type"], &list[0]["digest"]),
        (&json!("1.0.0"), &json!("sharded"), &json!(digest))
    );

    // what is installed says where it came from
    let install = server.midship(&["install", &server.reference("sharded:1.0.0"), "--dry-run"]);
    assert!(install.stdout.contains(&pinned), "{install}");
}

#[test]
fn what_a_registry_does_not_give_or_take_is_told() {
    let server = Server::start();
    let folder = server.path("mine");
    midship().args(["extension", "new", "broker", "--to"]).arg(&folder).stdout();
    let package = folder.join("broker/0.1.0");
    let path = package.to_str().expect("text");
    let told = |args: &[&str], what: &str| {
        let output = server.midship(args);
        assert_eq!(output.code, 1, "{output}");
        assert!(output.stderr.contains(what), "{what}:\n{output}");
        assert!(!output.stderr.contains("lovelace"), "{output}");
    };
    told(&["pull", &server.reference("nothing:1")], "team/nothing:1 is not there");
    told(&["pull", &server.reference("broker")], "add a tag");
    told(&["pull", "registry.example.com/broker:1"], "write it like oci://");
    assert_eq!(server.midship(&["push", path, &server.reference("broker")]).code, 0);
    let zeros = format!("broker@sha256:{}", "0".repeat(64));
    told(&["pull", &server.reference(&zeros)], "is not there");

    // another content under the same version
    let config = package.join("config/server.conf.j2");
    let text = std::fs::read_to_string(&config).expect("a file");
    std::fs::write(&config, format!("{text}# more\n")).expect("it can be written");
    told(&["push", path, &server.reference("broker")], "a published version never changes");

    // a folder as a packed layer, and something that is no package at all
    let packed = format!("{}/team/packed:1", server.get("REGISTRY"));
    let output = server.oras(&package, &["push", &packed, "--artifact-type", TYPE, "extension.yaml", "config"]);
    assert_eq!(output.code, 0, "{output}");
    told(&["pull", &server.reference("packed:1")], "push each file by its path, not the folder");
    let page = format!("{}/team/page:1", server.get("REGISTRY"));
    let output = server.oras(&package, &["push", &page, "extension.yaml"]);
    assert_eq!(output.code, 0, "{output}");
    told(&["pull", &server.reference("page:1")], "a package has the artifact type");

    server.log_in("ada:wrong");
    told(&["pull", &server.reference("broker:0.1.0")], "refuses: ");
    let elsewhere = midship().args(["extension", "pull", "oci://127.0.0.1:1/broker:1"]).output();
    assert!(elsewhere.stderr.contains("127.0.0.1:1 cannot be reached: "), "{elsewhere}");
}
