//! Sizes and times as people read them.

use jiff::{SignedDuration, Timestamp};

const UNITS: [(u64, &str); 4] = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];

/// `1.5 GiB`, `312 MiB`, `17 B`.
pub fn size(bytes: u64) -> String {
    let Some((unit, name)) = UNITS.into_iter().find(|(unit, _)| bytes >= *unit) else {
        return format!("{bytes} B");
    };
    // tenths, rounded down: what is stored is never shown as more than it is
    let tenths = u128::from(bytes) * 10 / u128::from(unit);
    if tenths < 100 && tenths % 10 != 0 {
        format!("{}.{} {name}", tenths / 10, tenths % 10)
    } else {
        format!("{} {name}", tenths / 10)
    }
}

/// `3d4h`, `2h5m`, `42s`: the two greatest parts.
pub fn span(duration: SignedDuration) -> String {
    let mut left = duration.as_secs().unsigned_abs();
    let mut parts = Vec::new();
    for (unit, name) in [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")] {
        if left >= unit {
            parts.push(format!("{}{name}", left / unit));
            left %= unit;
        } else if !parts.is_empty() {
            break;
        }
        if parts.len() == 2 {
            break;
        }
    }
    if parts.is_empty() { "0s".to_owned() } else { parts.concat() }
}

/// How long ago.
pub fn age(at: Timestamp, now: Timestamp) -> String {
    span(now.duration_since(at))
}

/// As status fields have it: to the second.
pub fn moment(at: Timestamp) -> String {
    let whole = Timestamp::from_second(at.as_second()).unwrap_or(at);
    whole.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_short() {
        let sizes = [0, 17, 1024, 1536, 10 << 20, 12_345_678_901].map(size);
        assert_eq!(sizes, ["0 B", "17 B", "1 KiB", "1.5 KiB", "10 MiB", "11 GiB"]);
        let spans = [0, 42, 125, 3600, 7505, 273_600].map(|seconds| span(SignedDuration::from_secs(seconds)));
        assert_eq!(spans, ["0s", "42s", "2m5s", "1h", "2h5m", "3d4h"]);
    }
}
