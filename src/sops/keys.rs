//! Who may open files: age identities. They can be neither printed nor compared but by a digest of their public halves.

use std::fmt;
use std::io::Read;

use age::x25519::Identity;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use zeroize::Zeroizing;

/// The most that the encrypted form of a data key may have.
const LONGEST: usize = 16 << 10;

/// Why there are no keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    #[error("no entry ends with .agekey; keep each age identity (AGE-SECRET-KEY-1…) under such a name")]
    None,
    #[error("{name} holds no age identity; it has a line that begins with AGE-SECRET-KEY-1, as age-keygen writes it")]
    Empty { name: String },
    #[error("{name}:{line}: this is no age identity (AGE-SECRET-KEY-1…); other kinds of keys are not used")]
    Malformed { name: String, line: usize },
}

/// The identities of a source.
#[derive(Clone)]
pub struct Keys {
    identities: Vec<Identity>,
    recipients: Vec<String>,
}

impl Keys {
    /// Reads every entry whose name ends with `.agekey`; lines that are empty or begin with # are skipped.
    pub fn parse<'a>(entries: impl Iterator<Item = (&'a str, &'a [u8])>) -> Result<Self, KeysError> {
        let mut keys = Self { identities: Vec::new(), recipients: Vec::new() };
        for (name, bytes) in entries.filter(|(name, _)| name.ends_with(".agekey")) {
            let before = keys.identities.len();
            let malformed = |line: usize| KeysError::Malformed { name: name.to_owned(), line };
            let text = std::str::from_utf8(bytes).map_err(|_| malformed(1))?;
            for (number, line) in text.lines().enumerate() {
                let line = line.trim();
                if line.is_empty() || line.starts_with('#') {
                    continue;
                }
                keys.identities.push(line.parse().map_err(|_| malformed(number + 1))?);
            }
            if keys.identities.len() == before {
                return Err(KeysError::Empty { name: name.to_owned() });
            }
        }
        if keys.identities.is_empty() {
            return Err(KeysError::None);
        }
        keys.recipients = keys.identities.iter().map(|identity| identity.to_public().to_string()).collect();
        Ok(keys)
    }

    /// The public halves.
    pub fn recipients(&self) -> &[String] {
        &self.recipients
    }

    /// What was encrypted for one of us, in age's own text form.
    pub(super) fn open(&self, armored: &str) -> Option<Zeroizing<Vec<u8>>> {
        let binary = dearmored(armored)?;
        self.identities.iter().find_map(|identity| {
            let decryptor = age::Decryptor::new_buffered(binary.as_slice()).ok()?;
            let mut plain = Zeroizing::new(Vec::new());
            let reader = decryptor.decrypt(std::iter::once(identity as &dyn age::Identity)).ok()?;
            reader.take(LONGEST as u64).read_to_end(&mut plain).ok()?;
            Some(plain)
        })
    }
}

/// The bytes within `-----BEGIN AGE ENCRYPTED FILE-----` and its end.
fn dearmored(text: &str) -> Option<Vec<u8>> {
    if text.len() > LONGEST {
        return None;
    }
    let inner = text.trim().strip_prefix("-----BEGIN AGE ENCRYPTED FILE-----")?;
    let inner = inner.strip_suffix("-----END AGE ENCRYPTED FILE-----")?;
    let inner: String = inner.split_ascii_whitespace().collect();
    BASE64.decode(inner).ok()
}

impl PartialEq for Keys {
    fn eq(&self, other: &Self) -> bool {
        self.recipients == other.recipients
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.recipients.join(", "))
    }
}
