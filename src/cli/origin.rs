//! Repositories with their history: a clone on disk, an address, or what a GitSource of the cluster names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt};
use tempfile::TempDir;

use super::connection::Connection;
use super::error::CommandError;
use super::live::find_source;
use super::repository::history_problem;
use super::session::Session;
use super::wait::seconds;
use crate::api::GitSource;
use crate::controller::git_source::settings;
use crate::extension::problem::listed;
use crate::plan::source::Placement;
use crate::plan::source::manifest::SETTINGS;
use crate::repo::{Access, Bounds, Cache, CacheError, Follow, History, HistoryError, ObjectId, Remote, RemoteUrl};

/// What the branches begin with that Midship records on.
const AUDIT: &str = "midship/audit/";

#[derive(Args, Clone, Debug)]
pub struct Origin {
    /// The repository: folder of a clone, or an address; what the GitSource names where left out.
    #[arg(long, value_name = "FOLDER|URL")]
    repo: Option<String>,

    /// The GitSource: NAME or NAMESPACE/NAME; the only one there is where left out.
    #[arg(long, value_name = "NAME", conflicts_with = "repo")]
    source: Option<String>,

    /// The watched branch; that of the GitSource, or HEAD, where left out.
    #[arg(long, value_name = "NAME")]
    branch: Option<String>,

    /// The audit branch; the only one that begins with midship/audit/ where left out.
    #[arg(long, value_name = "NAME")]
    audit_branch: Option<String>,

    /// Folder with the credentials of --repo, in files named as the keys of a GitSource's Secret: username and password,
    /// bearerToken, identity and known_hosts, ca.crt.
    #[arg(long, value_name = "FOLDER", requires = "repo")]
    credentials: Option<PathBuf>,

    /// Accept repositories over plain http:// and file://, for development.
    #[arg(long, env = "MIDSHIP_ALLOW_INSECURE_GIT")]
    allow_insecure_git: bool,

    /// How long fetching may take.
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = seconds)]
    fetch_timeout: u64,
}

/// Which branches are needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// What was applied.
    Audit,
    /// What people push.
    Watched,
    /// What people push, from where it can be pushed to.
    Writable,
}

/// A repository whose history can be read.
pub struct Opened {
    pub history: History,
    /// The tip of the branch that was needed, and its name.
    pub tip: ObjectId,
    pub branch: String,
    /// Where objects go that name no namespace, and the folder that is reconciled.
    pub placement: Placement,
    /// The audit commit the cluster knows of.
    pub known_tip: Option<String>,
    /// How people call the repository.
    pub place: String,
    /// Where commits can be pushed to, with what was fetched from there.
    pub writable: Option<(Remote, Cache)>,
    /// Where it was fetched to; gone with this.
    pub folder: Option<TempDir>,
}

impl Opened {
    /// The commit a revision names. What was fetched has no HEAD and no branches: these mean the tip there.
    pub fn resolve(&self, revision: &str) -> Result<ObjectId, HistoryError> {
        let (name, steps) = revision.find(['~', '^']).map_or((revision, ""), |at| revision.split_at(at));
        if self.folder.is_some() && (name == "HEAD" || name == self.branch) {
            return self.history.resolve(&format!("{}{steps}", self.tip));
        }
        self.history.resolve(revision)
    }
}

impl Origin {
    pub fn bounds(&self) -> Bounds {
        Bounds::new(Duration::from_secs(self.fetch_timeout))
    }

    pub async fn open(&self, connection: &Connection, need: Need) -> Result<Opened, CommandError> {
        let folder = self.repo.as_deref().map(|path| layout(Path::new(path))).unwrap_or_default();
        let placement = Placement { default_namespace: "default".into(), allowed: None, folder, sources: true };
        match &self.repo {
            Some(path) if Path::new(path).is_dir() && need != Need::Writable => {
                self.clone_on_disk(path, placement, need)
            }
            // an address has a colon in it
            Some(place) if !place.contains(':') && !Path::new(place).is_dir() => {
                Err(CommandError::new("there is no such folder").at(place.clone()).remedy(
                    "name the folder of a clone, or an address such as https://git.example.com/team/repository.git",
                ))
            }
            Some(place) => {
                let path = Path::new(place);
                let address = if path.is_dir() {
                    let full = path.canonicalize();
                    let full = full.map_err(|error| CommandError::new(error.to_string()).at(place.clone()))?;
                    let top = History::open(&full).ok().and_then(|history| history.work_tree().map(Path::to_owned));
                    top.unwrap_or(full).display().to_string()
                } else {
                    place.clone()
                };
                let remote = Remote::new(self.url(&address, path.is_dir())?, self.access()?);
                let follow = self.follow(None)?;
                self.fetched(remote, follow, placement, None, need).await
            }
            None => {
                let session = Session::open(connection).await.map_err(|error| {
                    error.remedy("or name the repository itself, which needs no cluster: --repo FOLDER")
                })?;
                let source = find_source(&session, self.source.as_deref()).await?;
                self.of_source(&session, &source, need).await
            }
        }
    }

