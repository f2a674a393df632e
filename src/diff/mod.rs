//! What changes, object by object, as text for a terminal, as Markdown for a pull request, as JSON for programs.

pub mod fields;
mod long;
mod redact;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use similar::{ChangeTag, TextDiff};

use crate::plan::source::{ObjectId, ObjectKind};
pub use redact::Redaction;

/// How long a comment may become. GitHub takes 65,536 characters, and those who post it put something around it.
const COMMENT_BYTES: usize = 55_000;
/// How many changes are named beyond that.
const NAMED: usize = 50;
/// How long the shortest way from a text to another is looked for: what takes longer is shown by a longer way.
const AT_MOST: Duration = Duration::from_secs(2);

/// What happens to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    Create,
    Update,
    Delete,
}

/// The change of one object, with nothing secret in it.
#[derive(Clone, Debug, Serialize)]
pub struct ObjectChange {
    pub object: String,
    pub fate: Fate,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
    /// What the change means, a sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub effects: Vec<String>,
}

/// Everything that changes.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Changes {
    pub changes: Vec<ObjectChange>,
    pub unchanged: usize,
}

pub type Objects = BTreeMap<ObjectId, Arc<Value>>;

/// Compares two states of the same objects. Values of Secrets are shown only as changed or unchanged.
pub fn compare(before: &Objects, after: &Objects, redaction: &Redaction) -> Changes {
    between(before, after, |id, value| shown(id, value, redaction))
}

/// Objects of any kind, by what people call them, with nothing secret in them.
pub type Manifests = BTreeMap<String, Arc<Value>>;

/// Compares two states of objects of any kind.
pub fn compare_manifests(before: &Manifests, after: &Manifests) -> Changes {
    between(before, after, |_, value| value.clone())
}

fn between<I: Ord + ToString>(
    before: &BTreeMap<I, Arc<Value>>,
    after: &BTreeMap<I, Arc<Value>>,
    show: impl Fn(&I, &Value) -> Value,
) -> Changes {
    let mut ids: Vec<&I> = before.keys().chain(after.keys()).collect();
    ids.sort();
    ids.dedup();
    let mut changes = Changes::default();
    for id in ids {
        let (old, new) = (before.get(id), after.get(id));
        let fate = match (old, new) {
            (Some(old), Some(new)) if old == new => {
                changes.unchanged += 1;
                continue;
            }
            (Some(_), Some(_)) => Fate::Update,
            (None, _) => Fate::Create,
            (_, None) => Fate::Delete,
        };
        let shown = |value: Option<&Arc<Value>>| value.map(|value| show(id, value));
        let (before, after) = (shown(old), shown(new));
        changes.changes.push(ObjectChange { object: id.to_string(), fate, before, after, effects: Vec::new() });
    }
    changes
}

fn shown(id: &ObjectId, value: &Value, redaction: &Redaction) -> Value {
    if id.kind == ObjectKind::Secret { redaction.of_secret(value) } else { value.clone() }
}

/// A line of a diff.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub tag: ChangeTag,
    pub text: String,
}

impl ObjectChange {
    /// The change as lines of YAML, with three lines around each place, and of long lines what changed in them.
    pub fn lines(&self) -> Vec<Vec<Line>> {
        let text =
            |value: Option<&Value>| value.and_then(|value| serde_saphyr::to_string(value).ok()).unwrap_or_default();
        let (before, after) = (text(self.before.as_ref()), text(self.after.as_ref()));
        let diff = TextDiff::configure().timeout(AT_MOST).diff_lines(&before, &after);
        let line = |change: similar::Change<&str>| Line {
            tag: change.tag(),
            text: change.value().trim_end_matches('\n').to_owned(),
        };
        diff.grouped_ops(3)
            .iter()
            .map(|group| {
                let lines: Vec<Line> =
                    group.iter().flat_map(|operation| diff.iter_changes(operation)).map(line).collect();
                long::shortened(&lines)
            })
            .collect()
    }

    /// A section of a comment.
    fn markdown(&self) -> String {
        let body: String = self
            .lines()
            .iter()
            .map(|group| group.iter().map(|line| format!("{}{}", sign(line.tag), line.text)).collect::<Vec<_>>())
            .map(|lines| lines.join("\n") + "\n")
            .collect::<Vec<_>>()
            .join("@@\n");
        // a fence longer than any in the text, so that nothing in it can end it
        let longest = body.split(|c| c != '`').map(str::len).max().unwrap_or(0);
        let fence = "`".repeat(longest.max(2) + 1);
        let title = in_line(&self.title());
        let mut text = if body.is_empty() {
            // its files are what they were, and it means something else now
            format!("\n{title}\n")
        } else {
            format!("\n<details><summary>{title}</summary>\n\n{fence}diff\n{body}{fence}\n\n</details>\n")
        };
        if !self.effects.is_empty() {
            text.push('\n');
        }
        for effect in &self.effects {
            let _ = writeln!(text, "- {}", in_line(effect));
        }
        text
    }

    fn title(&self) -> String {
        let verb = match self.fate {
            Fate::Create => "create",
            Fate::Update => "change",
            Fate::Delete => "delete",
        };
        format!("{verb} {}", self.object)
    }
}

