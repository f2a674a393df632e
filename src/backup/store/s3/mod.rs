//! A store in a bucket of S3 or of one of the many servers that speak its protocol. One request per call: deadlines and
//! retries are `Resilient`'s.

mod bounded;
mod cause;
mod settings;

use std::ops::Range;

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::{
    BucketVersioningStatus, ChecksumAlgorithm, ObjectLockEnabled, ObjectLockMode, ObjectLockRetention,
    ObjectLockRetentionMode,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use jiff::{SignedDuration, Timestamp};

pub use settings::{Checksums, Credentials, Lock, LockMode, Settings};

use super::{
    Body, Cause, Doing, Features, Key, LARGEST_OBJECT, List, ObjectInfo, Page, Store, StoreError, StoreFuture,
};
use crate::backup::layout::is_needed;
use bounded::{Bounded, TELLING};
use cause::cause;

/// What the protocol gives on one page at most.
const PAGE: usize = 1000;

#[derive(Clone, Debug)]
pub struct S3 {
    client: Client,
    /// For the bytes of objects: its answers may be as long as these.
    reader: Client,
    bucket: String,
    /// Empty, or ends in '/'.
    prefix: String,
    checksums: Checksums,
    lock: Option<Lock>,
}

impl S3 {
    /// No request is made yet: what is wrong with the address or the credentials is said by the first call.
    pub fn new(settings: &Settings) -> Result<Self, StoreError> {
        let prefix = settings.prefix.trim_matches('/');
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        let Settings { bucket, checksums, lock, .. } = settings;
        let config = settings.config().map_err(|reason| {
            StoreError::new(&format!("s3://{}", settings.bucket), Doing::Open, "the bucket", Cause::Setting(reason))
        })?;
        let bounded = |most| Client::from_conf(config.clone().interceptor(Bounded(most)).build());
        let longest = usize::try_from(LARGEST_OBJECT).unwrap_or(usize::MAX).saturating_add(TELLING);
        let (client, reader) = (bounded(TELLING), bounded(longest));
        Ok(Self { client, reader, bucket: bucket.clone(), prefix, checksums: *checksums, lock: *lock })
    }

    fn full(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    fn failed(&self, doing: Doing, object: &str, cause: Cause) -> StoreError {
        StoreError::new(&self.address(), doing, object, cause)
    }

    async fn put(&self, key: &Key, body: Body) -> Result<(), StoreError> {
        let mut request = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(self.full(key.as_str()))
            .if_none_match("*")
            .content_type("application/octet-stream")
            .content_length(i64::try_from(body.bytes.len()).unwrap_or(i64::MAX))
            .body(ByteStream::from(body.bytes));
        let lock = self.lock.filter(|_| is_needed(key));
        // a lock takes no object without a checksum
        if self.checksums == Checksums::WhenSupported || lock.is_some() {
            request = request
                .checksum_algorithm(ChecksumAlgorithm::Sha256)
                .checksum_sha256(STANDARD.encode(body.sha256.as_bytes()));
        }
        if let Some(lock) = lock {
            let mode = match lock.mode {
                LockMode::Governance => ObjectLockMode::Governance,
                LockMode::Compliance => ObjectLockMode::Compliance,
            };
            request = request.object_lock_mode(mode).object_lock_retain_until_date(lock.until());
        }
        let sent = request.send().await.map(drop).map_err(|error| cause(&error));
        let Err(cause) = sent else { return Ok(()) };
        // some servers look at the locks of what is there before they look at conditions
        let is_there = matches!(cause, Cause::Locked(_)) && self.look(key).await.is_ok();
        Err(self.failed(Doing::Write, key.as_str(), if is_there { Cause::AlreadyExists } else { cause }))
    }

    async fn read(&self, key: &Key, range: Option<Range<u64>>) -> Result<Bytes, StoreError> {
        let failed = |cause| self.failed(Doing::Read, key.as_str(), cause);
        let mut request = self.reader.get_object().bucket(&self.bucket).key(self.full(key.as_str()));
        if let Some(range) = range {
            if range.is_empty() {
                return Ok(Bytes::new());
            }
            request = request.range(format!("bytes={}-{}", range.start, range.end - 1));
        }
        let mut answer = request.send().await.map_err(|error| failed(cause(&error)))?;
        let most = usize::try_from(LARGEST_OBJECT).unwrap_or(usize::MAX);
        let size = answer.content_length().and_then(|size| u64::try_from(size).ok());
        if let Some(size) = size.filter(|size| *size > LARGEST_OBJECT) {
            return Err(failed(Cause::TooLarge { size, most: LARGEST_OBJECT }));
        }
        let expected = size.and_then(|size| usize::try_from(size).ok()).unwrap_or_default();
        let mut bytes = BytesMut::with_capacity(expected);
        while let Some(part) = answer.body.next().await {
            let part = part.map_err(|error| failed(Cause::Unavailable(format!("it broke off: {error}"))))?;
            if bytes.len() + part.len() > most {
                return Err(failed(Cause::TooLarge { size: (bytes.len() + part.len()) as u64, most: LARGEST_OBJECT }));
            }
            bytes.extend_from_slice(&part);
        }
        if size.is_some_and(|size| size != bytes.len() as u64) {
            return Err(failed(Cause::Unavailable(format!("it broke off after {} of {expected} bytes", bytes.len()))));
        }
        Ok(bytes.freeze())
    }

    async fn look(&self, key: &Key) -> Result<ObjectInfo, StoreError> {
        let failed = |cause| self.failed(Doing::LookAt, key.as_str(), cause);
        let asked = self.client.head_object().bucket(&self.bucket).key(self.full(key.as_str())).send().await;
        let answer = asked.map_err(|error| failed(cause(&error)))?;
        let size = answer.content_length().and_then(|size| u64::try_from(size).ok());
        let modified = answer.last_modified().and_then(timestamp);
        let (Some(size), Some(modified)) = (size, modified) else {
            return Err(failed(Cause::Unavailable("its answer has no size or no time".into())));
        };
        Ok(ObjectInfo { key: key.clone(), size, modified })
    }

    async fn page(&self, list: &List) -> Result<Page, StoreError> {
        let failed = |cause| self.failed(Doing::List, &list.prefix, cause);
        let limit = list.limit.unwrap_or(PAGE).clamp(1, PAGE);
        let asked = self
            .client
            .list_objects_v2()
            .bucket(&self.bucket)
            .prefix(self.full(&list.prefix))
            .set_delimiter(list.folders.then(|| "/".to_owned()))
            .set_continuation_token(list.after.clone())
            .max_keys(i32::try_from(limit).unwrap_or(i32::MAX))
            .send()
            .await;
        let answer = asked.map_err(|error| failed(cause(&error)))?;
        let mut page = Page::default();
        for object in answer.contents() {
            let key = object.key().and_then(|key| key.strip_prefix(&self.prefix)).map(Key::parse);
            // what is no key was not put there by us
            let Some(Ok(key)) = key else { continue };
            let size = object.size().and_then(|size| u64::try_from(size).ok());
            let modified = object.last_modified().and_then(timestamp);
            let (Some(size), Some(modified)) = (size, modified) else {
                return Err(failed(Cause::Unavailable(format!("it lists {key} without size or time"))));
            };
            page.objects.push(ObjectInfo { key, size, modified });
        }
        let full = self.full(&list.prefix);
        for folder in answer.common_prefixes() {
            let name = folder.prefix().and_then(|folder| folder.strip_prefix(&full)).map(|name| name.trim_matches('/'));
            page.folders.extend(name.filter(|name| !name.is_empty()).map(str::to_owned));
        }
        page.next = answer.next_continuation_token().map(str::to_owned);
        if answer.is_truncated() == Some(true) && page.next.is_none() {
            return Err(failed(Cause::Unavailable("it says there is more, and not where".into())));
        }
        Ok(page)
    }

    async fn remove(&self, key: &Key) -> Result<(), StoreError> {
        let asked = self.client.delete_object().bucket(&self.bucket).key(self.full(key.as_str())).send().await;
        match asked.map_err(|error| cause(&error)) {
            Ok(_) | Err(Cause::NotFound) => Ok(()),
            Err(cause) => Err(self.failed(Doing::Delete, key.as_str(), cause)),
        }
    }

    async fn keep(&self, key: &Key) -> Result<(), StoreError> {
        let Some(lock) = self.lock else { return Ok(()) };
        let mode = match lock.mode {
            LockMode::Governance => ObjectLockRetentionMode::Governance,
            LockMode::Compliance => ObjectLockRetentionMode::Compliance,
        };
        let retention = ObjectLockRetention::builder().mode(mode).retain_until_date(lock.until()).build();
        let request = self.client.put_object_retention().bucket(&self.bucket).key(self.full(key.as_str()));
        let asked = request.retention(retention).send().await.map(drop);
        let asked = asked.map_err(|error| self.failed(Doing::Lock, key.as_str(), cause(&error)));
        let Err(refused) = asked else { return Ok(()) };
        // a lock is made neither shorter nor weaker: one that is stricter, by a rule of the bucket or from earlier, stands
        if refused.is_refusal() && self.is_locked(key).await { Ok(()) } else { Err(refused) }
    }

    /// Whether nobody may delete it now, as far as we may know.
    async fn is_locked(&self, key: &Key) -> bool {
        matches!(self.kept_until(key).await, Ok(Some(until)) if until > Timestamp::now())
    }

    async fn kept_until(&self, key: &Key) -> Result<Option<Timestamp>, StoreError> {
        let asked = self.client.head_object().bucket(&self.bucket).key(self.full(key.as_str())).send().await;
        let answer = asked.map_err(|error| self.failed(Doing::LookAt, key.as_str(), cause(&error)))?;
        Ok(answer.object_lock_retain_until_date().and_then(timestamp))
    }

    /// A store that does not know the question does not have the feature; nor has one that does not let us ask.
    async fn ask_features(&self) -> Result<Features, StoreError> {
        let versioning = match self.client.get_bucket_versioning().bucket(&self.bucket).send().await {
            Ok(answer) => answer.status() == Some(&BucketVersioningStatus::Enabled),
            Err(error) => self.unknown(cause(&error))?,
        };
        let object_lock = match self.client.get_object_lock_configuration().bucket(&self.bucket).send().await {
            Ok(answer) => answer
                .object_lock_configuration()
                .is_some_and(|lock| lock.object_lock_enabled() == Some(&ObjectLockEnabled::Enabled)),
            Err(error) => self.unknown(cause(&error))?,
        };
        Ok(Features { versioning, object_lock })
    }

    fn unknown(&self, cause: Cause) -> Result<bool, StoreError> {
        match cause {
            Cause::NotFound | Cause::Denied(_) | Cause::Locked(_) | Cause::Refused(_) => Ok(false),
            cause => Err(self.failed(Doing::LookAt, "what it can do", cause)),
        }
    }
}

impl Lock {
    /// When the lock of what is written now ends.
    fn until(&self) -> DateTime {
        DateTime::from_secs(Timestamp::now().saturating_add(self.time).unwrap_or(Timestamp::MAX).as_second())
    }
}

fn timestamp(at: &DateTime) -> Option<Timestamp> {
    Timestamp::new(at.secs(), i32::try_from(at.subsec_nanos()).ok()?).ok()
}

impl Store for S3 {
    fn address(&self) -> String {
        format!("s3://{}/{}", self.bucket, self.prefix.trim_end_matches('/')).trim_end_matches('/').to_owned()
    }

    fn put_new<'a>(&'a self, key: &'a Key, body: Body) -> StoreFuture<'a, ()> {
        Box::pin(self.put(key, body))
    }

    fn get<'a>(&'a self, key: &'a Key, range: Option<Range<u64>>) -> StoreFuture<'a, Bytes> {
        Box::pin(self.read(key, range))
    }

    fn head<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, ObjectInfo> {
        Box::pin(self.look(key))
    }

    fn list<'a>(&'a self, list: &'a List) -> StoreFuture<'a, Page> {
        Box::pin(self.page(list))
    }

    fn delete<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, ()> {
        Box::pin(self.remove(key))
    }

    fn features(&self) -> StoreFuture<'_, Features> {
        Box::pin(self.ask_features())
    }

    fn lock<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, ()> {
        Box::pin(self.keep(key))
    }

    fn locks_for(&self) -> Option<SignedDuration> {
        self.lock.map(|lock| SignedDuration::try_from(lock.time).unwrap_or(SignedDuration::MAX))
    }

    fn locked_until<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, Option<Timestamp>> {
        Box::pin(self.kept_until(key))
    }

    fn checks_content(&self) -> bool {
        self.checksums == Checksums::WhenSupported
    }
}
