//! What a commit says about itself.

use gix::ObjectId;
use gix::objs::CommitRef;

use super::error::{clean, plain};

/// Who did something, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    pub name: String,
    pub email: String,
    /// Seconds since 1970.
    pub seconds: i64,
    /// Minutes east of UTC.
    pub offset_minutes: i32,
}

impl Person {
    /// Name and address of whoever sits here, from the configuration Git keeps for the person (not from a repository's).
    pub fn configured() -> Option<(String, String)> {
        let config = gix::config::File::from_globals().ok()?;
        let value = |key: &str| config.string(key).map(|value| value.to_string()).filter(|value| !value.is_empty());
        value("user.name").zip(value("user.email"))
    }
}

impl std::fmt::Display for Person {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} <{}>", self.name, self.email)
    }
}

/// One commit, decoded. Names are cleaned of everything that could confuse a terminal; the message
/// keeps its line breaks and nothing else below a space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    pub id: ObjectId,
    pub tree: ObjectId,
    pub parents: Vec<ObjectId>,
    pub author: Person,
    pub committer: Person,
    pub message: String,
    pub signed: bool,
}

impl Commit {
    /// Decodes the raw object; none when it is not a commit.
    pub(super) fn decode(id: ObjectId, raw: &[u8]) -> Option<Self> {
        let commit = CommitRef::from_bytes(raw, id.kind()).ok()?;
        let person = |signature: gix::actor::SignatureRef<'_>| {
            let time = signature.time().unwrap_or_default();
            Person {
                name: clean(&signature.name.to_string(), 200),
                email: clean(&signature.email.to_string(), 200),
                seconds: time.seconds,
                offset_minutes: time.offset / 60,
            }
        };
        Some(Self {
            id,
            tree: ObjectId::from_hex(commit.tree).ok()?,
            parents: commit.parents().collect(),
            author: person(commit.author().ok()?),
            committer: person(commit.committer().ok()?),
            message: plain(&commit.message.to_string()),
            signed: commit.extra_headers().find("gpgsig").is_some(),
        })
    }

    /// The first line of the message.
    pub fn summary(&self) -> &str {
        self.message.trim_start().lines().next().unwrap_or_default().trim_end()
    }

    /// The `Key: value` lines of the last paragraph, in order. Lines that begin with a space continue
    /// the one before.
    pub fn trailers(&self) -> Vec<(String, String)> {
        let text = self.message.trim();
        let Some((_, last)) = text.rsplit_once("\n\n") else {
            return Vec::new();
        };
        let mut trailers: Vec<(String, String)> = Vec::new();
        for line in last.lines() {
            match (line.starts_with([' ', '\t']), trailers.last_mut(), split_trailer(line)) {
                (true, Some((_, value)), _) => {
                    value.push(' ');
                    value.push_str(line.trim());
                }
                (false, _, Some((key, value))) => trailers.push((key.to_owned(), value.to_owned())),
                // one line that is none makes the paragraph prose
                _ => return Vec::new(),
            }
        }
        trailers
    }

    /// The last trailer of this name, whatever its case.
    pub fn trailer(&self, key: &str) -> Option<String> {
        let mut all = self.trailers();
        all.reverse();
        all.into_iter().find(|(k, _)| k.eq_ignore_ascii_case(key)).map(|(_, value)| value)
    }
}

/// An id as people are told it.
pub fn short(id: &ObjectId) -> String {
    id.to_hex_with_len(10).to_string()
}

fn split_trailer(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once(':')?;
    let good = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    good.then(|| (key, value.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(message: &str) -> Commit {
        let raw = format!(
            "tree {0}\nparent {0}\nauthor A \x1b[31m<a@x> 1700000000 +0200\ncommitter B <b@x> 1700000001 -0530\n\n{message}",
            "1".repeat(40)
        );
        Commit::decode(ObjectId::null(gix::hash::Kind::Sha1), raw.as_bytes()).expect("a commit")
    }

    #[test]
    fn people_times_and_the_first_line_are_read() {
        let commit = commit("Say\u{202e} it\n\nmore\x07\n");
        assert_eq!(commit.summary(), "Say it");
        assert_eq!(commit.author.to_string(), "A [31m <a@x>");
        assert_eq!((commit.author.seconds, commit.author.offset_minutes), (1_700_000_000, 120));
        assert_eq!(commit.committer.offset_minutes, -330);
        assert_eq!(commit.message, "Say it\n\nmore\n");
        assert_eq!(commit.parents.len(), 1);
    }

    #[test]
    fn trailers_are_the_last_paragraph_and_only_when_all_of_it_is_one() {
        let with = commit("Subject\n\nbody: no\n\nMidship-Allow-Deletions: 5\nSigned-off-by: A <a@x>\n  continued\n");
        assert_eq!(with.trailer("midship-allow-deletions").as_deref(), Some("5"));
        assert_eq!(with.trailer("Signed-off-by").as_deref(), Some("A <a@x> continued"));
        assert!(commit("Subject: is none").trailers().is_empty());
        assert!(commit("Subject\n\nKey: value\nbut this is prose").trailers().is_empty());
    }

    #[test]
    fn garbage_is_no_commit() {
        assert_eq!(Commit::decode(ObjectId::null(gix::hash::Kind::Sha1), b"hello"), None);
    }
}
