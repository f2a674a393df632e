//! Archived logs: what happened between backups, in segments that are written once each. A segment is claimed before it is
//! stored: the claim says what is in it, so that the same segment may come twice and another one under its name may not.

mod archive;
mod history;
mod lineage;
mod ranges;
mod walog;

use super::repository::Repository;

pub use archive::{Archive, Arrival, LogError};
pub use history::{History, Sealed, Window, check_seals, histories, holes, lines, seal, window};
pub use lineage::{Left, Lineage, Share, history_line, history_segment};
pub use ranges::{Range, missing, ranges};
pub use walog::{Header, HeaderError};

use super::layout::Segment;
use super::manifest::LogSpan;
use super::store::{StoreError, list_all};

#[derive(Debug, thiserror::Error)]
pub enum SpanError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(
        "of the segments {first:016X} to {last:016X} in {folder}, {missing} are not there, the first is {next:016X}"
    )]
    Missing { folder: String, first: u64, last: u64, missing: u64, next: u64 },
}

/// Whether every segment of a span was stored.
pub async fn check_span(repository: &Repository, span: &LogSpan) -> Result<(), SpanError> {
    let objects = list_all(repository.store(), &span.line.folder()).await?;
    let stored = objects.iter().filter(|object| !Segment::is_claim(&object.key));
    let numbers = stored.filter_map(|object| Segment::read(&object.key)).map(|segment| segment.number);
    let gaps = missing(&ranges(numbers), span.first, span.last);
    match gaps.first() {
        None => Ok(()),
        Some(gap) => Err(SpanError::Missing {
            folder: span.line.folder(),
            first: span.first,
            last: span.last,
            missing: gaps.iter().map(Range::len).sum(),
            next: gap.first,
        }),
    }
}
