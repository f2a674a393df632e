//! A pod's main container from a test image: its file system unpacked, the real PID 1 in it, and a real package's files.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use midship::agent::actions::{Extras, Steps};
use midship::agent::facts::PodFacts;
use midship::agent::files;
use midship::agent::init::protocol::Op;
use midship::agent::secrets::Secrets;
use midship::extension::agent::AgentConfig;
use midship::extension::contract::Step;
use midship::extension::resolve::{Asked, Surroundings};
use midship::extension::{Package, PackageFiles, cases};
use midship::names::{InstanceName, NamespaceName};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::bench::{Bench, LONG};
use crate::agent::pod::{AGENT, Place, Pod};
use crate::harness::{files_below, skip};

/// As the official images have them.
pub const USER: u32 = 999;

pub struct Container {
    pub bench: Bench,
    pub pod: Pod,
    process: Value,
    /// Where its port is reached.
    pub port: u16,
    root: TempDir,
}

/// Whether file systems can be unpacked and mounted here.
pub fn possible(name: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        skip(name, "it needs root, to enter the file system of an image");
    }
    root
}

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The file system of an image.
fn unpack(image: &str) -> TempDir {
    let built = Command::new(here("tests/images/build")).arg(image).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let archive = String::from_utf8(built.stdout).unwrap().trim().to_owned();
    let root = tempfile::tempdir().unwrap();
    let manifest = Command::new("tar").args(["xOf", &archive, "manifest.json"]).output().unwrap();
    let manifest: Value = serde_json::from_slice(&manifest.stdout).unwrap();
    for layer in manifest[0]["Layers"].as_array().unwrap() {
        let unpacked = Command::new("sh")
            .args(["-c", "tar xOf \"$1\" \"$2\" | tar xz -C \"$3\"", "sh", &archive, layer.as_str().unwrap()])
            .arg(root.path())
            .status()
            .unwrap();
        assert!(unpacked.success());
    }
    root
}

fn package(path: &str) -> Package {
    Package::load(PackageFiles::new(files_below(&here(path))).unwrap()).unwrap_or_else(|problems| panic!("{problems}"))
}

