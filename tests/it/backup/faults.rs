//! Real S3 servers on bad days. Whatever happens between them and us, at whichever request: there is a whole backup, or none
//! and a reason; what is read is what was written, or an error.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use midship::backup::clock::Clock;
use midship::backup::keys::{Epoch, Identity, SigningKey};
use midship::backup::layout::{Owner, Uid};
use midship::backup::read::{Catalog, Content, Keyring, Target};
use midship::backup::repository::{Repository, Trust};
use midship::backup::store::s3::{Checksums, Settings as Bucket};
use midship::backup::store::{Patience, Resilient, S3, Store};
use midship::backup::verify;
use midship::backup::write::{EndMark, Settings, Writing};

use super::life::{request, source};
use super::proxy::{Call, Fault, Proxy};
use super::servers::Server;

/// More requests than a small backup or a restore makes.
const STEPS: usize = 60;

/// A repository on a real server, and the way to it through the proxy.
struct Ground {
    proxy: Proxy,
    bucket: Bucket,
    key: SigningKey,
    identity: Identity,
    repository: Repository,
    epoch: Epoch,
    made: usize,
}

fn store(bucket: &Bucket) -> Arc<dyn Store> {
    let pause = Duration::from_millis(2);
    let timeout = Duration::from_secs(3);
    let patience = Patience { timeout, tries: 4, first_pause: pause, longest_pause: pause, concurrency: 4 };
    Arc::new(Resilient::new(Arc::new(S3::new(bucket).expect("settings")), patience))
}

/// How an attempt went, and what is in the store of it, seen past the proxy.
struct Outcome {
    said: Result<(), String>,
    restored: Option<Vec<u8>>,
}

impl Ground {
    async fn new(server: &str) -> Self {
        let bucket = Server::start(server, false).settings();
        let proxy = Proxy::before(&bucket).await;
        let (key, identity) = (SigningKey::generate(), Identity::generate());
        let now = Timestamp::now();
        let repository = Repository::create(store(&bucket), &key, &Trust::Anybody, now).await.expect("made");
        let epoch = Epoch::begin(&repository, &[identity.recipient()], &key, now).await.expect("begun");
        Self { proxy, bucket, key, identity, repository, epoch, made: 0 }
    }

    /// Through the proxy, as whoever does not know it.
    async fn open(&self) -> Result<Repository, String> {
        let store = store(&self.proxy.settings(&self.bucket));
        Repository::open(store, &Trust::Keys(vec![self.key.public()])).await.map_err(|error| error.to_string())
    }

    /// A backup of an instance of its own.
    async fn write(&self, owner: &Owner, bytes: &[u8]) -> Result<(), String> {
        let repository = self.open().await?;
        let request = midship::backup::write::Request { owner: owner.clone(), ..request(&self.epoch) };
        let settings = Settings { chunk: 16 << 10, memory: 1 << 20, sample: 1, ..Settings::default() };
        let begun = Writing::begin(&repository, &self.key, Clock::system(), request, settings).await;
        let mut writing = begun.map_err(|error| error.to_string())?;
        let mark = EndMark::Ends(bytes[bytes.len() - 8..].to_vec());
        let written = writing.stream(source("data", bytes.to_vec(), mark)).await;
        if let Err(error) = written {
            // as the agent does; it may not get through either
            let _ = writing.give_up(&error.to_string()).await;
            return Err(error.to_string());
        }
        writing.commit(None).await.map(drop).map_err(|error| error.to_string())
    }

    async fn read(&self, repository: &Repository, owner: &Owner) -> Result<Vec<u8>, String> {
        let catalog = Catalog::of(repository, owner).await.map_err(|error| error.to_string())?;
        let chain = catalog.chain(owner, Target::Newest).map_err(|error| error.to_string())?;
        let ring = Keyring::unlock(repository, &self.identity, None).await.map_err(|error| error.to_string())?;
        let opener = ring.opener(chain[0].manifest.epoch.as_ref())?;
        let content = Content::open(repository, chain[0], opener).await.map_err(|error| error.to_string())?;
        let mut restored = Vec::new();
        content.restore("data", &mut restored, 2).await.map_err(|error| error.to_string())?;
        Ok(restored)
    }

