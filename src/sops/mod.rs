//! Files encrypted with SOPS: every value by itself with one data key, the data key for age recipients, and a MAC over
//! all values in their order. Knows nothing of Kubernetes or of ours; nothing that was decrypted stands in an error.

mod cipher;
mod keys;
mod metadata;
mod tree;

use serde_json::Value;
use sha2::{Digest, Sha256, Sha512};

use cipher::{Cipher, Plain, has_form};
pub use keys::{Keys, KeysError};
use metadata::{Metadata, Rules, is_for_others};
pub use tree::Tree;

/// The key of the metadata in every document.
pub const METADATA: &str = "sops";

/// Why a file cannot be opened, and where in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Which document, from 0.
    pub document: usize,
    /// Where in the document, as a JSON pointer.
    pub pointer: String,
    /// One word for machines.
    pub code: &'static str,
    pub message: String,
}

/// A document without its secrets hidden.
#[derive(Clone)]
pub struct Opened {
    pub value: Value,
    /// Where the values were that nobody may see, as JSON pointers.
    pub hidden: Vec<String>,
}

/// Whether a document was written by SOPS.
pub fn is_sealed(document: &Value) -> bool {
    document.get(METADATA).is_some_and(Value::is_object)
}

/// Decrypts all documents of a file. Either all of it is as it was encrypted, or none of it is used.
pub fn open(documents: &[Tree], keys: &Keys) -> Result<Vec<Opened>, Problem> {
    let (place, metadata) = metadata_of(documents);
    let at = |pointer: &str, code, message: String| Problem {
        document: place,
        pointer: format!("/{METADATA}{pointer}"),
        code,
        message,
    };
    let metadata = Metadata::read(&metadata).map_err(|(pointer, message)| at(&pointer, "sops-metadata", message))?;
    let key = metadata.data_key(keys).map_err(|(pointer, code, message)| at(pointer, code, message))?;
    let rules = Rules::new(&metadata).map_err(|(pointer, message)| at(&pointer, "sops-metadata", message))?;
    let mut walk = Walk { cipher: Cipher::new(&key), rules: &rules, hash: Sha512::new(), hidden: Vec::new() };
    if metadata.mac_only_encrypted {
        // so that the two ways of making a MAC can never be taken for each other
        walk.hash.update(Sha256::digest(b"sops"));
    }
    let mut opened = Vec::with_capacity(documents.len());
    for (number, document) in documents.iter().enumerate() {
        let value = walk.document(document).map_err(|(pointer, message)| Problem {
            document: number,
            pointer,
            code: "sops-value",
            message,
        })?;
        opened.push(Opened { value, hidden: std::mem::take(&mut walk.hidden) });
    }
    let found = hex::encode_upper(walk.hash.finalize());
    let written = walk.cipher.open(&metadata.mac, &metadata.last_modified);
    match written {
        Ok(Plain::Text(written)) if aws_lc_rs::constant_time::verify_slices_are_equal(written.as_bytes(), found.as_bytes()).is_ok() => Ok(opened),
        Ok(_) => Err(at(
            "/mac",
            "sops-mac",
            "the MAC does not fit the values: some were changed, moved or removed without sops; restore the file and edit it with sops".to_owned(),
        )),
        Err(reason) => Err(at("/mac", "sops-mac", format!("the MAC cannot be read: {reason}; restore the file and edit it with sops"))),
    }
}

/// What keeps a file from being opened with whatever key, as far as it shows without one. A file for keys of other kinds is not
/// looked at.
pub fn unopenable(documents: &[Tree]) -> Option<Problem> {
    let (document, written) = metadata_of(documents);
    if is_for_others(&written) {
        return None;
    }
    let at = |pointer: &str, code, message: String| {
        Some(Problem { document, pointer: format!("/{METADATA}{pointer}"), code, message })
    };
    let metadata = match Metadata::read(&written) {
        Ok(metadata) => metadata,
        Err((pointer, message)) => return at(&pointer, "sops-metadata", message),
    };
    if !metadata.has_recipients() {
        let message = "the file is encrypted for no age recipient, so that nobody can open it; encrypt what it is made from again: \
                       sops encrypt -i --age RECIPIENT FILE";
        return at("", "sops-key", message.to_owned());
    }
    if !has_form(&metadata.mac) {
        let message = "the MAC is none that sops writes; restore the file and edit it with sops";
        return at("/mac", "sops-mac", message.to_owned());
    }
    let rules = match Rules::new(&metadata) {
        Ok(rules) => rules,
        Err((pointer, message)) => return at(&pointer, "sops-metadata", message),
    };
    documents.iter().enumerate().find_map(|(document, tree)| {
        let pointer = in_the_open(tree, &rules, &mut Vec::new(), "")?;
        Some(Problem { document, pointer, code: "sops-value", message: IN_THE_OPEN.to_owned() })
    })
}

