//! Which repository is meant: one that a BackupRepository names, or a store, reached without any cluster.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use super::super::connection::Connection;
use super::super::error::CommandError;
use super::super::session::Session;
use crate::api::BackupRepository;
use crate::api::backup_repository::Access;
use crate::backup::id::Id;
use crate::backup::keys::{Identity, Kit, SigningKey};
use crate::backup::layout::Owner;
use crate::backup::read::{Catalog, ChainError, Content, Found, Keyring};
use crate::backup::repository::{Repository, RepositoryError, Trust};
use crate::backup::store::s3::{Checksums, Credentials, Settings};
use crate::backup::store::{Patience, StoreError};
use crate::controller::repositories::keys::{self, Keys};
use crate::controller::repositories::place::Place;
use crate::secret::Secret;

const ACCESS_KEY_ID: &str = "AWS_ACCESS_KEY_ID";
const SECRET_ACCESS_KEY: &str = "AWS_SECRET_ACCESS_KEY";
const SESSION_TOKEN: &str = "AWS_SESSION_TOKEN";

#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Repository")]
pub struct SourceArguments {
    /// The BackupRepository; the only one in the namespace where left out.
    #[arg(long, value_name = "NAME")]
    pub repository: Option<String>,

    /// The store itself, without a cluster: s3://BUCKET/PREFIX, with credentials in AWS_ACCESS_KEY_ID and
    /// AWS_SECRET_ACCESS_KEY; or file:///FOLDER.
    #[arg(long, value_name = "ADDRESS")]
    pub from: Option<String>,

    /// Address of an S3 store that is not AWS's own.
    #[arg(long, value_name = "URL", env = "AWS_ENDPOINT_URL")]
    pub endpoint: Option<String>,

    /// Region of the bucket.
    #[arg(long, value_name = "NAME", env = "AWS_REGION")]
    pub region: Option<String>,

    /// Put the bucket into the host name; assumed only where no --endpoint is given.
    #[arg(long, requires = "from")]
    pub virtual_host: bool,

    /// Certificates that are trusted for the store, in PEM.
    #[arg(long, value_name = "FILE", env = "AWS_CA_BUNDLE")]
    pub ca: Option<PathBuf>,

    /// The recovery kit: whose signatures count, and keys that the store may have lost.
    #[arg(long, value_name = "FILE")]
    pub kit: Option<PathBuf>,

    /// File with the private key (AGE-SECRET-KEY-1...), for what only those with a key may read.
    #[arg(long, value_name = "FILE")]
    pub identity: Option<PathBuf>,
}

/// Where the repository is known from, when a cluster knows it.
pub struct Home {
    pub object: BackupRepository,
    pub keys: Option<Keys>,
}

/// An open repository.
pub struct Source {
    pub repository: Repository,
    pub place: Place,
    /// Nothing for a store that was named itself.
    pub home: Option<Home>,
    pub identity: Option<Identity>,
    pub kit: Option<Kit>,
    ring: Option<Keyring>,
}

/// What else can be done where no cluster is to be had.
pub fn or_the_store_itself(error: CommandError) -> CommandError {
    error.remedy("or name the store itself, which needs no cluster: --from s3://BUCKET/PREFIX")
}

impl SourceArguments {
    /// Whether no cluster is to be asked.
    pub fn is_store(&self) -> bool {
        self.from.is_some() && self.repository.is_none()
    }

