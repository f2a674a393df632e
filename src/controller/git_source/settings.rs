//! A GitSource's spec in the terms of the rooms that work with it, every default decided.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kube::{Client, ResourceExt};

use super::secrets::{Secrets, Versions};
use super::trust::{ACCEPT_REWRITE, FastForward, Verification};
pub use super::unusable::Problem;
use crate::api::git_source::{Audit, Conflicts, Drift, GitRef, Limits as SpecLimits, Prune as SpecPrune};
use crate::api::{GitSource, GitSourceSpec};
use crate::cluster::client::connect;
use crate::controller::frame::Failure;
use crate::plan::source::{Placement, Prune, source_label};
use crate::repo::{
    Access, Commit, Follow, Limits, ObjectId, Proxy, Remote, RemoteUrl, Remotes, Signer, TrustedSigners,
};
use crate::sops::Keys;
use crate::source::Opening;

/// The trailer with which a commit agrees to deletions.
const AGREEMENT: &str = "Midship-Allow-Deletions";

/// After how many polls that is looked at which is not watched, and the least that may lie in between.
const POLLS_PER_UNWATCHED_LOOK: u32 = 5;
const LEAST_UNWATCHED_LOOK: Duration = Duration::from_secs(10);
/// How long everything else may go without being looked at: we hear of each change of it.
pub const WHOLE_LOOK: Duration = Duration::from_mins(5);

/// Everything that a sync needs to know.
#[derive(Clone)]
pub struct Settings {
    pub namespace: String,
    pub name: String,
    /// The source's name as it stands in the label of what it applied.
    pub label: String,
    pub url: RemoteUrl,
    pub remote: Remote,
    pub follow: Follow,
    /// The folder that is reconciled, with a slash at its end, or nothing.
    pub folder: String,
    /// The branch of this repository that the record goes to: it is never applied from.
    pub record_branch: Option<String>,
    pub interval: Duration,
    pub timeout: Duration,
    pub placement: Placement,
    pub limits: Limits,
    pub fetch_bytes: u64,
    pub object_bytes: u64,
    pub drift: Drift,
    pub take_over: bool,
    prune_enabled: bool,
    max_count: usize,
    max_percent: usize,
    service_account: Option<String>,
    /// What is done with encrypted files.
    pub opening: Opening,
    /// Which commits are trusted; none asks for no trust.
    pub verification: Option<Verification>,
    /// What a new commit has to follow from, where that is asked for.
    pub fast_forward: Option<FastForward>,
    /// The repository with the credentials that may push to it.
    pub pushing: Remote,
    /// Name and address in commits of ours.
    pub committer: (String, String),
    /// Where the record goes; none where none is wanted.
    pub audit: Option<Destination>,
    /// The Secrets that this was read from.
    pub secrets: Versions,
}

