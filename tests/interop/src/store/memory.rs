//! A store that lasts as long as somebody holds on to it: for tests, and to measure what the others cost.

use std::sync::{Arc, Mutex, PoisonError};

use super::ownership::Ownership;
use super::{Batch, Image, Store, StoreError};

/// Clones share what they hold.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore(Arc<Mutex<Image>>);

impl Store for MemoryStore {
    fn load(&mut self) -> Result<Image, StoreError> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let mut image = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (&persistent, stored) in &batch.records {
            match stored {
                Some(stored) => image.records.insert(persistent, stored.clone()),
                None => image.records.remove(&persistent),
            };
        }
        image.aside.extend(batch.aside.clone());
        image.below = image.below.max(batch.below);
        Ok(())
    }

    fn room(&self) -> usize {
        1024
    }

    fn ownership(&self) -> Ownership {
        Ownership::forever()
    }
}
