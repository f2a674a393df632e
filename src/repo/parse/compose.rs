//! Putting parser events together into values, within limits and without recursion.

use std::collections::HashMap;

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, Span, Tag};
use serde_json::{Map, Value};

use super::places::{Inner, Places, Position};
use super::problem::{Problem, ProblemCode};
use super::{Document, ParseLimits, scalar};

/// More than this many problems in one file help nobody.
const MAX_PROBLEMS: usize = 20;
const UNKNOWN_TAG: &str = "this tag has no meaning here";

pub(super) fn compose(path: &str, text: &str, limits: &ParseLimits) -> Result<Vec<Document>, Vec<Problem>> {
    let options = {
        let mut options = granit_parser::options! {
            flow_nesting_limit: limits.depth,
            block_nesting_limit: limits.depth,
        };
        options.set_emit_comments(false);
        options
    };
    let mut composer = Composer {
        path,
        limits,
        documents: Vec::new(),
        problems: Vec::new(),
        stack: Vec::new(),
        anchors: HashMap::new(),
        nodes: 0,
        alias_bytes: 0,
    };
    for next in Parser::new_from_str_with_options(text, options) {
        let step = match next {
            Ok((event, span)) => composer.take(event, span),
            Err(error) => Err(composer.syntax(&error)),
        };
        if let Err(fatal) = step {
            composer.problems.push(fatal);
            break;
        }
        if composer.problems.len() >= MAX_PROBLEMS {
            break;
        }
    }
    if composer.problems.is_empty() { Ok(composer.documents) } else { Err(composer.problems) }
}

struct Composer<'a> {
    path: &'a str,
    limits: &'a ParseLimits,
    documents: Vec<Document>,
    problems: Vec<Problem>,
    stack: Vec<Frame>,
    anchors: HashMap<usize, Anchored>,
    nodes: usize,
    alias_bytes: usize,
}

/// A collection that is being filled.
struct Frame {
    at: Position,
    anchor: usize,
    kind: Filling,
}

enum Filling {
    List(Vec<Value>, Vec<Places>),
    Map {
        map: Map<String, Value>,
        places: Vec<(Box<str>, Places)>,
        /// The key that waits for its value.
        key: Option<(String, Position, bool)>,
        merges: Vec<(Position, Value, Places)>,
    },
}

struct Anchored {
    value: Value,
    places: Places,
    weight: Weight,
}

#[derive(Clone, Copy, Default)]
struct Weight {
    nodes: usize,
    bytes: usize,
    depth: usize,
}

type Step = Result<(), Problem>;

