//! Texts from outside in a length that a status can hold fifty of: they repeat what is in files, and what webhooks of the
//! cluster say.

/// The most letters of a message, of the path of a file, and of the place of a value in an object.
const MESSAGE: usize = 2000;
const PATH: usize = 500;
const FIELD: usize = 200;

pub fn message(text: String) -> String {
    at_most(MESSAGE, text)
}

pub fn path(text: String) -> String {
    at_most(PATH, text)
}

pub fn field(text: String) -> String {
    at_most(FIELD, text)
}

/// The text itself, or how it begins.
fn at_most(letters: usize, mut text: String) -> String {
    let end = text.char_indices().nth(letters).map(|(end, _)| end);
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
    fn fifty_errors_and_fifty_changed_objects_without_end_fit_into_a_status_and_short_texts_stay() {
        for letter in ["a", "ä", "🦀"] {
            let endless = || letter.repeat(1_000_000);
            let error = message(endless()).len() + path(endless()).len();
            let drifted = 5 * field(endless()).len();
            assert!(50 * (error + drifted) < 1 << 20, "{letter}");
        }
        assert_eq!(message("no quota".to_owned()), "no quota");
    }
}