impl Settings {
    /// Where the source's files are on the audit branch.
    pub fn folder(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    pub async fn read(
        source: &GitSource,
        client: &Client,
        remotes: &Remotes,
        allow_insecure: bool,
        cluster: &str,
    ) -> Result<Self, Problem> {
        let spec = &source.spec;
        let namespace = source.namespace().unwrap_or_default();
        let mut secrets = Secrets::of(source, client);
        let url = RemoteUrl::parse(&spec.url, allow_insecure).map_err(Problem::of_spec)?;
        let follow = follow(spec.ref_.as_ref())?;
        let mut access = match &spec.credentials {
            None => Access::default(),
            Some(secret) => {
                let keys = secrets.entries(secret.name.as_str()).await?;
                Access::from_keys(&keys)
                    .map_err(|error| Problem::of_secret(format!("Secret {}: {error}", secret.name)))?
            }
        };
        access.proxy = match &spec.proxy {
            None => None,
            Some(proxy) => {
                let login = match &proxy.credentials {
                    None => None,
                    Some(secret) => {
                        let keys = secrets.entries(secret.name.as_str()).await?;
                        Some(login(&keys).ok_or_else(|| {
                            let reason = "a proxy asks for `username` and `password`, both as text";
                            Problem::of_secret(format!("Secret {}: {reason}", secret.name))
                        })?)
                    }
                };
                Some(Proxy { url: proxy.url.clone(), login })
            }
        };
        let remote = remotes.get(url.clone(), access);
        let audit = audit(source, &mut secrets, (&remote, remotes), allow_insecure, cluster).await?;
        // credentials of the record are those of this repository unless it goes elsewhere
        let pushing = match (&audit, spec.audit.as_ref().and_then(|audit| audit.url.as_ref())) {
            (Some(audit), None) => audit.remote.clone(),
            _ => remote.clone(),
        };
        let seconds = |duration: Option<crate::api::values::Duration>, least: u64, otherwise: u64| {
            duration.map_or(Duration::from_secs(otherwise), |given| given.0.max(Duration::from_secs(least)))
        };
        let placement = placement(spec, &namespace);
        let folder = placement.folder.clone();
        let prune = prune(spec.prune.as_ref());
        let (limits, fetch_bytes, object_bytes) = limits(spec.limits.as_ref());
        let here = audit.as_ref().filter(|audit| audit.remote.url().to_string() == url.to_string());
        let record_branch = here.map(|audit| audit.branch.clone());
        let opening = opening(source, &mut secrets).await?;
        let verification = verification(source, &mut secrets).await?;
        Ok(Self {
            label: source_label(&namespace, &source.name_any()),
            name: source.name_any(),
            remote,
            pushing,
            committer: committer(spec),
            audit,
            namespace,
            url,
            follow,
            folder,
            record_branch,
            interval: seconds(spec.interval, 1, 60),
            timeout: seconds(spec.timeout, 1, 60),
            placement,
            limits,
            fetch_bytes,
            object_bytes,
            drift: spec.drift.unwrap_or(Drift::Revert),
            take_over: spec.conflicts == Some(Conflicts::TakeOver),
            prune_enabled: prune.enabled,
            max_count: prune.max_count,
            max_percent: prune.max_percent,
            opening,
            verification,
            fast_forward: fast_forward(source),
            service_account: spec.service_account_name.as_ref().map(ToString::to_string),
            secrets: secrets.versions(),
        })
    }

    /// The ServiceAccount that acts, where one was named.
    pub fn account(&self) -> Option<String> {
        self.service_account.as_ref().map(|account| format!("{}/{account}", self.namespace))
    }

    /// How often that is looked at which is not watched: now and then, but within [`WHOLE_LOOK`].
    pub fn unwatched_look(&self) -> Duration {
        self.interval.saturating_mul(POLLS_PER_UNWATCHED_LOOK).clamp(LEAST_UNWATCHED_LOOK, WHOLE_LOOK)
    }

    /// How many deletions this commit may cause.
    pub fn prune(&self, commit: &Commit) -> Prune {
        let agreed = agreed(commit);
        Prune { enabled: self.prune_enabled, max_count: self.max_count, max_percent: self.max_percent, agreed }
    }

    /// The client that writes: as the named ServiceAccount, or as ourselves.
    pub fn acting_client(&self, ourselves: &Client, config: &kube::Config) -> Result<Client, Failure> {
        acting(&self.namespace, self.service_account.as_deref(), ourselves, config)
    }
}

/// How many deletions a commit agrees to.
pub fn agreed(commit: &Commit) -> usize {
    commit.trailer(AGREEMENT).and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// The client of a ServiceAccount, or our own.
pub fn acting(
    namespace: &str,
    account: Option<&str>,
    ourselves: &Client,
    config: &kube::Config,
) -> Result<Client, Failure> {
    let Some(account) = account else { return Ok(ourselves.clone()) };
    let mut config = config.clone();
    config.auth_info.impersonate = Some(format!("system:serviceaccount:{namespace}:{account}"));
    connect(config, None).map_err(|problem| Failure::new("Impersonation", problem))
}

/// Where the objects of a source go, and where they may.
pub fn placement(spec: &GitSourceSpec, own: &str) -> Placement {
    let folder = spec.path.as_deref().map(|path| path.trim_end_matches('/'));
    let folder = folder.filter(|path| !path.is_empty() && *path != ".").map(|path| format!("{path}/"));
    Placement {
        default_namespace: spec.default_namespace.as_ref().map_or_else(|| own.to_owned(), ToString::to_string),
        allowed: allowed(&spec.namespaces, own),
        folder: folder.unwrap_or_default(),
        sources: allowed(&spec.namespaces, own).is_none() && spec.service_account_name.is_none(),
    }
}

/// What a source says about objects whose file is gone, for a commit that agrees to no more.
pub fn prune(given: Option<&SpecPrune>) -> Prune {
    let prune = given.cloned().unwrap_or_default();
    let count = |given: Option<i32>, otherwise| given.and_then(|n| usize::try_from(n).ok()).unwrap_or(otherwise);
    Prune {
        enabled: prune.enabled.unwrap_or(true),
        max_count: count(prune.max_count, 10),
        max_percent: count(prune.max_percent, 30),
        agreed: 0,
    }
}

/// A commit as people say it.
pub fn follow(given: Option<&GitRef>) -> Result<Follow, Problem> {
    let Some(GitRef { branch, tag, semver, commit }) = given else { return Ok(Follow::Head) };
    let follow = match (branch, tag, semver, commit) {
        (Some(branch), _, _, _) => Follow::branch(branch),
        (_, Some(tag), _, _) => Follow::tag(tag),
        (_, _, Some(range), _) => Follow::versions(range),
        (_, _, _, Some(commit)) => Follow::commit(commit.as_str()),
        _ => return Ok(Follow::Head),
    };
    follow.map_err(Problem::of_spec)
}

/// The keys that open encrypted files.
async fn opening(source: &GitSource, secrets: &mut Secrets<'_>) -> Result<Opening, Problem> {
    let Some(secret) = &source.spec.decryption else { return Ok(Opening::Refused) };
    let entries = secrets.entries(secret.name.as_str()).await?;
    let keys = Keys::parse(entries.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())));
    let keys = keys.map_err(|error| Problem::of_secret(format!("Secret {}: {error}", secret.name)))?;
    Ok(Opening::With(Arc::new(keys)))
}

