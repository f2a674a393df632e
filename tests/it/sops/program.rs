//! The real `sops`, with an age identity made for one test.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use age::secrecy::ExposeSecret;
use midship::sops::Keys;

use crate::harness::Run;

/// Somebody who can open what was encrypted for them.
pub struct Person {
    identity: String,
    pub recipient: String,
}

impl Person {
    pub fn new() -> Self {
        let identity = age::x25519::Identity::generate();
        Self { identity: identity.to_string().expose_secret().to_owned(), recipient: identity.to_public().to_string() }
    }

    /// The file that age-keygen would write.
    pub fn key_file(&self) -> String {
        format!("# public key: {}\n{}\n", self.recipient, self.identity)
    }

    pub fn keys(&self) -> Keys {
        Keys::parse([("age.agekey", self.key_file().as_bytes())].into_iter()).expect("an identity")
    }

    /// What `sops` makes of a text; `kind` is yaml, json or another format of it.
    pub fn encrypt(&self, text: &str, kind: &str, options: &[&str]) -> String {
        let run = Run::new(program()).env("SOPS_AGE_RECIPIENTS", &self.recipient);
        let run = run.args(["encrypt", "--input-type", kind, "--output-type", kind]);
        let file = run.home().join(format!("plain.{kind}"));
        std::fs::write(&file, text).expect("the file can be written");
        run.args(options).arg(file).stdout()
    }
}

/// What `sops` makes of a YAML text by the rules of this `.sops.yaml`.
pub fn encrypt_by(rules: &str, text: &str) -> String {
    let run = Run::new(program()).args(["encrypt", "--input-type", "yaml", "--output-type", "yaml"]);
    let file = run.home().join("plain.yaml");
    std::fs::write(run.home().join(".sops.yaml"), rules).expect("the rules can be written");
    std::fs::write(&file, text).expect("the file can be written");
    run.arg(file).stdout()
}

fn program() -> &'static PathBuf {
    static SOPS: OnceLock<PathBuf> = OnceLock::new();
    SOPS.get_or_init(|| {
        let tool = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tools/tool");
        let output = Command::new(tool).arg("sops").output().expect("the tool runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
    })
}