    fn url(&self, text: &str, on_disk: bool) -> Result<RemoteUrl, CommandError> {
        RemoteUrl::parse(text, self.allow_insecure_git || on_disk).map_err(|error| {
            let error = CommandError::new(error.to_string()).at(text.to_owned());
            if self.allow_insecure_git {
                error.remedy("name the folder of a clone, or an address such as https://host/path.git")
            } else {
                error.remedy("name the folder of a clone with --repo; for development, --allow-insecure-git allows more addresses")
            }
        })
    }

    fn access(&self) -> Result<Access, CommandError> {
        let Some(folder) = &self.credentials else { return Ok(Access::default()) };
        let unreadable = |error: std::io::Error| {
            CommandError::new(format!("the credentials cannot be read: {error}"))
                .at(folder.display().to_string())
                .remedy("name a folder with files such as username and password")
        };
        let mut keys = BTreeMap::new();
        for entry in std::fs::read_dir(folder).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if let (true, Some(name)) = (path.is_file(), path.file_name().and_then(|name| name.to_str())) {
                keys.insert(name.to_owned(), std::fs::read(&path).map_err(unreadable)?);
            }
        }
        Access::from_keys(&keys).map_err(|error| {
            CommandError::new(error.to_string())
                .at(folder.display().to_string())
                .remedy("the files are named as the keys of a GitSource's Secret: username and password, identity and known_hosts")
        })
    }

    fn follow(&self, source: Option<&GitSource>) -> Result<Follow, CommandError> {
        let wrong = |error: crate::repo::ResolveError| {
            CommandError::new(error.to_string()).remedy("name a branch with --branch")
        };
        match (&self.branch, source) {
            (Some(branch), _) => Follow::branch(branch).map_err(wrong),
            (None, Some(source)) => settings::follow(source.spec.ref_.as_ref())
                .map_err(|problem| CommandError::new(problem.message).remedy("mend spec.ref of the GitSource")),
            (None, None) => Ok(Follow::Head),
        }
    }

    fn clone_on_disk(&self, path: &str, placement: Placement, need: Need) -> Result<Opened, CommandError> {
        let explain = |error| history_problem(&error, Path::new(path));
        let history = History::open(Path::new(path)).map_err(explain)?;
        let (branch, tip) = if need == Need::Audit {
            let unreadable = |error| history_problem(&crate::repo::HistoryError::Tree(error), Path::new(path));
            let mut known: Vec<(String, ObjectId)> = Vec::new();
            for (name, tip) in history.references("refs/").map_err(unreadable)? {
                let short = name.strip_prefix("refs/heads/").map(str::to_owned).or_else(|| {
                    name.strip_prefix("refs/remotes/")?.split_once('/').map(|(_, branch)| branch.to_owned())
                });
                known.extend(short.filter(|short| self.is_audit(short)).map(|short| (short, tip)));
            }
            // the same branch here and at a remote: the remote's, which comes last, is the one the controller writes
            known.sort_by(|a, b| a.0.cmp(&b.0));
            let mut last: BTreeMap<String, ObjectId> = BTreeMap::new();
            last.extend(known);
            self.one_audit_branch(last.into_iter().collect(), path)?
        } else {
            let revision = self.branch.clone().unwrap_or_else(|| "HEAD".to_owned());
            let tip = history.resolve(&revision).map_err(explain)?;
            (revision, tip)
        };
        Ok(Opened {
            history,
            tip,
            branch,
            placement,
            known_tip: None,
            place: path.to_owned(),
            writable: None,
            folder: None,
        })
    }

    fn is_audit(&self, branch: &str) -> bool {
        self.audit_branch.as_deref().map_or_else(|| branch.starts_with(AUDIT), |wanted| wanted == branch)
    }

    fn one_audit_branch(
        &self,
        known: Vec<(String, ObjectId)>,
        place: &str,
    ) -> Result<(String, ObjectId), CommandError> {
        match known.as_slice() {
            [only] => Ok(only.clone()),
            [] => Err(CommandError::new(match &self.audit_branch {
                Some(branch) => format!("there is no branch {branch}"),
                None => format!("there is no branch that begins with {AUDIT}"),
            })
            .at(place.to_owned())
            .remedy("fetch it into your clone: git fetch origin 'refs/heads/midship/*:refs/remotes/origin/midship/*'")
            .remedy("or look whether the controller may push it: midship describe source/NAME")),
            several => Err(CommandError::new("there are several audit branches, one for each cluster")
                .at(listed(several.iter().map(|(name, _)| name.as_str())))
                .remedy("say which with --audit-branch")),
        }
    }

    async fn of_source(&self, session: &Session<'_>, source: &GitSource, need: Need) -> Result<Opened, CommandError> {
        let namespace = source.namespace().unwrap_or_default();
        let audit = source.spec.audit.clone().unwrap_or_default();
        let (address, secret) = match (need, &audit.url) {
            (Need::Audit, Some(url)) => (url, audit.credentials.as_ref()),
            (Need::Audit, None) => (&source.spec.url, audit.credentials.as_ref().or(source.spec.credentials.as_ref())),
            _ => (&source.spec.url, source.spec.credentials.as_ref()),
        };
        let access = match secret {
            None => Access::default(),
            Some(reference) => {
                let api: Api<Secret> = Api::namespaced(session.client.clone(), &namespace);
                let secret = session.ask(api.get(reference.name.as_str())).await?;
                let keys = secret.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0)).collect();
                Access::from_keys(&keys).map_err(|error| {
                    CommandError::new(error.to_string())
                        .at(format!("Secret {namespace}/{}", reference.name))
                        .remedy("mend the Secret, or name a clone with --repo")
                })?
            }
        };
        let placement = settings::placement(&source.spec, &namespace);
        let remote = Remote::new(self.url(address, false)?, access);
        let status = source.status.clone().unwrap_or_default().audit.unwrap_or_default();
        let mut origin = self.clone();
        origin.audit_branch = self.audit_branch.clone().or(audit.branch).or(status.branch);
        let follow = self.follow(Some(source))?;
        origin.fetched(remote, follow, placement, status.commit, need).await
    }

    /// Fetches what is needed, with all of its history.
    async fn fetched(
        &self,
        remote: Remote,
        follow: Follow,
        placement: Placement,
        known_tip: Option<String>,
        need: Need,
    ) -> Result<Opened, CommandError> {
        let origin = self.clone();
        let work = move || origin.fetch(remote, &follow, placement, known_tip, need);
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|_| CommandError::new("fetching panicked; this is a defect of Midship, please report it"))?
    }

    fn fetch(
        &self,
        remote: Remote,
        follow: &Follow,
        placement: Placement,
        known_tip: Option<String>,
        need: Need,
    ) -> Result<Opened, CommandError> {
        let place = remote.url().to_string();
        let failed = |reason: String| {
            CommandError::new(reason)
                .at(place.clone())
                .remedy("name the folder of a clone with --repo, or mend address and credentials")
        };
        let folder = tempfile::tempdir().map_err(|error| failed(format!("there is no room for a copy: {error}")))?;
        let cache = Cache::with_history(folder.path().join("cache"));
        let bounds = self.bounds();
        let mut session = remote.open(&bounds).map_err(|error| failed(error.to_string()))?;
        let (branch, tip) = if need == Need::Audit {
            let prefix = self.audit_branch.as_deref().unwrap_or(AUDIT);
            let known = session.branches(prefix).map_err(|error| failed(error.to_string()))?;
            self.one_audit_branch(known.into_iter().filter(|(name, _)| self.is_audit(name)).collect(), &place)?
        } else {
            let found = session.resolve(follow).map_err(|error| failed(error.to_string()))?;
            let name = found.reference.as_deref().map(|name| name.trim_start_matches("refs/heads/").to_owned());
            (name.unwrap_or_else(|| follow.to_string()), found.commit)
        };
        cache.fetch(session, tip).map_err(|error: CacheError| failed(error.to_string()))?;
        let history = cache.history().map_err(|error| failed(error.to_string()))?;
        let writable = (need == Need::Writable).then_some((remote, cache));
        Ok(Opened { history, tip, branch, placement, known_tip, place, writable, folder: Some(folder) })
    }
}

/// Where in its repository a folder is that is laid out like one, as where several clusters share it; nothing for others.
fn layout(path: &Path) -> String {
    if ![SETTINGS, "instances"].iter().any(|name| path.join(name).exists()) {
        return String::new();
    }
    let inside = || {
        let full = path.canonicalize().ok()?;
        let top = History::open(&full).ok()?.work_tree()?.canonicalize().ok()?;
        Some(full.strip_prefix(top).ok()?.display().to_string())
    };
    inside().filter(|inside| !inside.is_empty()).map(|inside| format!("{inside}/")).unwrap_or_default()
}

/// What cannot be read of a repository, as people are told.
pub fn damaged(place: &str, error: &crate::repo::TreeError) -> CommandError {
    CommandError::new(error.to_string()).at(place.to_owned()).remedy("fetch the clone anew, or check it: git fsck")
}
