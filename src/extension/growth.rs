//! Keeps templates from building ever larger texts in memory, where neither fuel nor the cap on output would notice.
//!
//! A text can only grow by being put together. What was put together must not be put together again: then its size is
//! bounded by the template's own length times the largest value it was given.
//!
//! And keeps them from being read deeper than the stack goes: what is put within each other in one expression is counted.

use std::collections::BTreeSet;
use std::ops::Range;

/// Operators in one tag; each can add the largest value once more.
const MAX_OPERATORS: usize = 64;
/// What may lie within each other in one tag: each is read within the one before.
const MAX_PARTS: usize = 256;
/// Conditions of a file that go on from one another, for the same reason.
const MAX_ELIF: usize = 128;
const PART_WORDS: [&str; 6] = ["not", "and", "or", "is", "in", "if"];

/// Tags that capture output, which could be captured again and again.
const CAPTURES: [&str; 6] = ["macro", "call", "filter", "import", "from", "extends"];

/// What every template and expression can read.
pub const ALWAYS: &[&str] = &[
    "instance",
    "namespace",
    "type",
    "version",
    "extension_version",
    "topology",
    "environment",
    "component",
    "group",
    "replicas",
    "components",
    "params",
    "resources",
    "storage",
    "ports",
    "paths",
    "files",
    "tls",
    "username",
    "secret",
    "pod",
    "images",
    "values",
    "failover",
    "monitoring",
    "network",
    "backup",
];

/// The line and reason of the first thing that is not allowed.
pub fn check(source: &str) -> Result<(), (usize, String)> {
    let tags = tags(source);
    let made: BTreeSet<&str> = tags.iter().filter(|tag| tag.puts_together()).flat_map(Tag::sets).collect();
    let mut elif = 0;
    for tag in &tags {
        let first = tag.words.first().copied().unwrap_or_default();
        elif += usize::from(tag.statement && first == "elif");
        if elif > MAX_ELIF {
            return Err((
                tag.line,
                format!("a file has at most {MAX_ELIF} \"elif\"; look values up in a mapping instead"),
            ));
        }
        if tag.statement && CAPTURES.contains(&first) {
            return Err((
                tag.line,
                format!("\"{first}\" is not available in packages; repeat the text, or include a file"),
            ));
        }
        if tag.statement && first == "set" && !tag.assigns {
            return Err((tag.line, "\"set\" needs a value here: {% set name = value %}".to_owned()));
        }
        if tag.recursive {
            let reason = "\"recursive\" is not available in packages; write a loop within the loop";
            return Err((tag.line, reason.to_owned()));
        }
        amounts(tag).map_err(|reason| (tag.line, reason))?;
        if tag.puts_together()
            && let Some(name) = tag.named().find(|word| made.contains(*word))
        {
            let reason = format!(
                "\"{name}\" was put together from other values and cannot be put together again; write it in one expression"
            );
            return Err((tag.line, reason));
        }
    }
    Ok(())
}

/// The same for an expression, which stands for itself.
pub fn check_expression(source: &str) -> Result<(), String> {
    amounts(&read(source, 1, false))
}

fn amounts(tag: &Tag<'_>) -> Result<(), String> {
    if tag.operators > MAX_OPERATORS {
        let operators = tag.operators;
        return Err(format!("has {operators} operators in one expression, at most {MAX_OPERATORS} are allowed"));
    }
    if tag.parts > MAX_PARTS {
        let parts = tag.parts;
        return Err(format!(
            "has {parts} operators, brackets and attributes in one expression, at most {MAX_PARTS} are allowed; give parts \
             of it names with `set`"
        ));
    }
    Ok(())
}

/// What stands between two braces, as far as it matters here.
struct Tag<'a> {
    line: usize,
    statement: bool,
    /// Names and keywords, in order; none from within quotes, none after a dot.
    words: Vec<&'a str>,
    /// `+`, `~`, `*` and filters.
    operators: usize,
    /// All that something else can lie within.
    parts: usize,
    assigns: bool,
    /// Words before `=` or `in`.
    before: usize,
    /// Words before the condition of a loop, which chooses among values and makes none.
    condition: usize,
    /// Operators before that condition.
    making: usize,
    /// A loop that can be called, with what its body makes.
    recursive: bool,
    /// What `with` gives names to.
    given: Vec<&'a str>,
}

