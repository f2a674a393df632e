//! Texts from outside in a length that a status can hold fifty of: they repeat what is in files, and what webhooks of the
//! cluster say.

/// The most letters of a text.
const LONGEST: usize = 2000;

/// The text itself, or how it begins.
pub fn short_enough(mut text: String) -> String {
    let end = text.char_indices().nth(LONGEST).map(|(end, _)| end);
    if let Some(end) = end {
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fifty_texts_without_end_fit_into_a_status_and_short_ones_stay() {
        for endless in ["no ".repeat(1_000_000), "ä".repeat(1_000_000), "🦀".repeat(1_000_000)] {
            assert!(short_enough(endless).len() < (1 << 20) / 50);
        }
        assert_eq!(short_enough("no quota".to_owned()), "no quota");
    }
}
