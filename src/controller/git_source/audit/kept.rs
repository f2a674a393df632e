//! Records that could not be pushed yet, kept in ConfigMaps beside their source: they outlive the controller. They hold
//! nothing secret, but a record that somebody else put there is no record: each carries a keyed digest.

use std::collections::BTreeMap;
use std::io::Read;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, ListParams, ObjectMeta, PostParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde::{Deserialize, Serialize};

use crate::api::GitSource;
use crate::cluster::problem::Problem;
use crate::diff::Redaction;
use crate::plan::source::source_label;
use crate::repo::{Draft, Edit, Person, Record};

/// The source whose record an object holds.
const LABEL: &str = "midship.dev/audit-of";
/// How many parts the record has.
const PARTS: &str = "midship.dev/parts";
/// The digest over the whole record.
const SEAL: &str = "midship.dev/seal";
/// What the digest is for, so that no other digest with the same key is taken for one.
const PURPOSE: &str = "a record that waits";
/// The field of a part.
const FIELD: &str = "record";
/// Bytes in one part: an object takes 1 MiB with everything that belongs to it.
const PART_BYTES: usize = 900 << 10;
/// The most that a record unpacks to.
const MOST_BYTES: u64 = 256 << 20;

/// Where the records of one source are kept.
pub struct Kept {
    api: Api<ConfigMap>,
    source: String,
    label: String,
    owner: Option<OwnerReference>,
}

/// A record as it is stored.
#[derive(Serialize, Deserialize)]
struct Stored {
    id: String,
    marker: String,
    author: StoredPerson,
    committer: StoredPerson,
    message: String,
    trailers: Vec<(String, String)>,
    /// Paths, and what they hold from then on.
    edits: Vec<(String, Option<String>)>,
}

#[derive(Serialize, Deserialize)]
struct StoredPerson {
    name: String,
    email: String,
    seconds: i64,
    offset_minutes: i32,
}

impl Kept {
    pub fn new(source: &GitSource, client: &Client) -> Self {
        let namespace = source.namespace().unwrap_or_default();
        Self {
            api: Api::namespaced(client.clone(), &namespace),
            source: source.name_any(),
            label: source_label(&namespace, &source.name_any()),
            owner: source.controller_owner_ref(&()),
        }
    }

    /// Everything that is kept, the oldest first, each with its number.
    pub async fn load(&self, key: &Redaction) -> Result<Vec<(u64, Record)>, String> {
        let ours = ListParams::default().labels(&format!("{LABEL}={}", self.label));
        let list = self.api.list(&ours).await.map_err(|error| unread(&error))?;
        let mut parts: BTreeMap<u64, BTreeMap<usize, ConfigMap>> = BTreeMap::new();
        for map in list.items {
            if let Some((number, part)) = self.number_of(&map.name_any()) {
                parts.entry(number).or_default().insert(part, map);
            }
        }
        let mut records = Vec::new();
        for (number, parts) in parts {
            match assemble(&parts, key) {
                Ok(record) => records.push((number, record)),
                // half of it was written when the controller died; what it would have told is told by what comes next
                Err(reason) => tracing::warn!(source = %self.label, number, reason, "a kept record is left out"),
            }
        }
        Ok(records)
    }

    /// Keeps a record. What is there of it already is left as it is.
    pub async fn keep(&self, number: u64, record: &Record, key: &Redaction) -> Result<(), String> {
        let (packed, seal) = pack(record, key)?;
        let parts: Vec<&[u8]> = packed.chunks(PART_BYTES).collect();
        for (part, bytes) in parts.iter().enumerate() {
            let map = ConfigMap {
                metadata: ObjectMeta {
                    name: Some(self.name(number, part)),
                    labels: Some(BTreeMap::from([(LABEL.to_owned(), self.label.clone())])),
                    annotations: Some(BTreeMap::from([
                        (PARTS.to_owned(), parts.len().to_string()),
                        (SEAL.to_owned(), seal.clone()),
                    ])),
                    owner_references: self.owner.clone().map(|owner| vec![owner]),
                    ..ObjectMeta::default()
                },
                binary_data: Some(BTreeMap::from([(FIELD.to_owned(), ByteString(bytes.to_vec()))])),
                immutable: Some(true),
                ..ConfigMap::default()
            };
            match self.api.create(&PostParams::default(), &map).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                Err(error) => {
                    return Err(format!("the record cannot be kept in the cluster: {}", Problem::from_kube(&error)));
                }
            }
        }
        Ok(())
    }

    /// Forgets a record that was pushed.
    pub async fn forget(&self, number: u64) -> Result<(), String> {
        for part in 0.. {
            match self.api.delete(&self.name(number, part), &DeleteParams::default()).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.code == 404 => break,
                Err(error) => {
                    return Err(format!("a pushed record cannot be removed: {}", Problem::from_kube(&error)));
                }
            }
        }
        Ok(())
    }

    fn name(&self, number: u64, part: usize) -> String {
        format!("{}-audit-{number:013}-{part}", self.source)
    }

    fn number_of(&self, name: &str) -> Option<(u64, usize)> {
        let (number, part) = name.strip_prefix(&self.source)?.strip_prefix("-audit-")?.split_once('-')?;
        Some((number.parse().ok()?, part.parse().ok()?))
    }
}

