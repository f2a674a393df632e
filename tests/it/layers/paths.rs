//! Which paths a Rust file names: its `use` trees written out, and the paths in its code, without comments and strings.

use std::collections::HashMap;

/// A path that a file names, written out from the crate's root or from another crate's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub line: usize,
    /// `crate` comes first where it is one of ours.
    pub path: Vec<String>,
    /// Whether only tests name it.
    pub in_test: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    /// `::`
    Colons,
    Mark(char),
}

/// What a file of the module `module` says.
pub struct Said {
    pub paths: Vec<Named>,
    /// Child modules that exist only for tests.
    pub test_modules: Vec<String>,
    pub unsafe_lines: Vec<usize>,
}

pub fn read(text: &str, module: &[String]) -> Said {
    let mut reader = Reader {
        tokens: tokens(text),
        at: 0,
        module: module.to_vec(),
        blocks: Vec::new(),
        known_as: HashMap::new(),
        said: Said { paths: Vec::new(), test_modules: Vec::new(), unsafe_lines: Vec::new() },
    };
    reader.read();
    reader.said
}

/// The modules around a place: where each began, and whether it is for tests.
struct Block {
    module: bool,
    test: bool,
}

struct Reader {
    tokens: Vec<(usize, Token)>,
    at: usize,
    module: Vec<String>,
    blocks: Vec<Block>,
    /// What `use` made known under another name.
    known_as: HashMap<String, Vec<String>>,
    said: Said,
}

impl Reader {
    fn read(&mut self) {
        let mut test_item = false;
        while let Some((line, token)) = self.tokens.get(self.at).cloned() {
            if self.is(&["#", "[", "cfg", "(", "test", ")", "]"]) {
                self.at += 7;
                test_item = true;
                continue;
            }
            match token {
                Token::Word(word) if word == "use" => {
                    self.at += 1;
                    let in_test = test_item || self.in_test();
                    self.tree(&[], in_test);
                    test_item = false;
                }
                Token::Word(word) if word == "mod" => {
                    if let Some((_, Token::Word(name))) = self.tokens.get(self.at + 1).cloned() {
                        self.at += 2;
                        if self.is(&["{"]) {
                            self.at += 1;
                            self.module.push(name);
                            self.blocks.push(Block { module: true, test: test_item });
                        } else if test_item {
                            self.said.test_modules.push(name);
                        }
                        test_item = false;
                    } else {
                        self.at += 1;
                    }
                }
                Token::Word(word) => {
                    if word == "unsafe" || word == "unsafe_code" {
                        self.said.unsafe_lines.push(line);
                    }
                    let path = self.path_here();
                    if path.len() > 1 {
                        let in_test = test_item || self.in_test();
                        self.name(line, path, in_test);
                    }
                }
                Token::Mark('{') => {
                    self.at += 1;
                    self.blocks.push(Block { module: false, test: test_item });
                    test_item = false;
                }
                Token::Mark('}') => {
                    self.at += 1;
                    if self.blocks.pop().is_some_and(|block| block.module) {
                        self.module.pop();
                    }
                }
                Token::Mark(';') => {
                    self.at += 1;
                    test_item = false;
                }
                _ => self.at += 1,
            }
        }
    }

    fn in_test(&self) -> bool {
        self.blocks.iter().any(|block| block.test)
    }

    fn is(&self, wanted: &[&str]) -> bool {
        let same = |wanted: &str, token: &Token| match token {
            Token::Word(word) => word == wanted,
            Token::Colons => wanted == "::",
            Token::Mark(mark) => wanted.len() == 1 && wanted.starts_with(*mark),
        };
        let here = self.tokens.get(self.at..self.at + wanted.len());
        here.is_some_and(|here| here.iter().zip(wanted).all(|((_, token), wanted)| same(wanted, token)))
    }

    /// The words from here on that `::` connects.
    fn path_here(&mut self) -> Vec<String> {
        let mut path = Vec::new();
        while let Some((_, Token::Word(word))) = self.tokens.get(self.at) {
            path.push(word.clone());
            self.at += 1;
            if !self.is(&["::"]) || !matches!(self.tokens.get(self.at + 1), Some((_, Token::Word(_)))) {
                break;
            }
            self.at += 1;
        }
        path
    }

    /// One tree of a `use`, with what came before it.
    fn tree(&mut self, before: &[String], in_test: bool) {
        let line = self.tokens.get(self.at).map_or(0, |(line, _)| *line);
        if self.is(&["::"]) {
            self.at += 1;
        }
        let mut path = before.to_vec();
        path.extend(self.path_here());
        if self.is(&["::"]) {
            self.at += 1;
        }
        if self.is(&["{"]) {
            self.at += 1;
            while self.at < self.tokens.len() && !self.is(&["}"]) {
                self.tree(&path, in_test);
                if self.is(&[","]) {
                    self.at += 1;
                }
            }
            self.at += 1;
            return;
        }
        let mut known_as = path.last().cloned();
        if self.is(&["*"]) {
            self.at += 1;
            path.push("*".into());
            known_as = None;
        } else if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
            path.pop();
            known_as = path.last().cloned();
        }
        if self.is(&["as"]) {
            known_as = match self.tokens.get(self.at + 1) {
                Some((_, Token::Word(name))) => Some(name.clone()),
                _ => None,
            };
            self.at += 2;
        }
        let path = self.written_out(path);
        if let Some(name) = known_as {
            self.known_as.insert(name, path.clone());
        }
        self.said.paths.push(Named { line, path, in_test });
    }

    fn name(&mut self, line: usize, path: Vec<String>, in_test: bool) {
        let path = match self.known_as.get(&path[0]) {
            Some(meant) => meant.iter().chain(&path[1..]).cloned().collect(),
            None => self.written_out(path),
        };
        self.said.paths.push(Named { line, path, in_test });
    }

    /// `self` and `super` replaced by what they mean here.
    fn written_out(&self, path: Vec<String>) -> Vec<String> {
        if path.first().is_none_or(|first| first != "self" && first != "super") {
            return path;
        }
        let ups = path.iter().filter(|word| *word == "super").count();
        let module = &self.module[..self.module.len().saturating_sub(ups)];
        let rest = path.iter().filter(|word| *word != "super" && *word != "self");
        std::iter::once("crate").map(str::to_owned).chain(module.iter().cloned()).chain(rest.cloned()).collect()
    }
}