/// Which commits a source trusts, with the signers that its Secret names.
pub async fn verification(source: &GitSource, secrets: &mut Secrets<'_>) -> Result<Option<Verification>, Problem> {
    let Some(given) = &source.spec.verification else { return Ok(None) };
    let name = &given.signers.name;
    let entries = secrets.entries(name.as_str()).await?;
    let mut signers = TrustedSigners::default();
    for (key, bytes) in entries {
        let openpgp = std::path::Path::new(&key).extension().is_some_and(|ending| ending == "asc");
        if !openpgp && key != "allowed_signers" {
            continue;
        }
        let text = String::from_utf8(bytes).map_err(|_| {
            Problem::of_secret(format!("Secret {name}: {key} is no text; put keys there in their text form"))
        })?;
        if openpgp {
            signers.openpgp.push(text);
        } else {
            signers.ssh = text;
        }
    }
    if signers == TrustedSigners::default() {
        return Err(Problem::of_secret(format!(
            "Secret {name} has neither allowed_signers (SSH) nor a key that ends with .asc (OpenPGP): nobody would be trusted"
        )));
    }
    let folders = given.paths.iter().map(|path| path.trim_matches('/').to_owned());
    Ok(Some(Verification { signers, folders: folders.filter(|path| !path.is_empty() && path != ".").collect() }))
}

/// What has to come before a new commit.
pub fn fast_forward(source: &GitSource) -> Option<FastForward> {
    if source.spec.require_fast_forward != Some(true) {
        return None;
    }
    let applied = source.status.as_ref()?.applied_commit.as_ref()?;
    let applied = ObjectId::from_hex(applied.as_bytes()).ok()?;
    Some(FastForward { applied, accepted: source.annotations().get(ACCEPT_REWRITE).cloned() })
}

/// Where the record goes.
async fn audit(
    source: &GitSource,
    secrets: &mut Secrets<'_>,
    (remote, remotes): (&Remote, &Remotes),
    allow_insecure: bool,
    cluster: &str,
) -> Result<Option<Destination>, Problem> {
    let spec = source.spec.audit.clone().unwrap_or_default();
    if spec.enabled == Some(false) {
        return Ok(None);
    }
    let url = match &spec.url {
        Some(url) => RemoteUrl::parse(url, allow_insecure).map_err(Problem::of_spec)?,
        None => remote.url().clone(),
    };
    // the way out is the source's; SSH has none
    let proxy = remote.access().proxy.clone().filter(|_| matches!(url, RemoteUrl::Http { .. }));
    let pen = match pen(&spec, secrets).await {
        // whoever may not write now may later: what is applied waits for no record
        Err(problem) if problem.passing => Err(problem.message),
        pen => Ok(pen?),
    };
    let nobody = || match &spec.url {
        None => remote.clone(),
        Some(_) => remotes.get(url.clone(), Access { proxy: proxy.clone(), ..Access::default() }),
    };
    let (remote, signer, unwritable) = match pen {
        Ok((Some(access), signer)) => {
            (remotes.get(url.clone(), Access { proxy: proxy.clone(), ..access }), signer, None)
        }
        Ok((None, signer)) => (nobody(), signer, None),
        Err(problem) => (nobody(), None, Some(problem)),
    };
    Ok(Some(Destination {
        remote,
        branch: spec.branch.unwrap_or_else(|| format!("midship/audit/{cluster}")),
        cluster: cluster.to_owned(),
        committer: committer(&source.spec),
        signer,
        unwritable,
    }))
}

