//! How a timeline follows from those before it, as the `postgres` protocol's engines write it down when one begins. A log is
//! replayed along the newest: what was written on a timeline after it had been left was undone by a restore, or by a server
//! that took over, and leads nowhere.

use jiff::Timestamp;

use super::walog::HeaderError;
use crate::backup::layout::{Line, Segment, Uid};

/// Histories of timelines lie in lines of their own.
const HISTORIES: &str = "-h";

/// Where the history of a timeline lies: how it came from the ones before it. Nothing where the name of the system leaves no
/// room for it: then none was ever written.
pub fn history_line(line: &Line) -> Option<Line> {
    let system = Uid::parse(&format!("{}{HISTORIES}", line.system)).ok()?;
    Some(Line { system, timeline: line.timeline })
}

pub fn history_segment(timeline: u32) -> Segment {
    let name = Uid::parse(&format!("{timeline:08X}")).expect("hexadecimal digits are letters and digits");
    Segment { number: timeline.into(), name }
}

/// A timeline, and where in the log it was left for the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    pub timeline: u32,
    pub address: u64,
    /// The first change that does not count any more, where somebody went back to a time.
    pub stopped_at: Option<Timestamp>,
}

/// The newest timeline and those it came from, the oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lineage {
    pub newest: u32,
    pub left: Vec<Left>,
}

/// How far a timeline is part of what is replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// It is the newest.
    All,
    /// Up to somewhere in this segment, which the next one goes on in.
    Until(u64),
    Nothing,
}

impl Lineage {
    /// From the history of the newest timeline.
    pub fn read(newest: u32, text: &str) -> Result<Self, HeaderError> {
        let mut left = Vec::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            left.push(read(line).ok_or_else(|| HeaderError::History(line.to_owned()))?);
        }
        Ok(Self { newest, left })
    }

    /// Each timeline that was left, and the one that followed.
    pub fn steps(&self) -> impl Iterator<Item = (&Left, u32)> {
        let next = self.left.iter().skip(1).map(|left| left.timeline).chain([self.newest]);
        self.left.iter().zip(next)
    }

    pub fn share(&self, timeline: u32, segment_bytes: u64) -> Share {
        if timeline == self.newest {
            return Share::All;
        }
        let left = self.left.iter().find(|left| left.timeline == timeline);
        left.map_or(Share::Nothing, |left| Share::Until(left.address / segment_bytes.max(1)))
    }

    /// Whether what was complete with a segment of a timeline is part of what is replayed.
    pub fn contains(&self, timeline: u32, segment: u64, segment_bytes: u64) -> bool {
        match self.share(timeline, segment_bytes) {
            Share::All => true,
            // in the segment it was left in, it is not known on which side
            Share::Until(last) => segment < last,
            Share::Nothing => false,
        }
    }
}

/// `1<tab>0/5000148<tab>no recovery target specified`, or `before 2026-01-01 08:00:00.5+00` at its end
fn read(line: &str) -> Option<Left> {
    let mut words = line.split_whitespace();
    let timeline = words.next()?.parse().ok()?;
    let (high, low) = words.next()?.split_once('/')?;
    let (high, low) = (u32::from_str_radix(high, 16).ok()?, u32::from_str_radix(low, 16).ok()?);
    let stopped_at = match words.next() {
        Some("before" | "after") => words.collect::<Vec<_>>().join(" ").parse().ok(),
        _ => None,
    };
    Some(Left { timeline, address: u64::from(high) << 32 | u64::from(low), stopped_at })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT: u64 = 16 << 20;

    #[test]
    fn a_timeline_counts_as_far_as_it_was_not_left() {
        let text =
            "1\t0/5000148\tno recovery target specified\n\n# a note\n2\t1/3000000\tbefore 2026-01-01 08:00:00.5+00\n";
        let lineage = Lineage::read(4, text).expect("a history");
        let stopped_at = Some("2026-01-01T08:00:00.5Z".parse().expect("a time"));
        assert_eq!(lineage.left[1], Left { timeline: 2, address: 0x1_0300_0000, stopped_at });
        assert_eq!(lineage.left[0].stopped_at, None);
        assert_eq!(lineage.steps().map(|(left, next)| (left.timeline, next)).collect::<Vec<_>>(), [(1, 2), (2, 4)]);
        assert_eq!(lineage.share(4, SEGMENT), Share::All);
        assert_eq!(lineage.share(1, SEGMENT), Share::Until(5));
        assert_eq!(lineage.share(2, SEGMENT), Share::Until(259));
        assert_eq!(lineage.share(3, SEGMENT), Share::Nothing);
        assert!(
            lineage.contains(1, 4, SEGMENT) && !lineage.contains(1, 5, SEGMENT) && !lineage.contains(1, 6, SEGMENT)
        );
        assert!(lineage.contains(4, 1, SEGMENT) && !lineage.contains(3, 1, SEGMENT));
    }

    #[test]
    fn what_is_no_history_is_said() {
        for text in ["nonsense", "1 5000148", "1\t0/XYZ\tx", "-1\t0/1\tx"] {
            let error = Lineage::read(2, text).expect_err(text);
            assert!(error.to_string().contains(&format!("{text:?}")), "{error}");
        }
        assert_eq!(Lineage::read(2, "").expect("of a first timeline").left, []);
    }
}