impl Container {
    /// A pod of an instance of the package, whose process does not run yet. Its paths are below a directory of its own, the
    /// same inside and outside; `port` is in the place of the package's.
    pub fn new(image: &str, extension: &str, spec: Value, port: (u16, u16)) -> Self {
        let package = package(extension);
        let (name, namespace) = (InstanceName::parse("sample").unwrap(), NamespaceName::parse("default").unwrap());
        let spec = serde_json::from_value(spec).unwrap();
        let asked = Asked { name: &name, namespace: &namespace, spec: &spec };
        let (_, rendered) = cases::preview(&package, asked, &Surroundings::default()).unwrap_or_else(|e| panic!("{e}"));
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().display().to_string();
        let moved = |text: &str| {
            text.replace("/data", &format!("{base}/data"))
                .replace("/midship/", &format!("{base}/midship/"))
                .replace(&port.0.to_string(), &port.1.to_string())
        };
        for folder in ["data/archive", "midship/run", "midship/config", "midship/secrets", "midship/scripts"] {
            std::fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        let maps = rendered.config_maps.iter().find(|map| map["data"].get("agent.json").is_some());
        let config = maps.expect("the configuration of a group")["data"].as_object().unwrap();
        for (file, text) in config {
            std::fs::write(dir.path().join("midship/config").join(file), moved(text.as_str().unwrap())).unwrap();
        }
        for path in package.files.below("scripts") {
            let text = moved(package.files.text(path).unwrap());
            let to = dir.path().join("midship").join(path);
            std::fs::write(&to, text).unwrap();
            std::fs::set_permissions(&to, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        }
        let username = package.manifest.credentials.as_ref().map_or("default".to_owned(), |c| c.username.clone());
        for (name, value) in
            [("username", username.as_str()), ("password", "made-up-password"), ("replication", "made-up-replication")]
        {
            std::fs::write(dir.path().join("midship/secrets").join(name), value).unwrap();
        }
        let read = |file: &str| std::fs::read_to_string(dir.path().join("midship/config").join(file)).unwrap();
        let agent: AgentConfig = serde_json::from_str(&read("agent.json")).unwrap();
        let mut process: Value = serde_json::from_str(&read("process.json")).unwrap();
        process.as_object_mut().unwrap().remove("preStart");
        process["readiness"] = json!({ "check": "process" });
        let secrets = dir.path().join("midship/secrets");
        let facts = PodFacts::new(&agent, |name| (name == "MIDSHIP_POD").then(|| "sample-0".to_owned()));
        files::write(&agent.files, &Secrets::read(&secrets).unwrap(), &facts).unwrap();
        let written: Option<&midship::extension::agent::FilePlan> =
            agent.files.iter().find(|plan| plan.path.ends_with("process.json"));
        if let Some(plan) = written {
            process = serde_json::from_slice(&std::fs::read(&plan.path).unwrap()).unwrap();
            process.as_object_mut().unwrap().remove("preStart");
            process["readiness"] = json!({ "check": "process" });
        }
        let waiting = json!({ "command": ["sleep", "1000000"], "env": process["env"] });
        std::fs::write(dir.path().join("process.json"), waiting.to_string()).unwrap();
        let owned = Command::new("chown").args(["-R", &format!("{USER}:{USER}")]).arg(dir.path()).status().unwrap();
        assert!(owned.success());

        let root = unpack(image);
        let script = "set -e; root=$1 dir=$2; shift 2; mkdir -p \"$root$dir\" \"$root/proc\" \"$root/dev\"; touch \"$root/agent\"
            mount --bind \"$dir\" \"$root$dir\"; mount --bind \"$1\" \"$root/agent\"; mount --rbind /dev \"$root/dev\"
            mount -t proc proc \"$root/proc\"; chmod 755 \"$root\"; shift
            mkdir -p \"$root/var/run/postgresql\"; chmod 1777 \"$root/tmp\" \"$root/var/run/postgresql\"
            mkdir -p \"$root/midship/scripts\"; mount --bind \"$dir/midship/scripts\" \"$root/midship/scripts\"
            exec chroot \"$root\" setpriv --reuid=999 --regid=999 --clear-groups --inh-caps=+dac_override \\
                --ambient-caps=+dac_override /agent \"$@\"";
        let mut program = Command::new("unshare");
        program.args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"]);
        program.arg(root.path()).arg(dir.path()).arg(AGENT);
        let pod = Pod::run(dir, Place::Here, program);
        let bench = Bench::new(agent, &pod.socket(), &secrets, pod.dir.path());
        Self { bench, pod, process, port: port.1, root }
    }

    /// What the package does before each start.
    pub async fn prepare(&self) {
        let mut extras = midship::agent::backup::Surroundings::extras(&*self.bench.around);
        extras.insert("primary".to_owned(), Value::Null);
        let actor = midship::agent::backup::Surroundings::actor(&*self.bench.around);
        actor.run("prepare", extras).await.unwrap();
    }

    /// Runs the middleware, and waits until it serves.
    pub async fn serve(&self) {
        let before = self.pod.status().config.digest;
        self.pod.configure(&self.process);
        self.pod.wait("the configuration", |status| status.config.digest != before);
        self.start_again().await;
    }

    /// Once it was configured: starts it, and waits until it serves.
    pub async fn start_again(&self) {
        self.pod.order(Op::Restart);
        let actor = midship::agent::backup::Surroundings::actor(&*self.bench.around);
        let ready = actor.config().ready.clone().expect("a probe");
        let end = Instant::now() + LONG;
        while let Err(error) = actor.probe(&ready, Extras::new()).await {
            assert!(Instant::now() < end, "{error}\n{}", self.pod.log());
            sleep(Duration::from_millis(100)).await;
        }
    }

    pub fn stop(&self) {
        self.pod.order(Op::Stop);
    }

    /// A file below the directory that the package calls /data.
    pub fn data(&self, path: &str) -> PathBuf {
        self.pod.path("data").join(path)
    }

    /// The file system of its image, as the host sees it.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// What a step answers.
    pub async fn ask(&self, step: Value) -> Value {
        let actor = midship::agent::backup::Surroundings::actor(&*self.bench.around);
        let session = actor.session();
        let step: Step = serde_json::from_value(step).unwrap();
        let steps = Steps { name: "test", steps: &[step], timeout: Some(LONG), session: &session };
        let saved =
            actor.steps(steps, Extras::new()).await.unwrap_or_else(|error| panic!("{error}\n{}", self.pod.log()));
        actor.end(&session);
        saved.value("reply").unwrap()
    }
}

/// A port nobody listens on: not one of those that systems or the scripts of tests/services give out by themselves, and in
/// each test another one, so that nobody takes it before the middleware does.
pub fn free_port() -> u16 {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    let ports = std::iter::repeat_with(|| {
        let next = std::process::id().wrapping_mul(16) + TAKEN.fetch_add(1, Ordering::Relaxed);
        u16::try_from(10_000 + next % 10_000).unwrap()
    });
    ports.take(1000).find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok()).expect("a free port")
}
