//! What all templates of one rendering may use together: each is bounded by itself, and there may be many of them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

/// Steps that all files and texts of an instance may take together.
const ALL: u64 = 20_000_000;
/// So many bytes of output count as a step.
const BYTES: u64 = 16;

/// What is left for the templates of one rendering, and who used the rest.
#[derive(Debug)]
pub struct Budget {
    left: Cell<u64>,
    used: RefCell<BTreeMap<String, u64>>,
}

impl Default for Budget {
    fn default() -> Self {
        Self { left: Cell::new(ALL), used: RefCell::default() }
    }
}

impl Budget {
    /// Counts what a template took: instructions, and bytes it gave.
    pub fn took(&self, name: &str, fuel: u64, output: usize) {
        let steps = fuel.saturating_add(u64::try_from(output).unwrap_or(u64::MAX) / BYTES);
        self.left.set(self.left.get().saturating_sub(steps));
        *self.used.borrow_mut().entry(name.to_owned()).or_default() += steps;
    }

    pub fn left(&self) -> u64 {
        self.left.get()
    }

    pub fn is_spent(&self) -> bool {
        self.left() == 0
    }

    /// Who used most of it, and what is said of that once it is spent.
    pub fn greediest(&self) -> (String, String) {
        let used = self.used.borrow();
        let most = used.iter().max_by_key(|(_, steps)| **steps);
        let (name, steps) = most.map_or((String::new(), 0), |(name, steps)| (name.clone(), *steps));
        let reason = format!(
            "all templates of an instance may take {ALL} steps together, and more were needed, {steps} of them here; \
             make its loops shorter, or have fewer groups"
        );
        (name, reason)
    }
}
