//! Amounts as people say them.

/// A number of bytes: `1 byte`, `512 bytes`.
pub fn in_bytes(number: impl TryInto<u64>) -> String {
    let number = number.try_into().unwrap_or(u64::MAX);
    format!("{number} byte{}", if number == 1 { "" } else { "s" })
}