/// The words and marks of a text, each with its line. Comments, strings, characters and lifetimes are left out.
fn tokens(text: &str) -> Vec<(usize, Token)> {
    let chars: Vec<char> = text.chars().collect();
    let (mut at, mut line, mut found) = (0, 1, Vec::new());
    let peek = |at: usize| chars.get(at).copied().unwrap_or('\0');
    while at < chars.len() {
        let from = at;
        match chars[at] {
            '/' if peek(at + 1) == '/' => {
                while at < chars.len() && chars[at] != '\n' {
                    at += 1;
                }
            }
            '/' if peek(at + 1) == '*' => {
                let mut depth = 0;
                while at < chars.len() {
                    match (chars[at], peek(at + 1)) {
                        ('/', '*') => (depth, at) = (depth + 1, at + 2),
                        ('*', '/') => (depth, at) = (depth - 1, at + 2),
                        _ => at += 1,
                    }
                    if depth == 0 {
                        break;
                    }
                }
            }
            '"' => at = after_string(&chars, at),
            '\'' if peek(at + 1) == '\\' => {
                at += 3;
                while at < chars.len() && chars[at] != '\'' {
                    at += 1;
                }
                at += 1;
            }
            '\'' if peek(at + 2) == '\'' => at += 3,
            '\'' => at += 1,
            ':' if peek(at + 1) == ':' => {
                found.push((line, Token::Colons));
                at += 2;
            }
            c if c.is_alphanumeric() || c == '_' => {
                while peek(at).is_alphanumeric() || peek(at) == '_' {
                    at += 1;
                }
                let word: String = chars[from..at].iter().collect();
                let raw = ["r", "br", "cr"].contains(&word.as_str());
                let hashes = chars[at..].iter().take_while(|c| **c == '#').count();
                if raw && peek(at + hashes) == '"' {
                    at = after_raw_string(&chars, at + hashes, hashes);
                } else if raw && hashes == 1 {
                    at += 1; // r#word: the word itself follows
                } else if !(["b", "c"].contains(&word.as_str()) && peek(at) == '"') {
                    found.push((line, Token::Word(word)));
                }
            }
            c if c.is_whitespace() => at += 1,
            c => {
                found.push((line, Token::Mark(c)));
                at += 1;
            }
        }
        line += chars[from..at.min(chars.len())].iter().filter(|c| **c == '\n').count();
    }
    found
}

fn after_string(chars: &[char], quote: usize) -> usize {
    let mut at = quote + 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

fn after_raw_string(chars: &[char], quote: usize, hashes: usize) -> usize {
    let mut at = quote + 1;
    while at < chars.len() {
        let ends = chars[at] == '"' && chars[at + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes;
        at += 1;
        if ends {
            return at + hashes;
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(text: &str) -> Vec<String> {
        let module = ["plan".to_owned(), "source".to_owned()];
        read(text, &module).paths.into_iter().map(|named| named.path.join("::")).collect()
    }

    #[test]
    fn trees_of_use_are_written_out() {
        let text = "use crate::{a::{self, B as C, d::*}, e};\npub(crate) use std::fs;";
        assert_eq!(paths(text), ["crate::a", "crate::a::B", "crate::a::d::*", "crate::e", "std::fs"]);
    }

    #[test]
    fn self_and_super_mean_what_they_mean_where_they_stand() {
        assert_eq!(
            paths("use super::x; use self::y;\nmod inner { use super::z; fn f() { super::super::g() } }"),
            ["crate::plan::x", "crate::plan::source::y", "crate::plan::source::z", "crate::plan::g"]
        );
    }

    #[test]
    fn names_that_use_gave_are_followed() {
        let text = "use std::time;\nuse kube as k;\nfn f() { time::Instant::now(); k::Client::new() }";
        assert_eq!(paths(text)[2..], ["std::time::Instant::now", "kube::Client::new"]);
    }

    #[test]
    fn comments_and_strings_name_nothing() {
        let text = "// a::b\n/* c::d /* e::f */ g::h */ fn f<'a>(x: &'a str) -> char { \"i::j\\\" k::l\"; r#\"m::\"n\"#; b\"o::p\"; '\"'; '\\''; q::r }";
        assert_eq!(paths(text), ["q::r"]);
    }

    #[test]
    fn lines_are_counted_and_tests_told_apart() {
        let said = read(
            "\n\nuse a::b;\n\"\n\";\n#[cfg(test)]\nmod tests {\n    use c::d;\n}\nuse e::f;\n#[cfg(test)]\nmod more;",
            &[],
        );
        let seen: Vec<_> = said.paths.iter().map(|named| (named.line, named.in_test)).collect();
        assert_eq!(seen, [(3, false), (8, true), (10, false)]);
        assert_eq!(said.test_modules, ["more"]);
    }
}
