//! Looking into a repository: what is the newest commit, and what does it define? Blocks; runs on a thread of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::brief;
use super::problem::Problem;
use super::settings::Settings;
use super::trust::{FastForward, Verification, within};
use crate::api::git_source::FileError;
use crate::plan::source::{Desired, ObjectId, Placement, RepositorySettings, Unknown};
use crate::repo::{Bounds, Cache, CacheError, Commit, Fetched, Follow, History, Limits, Remote, VerifyError, plain};
use crate::source::{self, Contents, Opening};

/// What was seen in a repository. Cheap to clone.
#[derive(Clone)]
pub struct Seen {
    pub commit: Arc<Commit>,
    /// What was followed, as people say it.
    pub branch: String,
    /// In the order of their ids.
    pub desired: Arc<Vec<Desired>>,
    /// How each of them is written, in the same order.
    written: Arc<Vec<Written>>,
    pub errors: Arc<Vec<FileError>>,
    pub unknown: Arc<Unknown>,
    /// Folders that no trusted commit vouches for, and why: nothing of what was applied from them changes.
    pub untrusted: Arc<BTreeMap<String, String>>,
    /// What the repository says of itself; none where that cannot be read.
    pub settings: Option<Arc<RepositorySettings>>,
    /// Files that the repository leaves out, and the place that says so of each.
    pub ignored: Arc<BTreeMap<String, String>>,
    /// Whether any file may be one of them, because nobody can tell.
    pub may_be_ignored: bool,
    pub files: usize,
    contents: Arc<Contents>,
    /// What decides how the same commit is read.
    reading: Arc<Reading>,
    origin: Arc<Origin>,
}

/// An object as its file has it.
struct Written {
    body: Arc<Value>,
    /// Where in the file it begins.
    line: u32,
}

/// Where a commit was looked for: in which repository, and what is followed there.
#[derive(Clone, PartialEq)]
struct Origin {
    url: String,
    follow: Follow,
}

impl Origin {
    fn of(settings: &Settings) -> Self {
        Self { url: settings.url.to_string(), follow: settings.follow.clone() }
    }
}

/// What decides how a commit is read.
#[derive(Clone, PartialEq)]
struct Reading {
    placement: Placement,
    limits: Limits,
    folder: String,
    opening: Opening,
    verification: Option<Verification>,
}

impl Reading {
    fn of(settings: &Settings) -> Self {
        Self {
            placement: settings.placement.clone(),
            limits: settings.limits.clone(),
            folder: settings.folder.clone(),
            opening: settings.opening.clone(),
            verification: settings.verification.clone(),
        }
    }
}

impl Seen {
    fn of(
        commit: Commit,
        branch: &str,
        contents: Contents,
        untrusted: BTreeMap<String, String>,
        (reading, origin): (Reading, Origin),
    ) -> Self {
        let mut defined = contents.defined();
        let hidden = |path: &str| untrusted.keys().any(|folder| within(path, folder));
        defined.objects.retain(|manifest| !hidden(&manifest.path));
        defined.errors.retain(|error| !hidden(&error.path));
        defined.errors.extend(untrusted.iter().map(|(folder, reason)| FileError {
            path: folder.clone(),
            line: None,
            column: None,
            code: "not-verified".into(),
            message: reason.clone(),
        }));
        for error in &mut defined.errors {
            // they repeat what is in files
            error.message = brief::message(plain(&error.message));
            error.path = brief::path(std::mem::take(&mut error.path));
        }
        defined.objects.sort_by(|a, b| a.id.cmp(&b.id));
        let written =
            defined.objects.iter().map(|manifest| Written { body: manifest.body.clone(), line: manifest.line });
        let written: Vec<Written> = written.collect();
        let desired = defined.objects.into_iter().map(|manifest| Desired {
            id: manifest.id,
            path: manifest.path.to_string(),
            digest: manifest.digest,
        });
        Self {
            commit: Arc::new(commit),
            branch: branch.to_owned(),
            desired: Arc::new(desired.collect()),
            written: Arc::new(written),
            errors: Arc::new(defined.errors),
            unknown: Arc::new(defined.unknown),
            untrusted: Arc::new(untrusted),
            settings: contents.settings().cloned(),
            ignored: Arc::new(defined.ignored),
            may_be_ignored: defined.may_be_ignored,
            files: defined.files,
            contents: Arc::new(contents),
            reading: Arc::new(reading),
            origin: Arc::new(origin),
        }
    }

