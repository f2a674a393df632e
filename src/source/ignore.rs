//! What a repository leaves out: the patterns under `ignore` in its own settings, which mean what they mean in a `.gitignore`.

use gix::glob::Pattern;
use gix::glob::pattern::Case;
use gix::glob::wildmatch::Mode;
use serde_json::Value;

use crate::api::git_source::FileError;
use crate::extension::check::Mistake;
use crate::plan::source::manifest::{Locate, SETTINGS, error_at};
use crate::plan::source::object::closest;

/// Patterns in one file, and characters in one of them.
const MOST: usize = 500;
const LONGEST: usize = 500;
/// The field of the settings.
const FIELD: &str = "ignore";

/// The patterns of a repository, each with its line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ignore {
    lines: Vec<Line>,
    /// The file they stand in, and the folder it lies in, with a slash at its end, or nothing.
    file: String,
    folder: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    pattern: Pattern,
    number: u32,
}

/// What settings say of it.
pub struct Read {
    /// None where it cannot be told: what they leave out may be anything.
    pub ignore: Option<Ignore>,
    pub errors: Vec<FileError>,
}

/// Reads the patterns of a document. What else is wrong with the document is no concern of theirs.
pub fn read(path: &str, value: &Value, places: &impl Locate) -> Read {
    let items = match value.get(FIELD) {
        None | Some(Value::Null) => {
            let misspelt = |key: &String| key != FIELD && closest(key, std::iter::once(FIELD)).is_some();
            let clear = value.as_object().is_some_and(|settings| !settings.keys().any(misspelt));
            return Read { ignore: clear.then(Ignore::default), errors: Vec::new() };
        }
        // that it has to be one is told by the schema
        Some(Value::Array(items)) if items.iter().all(Value::is_string) => items,
        Some(_) => return Read { ignore: None, errors: Vec::new() },
    };
    let mut ignore = Ignore {
        lines: Vec::with_capacity(items.len()),
        file: path.to_owned(),
        folder: path.strip_suffix(SETTINGS).unwrap_or_default().to_owned(),
    };
    let mut errors = Vec::new();
    let mut wrong = |pointer: String, message: String| {
        errors.push(error_at(path, &Mistake { pointer, code: "pattern", message }, places, &[]));
    };
    if items.len() > MOST {
        wrong(format!("/{FIELD}"), format!("has {} patterns, at most {MOST} are allowed; name folders", items.len()));
    }
    for (number, text) in items.iter().filter_map(Value::as_str).enumerate() {
        let pointer = format!("/{FIELD}/{number}");
        let line = places.locate(&pointer, false).0;
        match pattern(text) {
            Ok(pattern) => ignore.lines.push(Line { pattern, number: line }),
            Err(message) => wrong(pointer, message),
        }
    }
    Read { ignore: errors.is_empty().then_some(ignore), errors }
}

impl Ignore {
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The place of the pattern that takes a file out, as `file:line`.
    pub fn of(&self, path: &str) -> Option<String> {
        self.of_entry(path, false)
    }

    /// The same of what is no file, and may be a folder.
    pub fn of_anything(&self, path: &str) -> Option<String> {
        self.of_entry(path, false).or_else(|| self.of_entry(path, true))
    }

    fn of_entry(&self, path: &str, is_folder: bool) -> Option<String> {
        if self.is_empty() {
            return None;
        }
        let inside = path.strip_prefix(self.folder.as_str())?;
        // a folder that is left out is not looked into, whatever is said of what is in it
        let above = inside.match_indices('/').map(|(end, _)| (&inside[..end], true));
        let line = above.chain([(inside, is_folder)]).find_map(|(path, is_folder)| self.last_word(path, is_folder))?;
        Some(format!("{}:{line}", self.file))
    }

    /// The last line that is about a file or folder counts; its number where it takes that out.
    fn last_word(&self, path: &str, is_folder: bool) -> Option<u32> {
        let name = path.rfind('/').map(|slash| slash + 1);
        let mode = Mode::NO_MATCH_SLASH_LITERAL;
        let mut lines = self.lines.iter().rev();
        let line = lines.find(|line| {
            line.pattern.matches_repo_relative_path(path.into(), name, Some(is_folder), Case::Sensitive, mode)
        })?;
        (!line.pattern.is_negative()).then_some(line.number)
    }
}

