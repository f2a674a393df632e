//! The API server under test: the one somebody names, or one of our own that goes when the tests have gone.
//!
//! `MIDSHIP_TEST_API`, `MIDSHIP_TEST_KUBECONFIG` and `KUBECONFIG`, in this order, name a kubeconfig. Where none is set,
//! `tests/cluster/cluster` starts etcd and an API server in `target/api-server`, shared by all tests of a run.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use super::command;

/// How long a server may take to answer on a busy machine.
const ANSWERS: Duration = Duration::from_secs(30);

/// A server that answered.
pub struct Server {
    pub kubeconfig: PathBuf,
    pub client: Client,
    pub kubectl: PathBuf,
}

/// What a test needs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// An API server.
    Api,
    /// Nodes that run pods.
    Nodes,
}

impl Server {
    pub async fn find(tier: Tier) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let names: &[&str] = match tier {
            Tier::Api => &["MIDSHIP_TEST_API", "MIDSHIP_TEST_KUBECONFIG", "KUBECONFIG"],
            Tier::Nodes => &["MIDSHIP_TEST_KUBECONFIG", "KUBECONFIG"],
        };
        let named = names
            .iter()
            .find_map(|name| std::env::var_os(name).filter(|value| !value.is_empty()).map(|value| (name, value)));
        let (kubeconfig, kubectl) = if let Some((name, value)) = named {
            let kubeconfig = PathBuf::from(value);
            assert!(kubeconfig.is_file(), "{name} names {}, and there is no such file", kubeconfig.display());
            (kubeconfig, command::find("kubectl"))
        } else if tier == Tier::Nodes {
            panic!("this needs a cluster with nodes: `make test` starts one, or name one in MIDSHIP_TEST_KUBECONFIG");
        } else {
            let own = OwnServer::of_this_checkout();
            let running = own.is_kept_for_us() && answers(&own.kubeconfig()).await.is_ok();
            let kubeconfig = if running { own.kubeconfig() } else { own.start() };
            (kubeconfig, command::find("kubectl").or_else(|| own.program("kubectl")))
        };
        let kubectl = kubectl.expect("kubectl is neither in MIDSHIP_TEST_BIN nor on PATH: install it, or build it with `tests/cluster/cluster build`");
        Self::asked(kubeconfig, kubectl).await
    }

    /// The one of this kubeconfig.
    pub async fn at(kubeconfig: PathBuf) -> Self {
        let kubectl = command::find("kubectl").expect("kubectl is neither in MIDSHIP_TEST_BIN nor on PATH");
        Self::asked(kubeconfig, kubectl).await
    }

    async fn asked(kubeconfig: PathBuf, kubectl: PathBuf) -> Self {
        let client = answers(&kubeconfig)
            .await
            .unwrap_or_else(|error| panic!("no API server answers at {}: {error}", kubeconfig.display()));
        Self { kubeconfig, client, kubectl }
    }
}

async fn answers(kubeconfig: &Path) -> Result<Client, Box<dyn std::error::Error>> {
    let read = Kubeconfig::read_from(kubeconfig)?;
    let mut config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?;
    config.connect_timeout = Some(ANSWERS);
    let client = Client::try_from(config)?;
    tokio::time::timeout(ANSWERS, client.apiserver_version()).await??;
    Ok(client)
}

/// The server that this checkout starts for its own tests.
struct OwnServer {
    script: PathBuf,
    state: PathBuf,
    owner: u32,
}

impl OwnServer {
    fn of_this_checkout() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        // nextest runs each test in a process of its own: the runner lives as long as the server is to
        let runner = std::env::var_os("NEXTEST").map(|_| std::os::unix::process::parent_id());
        Self {
            script: root.join("tests/cluster/cluster"),
            state: root.join("target/api-server"),
            owner: runner.unwrap_or_else(std::process::id),
        }
    }

    fn kubeconfig(&self) -> PathBuf {
        self.state.join("admin.kubeconfig")
    }

    /// Whether the server is promised to stay while we run. One that somebody started by hand is.
    fn is_kept_for_us(&self) -> bool {
        let ours = format!("{} ", self.owner);
        match std::fs::read_to_string(self.state.join("owners")) {
            Ok(owners) => owners.lines().any(|line| line.starts_with(&ours)),
            Err(_) => self.state.join("ready").exists(),
        }
    }

    fn cluster(&self) -> Command {
        let mut command = Command::new(&self.script);
        command.env("MIDSHIP_CLUSTER", &self.state).stdin(Stdio::null());
        command
    }

    fn start(&self) -> PathBuf {
        let owner = self.owner.to_string();
        let mut up = self.cluster();
        up.args(["up", "--api-only", "--controllers", "--owner", &owner]);
        let output = up.output().unwrap_or_else(|error| panic!("{}: {error}", self.script.display()));
        assert!(
            output.status.success(),
            "{} could not start an API server:\n{}",
            self.script.display(),
            String::from_utf8_lossy(&output.stderr)
        );
        self.stop_after(&owner);
        self.kubeconfig()
    }

    /// Lets a process of its own wait for the owner's end and take the server down then.
    fn stop_after(&self, owner: &str) {
        use std::os::unix::process::CommandExt;
        let mut watch = Command::new("sh");
        watch
            .args(["-c", "(tail --pid=\"$2\" -f /dev/null; exec \"$1\" down --owner \"$2\") &", "sh"])
            .arg(&self.script)
            .arg(owner)
            .env("MIDSHIP_CLUSTER", &self.state)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        watch.status().expect("a shell to watch the tests");
    }

    fn program(&self, name: &str) -> Option<PathBuf> {
        let output = self.cluster().args(["build", "--api-only"]).output().ok()?;
        let folder = String::from_utf8(output.stdout).ok()?;
        Some(Path::new(folder.trim()).join(name)).filter(|file| file.is_file())
    }
}