    /// Whether this is the very same reading of a commit.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.contents, &other.contents)
    }

    /// Whether this was looked for and read as these settings ask for: otherwise what it says may not hold any more, such
    /// as where it may say anything, or whether anybody still wants what another repository says.
    pub fn is_read_as(&self, settings: &Settings) -> bool {
        *self.reading == Reading::of(settings) && *self.origin == Origin::of(settings)
    }

    /// What the repository says of an object.
    pub fn find(&self, id: &ObjectId) -> Option<&Desired> {
        self.desired.get(self.place(id)?)
    }

    /// An object as the repository has it.
    pub fn body(&self, id: &ObjectId) -> Option<&Arc<Value>> {
        self.written.get(self.place(id)?).map(|written| &written.body)
    }

    /// Where in its file an object begins.
    pub fn line(&self, id: &ObjectId) -> Option<u32> {
        self.written.get(self.place(id)?).map(|written| written.line)
    }

    fn place(&self, id: &ObjectId) -> Option<usize> {
        self.desired.binary_search_by(|desired| desired.id.cmp(id)).ok()
    }

    /// What the repository says of kinds that are not watched; they come before all others.
    pub fn unwatched(&self) -> &[Desired] {
        let end = self.desired.partition_point(|desired| !desired.id.kind.is_watched());
        &self.desired[..end]
    }

    /// Whether a file lies in a folder that no trusted commit vouches for.
    pub fn is_untrusted(&self, path: &str) -> bool {
        self.untrusted.keys().any(|folder| within(path, folder))
    }
}

/// One look, with everything it needs.
pub struct Look {
    remote: Remote,
    follow: Follow,
    cache: Cache,
    timeout: Duration,
    fetch_bytes: u64,
    object_bytes: u64,
    record_branch: Option<String>,
    reading: Reading,
    origin: Origin,
    fast_forward: Option<FastForward>,
    before: Option<Seen>,
}

impl Look {
    pub fn new(settings: &Settings, cache_dir: &Path, before: Option<Seen>) -> Self {
        Self {
            remote: settings.remote.clone(),
            follow: settings.follow.clone(),
            cache: cache_of(settings, cache_dir),
            timeout: settings.timeout,
            fetch_bytes: settings.fetch_bytes,
            object_bytes: settings.object_bytes,
            record_branch: settings.record_branch.clone(),
            reading: Reading::of(settings),
            origin: Origin::of(settings),
            fast_forward: settings.fast_forward.clone(),
            before,
        }
    }

    /// What is there now, or why it cannot be seen together with what was seen before.
    pub fn run(mut self) -> Result<Seen, (Problem, Option<Seen>)> {
        let before = self.before.take();
        self.see(before.as_ref()).map_err(|problem| (problem, before))
    }

    fn see(&self, before: Option<&Seen>) -> Result<Seen, Problem> {
        let bounds = Bounds::new(self.timeout).pack_bytes(self.fetch_bytes).object_bytes(self.object_bytes);
        if before.is_none() {
            // mostly waiting follows
            std::thread::spawn(source::make_ready);
        }
        let mut session = self.remote.open(&bounds)?;
        let resolved = session.resolve(&self.follow)?;
        if let Some(branch) = &self.record_branch
            && resolved.reference.as_deref() == Some(format!("refs/heads/{branch}").as_str())
        {
            return Err(Problem::records_followed(branch));
        }
        if let Some(before) = before
            && before.commit.id == resolved.commit
            && *before.reading == self.reading
        {
            return Ok(Seen { origin: Arc::new(self.origin.clone()), ..before.clone() });
        }
        let fetched = self.cache.fetch(session, resolved.commit);
        fetched.map_err(|error| Problem::from(error).with(&resolved.commit))?;
        if let Some(fast_forward) = &self.fast_forward {
            let allows = |history: &History| fast_forward.allows(history, resolved.commit, &bounds);
            if !told(self.cache.read_history(&self.remote, resolved.commit, &bounds, allows)?) {
                return Err(fast_forward.held(resolved.commit));
            }
        }
        let Reading { placement, limits, folder, opening, verification } = &self.reading;
        let untrusted = match verification {
            Some(verification) => {
                let check = |history: &History| match verification.check(history, resolved.commit, &bounds) {
                    Err(VerifyError::Tree(error)) => Err(CacheError::Tree(error)),
                    checked => Ok(checked),
                };
                told(self.cache.read_history(&self.remote, resolved.commit, &bounds, check)?)?
            }
            None => BTreeMap::new(),
        };
        let previous = before.filter(|before| *before.reading == self.reading).map(|before| before.contents.as_ref());
        let read = self.cache.read(&self.remote, resolved.commit, &bounds, |tree| {
            let commit = tree.commit().clone();
            let tree = tree.at(folder)?;
            Ok((commit, source::read_opening(&tree, limits, placement, opening, previous)?))
        })?;
        let (commit, contents) = told(read);
        let branch = resolved.reference.as_deref().map_or("commit", |name| {
            name.strip_prefix("refs/heads/").or_else(|| name.strip_prefix("refs/tags/")).unwrap_or(name)
        });
        Ok(Seen::of(commit, branch, contents, untrusted, (self.reading.clone(), self.origin.clone())))
    }
}