impl<'a> Tag<'a> {
    /// Whether the tag makes a new value that has a name, out of several.
    fn puts_together(&self) -> bool {
        self.statement && self.making > 0 && matches!(self.words.first(), Some(&("set" | "with" | "for")))
    }

    /// The names it gives.
    fn sets(&self) -> impl Iterator<Item = &'a str> + '_ {
        // `with` gives several, each before its own `=`; taking all its words is on the safe side, but for those that every
        // template reads
        let with = self.words.first() == Some(&"with");
        let end = if with { self.words.len() } else { self.before };
        let all = self.words[1.min(end)..end].iter().copied().filter(move |word| !with || !ALWAYS.contains(word));
        all.chain(self.given.iter().copied())
    }

    /// The words of what gets the names.
    fn named(&self) -> impl Iterator<Item = &'a str> + '_ {
        self.words[..self.condition].iter().copied().skip(self.before)
    }
}

fn tags(source: &str) -> Vec<Tag<'_>> {
    let (mut at, mut line) = (0, 1);
    let one = |(statement, inner): (bool, Range<usize>)| {
        line += source[at..inner.start].matches('\n').count();
        at = inner.start;
        read(&source[inner], line, statement)
    };
    spans(source).into_iter().map(one).collect()
}

/// Where the insides of tags are, and whether each is a statement's. Comments and raw text are left out. It has to see exactly
/// what the language sees: what it takes for text nobody looks at.
pub(super) fn spans(source: &str) -> Vec<(bool, Range<usize>)> {
    let bytes = source.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(offset) = source[at..].find('{') {
        let start = at + offset + 2;
        match bytes.get(start - 1) {
            Some(b'#') => at = source[start..].find("#}").map_or(source.len(), |end| start + end + 2),
            Some(kind @ (b'{' | b'%')) => {
                let statement = *kind == b'%';
                let end = end_of(bytes, start, if statement { b"%}" } else { b"}}" });
                found.push((statement, start..end));
                at = (end + 2).min(source.len());
                if statement && is_tag(&source[start..], "raw") {
                    at = end_of_raw(source, at);
                }
            }
            _ => at = start - 1,
        }
    }
    found
}

/// Where the tag is that ends raw text; nothing else does.
fn end_of_raw(source: &str, mut at: usize) -> usize {
    while let Some(offset) = source[at..].find("{%") {
        at += offset;
        if is_tag(&source[at + 2..], "endraw") {
            return at;
        }
        at += 2;
    }
    source.len()
}

/// Whether a statement begins here that is this word and nothing else.
fn is_tag(text: &str, name: &str) -> bool {
    let text = text.strip_prefix(['-', '+']).unwrap_or(text).trim_ascii_start();
    let rest = text.strip_prefix(name).map(str::trim_ascii_start);
    rest.is_some_and(|rest| rest.strip_prefix(['-', '+']).unwrap_or(rest).starts_with("%}"))
}

