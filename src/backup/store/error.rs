//! What can go wrong with a store: which object, what was done with it, why, and whether trying again can help.

use std::fmt;
use std::time::Duration;

/// A failed call. Says the store, the object and the reason.
#[derive(Clone, Debug, thiserror::Error)]
#[error("cannot {doing} {object} in {store}: {cause}")]
pub struct StoreError {
    pub store: String,
    pub doing: Doing,
    pub object: String,
    pub cause: Cause,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    Write,
    Read,
    LookAt,
    List,
    Delete,
    Lock,
    Open,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    #[error("it is there already, and is never written over")]
    AlreadyExists,
    #[error("it is not there")]
    NotFound,
    #[error("access is denied ({0}); check the credentials and what they may do")]
    Denied(String),
    #[error("there is no room left ({0}); free some or raise the quota")]
    Full(String),
    #[error("what arrived is not what was sent ({0})")]
    Checksum(String),
    #[error("it has {size} bytes, and no object of a repository has more than {most}")]
    TooLarge { size: u64, most: u64 },
    #[error("it is locked against deletion ({0})")]
    Locked(String),
    #[error("the store does not answer as it should ({0})")]
    Unavailable(String),
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    #[error("the store cannot be used as it is configured ({0})")]
    Setting(String),
    #[error("the store refuses ({0})")]
    Refused(String),
}

impl StoreError {
    pub fn new(store: &str, doing: Doing, object: impl fmt::Display, cause: Cause) -> Self {
        Self { store: store.to_owned(), doing, object: object.to_string(), cause }
    }

    /// Whether the same call can succeed a moment later.
    pub fn is_transient(&self) -> bool {
        matches!(self.cause, Cause::Unavailable(_) | Cause::TimedOut(_) | Cause::Checksum(_))
    }

    /// Whether it is about this one object: the store answers, and others may be read.
    pub fn is_about_object(&self) -> bool {
        matches!(
            self.cause,
            Cause::NotFound | Cause::Denied(_) | Cause::TooLarge { .. } | Cause::Locked(_) | Cause::Refused(_)
        )
    }

    /// Whether the store does not let this one object go now; others may.
    pub fn is_refusal(&self) -> bool {
        matches!(self.cause, Cause::Locked(_) | Cause::Denied(_) | Cause::Refused(_))
    }

    pub fn is_locked(&self) -> bool {
        matches!(self.cause, Cause::Locked(_))
    }

    pub fn is_denied(&self) -> bool {
        matches!(self.cause, Cause::Denied(_))
    }

    pub fn is_not_found(&self) -> bool {
        self.cause == Cause::NotFound
    }

    pub fn already_exists(&self) -> bool {
        self.cause == Cause::AlreadyExists
    }
}

impl fmt::Display for Doing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Write => "write",
            Self::Read => "read",
            Self::LookAt => "look at",
            Self::List => "list",
            Self::Delete => "delete",
            Self::Lock => "lock",
            Self::Open => "open",
        })
    }
}
