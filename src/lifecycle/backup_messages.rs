//! Between the values about backups and their messages over gRPC. What cannot be read is told by the name of its field.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::backup::{
    ArchiveOrder, ArchiveStatus, BackupOrder, JobProgress, JobState, Outcome, RepositoryPlace, RestoreOrder,
    StorePlace, Until, Writer,
};
use super::messages::{from_struct, to_struct};
use super::problem::{Code, Problem};
use super::proto;
use crate::api::operation::BackupType;
use crate::backup::keys::{Identity, Kit, SigningKey};
use crate::backup::layout::{Owner, Uid};
use crate::backup::store::s3::{Checksums, Credentials, Lock, LockMode, Settings};
use crate::secret::Secret;

fn wrong(field: &str, reason: impl std::fmt::Display) -> Problem {
    Problem::new(Code::BadRequest, format!("{field}: {reason}"))
}

fn missing(field: &str) -> Problem {
    wrong(field, "it is missing")
}

fn parsed<T: FromStr>(field: &str, text: &str) -> Result<T, Problem>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error| wrong(field, error))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl From<&StorePlace> for proto::Store {
    fn from(place: &StorePlace) -> Self {
        let kind = match place {
            StorePlace::Filesystem(path) => proto::store::Kind::Filesystem(path.to_string_lossy().into_owned()),
            StorePlace::S3(settings) => {
                let keys = match &settings.credentials {
                    Credentials::WebIdentity => None,
                    Credentials::Keys { access_key_id, secret_access_key, session_token } => Some(proto::S3Keys {
                        access_key_id: access_key_id.clone(),
                        secret_access_key: secret_access_key.expose().to_owned(),
                        session_token: session_token.as_ref().map(|token| token.expose().to_owned()),
                    }),
                };
                proto::store::Kind::S3(proto::S3 {
                    bucket: settings.bucket.clone(),
                    prefix: settings.prefix.clone(),
                    region: settings.region.clone(),
                    endpoint: settings.endpoint.clone(),
                    path_style: settings.path_style,
                    keys,
                    ca: settings.ca.clone(),
                    checksums_when_required: settings.checksums == Checksums::WhenRequired,
                    lock_millis: settings.lock.map(|lock| millis(lock.time)),
                    lock_for_all: settings.lock.is_some_and(|lock| lock.mode == LockMode::Compliance),
                })
            }
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<proto::Store> for StorePlace {
    type Error = Problem;

    fn try_from(store: proto::Store) -> Result<Self, Problem> {
        match store.kind.ok_or_else(|| missing("repository.store"))? {
            proto::store::Kind::Filesystem(path) if path.starts_with('/') => Ok(Self::Filesystem(PathBuf::from(path))),
            proto::store::Kind::Filesystem(path) => {
                Err(wrong("repository.store.filesystem", format!("{path:?} is no absolute path")))
            }
            proto::store::Kind::S3(s3) => {
                let proto::S3 {
                    bucket,
                    prefix,
                    region,
                    endpoint,
                    path_style,
                    keys,
                    ca,
                    checksums_when_required,
                    lock_millis,
                    lock_for_all,
                } = s3;
                if bucket.is_empty() {
                    return Err(missing("repository.store.s3.bucket"));
                }
                let credentials = keys.map_or(Credentials::WebIdentity, |keys| Credentials::Keys {
                    access_key_id: keys.access_key_id,
                    secret_access_key: Secret::new(keys.secret_access_key),
                    session_token: keys.session_token.map(Secret::new),
                });
                let checksums =
                    if checksums_when_required { Checksums::WhenRequired } else { Checksums::WhenSupported };
                let mode = if lock_for_all { LockMode::Compliance } else { LockMode::Governance };
                let lock = lock_millis.map(|millis| Lock { mode, time: Duration::from_millis(millis) });
                Ok(Self::S3(Settings {
                    bucket,
                    prefix,
                    region,
                    endpoint,
                    path_style,
                    credentials,
                    ca,
                    checksums,
                    lock,
                }))
            }
        }
    }
}

impl From<&RepositoryPlace> for proto::Repository {
    fn from(place: &RepositoryPlace) -> Self {
        Self { store: Some((&place.store).into()), root: place.root.to_string() }
    }
}

fn repository(message: Option<proto::Repository>) -> Result<RepositoryPlace, Problem> {
    let proto::Repository { store, root } = message.ok_or_else(|| missing("repository"))?;
    let store = store.ok_or_else(|| missing("repository.store"))?.try_into()?;
    Ok(RepositoryPlace { store, root: parsed("repository.root", &root)? })
}

impl From<&Writer> for proto::Writer {
    fn from(writer: &Writer) -> Self {
        let encryption = match &writer.epoch {
            Some(epoch) => proto::writer::Encryption::Epoch(epoch.to_string()),
            None => proto::writer::Encryption::InTheClear(true),
        };
        Self { signing_key: writer.key.secret().expose().to_owned(), encryption: Some(encryption) }
    }
}

fn writer(message: Option<proto::Writer>) -> Result<Writer, Problem> {
    let proto::Writer { signing_key, encryption } = message.ok_or_else(|| missing("writer"))?;
    let key = SigningKey::parse(&Secret::new(signing_key)).map_err(|error| wrong("writer.signing_key", error))?;
    let epoch = match encryption {
        Some(proto::writer::Encryption::Epoch(name)) => Some(parsed::<Uid>("writer.epoch", &name)?),
        Some(proto::writer::Encryption::InTheClear(true)) => None,
        // nobody's data is to lie in the clear because a field was forgotten
        _ => return Err(wrong("writer.encryption", "name an epoch, or say that it is to be in the clear")),
    };
    Ok(Writer { key: Arc::new(key), epoch })
}

impl From<&Owner> for proto::Owner {
    fn from(owner: &Owner) -> Self {
        Self { cluster: owner.cluster.to_string(), instance: owner.instance.to_string() }
    }
}

fn owner(message: Option<proto::Owner>) -> Result<Owner, Problem> {
    let proto::Owner { cluster, instance } = message.ok_or_else(|| missing("owner"))?;
    Ok(Owner { cluster: parsed("owner.cluster", &cluster)?, instance: parsed("owner.instance", &instance)? })
}

fn job(text: String) -> Result<String, Problem> {
    let fine = (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    if fine { Ok(text) } else { Err(wrong("job", "give 1 to 128 printable characters")) }
}

fn timeout(millis: u64) -> Result<Duration, Problem> {
    if millis == 0 { Err(missing("timeout_millis")) } else { Ok(Duration::from_millis(millis)) }
}

impl From<&BackupOrder> for proto::BackupRequest {
    fn from(order: &BackupOrder) -> Self {
        Self {
            job: order.job.clone(),
            repository: Some((&order.repository).into()),
            writer: Some((&order.writer).into()),
            owner: Some((&order.owner).into()),
            method: order.method.clone(),
            r#type: match order.type_ {
                BackupType::Full => "Full".to_owned(),
                BackupType::Incremental => "Incremental".to_owned(),
            },
            parent: order.parent.map(|id| id.to_string()).unwrap_or_default(),
            labels: order.labels.clone().into_iter().collect(),
            description: Some(to_struct(order.description.clone())),
            bandwidth: order.bandwidth,
            timeout_millis: millis(order.timeout),
            may_shrink: order.may_shrink,
            with_log: order.with_log,
        }
    }
}

impl TryFrom<proto::BackupRequest> for BackupOrder {
    type Error = Problem;

    fn try_from(request: proto::BackupRequest) -> Result<Self, Problem> {
        let type_ = match request.r#type.as_str() {
            "Full" => BackupType::Full,
            "Incremental" => BackupType::Incremental,
            other => return Err(wrong("type", format!("{other:?} is neither Full nor Incremental"))),
        };
        let parent = Some(request.parent.as_str()).filter(|parent| !parent.is_empty());
        let parent = parent.map(|parent| parsed("parent", parent)).transpose()?;
        match (type_, parent) {
            (BackupType::Incremental, None) => return Err(missing("parent")),
            (BackupType::Full, Some(_)) => return Err(wrong("parent", "a full backup has none")),
            _ => {}
        }
        if request.method.is_empty() {
            return Err(missing("method"));
        }
        Ok(Self {
            job: job(request.job)?,
            repository: repository(request.repository)?,
            writer: writer(request.writer)?,
            owner: owner(request.owner)?,
            method: request.method,
            type_,
            parent,
            labels: request.labels.into_iter().collect(),
            description: request.description.map(from_struct).unwrap_or_default(),
            bandwidth: request.bandwidth.filter(|bytes| *bytes > 0),
            timeout: timeout(request.timeout_millis)?,
            may_shrink: request.may_shrink,
            with_log: request.with_log,
        })
    }
}

impl From<&ArchiveOrder> for proto::ArchiveRequest {
    fn from(order: &ArchiveOrder) -> Self {
        Self {
            method: order.method.clone(),
            repository: Some((&order.repository).into()),
            writer: Some((&order.writer).into()),
            owner: Some((&order.owner).into()),
            interval_millis: order.interval.map(millis),
        }
    }
}

/// Nothing: archive no more.
pub fn archive_order(request: proto::ArchiveRequest) -> Result<Option<ArchiveOrder>, Problem> {
    let proto::ArchiveRequest { method, repository: place, writer: who, owner: whose, interval_millis } = request;
    if method.is_empty() && place.is_none() && who.is_none() {
        return Ok(None);
    }
    if method.is_empty() {
        return Err(missing("method"));
    }
    let interval = interval_millis.filter(|millis| *millis > 0).map(Duration::from_millis);
    let (repository, writer, owner) = (repository(place)?, writer(who)?, owner(whose)?);
    Ok(Some(ArchiveOrder { method, repository, writer, owner, interval }))
}

impl From<&RestoreOrder> for proto::RestoreRequest {
    fn from(order: &RestoreOrder) -> Self {
        Self {
            job: order.job.clone(),
            repository: Some((&order.repository).into()),
            identity: order.identity.as_ref().map(|identity| identity.secret().expose().to_owned()),
            owner: Some((&order.owner).into()),
            backup: order.backup.map(|id| id.to_string()),
            until: match order.until {
                Until::Backup => None,
                Until::Latest => Some(proto::restore_request::Until::Latest(true)),
                Until::Time(time) => Some(proto::restore_request::Until::Time(time.to_string())),
            },
            timeout_millis: millis(order.timeout),
            replace: order.replace,
            kit: order.kit.as_ref().map(|kit| kit.text(Timestamp::now())),
        }
    }
}

impl TryFrom<proto::RestoreRequest> for RestoreOrder {
    type Error = Problem;

    fn try_from(request: proto::RestoreRequest) -> Result<Self, Problem> {
        let identity = request.identity.map(Secret::new);
        let identity = identity.map(|text| Identity::parse(text.expose())).transpose();
        let kit = request.kit.map(|text| Kit::parse(&text)).transpose();
        Ok(Self {
            job: job(request.job)?,
            repository: repository(request.repository)?,
            identity: identity.map_err(|error| wrong("identity", error))?,
            owner: owner(request.owner)?,
            backup: request.backup.map(|id| parsed("backup", &id)).transpose()?,
            until: match request.until {
                None | Some(proto::restore_request::Until::Latest(false)) => Until::Backup,
                Some(proto::restore_request::Until::Latest(true)) => Until::Latest,
                Some(proto::restore_request::Until::Time(time)) => Until::Time(parsed("time", &time)?),
            },
            timeout: timeout(request.timeout_millis)?,
            replace: request.replace,
            kit: kit.map_err(|error| wrong("kit", error))?,
        })
    }
}

impl From<JobProgress> for proto::JobProgress {
    fn from(progress: JobProgress) -> Self {
        let outcome = progress.outcome.map(|outcome| match outcome {
            Outcome::Committed { id, manifest, completed_at, full_because } => {
                proto::job_progress::Outcome::Committed(proto::CommittedBackup {
                    id: id.to_string(),
                    manifest: manifest.to_string(),
                    completed_at: completed_at.to_string(),
                    full_because,
                })
            }
            Outcome::Restored { id, until } => proto::job_progress::Outcome::Restored(proto::RestoredBackup {
                id: id.to_string(),
                until: until.map(|time| time.to_string()),
            }),
            Outcome::Failed(Problem { code, message, hint }) => {
                proto::job_progress::Outcome::Failed(proto::JobFailure { code: code.name().to_owned(), message, hint })
            }
        });
        Self {
            job: progress.job,
            state: progress.state.name().to_owned(),
            doing: progress.doing,
            source_bytes: progress.source_bytes,
            stored_bytes: progress.stored_bytes,
            expected_bytes: progress.expected_bytes,
            bytes_per_second: progress.bytes_per_second,
            left_seconds: progress.left.map(|left| left.as_secs()),
            started_at: progress.started_at.to_string(),
            ended_at: progress.ended_at.map(|time| time.to_string()),
            outcome,
        }
    }
}

impl TryFrom<proto::JobProgress> for JobProgress {
    type Error = Problem;

    fn try_from(message: proto::JobProgress) -> Result<Self, Problem> {
        let known = JobState::ALL.into_iter().find(|state| state.name() == message.state);
        let state = known.ok_or_else(|| wrong("state", format!("{:?} is not known", message.state)))?;
        let outcome = message.outcome.map(outcome).transpose()?;
        Ok(Self {
            job: message.job,
            state,
            doing: message.doing,
            source_bytes: message.source_bytes,
            stored_bytes: message.stored_bytes,
            expected_bytes: message.expected_bytes,
            bytes_per_second: message.bytes_per_second,
            left: message.left_seconds.map(Duration::from_secs),
            started_at: parsed("started_at", &message.started_at)?,
            ended_at: message.ended_at.map(|time| parsed("ended_at", &time)).transpose()?,
            outcome,
        })
    }
}

fn outcome(message: proto::job_progress::Outcome) -> Result<Outcome, Problem> {
    Ok(match message {
        proto::job_progress::Outcome::Committed(committed) => Outcome::Committed {
            id: parsed("committed.id", &committed.id)?,
            manifest: parsed("committed.manifest", &committed.manifest)?,
            completed_at: parsed("committed.completed_at", &committed.completed_at)?,
            full_because: committed.full_because,
        },
        proto::job_progress::Outcome::Restored(proto::RestoredBackup { id, until }) => Outcome::Restored {
            id: parsed("restored.id", &id)?,
            until: until.map(|time| parsed("restored.until", &time)).transpose()?,
        },
        proto::job_progress::Outcome::Failed(proto::JobFailure { code, message, hint }) => {
            let known = Code::ALL.into_iter().find(|known| known.name() == code);
            Outcome::Failed(Problem { code: known.unwrap_or(Code::Failed), message, hint })
        }
    })
}

impl From<ArchiveStatus> for proto::ArchiveReply {
    fn from(ArchiveStatus { method, last, last_at, pending, error, missing }: ArchiveStatus) -> Self {
        Self { method, last, last_at: last_at.map(|time: Timestamp| time.to_string()), pending, error, missing }
    }
}

impl TryFrom<proto::ArchiveReply> for ArchiveStatus {
    type Error = Problem;

    fn try_from(reply: proto::ArchiveReply) -> Result<Self, Problem> {
        let proto::ArchiveReply { method, last, last_at, pending, error, missing } = reply;
        let last_at = last_at.map(|time| parsed("last_at", &time)).transpose()?;
        Ok(Self { method, last, last_at, pending, error, missing })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order() -> BackupOrder {
        let key = SigningKey::generate();
        let root = key.public();
        let settings = Settings {
            bucket: "b".into(),
            prefix: "p".into(),
            region: None,
            endpoint: Some("https://s3.example".into()),
            path_style: true,
            credentials: Credentials::Keys {
                access_key_id: "a".into(),
                secret_access_key: Secret::new("very-secret"),
                session_token: None,
            },
            ca: None,
            checksums: Checksums::WhenRequired,
            lock: Some(Lock { mode: LockMode::Compliance, time: Duration::from_hours(24) }),
        };
        BackupOrder {
            job: "op-1".into(),
            repository: RepositoryPlace { store: StorePlace::S3(settings), root },
            writer: Writer { key: Arc::new(key), epoch: Some(Uid::parse("0001-ab").unwrap()) },
            owner: Owner { cluster: Uid::parse("c").unwrap(), instance: Uid::parse("i").unwrap() },
            method: "base".into(),
            type_: BackupType::Full,
            parent: None,
            labels: [("a".to_owned(), "b".to_owned())].into(),
            description: serde_json::Map::new(),
            bandwidth: Some(5),
            timeout: Duration::from_mins(1),
            may_shrink: false,
            with_log: true,
        }
    }

    #[test]
    fn an_order_is_the_same_after_its_way_and_prints_no_secret() {
        let order = order();
        let shown = format!("{order:?}");
        assert!(!shown.contains("very-secret") && !shown.contains(order.writer.key.secret().expose()), "{shown}");
        let back = BackupOrder::try_from(proto::BackupRequest::from(&order)).unwrap();
        assert_eq!(format!("{back:?}"), shown);
    }

    #[test]
    fn nothing_is_stored_in_the_clear_because_a_field_was_forgotten() {
        let mut request = proto::BackupRequest::from(&order());
        request.writer.as_mut().unwrap().encryption = None;
        let refused = BackupOrder::try_from(request).expect_err("no encryption is said");
        assert_eq!(refused.code, Code::BadRequest);
        assert!(refused.message.starts_with("writer.encryption:"), "{refused}");
    }

    #[test]
    fn progress_is_the_same_after_its_way() {
        let mut progress = JobProgress::new("op-1", Timestamp::UNIX_EPOCH);
        for outcome in [
            Outcome::Committed {
                id: crate::backup::id::Id::new(Timestamp::UNIX_EPOCH),
                manifest: crate::backup::digest::Digest::of(b"a manifest"),
                completed_at: Timestamp::UNIX_EPOCH,
                full_because: Some("it adds to nothing".to_owned()),
            },
            Outcome::Restored { id: crate::backup::id::Id::new(Timestamp::UNIX_EPOCH), until: None },
            Outcome::Failed(Problem::new(Code::Timeout, "late").hint("again")),
        ] {
            progress.outcome = Some(outcome);
            assert_eq!(JobProgress::try_from(proto::JobProgress::from(progress.clone())).unwrap(), progress);
        }
    }
}
