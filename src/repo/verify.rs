//! Whether a commit was signed by somebody we trust: SSH allowed signers through `ssh-keygen`, OpenPGP
//! through `gpg` with a keyring of its own.

use gix::objs::CommitRefIter;

use super::bounds::Bounds;
use super::child::{Done, bare_command, private_folder, run};
use super::error::{RemoteError, clean};
use super::listing::TreeError;
use super::tree::CommitTree;

/// Whose signatures count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedSigners {
    /// Lines of an OpenSSH allowed signers file: `name[,name] [options] key`.
    pub ssh: String,
    /// Armored OpenPGP public keys.
    pub openpgp: Vec<String>,
}

/// Who signed a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The name in the allowed signers file, or the user id of the OpenPGP key.
    pub signer: String,
    /// The fingerprint of the key.
    pub key: String,
}

/// Why a commit does not count as signed. Anything unclear is a no.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    #[error("commit {commit} is not signed")]
    Unsigned { commit: String },
    #[error("commit {commit} is signed by nobody among the trusted signers: {reason}")]
    NotTrusted { commit: String, reason: String },
    #[error("the signature of commit {commit} is wrong: {reason}")]
    Wrong { commit: String, reason: String },
    #[error("commit {commit} has a signature of a kind that is not checked ({kind}); use SSH or OpenPGP")]
    Unknown { commit: String, kind: String },
    #[error("there are no trusted signers for {0} signatures; add them or do not require signatures")]
    NobodyTrusted(&'static str),
    #[error(transparent)]
    Tree(#[from] TreeError),
    #[error(transparent)]
    Program(#[from] RemoteError),
}

impl VerifyError {
    /// A short name that does not change, for conditions and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unsigned { .. } => "unsigned",
            Self::NotTrusted { .. } => "signer-not-trusted",
            Self::Wrong { .. } => "bad-signature",
            Self::Unknown { .. } => "unknown-signature",
            Self::NobodyTrusted(_) => "no-trusted-signers",
            Self::Tree(_) => "damaged",
            Self::Program(error) => error.code(),
        }
    }
}

impl TrustedSigners {
    /// Checks the signature of the commit that `tree` was opened with.
    pub fn verify(&self, tree: &CommitTree, bounds: &Bounds) -> Result<Signature, VerifyError> {
        let id = tree.commit().id;
        let raw = tree.commit_object()?;
        let found = CommitRefIter::signature(&raw, id.kind());
        let Ok(Some((signature, signed))) = found else {
            return Err(VerifyError::Unsigned { commit: id.to_string() });
        };
        let check = Check {
            commit: id.to_string(),
            signature: signature.to_string(),
            payload: signed.to_bstring().into(),
            seconds: tree.commit().committer.seconds,
            bounds,
        };
        match check.signature.lines().next().unwrap_or_default() {
            "-----BEGIN SSH SIGNATURE-----" => check.ssh(&self.ssh),
            "-----BEGIN PGP SIGNATURE-----" => check.openpgp(&self.openpgp),
            kind => Err(VerifyError::Unknown { commit: check.commit, kind: clean(kind, 60) }),
        }
    }
}

struct Check<'a> {
    commit: String,
    signature: String,
    payload: Vec<u8>,
    seconds: i64,
    bounds: &'a Bounds,
}

