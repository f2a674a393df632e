//! Signed documents: what a repository says about itself. A document is JSON that anybody can read; the signature is over
//! its exact bytes, the repository, and the key it lies under, so that it proves nothing anywhere else.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::keys::{PublicKey, SigningKey};
use super::store::{Body, Key, Store, StoreError};

/// What a document may be as large as; manifests are a few KiB, seals a few dozen.
const LARGEST: usize = 4 << 20;

#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0} is no document of a repository: {1}")]
    Malformed(Key, String),
    #[error("{0} is signed by {1}, whom this repository does not know")]
    UnknownSigner(Key, PublicKey),
    #[error("{0} was changed, or written for another place: its signature does not hold")]
    Forged(Key),
}

impl DocumentError {
    /// Whether it is about this one document: others may be read.
    pub fn is_about_object(&self) -> bool {
        match self {
            Self::Store(error) => error.is_about_object(),
            Self::Malformed(..) | Self::UnknownSigner(..) | Self::Forged(_) => true,
        }
    }

    pub fn object(&self) -> String {
        match self {
            Self::Store(error) => error.object.clone(),
            Self::Malformed(key, _) | Self::UnknownSigner(key, _) | Self::Forged(key) => key.to_string(),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Envelope {
    signed: Box<RawValue>,
    key: PublicKey,
    signature: String,
}

/// Whose signatures count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signers(BTreeSet<PublicKey>);

impl Signers {
    pub fn add(&mut self, key: PublicKey) {
        self.0.insert(key);
    }

    pub fn knows(&self, key: &PublicKey) -> bool {
        self.0.contains(key)
    }

    pub fn iter(&self) -> impl Iterator<Item = &PublicKey> {
        self.0.iter()
    }
}

/// Where signatures are made for: one repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain(pub String);

impl Domain {
    fn message(&self, place: &Key, signed: &str) -> Vec<u8> {
        format!("midship document 1\n{}\n{place}\n{signed}", self.0).into_bytes()
    }

    pub fn sign<T: Serialize>(&self, place: &Key, document: &T, key: &SigningKey) -> Vec<u8> {
        let signed = serde_json::to_string(document).expect("documents are plain data");
        let signature = STANDARD.encode(key.sign(&self.message(place, &signed)));
        let signed = RawValue::from_string(signed).expect("it was just written");
        let envelope = Envelope { signed, key: key.public(), signature };
        let mut bytes = serde_json::to_vec(&envelope).expect("an envelope is plain data");
        bytes.push(b'\n');
        bytes
    }

    pub fn open<T: DeserializeOwned>(&self, place: &Key, bytes: &[u8], signers: &Signers) -> Result<T, DocumentError> {
        let (document, key) = self.open_self_signed(place, bytes)?;
        if !signers.knows(&key) {
            return Err(DocumentError::UnknownSigner(place.clone(), key));
        }
        Ok(document)
    }

    /// The document and who signed it; whether that one is to be trusted, the caller knows.
    pub fn open_self_signed<T: DeserializeOwned>(
        &self,
        place: &Key,
        bytes: &[u8],
    ) -> Result<(T, PublicKey), DocumentError> {
        let malformed = |reason: String| DocumentError::Malformed(place.clone(), reason);
        if bytes.len() > LARGEST {
            return Err(malformed(format!("it has {} bytes", bytes.len())));
        }
        let envelope: Envelope = serde_json::from_slice(bytes).map_err(|error| malformed(error.to_string()))?;
        let signature = STANDARD.decode(&envelope.signature).map_err(|error| malformed(error.to_string()))?;
        if !envelope.key.verifies(&self.message(place, envelope.signed.get()), &signature) {
            return Err(DocumentError::Forged(place.clone()));
        }
        let document = serde_json::from_str(envelope.signed.get()).map_err(|error| malformed(error.to_string()))?;
        Ok((document, envelope.key))
    }
}

/// Writes bytes that must not be there yet, or be there exactly so already.
pub async fn put_same(store: &dyn Store, place: &Key, bytes: Vec<u8>) -> Result<(), StoreError> {
    let body = Body::new(bytes);
    match store.put_new(place, body.clone()).await {
        Err(error) if error.already_exists() && store.get(place, None).await? == body.bytes => Ok(()),
        answer => answer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_proves_something_only_where_it_was_written_for() {
        let key = SigningKey::generate();
        let mut signers = Signers::default();
        signers.add(key.public());
        let place = |text: &str| Key::parse(text).expect("a key");
        let (here, domain) = (place("c/manifest.json"), Domain("one".into()));
        let bytes = domain.sign(&here, &vec![1, 2], &key);
        assert_eq!(domain.open::<Vec<i32>>(&here, &bytes, &signers).expect("ours"), [1, 2]);
        let open = |domain: &str, at: &str, bytes: &[u8], signers: &Signers| {
            Domain(domain.into()).open::<Vec<i32>>(&place(at), bytes, signers).expect_err("not ours").to_string()
        };
        assert!(open("one", "c/other.json", &bytes, &signers).starts_with("c/other.json was changed, or written for"));
        assert!(open("two", "c/manifest.json", &bytes, &signers).contains("its signature does not hold"));
        assert!(open("one", "c/manifest.json", &bytes, &Signers::default()).contains("does not know"));
        let changed = String::from_utf8(bytes).expect("text").replace("[1,2]", "[1,3]");
        assert!(open("one", "c/manifest.json", changed.as_bytes(), &signers).contains("was changed"));
    }
}
