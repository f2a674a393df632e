//! Where everything lies in a repository. Names of tenants never appear: only identities that the cluster gave.
//!
//! ```text
//! repo.json                                         the repository itself
//! signers/<key id>.json                             further signing keys, each vouched for by an earlier one
//! keys/<epoch>/{epoch.json,canary.age,<slot>.age}   what backups are encrypted to, wrapped for each recipient
//! c/<cluster uid>/<instance uid>/b/<id>/            one backup
//!     attempt.json, chunks/<n>-<sha256>.zst.age, index.jsonl.zst.age, manifest.json, verify/<time>.<level>.json,
//!     wishes/<time>.json, tombstone.json
//! log/<system>/<timeline>/<number>-<segment>.{claim,zst.age} logs, and seals/<first>.json over ranges of them
//! ```

use std::fmt;
use std::str::FromStr;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, de};

use super::digest::Digest;
use super::id::Id;
use super::store::Key;

/// An identity that somebody else gave: of a cluster, an instance, a system that writes logs, a segment of its log.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Uid(String);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no identity: use 1 to 64 letters, digits, '-' and '_'")]
pub struct UidError(String);

impl Uid {
    pub fn parse(text: &str) -> Result<Self, UidError> {
        let fine = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if text.is_empty() || text.len() > 64 || !fine {
            return Err(UidError(text.chars().take(64).collect()));
        }
        Ok(Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Uid {
    type Err = UidError;

    fn from_str(text: &str) -> Result<Self, UidError> {
        Self::parse(text)
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Uid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

fn key(text: String) -> Key {
    Key::parse(&text).expect("made of identities, digests and numbers")
}

pub fn repository() -> Key {
    key("repo.json".into())
}

pub const SIGNERS: &str = "signers/";

pub fn signer(id: &str) -> Key {
    key(format!("{SIGNERS}{id}.json"))
}

pub const EPOCHS: &str = "keys/";

pub fn epoch_folder(epoch: &Uid) -> String {
    format!("{EPOCHS}{epoch}/")
}

pub fn epoch(epoch: &Uid) -> Key {
    key(format!("{EPOCHS}{epoch}/epoch.json"))
}

pub fn canary(epoch: &Uid) -> Key {
    key(format!("{EPOCHS}{epoch}/canary.age"))
}

pub fn slot(epoch: &Uid, recipient: &str) -> Key {
    key(format!("{EPOCHS}{epoch}/{recipient}.age"))
}

pub const CLUSTERS: &str = "c/";

/// Whose backups: an instance of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Owner {
    pub cluster: Uid,
    pub instance: Uid,
}

impl Owner {
    pub fn folder(&self) -> String {
        format!("{CLUSTERS}{}/{}/b/", self.cluster, self.instance)
    }
}

/// Whether nothing can be restored, or believed, without this object: such are locked where a store locks. Notes come and go.
/// A claim is locked only once its segment is there, for until then it may have to give way.
pub fn is_needed(key: &Key) -> bool {
    let text = key.as_str();
    if text.starts_with(CLUSTERS) {
        let of_a_backup = key.name() == "manifest.json" || key.name().starts_with("index.jsonl.");
        return of_a_backup || text.contains("/chunks/");
    }
    if text.starts_with(LOGS) {
        return !text.contains("/seals/") && !Segment::is_claim(key);
    }
    *key == repository() || text.starts_with(SIGNERS) || text.starts_with(EPOCHS)
}

/// What people want of one backup lies in this folder of it.
pub const WISHES: &str = "wishes";

/// The time in the name of a note.
fn read_time(name: &str) -> Option<Timestamp> {
    let (day, rest) = name.split_once('T')?;
    let (time, rest) = rest.split_once('-')?;
    let micros = rest.split('.').next()?;
    let (year, day) = day.split_at_checked(4)?;
    let (month, day) = day.split_at_checked(2)?;
    let (hour, time) = time.split_at_checked(2)?;
    let (minute, second) = time.split_at_checked(2)?;
    format!("{year}-{month}-{day}T{hour}:{minute}:{second}.{micros}Z").parse().ok()
}

/// Where one backup lies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    pub owner: Owner,
    pub id: Id,
}

impl Place {
    pub fn folder(&self) -> String {
        format!("{}{}/", self.owner.folder(), self.id)
    }

    fn inside(&self, name: &str) -> Key {
        key(format!("{}{name}", self.folder()))
    }

    pub fn attempt(&self) -> Key {
        self.inside("attempt.json")
    }

    pub fn manifest(&self) -> Key {
        self.inside("manifest.json")
    }

    pub fn tombstone(&self) -> Key {
        self.inside("tombstone.json")
    }

    pub fn index(&self, suffix: &str) -> Key {
        self.inside(&format!("index.jsonl{suffix}"))
    }

    pub fn chunks(&self) -> String {
        format!("{}chunks/", self.folder())
    }

    pub fn chunk(&self, number: u64, stored: &Digest, suffix: &str) -> Key {
        self.inside(&format!("chunks/{number:08}-{stored}{suffix}"))
    }

    pub fn verifications(&self) -> String {
        format!("{}verify/", self.folder())
    }

    pub fn verification(&self, at: Timestamp, level: &str) -> Key {
        self.inside(&format!("verify/{}.{level}.json", Self::time(at)))
    }

    pub fn wishes(&self) -> String {
        format!("{}{WISHES}/", self.folder())
    }

    pub fn wish(&self, at: Timestamp) -> Key {
        self.inside(&format!("{WISHES}/{}.json", Self::time(at)))
    }

    /// For a note that is to count from now on: after those that are there, whatever clock they were named by.
    pub fn after<'a>(now: Timestamp, names: impl IntoIterator<Item = &'a str>) -> Timestamp {
        let newest = names.into_iter().filter_map(read_time).max();
        let next = newest.and_then(|at| at.checked_add(SignedDuration::from_micros(1)).ok());
        next.map_or(now, |next| next.max(now))
    }

    /// Sorts as text in the order of time.
    fn time(at: Timestamp) -> String {
        at.strftime("%Y%m%dT%H%M%S-%6f").to_string()
    }
}

/// The number and the digest in the name of a chunk.
pub fn read_chunk_name(key: &Key) -> Option<(u64, Digest)> {
    let (number, rest) = key.name().split_once('-')?;
    if number.len() < 8 || !number.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some((number.parse().ok()?, rest.split('.').next()?.parse().ok()?))
}

/// A line of a log: one system, one history.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Line {
    pub system: Uid,
    pub timeline: u32,
}

/// A part of a log: its place in the sequence, which says what is missing, and the name its engine gave it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Segment {
    pub number: u64,
    pub name: Uid,
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016X}-{}", self.number, self.name)
    }
}

