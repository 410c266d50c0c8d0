//! Records in an arena, found by key through a striped hash index.
//!
//! The index holds arena ids only, so a record costs its key once. Stripes bound the pause when a table grows: the worst
//! insert rehashes one stripe.

use alloc::boxed::Box;
use core::hash::Hash;

use hashbrown::HashTable;
use slotmap::{Key, SlotMap};

use super::hash::HashKey;

const STRIPES: usize = 64;

/// A record that knows its own key.
pub(crate) trait Keyed {
    type Key: Hash + Eq + Copy;

    fn key(&self) -> Self::Key;
}

/// The table holds as many records as its limit allows, or memory has run out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// An arena with an index. Never walked: anything enumerated lives in a list.
#[derive(Clone, Debug)]
pub(crate) struct Table<Id: Key, T> {
    pub(crate) records: SlotMap<Id, T>,
    index: Box<[HashTable<Id>]>,
    hash_key: HashKey,
    limit: usize,
}

impl<Id: Key, T: Keyed> Table<Id, T> {
    pub(crate) fn new(hash_key: HashKey, limit: usize) -> Self {
        let index = (0..STRIPES).map(|_| HashTable::new()).collect();
        Self { records: SlotMap::with_key(), index, hash_key, limit }
    }

    /// A table with room for that many records from the start: it does not grow before.
    pub(crate) fn with_room(hash_key: HashKey, limit: usize, expected: usize) -> Self {
        let expected = expected.min(limit);
        // A stripe gets its part and what chance adds to it.
        let part = expected.div_ceil(STRIPES);
        let index = (0..STRIPES).map(|_| HashTable::with_capacity(part.saturating_add(part / 16))).collect();
        Self { records: SlotMap::with_capacity_and_key(expected), index, hash_key, limit }
    }

    /// Adds a record whose key is not in the table.
    pub(crate) fn insert(&mut self, record: T) -> Result<Id, Full> {
        if self.records.len() >= self.limit {
            return Err(Full);
        }
        let hash = self.hash_key.hash(&record.key());
        let Self { records, index, hash_key, .. } = self;
        let rehash = |id: &Id| records.get(*id).map_or(0, |record| hash_key.hash(&record.key()));
        let stripe = stripe_mut(index, hash).ok_or(Full)?;
        stripe.try_reserve(1, rehash).map_err(|_| Full)?;
        let id = records.insert(record);
        stripe
            .insert_unique(hash, id, |id| records.get(*id).map_or(0, |record| hash_key.hash(&record.key())));
        Ok(id)
    }

    pub(crate) fn remove(&mut self, id: Id) -> Option<T> {
        let record = self.records.remove(id)?;
        let hash = self.hash_key.hash(&record.key());
        if let Ok(entry) = stripe_mut(&mut self.index, hash)?.find_entry(hash, |other| *other == id) {
            entry.remove();
        }
        Some(record)
    }

    pub(crate) fn find(&self, key: T::Key) -> Option<Id> {
        let hash = self.hash_key.hash(&key);
        let stripe = self.index.get(stripe_of(hash))?;
        stripe.find(hash, |id| self.records.get(*id).is_some_and(|record| record.key() == key)).copied()
    }

    pub(crate) fn get(&self, id: Id) -> Option<&T> {
        self.records.get(id)
    }

    pub(crate) fn get_mut(&mut self, id: Id) -> Option<&mut T> {
        self.records.get_mut(id)
    }

    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether the limit is reached.
    pub(crate) fn is_full(&self) -> bool {
        self.records.len() >= self.limit
    }
}

/// Bits from the middle: hashbrown takes the low ones for the bucket and the top seven for the tag.
fn stripe_of(hash: u64) -> usize {
    usize::from(hash.to_le_bytes()[4]) % STRIPES
}

fn stripe_mut<Id>(index: &mut [HashTable<Id>], hash: u64) -> Option<&mut HashTable<Id>> {
    index.get_mut(stripe_of(hash))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use slotmap::DefaultKey;

    use super::*;

    #[derive(Debug, Clone, Copy, PartialEq)]
    struct Pair(u16, u32);

    impl Keyed for Pair {
        type Key = u16;

        fn key(&self) -> u16 {
            self.0
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Against a `BTreeMap`, for any sequence of inserting and removing, with a limit in the way.
        #[test]
        fn finds_what_was_put_in(steps in prop::collection::vec((0u16..24, any::<bool>()), 0..128)) {
            let mut table: Table<DefaultKey, Pair> = Table::new(HashKey::new([7; 16]), 16);
            let mut model: BTreeMap<u16, (DefaultKey, u32)> = BTreeMap::new();
            for (value, (key, add)) in (0u32..).zip(steps) {
                match model.get(&key).copied() {
                    Some((id, value)) if !add => {
                        prop_assert_eq!(table.remove(id), Some(Pair(key, value)));
                        model.remove(&key);
                    }
                    None if add => match table.insert(Pair(key, value)) {
                        Ok(id) => {
                            prop_assert!(model.len() < 16);
                            model.insert(key, (id, value));
                        }
                        Err(Full) => prop_assert_eq!(model.len(), 16),
                    },
                    _ => {}
                }
                for key in 0..24 {
                    prop_assert_eq!(table.find(key), model.get(&key).map(|(id, _)| *id));
                }
                prop_assert_eq!(table.len(), model.len());
            }
        }
    }
}
