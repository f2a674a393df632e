//! Secrets in what people read: a keyed digest instead of each value, so that a change shows and the value does not.

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

/// The key of the digests. With another key the same value looks different.
pub struct Redaction {
    key: Vec<u8>,
}

impl Redaction {
    pub fn new(key: &[u8]) -> Self {
        Self { key: key.to_vec() }
    }

    /// A Secret with digests in the place of its values. Annotations go too: they like to hold copies.
    pub fn of_secret(&self, secret: &Value) -> Value {
        let mut shown = secret.clone();
        for field in ["data", "stringData"] {
            if let Some(Value::Object(values)) = shown.get_mut(field) {
                for (key, value) in values.iter_mut() {
                    *value = json!(self.digest(key, value));
                }
            }
        }
        if let Some(Value::Object(annotations)) = shown.pointer_mut("/metadata/annotations") {
            for (key, value) in annotations.iter_mut() {
                *value = json!(self.digest(key, value));
            }
        }
        shown
    }

    /// A digest over bytes that nobody can make who has not the key. It is good for one purpose alone.
    pub fn seal(&self, purpose: &str, bytes: &[u8]) -> String {
        hex::encode(self.over(purpose, bytes).finalize().into_bytes())
    }

    /// Whether these bytes were sealed with this key.
    pub fn is_sealed(&self, purpose: &str, bytes: &[u8], seal: &str) -> bool {
        hex::decode(seal).is_ok_and(|seal| self.over(purpose, bytes).verify_slice(&seal).is_ok())
    }

    fn over(&self, purpose: &str, bytes: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("any length will do");
        // keys of a Secret's data have no spaces: no digest of a value is ever one of these
        mac.update(b"seal ");
        mac.update(purpose.as_bytes());
        mac.update(&[0]);
        mac.update(bytes);
        mac
    }

    fn digest(&self, key: &str, value: &Value) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("any length will do");
        mac.update(key.as_bytes());
        mac.update(&[0]);
        mac.update(value.to_string().as_bytes());
        format!("(secret {})", hex::encode(&mac.finalize().into_bytes()[..6]))
    }
}