impl Segment {
    /// Whether the object is what was said about a segment, and not the segment.
    pub fn is_claim(key: &Key) -> bool {
        key.name().strip_suffix(".claim").is_some()
    }

    /// Reads the name of an object back, whatever it ends in.
    pub fn read(key: &Key) -> Option<Self> {
        let (number, name) = key.name().split('.').next()?.split_once('-')?;
        let number = u64::from_str_radix(number, 16).ok().filter(|_| number.len() == 16)?;
        Some(Self { number, name: Uid::parse(name).ok()? })
    }
}

pub const LOGS: &str = "log/";

impl Line {
    pub fn folder(&self) -> String {
        format!("{LOGS}{}/{:08X}/", self.system, self.timeline)
    }

    pub fn claim(&self, segment: &Segment) -> Key {
        key(format!("{}{segment}.claim", self.folder()))
    }

    pub fn segment(&self, segment: &Segment, suffix: &str) -> Key {
        key(format!("{}{segment}{suffix}", self.folder()))
    }

    pub fn seals(&self) -> String {
        format!("{}seals/", self.folder())
    }

    pub fn seal(&self, first: u64) -> Key {
        key(format!("{}seals/{first:016X}.json", self.folder()))
    }

    /// Reads the name of a folder back.
    pub fn read(system: &str, timeline: &str) -> Option<Self> {
        let timeline = u32::from_str_radix(timeline, 16).ok()?;
        Some(Self { system: Uid::parse(system).ok()?, timeline })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_restore_needs_is_told_from_notes() {
        let uid = |text| Uid::parse(text).expect("an identity");
        let owner = Owner { cluster: uid("3f1a-9"), instance: uid("77-b") };
        let place = Place { owner, id: Id::new(Timestamp::UNIX_EPOCH) };
        let line = Line { system: uid("s"), timeline: 1 };
        let segment = Segment { number: 7, name: uid("000000010000000000000007") };
        let epoch_name = uid("0001-ab");
        let needed = [
            repository(),
            signer("a"),
            epoch(&epoch_name),
            canary(&epoch_name),
            slot(&epoch_name, "b"),
            place.manifest(),
            place.index(".zst.age"),
            place.chunk(0, &Digest::of(b"x"), ".zst.age"),
            line.segment(&segment, ".zst.age"),
        ];
        assert!(needed.iter().all(is_needed), "{needed:?}");
        let at = Timestamp::UNIX_EPOCH;
        let notes = [
            place.attempt(),
            place.tombstone(),
            place.verification(at, "listed"),
            place.wish(at),
            line.claim(&segment),
            line.seal(7),
            Key::parse("probe/1").expect("a key"),
        ];
        assert!(!notes.iter().any(is_needed), "{notes:?}");
    }

    #[test]
    fn names_of_chunks_sort_by_number_and_read_back() {
        let uid = |text| Uid::parse(text).expect("an identity");
        let owner = Owner { cluster: uid("3f1a-9"), instance: uid("77-b") };
        let place = Place { owner, id: Id::new(Timestamp::UNIX_EPOCH) };
        let digest = Digest::of(b"x");
        let chunk = place.chunk(12, &digest, ".zst.age");
        assert_eq!(read_chunk_name(&chunk), Some((12, digest)));
        assert!(chunk < place.chunk(100, &digest, ".zst.age"));
        assert_eq!(read_chunk_name(&place.manifest()), None);
        let at: Timestamp = "2026-03-01T12:00:00.000009Z".parse().expect("a time");
        let note = place.verification(at, "listed");
        assert_eq!(read_time(note.name()), Some(at));
        assert_eq!(Place::after(Timestamp::UNIX_EPOCH, [note.name(), "odd"]).duration_since(at).as_micros(), 1);
        assert_eq!(Place::after(Timestamp::MAX, [note.name()]), Timestamp::MAX);
        assert!(Uid::parse("a/b").is_err() && Uid::parse("..").is_err() && Uid::parse("").is_err());
    }
}
