//! A file with values of one of its objects changed: in their place where they are plain values, so that comments and
//! everything else stay; else the whole document is written anew.

use std::path::Path;

use serde_json::Value;

use crate::plan::source::adopt::{Change, adopted};
use crate::plan::source::{ObjectId, Placement, read};
use crate::repo::documents::replaced;
use crate::repo::{Document, ParseLimits, parse};

/// How far a plain value can reach in its line, the shortest first.
const ENDS: [&[&str]; 2] = [&[",", "]", "}", " #"], &[" #"]];

/// The file in which this object has these values; none where the file does not define it so that it can be changed.
pub fn edited(path: &str, text: &str, placement: &Placement, id: &ObjectId, changes: &[Change]) -> Option<String> {
    let documents = documents(path, text)?;
    let defines = |document: &Document| {
        let reading = read(path, document.value.clone(), &document.places, placement);
        reading.objects.iter().any(|manifest| manifest.id == *id)
    };
    let at = documents.iter().position(defines)?;
    let wanted = adopted(&documents[at].value, changes)?;
    let is_it =
        |text: &str| self::documents(path, text).is_some_and(|all| all.get(at).is_some_and(|one| one.value == wanted));
    if let Some(new) = in_place(path, text, at, changes).filter(|new| is_it(new)) {
        return Some(new);
    }
    let is_json = Path::new(path).extension().is_some_and(|ending| ending == "json");
    let written = if is_json {
        serde_json::to_string_pretty(&wanted).ok()? + "\n"
    } else {
        serde_saphyr::to_string(&wanted).ok()?
    };
    replaced(text, documents[at].places.start().line, &written).filter(|new| is_it(new))
}

fn documents(path: &str, text: &str) -> Option<Vec<Document>> {
    parse(path, text.as_bytes(), &ParseLimits::default()).ok()
}

/// Each value replaced where it stands, one after the other.
fn in_place(path: &str, text: &str, at: usize, changes: &[Change]) -> Option<String> {
    let mut text = text.to_owned();
    for change in changes {
        let live = change.live.as_ref().filter(|live| !live.is_object() && !live.is_array())?;
        let place = documents(path, &text)?.get(at)?.places.value(&change.pointer);
        let line_start: usize =
            text.split_inclusive('\n').take(usize::try_from(place.line).ok()? - 1).map(str::len).sum();
        let line = text[line_start..].lines().next()?;
        let column = line.char_indices().nth(usize::try_from(place.column).ok()? - 1)?.0;
        let (start, rest) = (line_start + column, &line[column..]);
        let tried = lengths(rest).into_iter().find_map(|length| {
            let new = format!("{}{}{}", &text[..start], scalar(live), &text[start + length..]);
            let value = documents(path, &new)?.get(at)?.value.pointer(&change.pointer)?.clone();
            (value == *live).then_some(new)
        });
        text = tried?;
    }
    Some(text)
}

/// How long the value at the beginning of this text can be.
fn lengths(rest: &str) -> Vec<usize> {
    if let Some(quote) = rest.chars().next().filter(|first| matches!(first, '"' | '\'')) {
        return rest[1..].match_indices(quote).map(|(at, _)| at + 2).collect();
    }
    let until = |ends: &[&str]| ends.iter().filter_map(|end| rest.find(end)).min().unwrap_or(rest.len());
    let mut lengths: Vec<usize> = ENDS.iter().map(|ends| rest[..until(ends)].trim_end().len()).collect();
    lengths.dedup();
    lengths
}

/// A value as YAML and JSON both read it.
fn scalar(value: &Value) -> String {
    value.to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plan::source::ObjectKind;
    use crate::plan::source::adopt::changes;

    const FILE: &str = "\
# two caches
apiVersion: midship.dev/v1alpha1
kind: Instance
metadata: {name: a}
spec: {type: cache, extensionVersion: 1.0.0, version: '7.0'} # old
---
apiVersion: midship.dev/v1alpha1
kind: Instance
metadata:
  name: b   # the other
spec:
  type: cache
  extensionVersion: 1.0.0
  version: 7-lts # see the wiki
  components:
    - name: server
      replicas: 2
";

    fn edit(name: &str, live: Value) -> Option<String> {
        let placement =
            Placement { default_namespace: "team".into(), allowed: None, folder: String::new(), sources: true };
        let id = ObjectId { kind: ObjectKind::Instance, namespace: Some("team".into()), name: name.into() };
        let documents = documents("x.yaml", FILE).expect("good");
        let document = documents.into_iter().find(|one| one.value["metadata"]["name"] == name)?;
        let mut there = document.value.clone();
        there["spec"].as_object_mut()?.extend(live.as_object()?.clone());
        edited("x.yaml", FILE, &placement, &id, &changes(&document.value, &there))
    }

    #[test]
    fn plain_values_are_changed_in_their_place() {
        assert_eq!(edit("a", json!({ "version": "7.2" })), Some(FILE.replace("'7.0'", "\"7.2\"")));
        let expected = FILE.replace("7-lts", "\"8\"").replace("replicas: 2", "replicas: 3");
        let live = json!({ "version": "8", "components": [{ "name": "server", "replicas": 3 }] });
        assert_eq!(edit("b", live), Some(expected));
    }

    #[test]
    fn what_is_no_plain_value_writes_its_document_anew_and_leaves_the_others() {
        let live = json!({ "components": [{ "name": "server", "replicas": 2 }, { "name": "more", "replicas": 1 }] });
        let new = edit("b", live).expect("it can be written");
        let (first, second) = new.split_once("---\n").expect("two documents");
        assert_eq!(first, FILE.split_once("---\n").expect("two documents").0);
        assert!(second.contains("name: more") && !second.contains("wiki"), "{second}");
    }

    #[test]
    fn an_object_that_the_file_does_not_define_changes_nothing() {
        assert_eq!(edit("c", json!({})), None);
    }
}