const IN_THE_OPEN: &str = "this value has to be encrypted and is not; edit the file with sops";

/// Which document has the metadata, and what it is.
fn metadata_of(documents: &[Tree]) -> (usize, Value) {
    let place = documents.iter().position(|document| document.get(METADATA).is_some()).unwrap_or_default();
    let metadata = documents.get(place).and_then(|document| document.get(METADATA)).map(Tree::to_value);
    (place, metadata.unwrap_or_default())
}

/// Where the first value is that the metadata says is encrypted, and that is not.
fn in_the_open(tree: &Tree, rules: &Rules, path: &mut Vec<String>, pointer: &str) -> Option<String> {
    match tree {
        Tree::Map(entries) => entries.iter().find_map(|(key, value)| {
            if path.is_empty() && key == METADATA {
                return None;
            }
            path.push(key.clone());
            let below = format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"));
            let found = in_the_open(value, rules, path, &below);
            path.pop();
            found
        }),
        Tree::List(items) => items
            .iter()
            .enumerate()
            .find_map(|(number, item)| in_the_open(item, rules, path, &format!("{pointer}/{number}"))),
        Tree::Leaf(Value::Null) => None,
        Tree::Leaf(value) => {
            let sealed = value.as_str().is_some_and(|text| text.is_empty() || has_form(text));
            (!sealed && rules.encrypted(path, value)).then(|| pointer.to_owned())
        }
    }
}

/// One pass over all values, in their order.
struct Walk<'a> {
    cipher: Cipher,
    rules: &'a Rules,
    hash: Sha512,
    hidden: Vec<String>,
}

type Trouble = (String, String);

impl Walk<'_> {
    fn document(&mut self, document: &Tree) -> Result<Value, Trouble> {
        match document {
            Tree::Map(entries) => {
                let rest = entries.iter().filter(|(key, _)| key != METADATA);
                self.map(rest, &mut Vec::new(), &mut String::new())
            }
            other => self.value(other, &mut Vec::new(), &mut String::new()).map(Option::unwrap_or_default),
        }
    }

    fn map<'t>(
        &mut self,
        entries: impl Iterator<Item = &'t (String, Tree)>,
        path: &mut Vec<String>,
        pointer: &mut String,
    ) -> Result<Value, Trouble> {
        let mut map = serde_json::Map::new();
        for (key, value) in entries {
            let before = pointer.len();
            pointer.push('/');
            pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
            path.push(key.clone());
            let value = self.value(value, path, pointer)?;
            path.pop();
            pointer.truncate(before);
            map.insert(key.clone(), value.unwrap_or_default());
        }
        Ok(Value::Object(map))
    }

    /// The value; none for what was a comment.
    fn value(&mut self, tree: &Tree, path: &mut Vec<String>, pointer: &mut String) -> Result<Option<Value>, Trouble> {
        match tree {
            Tree::Map(entries) => self.map(entries.iter(), path, pointer).map(Some),
            Tree::List(items) => {
                let mut list = Vec::with_capacity(items.len());
                for (number, item) in items.iter().enumerate() {
                    let before = pointer.len();
                    pointer.push_str(&format!("/{number}"));
                    list.extend(self.value(item, path, pointer)?);
                    pointer.truncate(before);
                }
                Ok(Some(Value::Array(list)))
            }
            Tree::Leaf(Value::Null) => Ok(Some(Value::Null)),
            Tree::Leaf(value) => self.leaf(value, path, pointer),
        }
    }

    fn leaf(&mut self, value: &Value, path: &[String], pointer: &str) -> Result<Option<Value>, Trouble> {
        let here = |message: String| (pointer.to_owned(), message);
        if !self.rules.encrypted(path, value) {
            if !self.rules.only_encrypted {
                self.hash.update(Plain::of(value).bytes());
            }
            return Ok(Some(value.clone()));
        }
        let Value::String(text) = value else {
            return Err(here(IN_THE_OPEN.to_owned()));
        };
        let additional = format!("{}:", path.join(":"));
        let plain = self.cipher.open(text, &additional).map_err(|reason| {
            here(format!("the value cannot be decrypted: {reason}; restore the file and edit it with sops"))
        })?;
        if !matches!(plain, Plain::Comment) {
            self.hash.update(plain.bytes());
        }
        self.hidden.push(pointer.to_owned());
        Ok(plain.into_value())
    }
}
