//! What of a sync was not done: which object, from which file, and why. The status and the record say the same.

use serde_json::{Value, json};

use super::apply::Outcome;
use super::brief;
use super::look::Seen;
use crate::api::git_source::FileError;
use crate::plan::source::{ObjectId, Plan};

/// The code of what the API server did not take.
const NOT_APPLIED: &str = "not-applied";
/// The code of a deletion that waits; only the record counts it among what was not done.
const HELD: &str = "held";
/// The code of an object that another source applied.
const CLAIMED: &str = "other-source";
/// How many the record lists.
const LISTED: usize = 1000;

/// One thing that was not done.
#[derive(Clone, Debug, PartialEq)]
pub struct Failed {
    /// The object, where the mistake is not about a file as a whole.
    pub object: Option<ObjectId>,
    pub error: FileError,
}

impl Failed {
    /// Whether the API server did not take it, so that it is tried again as it is.
    pub fn was_tried(&self) -> bool {
        self.error.code == NOT_APPLIED
    }

    pub fn is_held(&self) -> bool {
        self.error.code == HELD
    }

    /// In a line: the place, and what is wrong with what.
    pub fn line(&self) -> String {
        let FileError { path, line, column, message, .. } = &self.error;
        let place: Vec<String> =
            [Some(path.clone()), line.map(|line| line.to_string()), column.map(|column| column.to_string())]
                .into_iter()
                .flatten()
                .filter(|part| !part.is_empty())
                .collect();
        if place.is_empty() { message.clone() } else { format!("{}: {message}", place.join(":")) }
    }

    fn shown(&self) -> Value {
        let FileError { path, line, column, code, message } = &self.error;
        json!({ "object": self.object.as_ref().map(ToString::to_string), "path": path, "line": line, "column": column,
                "code": code, "reason": message })
    }
}

fn applied_by(id: &ObjectId) -> String {
    format!("{id} is applied by the GitSource")
}

/// Whether a source says here that it defines this object, which another one applied.
pub fn is_claim(error: &FileError, id: &ObjectId) -> bool {
    error.code == CLAIMED && error.message.starts_with(&format!("{} ", applied_by(id)))
}

/// Everything that the repository asks for and that is not so, files first.
pub fn all(seen: &Seen, plan: &Plan, results: &[Outcome]) -> Vec<Failed> {
    let of = |id: &ObjectId, code: &str, message: String| {
        let path = seen.find(id).map(|desired| desired.path.clone());
        let line = seen.line(id);
        let path = path.unwrap_or_default();
        let message = brief::message(message);
        let error = FileError { path, line, column: line.map(|_| 1), code: code.to_owned(), message };
        Failed { object: Some(id.clone()), error }
    };
    let files = seen.errors.iter().map(|error| Failed { object: None, error: error.clone() });
    let tried = results.iter().filter_map(|result| {
        let failure = result.failure.as_ref()?;
        Some(of(&result.id, NOT_APPLIED, format!("{}: {failure}", result.id)))
    });
    let refused = plan.refused.iter().map(|(id, refusal)| of(id, refusal.code, refusal.message.clone()));
    let foreign = plan
        .foreign
        .iter()
        .map(|(id, other)| of(id, CLAIMED, format!("{} {other}; define it in one repository only", applied_by(id))));
    let kept = plan.kept.iter().map(|(id, path)| {
        let message =
            format!("{id} was applied from {path}, which no trusted commit vouches for now; it stays as it is");
        of(id, "not-verified", message)
    });
    let contested = plan.contested.iter().map(|(id, message)| of(id, "contested", message.clone()));
    files.chain(tried).chain(refused).chain(foreign).chain(kept).chain(contested).collect()
}

/// Whether the cluster has this commit, if only in part. A commit of which nothing is there is not applied: what was before
/// still is. The status and the record say the same.
pub fn is_applied(failed: &[Failed], plan: &Plan, results: &[Outcome]) -> bool {
    !failed.iter().any(Failed::was_tried) || there(plan, results) > 0
}

/// How many objects are as the repository says.
pub fn there(plan: &Plan, results: &[Outcome]) -> usize {
    plan.in_sync + plan.done.len() + results.iter().filter(|result| result.failure.is_none()).count()
}

/// The same for the record, which tells of deletions that wait as well.
pub fn with_held(failed: Vec<Failed>, plan: &Plan) -> Vec<Failed> {
    let waits = plan.held_because.clone().unwrap_or_default();
    let because = |id: &ObjectId| plan.needed.get(id).unwrap_or(&waits);
    let held = plan.held.iter().map(|id| Failed {
        object: Some(id.clone()),
        error: FileError {
            path: String::new(),
            line: None,
            column: None,
            code: HELD.to_owned(),
            message: format!("{id} is not deleted: {}", because(id)),
        },
    });
    failed.into_iter().chain(held).collect()
}

