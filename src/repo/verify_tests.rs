//! Signatures made by git, checked by us; everything that is not clearly right is refused.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::Command;

use super::fixture::{Fixture, bounds, id};
use super::*;

struct SshKey {
    folder: tempfile::TempDir,
}

impl SshKey {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path).status().unwrap();
        assert!(made.success());
        Self { folder }
    }

    fn public(&self) -> String {
        let text = fs::read_to_string(self.folder.path().join("key.pub")).unwrap();
        text.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
    }

    /// A commit on main, signed by git with this key.
    fn commit(&self, fixture: &Fixture) -> ObjectId {
        let path = self.folder.path().join("key");
        let tree = fixture.git(&["mktree"]);
        let signing = format!("user.signingKey={}", path.display());
        let args = ["-c", "gpg.format=ssh", "-c", &signing, "commit-tree", "-S", "-m", "signed", &tree];
        let commit = fixture.git(&args);
        fixture.git(&["update-ref", "refs/heads/main", &commit]);
        id(&commit)
    }
}

fn tree(fixture: &Fixture, commit: ObjectId) -> CommitTree {
    Cache::new(fixture.path()).tree(commit).unwrap()
}

fn ssh(lines: &str) -> TrustedSigners {
    TrustedSigners { ssh: lines.to_owned(), openpgp: Vec::new() }
}

#[test]
fn a_commit_signed_by_a_trusted_ssh_key_names_its_signer() {
    let (fixture, key) = (Fixture::new(), SshKey::new());
    let signed = tree(&fixture, key.commit(&fixture));
    let other = SshKey::new().public();
    let trusted = ssh(&format!("# team\nbob@x {other}\nann@x namespaces=\"git\" {}\n", key.public()));
    let found = trusted.verify(&signed, &bounds()).unwrap();
    assert_eq!(found.signer, "ann@x");
    assert!(found.key.starts_with("SHA256:"), "{found:?}");
}

#[test]
fn everything_else_with_ssh_is_a_no() {
    let (fixture, key) = (Fixture::new(), SshKey::new());
    let commit = key.commit(&fixture);
    let signed = tree(&fixture, commit);
    let code = |signers: &TrustedSigners, tree: &CommitTree| signers.verify(tree, &bounds()).unwrap_err().code();
    let good = ssh(&format!("ann@x {}", key.public()));
    assert_eq!(code(&ssh(&format!("bob@x {}", SshKey::new().public())), &signed), "signer-not-trusted");
    assert_eq!(code(&ssh(""), &signed), "no-trusted-signers");
    assert_eq!(code(&ssh("# nobody\n"), &signed), "no-trusted-signers");
    assert_eq!(code(&ssh("garbage"), &signed), "signer-not-trusted");
    let options = |options: &str| ssh(&format!("ann@x {options} {}", key.public()));
    for wrong in ["namespaces=\"file\"", "valid-before=\"20200101\"", "valid-after=\"20300101\""] {
        let code = code(&options(wrong), &signed);
        assert!(code == "signer-not-trusted" || code == "bad-signature", "{wrong}: {code}");
    }
    assert!(options("valid-after=\"20200101\",valid-before=\"20300101\"").verify(&signed, &bounds()).is_ok());
    let plain = tree(&fixture, fixture.commit(&[("a", "1")]));
    assert_eq!(code(&good, &plain), "unsigned");
    let raw = fixture.git(&["cat-file", "commit", &commit.to_string()]);
    let forge = |text: String| {
        let written = fixture.git_with(&["hash-object", "-t", "commit", "-w", "--stdin"], text.as_bytes());
        tree(&fixture, id(&written))
    };
    assert_eq!(code(&good, &forge(raw.replace("\n\nsigned", "\n\nforged"))), "bad-signature");
    let kind = raw.replace("SSH SIGNATURE", "X509 SIGNATURE");
    assert_eq!(code(&good, &forge(kind)), "unknown-signature");
    assert_eq!(
        code(&good, &forge(raw.replace("BEGIN SSH SIGNATURE-----\n U", "BEGIN SSH SIGNATURE-----\n A"))),
        "signer-not-trusted"
    );
}

struct GpgHome {
    folder: tempfile::TempDir,
}

impl GpgHome {
    fn new(user: &str) -> Self {
        let home = Self { folder: tempfile::tempdir().unwrap() };
        home.gpg(&["--passphrase", "", "--quick-gen-key", user, "ed25519", "sign", "never"]);
        home
    }

    fn gpg(&self, args: &[&str]) -> String {
        let mut command = Command::new("gpg");
        command.args(["--batch", "--no-tty", "--quiet", "--pinentry-mode", "loopback", "--homedir"]);
        let output = command.arg(self.folder.path()).args(args).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn commit(&self, fixture: &Fixture, user: &str) -> ObjectId {
        let tree = fixture.git(&["mktree"]);
        let program = fixture.path().join("gpg");
        write_program(&program, &format!("#!/bin/sh\nexec gpg --homedir {} \"$@\"\n", self.folder.path().display()));
        let program = format!("gpg.program={}", program.display());
        let key = format!("user.signingKey={user}");
        let commit = fixture.git(&["-c", &program, "-c", &key, "commit-tree", "-S", "-m", "signed", &tree]);
        id(&commit)
    }
}

impl Drop for GpgHome {
    fn drop(&mut self) {
        // the agent of this home, and no other
        let _ = Command::new("gpgconf").arg("--homedir").arg(self.folder.path()).args(["--kill", "all"]).status();
    }
}

fn write_program(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn openpgp_signatures_are_checked_against_the_given_keys_alone() {
    let fixture = Fixture::new();
    let (ann, bob) = (GpgHome::new("Ann <ann@x>"), GpgHome::new("Bob <bob@x>"));
    let commit = ann.commit(&fixture, "ann@x");
    let signed = tree(&fixture, commit);
    let trusting = |homes: &[&GpgHome]| TrustedSigners {
        ssh: String::new(),
        openpgp: homes.iter().map(|home| home.gpg(&["--armor", "--export"])).collect(),
    };
    let found = trusting(&[&bob, &ann]).verify(&signed, &bounds()).unwrap();
    assert_eq!(found.signer, "Ann <ann@x>");
    assert_eq!(found.key.len(), 40);
    let code = |signers: &TrustedSigners, tree: &CommitTree| signers.verify(tree, &bounds()).unwrap_err().code();
    assert_eq!(code(&trusting(&[&bob]), &signed), "signer-not-trusted");
    assert_eq!(code(&trusting(&[]), &signed), "no-trusted-signers");
    let garbage = TrustedSigners { ssh: String::new(), openpgp: vec!["no key".into()] };
    assert_eq!(code(&garbage, &signed), "signer-not-trusted");
    let raw = fixture.git(&["cat-file", "commit", &commit.to_string()]).replace("\n\nsigned", "\n\nforged");
    let forged = fixture.git_with(&["hash-object", "-t", "commit", "-w", "--stdin"], raw.as_bytes());
    assert_eq!(code(&trusting(&[&ann]), &tree(&fixture, id(&forged))), "bad-signature");
}
