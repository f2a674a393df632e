//! What names a package in a registry: `oci://registry.example.com/middleware/cache:1.0.0`, with a digest where it is pinned.

use std::fmt;

use super::RegistryError;

/// What a reference to a registry begins with.
pub const SCHEME: &str = "oci://";

/// A registry, a repository in it, and what of it is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Host, with a port where it has one.
    pub registry: String,
    pub repository: String,
    pub tag: Option<String>,
    /// `sha256:` and 64 digits; counts before the tag.
    pub digest: Option<String>,
}

impl Reference {
    pub fn parse(text: &str) -> Result<Self, RegistryError> {
        let wrong = |reason| RegistryError::Reference { text: text.to_owned(), reason };
        let rest =
            text.strip_prefix(SCHEME).ok_or_else(|| wrong("write it like oci://registry.example.com/name:1.0.0"))?;
        let (rest, digest) = match rest.split_once('@') {
            Some((rest, digest)) if is_digest(digest) => (rest, Some(digest.to_owned())),
            Some(_) => return Err(wrong("what follows @ is sha256: and 64 hexadecimal digits")),
            None => (rest, None),
        };
        let (registry, path) =
            rest.split_once('/').ok_or_else(|| wrong("a registry and a repository, with a / between"))?;
        let (repository, tag) = match path.rsplit_once(':') {
            Some((repository, tag)) => (repository, Some(tag.to_owned())),
            None => (path, None),
        };
        if !is_host(registry) {
            return Err(wrong("the registry is a host's name, with a port where it has one"));
        }
        if !repository.split('/').all(is_part) || repository.len() > 255 {
            return Err(wrong("a repository's name has lower-case letters, digits, '.', '_' and '-', between slashes"));
        }
        if tag.as_deref().is_some_and(|tag| !is_tag(tag)) {
            return Err(wrong("a tag has at most 128 letters, digits, '.', '_' and '-'"));
        }
        Ok(Self { registry: registry.to_owned(), repository: repository.to_owned(), tag, digest })
    }

    /// What the registry is asked for.
    pub fn wanted(&self) -> Option<&str> {
        self.digest.as_deref().or(self.tag.as_deref())
    }

    #[must_use]
    pub fn with_tag(&self, tag: &str) -> Self {
        Self { tag: Some(tag.to_owned()), digest: None, ..self.clone() }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

pub(super) fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:")
        .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)))
}

fn is_host(text: &str) -> bool {
    let (host, port) = text.split_once(':').unwrap_or((text, "1"));
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-';
    !host.is_empty() && host.bytes().all(plain) && port.parse::<u16>().is_ok_and(|port| port > 0)
}

fn is_part(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends = |byte: Option<&u8>| byte.is_some_and(|byte| plain(*byte));
    let bytes = text.as_bytes();
    ends(bytes.first()) && ends(bytes.last()) && bytes.iter().all(|byte| plain(*byte) || b"._-".contains(byte))
}

fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= 128
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|byte| word(byte) || byte == b'.' || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read_and_written_alike() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        for text in ["oci://localhost:5000/cache:1.0.0", "oci://r.example.com/team/middleware/cache", "oci://r.io/a:b"]
        {
            assert_eq!(Reference::parse(text).expect("a reference").to_string(), text);
            let pinned = format!("{text}@{digest}");
            let read = Reference::parse(&pinned).expect("a reference");
            assert_eq!((read.to_string(), read.wanted()), (pinned, Some(digest.as_str())));
        }
    }

    #[test]
    fn what_is_no_reference_is_told_why() {
        for (text, why) in [
            ("registry.example.com/cache:1", "write it like oci://"),
            ("oci://registry.example.com", "with a / between"),
            ("oci://a b/cache", "a host's name"),
            ("oci://host:99999/cache", "a host's name"),
            ("oci://host/Cache", "lower-case letters"),
            ("oci://host//cache", "lower-case letters"),
            ("oci://host/../cache", "lower-case letters"),
            ("oci://host/cache:1 0", "a tag has"),
            ("oci://host/cache@sha256:12", "64 hexadecimal digits"),
        ] {
            let error = Reference::parse(text).expect_err(text).to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
