//! Facts of a pod in what is rendered before there is one: they can be printed there, and nothing else. What is decided by one
//! would be decided by its placeholder, alike for every pod.

use std::collections::BTreeSet;

use super::{Lint, Problem};
use crate::extension::files::is_template;
use crate::extension::growth::{after_quote, spans};

/// What every template knows the facts by.
const POD: &str = "pod";

/// What may stand before a fact that is printed, and what after it; nothing at all as well.
const BEFORE: [&str; 9] = ["", "(", "[", "{", ",", ":", "=", "~", "else"];
const AFTER: [&str; 8] = ["", ")", "]", "}", ",", "~", "if", "else"];
/// Words that are no values.
const WORDS: [&str; 8] = ["in", "is", "not", "and", "or", "if", "else", "elif"];

/// A part of a tag, and where in it that begins.
type Token<'a> = (usize, &'a str);

pub fn check(lint: &mut Lint<'_>) {
    let package = lint.package;
    for path in package.files.paths().filter(|path| is_template(path)) {
        let source = package.files.text(path).unwrap_or_default();
        lint.problems.extend(misused(source).into_iter().map(|(at, fact)| {
            let before = &source[..at];
            let line = before.matches('\n').count() + 1;
            let column = before.chars().rev().take_while(|letter| *letter != '\n').count() + 1;
            Problem::new(path, line, column, refused(fact))
        }));
    }
    for (name, component) in &package.manifest.components {
        let field = format!("components.{name}");
        let words = component.command.iter().enumerate();
        let words = words.map(|(place, word)| (format!("{field}.command[{place}]"), word));
        let variables = component.env.iter().map(|(name, text)| (format!("{field}.env.{name}"), text));
        for (field, text) in words.chain(variables) {
            if let Some((_, fact)) = misused(text).first() {
                lint.at(&field, refused(fact));
            }
        }
        let files = component.config.iter().map(|(name, config)| (format!("config.{name}"), &config.when));
        let ports = component.ports.iter().map(|(name, port)| (format!("ports.{name}"), &port.when));
        let volumes = component.volumes.iter().map(|(name, volume)| (format!("volumes.{name}"), &volume.when));
        for (part, when) in files.chain(ports).chain(volumes) {
            let field = format!("{field}.{part}.when");
            let Some(when) = when else { continue };
            let reads = package.engine.expression_reads(&field, when).unwrap_or_default();
            if reads.iter().any(|read| read.split('.').next() == Some(POD)) {
                lint.at(&field, "this is decided once for all pods of a group, so it cannot be decided by `pod`");
            }
        }
    }
}

fn refused(fact: &str) -> String {
    format!(
        "\"{fact}\" can only be printed here, with no condition, filter or arithmetic: it is filled in in the pod, after \
         rendering; ${{pod:ordinal+N}} adds to the ordinal, and steps read the value itself"
    )
}

/// Facts with which something else is done than to print them, and where each stands.
fn misused(source: &str) -> Vec<Token<'_>> {
    let mut names = BTreeSet::from([POD]);
    let mut loops: Vec<Vec<&str>> = Vec::new();
    let mut found = Vec::new();
    for (statement, inner) in spans(source) {
        let begin = inner.start;
        let tag = &source[inner];
        let tokens = tokens(tag);
        let first = tokens.first().filter(|_| statement).map_or("", |token| token.1);
        match first {
            "for" => loops.push(tokens.iter().map(|token| token.1).take_while(|word| *word != "in").collect()),
            // what is given to them, and the names that they give to it
            "macro" | "call" | "with" => loops.push(tokens.iter().map(|token| token.1).collect()),
            "endfor" | "endmacro" | "endcall" | "endwith" => drop(loops.pop()),
            _ => {}
        }
        let assigned = tokens.iter().position(|token| token.1 == "=").filter(|_| first == "set");
        let mut at = assigned.map_or(0, |place| place + 1);
        let (mut made_of_facts, value) = (false, at);
        while at < tokens.len() {
            let (start, word) = tokens[at];
            let attribute = at > 0 && tokens[at - 1].1 == ".";
            if attribute || !names.contains(word) || loops.iter().any(|given| given.contains(&word)) {
                at += 1;
                continue;
            }
            let end = end_of_fact(&tokens, at);
            if only_asked_for(&tokens, end) {
                at = end;
                continue;
            }
            made_of_facts = true;
            if matches!(first, "if" | "elif") || !only_printed(&tokens, at, end) {
                let (last, text) = tokens[end - 1];
                found.push((begin + start, &tag[start..last + text.len()]));
            }
            at = end;
        }
        if assigned.is_some()
            && let Some((_, name)) = tokens.get(1)
        {
            // what is in a list is looked at one by one
            let list = tokens.get(value).is_some_and(|token| ["[", "{"].contains(&token.1));
            if made_of_facts && !list {
                names.insert(*name);
            } else {
                names.remove(*name);
            }
        }
    }
    found
}