/// A pattern, or why it would not mean what somebody meant.
fn pattern(text: &str) -> Result<Pattern, String> {
    let shown = || format!("\"{}\"", text.chars().take(60).collect::<String>().escape_default());
    let wrong = |what: &str| Err(format!("{} {what}", shown()));
    if text.chars().count() > LONGEST {
        return wrong(&format!("is longer than {LONGEST} characters"));
    }
    if text.chars().any(char::is_control) {
        return wrong("has a line break or another control character in it; write one pattern to an item");
    }
    if text.trim() != text {
        return wrong("begins or ends with a space, and no such name was meant; remove it");
    }
    if text.starts_with('#') {
        return wrong(
            "is a comment in a .gitignore, and matches nothing; put a backslash before it where a name is meant",
        );
    }
    let path = text.strip_prefix('!').unwrap_or(text).trim_matches('/');
    if path.is_empty() {
        return wrong("names nothing; write a name such as charts/ or docker-compose.yaml");
    }
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return wrong(
            "has an empty part, . or .. in it, and no path of a repository has; write it as seen from midship.yaml",
        );
    }
    closed(path).map_err(|what| format!("{} {what}", shown()))?;
    match Pattern::from_bytes(text.as_bytes()) {
        Some(pattern) => Ok(pattern),
        None => wrong("is no pattern"),
    }
}

