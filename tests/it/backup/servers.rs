//! S3 servers: one of each implementation, started on first use, gone when the tests have gone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use jiff::Timestamp;
use midship::backup::id::Id;
use midship::backup::store::s3::{Checksums, Credentials, Settings};
use midship::secret::Secret;

pub struct Server(BTreeMap<String, String>);

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/services/s3")
}

impl Server {
    /// `seaweedfs` or `versitygw`.
    pub fn start(implementation: &str, tls: bool) -> Self {
        Self::start_at(implementation, tls, "127.0.0.1")
    }

    /// The same on another address of this machine.
    pub fn start_at(implementation: &str, tls: bool, address: &str) -> Self {
        // nextest runs each test in a process of its own: the runner lives as long as the server is to
        let runner = std::env::var_os("NEXTEST").map(|_| std::os::unix::process::parent_id());
        let owner = runner.unwrap_or_else(std::process::id).to_string();
        let place = if address == "127.0.0.1" { String::new() } else { format!("-{address}") };
        let name = format!("it-{implementation}{}{place}", if tls { "-tls" } else { "" });
        let mut start = Command::new(script());
        start.args(["start", "--impl", implementation, "--name", &name, "--owner", &owner]);
        start.args(["--listen", address]);
        if tls {
            start.arg("--tls");
        }
        let started = start.stdin(Stdio::null()).output().expect("tests/services/s3 can be run");
        assert!(started.status.success(), "no S3 server:\n{}", String::from_utf8_lossy(&started.stderr));
        let mut watch = Command::new("sh");
        watch
            .args(["-c", "(tail --pid=\"$2\" -f /dev/null; exec \"$1\" stop --name \"$3\" --owner \"$2\") &", "sh"])
            .arg(script())
            .args([&owner, &name])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        std::os::unix::process::CommandExt::process_group(&mut watch, 0);
        watch.status().expect("a shell to watch the tests");
        let text = String::from_utf8(started.stdout).expect("exports are text");
        let pairs = text.split_whitespace().filter_map(|word| word.split_once('='));
        Self(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    fn get(&self, name: &str) -> &str {
        self.0.get(name).unwrap_or_else(|| panic!("the exports of the server have no {name}"))
    }

    /// A folder of one's own in its bucket.
    pub fn settings(&self) -> Settings {
        let ca = self.get("S3_CA");
        Settings {
            bucket: self.get("S3_BUCKET").to_owned(),
            prefix: format!("it/{}", Id::new(Timestamp::now())),
            region: Some(self.get("S3_REGION").to_owned()),
            endpoint: Some(self.get("S3_ENDPOINT").to_owned()),
            path_style: true,
            credentials: Credentials::Keys {
                access_key_id: self.get("AWS_ACCESS_KEY_ID").to_owned(),
                secret_access_key: Secret::new(self.get("AWS_SECRET_ACCESS_KEY")),
                session_token: None,
            },
            ca: (!ca.is_empty()).then(|| std::fs::read_to_string(ca).expect("the CA is readable")),
            checksums: Checksums::WhenSupported,
            lock: None,
        }
    }
}
