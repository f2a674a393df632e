//! Lets decisions ask where a value was written, without knowing files.

use crate::plan::source::manifest::Locate;
use crate::repo::Places;

impl Locate for Places {
    fn locate(&self, pointer: &str, of_key: bool) -> (u32, u32) {
        let position = if of_key { self.key(pointer) } else { self.value(pointer) };
        (position.line, position.column)
    }
}