/// Whether every set of characters and every escape has its end: what has none matches nothing.
fn closed(text: &str) -> Result<(), &'static str> {
    let mut rest = text.chars();
    while let Some(next) = rest.next() {
        match next {
            '\\' if rest.next().is_none() => return Err("ends with a backslash; write \\\\ where one is meant"),
            '[' => {
                let mut set = rest.as_str();
                set = set.strip_prefix(['!', '^']).unwrap_or(set);
                // the first of them stands for itself
                set = set.strip_prefix(']').unwrap_or(set);
                rest = set.chars();
                loop {
                    match rest.next() {
                        Some(']') => break,
                        Some('[') if rest.as_str().starts_with(':') => {
                            let Some((_, after)) = rest.as_str().split_once(":]") else {
                                return Err("has a [: without its :]");
                            };
                            rest = after.chars();
                        }
                        Some('\\') => {
                            rest.next();
                        }
                        Some(_) => {}
                        None => return Err("has a [ without its ]; write \\[ where the character itself is meant"),
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Every pattern has a line of its own, from the second.
    struct Lines;

    impl Locate for Lines {
        fn locate(&self, pointer: &str, _: bool) -> (u32, u32) {
            let number = pointer.rsplit_once('/').and_then(|(_, number)| number.parse::<u32>().ok());
            (number.map_or(1, |number| number + 2), 5)
        }
    }

    fn ignore(patterns: &[&str]) -> Ignore {
        let Read { ignore, errors } = read("midship.yaml", &json!({ "ignore": patterns }), &Lines);
        ignore.unwrap_or_else(|| panic!("{errors:?}"))
    }

    fn left_out(patterns: &[&str], path: &str) -> bool {
        ignore(patterns).of(path).is_some()
    }

    #[test]
    fn patterns_mean_what_they_mean_in_a_gitignore() {
        let cases: &[(&[&str], &str, bool)] = &[
            (&["docker-compose.yaml"], "docker-compose.yaml", true),
            (&["docker-compose.yaml"], "deep/in/docker-compose.yaml", true),
            (&["/docker-compose.yaml"], "deep/docker-compose.yaml", false),
            (&["/docker-compose.yaml"], "docker-compose.yaml", true),
            (&["charts/"], "charts/app/values.yaml", true),
            (&["charts/"], "apps/charts/values.yaml", true),
            // a file of that name is no folder
            (&["charts/"], "charts", false),
            (&["charts"], "charts", true),
            // one with a slash inside is seen from the top
            (&["ci/build.yaml"], "ci/build.yaml", true),
            (&["ci/build.yaml"], "apps/ci/build.yaml", false),
            (&["**/ci/build.yaml"], "apps/ci/build.yaml", true),
            (&["ci/**"], "ci/a/b.yaml", true),
            (&["ci/**/x.yaml"], "ci/x.yaml", true),
            (&["ci/**/x.yaml"], "ci/a/b/x.yaml", true),
            (&["ci/*"], "ci/a/b.yaml", true),
            (&["ci/*.yaml"], "ci/a/b.yaml", false),
            (&["*.yml"], "a/b.yml", true),
            (&["*.yml"], "a/b.yaml", false),
            (&["values-?.yaml"], "values-1.yaml", true),
            (&["values-[a-c].yaml"], "values-b.yaml", true),
            (&["values-[!a-c].yaml"], "values-b.yaml", false),
            (&["values-[[:digit:]].yaml"], "values-7.yaml", true),
            (&["Charts/"], "charts/values.yaml", false),
            (&["\\!odd.yaml"], "!odd.yaml", true),
            // the last word counts
            (&["ci/*", "!ci/cache.yaml"], "ci/cache.yaml", false),
            (&["!ci/cache.yaml", "ci/*"], "ci/cache.yaml", true),
            // nothing of a folder that is left out comes back
            (&["ci/", "!ci/cache.yaml"], "ci/cache.yaml", true),
            (&["/*", "!/instances/"], "instances/shop/a.yaml", false),
            (&["/*", "!/instances/"], "other/a.yaml", true),
            (&[], "a.yaml", false),
        ];
        for (patterns, path, expected) in cases {
            assert_eq!(left_out(patterns, path), *expected, "{patterns:?} {path}");
        }
    }

    #[test]
    fn the_line_that_takes_a_file_out_is_told() {
        let ignore = ignore(&["a.yaml", "ci/", "!b.yaml"]);
        assert_eq!(ignore.of("deep/a.yaml").as_deref(), Some("midship.yaml:2"));
        assert_eq!(ignore.of("ci/x.yaml").as_deref(), Some("midship.yaml:3"));
        assert_eq!(ignore.of_anything("ci").as_deref(), Some("midship.yaml:3"));
        assert_eq!(ignore.of("ci"), None);
    }

    #[test]
    fn patterns_are_seen_from_the_folder_of_the_settings() {
        let Read { ignore, .. } = read("clusters/one/midship.yaml", &json!({ "ignore": ["/ci/"] }), &Lines);
        let ignore = ignore.expect("good patterns");
        assert_eq!(ignore.of("clusters/one/ci/a.yaml").as_deref(), Some("clusters/one/midship.yaml:2"));
        assert_eq!(ignore.of("ci/a.yaml"), None);
    }

    #[test]
    fn a_pattern_that_cannot_be_read_is_told_at_its_line() {
        let cases = [
            ("", "names nothing"),
            ("!", "names nothing"),
            ("/", "names nothing"),
            ("# comment", "is a comment"),
            ("a.yaml ", "begins or ends with a space"),
            ("a\nb", "one pattern to an item"),
            ("./ci/", ". or .. in it"),
            ("../ci/", ". or .. in it"),
            ("a//b", "has an empty part"),
            ("values-[abc.yaml", "has a [ without its ]"),
            ("values-[]", "has a [ without its ]"),
            ("[[:digit]", "has a [: without its :]"),
            ("a\\", "ends with a backslash"),
        ];
        for (text, expected) in cases {
            let Read { ignore, errors } = read("midship.yaml", &json!({ "ignore": ["good", text] }), &Lines);
            assert!(ignore.is_none(), "{text}");
            assert_eq!((errors.len(), errors[0].line, errors[0].code.as_str()), (1, Some(3), "pattern"), "{text}");
            assert!(errors[0].message.contains(expected), "{text}: {}", errors[0].message);
        }
    }

    #[test]
    fn what_may_be_meant_as_patterns_leaves_it_open_what_is_left_out() {
        let known = |value: Value| read("midship.yaml", &value, &Lines).ignore.is_some();
        assert!(known(json!({})) && known(json!({ "ignore": null })) && known(json!({ "nonsense": true })));
        assert!(!known(json!({ "ingore": ["a"] })) && !known(json!({ "ignored": ["a"] })));
        assert!(!known(json!({ "ignore": "a" })) && !known(json!({ "ignore": [1] })) && !known(json!("text")));
    }
}
