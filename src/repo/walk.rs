//! Walking a tree of files within limits: what could do harm becomes a refusal, the rest stays readable.

use std::collections::BTreeMap;
use std::sync::Arc;

use gix::ObjectId;

use super::bounds::Limits;
use super::error::{in_bytes, is_hidden};
use super::listing::{Code, Content, Entry, File, Folder, Listing, Refusal, TreeError};

/// One entry of a folder before it was judged.
pub(super) struct Raw<H> {
    pub name: Vec<u8>,
    pub node: Node,
    pub handle: H,
}

/// What an entry is.
pub(super) enum Node {
    File {
        executable: bool,
    },
    /// With its id, where the tree has ids for folders.
    Folder(Option<ObjectId>),
    Symlink,
    Submodule,
    /// A device, socket or pipe.
    Special,
}

/// Where folders and files come from.
pub(super) trait Source {
    type Handle;

    fn entries(&self, folder: &Self::Handle) -> Result<Vec<Raw<Self::Handle>>, TreeError>;

    /// The id and size of a file. The id does not matter when it is larger than `limit`.
    fn identify(&self, file: &Self::Handle, limit: u64) -> Result<(ObjectId, u64), TreeError>;
}

/// Lists `root` and all below it.
pub(super) fn walk<S: Source>(
    source: &S,
    root: &S::Handle,
    id: Option<ObjectId>,
    prefix: &str,
    limits: &Limits,
    previous: Option<&Listing>,
) -> Result<Listing, TreeError> {
    let previous = previous.filter(|p| p.prefix() == prefix && p.limits() == limits).map(Listing::root);
    let mut walk = Walk { source, limits, seen: 0 };
    let root = walk.folder(root, id, prefix, 0, previous)?;
    Ok(Listing::new(root, prefix.to_owned(), limits.clone()))
}

struct Walk<'a, S> {
    source: &'a S,
    limits: &'a Limits,
    seen: usize,
}

impl<S: Source> Walk<'_, S> {
    /// `path` is empty or ends with a slash.
    fn folder(
        &mut self,
        handle: &S::Handle,
        id: Option<ObjectId>,
        path: &str,
        depth: usize,
        previous: Option<&Arc<Folder>>,
    ) -> Result<Arc<Folder>, TreeError> {
        if let Some(previous) = previous.filter(|p| id.is_some() && p.id == id) {
            self.count(previous.entries_below)?;
            return Ok(Arc::clone(previous));
        }
        let mut entries: BTreeMap<Box<str>, Content> = BTreeMap::new();
        let mut refused = Vec::new();
        for raw in self.source.entries(handle)? {
            self.count(1)?;
            match self.judge(&raw, path, depth, previous) {
                Ok((name, content)) => {
                    if entries.contains_key(name.as_str()) {
                        let reason = "is in this folder more than once".to_owned();
                        refused.push(Refusal::new(format!("{path}{name}"), Code::DuplicateName, reason));
                    } else {
                        entries.insert(name.into(), content);
                    }
                }
                Err(Trouble::Refused(refusal)) => refused.push(refusal),
                Err(Trouble::Tree(error)) => return Err(error),
            }
        }
        let entries: Vec<Entry> = entries.into_iter().map(|(name, content)| Entry { name, content }).collect();
        let warnings = case_collisions(path, &entries);
        Ok(Arc::new(Folder::new(id, entries, refused, warnings)))
    }

    fn judge(
        &mut self,
        raw: &Raw<S::Handle>,
        folder: &str,
        depth: usize,
        previous: Option<&Arc<Folder>>,
    ) -> Result<(String, Content), Trouble> {
        let name = check_name(&raw.name).map_err(|(code, reason)| {
            let shown = raw.name.escape_ascii().to_string();
            Refusal::new(format!("{folder}{shown}"), code, reason)
        })?;
        let path = format!("{folder}{name}");
        let refuse = |code, reason: String| Err(Trouble::Refused(Refusal::new(path.clone(), code, reason)));
        if path.len() > self.limits.path_bytes {
            let limit = self.limits.path_bytes;
            return refuse(
                Code::PathTooLong,
                format!("the path has {}, more than {limit}", in_bytes(path.len() as u64)),
            );
        }
        match raw.node {
            Node::Symlink => refuse(Code::Symlink, "is a symbolic link; put the file itself here".into()),
            Node::Submodule => refuse(Code::Submodule, "is a submodule; submodules are not followed".into()),
            Node::Special => refuse(Code::SpecialFile, "is neither a file nor a folder".into()),
            Node::Folder(_) if depth + 1 > self.limits.depth => {
                refuse(Code::TooDeep, format!("is more than {} folders deep", self.limits.depth))
            }
            Node::Folder(id) => {
                let before = previous.and_then(|p| p.folder(&name));
                let folder = self.folder(&raw.handle, id, &format!("{path}/"), depth + 1, before)?;
                Ok((name, Content::Folder(folder)))
            }
            Node::File { executable } => {
                // one that is too large is refused when it is read: most of those are pictures and the like
                let (id, size) = self.source.identify(&raw.handle, self.limits.file_bytes)?;
                Ok((name, Content::File(File { id, size, executable })))
            }
        }
    }

    fn count(&mut self, more: usize) -> Result<(), TreeError> {
        self.seen += more;
        if self.seen > self.limits.entries {
            return Err(TreeError::TooMany(self.limits.entries));
        }
        Ok(())
    }
}

/// One entry is refused, or the whole tree cannot be read.
enum Trouble {
    Refused(Refusal),
    Tree(TreeError),
}

impl From<Refusal> for Trouble {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<TreeError> for Trouble {
    fn from(error: TreeError) -> Self {
        Self::Tree(error)
    }
}

/// The name as text when it is one that leads nowhere else and hides nothing.
pub(super) fn check_name(name: &[u8]) -> Result<String, (Code, String)> {
    let Ok(text) = std::str::from_utf8(name) else {
        return Err((Code::NameNotUtf8, "the name is not UTF-8; rename it".into()));
    };
    if text.is_empty() || text == "." || text == ".." || text.contains('/') {
        return Err((Code::NameUnsafe, "the name would lead elsewhere".into()));
    }
    if text.eq_ignore_ascii_case(".git") {
        return Err((Code::NameUnsafe, "`.git` cannot be a name inside a repository".into()));
    }
    let hidden = |c: &char| c.is_control() || is_hidden(*c);
    if let Some(c) = text.chars().find(hidden) {
        let reason = format!("the name contains the invisible character U+{:04X}; rename it", u32::from(c));
        return Err((Code::NameControl, reason));
    }
    Ok(text.to_owned())
}

/// Names that are one file on systems that do not tell case apart. Harmless to us, not to people.
fn case_collisions(path: &str, entries: &[Entry]) -> Vec<Refusal> {
    let mut folded: BTreeMap<String, &str> = BTreeMap::new();
    let mut found = Vec::new();
    for entry in entries {
        if let Some(other) = folded.insert(entry.name.to_lowercase(), &entry.name) {
            let reason = format!("differs from `{other}` only in case; some systems keep only one of them");
            found.push(Refusal::new(format!("{path}{}", entry.name), Code::CaseCollision, reason));
        }
    }
    found
}
