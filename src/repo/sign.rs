//! Signing commits with an SSH key, through `ssh-keygen`.

use super::bounds::Bounds;
use super::child::{bare_command, private_folder, run};
use super::credentials::Secret;
use super::error::{RemoteError, clean};

/// Who signs.
#[derive(Clone, Debug)]
pub struct Signer {
    private_key: Secret,
}

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    #[error("the commit cannot be signed: {0}; the key has to be an SSH private key without passphrase")]
    Refused(String),
    #[error("the commit cannot be signed: {0}")]
    Stopped(#[from] RemoteError),
}

impl Signer {
    /// Signs with an SSH private key that has no passphrase.
    pub fn ssh(private_key: Secret) -> Self {
        Self { private_key }
    }

    /// The armored signature of a commit's text.
    pub(super) fn sign(&self, payload: &[u8], bounds: &Bounds) -> Result<String, SignError> {
        let folder = private_folder(&[("key", self.private_key.expose())])?;
        let mut command = bare_command("ssh-keygen");
        command.args(["-Y", "sign", "-n", "git", "-f"]).arg(folder.path().join("key"));
        let done = run(command, payload, bounds)?;
        let text = String::from_utf8_lossy(&done.output).into_owned();
        if done.success && text.starts_with("-----BEGIN SSH SIGNATURE-----") {
            Ok(text)
        } else {
            Err(SignError::Refused(clean(&done.complaint, 200)))
        }
    }
}
