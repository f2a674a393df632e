//! Documents of a YAML file as text, so that comments and everything else in it stay.

use std::ops::Range;

/// Where each document of a file is, without the lines that divide them.
fn documents(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let (mut begin, mut at) = (0, 0);
    for line in text.split_inclusive('\n') {
        let bare = line.trim_end();
        // at the very left these mean the same in every place, even within a block of text
        let divides = bare == "---" || bare.starts_with("--- ") || bare == "...";
        if divides {
            found.push(begin..at);
            begin = at + line.len();
        }
        at += line.len();
    }
    found.push(begin..at);
    found
}

/// The document that a line, counted from one, is in.
fn around(text: &str, line: u32) -> Option<Range<usize>> {
    let before = usize::try_from(line).ok()?.checked_sub(1)?;
    let at: usize = text.split_inclusive('\n').take(before).map(str::len).sum();
    documents(text).into_iter().find(|range| range.contains(&at))
}

/// The text of the document that a line is in.
pub fn document(text: &str, line: u32) -> Option<&str> {
    around(text, line).map(|range| &text[range])
}

/// The file with another document in the place of the one that a line is in.
pub fn replaced(text: &str, line: u32, document: &str) -> Option<String> {
    let Range { start, end } = around(text, line)?;
    let mut new = text[..start].to_owned();
    new.push_str(document);
    if !new.ends_with('\n') && end < text.len() {
        new.push('\n');
    }
    new.push_str(&text[end..]);
    Some(new)
}

/// The file with one more document.
pub fn appended(text: &str, document: &str) -> String {
    let line = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    format!("{text}{line}---\n{document}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# both\n---\na: 1 # one\ntext: |\n  --- not here\n---\nb: 2\n";

    #[test]
    fn a_document_is_cut_out_with_its_comments() {
        assert_eq!(document(FILE, 3), Some("a: 1 # one\ntext: |\n  --- not here\n"));
        assert_eq!(document(FILE, 7), Some("b: 2\n"));
        assert_eq!(document("a: 1", 1), Some("a: 1"));
        assert_eq!(document(FILE, 99), None);
    }

    #[test]
    fn the_rest_of_the_file_stays_as_it_is() {
        assert_eq!(replaced(FILE, 3, "a: 0").as_deref(), Some("# both\n---\na: 0\n---\nb: 2\n"));
        assert_eq!(replaced(FILE, 7, "b: 0\n").as_deref(), Some(&*FILE.replace("b: 2", "b: 0")));
        assert_eq!(appended("a: 1", "b: 2\n"), "a: 1\n---\nb: 2\n");
    }
}
