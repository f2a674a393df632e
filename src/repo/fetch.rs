//! Bringing one commit into a local bare repository: shallow, thin, bounded.

use std::fs;
use std::io::{BufRead, Read};
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use gix::ObjectId;
use gix::odb::pack;
use gix::progress::Discard;
use gix::protocol::fetch::negotiate::{Action, Round, one_round};
use gix::protocol::fetch::{Arguments, Context, Negotiate, Options, Response, Shallow, Tags};

use super::error::RemoteError;
use super::session::{Session, agent};
use super::transport::Wire;

/// How much history comes along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    /// The commit alone.
    One,
    /// All its ancestors.
    Full,
}

/// What went wrong, told apart by whether the local repository is to blame.
#[derive(Debug)]
pub(super) enum FetchFailure {
    Remote(RemoteError),
    /// The disk is full or not writable.
    Storage(String),
    Local(String),
}

/// Fetches `want`, telling the server that we have `have`.
pub(super) fn fetch(
    session: &mut Session,
    repository: &gix::Repository,
    want: ObjectId,
    have: Option<ObjectId>,
    depth: Depth,
) -> Result<u64, FetchFailure> {
    let git_dir = repository.git_dir();
    let shallow = match depth {
        Depth::One => Shallow::DepthAtRemote(NonZeroU32::MIN),
        Depth::Full => Shallow::NoChange,
    };
    let before = session.wire.received();
    let packs = git_dir.join("objects").join("pack");
    let mut stored = Ok(());
    let bounds = session.wire.bounds.clone();
    let result = bounds.watching(|stop| {
        let wire = session.wire.clone();
        let consume = |reader: &mut dyn BufRead, _: &mut dyn gix::progress::DynNestedProgress, stop: &AtomicBool| {
            stored = store(reader, &packs, repository, &wire, stop);
            // errors are kept aside, where their kind survives
            Ok(stored.is_ok())
        };
        gix::protocol::fetch(
            &mut OneWant { want, have },
            consume,
            Discard,
            stop,
            Context {
                handshake: &mut session.handshake,
                transport: &mut session.transport,
                user_agent: agent(),
                trace_packetlines: false,
            },
            Options {
                shallow_file: git_dir.join("shallow"),
                shallow: &shallow,
                tags: Tags::None,
                reject_shallow_remote: false,
            },
        )
    });
    let wire = &session.wire;
    if let Some(failure) = wire.take_failure() {
        return Err(FetchFailure::Remote(failure));
    }
    stored?;
    match result {
        Ok(_) => Ok(wire.received() - before),
        Err(error) => Err(judge(session, &error)),
    }
}

/// Tells a server that refused from a local file that could not be read or written.
fn judge(session: &Session, error: &gix::Error) -> FetchFailure {
    if let Some(storage) = storage_failure(error) {
        return storage;
    }
    let reason = session.reason(error);
    let text = reason.to_string();
    if text.contains("'shallow'") {
        return FetchFailure::Local(text);
    }
    match reason {
        RemoteError::Protocol { host, reason } if reason.contains("not our ref") || reason.contains("upload-pack:") => {
            FetchFailure::Remote(RemoteError::Server {
                host,
                reason: "the commit is not in the repository or may not be asked for by its id".into(),
            })
        }
        reason => FetchFailure::Remote(reason),
    }
}

/// Writes the pack and its index, resolving what it leaves out against what is here.
fn store(
    reader: &mut dyn BufRead,
    packs: &Path,
    repository: &gix::Repository,
    wire: &Wire,
    stop: &AtomicBool,
) -> Result<(), FetchFailure> {
    let limit = wire.bounds.object_bytes;
    let options = pack::bundle::write::Options {
        thread_limit: Some(1),
        alloc_limit_bytes: Some(usize::try_from(limit).unwrap_or(usize::MAX)),
        ..Default::default()
    };
    let mut reader = Inspect { inner: reader };
    let outcome = pack::Bundle::write_to_directory(
        &mut reader,
        Some(packs),
        &mut Discard,
        stop,
        Some(repository.objects.clone()),
        repository.object_hash(),
        options,
    );
    match outcome {
        Ok(outcome) => {
            // the file keeps other programs from collecting the pack before a ref points to it
            if let Some(keep) = outcome.keep_path {
                let _ = fs::remove_file(keep);
            }
            Ok(())
        }
        Err(error) => Err(if let Err(over) = wire.bounds.check() {
            FetchFailure::Remote(over)
        } else if let Some(failure) = wire.take_failure() {
            FetchFailure::Remote(failure)
        } else if let Some(storage) = storage_failure(&error) {
            storage
        } else {
            let text = super::error::chain(&error);
            if text.to_lowercase().contains("alloc") || error.is_resource_exhausted() {
                FetchFailure::Remote(RemoteError::TooLarge {
                    what: "an object in the repository",
                    setting: "spec.limits.objectSize",
                    limit,
                })
            } else {
                FetchFailure::Local(text)
            }
        }),
    }
}

fn storage_failure(error: &gix::Error) -> Option<FetchFailure> {
    use std::io::ErrorKind as Kind;
    let io = error.downcast_any_ref::<std::io::Error>()?;
    matches!(
        io.kind(),
        Kind::StorageFull
            | Kind::QuotaExceeded
            | Kind::ReadOnlyFilesystem
            | Kind::PermissionDenied
            | Kind::FileTooLarge
    )
    .then(|| FetchFailure::Storage(io.to_string()))
}

/// Writes a pack of our own making, which leaves nothing out.
pub(super) fn store_pack(reader: &mut dyn BufRead, packs: &Path, stop: &AtomicBool) -> Result<(), String> {
    let options = pack::bundle::write::Options { thread_limit: Some(1), ..Default::default() };
    let mut reader = Inspect { inner: reader };
    let outcome = pack::Bundle::write_to_directory(
        &mut reader,
        Some(packs),
        &mut Discard,
        stop,
        None::<gix::OdbHandle>,
        gix::hash::Kind::Sha1,
        options,
    );
    let outcome = outcome.map_err(|error| super::error::chain(&error))?;
    if let Some(keep) = outcome.keep_path {
        let _ = fs::remove_file(keep);
    }
    Ok(())
}

/// Hands the stream through; gix wants a sized reader behind its own adapters.
struct Inspect<'a> {
    inner: &'a mut dyn BufRead,
}

impl Read for Inspect<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        self.inner.read(out)
    }
}

impl BufRead for Inspect<'_> {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.inner.consume(amount);
    }
}

/// A negotiation that is no discussion: one want, at most one have, done.
struct OneWant {
    want: ObjectId,
    have: Option<ObjectId>,
}

impl Negotiate for OneWant {
    fn mark_complete_and_common_ref(&mut self) -> Result<Action, gix::Error> {
        Ok(Action::MustNegotiate { remote_ref_target_known: Vec::new() })
    }

    fn add_wants(&mut self, arguments: &mut Arguments, _known: &[bool]) -> bool {
        arguments.want(self.want);
        true
    }

    fn one_round(
        &mut self,
        _state: &mut one_round::State,
        arguments: &mut Arguments,
        _previous: Option<&Response>,
    ) -> Result<(Round, bool), gix::Error> {
        if let Some(have) = self.have {
            arguments.have(have);
        }
        let round = Round {
            haves_sent: usize::from(self.have.is_some()),
            in_vain: 0,
            haves_to_send: 0,
            previous_response_had_at_least_one_in_common: false,
        };
        Ok((round, true))
    }
}