/// What the record is written with: credentials of its own, where there are any, and the key that signs it.
async fn pen(spec: &Audit, secrets: &mut Secrets<'_>) -> Result<(Option<Access>, Option<Arc<Signer>>), Problem> {
    let access = match &spec.credentials {
        None => None,
        Some(secret) => {
            let keys = secrets.entries(secret.name.as_str()).await?;
            let access = Access::from_keys(&keys);
            Some(access.map_err(|error| Problem::of_secret(format!("Secret {}: {error}", secret.name)))?)
        }
    };
    let signer = match &spec.signing_key {
        None => None,
        Some(secret) => {
            let keys = secrets.entries(secret.name.as_str()).await?;
            let key = keys.get("identity").and_then(|bytes| String::from_utf8(bytes.clone()).ok());
            let key = key.ok_or_else(|| {
                Problem::of_secret(format!("Secret {} has no text under the key identity", secret.name))
            })?;
            Some(Arc::new(Signer::ssh(crate::secret::Secret::new(key))))
        }
    };
    Ok((access, signer))
}

/// Midship's name and address in commits.
fn committer(spec: &GitSourceSpec) -> (String, String) {
    let audit = spec.audit.clone().unwrap_or_default();
    (
        audit.author_name.unwrap_or_else(|| "Midship".to_owned()),
        audit.author_email.unwrap_or_else(|| "midship@localhost".to_owned()),
    )
}

/// Where records go, and in whose name.
#[derive(Clone)]
pub struct Destination {
    pub remote: Remote,
    pub branch: String,
    pub cluster: String,
    /// Name and address.
    pub committer: (String, String),
    pub signer: Option<Arc<Signer>>,
    /// Why nothing can be written there: a Secret that it takes is missing, or cannot be used.
    pub unwritable: Option<String>,
}

impl Destination {
    /// Whether records can be written, and if not, why.
    pub fn usable(&self) -> Result<(), String> {
        self.unwritable.clone().map_or(Ok(()), Err)
    }
}

/// The namespaces that may be written to; none means all.
pub fn allowed(given: &[String], own: &str) -> Option<BTreeSet<String>> {
    match given {
        [] => Some(BTreeSet::from([own.to_owned()])),
        given if given.iter().any(|one| one == "*") => None,
        given => Some(given.iter().cloned().collect()),
    }
}

fn login(keys: &BTreeMap<String, Vec<u8>>) -> Option<(String, crate::secret::Secret)> {
    let text = |key: &str| keys.get(key).and_then(|bytes| String::from_utf8(bytes.clone()).ok());
    Some((text("username")?, crate::secret::Secret::new(text("password")?)))
}

/// What is read of a tree, what a fetch may bring, and how large one object of it may be.
fn limits(given: Option<&SpecLimits>) -> (Limits, u64, u64) {
    let bytes = |quantity: Option<&crate::api::values::Quantity>, otherwise| {
        quantity.and_then(crate::api::values::Quantity::bytes).unwrap_or(otherwise)
    };
    let mut limits =
        Limits { file_bytes: bytes(given.and_then(|limits| limits.file_size.as_ref()), 1 << 20), ..Limits::default() };
    if let Some(files) = given.and_then(|limits| limits.files).and_then(|files| usize::try_from(files).ok()) {
        limits.entries = files;
    }
    let fetch = bytes(given.and_then(|limits| limits.fetch_size.as_ref()), 256 << 20);
    (limits, fetch, bytes(given.and_then(|limits| limits.object_size.as_ref()), 64 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_may_write_to_its_own_namespace_unless_told_otherwise() {
        assert_eq!(allowed(&[], "team"), Some(BTreeSet::from(["team".to_owned()])));
        assert_eq!(allowed(&["*".into()], "team"), None);
    }
}
