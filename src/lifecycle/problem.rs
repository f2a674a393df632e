//! Errors of the lifecycle API: the same code, message and hint over REST and over gRPC.

use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;
use tonic::metadata::MetadataValue;

use super::{CODE_KEY, HINT_KEY};

/// What went wrong, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// The request cannot be understood.
    BadRequest,
    /// This caller may not.
    Forbidden,
    /// There is no such thing: a path, an action, a pod.
    NotFound,
    MethodNotAllowed,
    TooLarge,
    /// The idempotency key belongs to another request.
    KeyReused,
    /// Another order is under way. Nothing was done.
    Busy,
    /// It cannot be done as things are, such as a switchover by a pod that does not have the role.
    Precondition,
    /// Too much is asked at once. Nothing was done.
    TooMany,
    /// It was tried; the message says what happened.
    Failed,
    /// It is not well.
    Unhealthy,
    /// The package has no means to do it.
    Unsupported,
    /// The agent cannot answer now, or cannot be reached.
    Unavailable,
    /// The deadline passed. What was begun goes on to its end.
    Timeout,
}

impl Code {
    pub const ALL: [Self; 14] = [
        Self::BadRequest,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::TooLarge,
        Self::KeyReused,
        Self::Busy,
        Self::Precondition,
        Self::TooMany,
        Self::Failed,
        Self::Unhealthy,
        Self::Unsupported,
        Self::Unavailable,
        Self::Timeout,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::BadRequest => "bad-request",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not-found",
            Self::MethodNotAllowed => "method-not-allowed",
            Self::TooLarge => "too-large",
            Self::KeyReused => "key-reused",
            Self::Busy => "busy",
            Self::Precondition => "precondition",
            Self::TooMany => "too-many",
            Self::Failed => "failed",
            Self::Unhealthy => "unhealthy",
            Self::Unsupported => "unsupported",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
        }
    }

    /// As HTTP says it.
    pub fn http(self) -> StatusCode {
        match self {
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::KeyReused | Self::Busy | Self::Precondition => StatusCode::CONFLICT,
            Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Self::Failed => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unsupported => StatusCode::NOT_IMPLEMENTED,
            Self::Unhealthy | Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// As gRPC says it.
    pub fn grpc(self) -> tonic::Code {
        match self {
            Self::BadRequest => tonic::Code::InvalidArgument,
            Self::Forbidden => tonic::Code::PermissionDenied,
            Self::NotFound => tonic::Code::NotFound,
            Self::KeyReused => tonic::Code::AlreadyExists,
            Self::Busy => tonic::Code::Aborted,
            Self::Precondition => tonic::Code::FailedPrecondition,
            Self::TooLarge | Self::TooMany => tonic::Code::ResourceExhausted,
            Self::Failed | Self::Unhealthy => tonic::Code::Unknown,
            Self::MethodNotAllowed | Self::Unsupported => tonic::Code::Unimplemented,
            Self::Unavailable => tonic::Code::Unavailable,
            Self::Timeout => tonic::Code::DeadlineExceeded,
        }
    }

    /// Whether nothing can have happened, so that the same may be asked again.
    pub fn nothing_happened(self) -> bool {
        matches!(self, Self::Busy | Self::TooMany | Self::Forbidden | Self::BadRequest | Self::NotFound)
    }
}

/// An error for people and programs.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}{}", hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default())]
pub struct Problem {
    pub code: Code,
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Problem {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None }
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<Problem> for tonic::Status {
    fn from(problem: Problem) -> Self {
        let mut status = Self::new(problem.code.grpc(), problem.message);
        status.metadata_mut().insert(CODE_KEY, MetadataValue::from_static(problem.code.name()));
        if let Some(hint) = problem.hint {
            status.metadata_mut().insert_bin(HINT_KEY, MetadataValue::from_bytes(hint.as_bytes()));
        }
        status
    }
}

impl From<tonic::Status> for Problem {
    fn from(status: tonic::Status) -> Self {
        let named = status.metadata().get(CODE_KEY).and_then(|name| name.to_str().ok());
        let named = named.and_then(|name| Code::ALL.into_iter().find(|code| code.name() == name));
        let code = named.unwrap_or(match status.code() {
            tonic::Code::InvalidArgument | tonic::Code::OutOfRange => Code::BadRequest,
            tonic::Code::PermissionDenied | tonic::Code::Unauthenticated => Code::Forbidden,
            tonic::Code::NotFound => Code::NotFound,
            tonic::Code::ResourceExhausted => Code::TooMany,
            tonic::Code::Unimplemented => Code::Unsupported,
            tonic::Code::DeadlineExceeded => Code::Timeout,
            tonic::Code::Unavailable | tonic::Code::Cancelled => Code::Unavailable,
            _ => Code::Failed,
        });
        let hint = status.metadata().get_bin(HINT_KEY).and_then(|hint| hint.to_bytes().ok());
        let hint = hint.and_then(|hint| String::from_utf8(hint.to_vec()).ok());
        Self { code, message: status.message().to_owned(), hint }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_the_same_after_its_way_through_grpc() {
        for code in Code::ALL {
            let problem = Problem::new(code, "it is so").hint("do this – and that");
            assert_eq!(Problem::from(tonic::Status::from(problem.clone())), problem);
            assert_eq!(serde_json::to_value(code).unwrap(), code.name());
            assert!(code.http().is_client_error() || code.http().is_server_error());
        }
    }

    #[test]
    fn a_problem_reads_as_a_sentence_with_advice() {
        let problem = Problem::new(Code::Busy, "a restart is under way");
        assert_eq!(problem.to_string(), "a restart is under way");
        assert_eq!(problem.hint("wait").to_string(), "a restart is under way; wait");
    }
}
