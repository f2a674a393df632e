//! Amounts as Kubernetes writes them, as numbers.

use crate::api::values::Quantity;

const SUFFIXES: [(&str, f64); 13] = [
    ("Ki", 1024.0),
    ("Mi", 1_048_576.0),
    ("Gi", 1_073_741_824.0),
    ("Ti", 1_099_511_627_776.0),
    ("Pi", 1_125_899_906_842_624.0),
    ("n", 1e-9),
    ("u", 1e-6),
    ("m", 1e-3),
    ("k", 1e3),
    ("M", 1e6),
    ("G", 1e9),
    ("T", 1e12),
    ("P", 1e15),
];

/// The amount as a number: cores of CPU, bytes of memory.
pub fn number(text: &str) -> Option<f64> {
    let text = text.trim();
    if text.is_empty() || text.starts_with(['+', '-']) {
        return None;
    }
    let (digits, factor) = SUFFIXES
        .iter()
        .find_map(|(suffix, factor)| text.strip_suffix(suffix).map(|digits| (digits, *factor)))
        .unwrap_or((text, 1.0));
    if !digits.bytes().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte)) {
        return None;
    }
    digits.parse::<f64>().ok().map(|number| number * factor).filter(|number| number.is_finite())
}

/// The amount in whole bytes.
#[allow(clippy::cast_possible_truncation)] // bounded just before
pub fn bytes(text: &str) -> Option<i64> {
    number(text).filter(|number| (0.0..9e18).contains(number)).map(|number| number.round() as i64)
}

/// What is wrong with an amount of bytes that is written in thousandths, as nobody means it.
pub fn fraction(resource: &str, text: &str) -> Option<String> {
    let of_bytes = matches!(resource, "memory" | "ephemeral-storage" | "storage");
    let number = text.strip_suffix(['m', 'u', 'n'])?;
    of_bytes.then(|| {
        format!(
            "{text} is less than {number} byte{}: m stands for thousandths; write {number}Mi for mebibytes",
            if number == "1" { "" } else { "s" }
        )
    })
}

impl Quantity {
    /// The amount as a number; 0 where it is none, which the schema does not let through.
    pub fn number(&self) -> f64 {
        number(&self.0).unwrap_or(0.0)
    }
}

/// Bytes as people write them, where that is exact.
pub fn readable(bytes: i64) -> String {
    for (suffix, factor) in [("Ti", 1i64 << 40), ("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)] {
        if bytes >= factor && bytes % factor == 0 {
            return format!("{}{suffix}", bytes / factor);
        }
    }
    bytes.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_as_kubernetes_reads_them() {
        assert_eq!(number("100m"), Some(0.1));
        assert_eq!(bytes("1.5Gi"), Some(1_610_612_736));
        assert_eq!(bytes("1e3"), Some(1000));
        assert_eq!(bytes("12"), Some(12));
        for wrong in ["", "-1", "Gi", "1 Gi", "1g", "ten"] {
            assert_eq!(bytes(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn bytes_are_written_short_where_that_is_exact() {
        assert_eq!(readable(64 << 20), "64Mi");
        assert_eq!(readable(1500), "1500");
    }
}
