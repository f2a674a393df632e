//! Why a backup, a restore or the archiving of a log did not succeed.

use std::path::PathBuf;
use std::time::Duration;

use crate::agent::actions::ActionError;
use crate::agent::drivers::DriverError;
use crate::api::operation::UNTOUCHED;
use crate::backup::document::DocumentError;
use crate::backup::keys::epoch::EpochError;
use crate::backup::log::{HeaderError, LogError, SpanError};
use crate::backup::read::{ChainError, ReadError};
use crate::backup::replay::ReplayError;
use crate::backup::repository::RepositoryError;
use crate::backup::store::StoreError;
use crate::backup::words::in_bytes;
use crate::backup::write::WriteError;
use crate::backup::write::gate::GateRefusal;
use crate::lifecycle::{Code, Problem};

#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Document(#[from] DocumentError),
    #[error(transparent)]
    Epoch(#[from] EpochError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// Before anything was changed.
    #[error("{0}; {UNTOUCHED}")]
    Untouched(Box<Self>),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("{file}: {error}")]
    Segment { file: PathBuf, error: HeaderError },
    #[error("the log that the backup needs did not reach the store: {0}")]
    Span(#[from] SpanError),
    #[error(transparent)]
    Action(#[from] ActionError),
    #[error("{what}: {error}")]
    Command { what: &'static str, error: DriverError },
    #[error("{path}: {source}")]
    File { path: PathBuf, source: std::io::Error },
    #[error("the package has no backup method {name:?} here; it has {known}")]
    NoMethod { name: String, known: String },
    #[error("{0}")]
    Package(String),
    #[error("{message}")]
    Precondition { message: String, hint: &'static str },
    #[error("it was cancelled")]
    Cancelled,
    #[error("it did not end within {0:?}")]
    TimedOut(Duration),
}

impl BackupError {
    pub fn file(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::File { path: path.into(), source }
    }

    /// The same for the repository, which others may read: without what programs and steps said, in which there can be names
    /// and data of tenants.
    pub fn for_the_store(&self) -> String {
        let write = match self {
            Self::Write(error) => error,
            Self::Repository(_)
            | Self::Store(_)
            | Self::Document(_)
            | Self::Epoch(_)
            | Self::Span(_)
            | Self::Cancelled
            | Self::TimedOut(_) => return self.to_string(),
            _ => return "its steps failed; the Operation and the log of the agent say how".to_owned(),
        };
        match write {
            WriteError::Gate { stream, refusal: GateRefusal::Failed { code, .. } } => {
                format!("stream {stream:?}: the source ended with code {code}")
            }
            WriteError::Gate { stream, refusal: GateRefusal::Killed(_) } => {
                format!("stream {stream:?}: the source was killed")
            }
            WriteError::Source { stream, bytes, .. } => {
                format!("stream {stream:?} broke off after {}", in_bytes(*bytes))
            }
            error => error.to_string(),
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::NoMethod { .. } => Code::NotFound,
            Self::Package(_) => Code::Unsupported,
            Self::Precondition { .. } => Code::Precondition,
            Self::Replay(error) => match error {
                ReplayError::Store(_) | ReplayError::Log(_) | ReplayError::Chain(_) | ReplayError::History { .. } => {
                    Code::Failed
                }
                _ => Code::Precondition,
            },
            Self::Untouched(error) => error.code(),
            Self::TimedOut(_) => Code::Timeout,
            _ => Code::Failed,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Repository(_) => "see the BackupRepository's conditions",
            Self::Store(_) | Self::Document(_) => "see whether the store can be reached and its credentials are right",
            Self::Epoch(_) => "give the private key of one of the repository's recipients",
            Self::Write(WriteError::Gate { .. } | WriteError::Source { .. } | WriteError::Stalled { .. }) => {
                "see the log of the middleware; nothing of this attempt counts as a backup"
            }
            Self::Chain(_) => "see which backups there are: midship backup list",
            Self::Span(_) => "see whether the log is archived: the holder's pod tells it in its status",
            Self::Precondition { hint, .. } => hint,
            Self::Replay(error) => return error.hint(),
            Self::Untouched(error) => return error.hint(),
            Self::TimedOut(_) => "give it more time, or see what it waited for",
            _ => return None,
        })
    }
}

impl From<BackupError> for Problem {
    fn from(error: BackupError) -> Self {
        let problem = Self::new(error.code(), error.to_string());
        match error.hint() {
            Some(hint) => problem.hint(hint),
            None => problem,
        }
    }
}
