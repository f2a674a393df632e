//! Where the values of a document were written.

use std::fmt;

/// A place in a file; both count from one, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    pub line: u32,
    pub column: u32,
}

impl Position {
    pub const START: Self = Self { line: 1, column: 1 };

    /// The place after this text.
    pub(super) fn after(text: &str) -> Self {
        let line = text.bytes().filter(|b| *b == b'\n').count() + 1;
        let column = text.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Self::new(line, column)
    }

    pub(super) fn new(line: usize, column: usize) -> Self {
        Self { line: u32::try_from(line).unwrap_or(u32::MAX), column: u32::try_from(column).unwrap_or(u32::MAX) }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// The places of a value and all inside it, shaped like the value.
#[derive(Clone, Debug)]
pub struct Places {
    at: Position,
    /// Where its key is, when it is in a mapping.
    key: Option<Position>,
    inner: Inner,
}

#[derive(Clone, Debug)]
pub(super) enum Inner {
    Leaf,
    List(Vec<Places>),
    Map(Vec<(Box<str>, Places)>),
}

impl Places {
    pub(super) fn new(at: Position, inner: Inner) -> Self {
        Self { at, key: None, inner }
    }

    pub(super) fn with_key(mut self, key: Position) -> Self {
        self.key = Some(key);
        self
    }

    pub(super) fn moved_to(mut self, at: Position) -> Self {
        self.at = at;
        self
    }

    pub(super) fn into_inner(self) -> Inner {
        self.inner
    }

    /// Where the value itself begins.
    pub fn start(&self) -> Position {
        self.at
    }

    /// Where the value at a JSON pointer is, or the closest thing around it that exists.
    pub fn value(&self, pointer: &str) -> Position {
        self.find(pointer).at
    }

    /// Where the key of the value at a JSON pointer is, or the closest thing around it that exists.
    pub fn key(&self, pointer: &str) -> Position {
        let found = self.find(pointer);
        found.key.unwrap_or(found.at)
    }

    /// The keys of a mapping in the order they were written in, each with what is below it; nothing for other values.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Self)> {
        let entries = match &self.inner {
            Inner::Map(entries) => entries.as_slice(),
            _ => &[],
        };
        entries.iter().map(|(key, places)| (&**key, places))
    }

    /// The items of a list, in their order; nothing for other values.
    pub fn items(&self) -> impl Iterator<Item = &Self> {
        let items = match &self.inner {
            Inner::List(items) => items.as_slice(),
            _ => &[],
        };
        items.iter()
    }

    fn find(&self, pointer: &str) -> &Self {
        let mut here = self;
        for part in pointer.split('/').skip(1) {
            let part = part.replace("~1", "/").replace("~0", "~");
            let next = match &here.inner {
                Inner::Leaf => None,
                Inner::List(items) => part.parse::<usize>().ok().and_then(|n| items.get(n)),
                Inner::Map(entries) => entries.iter().find(|(key, _)| **key == *part).map(|(_, place)| place),
            };
            match next {
                Some(next) => here = next,
                None => break,
            }
        }
        here
    }
}