/// What was read, with a word in the log where the local copy had to be mended for it.
pub fn told<T>((read, mended): (T, Option<Fetched>)) -> T {
    if let Some(mended) = mended {
        tracing::warn!(?mended, "the local copy was damaged and was fetched anew");
    }
    read
}

/// The local copy of a source's repository.
pub fn cache_of(settings: &Settings, cache_dir: &Path) -> Cache {
    let needs_history =
        settings.fast_forward.is_some() || settings.verification.as_ref().is_some_and(Verification::needs_history);
    let folder = cache_folder(cache_dir, settings, needs_history);
    if needs_history { Cache::with_history(folder) } else { Cache::new(folder) }
}

/// The local copy with all of its history, whatever the source needs to look.
pub fn history_cache(settings: &Settings, cache_dir: &Path) -> Cache {
    Cache::with_history(cache_folder(cache_dir, settings, true))
}

/// One folder for each repository and each way into it, so that nobody reads what only others may fetch.
fn cache_folder(cache_dir: &Path, settings: &Settings, history: bool) -> PathBuf {
    let depth = if history { "\nhistory" } else { "" };
    let way = format!("{}\n{}{depth}", settings.url, settings.label);
    cache_dir.join(hex::encode(&Sha256::digest(way.as_bytes())[..16]))
}

#[cfg(test)]
impl Seen {
    /// What these files define, all of it in the namespace `shop`.
    pub fn of_files<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        use crate::repo::{MemoryTree, Person, blob_id};
        let placement =
            Placement { default_namespace: "shop".into(), allowed: None, folder: String::new(), sources: false };
        let tree: MemoryTree = files.into_iter().collect();
        let contents = source::read(&tree, &Limits::default(), &placement, None).expect("the tree can be read");
        let person = Person { name: "Ada".into(), email: "ada@example.com".into(), seconds: 0, offset_minutes: 0 };
        let commit = Commit {
            id: blob_id(b"a commit"),
            tree: blob_id(b"a tree"),
            parents: Vec::new(),
            author: person.clone(),
            committer: person,
            message: "Say so".into(),
            signed: false,
        };
        let reading = Reading {
            placement,
            limits: Limits::default(),
            folder: String::new(),
            opening: Opening::Left,
            verification: None,
        };
        let origin = Origin { url: "https://git.example.com/app.git".into(), follow: Follow::Head };
        Self::of(commit, "main", contents, BTreeMap::new(), (reading, origin))
    }
}

#[cfg(test)]
mod tests {
    use kube::{Client, Config};
    use serde_json::json;

    use super::*;
    use crate::api::GitSource;
    use crate::repo::Remotes;

    async fn settings(spec: &Value) -> Settings {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let nowhere = Config::new("http://127.0.0.1:1".parse().expect("an address"));
        let client = Client::try_from(nowhere).expect("a client");
        let source: GitSource = serde_json::from_value(json!({
            "apiVersion": "midship.dev/v1alpha1", "kind": "GitSource",
            "metadata": { "namespace": "shop", "name": "a" }, "spec": spec,
        }))
        .expect("a source");
        Settings::read(&source, &client, &Remotes::default(), false, "test").await.expect("it names no Secret")
    }

    #[tokio::test]
    async fn what_another_repository_or_branch_said_says_nothing_here() {
        let url = "https://git.example.com/app.git";
        let before = settings(&json!({ "url": url })).await;
        let mut seen = Seen::of_files([("a.yaml", "")]);
        (seen.reading, seen.origin) = (Arc::new(Reading::of(&before)), Arc::new(Origin::of(&before)));
        assert!(seen.is_read_as(&before));
        assert!(seen.is_read_as(&settings(&json!({ "url": url, "interval": "5m" })).await));
        for spec in [
            json!({ "url": "https://git.example.com/other.git" }),
            json!({ "url": url, "ref": { "branch": "other" } }),
            json!({ "url": url, "path": "other" }),
        ] {
            assert!(!seen.is_read_as(&settings(&spec).await), "{spec}");
        }
    }

    #[test]
    fn a_path_without_end_is_told_in_short() {
        let path = format!("{}.yaml", "a".repeat(100_000));
        let seen = Seen::of_files([(path.as_str(), "")]);
        let [error] = seen.errors.as_slice() else { panic!("{} errors", seen.errors.len()) };
        assert_eq!((error.code.as_str(), error.path.chars().count()), ("path-too-long", 501));
    }
}
