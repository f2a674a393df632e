//! One value: `ENC[AES256_GCM,data:…,iv:…,tag:…,type:…]`, bound to its path in the document.

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::aes::Aes256;
use aes_gcm::aes::cipher::consts::U32;
use aes_gcm::{AesGcm, Nonce};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Number, Value};

const IV_BYTES: usize = 32;

/// The cipher of one file.
pub struct Cipher {
    aes: AesGcm<Aes256, U32>,
}

/// A value as it was before it was encrypted.
#[derive(Debug, PartialEq)]
pub enum Plain {
    Text(String),
    Integer(i64),
    Float(f64),
    Bool(bool),
    /// It was a comment and is no value.
    Comment,
    /// Of a document that SOPS does not encrypt: a number beyond the others.
    Other(String),
}

/// Why a value stays closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    #[error("it does not have the form ENC[AES256_GCM,data:…,iv:…,tag:…,type:…]")]
    Form,
    #[error("it is not what was encrypted here; it was changed, or moved from another place or file")]
    Forged,
    #[error("it says that it is of a type that it is not")]
    Type,
}

impl Cipher {
    pub fn new(key: &[u8; 32]) -> Self {
        Self { aes: AesGcm::new(key.into()) }
    }

    /// Opens a value; `additional` is what it is bound to.
    pub fn open(&self, text: &str, additional: &str) -> Result<Plain, Closed> {
        if text.is_empty() {
            return Ok(Plain::Text(String::new()));
        }
        let Parts { mut data, iv, tag, kind } = Parts::of(text).ok_or(Closed::Form)?;
        if iv.len() != IV_BYTES {
            return Err(Closed::Form);
        }
        data.extend_from_slice(&tag);
        let payload = Payload { msg: &data, aad: additional.as_bytes() };
        let plain = self.aes.decrypt(Nonce::<U32>::from_slice(&iv), payload).map_err(|_| Closed::Forged)?;
        let text = String::from_utf8(plain).map_err(|_| Closed::Type)?;
        Ok(match kind {
            "str" | "bytes" | "time" => Plain::Text(text),
            "int" => Plain::Integer(text.parse().map_err(|_| Closed::Type)?),
            "float" => Plain::Float(text.parse().map_err(|_| Closed::Type)?),
            "bool" => match text.as_str() {
                "True" | "true" | "TRUE" | "1" | "t" | "T" => Plain::Bool(true),
                "False" | "false" | "FALSE" | "0" | "f" | "F" => Plain::Bool(false),
                _ => return Err(Closed::Type),
            },
            "comment" => Plain::Comment,
            _ => return Err(Closed::Type),
        })
    }
}

struct Parts<'a> {
    data: Vec<u8>,
    iv: Vec<u8>,
    tag: Vec<u8>,
    kind: &'a str,
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Option<Self> {
        let inner = text.strip_prefix("ENC[AES256_GCM,")?.strip_suffix(']')?;
        let mut parts = inner.split(',');
        let mut next = |name: &str| parts.next()?.strip_prefix(name);
        let decode = |text: &str| BASE64.decode(text).ok();
        let (data, iv, tag) = (decode(next("data:")?)?, decode(next("iv:")?)?, decode(next("tag:")?)?);
        let kind = next("type:")?;
        parts.next().is_none().then_some(Self { data, iv, tag, kind })
    }
}

/// Whether a text has the form of an encrypted value: there are texts that only begin like one.
pub fn has_form(text: &str) -> bool {
    Parts::of(text).is_some()
}

/// Whether a text looks like an encrypted value.
pub fn looks_encrypted(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.starts_with("ENC[AES256_GCM,"))
}

impl Plain {
    /// A value that was not encrypted.
    pub fn of(value: &Value) -> Self {
        match value {
            Value::String(text) => Self::Text(text.clone()),
            Value::Bool(value) => Self::Bool(*value),
            Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(integer), _) => Self::Integer(integer),
                (None, Some(float)) if number.is_f64() => Self::Float(float),
                _ => Self::Other(number.to_string()),
            },
            _ => Self::Other(String::new()),
        }
    }

    /// What of it the MAC is made from.
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Text(text) | Self::Other(text) => text.clone().into_bytes(),
            Self::Integer(integer) => integer.to_string().into_bytes(),
            // never with an exponent, and the shortest that means the same
            Self::Float(float) => float.to_string().into_bytes(),
            Self::Bool(true) => b"True".to_vec(),
            Self::Bool(false) => b"False".to_vec(),
            Self::Comment => Vec::new(),
        }
    }

    pub fn into_value(self) -> Option<Value> {
        Some(match self {
            Self::Text(text) | Self::Other(text) => Value::String(text),
            Self::Integer(integer) => Value::from(integer),
            Self::Float(float) => Number::from_f64(float).map_or(Value::Null, Value::Number),
            Self::Bool(value) => Value::Bool(value),
            Self::Comment => return None,
        })
    }
}