/// Where a fact ends that begins here: with the name after its dot, or in its brackets.
fn end_of_fact(tokens: &[Token<'_>], at: usize) -> usize {
    let word = |offset: usize| tokens.get(at + offset).map_or("", |token| token.1);
    match word(1) {
        "." => (at + 3).min(tokens.len()),
        "[" if word(3) == "]" => at + 4,
        _ => at + 1,
    }
}

/// Whether it is only asked if there is such a fact at all, which is known: a template may be shared with what has no pod.
fn only_asked_for(tokens: &[Token<'_>], end: usize) -> bool {
    let word = |place: usize| tokens.get(place).map_or("", |token| token.1);
    let negated = usize::from(word(end + 1) == "not");
    word(end) == "is" && ["defined", "undefined"].contains(&word(end + 1 + negated))
}

/// Whether these tokens are printed as they are, for all that stands beside them.
fn only_printed(tokens: &[Token<'_>], mut from: usize, mut end: usize) -> bool {
    let word = |place: Option<usize>| place.and_then(|place| tokens.get(place)).map_or("", |token| token.1);
    // brackets of nothing else; those after a value give arguments
    while word(from.checked_sub(1)) == "(" && word(Some(end)) == ")" && !is_value(word(from.checked_sub(2))) {
        from -= 1;
        end += 1;
    }
    let (before, after) = (word(from.checked_sub(1)), word(Some(end)));
    let looked_up = before == "[" && is_value(word(from.checked_sub(2)));
    !looked_up && BEFORE.contains(&before) && AFTER.contains(&after)
}

/// Whether a token ends a value.
fn is_value(token: &str) -> bool {
    let last = token.chars().next_back();
    !WORDS.contains(&token) && last.is_some_and(|last| last.is_alphanumeric() || "_)]\"'".contains(last))
}

/// The parts of what stands between two braces, without the marks that trim what is around it.
fn tokens(tag: &str) -> Vec<Token<'_>> {
    let bytes = tag.as_bytes();
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let trims = |byte: Option<&u8>| usize::from(matches!(byte, Some(b'-' | b'+')));
    let mut at = trims(bytes.first());
    let stop = bytes.len().saturating_sub(trims(bytes.last()));
    let mut found = Vec::new();
    while at < stop {
        let end = match bytes[at] {
            quote @ (b'"' | b'\'') => after_quote(bytes, at + 1, quote),
            byte if is_word(byte) => (at..bytes.len()).find(|end| !is_word(bytes[*end])).unwrap_or(bytes.len()),
            b'=' | b'!' | b'<' | b'>' if bytes.get(at + 1) == Some(&b'=') => at + 2,
            _ => at + tag[at..].chars().next().map_or(1, char::len_utf8),
        };
        if !bytes[at].is_ascii_whitespace() {
            found.push((at, &tag[at..end]));
        }
        at = end;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_prints_a_fact_is_right() {
        for source in [
            "{{ pod.host }} {{- pod['ordinal'] -}} {{ (pod.ip) }}",
            "{{ pod.host ~ ':' ~ ports.client }} {{ 'x' ~ pod.name if tls.enabled else pod.ip }}",
            "{{ [pod.host, 'b'] | join(',') }} {{ {'a': pod.ip} | to_json }} {{ f(pod.name, a=pod.ip) }}",
            "{% set me = pod.host %}{{ me }} {% set all = [pod.host] %}{{ all | length }}",
            "{% for pod in components.a.pods if pod.ordinal != 0 %}{{ pod.name | upper }}{% endfor %}{{ pod.name }}",
            "{% set pod = components.a.pods[0] %}{% if pod.ordinal == 0 %}{% endif %}",
            "{% macro line(pod) %}{{ pod.name | upper }}{% endmacro %}{% if pod is defined %}{{ pod.name }}{% endif %}",
            "{% with pod = components.a.pods[0] %}{{ pod.name | upper }}{% endwith %}{% set no = pod is not defined %}{{ 'a' if no }}",
            "{{ group.pod | upper }} {{ 'pod.name == 1' }} {# pod.name == 1 #} {% raw %}{{ pod.name | upper }}{% endraw %}",
        ] {
            assert!(misused(source).is_empty(), "{source}: {:?}", misused(source));
        }
    }

    #[test]
    fn whatever_else_is_done_with_a_fact_is_found() {
        for (source, found) in [
            ("{% if pod.ordinal == 0 %}", (6_usize, "pod.ordinal")),
            ("{% if 'kv' in 'a' ~ pod.name ~ 'b' %}", (20, "pod.name")),
            ("{% elif pod.zone %}", (8, "pod.zone")),
            ("ü {{ pod.name | upper }}", (6, "pod.name")),
            ("{{ pod['name']|length }}", (3, "pod['name']")),
            ("{{ (pod.ordinal) + 1 }}", (4, "pod.ordinal")),
            ("{{ 1 + pod.ordinal }}", (7, "pod.ordinal")),
            ("{{ a if pod.name == components.a.pods[0].name else b }}", (8, "pod.name")),
            ("{{ pod.name.split('-') }}", (3, "pod.name")),
            ("{{ sizes[pod.name] }}", (9, "pod.name")),
            ("{{ not pod.zone }}", (7, "pod.zone")),
            ("{% set me = pod.ordinal %}{{ me % 2 }}", (29, "me")),
            ("{% for pod in all %}{% endfor %}{{ pod.ip | quote }}", (35, "pod.ip")),
            ("{% macro line(pod) %}{% endmacro %}{{ pod.ip | quote }}", (38, "pod.ip")),
        ] {
            assert_eq!(misused(source), [found], "{source}");
        }
    }
}
