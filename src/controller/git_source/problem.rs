//! What keeps a source from being seen.

use crate::repo::{CacheError, ObjectId, RemoteError, ResolveError, short};

/// Why nothing could be seen.
#[derive(Clone, Debug)]
pub struct Problem {
    /// A short name that does not change.
    pub code: &'static str,
    pub message: String,
    /// Whether it may pass by itself.
    pub passing: bool,
}

impl Problem {
    pub fn panicked() -> Self {
        let message = "reading the repository panicked; this is a defect of Midship, please report it".to_owned();
        Self { code: "panic", message, passing: true }
    }

    /// What is followed is where the record goes.
    pub fn records_followed(branch: &str) -> Self {
        let message = format!(
            "the record would go to {branch}, the branch that is followed, and that one is never written to; name another \
             in spec.audit.branch, or follow another in spec.ref"
        );
        Self { code: "audit-branch", message, passing: false }
    }

    /// The same, with the commit that brought it.
    #[must_use]
    pub fn with(mut self, commit: &ObjectId) -> Self {
        if !self.passing {
            self.message = format!("commit {}: {}", short(commit), self.message);
        }
        self
    }
}

impl From<RemoteError> for Problem {
    fn from(error: RemoteError) -> Self {
        Self { code: error.code(), message: error.to_string(), passing: error.is_transient() }
    }
}

impl From<ResolveError> for Problem {
    fn from(error: ResolveError) -> Self {
        match error {
            ResolveError::Remote(error) => error.into(),
            error => Self { code: error.code(), message: error.to_string(), passing: false },
        }
    }
}

impl From<CacheError> for Problem {
    fn from(error: CacheError) -> Self {
        match error {
            CacheError::Remote(error) => error.into(),
            error => Self {
                code: error.code(),
                passing: matches!(error, CacheError::Storage { .. }),
                message: error.to_string(),
            },
        }
    }
}
