//! Ed25519: who wrote what says that a backup is complete.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::encoding::{AsBigEndian, Curve25519SeedBin};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use zeroize::Zeroizing;

use crate::backup::digest::Digest;
use crate::secret::Secret;

const PUBLIC: &str = "ed25519:";
const PRIVATE: &str = "ed25519-private:";

/// A public key that signatures are checked with.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Its name in a repository.
    pub fn id(&self) -> String {
        Digest::of(&self.0).short(16)
    }

    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0).verify(message, signature).is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PUBLIC}{}", STANDARD.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for PublicKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bytes = text.trim().strip_prefix(PUBLIC).and_then(|rest| STANDARD.decode(rest).ok());
        let key = bytes.and_then(|bytes| bytes.try_into().ok()).map(Self);
        key.ok_or_else(|| format!("{text:?} is no signing key; it is to begin with {PUBLIC}"))
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// The private key of a cluster. Never printed.
pub struct SigningKey(Ed25519KeyPair);

impl SigningKey {
    pub fn generate() -> Self {
        Self(Ed25519KeyPair::generate().expect("the system gives random numbers"))
    }

    pub fn public(&self) -> PublicKey {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.0.public_key().as_ref());
        PublicKey(bytes)
    }

    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(message).as_ref().to_vec()
    }

    /// As it is kept in a Secret.
    pub fn secret(&self) -> Secret {
        let seed = self.0.seed().expect("a key that was made or read has its seed");
        let bytes: Curve25519SeedBin<'_> = seed.as_be_bytes().expect("a seed is 32 bytes");
        Secret::new(format!("{PRIVATE}{}", STANDARD.encode(bytes.as_ref())))
    }

    pub fn parse(secret: &Secret) -> Result<Self, String> {
        let wrong = || format!("this is no signing key of a repository; it is to begin with {PRIVATE}");
        let text = secret.expose().trim().strip_prefix(PRIVATE).ok_or_else(wrong)?;
        let seed = Zeroizing::new(STANDARD.decode(text).map_err(|_| wrong())?);
        Ed25519KeyPair::from_seed_unchecked(&seed).map(Self).map_err(|_| wrong())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[private key of {}]", self.public())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_holds_for_one_message_and_one_key() {
        let key = SigningKey::generate();
        let signature = key.sign(b"message");
        assert!(key.public().verifies(b"message", &signature));
        assert!(!key.public().verifies(b"Message", &signature));
        assert!(!SigningKey::generate().public().verifies(b"message", &signature));
        let again = SigningKey::parse(&key.secret()).expect("reads back");
        assert_eq!(again.public(), key.public());
        assert_eq!(key.public().to_string().parse(), Ok(key.public()));
        assert!(!format!("{key:?}").contains("private:"));
    }
}
