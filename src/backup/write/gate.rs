//! Whether what a source gave can be all of it. A stream that ends is no proof: programs die, disks fill up, connections
//! break, and each of them ends a stream. Nothing is believed that did not say itself that it is whole.

use crate::backup::words::in_bytes;
use std::fmt;

/// How the end of a complete stream looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndMark {
    /// Two empty blocks, as a tar archive ends.
    Tar,
    /// These bytes, and nothing behind them.
    Ends(Vec<u8>),
    /// These bytes somewhere in the last so many.
    Within { bytes: Vec<u8>, last: usize },
    /// These bytes, beginning so many bytes before the end.
    At { bytes: Vec<u8>, before_end: usize },
}

/// No end mark is further from the end.
pub const TAIL: usize = 64 << 10;

impl EndMark {
    pub fn is_in(&self, tail: &[u8]) -> bool {
        match self {
            Self::Tar => tail.len() >= 1024 && tail[tail.len() - 1024..].iter().all(|byte| *byte == 0),
            Self::Ends(bytes) => !bytes.is_empty() && tail.ends_with(bytes),
            Self::Within { bytes, last } => {
                let tail = &tail[tail.len().saturating_sub(*last)..];
                !bytes.is_empty() && tail.windows(bytes.len()).any(|window| window == bytes)
            }
            Self::At { bytes, before_end } => {
                let from = tail.len().checked_sub(*before_end);
                !bytes.is_empty() && from.is_some_and(|from| tail[from..].starts_with(bytes))
            }
        }
    }
}

impl fmt::Display for EndMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tar => f.write_str("the two empty blocks of a tar archive"),
            Self::Ends(bytes) | Self::Within { bytes, .. } | Self::At { bytes, .. } => {
                write!(f, "\"{}\"", bytes.escape_ascii())
            }
        }
    }
}

/// How the program that gave the stream ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceEnd {
    /// 0 is success; none when it was killed.
    pub code: Option<i32>,
    /// The end of what it said.
    pub said: String,
}

/// What is asked of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gate {
    pub mark: EndMark,
    /// What the same stream of the last backup had.
    pub before: Option<u64>,
    /// The share of `before` it must have at least, in percent. Data can shrink; it rarely vanishes.
    pub least_percent: u64,
}

pub const LEAST_PERCENT: u64 = 50;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GateRefusal {
    #[error("the source ended with code {code}: {said}")]
    Failed { code: i32, said: String },
    #[error("the source was killed: {0}")]
    Killed(String),
    #[error("the source gave nothing")]
    Empty,
    #[error("the source did not say that it is complete: {mark} is not at the end of its {}", in_bytes(*bytes))]
    NoEndMark { mark: String, bytes: u64 },
    #[error(
        "the source gave {}, less than {least}% of the {before} of the last backup; if that much was deleted on purpose, \
         make one with spec.backup.allowShrink, or `midship backup create --allow-shrink`",
        in_bytes(*bytes)
    )]
    Shrunk { bytes: u64, before: u64, least: u64 },
}

impl Gate {
    pub fn new(mark: EndMark) -> Self {
        Self { mark, before: None, least_percent: LEAST_PERCENT }
    }

    pub fn check(&self, end: &SourceEnd, bytes: u64, tail: &[u8]) -> Result<(), GateRefusal> {
        match end.code {
            Some(0) => {}
            Some(code) => return Err(GateRefusal::Failed { code, said: end.said.clone() }),
            None => return Err(GateRefusal::Killed(end.said.clone())),
        }
        if bytes == 0 {
            return Err(GateRefusal::Empty);
        }
        if !self.mark.is_in(tail) {
            return Err(GateRefusal::NoEndMark { mark: self.mark.to_string(), bytes });
        }
        let enough = |before: u64| u128::from(bytes) * 100 >= u128::from(before) * u128::from(self.least_percent);
        match self.before {
            Some(before) if !enough(before) => Err(GateRefusal::Shrunk { bytes, before, least: self.least_percent }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(gate: &Gate, code: Option<i32>, text: &[u8]) -> Result<(), GateRefusal> {
        gate.check(&SourceEnd { code, said: "disk full".into() }, text.len() as u64, text)
    }

    #[test]
    fn a_stream_counts_only_with_success_and_its_end_mark() {
        let gate = Gate::new(EndMark::Ends(b"complete\n".to_vec()));
        assert_eq!(check(&gate, Some(0), b"rows complete\n"), Ok(()));
        assert!(matches!(check(&gate, Some(1), b"rows complete\n"), Err(GateRefusal::Failed { code: 1, .. })));
        assert!(matches!(check(&gate, None, b"rows complete\n"), Err(GateRefusal::Killed(_))));
        assert!(matches!(check(&gate, Some(0), b"rows compl"), Err(GateRefusal::NoEndMark { .. })));
        assert_eq!(check(&gate, Some(0), b""), Err(GateRefusal::Empty));
    }

    #[test]
    fn a_stream_that_shrank_beyond_belief_is_refused() {
        let gate = Gate { before: Some(30), ..Gate::new(EndMark::Ends(b"end".to_vec())) };
        assert_eq!(check(&gate, Some(0), b"rows, rows, end"), Ok(()));
        let error = check(&gate, Some(0), b"row, row, end").expect_err("13 of 30 bytes");
        assert!(error.to_string().starts_with("the source gave 13 bytes, less than 50% of the 30"), "{error}");
        assert_eq!(check(&Gate { least_percent: 0, ..gate }, Some(0), b"end"), Ok(()));
    }

    #[test]
    fn end_marks_are_found_where_they_belong() {
        let tar = [b"file".to_vec(), vec![0; 1024]].concat();
        assert!(EndMark::Tar.is_in(&tar));
        assert!(!EndMark::Tar.is_in(&tar[..1000]));
        assert!(!EndMark::Tar.is_in(&[tar.as_slice(), b"x"].concat()));
        let within = EndMark::Within { bytes: b"dump complete".to_vec(), last: 20 };
        assert!(within.is_in(b"-- dump complete\n\n"));
        assert!(!within.is_in(b"-- dump complete\nand twenty more bytes"));
        let at = EndMark::At { bytes: vec![0xff], before_end: 9 };
        assert!(at.is_in(&[1, 0xff, 1, 2, 3, 4, 5, 6, 7, 8]));
        assert!(!at.is_in(&[0xff, 2, 3]));
    }
}
