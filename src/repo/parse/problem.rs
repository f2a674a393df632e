//! What is wrong with a file, for people and machines.

use std::fmt;

use super::places::Position;
use crate::repo::error::clean;

/// Stable names of what can be wrong with the text of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProblemCode {
    TooLarge,
    NotUtf8,
    ControlCharacter,
    Syntax,
    TooDeep,
    TooManyNodes,
    TooManyDocuments,
    DuplicateKey,
    BadKey,
    UnknownAnchor,
    AliasBomb,
    UnknownTag,
    BadNumber,
    BadMerge,
}

impl ProblemCode {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TooLarge => "too-large",
            Self::NotUtf8 => "not-utf8",
            Self::ControlCharacter => "control-character",
            Self::Syntax => "yaml-syntax",
            Self::TooDeep => "too-deep",
            Self::TooManyNodes => "too-many-values",
            Self::TooManyDocuments => "too-many-documents",
            Self::DuplicateKey => "duplicate-key",
            Self::BadKey => "bad-key",
            Self::UnknownAnchor => "unknown-anchor",
            Self::AliasBomb => "alias-bomb",
            Self::UnknownTag => "unknown-tag",
            Self::BadNumber => "bad-number",
            Self::BadMerge => "bad-merge",
        }
    }
}

/// One thing that is wrong, where, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub path: String,
    pub position: Position,
    pub code: ProblemCode,
    pub reason: String,
    pub hint: Option<String>,
}

impl Problem {
    pub(super) fn new(path: &str, position: Position, code: ProblemCode, reason: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            position,
            code,
            // names out of the file are in it
            reason: clean(&reason.into(), 300),
            hint: None,
        }
    }

    pub(super) fn hint(mut self, hint: &str) -> Self {
        self.hint = Some(hint.to_owned());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.position, self.reason)?;
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Problem {}