/// All of them for programs; the first [`LISTED`].
pub fn shown(failed: &[Failed]) -> Value {
    failed.iter().take(LISTED).map(Failed::shown).collect()
}

/// The file of the record that says what is not done now; none where everything is. As long as the same is wrong for the
/// same reason it stays as it was, whatever numbers and times the reasons have in them: each attempt would be a commit.
pub fn file(failed: &[Failed], before: Option<&[u8]>) -> Option<Vec<u8>> {
    if failed.is_empty() {
        return None;
    }
    let now = shown(failed);
    let same = |before: &&[u8]| serde_json::from_slice(before).is_ok_and(|before: Value| is_same(&before, &now));
    if let Some(before) = before.filter(same) {
        return Some(before.to_vec());
    }
    let mut text = serde_json::to_vec_pretty(&now).expect("keys are texts");
    text.push(b'\n');
    Some(text)
}

/// Whether two lists tell of the same.
fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| is_same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let field = |key: &String, one: &Value, other: &Value| match (one.as_str(), other.as_str()) {
                (Some(one), Some(other)) if key == "reason" => without_numbers(one) == without_numbers(other),
                _ => one == other,
            };
            one.len() == other.len()
                && one.iter().all(|(key, value)| other.get(key).is_some_and(|other| field(key, value, other)))
        }
        _ => one == other,
    }
}

/// A text with every number in it as one sign.
fn without_numbers(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for letter in text.chars() {
        let letter = if letter.is_ascii_digit() { '0' } else { letter };
        if letter != '0' || !plain.ends_with('0') {
            plain.push(letter);
        }
        // a number with a point in it is one, too
        if plain.ends_with("0.0") {
            plain.truncate(plain.len() - 2);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::plan::source::{ObjectKind, What};

    fn failed(name: &str, reason: &str) -> Failed {
        let object = ObjectId { kind: ObjectKind::Instance, namespace: Some("shop".into()), name: name.into() };
        let error = FileError {
            path: format!("{name}.yaml"),
            line: Some(1),
            column: Some(1),
            code: NOT_APPLIED.into(),
            message: format!("{object}: {reason}"),
        };
        Failed { object: Some(object), error }
    }

    #[test]
    fn a_line_has_place_object_and_reason() {
        assert_eq!(failed("a", "no quota").line(), "a.yaml:1:1: Instance shop/a: no quota");
    }

    #[test]
    fn what_is_refused_without_end_is_told_in_short() {
        let refused = Outcome {
            id: failed("b", "").object.expect("it has one"),
            what: What::Create,
            why: String::new(),
            failure: Some("no ".repeat(1_000_000)),
            took: Duration::ZERO,
        };
        let all = all(&Seen::of_files([("a.yaml", "")]), &Plan::default(), &[refused]);
        let [one] = all.as_slice() else { panic!("{all:?}") };
        assert!(one.error.message.starts_with("Instance shop/b: no no ") && one.error.message.ends_with('…'));
    }

    #[test]
    fn a_commit_is_applied_once_anything_of_it_is_there() {
        let action = |failure: Option<&str>| {
            let id = ObjectId { kind: ObjectKind::Instance, namespace: Some("shop".into()), name: "a".into() };
            let (why, took) = ("a.yaml changed".to_owned(), Duration::ZERO);
            Outcome { id, what: What::Update, why, failure: failure.map(str::to_owned), took }
        };
        let (nothing, unchanged) = (Plan::default(), Plan { in_sync: 1, ..Plan::default() });
        let (refused, done) = (action(Some("no quota")), action(None));
        let tried = [failed("a", "no quota")];
        assert!(!is_applied(&tried, &nothing, std::slice::from_ref(&refused)));
        assert!(is_applied(&tried, &unchanged, std::slice::from_ref(&refused)));
        assert!(is_applied(&tried, &nothing, &[refused, done]));
        assert!(is_applied(&[], &nothing, &[]), "there was nothing to do");
    }

    #[test]
    fn only_another_failure_is_another_text() {
        let first = file(&[failed("a", "timed out after 1.25s")], None).expect("something failed");
        assert_eq!(file(&[failed("a", "timed out after 30s")], Some(&first)).as_ref(), Some(&first));
        for other in [vec![failed("a", "no quota")], vec![failed("b", "timed out after 1.25s")]] {
            assert_ne!(file(&other, Some(&first)).as_ref(), Some(&first));
        }
        let two = [failed("a", "timed out after 1.25s"), failed("b", "no quota")];
        assert_ne!(file(&two, Some(&first)).as_ref(), Some(&first));
        assert_eq!(file(&[], Some(&first)), None);
    }
}