/// Where a tag ends; quotes and brackets may hold what looks like an end.
fn end_of(bytes: &[u8], start: usize, end: &[u8]) -> usize {
    let (mut at, mut depth) = (start, 0_isize);
    while at < bytes.len() {
        match bytes[at] {
            quote @ (b'"' | b'\'') => {
                at = after_quote(bytes, at + 1, quote);
                continue;
            }
            _ if depth == 0 && bytes[at..].starts_with(end) => return at,
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth -= 1,
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

pub(super) fn after_quote(bytes: &[u8], mut at: usize, quote: u8) -> usize {
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

fn read(text: &str, line: usize, statement: bool) -> Tag<'_> {
    let bytes = text.as_bytes();
    let mut tag = Tag {
        line,
        statement,
        words: Vec::new(),
        operators: 0,
        parts: 0,
        assigns: false,
        before: usize::MAX,
        condition: usize::MAX,
        making: 0,
        recursive: false,
        given: Vec::new(),
    };
    let (mut at, mut depth) = (0, 0_isize);
    while at < bytes.len() {
        match bytes[at] {
            quote @ (b'"' | b'\'') => at = after_quote(bytes, at + 1, quote),
            byte if byte.is_ascii_alphabetic() || byte == b'_' => {
                let end = (at..bytes.len())
                    .find(|end| !bytes[*end].is_ascii_alphanumeric() && bytes[*end] != b'_')
                    .unwrap_or(bytes.len());
                let word = &text[at..end];
                if word == "in" && tag.before == usize::MAX {
                    tag.before = tag.words.len();
                }
                // within brackets it chooses between two values; there it makes one
                let of_loop = statement && tag.words.first() == Some(&"for") && tag.before != usize::MAX;
                if of_loop && depth == 0 && ends_operand(&text[..at]) {
                    if word == "if" && tag.condition == usize::MAX && !is_tested(&tag.words) {
                        tag.condition = tag.words.len();
                        tag.making = tag.operators;
                    }
                    tag.recursive |= word == "recursive";
                }
                let attribute = text[..at].trim_end().ends_with('.');
                if !attribute {
                    tag.words.push(word);
                    tag.parts += usize::from(PART_WORDS.contains(&word));
                }
                at = end;
            }
            byte => {
                if b"+~*|".contains(&byte) {
                    tag.operators += 1;
                }
                depth += isize::from(b"([{".contains(&byte)) - isize::from(b")]}".contains(&byte));
                tag.parts += usize::from(b"+-*/%~|.<>=!([{".contains(&byte));
                let comparison = at > 0 && b"=!<>".contains(&bytes[at - 1]) || bytes.get(at + 1) == Some(&b'=');
                if byte == b'=' && !comparison {
                    if depth == 0 && tag.words.first() == Some(&"with") {
                        // within brackets there are several
                        let first = if text[..at].trim_ascii_end().ends_with(')') { 0 } else { tag.words.len() - 1 };
                        tag.given.extend(tag.words[first..].iter().copied());
                    }
                    tag.assigns = true;
                    tag.before = tag.before.min(tag.words.len());
                }
                at += 1;
            }
        }
    }
    tag.before = tag.before.min(tag.words.len());
    if tag.condition == usize::MAX {
        (tag.condition, tag.making) = (tag.words.len(), tag.operators);
    }
    tag
}

/// Whether a value ends here, so that a word of the language comes next. Elsewhere the same word is a name, which may be any.
fn ends_operand(before: &str) -> bool {
    let before = before.trim_ascii_end();
    let rest = before.trim_end_matches(|letter: char| letter.is_ascii_alphanumeric() || letter == '_');
    let word = &before[rest.len()..];
    if word.is_empty() {
        return before.ends_with([')', ']', '}', '"', '\'']);
    }
    !PART_WORDS.contains(&word) || rest.trim_ascii_end().ends_with('.')
}

/// Whether a test was named last: the next word may be what it compares with.
fn is_tested(words: &[&str]) -> bool {
    words.iter().rev().nth(1).is_some_and(|word| ["is", "not"].contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_doubles_is_found_wherever_it_hides() {
        for (line, source) in [
            (2, "{% set a = b ~ b %}\n{% set a = a ~ a %}"),
            (2, "{% set a = b + b %}\n{% set c = a + a %}"),
            (1, "{% set a = a ~ a %}{{ a }}"),
            (1, "{% for x in [b ~ b] %}{% for y in [x ~ x] %}{% endfor %}{% endfor %}"),
            (1, "{% for x in [b ~ b] if b %}{% for y in [x ~ x] if x %}{% endfor %}{% endfor %}"),
            (1, "{% for x in [b ~ b] %}{% for y in (x ~ x if b else x) %}{% endfor %}{% endfor %}"),
            (2, "{% for x in [b ~ b] %}\n{% for y in b.if + [x ~ x] %}{% endfor %}{% endfor %}"),
            (2, "{% for if in [b ~ b] %}\n{% for y in if + [if ~ if] %}{% endfor %}{% endfor %}"),
            (2, "{% for x in [b ~ b] %}\n{% for y in not if or [x ~ x] %}{% endfor %}{% endfor %}"),
            (2, "{% for x in [b ~ b] %}\n{% for y in b is eq if or [x ~ x] %}{% endfor %}{% endfor %}"),
            (2, "{{ b }}\n{% for x in [b] recursive %}{{ loop([x ~ x]) }}{% endfor %}"),
            (1, "{% for x in [b] if not x recursive %}{{ loop([x ~ x]) }}{% endfor %}"),
            (1, "{% for x in [b] if 1 recursive %}{{ loop([x ~ x]) }}{% endfor %}"),
            (2, "{% set group = b ~ b %}\n{% set c = group ~ group %}"),
            (2, "{% with group = version ~ type %}\n{% set c = group ~ group %}{% endwith %}"),
            (2, "{% with (group, d) = [version ~ type, 1] %}\n{% set c = group ~ group %}{% endwith %}"),
            (1, "{% with a = b ~ b %}{% with c = a ~ a %}{% endwith %}{% endwith %}"),
            (1, "{% set a = b | join(b) %}{% set c = a | replace('x', a) %}"),
            (1, "{% set a %}{{ b }}{% endset %}"),
            (3, "\n\n{% macro f(a) %}{{ f(a ~ a) }}{% endmacro %}"),
        ] {
            assert_eq!(check(source).map_err(|(line, _)| line), Err(line), "{source}");
        }
        let many = format!("{{{{ a{} }}}}", " ~ a".repeat(65));
        assert!(check(&many).is_err());
    }

    #[test]
    fn what_would_be_read_deeper_than_the_stack_goes_is_refused_unread() {
        let deep = |begin: &str, part: &str, end: &str| format!("{begin}{}{end}", part.repeat(20_000));
        for source in [
            deep("{{ ", "not ", "1 }}"),
            deep("{{ ", "-", "1 }}"),
            deep("{{ ", "(", "1 }}"),
            deep("{{ a", ".b", " }}"),
            deep("{{ a", "[0]", " }}"),
            deep("{{ a", "()", " }}"),
            deep("{{ 1", " if 1 else 1", " }}"),
            deep("{{ 1", " == 1", " }}"),
            deep("{{ 1", " and 1", " }}"),
            deep("{{ 1", " is odd", " }}"),
        ] {
            let said = check(&source).expect_err("it is too deep").1;
            assert!(said.contains("at most 256 are allowed; give parts of it names with `set`"), "{said}");
            let inner = source.trim_start_matches("{{").trim_end_matches("}}");
            assert!(check_expression(inner).is_err());
        }
        let elif = check(&deep("\n{% if 1 %}", "{% elif 1 %}", "{% endif %}"));
        assert_eq!(elif, Err((2, "a file has at most 128 \"elif\"; look values up in a mapping instead".to_owned())));
    }

    #[test]
    fn nothing_hides_from_it_that_the_language_sees() {
        for (source, seen) in [
            ("{{ {'a': {'b': 1}} ~ c }} d }}", " {'a': {'b': 1}} ~ c "),
            ("{#} {{ ' #}{{ a }}{# ' #}", " a "),
            ("{%\n raw -%} endraw {{ ' {% endraw x %}{%+endraw %}{{ a }}{# ' #}", " a "),
        ] {
            assert_eq!(spans(source).pop().map(|(_, inner)| &source[inner]), Some(seen), "{source}");
        }
    }

    #[test]
    fn what_people_write_passes() {
        for source in [
            "{% set kind = 'a' if b == 'c' else 'd' %}{{ kind ~ kind }}",
            "{% set all = pods | map(attribute='host') | join(',') %}{{ all }}",
            "{% for name, value in params | items %}{{ name }} = {{ value | replace(\"'\", \"''\") }}\n{% endfor %}",
            "{% for name, value in params | items if name != 'port' %}{{ name }} = {{ value }}\n{% endfor %}",
            "{% with a = group ~ version %}{% set c = group ~ version %}{{ c }}{% endwith %}",
            "{% for x in range(3) if x is odd %}{% for recursive in b.recursive %}{{ recursive }}{% endfor %}{% endfor %}",
            "{% for name in params if name | length > 3 %}{% set text = name ~ params[name] %}{{ text }}{% endfor %}",
            "{% if a %}{% include 'config/b.j2' %}{% endif %}{# {% macro x %} #}{% raw %}{% macro %}{% endraw %}",
            "{% set n = replicas // 2 + 1 %}quorum {{ n }}",
        ] {
            assert_eq!(check(source), Ok(()), "{source}");
        }
    }
}