    pub async fn open(&self, connection: &Connection) -> Result<Source, CommandError> {
        let kit = self.kit.as_deref().map(read_kit).transpose()?;
        let identity = self.identity.as_deref().map(read_identity).transpose()?;
        let (place, home) = match (&self.from, &self.repository) {
            (Some(address), None) => (self.place(address)?, None),
            (from, _) => {
                let session = Session::open(connection).await.map_err(or_the_store_itself)?;
                let home = self.home(&session).await?;
                let place = match from {
                    // the same store, as it can be reached from here
                    Some(address) => self.place(address)?,
                    None => home.place(&session).await?,
                };
                (place, Some(home))
            }
        };
        let pinned = home.as_ref().and_then(|home| home.keys.as_ref()).map_or(Trust::Anybody, Keys::trust);
        let trust = kit.as_ref().map_or(pinned, Kit::trust);
        let store = place.open(Patience::default()).await?;
        let repository = Repository::open(store, &trust).await?;
        if let Some(home) = &home {
            home.is_of(&repository)?;
        }
        if let Trust::Anybody = trust {
            eprintln!(
                "the repository is signed by {}; give the recovery kit with --kit to be sure that it is yours",
                repository.root()
            );
        }
        let ring = match &identity {
            Some(identity) => {
                let unlocked = Keyring::unlock(&repository, identity, kit.as_ref()).await;
                let ring = unlocked.map_err(|error| CommandError::new(error.to_string()).at(place_of(&repository)))?;
                self.opens(&ring)?;
                Some(ring)
            }
            None => None,
        };
        Ok(Source { repository, place, home, identity, kit, ring })
    }

    /// Refuses a private key that is for nothing here, and tells what it is not for.
    fn opens(&self, ring: &Keyring) -> Result<(), CommandError> {
        if ring.opens_nothing() {
            let reasons: Vec<&str> = ring.locked().collect();
            let file = self.identity.as_ref().map_or_else(String::new, |path| path.display().to_string());
            return Err(CommandError::new(format!("the private key opens no backup: {}", reasons.join("; ")))
                .at(file)
                .remedy(
                    "give the private key of one of the recipients that backups are encrypted to; where slots were lost, \
                     the recovery kit has them: --kit; what is not encrypted is read without --identity",
                ));
        }
        for reason in ring.locked() {
            eprintln!("not opened with the private key: {reason}");
        }
        Ok(())
    }

    async fn home(&self, session: &Session<'_>) -> Result<Home, CommandError> {
        let api: Api<BackupRepository> = Api::namespaced(session.client.clone(), &session.namespace);
        let object = if let Some(name) = &self.repository {
            session.ask(api.get(name)).await?
        } else {
            let mut all = session.ask(api.list(&ListParams::default())).await?.items;
            let names: Vec<String> = all.iter().map(ResourceExt::name_any).collect();
            let place = format!("namespace {} on {}", session.namespace, session.server);
            match all.len() {
                1 => all.remove(0),
                0 => {
                    return Err(CommandError::new("there is no BackupRepository in the namespace")
                        .at(place)
                        .remedy("name the namespace with -n, or a store with --from s3://BUCKET/PREFIX"));
                }
                _ => {
                    return Err(CommandError::new("there are several BackupRepositories; name one with --repository")
                        .at(place)
                        .remedy(format!("one of {}", names.join(", "))));
                }
            }
        };
        let (namespace, name) = (session.namespace.as_str(), object.name_any());
        let keys = session.within(keys::read(&session.client, namespace, &name)).await?;
        let keys = keys
            .map_err(|error| CommandError::new(error.to_string()).at(format!("BackupRepository {namespace}/{name}")))?;
        Ok(Home { object, keys })
    }

    fn place(&self, address: &str) -> Result<Place, CommandError> {
        let wrong = |why: &str| {
            CommandError::new(format!("{address:?} is no store: {why}"))
                .at("--from")
                .remedy("write s3://BUCKET/PREFIX or file:///FOLDER")
        };
        if let Some(folder) = address.strip_prefix("file://") {
            return Ok(Place::Folder(PathBuf::from(folder)));
        }
        let rest = address.strip_prefix("s3://").ok_or_else(|| wrong("it begins with neither s3:// nor file://"))?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err(wrong("it names no bucket"));
        }
        // often set for everything a machine does, and of no use without TLS
        let plain = self.endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://"));
        let ca = self.ca.as_ref().filter(|_| !plain).map(|path| read(path)).transpose()?;
        Ok(Place::S3(Box::new(Settings {
            bucket: bucket.to_owned(),
            prefix: prefix.trim_matches('/').to_owned(),
            region: self.region.clone(),
            endpoint: self.endpoint.clone(),
            path_style: self.endpoint.is_some() && !self.virtual_host,
            credentials: credentials()?,
            ca,
            checksums: Checksums::WhenSupported,
            lock: None,
        })))
    }
}

