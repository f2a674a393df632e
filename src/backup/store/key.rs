//! Keys of objects: where something lies in a store. Parsed once, so that no key can leave its folder or mean two things.

use std::fmt;

/// The key of an object, relative to the store: segments joined by `/`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(String);

/// Why a text is no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no key of a store: {reason}")]
pub struct KeyError {
    text: String,
    reason: &'static str,
}

impl Key {
    /// What every store and file system takes, with room for a prefix.
    const LONGEST: usize = 800;
    const LONGEST_SEGMENT: usize = 200;

    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let refuse = |reason| Err(KeyError { text: text.chars().take(Self::LONGEST).collect(), reason });
        if text.len() > Self::LONGEST {
            return refuse("it is longer than 800 bytes");
        }
        for segment in text.split('/') {
            if segment.is_empty() {
                return refuse("it has an empty segment");
            }
            if segment.len() > Self::LONGEST_SEGMENT {
                return refuse("it has a segment of more than 200 bytes");
            }
            // this keeps out `..`, and the files that the file system store has for itself
            if segment.starts_with('.') {
                return refuse("a segment starts with '.'");
            }
            if !segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) {
                return refuse("only letters, digits, '.', '_' and '-' are allowed");
            }
        }
        Ok(Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last segment.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_never_leaves_its_folder() {
        for wrong in ["", "/", "a//b", "../a", "a/../b", "a/.", ".tmp/x", "a b", "a\\b", "a/\0", "ä", "a/"] {
            assert!(Key::parse(wrong).is_err(), "{wrong:?}");
        }
        assert!(Key::parse(&"a/".repeat(500)).is_err());
        assert_eq!(Key::parse("c/1-2/b/manifest.json").expect("a key").name(), "manifest.json");
    }
}
