//! Identities of backups: 26 characters that sort by the time they were made (ULID).

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const LENGTH: usize = 26;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(u128);

impl Id {
    /// A new identity: the time in milliseconds, and 80 random bits.
    pub fn new(now: Timestamp) -> Self {
        let mut random = [0; 16];
        aws_lc_rs::rand::fill(&mut random[6..]).expect("the system gives random numbers");
        let millis = u128::try_from(now.as_millisecond()).unwrap_or_default() & ((1 << 48) - 1);
        Self(millis << 80 | u128::from_be_bytes(random))
    }

    /// When it was made.
    pub fn made_at(self) -> Timestamp {
        let millis = i64::try_from(self.0 >> 80).unwrap_or_default();
        Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digit = |place: usize| char::from(ALPHABET[(self.0 >> (5 * place) & 31) as usize]);
        f.write_str(&(0..LENGTH).rev().map(digit).collect::<String>())
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Id {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{text:?} is no identity of a backup: 26 digits and capital letters, as `backup list` shows");
        // the first of 26 digits of five bits has room for three
        if text.len() != LENGTH || text.as_bytes()[0] > b'7' {
            return Err(wrong());
        }
        let mut value = 0u128;
        for byte in text.bytes() {
            let digit = ALPHABET.iter().position(|letter| *letter == byte).ok_or_else(wrong)?;
            value = value << 5 | digit as u128;
        }
        Ok(Self(value))
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_sort_by_time_and_read_back() {
        let at = |second| Timestamp::from_second(second).expect("a time");
        let (one, two) = (Id::new(at(1_700_000_000)), Id::new(at(1_700_000_001)));
        assert!(one.to_string() < two.to_string());
        assert_eq!(one.to_string().parse(), Ok(one));
        assert_eq!(one.made_at(), at(1_700_000_000));
        for wrong in ["", "8ZZZZZZZZZZZZZZZZZZZZZZZZZ", "01ARZ3NDEKTSV4RRFFQ69G5FAi", "01ARZ3NDEKTSV4RRFFQ69G5FA"] {
            assert!(wrong.parse::<Id>().is_err(), "{wrong:?}");
        }
    }
}
