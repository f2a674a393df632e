//! Lines that nobody reads to their end, such as a document in a value: what changed in them is shown.

use similar::ChangeTag;

use super::Line;

/// Letters of a line that is shown whole.
const WHOLE: usize = 400;
/// Letters around a change in a longer one.
const AROUND: usize = 60;
/// Letters of a change.
const CHANGED: usize = 240;
/// Letters that the name of a field has.
const NAME: usize = 80;

/// The lines of a place, long ones shortened.
pub fn shortened(lines: &[Line]) -> Vec<Line> {
    let short =
        |(index, line): (usize, &Line)| Line { tag: line.tag, text: short(&line.text, other_side(lines, index)) };
    lines.iter().enumerate().map(short).collect()
}

/// The line that stands on the other side for this one.
fn other_side(lines: &[Line], index: usize) -> Option<&str> {
    let tag = lines[index].tag;
    let begin_of =
        |tag: ChangeTag, end: usize| end - lines[..end].iter().rev().take_while(|line| line.tag == tag).count();
    let first = begin_of(tag, index);
    let other = match tag {
        ChangeTag::Equal => return None,
        ChangeTag::Delete => first + lines[first..].iter().take_while(|line| line.tag == tag).count(),
        ChangeTag::Insert => begin_of(ChangeTag::Delete, first),
    };
    let found = lines.get(other + index - first)?;
    (found.tag != tag && found.tag != ChangeTag::Equal).then_some(found.text.as_str())
}

fn short(text: &str, other: Option<&str>) -> String {
    let letters: Vec<char> = text.chars().collect();
    if letters.len() <= WHOLE {
        return text.to_owned();
    }
    let other: Vec<char> = other.unwrap_or_default().chars().collect();
    let begin = letters.iter().zip(&other).take_while(|(one, other)| one == other).count();
    let alike = letters.iter().rev().zip(other.iter().rev()).take_while(|(one, other)| one == other).count();
    let end = (letters.len() - alike).clamp(begin, begin + CHANGED);
    let (from, to) = (begin.saturating_sub(AROUND), (end + AROUND).min(letters.len()));
    let shown: String = letters[from..to].iter().collect();
    let name = text.split_once(": ").map_or("", |(name, _)| name);
    let name = if name.len() <= NAME && !name.is_empty() { format!("{name}: ") } else { String::new() };
    let begins = if from > 0 { format!("{name}…") } else { String::new() };
    let ends = if to < letters.len() { "…" } else { "" };
    format!("{begins}{shown}{ends} ({} letters in all)", letters.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_line_what_changed_is_shown_with_its_name() {
        let long = |policy: &str| format!("  agent.json: \"{}{policy}{}\"", "a".repeat(500), "b".repeat(500));
        let line = |tag, text: String| Line { tag, text };
        let lines = [
            line(ChangeTag::Equal, "data:".to_owned()),
            line(ChangeTag::Delete, "  short: 1".to_owned()),
            line(ChangeTag::Delete, long("lru")),
            line(ChangeTag::Insert, "  short: 2".to_owned()),
            line(ChangeTag::Insert, long("lfu")),
        ];
        let told: Vec<String> = shortened(&lines).into_iter().map(|line| line.text).collect();
        let around = |changed: &str| {
            let (before, after) = ("a".repeat(59), "b".repeat(59));
            format!("  agent.json: …{before}l{changed}u{after}… (1019 letters in all)")
        };
        assert_eq!(told[0..2], ["data:", "  short: 1"]);
        assert_eq!((told[2].as_str(), told[4].as_str()), (around("r").as_str(), around("f").as_str()));
    }

    #[test]
    fn a_long_line_that_is_new_is_cut() {
        let told = short(&"ü".repeat(401), None);
        assert_eq!(told, format!("{}… (401 letters in all)", "ü".repeat(300)));
        assert_eq!(short(&"x".repeat(400), None).len(), 400);
    }
}