impl Check<'_> {
    fn ssh(self, allowed: &str) -> Result<Signature, VerifyError> {
        if !allowed.lines().any(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#')) {
            return Err(VerifyError::NobodyTrusted("SSH"));
        }
        let folder = private_folder(&[("signature", &self.signature), ("allowed", allowed)])?;
        let keygen = |args: &[&str]| -> Result<Done, RemoteError> {
            let mut command = bare_command("ssh-keygen");
            // keys may be trusted from and until a time: that of the commit counts, as it does for git
            let at = format!("-Overify-time={}", utc(self.seconds));
            command.args(args).arg(at).arg("-f").arg(folder.path().join("allowed"));
            command.arg("-s").arg(folder.path().join("signature"));
            run(command, &self.payload, self.bounds)
        };
        let found = keygen(&["-Y", "find-principals"])?;
        let principals = String::from_utf8_lossy(&found.output).into_owned();
        let Some(principal) = principals.lines().map(str::trim).find(|line| found.success && !line.is_empty()) else {
            let reason = clean(&found.complaint, 200);
            return Err(VerifyError::NotTrusted { commit: self.commit, reason });
        };
        let verified = keygen(&["-Y", "verify", "-n", "git", "-I", principal])?;
        let words = String::from_utf8_lossy(&verified.output).into_owned();
        if !verified.success || !words.starts_with("Good \"git\" signature") {
            let reason = clean(&format!("{words} {}", verified.complaint), 200);
            return Err(VerifyError::Wrong { commit: self.commit, reason });
        }
        let key = words.split_whitespace().find(|word| word.starts_with("SHA256:")).unwrap_or_default();
        Ok(Signature { signer: clean(principal, 200), key: key.to_owned() })
    }

    fn openpgp(self, keys: &[String]) -> Result<Signature, VerifyError> {
        if keys.iter().all(|key| key.trim().is_empty()) {
            return Err(VerifyError::NobodyTrusted("OpenPGP"));
        }
        let folder = private_folder(&[("signature.asc", &self.signature)])?;
        let gpg = |args: &[&str], input: &[u8]| -> Result<Done, RemoteError> {
            let mut command = bare_command("gpg");
            command.args(["--batch", "--no-tty", "--no-options", "--no-autostart", "--no-auto-key-retrieve"]);
            command.args(["--disable-dirmngr", "--trust-model", "always", "--status-fd", "1", "--homedir"]);
            command.arg(folder.path()).args(args);
            run(command, input, self.bounds)
        };
        for key in keys {
            let imported = gpg(&["--import"], key.as_bytes())?;
            if !imported.success {
                let reason = format!("a trusted key cannot be read: {}", clean(&imported.complaint, 200));
                return Err(VerifyError::NotTrusted { commit: self.commit, reason });
            }
        }
        let path = folder.path().join("signature.asc").display().to_string();
        let checked = gpg(&["--verify", &path, "-"], &self.payload)?;
        let status = String::from_utf8_lossy(&checked.output).into_owned();
        judge_gpg(&status, checked.success).map_err(|verdict| match verdict {
            Verdict::NotTrusted(reason) => VerifyError::NotTrusted { commit: self.commit.clone(), reason },
            Verdict::Wrong(reason) => VerifyError::Wrong { commit: self.commit.clone(), reason },
        })
    }
}

enum Verdict {
    NotTrusted(String),
    Wrong(String),
}

/// Reads the status lines of `gpg`, which are made for programs. Exactly one good and valid signature
/// is a yes; a key or signature that is expired or revoked is not.
fn judge_gpg(status: &str, success: bool) -> Result<Signature, Verdict> {
    let lines: Vec<&str> = status.lines().filter_map(|line| line.strip_prefix("[GNUPG:] ")).collect();
    let all = |keyword: &str| -> Vec<&str> {
        lines.iter().filter_map(|line| line.strip_prefix(keyword)?.strip_prefix(' ')).collect()
    };
    for (keyword, what) in [
        ("BADSIG", "it does not fit the commit"),
        ("EXPSIG", "it has expired"),
        ("EXPKEYSIG", "its key has expired"),
        ("REVKEYSIG", "its key was revoked"),
    ] {
        if !all(keyword).is_empty() {
            return Err(Verdict::Wrong(what.to_owned()));
        }
    }
    if let Some(key) = all("NO_PUBKEY").first() {
        return Err(Verdict::NotTrusted(format!("key {}", clean(key, 60))));
    }
    match (all("GOODSIG").as_slice(), all("VALIDSIG").as_slice()) {
        ([good], [valid]) if success => Ok(Signature {
            signer: clean(good.split_once(' ').map_or("", |(_, name)| name), 200),
            key: clean(valid.split_whitespace().last().unwrap_or_default(), 60),
        }),
        _ => Err(Verdict::Wrong("gpg found no single good signature".to_owned())),
    }
}

/// Seconds since 1970 as `ssh-keygen` reads times: YYYYMMDDHHMMSSZ.
fn utc(seconds: i64) -> String {
    let time = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    time.strftime("%Y%m%d%H%M%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_openssh_reads_them() {
        assert_eq!(utc(1_700_000_000), "20231114221320Z");
        assert_eq!(utc(i64::MIN), "19700101000000Z");
    }

    #[test]
    fn only_one_good_and_valid_openpgp_signature_counts() {
        let status = |lines: &[&str]| lines.iter().map(|l| format!("[GNUPG:] {l}\n")).collect::<Vec<_>>().concat();
        let good = ["GOODSIG 0123 Ann <ann@x>", "VALIDSIG AAAA 2023-11-14 1700000000 0 4 0 22 10 00 BBBB"];
        let yes = judge_gpg(&status(&good), true).ok();
        assert_eq!(yes, Some(Signature { signer: "Ann <ann@x>".into(), key: "BBBB".into() }));
        assert!(judge_gpg(&status(&good), false).is_err());
        assert!(judge_gpg(&status(&good[..1]), true).is_err());
        assert!(judge_gpg(&status(&[good[0], good[1], good[0], good[1]]), true).is_err());
        assert!(judge_gpg(&status(&[good[0], good[1], "EXPKEYSIG 0123 Ann"]), true).is_err());
        assert!(judge_gpg("GOODSIG 0123 Ann\nVALIDSIG AAAA BBBB\n", true).is_err(), "without gpg's own mark");
        assert!(matches!(judge_gpg(&status(&["NO_PUBKEY 0123"]), false), Err(Verdict::NotTrusted(_))));
    }
}