impl Changes {
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// `1 to create, 2 to change, 1 to delete, 10 unchanged`.
    pub fn summary(&self) -> String {
        let count = |fate| self.changes.iter().filter(|change| change.fate == fate).count();
        format!(
            "{} to create, {} to change, {} to delete, {} unchanged",
            count(Fate::Create),
            count(Fate::Update),
            count(Fate::Delete),
            self.unchanged
        )
    }

    /// For a terminal. `paint` colours a line.
    pub fn text(&self, paint: impl Fn(ChangeTag, &str) -> String) -> String {
        let mut text = String::new();
        for change in &self.changes {
            let _ = writeln!(text, "{}", change.title());
            for (number, group) in change.lines().iter().enumerate() {
                if number > 0 {
                    let _ = writeln!(text, "  …");
                }
                for line in group {
                    let _ = writeln!(text, "{}", paint(line.tag, &format!("  {} {}", sign(line.tag), line.text)));
                }
            }
            for effect in &change.effects {
                let _ = writeln!(text, "{}", paint(ChangeTag::Equal, &format!("  ⇒ {effect}")));
            }
            text.push('\n');
        }
        let _ = writeln!(text, "{}", self.summary());
        text
    }

    /// For a comment on a pull request. Forges take no comment of any length: of what comes last only the names are told.
    pub fn markdown(&self) -> String {
        let mut text = format!("**{}**\n", self.summary());
        let mut left = Vec::new();
        for change in &self.changes {
            let section = change.markdown();
            if left.is_empty() && text.len() + section.len() <= COMMENT_BYTES {
                text.push_str(&section);
            } else {
                left.push(change);
            }
        }
        if !left.is_empty() {
            let _ = writeln!(text, "\nToo long for a comment are {} more; `midship diff` shows them:\n", left.len());
            for change in left.iter().take(NAMED) {
                let _ = writeln!(text, "- {}", in_line(&change.title()));
            }
            if left.len() > NAMED {
                let _ = writeln!(text, "- and {} others", left.len() - NAMED);
            }
        }
        text
    }
}

/// Text from files within a line of Markdown.
fn in_line(text: &str) -> String {
    text.replace('<', "&lt;").replace('`', "'").replace('\n', " ")
}

fn sign(tag: ChangeTag) -> char {
    match tag {
        ChangeTag::Equal => ' ',
        ChangeTag::Delete => '-',
        ChangeTag::Insert => '+',
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn objects(kind: ObjectKind, all: &[(&str, Value)]) -> Objects {
        let id = |name: &str| ObjectId { kind, namespace: Some("shop".into()), name: name.into() };
        all.iter().map(|(name, value)| (id(name), Arc::new(value.clone()))).collect()
    }

    fn plain(_: ChangeTag, text: &str) -> String {
        text.to_owned()
    }

    #[test]
    fn a_change_is_shown_with_what_is_around_it() {
        let before = objects(
            ObjectKind::Instance,
            &[("a", json!({ "spec": { "version": "7.0" } })), ("gone", json!({ "a": 1 }))],
        );
        let after = objects(
            ObjectKind::Instance,
            &[("a", json!({ "spec": { "version": "7.2" } })), ("new", json!({ "b": 2 }))],
        );
        let changes = compare(&before, &after, &Redaction::new(b"key"));
        insta::assert_snapshot!(changes.text(plain));
        insta::assert_snapshot!(changes.markdown());
    }

    #[test]
    fn values_of_secrets_are_never_shown() {
        let before = objects(ObjectKind::Secret, &[("s", json!({ "data": { "a": "c2VjcmV0", "b": "c2FtZQ==" } }))]);
        let after = objects(ObjectKind::Secret, &[("s", json!({ "data": { "a": "b3RoZXI=", "b": "c2FtZQ==" } }))]);
        let text = compare(&before, &after, &Redaction::new(b"key")).text(plain);
        assert!(!text.contains("c2VjcmV0") && !text.contains("b3RoZXI="), "{text}");
        assert!(text.contains('-') && text.contains('+'), "the change itself is shown: {text}");
    }

    #[test]
    fn nothing_in_an_object_can_end_the_fence() {
        let after = objects(ObjectKind::ConfigMap, &[("c", json!({ "data": { "x": "```\n<script>" } }))]);
        let text = compare(&Objects::new(), &after, &Redaction::new(b"key")).markdown();
        assert!(text.contains("````diff"), "{text}");
    }

    #[test]
    fn a_comment_stays_short_enough_to_be_posted_and_names_what_is_left_out() {
        let names: Vec<String> = (100..300).map(|number| format!("c{number}")).collect();
        let all: Vec<(&str, Value)> =
            names.iter().map(|name| (name.as_str(), json!({ "data": { "x": "123456789\n".repeat(60) } }))).collect();
        let changes = compare(&Objects::new(), &objects(ObjectKind::ConfigMap, &all), &Redaction::new(b"key"));
        let text = changes.markdown();
        let shown = text.matches("</details>").count();
        assert!(text.len() < 60_000 && (40..60).contains(&shown), "{shown} in {} bytes", text.len());
        assert!(text.starts_with("**200 to create, 0 to change, 0 to delete, 0 unchanged**\n"), "{text}");
        let left = 200 - shown;
        assert!(
            text.contains(&format!(
                "\nToo long for a comment are {left} more; `midship diff` shows them:\n\n- create ConfigMap shop/c"
            )),
            "{text}"
        );
        assert!(text.ends_with(&format!("\n- and {} others\n", left - 50)), "{text}");
    }
}
