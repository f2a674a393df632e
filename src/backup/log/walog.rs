//! The header of a segment of a write-ahead log as the `postgres` protocol's engines write it: what says to which system,
//! timeline and place the file belongs, whatever it is called.

use crate::backup::layout::{Line, Segment, Uid};
use crate::backup::words::in_bytes;

const LONG_HEADER: usize = 40;
/// The first page of a segment has the long header.
const HAS_LONG_HEADER: u16 = 0x0002;
/// They count up with each major version.
const MAGIC: std::ops::RangeInclusive<u16> = 0xD060..=0xD1FF;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub system: u64,
    pub timeline: u32,
    /// Where in the log the segment begins.
    pub address: u64,
    pub segment_bytes: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    #[error("it has {}, fewer than the header of a segment", in_bytes(*.0))]
    Short(usize),
    #[error("it does not begin as a segment does")]
    NoSegment,
    #[error("its header says that it has {}, and it has {found}", in_bytes(*said))]
    Size { said: u32, found: usize },
    #[error("its header belongs to {inside}, and it is called {name}")]
    OtherName { name: String, inside: String },
    #[error("{0:?} is no line of the history of a timeline")]
    History(String),
}

impl Header {
    /// Reads a whole segment's header and checks it against its name.
    pub fn read(bytes: &[u8], name: &str) -> Result<Self, HeaderError> {
        let page = bytes.get(..LONG_HEADER).ok_or(HeaderError::Short(bytes.len()))?;
        let u16_at = |at: usize| u16::from_le_bytes(page[at..at + 2].try_into().expect("two bytes"));
        let u32_at = |at: usize| u32::from_le_bytes(page[at..at + 4].try_into().expect("four bytes"));
        let u64_at = |at: usize| u64::from_le_bytes(page[at..at + 8].try_into().expect("eight bytes"));
        if !MAGIC.contains(&u16_at(0)) || u16_at(2) & HAS_LONG_HEADER == 0 {
            return Err(HeaderError::NoSegment);
        }
        let header = Self { timeline: u32_at(4), address: u64_at(8), system: u64_at(24), segment_bytes: u32_at(32) };
        if !header.segment_bytes.is_power_of_two() || !header.address.is_multiple_of(header.segment_bytes.into()) {
            return Err(HeaderError::NoSegment);
        }
        if header.segment_bytes as usize != bytes.len() {
            return Err(HeaderError::Size { said: header.segment_bytes, found: bytes.len() });
        }
        // a server that takes over goes on in a copy of the segment it was in, whose first page is of the timeline before
        let named = name.get(..8).and_then(|digits| u32::from_str_radix(digits, 16).ok()).unwrap_or_default();
        let header = Self { timeline: header.timeline.max(named), ..header };
        if header.name() != name {
            return Err(HeaderError::OtherName { name: name.to_owned(), inside: header.name() });
        }
        Ok(header)
    }

    fn number(&self) -> u64 {
        self.address / u64::from(self.segment_bytes)
    }

    /// As the engine calls the file.
    pub fn name(&self) -> String {
        let per_file = (1u64 << 32) / u64::from(self.segment_bytes);
        format!("{:08X}{:08X}{:08X}", self.timeline, self.number() / per_file, self.number() % per_file)
    }

    pub fn line(&self) -> Line {
        let system = Uid::parse(&self.system.to_string()).expect("digits");
        Line { system, timeline: self.timeline }
    }

    pub fn segment(&self) -> Segment {
        Segment { number: self.number(), name: Uid::parse(&self.name()).expect("hexadecimal digits") }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A segment with nothing but a header and a mark.
    pub fn segment(system: u64, timeline: u32, number: u64, mark: u8) -> (String, Vec<u8>) {
        let size = 1u32 << 20;
        let mut bytes = vec![mark; size as usize];
        bytes[0..2].copy_from_slice(&0xD118u16.to_le_bytes());
        bytes[2..4].copy_from_slice(&2u16.to_le_bytes());
        bytes[4..8].copy_from_slice(&timeline.to_le_bytes());
        bytes[8..16].copy_from_slice(&(number * u64::from(size)).to_le_bytes());
        bytes[24..32].copy_from_slice(&system.to_le_bytes());
        bytes[32..36].copy_from_slice(&size.to_le_bytes());
        let name = format!("{timeline:08X}{:08X}{:08X}", number / 4096, number % 4096);
        (name, bytes)
    }

    #[test]
    fn a_segment_is_what_its_header_says() {
        let (name, bytes) = segment(7_300_000_000_000_000_001, 3, 4097, 0);
        let header = Header::read(&bytes, &name).expect("a segment");
        assert_eq!((header.segment().number, header.name().as_str()), (4097, "000000030000000100000001"));
        assert_eq!(header.line().system.as_str(), "7300000000000000001");
        assert!(matches!(Header::read(&bytes, "000000030000000100000002"), Err(HeaderError::OtherName { .. })));
        let taken_over = Header::read(&bytes, "000000040000000100000001").expect("the first segment of a new timeline");
        assert_eq!((taken_over.timeline, taken_over.segment().number), (4, 4097));
        assert!(matches!(Header::read(&bytes, "000000020000000100000001"), Err(HeaderError::OtherName { .. })));
        assert!(matches!(Header::read(&bytes[..1000], &name), Err(HeaderError::Size { .. })));
        assert_eq!(Header::read(&[0; 8192], &name), Err(HeaderError::NoSegment));
        assert_eq!(Header::read(&[], &name), Err(HeaderError::Short(0)));
    }
}
