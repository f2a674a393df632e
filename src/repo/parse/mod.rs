//! From the bytes of a YAML or JSON file to documents that know where each value was written.

mod compose;
mod places;
mod problem;
mod scalar;

#[cfg(test)]
mod tests;

pub use places::{Places, Position};
pub use problem::{Problem, ProblemCode};

use serde_json::Value;

use super::error::in_bytes;

/// How much a file may ask of us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseLimits {
    pub bytes: usize,
    /// Mappings and lists inside one another.
    pub depth: usize,
    /// Values in a file, with those that aliases repeat.
    pub nodes: usize,
    /// Bytes of text that aliases may repeat.
    pub alias_bytes: usize,
    pub documents: usize,
}

impl Default for ParseLimits {
    fn default() -> Self {
        Self { bytes: 1 << 20, depth: 64, nodes: 100_000, alias_bytes: 1 << 20, documents: 1000 }
    }
}

/// One document of a file.
#[derive(Clone, Debug)]
pub struct Document {
    pub value: Value,
    /// Where each value was written. Needed for messages while the value is checked; drop it then.
    pub places: Places,
}

/// Parses a file of one or several documents. Empty documents are left out. Either all of the file is
/// good, or every problem that could be found is told.
pub fn parse(path: &str, bytes: &[u8], limits: &ParseLimits) -> Result<Vec<Document>, Vec<Problem>> {
    let text = text(path, bytes, limits).map_err(|problem| vec![problem])?;
    compose::compose(path, text, limits).map_err(|problems| conflict(path, text).map_or(problems, |told| vec![told]))
}

/// What a merge left in the file: whatever else is wrong with it follows from that.
fn conflict(path: &str, text: &str) -> Option<Problem> {
    let begins = |line: &str| ["<<<<<<< ", ">>>>>>> "].iter().any(|mark| line.starts_with(mark));
    let marked = text.split_inclusive('\n').position(begins)?;
    let before: usize = text.split_inclusive('\n').take(marked).map(str::len).sum();
    let reason = "a merge was not finished here: two versions of the same lines stand in the file";
    let problem = Problem::new(path, Position::after(&text[..before]), ProblemCode::Syntax, reason);
    Some(problem.hint("keep what is meant, and remove the lines that begin with <<<<<<<, ======= and >>>>>>>"))
}

fn text<'a>(path: &str, bytes: &'a [u8], limits: &ParseLimits) -> Result<&'a str, Problem> {
    let problem = |position, code, reason: String, hint: &str| Problem::new(path, position, code, reason).hint(hint);
    if bytes.len() > limits.bytes {
        let reason = format!("the file has {}, more than {}", in_bytes(bytes.len() as u64), limits.bytes);
        return Err(problem(Position::START, ProblemCode::TooLarge, reason, "split it into several files"));
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        let reason = "the file is UTF-16".to_owned();
        return Err(problem(Position::START, ProblemCode::NotUtf8, reason, "save it as UTF-8"));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let good = &bytes[..error.valid_up_to()];
        let position = Position::after(&String::from_utf8_lossy(good));
        let byte = bytes.get(error.valid_up_to()).copied().unwrap_or_default();
        let reason = format!("the byte 0x{byte:02x} is not UTF-8");
        problem(position, ProblemCode::NotUtf8, reason, "save the file as UTF-8")
    })?;
    let control = |b: &u8| (*b < 0x20 && !matches!(*b, b'\t' | b'\n' | b'\r')) || *b == 0x7f;
    if let Some(at) = text.as_bytes().iter().position(control) {
        let reason = format!("the file contains the control character U+{:04X}", text.as_bytes()[at]);
        let hint = "remove it, or write it as an escape in double quotes";
        return Err(problem(Position::after(&text[..at]), ProblemCode::ControlCharacter, reason, hint));
    }
    Ok(text)
}
