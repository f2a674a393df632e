//! What is remembered of an object between two reconciles: taken out while one runs, and put back also where that is cut off.

use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

use crate::cluster::Key;

pub struct Kept<'a, M: Default> {
    all: &'a Mutex<HashMap<Key, M>>,
    key: &'a Key,
    memory: M,
}

impl<'a, M: Default> Kept<'a, M> {
    pub fn of(all: &'a Mutex<HashMap<Key, M>>, key: &'a Key) -> Self {
        let memory = all.lock().unwrap_or_else(PoisonError::into_inner).remove(key).unwrap_or_default();
        Self { all, key, memory }
    }
}

impl<M: Default> Deref for Kept<'_, M> {
    type Target = M;

    fn deref(&self) -> &M {
        &self.memory
    }
}

impl<M: Default> DerefMut for Kept<'_, M> {
    fn deref_mut(&mut self) -> &mut M {
        &mut self.memory
    }
}

impl<M: Default> Drop for Kept<'_, M> {
    fn drop(&mut self) {
        let memory = std::mem::take(&mut self.memory);
        self.all.lock().unwrap_or_else(PoisonError::into_inner).insert(self.key.clone(), memory);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn what_is_remembered_outlives_a_reconcile_that_is_cut_off() {
        let (all, key) = (Mutex::new(HashMap::new()), Key::new("shop", "vault"));
        let reconcile = async |takes: Duration| {
            let mut failures: Kept<'_, u32> = Kept::of(&all, &key);
            *failures += 1;
            tokio::time::sleep(takes).await;
        };
        reconcile(Duration::ZERO).await;
        assert!(tokio::time::timeout(Duration::from_millis(1), reconcile(Duration::from_hours(1))).await.is_err());
        assert_eq!(all.lock().expect("nobody panicked").get(&key), Some(&2));
    }
}
