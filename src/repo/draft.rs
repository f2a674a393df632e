//! Making commits in memory: a base, edits, people, a message with trailers, a signature on request.

use gix::ObjectId;
use gix::actor::Signature;
use gix::objs::{Commit as RawCommit, Kind, Tree, Write, WriteTo};

use super::bounds::Bounds;
use super::cache::Cache;
use super::commit::Person;
use super::error::{chain, clean};
use super::listing::TreeError;
use super::sign::{SignError, Signer};
use super::tree::CommitTree;
use super::walk::check_name;

/// One file that a commit writes or removes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    pub path: String,
    /// None removes the file.
    pub content: Option<Vec<u8>>,
}

/// A commit to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    pub author: Person,
    pub committer: Person,
    /// The subject, and after an empty line the body.
    pub message: String,
    pub trailers: Vec<(String, String)>,
    pub edits: Vec<Edit>,
}

/// Why a commit could not be made.
#[derive(Debug, thiserror::Error)]
pub enum DraftError {
    #[error("`{path}` cannot be a path in a commit: {reason}")]
    Path { path: String, reason: String },
    #[error("`{0}` cannot be the name of a trailer")]
    Trailer(String),
    #[error(transparent)]
    Sign(#[from] SignError),
    #[error(transparent)]
    Tree(#[from] TreeError),
    #[error("the commit cannot be made: {0}")]
    Write(String),
}

/// New objects that exist only in memory, on top of what a cache has.
pub(super) struct Workbench {
    repository: gix::Repository,
}

impl Workbench {
    /// Builds upon the objects of a cache, which is not changed.
    pub fn new(cache: &Cache) -> Result<Self, TreeError> {
        let repository = cache.repository().map_err(TreeError::Damaged)?.with_object_memory();
        Ok(Self { repository })
    }

    /// Makes a commit after `parent`, or the first one of a history.
    pub fn commit(
        &self,
        parent: Option<ObjectId>,
        draft: &Draft,
        signer: Option<&Signer>,
        bounds: &Bounds,
    ) -> Result<ObjectId, DraftError> {
        let tree = self.tree(parent, &draft.edits)?;
        let mut commit = RawCommit {
            tree,
            parents: parent.into_iter().collect(),
            author: signature(&draft.author),
            committer: signature(&draft.committer),
            encoding: None,
            message: message(draft)?.into(),
            extra_headers: Vec::new(),
        };
        if let Some(signer) = signer {
            let mut payload = Vec::new();
            commit.write_to(&mut payload).map_err(|e| DraftError::Write(e.to_string()))?;
            let signature = signer.sign(&payload, bounds)?;
            commit.extra_headers.push(("gpgsig".into(), signature.trim_end().into()));
        }
        self.write(&commit)
    }

    fn tree(&self, parent: Option<ObjectId>, edits: &[Edit]) -> Result<ObjectId, DraftError> {
        let base = match parent {
            Some(parent) => {
                let raw = CommitTree::open(self.repository.clone(), parent)?.root_object()?;
                let tree = gix::objs::TreeRef::from_bytes(&raw, self.repository.object_hash());
                tree.map_err(|e| TreeError::Damaged(chain(&e)))?.into_owned()
            }
            None => Tree::empty(),
        };
        let failed = |e: gix::Error| DraftError::Write(chain(&e));
        // the folders on the way are read from the cache
        let unread = |e: gix::Error| TreeError::Damaged(chain(&e));
        let mut editor = gix::objs::tree::Editor::new(base, &self.repository.objects, self.repository.object_hash());
        for edit in edits {
            check_path(&edit.path)?;
            let parts = edit.path.split('/');
            match &edit.content {
                Some(content) => {
                    let id = self.repository.objects.write_buf(Kind::Blob, content).map_err(failed)?;
                    editor.upsert(parts, gix::objs::tree::EntryKind::Blob, id).map_err(unread)?;
                }
                None => {
                    editor.remove(parts).map_err(unread)?;
                }
            }
        }
        // always anew, never "it is here already": the other side may not have it any more
        editor.write(|tree| self.repository.objects.write(tree)).map_err(failed)
    }

    fn write(&self, object: &dyn WriteTo) -> Result<ObjectId, DraftError> {
        self.repository.objects.write(object).map_err(|e| DraftError::Write(chain(&e)))
    }

    /// Everything that was made, to be sent.
    pub fn into_objects(self) -> Vec<(Kind, Vec<u8>)> {
        self.repository.objects.reset_object_memory().map_or_else(Vec::new, |objects| {
            let mut all: Vec<_> = objects.iter().map(|(id, (kind, data))| (*id, *kind, data.clone())).collect();
            all.sort_by_key(|(id, ..)| *id);
            all.into_iter().map(|(_, kind, data)| (kind, data)).collect()
        })
    }
}

fn check_path(path: &str) -> Result<(), DraftError> {
    let wrong = |reason: &str| DraftError::Path { path: clean(path, 200), reason: reason.to_owned() };
    if path.is_empty() || path.starts_with('/') || path.ends_with('/') {
        return Err(wrong("it has to name a file from the top of the repository"));
    }
    for part in path.split('/') {
        check_name(part.as_bytes()).map_err(|(_, reason)| wrong(&reason))?;
        gix::validate::path::component(part.into(), None, gix::validate::path::component::Options::default())
            .map_err(|e| wrong(&chain(&e)))?;
    }
    Ok(())
}

fn signature(person: &Person) -> Signature {
    // angle brackets and line breaks are what git separates fields by
    let plain = |text: &str| clean(&text.replace(['<', '>'], ""), 200);
    let name = plain(&person.name);
    Signature {
        name: if name.is_empty() { "unknown".into() } else { name.into() },
        email: plain(&person.email).into(),
        time: gix::date::Time { seconds: person.seconds, offset: person.offset_minutes * 60 },
    }
}

fn message(draft: &Draft) -> Result<String, DraftError> {
    let plain = |c: &char| *c == '\n' || *c == '\t' || !c.is_control();
    let mut text: String = draft.message.trim().chars().filter(plain).collect();
    if !draft.trailers.is_empty() {
        text.push_str("\n\n");
    }
    for (name, value) in &draft.trailers {
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
            return Err(DraftError::Trailer(clean(name, 80)));
        }
        for part in [
            name.as_str(),
            ": ",
            &clean(value, 2000),
            "
",
        ] {
            text.push_str(part);
        }
    }
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}