    /// Tries a backup under this rule, and looks what came of it.
    async fn attempt(&mut self, rule: impl Fn(&Call) -> Option<Fault> + Send + Sync + 'static) -> Outcome {
        self.made += 1;
        let uid = |text: String| Uid::parse(&text).expect("an identity");
        let owner = Owner { cluster: uid("c1".into()), instance: uid(format!("i-{}", self.made)) };
        let bytes = bytes(self.made);
        self.proxy.rule(rule);
        let said = self.write(&owner, &bytes).await;
        let catalog = Catalog::of(&self.repository, &owner).await.expect("the server itself is well");
        assert_eq!(catalog.problems, [], "{said:?}");
        let mut restored = None;
        if let [found] = catalog.found.as_slice() {
            let all = self.read(&self.repository, &owner).await.unwrap_or_else(|error| panic!("{error}: {said:?}"));
            assert!(all == bytes, "a wrong backup is believed: {said:?}");
            assert_eq!(verify::list(&self.repository, &catalog, found).await.expect("looked"), [""; 0]);
            assert_eq!(verify::read(&self.repository, found, None).await.expect("looked"), [""; 0]);
            restored = Some(all);
        }
        if said.is_ok() {
            assert!(restored.is_some(), "it was said to be there");
        }
        Outcome { said, restored }
    }

    /// The same fault at each request, one after another, until there are no more requests.
    async fn at_each(&mut self, fault: &Fault, check: impl Fn(usize, &Outcome)) {
        for step in 0..STEPS {
            let one = fault.clone();
            let outcome = self.attempt(move |call| (call.number == step).then(|| one.clone())).await;
            check(step, &outcome);
            if self.proxy.faults() == 0 {
                assert!(outcome.said.is_ok() && step > 8, "{fault:?}: {step} requests, {:?}", outcome.said);
                return;
            }
        }
        panic!("a small backup makes fewer than {STEPS} requests");
    }
}

/// What does not compress, of more than two chunks.
fn bytes(seed: usize) -> Vec<u8> {
    let seed = u32::try_from(seed).expect("small");
    let mix = |number: u32| number.wrapping_mul(2_654_435_761).rotate_left(number % 31) ^ seed.wrapping_mul(40_503);
    (0..9_000u32).flat_map(|number| mix(number).to_le_bytes()).collect()
}

/// One bad answer, and then all is well again.
async fn passes(server: &str) {
    let mut ground = Ground::new(server).await;
    for fault in [
        Fault::Refuses(500, "InternalError"),
        Fault::Refuses(503, "SlowDown"),
        Fault::Refuses(429, "TooManyRequests"),
        Fault::Refuses(400, "RequestTimeout"),
        Fault::Closes,
        Fault::CutsUpload,
        Fault::AnswerLost,
        Fault::Cut,
        Fault::Slow(Duration::from_millis(30)),
    ] {
        ground.at_each(&fault, |step, outcome| assert_eq!(outcome.said, Ok(()), "{fault:?} at request {step}")).await;
    }
    // a server that never answers costs its deadline each time: where it matters
    for what in ["attempt.json", "/chunks/", "index.jsonl", "manifest.json"] {
        let met = AtomicBool::new(false);
        let outcome = ground
            .attempt(move |call| {
                let first = call.writes(what) && !met.swap(true, Ordering::SeqCst);
                first.then_some(Fault::Stalls)
            })
            .await;
        assert_eq!((outcome.said, ground.proxy.faults()), (Ok(()), 1), "{what}");
    }
}

/// From some request on nothing works any more.
async fn ends(server: &str) {
    let mut ground = Ground::new(server).await;
    for (fault, reason) in [
        (Fault::Refuses(400, "ExpiredToken"), "check the credentials"),
        (Fault::Refuses(403, "AccessDenied"), "check the credentials"),
        (Fault::Refuses(403, "RequestTimeTooSkewed"), "the clock here or that of the store is wrong"),
        (Fault::Refuses(507, "StorageFull"), "there is no room left"),
        (Fault::Refuses(503, "SlowDown"), "the store does not answer as it should"),
        (Fault::AnswerLost, "the store does not answer as it should"),
        (Fault::Closes, "the store does not answer as it should"),
    ] {
        for what in ["attempt.json", "/chunks/", "index.jsonl", "manifest.json"] {
            let (one, begun) = (fault.clone(), AtomicBool::new(false));
            let outcome = ground
                .attempt(move |call| {
                    if call.writes(what) {
                        begun.store(true, Ordering::SeqCst);
                    }
                    begun.load(Ordering::SeqCst).then(|| one.clone())
                })
                .await;
            let said = outcome.said.expect_err("nothing got through");
            assert!(said.contains(reason), "{fault:?} from {what} on: {said}");
            // done, and nobody heard: that is told as not known, never as failed or done
            let unknown = fault == Fault::AnswerLost && what == "manifest.json";
            assert_eq!(outcome.restored.is_some(), unknown, "{fault:?} from {what} on: {said}");
            assert_eq!(said.contains("is not known"), what == "manifest.json" && reason.contains("answer"), "{said}");
        }
    }
    // it can be read, and nothing can be written
    let outcome = ground.attempt(|call| (call.method == hyper::Method::PUT).then_some(Fault::Stalls)).await;
    assert!(outcome.said.expect_err("no answer").contains("no answer within"));
}