impl Composer<'_> {
    fn problem(&self, at: Position, code: ProblemCode, reason: impl Into<String>) -> Problem {
        Problem::new(self.path, at, code, reason)
    }

    fn take(&mut self, event: Event<'_>, span: Span) -> Step {
        let at = Position::new(span.start.line(), span.start.col() + 1);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.count(at)?;
                self.scalar(&text, style, anchor, tag.as_deref(), at)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.check_tag(tag.as_deref(), "seq", at);
                self.begin(at, anchor, Filling::List(Vec::new(), Vec::new()))
            }
            Event::MappingStart(_, anchor, tag) => {
                self.check_tag(tag.as_deref(), "map", at);
                let kind = Filling::Map { map: Map::new(), places: Vec::new(), key: None, merges: Vec::new() };
                self.begin(at, anchor, kind)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(id) => self.alias(id, at),
            Event::DocumentStart(..) => {
                self.anchors.clear();
                if self.documents.len() >= self.limits.documents {
                    let reason = format!("the file has more than {} documents", self.limits.documents);
                    return Err(self.problem(at, ProblemCode::TooManyDocuments, reason));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn count(&mut self, at: Position) -> Step {
        self.nodes += 1;
        if self.nodes > self.limits.nodes {
            let reason = format!("the file has more than {} values", self.limits.nodes);
            return Err(self.problem(at, ProblemCode::TooManyNodes, reason));
        }
        Ok(())
    }

    fn begin(&mut self, at: Position, anchor: usize, kind: Filling) -> Step {
        self.count(at)?;
        if self.expects_key() {
            let problem = self.problem(at, ProblemCode::BadKey, "a key cannot be a mapping or a list");
            return Err(problem.hint("if this is a template like {{ x }}, put it in quotes"));
        }
        if self.stack.len() >= self.limits.depth {
            return Err(self.too_deep(at));
        }
        self.stack.push(Frame { at, anchor, kind });
        Ok(())
    }

    fn too_deep(&self, at: Position) -> Problem {
        let reason = format!("more than {} mappings and lists inside one another", self.limits.depth);
        self.problem(at, ProblemCode::TooDeep, reason)
    }

    fn expects_key(&self) -> bool {
        matches!(self.stack.last(), Some(Frame { kind: Filling::Map { key: None, .. }, .. }))
    }

    fn end(&mut self) -> Step {
        let Some(frame) = self.stack.pop() else {
            return Ok(());
        };
        let (value, inner) = match frame.kind {
            Filling::List(values, places) => (Value::Array(values), Inner::List(places)),
            Filling::Map { mut map, mut places, merges, .. } => {
                for (at, value, source) in merges {
                    self.merge(at, value, source, &mut map, &mut places);
                }
                (Value::Object(map), Inner::Map(places))
            }
        };
        self.complete(value, Places::new(frame.at, inner), frame.anchor)
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, anchor: usize, tag: Option<&Tag>, at: Position) -> Step {
        if self.expects_key() {
            self.check_tag(tag, "str", at);
            let merge = text == "<<" && style == ScalarStyle::Plain;
            if anchor > 0 {
                self.keep(anchor, &Value::String(text.to_owned()), &Places::new(at, Inner::Leaf))?;
            }
            return self.key(text.to_owned(), at, merge);
        }
        let value = match resolve(text, style, tag) {
            Ok(value) => value,
            Err((code, reason, hint)) => {
                let problem = self.problem(at, code, reason).hint(hint);
                self.problems.push(problem);
                Value::Null
            }
        };
        self.complete(value, Places::new(at, Inner::Leaf), anchor)
    }

    fn check_tag(&mut self, tag: Option<&Tag>, expected: &str, at: Position) {
        if let Some(tag) = tag
            && tag.core_suffix() != Some(expected)
        {
            let problem = self.problem(at, ProblemCode::UnknownTag, UNKNOWN_TAG).hint("remove it");
            self.problems.push(problem);
        }
    }

    fn key(&mut self, text: String, at: Position, merge: bool) -> Step {
        if text.is_empty() {
            return Err(self.problem(at, ProblemCode::BadKey, "a key is empty"));
        }
        if let Some(Frame { kind: Filling::Map { key, .. }, .. }) = self.stack.last_mut() {
            *key = Some((text, at, merge));
        }
        Ok(())
    }

    /// A value is whole: it goes into the collection around it, or it is the document.
    fn complete(&mut self, value: Value, place: Places, anchor: usize) -> Step {
        if anchor > 0 {
            self.keep(anchor, &value, &place)?;
        }
        match self.stack.last_mut().map(|frame| &mut frame.kind) {
            None => {
                if !value.is_null() {
                    self.documents.push(Document { value, places: place });
                }
            }
            Some(Filling::List(values, places)) => {
                values.push(value);
                places.push(place);
            }
            Some(Filling::Map { map, places, key, merges }) => {
                let Some((name, at, merge)) = key.take() else {
                    return Ok(()); // the parser gives every value a key
                };
                if merge {
                    merges.push((at, value, place));
                } else if map.contains_key(&name) {
                    let first = places.iter().find(|(n, _)| **n == *name).map_or(at, |(_, p)| p.key(""));
                    let reason = format!("the key `{name}` is there twice, first in line {}", first.line);
                    let problem = self.problem(at, ProblemCode::DuplicateKey, reason).hint("remove one of them");
                    self.problems.push(problem);
                } else {
                    places.push((name.clone().into(), place.with_key(at)));
                    map.insert(name, value);
                }
            }
        }
        Ok(())
    }

    fn keep(&mut self, anchor: usize, value: &Value, place: &Places) -> Step {
        let weight = weigh(value);
        self.repeat(weight, place.start())?;
        self.anchors.insert(anchor, Anchored { value: value.clone(), places: place.clone(), weight });
        Ok(())
    }

    /// Every copy counts, the one kept for later aliases too.
    fn repeat(&mut self, weight: Weight, at: Position) -> Step {
        self.nodes += weight.nodes;
        self.alias_bytes += weight.bytes;
        if self.nodes > self.limits.nodes || self.alias_bytes > self.limits.alias_bytes {
            let problem =
                self.problem(at, ProblemCode::AliasBomb, "anchors and aliases repeat more than a file may contain");
            return Err(problem.hint("write the values out or use fewer aliases"));
        }
        Ok(())
    }

    fn alias(&mut self, id: usize, at: Position) -> Step {
        let Some(weight) = self.anchors.get(&id).map(|kept| kept.weight) else {
            return Err(self.problem(at, ProblemCode::UnknownAnchor, "the alias is used inside its own anchor"));
        };
        if self.stack.len() + weight.depth > self.limits.depth {
            return Err(self.too_deep(at));
        }
        self.repeat(weight, at)?;
        let Anchored { value, places, .. } = &self.anchors[&id];
        let (value, places) = (value.clone(), places.clone());
        if self.expects_key() {
            return match value {
                Value::String(text) => self.key(text, at, false),
                _ => Err(self.problem(at, ProblemCode::BadKey, "a key must be text")),
            };
        }
        // inside, the places of the anchor tell more than the place of the alias
        self.complete(value, places.moved_to(at), 0)
    }

    /// `<<: *defaults`: what is written out wins over what is merged, earlier merges over later ones.
    fn merge(
        &mut self,
        at: Position,
        value: Value,
        source: Places,
        map: &mut Map<String, Value>,
        places: &mut Vec<(Box<str>, Places)>,
    ) {
        match (value, source.into_inner()) {
            (Value::Object(mut entries), Inner::Map(from)) => {
                for (name, place) in from {
                    if let Some(value) = entries.remove(&*name)
                        && !map.contains_key(&*name)
                    {
                        map.insert(name.clone().into(), value);
                        places.push((name, place));
                    }
                }
            }
            (Value::Array(values), Inner::List(from)) if values.iter().all(Value::is_object) => {
                for (value, source) in values.into_iter().zip(from) {
                    self.merge(at, value, source, map, places);
                }
            }
            _ => {
                let reason = "only a mapping, or a list of mappings, can be merged with `<<`";
                let problem = self.problem(at, ProblemCode::BadMerge, reason);
                self.problems.push(problem);
            }
        }
    }

    fn syntax(&self, error: &ScanError) -> Problem {
        let at = Position::new(error.marker().line(), error.marker().col() + 1);
        match error.kind() {
            ErrorKind::RecursionLimitExceeded => self.too_deep(at),
            ErrorKind::UnknownAnchor => self.problem(at, ProblemCode::UnknownAnchor, "there is no such anchor above"),
            ErrorKind::TabNotAllowed
            | ErrorKind::TabInBlockIndentation
            | ErrorKind::TabInIndentation
            | ErrorKind::TabAtBlockScalarStart => {
                self.problem(at, ProblemCode::Syntax, "a tab cannot indent YAML").hint("use spaces")
            }
            _ => self.problem(at, ProblemCode::Syntax, error.info()),
        }
    }
}

/// The value of a scalar, or code, reason and hint. No reason repeats what is written, not even a tag: it may be the secret
/// of a Secret, and what is said of a file is kept where many can read it.
fn resolve(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, (ProblemCode, String, &'static str)> {
    let unclear = |(reason, hint): scalar::Unclear| (ProblemCode::BadNumber, reason.to_owned(), hint);
    let Some(tag) = tag else {
        return match style {
            ScalarStyle::Plain => scalar::plain(text).map_err(unclear),
            _ => Ok(Value::String(text.to_owned())),
        };
    };
    let wrong = |kind: &str| {
        let reason = format!("this is tagged as {kind} but is none");
        (ProblemCode::UnknownTag, reason, "remove the tag or correct the value")
    };
    match tag.core_suffix() {
        Some("str") => Ok(Value::String(text.to_owned())),
        Some("null") if matches!(scalar::plain(text), Ok(Value::Null)) => Ok(Value::Null),
        Some("bool") => match scalar::plain(text) {
            Ok(Value::Bool(value)) => Ok(Value::Bool(value)),
            _ => Err(wrong("a boolean")),
        },
        Some("int") => match scalar::number(text).map_err(unclear)? {
            Some(Value::Number(n)) if !n.is_f64() => Ok(Value::Number(n)),
            _ => Err(wrong("a whole number")),
        },
        Some("float") => match scalar::number(text).map_err(unclear)? {
            Some(Value::Number(n)) => Ok(n.as_f64().map_or(Value::Null, Value::from)),
            _ => Err(wrong("a number")),
        },
        _ if tag.handle().is_empty() && tag.suffix() == "!" => Ok(Value::String(text.to_owned())),
        _ if tag.handle() == "!" && tag.suffix().is_empty() => Ok(Value::String(text.to_owned())),
        _ => Err((
            ProblemCode::UnknownTag,
            UNKNOWN_TAG.to_owned(),
            "remove it, or put the value in quotes where it begins with a !",
        )),
    }
}

/// What repeating a value costs. Values are never deeper than the limit, so this may recurse.
fn weigh(value: &Value) -> Weight {
    let inner = |weights: &mut dyn Iterator<Item = Weight>| {
        weights.fold(Weight { nodes: 1, bytes: 0, depth: 1 }, |all, one| Weight {
            nodes: all.nodes + one.nodes,
            bytes: all.bytes + one.bytes,
            depth: all.depth.max(one.depth + 1),
        })
    };
    match value {
        Value::String(text) => Weight { nodes: 1, bytes: text.len(), depth: 0 },
        Value::Array(items) => inner(&mut items.iter().map(weigh)),
        Value::Object(map) => inner(&mut map.iter().map(|(key, value)| {
            let mut weight = weigh(value);
            weight.bytes += key.len();
            weight
        })),
        _ => Weight { nodes: 1, ..Weight::default() },
    }
}