impl Home {
    fn called(&self) -> String {
        format!("BackupRepository {}/{}", self.object.namespace().unwrap_or_default(), self.object.name_any())
    }

    /// Where the backups lie, as the object says.
    async fn place(&self, session: &Session<'_>) -> Result<Place, CommandError> {
        let name = self.object.name_any();
        if self.object.spec.s3.is_none() && self.object.spec.filesystem.is_some() {
            return Err(CommandError::new("its backups lie in a file system, which is mounted for the controller")
                .at(self.called())
                .remedy(format!(
                    "where it is mounted on this machine too, say so: --repository {name} --from file:///FOLDER"
                )));
        }
        let (client, nowhere) = (&session.client, Path::new("/nonexistent"));
        let place = Place::of(client, (session.namespace.as_str(), &name), &self.object.spec, nowhere);
        let place = session.within(place).await?;
        place.map_err(|error| CommandError::new(error.to_string()).at(self.called()))
    }

    /// Refuses a store that is another than the object shows.
    fn is_of(&self, repository: &Repository) -> Result<(), CommandError> {
        let known = self.object.status.as_ref().and_then(|status| status.uuid.as_deref());
        let found = repository.uuid().as_str();
        match known.filter(|known| *known != found) {
            None => Ok(()),
            Some(known) => Err(CommandError::new(format!(
                "this is another repository than {} shows: {found}, not {known}",
                self.called()
            ))
            .at(place_of(repository))
            .remedy("check --repository and --from; leave --repository out to read a store that no cluster knows")),
        }
    }
}

fn credentials() -> Result<Credentials, CommandError> {
    let given = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let missing = |name: &str| {
        CommandError::new(format!("the store's credentials are not given: {name} is not set"))
            .at("environment")
            .remedy(format!("set {ACCESS_KEY_ID} and {SECRET_ACCESS_KEY}"))
    };
    if std::env::var_os("AWS_WEB_IDENTITY_TOKEN_FILE").is_some() && given(ACCESS_KEY_ID).is_none() {
        return Ok(Credentials::WebIdentity);
    }
    Ok(Credentials::Keys {
        access_key_id: given(ACCESS_KEY_ID).ok_or_else(|| missing(ACCESS_KEY_ID))?,
        secret_access_key: Secret::new(given(SECRET_ACCESS_KEY).ok_or_else(|| missing(SECRET_ACCESS_KEY))?),
        session_token: given(SESSION_TOKEN).map(Secret::new),
    })
}

fn read(path: &Path) -> Result<String, CommandError> {
    std::fs::read_to_string(path)
        .map_err(|error| CommandError::new(format!("the file cannot be read: {error}")).at(path.display().to_string()))
}

fn read_kit(path: &Path) -> Result<Kit, CommandError> {
    Kit::parse(&read(path)?).map_err(|error| {
        CommandError::new(error.to_string())
            .at(path.display().to_string())
            .remedy("print one with `midship backup kit`")
    })
}

/// A private key from a file of `age-keygen`.
pub fn read_identity(path: &Path) -> Result<Identity, CommandError> {
    Identity::parse(&read(path)?).map_err(|error| {
        CommandError::new(error.to_string())
            .at(path.display().to_string())
            .remedy("give the file that age-keygen wrote when the public key was made")
    })
}

fn place_of(repository: &Repository) -> String {
    repository.store().address()
}

impl Source {
    pub fn address(&self) -> String {
        place_of(&self.repository)
    }

    pub async fn catalog(&self) -> Result<Catalog, CommandError> {
        Ok(Catalog::read(&self.repository).await?)
    }