/// Answers that are not true.
async fn lies(server: &str) {
    let mut ground = Ground::new(server).await;
    for fault in [
        Fault::Lies,
        Fault::ErrorBehindSuccess,
        Fault::Short,
        Fault::Flips,
        Fault::Spoils,
        Fault::Repeats,
        Fault::Forgets,
        Fault::Circles,
    ] {
        // `attempt` asserts what counts: nothing wrong is believed
        ground.at_each(&fault, |_, _| {}).await;
    }
    // what is written arrives changed each time: no backup
    let outcome = ground.attempt(|call| call.writes("/chunks/").then_some(Fault::Spoils)).await;
    let said = outcome.said.expect_err("no chunk arrived");
    assert!(outcome.restored.is_none() && said.contains("/chunks/"), "{said}");
    let outcome = ground.attempt(|call| call.writes("/chunks/").then_some(Fault::Lies)).await;
    let said = outcome.said.expect_err("no chunk arrived");
    assert!(said.contains("does not hold what it said it had written"), "{said}");
    // a store that is given no checksums takes what was changed on the way to it: what it took is read again
    ground.bucket.checksums = Checksums::WhenRequired;
    for spoiled in 0..3 {
        let chunks = AtomicUsize::new(0);
        let rule = move |call: &Call| {
            let this = call.writes("/chunks/") && chunks.fetch_add(1, Ordering::SeqCst) == spoiled;
            this.then_some(Fault::Spoils)
        };
        let outcome = ground.attempt(rule).await;
        assert_eq!((outcome.said.is_ok(), ground.proxy.faults()), (outcome.restored.is_some(), 1));
    }
    ground.bucket.checksums = Checksums::WhenSupported;
    // every page shows each object twice: that is no damage
    let outcome = ground.attempt(|_| Some(Fault::Repeats)).await;
    assert_eq!(outcome.said, Ok(()));
    let outcome = ground.attempt(|call| call.is_listing().then_some(Fault::Circles)).await;
    let said = outcome.said.expect_err("the listing never ends");
    assert!(said.contains("the same page of the listing again and again"), "{said}");
}

/// A restore meets the same.
async fn reads(server: &str) {
    let mut ground = Ground::new(server).await;
    let outcome = ground.attempt(|_| None).await;
    let bytes = outcome.restored.expect("nothing was in the way");
    let uid = |text: &str| Uid::parse(text).expect("an identity");
    let owner = Owner { cluster: uid("c1"), instance: uid("i-1") };
    for (fault, passes) in [
        (Fault::Refuses(503, "SlowDown"), true),
        (Fault::Closes, true),
        (Fault::Cut, true),
        (Fault::Refuses(403, "AccessDenied"), false),
        (Fault::Short, false),
        (Fault::Flips, false),
        (Fault::Lies, false),
        (Fault::ErrorBehindSuccess, false),
        (Fault::Forgets, false),
        (Fault::Circles, false),
    ] {
        for step in 0..STEPS {
            let one = fault.clone();
            ground.proxy.rule(move |call| (call.number == step).then(|| one.clone()));
            let restored = match ground.open().await {
                Ok(repository) => ground.read(&repository, &owner).await,
                Err(error) => Err(error),
            };
            match &restored {
                Ok(restored) => assert!(*restored == bytes, "{fault:?} at request {step}: something else was restored"),
                Err(error) => assert!(!passes, "{fault:?} at request {step}: {error}"),
            }
            if ground.proxy.faults() == 0 {
                assert!(restored.is_ok() && step > 8, "{fault:?}: {step} requests");
                break;
            }
        }
    }
}

#[tokio::test]
async fn what_passes_is_overcome_at_any_request_to_the_first_server() {
    passes("seaweedfs").await;
}

#[tokio::test]
async fn what_passes_is_overcome_at_any_request_to_the_second_server() {
    passes("versitygw").await;
}

#[tokio::test]
async fn what_does_not_pass_ends_a_backup_to_the_first_server_with_its_reason() {
    ends("seaweedfs").await;
}

#[tokio::test]
async fn what_does_not_pass_ends_a_backup_to_the_second_server_with_its_reason() {
    ends("versitygw").await;
}

#[tokio::test]
async fn no_lie_of_the_first_server_makes_a_backup() {
    lies("seaweedfs").await;
}

#[tokio::test]
async fn no_lie_of_the_second_server_makes_a_backup() {
    lies("versitygw").await;
}

#[tokio::test]
async fn what_comes_back_from_the_first_server_is_what_was_written_or_an_error() {
    reads("seaweedfs").await;
}

#[tokio::test]
async fn what_comes_back_from_the_second_server_is_what_was_written_or_an_error() {
    reads("versitygw").await;
}
