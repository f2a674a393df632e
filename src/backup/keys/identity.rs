//! age keys of the one kind that needs no program beside it: X25519.

use std::fmt;

use age::secrecy::ExposeSecret;

use crate::backup::digest::Digest;
use crate::secret::Secret;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyProblem {
    #[error(
        "this is a private key (AGE-SECRET-KEY-…) where a public one is wanted; whoever saw it here can read your backups: make a new one"
    )]
    PrivateForPublic,
    #[error(
        "{0:?} is no age public key; give age1 and 58 characters, as age-keygen prints it (keys of plugins, SSH keys and passphrases are not taken, because a restore by hand could not count on them)"
    )]
    NoRecipient(String),
    #[error("there is no age private key; give the line AGE-SECRET-KEY-1… that age-keygen wrote")]
    NoIdentity,
    #[error("there are several age private keys; give one")]
    SeveralIdentities,
}

/// A public key.
#[derive(Clone)]
pub struct Recipient {
    key: age::x25519::Recipient,
    text: String,
}

impl Recipient {
    pub fn parse(text: &str) -> Result<Self, KeyProblem> {
        let text = text.trim();
        if text.to_ascii_uppercase().starts_with("AGE-SECRET-KEY-") {
            return Err(KeyProblem::PrivateForPublic);
        }
        let key = text.parse().map_err(|_| KeyProblem::NoRecipient(text.chars().take(80).collect()))?;
        Ok(Self { key, text: text.to_owned() })
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Names its slot.
    pub fn fingerprint(&self) -> String {
        Digest::of(self.text.as_bytes()).short(16)
    }

    pub(super) fn key(&self) -> &age::x25519::Recipient {
        &self.key
    }
}

impl PartialEq for Recipient {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Recipient {}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A private key. Never printed.
#[derive(Clone)]
pub struct Identity(age::x25519::Identity);

impl Identity {
    pub fn generate() -> Self {
        Self(age::x25519::Identity::generate())
    }

    /// Reads what age-keygen wrote: comments, and one key.
    pub fn parse(text: &str) -> Result<Self, KeyProblem> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let mut keys = lines.map(|line| line.parse().map_err(|_| KeyProblem::NoIdentity));
        let key = keys.next().ok_or(KeyProblem::NoIdentity)??;
        match keys.next() {
            Some(_) => Err(KeyProblem::SeveralIdentities),
            None => Ok(Self(key)),
        }
    }

    pub fn recipient(&self) -> Recipient {
        let key = self.0.to_public();
        Recipient { text: key.to_string(), key }
    }

    pub fn secret(&self) -> Secret {
        Secret::new(self.0.to_string().expose_secret())
    }

    pub(super) fn key(&self) -> &age::x25519::Identity {
        &self.0
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[private key of {}]", self.recipient())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_public_keys_are_recipients() {
        let identity = Identity::generate();
        let recipient = identity.recipient();
        assert_eq!(Recipient::parse(recipient.as_str()), Ok(recipient));
        let error = Recipient::parse(identity.secret().expose()).expect_err("a private key");
        assert_eq!(error, KeyProblem::PrivateForPublic);
        for wrong in ["", "age1", "age1yubikey1qwertz", "ssh-ed25519 AAAA", "age1tag1qwerty"] {
            assert!(matches!(Recipient::parse(wrong), Err(KeyProblem::NoRecipient(_))), "{wrong}");
        }
    }

    #[test]
    fn a_file_of_age_keygen_is_an_identity_and_is_never_printed() {
        let identity = Identity::generate();
        let secret = identity.secret().expose().to_owned();
        let read = Identity::parse(&format!("# created: today\n# public key: x\n{secret}\n")).expect("one key");
        assert_eq!(read.recipient(), identity.recipient());
        assert!(!format!("{read:?} {:?}", read.secret()).contains("SECRET"));
        assert!(Identity::parse("# nothing\n").is_err());
        assert!(Identity::parse(&format!("{secret}\n{secret}")).is_err());
    }
}
