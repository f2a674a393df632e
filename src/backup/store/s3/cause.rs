//! What a failed request means: whether trying again helps, and what a person can do.

use std::error::Error;
use std::fmt::Write;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use crate::backup::store::Cause;

pub fn cause<E: ProvideErrorMetadata + Error + 'static>(error: &SdkError<E, HttpResponse>) -> Cause {
    match error {
        SdkError::ConstructionFailure(_) => Cause::Setting(chain(error)),
        SdkError::ServiceError(answer) => {
            let code = answer.err().code().unwrap_or_default();
            let said = match answer.err().message() {
                Some(message) if !message.is_empty() => format!("{code}: {message}"),
                _ => code.to_owned(),
            };
            of_answer(answer.raw().status().as_u16(), code, said)
        }
        // credentials that cannot be had fail before anything is sent
        SdkError::DispatchFailure(failure) if failure.is_user() => Cause::Setting(chain(error)),
        _ => Cause::Unavailable(chain(error)),
    }
}

fn of_answer(status: u16, code: &str, said: String) -> Cause {
    let said = if said.is_empty() { format!("status {status}") } else { format!("status {status}, {said}") };
    match (status, code) {
        (_, "NoSuchBucket") => Cause::Setting(format!("{said}; make the bucket, or correct its name")),
        (_, "AuthorizationHeaderMalformed" | "PermanentRedirect") | (301 | 307, _) => {
            Cause::Setting(format!("{said}; the region or the address is not the bucket's"))
        }
        (_, "RequestTimeTooSkewed") => Cause::Setting(format!("{said}; the clock here or that of the store is wrong")),
        (412, _) | (_, "PreconditionFailed") => Cause::AlreadyExists,
        (_, "BadDigest" | "XAmzContentSHA256Mismatch" | "XAmzContentChecksumMismatch" | "InvalidDigest") => {
            Cause::Checksum(said)
        }
        (_, "QuotaExceeded" | "XMinioStorageFull" | "StorageFull" | "InsufficientCapacity") | (507, _) => {
            Cause::Full(said)
        }
        (404, _) => Cause::NotFound,
        (400 | 403, _) if locked(&said) => Cause::Locked(said),
        (401 | 403, _) | (400, "ExpiredToken" | "InvalidToken") => Cause::Denied(said),
        (408 | 409 | 429 | 500.., _) | (400, "RequestTimeout") => Cause::Unavailable(said),
        _ => Cause::Refused(said),
    }
}

/// Servers have no code of their own for it.
fn locked(said: &str) -> bool {
    let said = said.to_lowercase();
    let signs = ["worm protected", "object lock", "objectlocked", "object is locked", "legal hold", "retention policy"];
    // a bucket that cannot lock says so in like words
    signs.iter().any(|sign| said.contains(sign)) && !said.contains("configuration")
}

/// An error and all that is behind it, on one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut inner = error.source();
    while let Some(error) = inner {
        let said = error.to_string();
        if !text.contains(&said) {
            let _ = write!(text, ": {said}");
        }
        inner = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_pass_is_told_from_what_cannot() {
        let of = |status, code: &str| of_answer(status, code, code.to_owned());
        assert_eq!(of(412, "PreconditionFailed"), Cause::AlreadyExists);
        assert_eq!(of(404, "NoSuchKey"), Cause::NotFound);
        assert!(matches!(of(404, "NoSuchBucket"), Cause::Setting(_)));
        assert!(matches!(of(409, "ConditionalRequestConflict"), Cause::Unavailable(_)));
        assert!(matches!(of(503, "SlowDown"), Cause::Unavailable(_)));
        assert!(matches!(of(500, ""), Cause::Unavailable(_)));
        assert!(matches!(of(403, "AccessDenied"), Cause::Denied(_)));
        assert!(matches!(of(403, "RequestTimeTooSkewed"), Cause::Setting(_)));
        assert!(matches!(of(400, "BadDigest"), Cause::Checksum(_)));
        assert!(matches!(of(507, ""), Cause::Full(_)));
        assert!(matches!(of(400, "EntityTooLarge"), Cause::Refused(_)));
        let said = |status, code: &str, said: &str| of_answer(status, code, format!("{code}: {said}"));
        let protected = "Access Denied because object protected by object lock.";
        assert!(matches!(said(403, "AccessDenied", protected), Cause::Locked(_)));
        let protected = "Object is WORM protected and cannot be overwritten.";
        assert!(matches!(said(400, "InvalidRequest", protected), Cause::Locked(_)));
        let protected = "Object 'b/o' is subject to bucket's retention policy and cannot be deleted until 2027-01-01";
        assert!(matches!(said(403, "RetentionPolicyNotMet", protected), Cause::Locked(_)));
        let cannot = "Bucket is missing Object Lock Configuration";
        assert!(matches!(said(400, "InvalidRequest", cannot), Cause::Refused(_)));
        assert!(matches!(said(403, "AccessDenied", "User: blockchain is not authorized"), Cause::Denied(_)));
    }
}
