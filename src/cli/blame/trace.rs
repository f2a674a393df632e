//! Who wrote the fields of an object: back from commit to commit, whatever its file was called and whichever held it.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::diff::fields::fields;
use crate::plan::source::manifest::{holds_objects, meant};
use crate::plan::source::{ObjectId, Placement};
use crate::repo::{self, Commit, Document, History, ParseLimits, TreeError, parse};

/// More than this is no file of ours.
const LARGEST: u64 = 1 << 20;

/// An object of a repository. In another namespace it is another one.
pub struct Trace<'a> {
    pub history: &'a History,
    pub placement: &'a Placement,
    pub id: &'a ObjectId,
}

/// Fields whose writer is still looked for.
struct Open {
    /// The oldest commit so far that gives them these values.
    said: Commit,
    /// The commit that is looked at: `said`, or an older one whose file nobody can read.
    at: Commit,
    path: String,
    fields: BTreeMap<String, Value>,
}

/// What a file says of the object.
enum Found {
    Nothing,
    /// It cannot be read, and may say anything.
    Unclear,
    Object(Document),
}

impl Trace<'_> {
    /// The document of a commit that defines the object.
    pub fn document(&self, commit: &Commit, path: &str) -> Result<Option<Document>, TreeError> {
        let Some(blob) = self.history.file(commit, path)? else { return Ok(None) };
        Ok(match self.read(path, blob)? {
            Found::Object(document) => Some(document),
            Found::Nothing | Found::Unclear => None,
        })
    }

    /// For each field the commit that gave it the value it has in `tip`.
    pub fn authors(
        &self,
        tip: Commit,
        path: &str,
        fields: BTreeMap<String, Value>,
    ) -> Result<BTreeMap<String, Commit>, TreeError> {
        let mut authors = BTreeMap::new();
        let mut open = vec![Open { said: tip.clone(), at: tip, path: path.to_owned(), fields }];
        while let Some(one) = open.pop() {
            if one.fields.is_empty() {
                continue;
            }
            let blob = self.history.file(&one.at, &one.path)?;
            let mut parents = Vec::new();
            for parent in self.history.parents(&one.at)? {
                let parent = self.history.tree(parent)?.commit().clone();
                let file = self.history.file(&parent, &one.path)?;
                parents.push((parent, file));
            }
            // a merge that took one side over changed nothing itself
            if let Some((parent, _)) = parents.iter().find(|(_, file)| *file == blob) {
                let said = if one.said.id == one.at.id { parent.clone() } else { one.said };
                open.push(Open { said, at: parent.clone(), path: one.path, fields: one.fields });
                continue;
            }
            self.step(one, parents, &mut open, &mut authors)?;
        }
        Ok(authors)
    }

    /// Hands fields on to parents that gave them the same values. Those of the others are from this commit.
    fn step(
        &self,
        one: Open,
        parents: Vec<(Commit, Option<repo::ObjectId>)>,
        open: &mut Vec<Open>,
        authors: &mut BTreeMap<String, Commit>,
    ) -> Result<(), TreeError> {
        let Open { said, at, path, fields: mut left } = one;
        let mut unclear = None;
        for (parent, file) in parents {
            if left.is_empty() {
                break;
            }
            match self.before(&at, &path, &parent, file)? {
                (_, Found::Nothing) => {}
                (_, Found::Unclear) => unclear = unclear.or(Some(parent)),
                (path, Found::Object(document)) => {
                    let before = fields(&document.value);
                    let (same, others) = left
                        .into_iter()
                        .partition(|(name, value)| before.get(name).is_some_and(|field| field.value == *value));
                    left = others;
                    open.push(Open { said: parent.clone(), at: parent, path, fields: same });
                }
            }
        }
        match unclear {
            // what was there before the file was broken may be what is there now
            Some(parent) => open.push(Open { said, at: parent, path, fields: left }),
            None => authors.extend(left.into_keys().map(|name| (name, said.clone()))),
        }
        Ok(())
    }

    /// What the parent of a commit says of the object, and where: in the same file, or in one that the commit changed.
    fn before(
        &self,
        commit: &Commit,
        path: &str,
        parent: &Commit,
        file: Option<repo::ObjectId>,
    ) -> Result<(String, Found), TreeError> {
        if let Some(blob) = file {
            let found = self.read(path, blob)?;
            if !matches!(found, Found::Nothing) {
                return Ok((path.to_owned(), found));
            }
        }
        for touched in self.history.between(Some(parent.tree), commit.tree)? {
            let inside = touched.path.strip_prefix(self.placement.folder.as_str()).unwrap_or(&touched.path);
            if touched.path == path || !holds_objects(inside) {
                continue;
            }
            let Some(blob) = self.history.file(parent, &touched.path)? else { continue };
            if let found @ Found::Object(_) = self.read(&touched.path, blob)? {
                return Ok((touched.path, found));
            }
        }
        Ok((path.to_owned(), Found::Nothing))
    }

    fn read(&self, path: &str, blob: repo::ObjectId) -> Result<Found, TreeError> {
        let bytes = match self.history.blob(blob, LARGEST) {
            Ok(bytes) => bytes,
            Err(TreeError::Io { .. }) => return Ok(Found::Unclear),
            Err(error) => return Err(error),
        };
        let Ok(documents) = parse(path, &bytes, &ParseLimits::default()) else { return Ok(Found::Unclear) };
        let is_it = |document: &Document| meant(path, &document.value, self.placement).as_ref() == Some(self.id);
        Ok(documents.into_iter().find(is_it).map_or(Found::Nothing, Found::Object))
    }
}