    /// The key this cluster signs with, for commands that write.
    pub fn signing(&self) -> Result<Arc<SigningKey>, CommandError> {
        if let Some(home) = self.home.as_ref().filter(|home| home.object.spec.access == Some(Access::ReadOnly)) {
            return Err(CommandError::new("this repository is only read: its spec.access is ReadOnly")
                .at(home.called())
                .remedy("name the BackupRepository that writes to it, or set spec.access to ReadWrite"));
        }
        let keys = self.home.as_ref().and_then(|home| home.keys.as_ref());
        keys.and_then(|keys| keys.signing.clone()).ok_or_else(|| {
            CommandError::new("nothing can be written: the repository's signing key is not at hand")
                .at(self.address())
                .remedy("name a BackupRepository of the cluster that writes to it, with --repository")
        })
    }

    /// What only those with a key may read of a backup; nothing without one.
    pub async fn described(&self, found: &Found) -> Option<Result<serde_json::Map<String, serde_json::Value>, String>> {
        let opener = match (&self.ring, &found.manifest.epoch) {
            (Some(ring), epoch) => ring.opener(epoch.as_ref()),
            (None, None) => Ok(crate::backup::keys::Opener::Clear),
            (None, Some(_)) => return None,
        };
        let opener = match opener {
            Ok(opener) => opener,
            Err(reason) => return Some(Err(reason)),
        };
        let content = Content::open(&self.repository, found, opener).await;
        let described = content.and_then(|content| content.description());
        Some(described.map(|map| map.into_iter().collect()).map_err(|error| error.to_string()))
    }
}

/// The backup that is meant: by its identity, or the name of its object, which ends in it.
pub fn find<'a>(catalog: &'a Catalog, word: &str) -> Result<&'a Found, CommandError> {
    let upper = word.rsplit('-').next().unwrap_or(word).to_ascii_uppercase();
    let id: Id = upper.parse().map_err(|reason: String| CommandError::new(reason).remedy("`midship backup list`"))?;
    catalog.found.iter().find(|found| found.place.id == id).ok_or_else(|| {
        let failed = catalog.failed.iter().find(|failed| failed.place.id == id);
        let why = failed.map_or(String::new(), |failed| format!(": its attempt failed ({})", failed.void.reason));
        CommandError::new(format!("there is no backup {id}{why}")).remedy("`midship backup list` shows those there are")
    })
}

/// The instance that is meant, by its UID or, where backups can be read, its name.
pub async fn owners(source: &Source, catalog: &Catalog, word: &str) -> Vec<Owner> {
    let mut owners: Vec<Owner> = Vec::new();
    for found in catalog.found.iter().rev() {
        if owners.contains(&found.place.owner) {
            continue;
        }
        let by_name = match source.described(found).await {
            Some(Ok(described)) => described.get("instance").and_then(|name| name.as_str()) == Some(word),
            _ => false,
        };
        if by_name || found.place.owner.instance.as_str() == word {
            owners.push(found.place.owner.clone());
        }
    }
    owners
}

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> Self {
        Self::new(error.to_string())
            .at(error.store)
            .remedy("check the store's address, its credentials and what they may do")
    }
}

impl From<RepositoryError> for CommandError {
    fn from(error: RepositoryError) -> Self {
        let remedy = match &error {
            RepositoryError::NotThere(_) => "check bucket and prefix: the prefix is that of the BackupRepository",
            RepositoryError::Stranger { .. } => "check the address, and that the recovery kit belongs to it",
            RepositoryError::TooNew { .. } => "use a newer midship",
            RepositoryError::NoConditionalCreate(_) | RepositoryError::Document(_) => {
                "check the store's address, its credentials and what they may do"
            }
        };
        Self::new(error.to_string()).remedy(remedy)
    }
}

impl From<ChainError> for CommandError {
    fn from(error: ChainError) -> Self {
        Self::new(error.to_string()).remedy("`midship backup list` shows which there are")
    }
}
