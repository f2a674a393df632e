//! Encrypted files: who may open them here, and what they are read as.

use std::sync::Arc;

use serde_json::Value;

use crate::api::git_source::FileError;
use crate::plan::source::manifest::{self, Placement, Reading};
use crate::repo::{Document, Places};
use crate::sops::{self, Keys, Tree};

/// What is done with encrypted files.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Opening {
    /// They are opened with these keys.
    With(Arc<Keys>),
    /// They cannot be opened, and that is a mistake of the settings.
    Refused,
    /// They stay closed: what they define is told, and what is in them is not looked at.
    #[default]
    Left,
}

/// Whether a file was written by SOPS.
pub fn is_sealed(documents: &[Document]) -> bool {
    documents.iter().any(|document| sops::is_sealed(&document.value))
}

/// What keeps an encrypted file from being opened with whatever key, as far as it shows without one.
pub fn unopenable(path: &str, documents: &[Document]) -> Vec<FileError> {
    let trees: Vec<Tree> = documents.iter().map(|document| in_order(&document.value, &document.places)).collect();
    let Some(problem) = sops::unopenable(&trees) else { return Vec::new() };
    let places = documents.get(problem.document).map(|document| &document.places);
    refused(path, places, &problem.pointer, problem.code, problem.message).errors
}

/// Reads a file that was written by SOPS.
pub fn read(path: &str, documents: Vec<Document>, placement: &Placement, opening: &Opening) -> Reading {
    let mut whole = Reading::default();
    // whatever is wrong, they say what they define
    let meant = documents.iter().filter_map(|document| manifest::meant(path, &document.value, placement)).collect();
    let mut add = |reading: Reading| whole.extend(reading);
    match opening {
        Opening::Left => {
            for document in documents {
                add(manifest::read_sealed(path, document.value, &document.places, placement));
            }
        }
        Opening::Refused => {
            let place = documents.iter().find(|document| sops::is_sealed(&document.value));
            let message = "this file is encrypted with SOPS, and the GitSource has no key; name a Secret with the age identity in spec.decryption";
            add(refused(path, place.map(|document| &document.places), "/sops", "encrypted", message.to_owned()));
        }
        Opening::With(keys) => {
            let trees: Vec<Tree> =
                documents.iter().map(|document| in_order(&document.value, &document.places)).collect();
            match sops::open(&trees, keys) {
                Ok(opened) => {
                    for (document, opened) in documents.iter().zip(opened) {
                        let places = &document.places;
                        add(manifest::read_decrypted(path, opened.value, places, placement, &opened.hidden));
                    }
                }
                Err(problem) => {
                    let places = documents.get(problem.document).map(|document| &document.places);
                    add(refused(path, places, &problem.pointer, problem.code, problem.message));
                }
            }
        }
    }
    if !whole.errors.is_empty() {
        // a file is as its MAC says or it is not: half of it is nothing
        whole.objects.clear();
        whole.meant = meant;
    }
    whole
}

fn refused(path: &str, places: Option<&Places>, pointer: &str, code: &str, message: String) -> Reading {
    let place = places.map(|places| places.key(pointer));
    let error = FileError {
        path: path.to_owned(),
        line: place.map(|place| place.line),
        column: place.map(|place| place.column),
        code: code.to_owned(),
        message,
    };
    Reading { errors: vec![error], ..Reading::default() }
}

/// The value with its keys in the order they were written in.
pub fn in_order(value: &Value, places: &Places) -> Tree {
    match value {
        Value::Object(map) => {
            let entries =
                places.entries().filter_map(|(key, inner)| Some((key.to_owned(), in_order(map.get(key)?, inner))));
            Tree::Map(entries.collect())
        }
        Value::Array(items) => {
            Tree::List(items.iter().zip(places.items()).map(|(item, inner)| in_order(item, inner)).collect())
        }
        leaf => Tree::Leaf(leaf.clone()),
    }
}