fn unread(error: &kube::Error) -> String {
    format!("records that wait cannot be read: {}", Problem::from_kube(error))
}

fn assemble(parts: &BTreeMap<usize, ConfigMap>, key: &Redaction) -> Result<Record, String> {
    let first = parts.get(&0).ok_or("its first part is missing")?;
    let annotation = |name: &str| first.annotations().get(name).cloned().unwrap_or_default();
    if annotation(PARTS) != parts.len().to_string() {
        return Err(format!("it has {} of {} parts", parts.len(), annotation(PARTS)));
    }
    let mut packed = Vec::new();
    for part in parts.values() {
        packed.extend(part.binary_data.iter().filter_map(|data| data.get(FIELD)).flat_map(|bytes| &bytes.0));
    }
    unpack(&packed, &annotation(SEAL), key)
}

fn pack(record: &Record, key: &Redaction) -> Result<(Vec<u8>, String), String> {
    let Record { id, marker, draft: Draft { author, committer, message, trailers, edits } } = record;
    let text = |edit: &Edit| {
        let content = edit.content.as_ref().map(|bytes| String::from_utf8(bytes.clone())).transpose();
        content.map(|content| (edit.path.clone(), content)).map_err(|_| format!("{} is no text", edit.path))
    };
    let stored = Stored {
        id: id.clone(),
        marker: marker.clone(),
        author: person(author),
        committer: person(committer),
        message: message.clone(),
        trailers: trailers.clone(),
        edits: edits.iter().map(text).collect::<Result<_, _>>()?,
    };
    let plain = serde_json::to_vec(&stored).map_err(|error| error.to_string())?;
    let packed = zstd::stream::encode_all(plain.as_slice(), 0).map_err(|error| error.to_string())?;
    let seal = key.seal(PURPOSE, &packed);
    Ok((packed, seal))
}

fn unpack(packed: &[u8], seal: &str, key: &Redaction) -> Result<Record, String> {
    if !key.is_sealed(PURPOSE, packed, seal) {
        return Err("it was not written by this source's controller".to_owned());
    }
    let decoder = zstd::stream::read::Decoder::new(packed).map_err(|error| error.to_string())?;
    let mut plain = Vec::new();
    decoder.take(MOST_BYTES).read_to_end(&mut plain).map_err(|error| error.to_string())?;
    let stored: Stored = serde_json::from_slice(&plain).map_err(|error| error.to_string())?;
    let back = |person: StoredPerson| Person {
        name: person.name,
        email: person.email,
        seconds: person.seconds,
        offset_minutes: person.offset_minutes,
    };
    let edit = |(path, content): (String, Option<String>)| Edit { path, content: content.map(String::into_bytes) };
    Ok(Record {
        id: stored.id,
        marker: stored.marker,
        draft: Draft {
            author: back(stored.author),
            committer: back(stored.committer),
            message: stored.message,
            trailers: stored.trailers,
            edits: stored.edits.into_iter().map(edit).collect(),
        },
    })
}

fn person(person: &Person) -> StoredPerson {
    StoredPerson {
        name: person.name.clone(),
        email: person.email.clone(),
        seconds: person.seconds,
        offset_minutes: person.offset_minutes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let person = Person { name: "Ada".into(), email: "ada@example.com".into(), seconds: 5, offset_minutes: 60 };
        let edits = vec![
            Edit { path: "a/record.json".into(), content: Some(b"{}".to_vec()) },
            Edit { path: "a/gone.yaml".into(), content: None },
        ];
        let draft = Draft {
            author: person.clone(),
            committer: person,
            message: "What was done".into(),
            trailers: vec![("Midship-Cluster".into(), "test".into())],
            edits,
        };
        Record { id: "1".into(), marker: "a/record.json".into(), draft }
    }

    #[test]
    fn a_record_comes_back_as_it_was() {
        let key = Redaction::new(b"a key of sixteen");
        let (packed, seal) = pack(&record(), &key).expect("it is text");
        assert_eq!(unpack(&packed, &seal, &key), Ok(record()));
    }

    #[test]
    fn a_record_that_others_wrote_or_changed_is_none() {
        let key = Redaction::new(b"a key of sixteen");
        let (mut packed, seal) = pack(&record(), &key).expect("it is text");
        let refused = Err("it was not written by this source's controller".to_owned());
        assert_eq!(unpack(&packed, &seal, &Redaction::new(b"another key of it")), refused);
        packed[5] ^= 1;
        assert_eq!(unpack(&packed, &seal, &key), refused);
    }
}
