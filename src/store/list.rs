//! Doubly linked lists through the records of an arena: order of arrival, O(1) removal, no allocation.

use slotmap::{Key, SlotMap};

/// The ends of a list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct List<K> {
    head: Option<K>,
    tail: Option<K>,
    len: u32,
}

/// A record's place in a list. A record that is in several lists has one of these for each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Links<K> {
    prev: Option<K>,
    next: Option<K>,
}

impl<K> Default for List<K> {
    fn default() -> Self {
        Self { head: None, tail: None, len: 0 }
    }
}

impl<K> Default for Links<K> {
    fn default() -> Self {
        Self { prev: None, next: None }
    }
}

impl<K: Copy> Links<K> {
    pub(crate) fn next(&self) -> Option<K> {
        self.next
    }

    pub(crate) fn prev(&self) -> Option<K> {
        self.prev
    }
}

impl<K: Key> List<K> {
    /// Appends a record that is in no list of this kind.
    pub(crate) fn push_back<T>(
        &mut self,
        arena: &mut SlotMap<K, T>,
        id: K,
        links: impl Fn(&mut T) -> &mut Links<K>,
    ) {
        if let Some(record) = arena.get_mut(id) {
            *links(record) = Links { prev: self.tail, next: None };
        }
        match self.tail.and_then(|tail| arena.get_mut(tail)) {
            Some(tail) => links(tail).next = Some(id),
            None => self.head = Some(id),
        }
        self.tail = Some(id);
        self.len = self.len.saturating_add(1);
    }

    /// Takes out a record that is in this list.
    pub(crate) fn remove<T>(
        &mut self,
        arena: &mut SlotMap<K, T>,
        id: K,
        links: impl Fn(&mut T) -> &mut Links<K>,
    ) {
        let Some(Links { prev, next }) = arena.get_mut(id).map(|record| core::mem::take(links(record)))
        else {
            return;
        };
        match prev.and_then(|prev| arena.get_mut(prev)) {
            Some(record) => links(record).next = next,
            None => self.head = next,
        }
        match next.and_then(|next| arena.get_mut(next)) {
            Some(record) => links(record).prev = prev,
            None => self.tail = prev,
        }
        self.len = self.len.saturating_sub(1);
    }

    pub(crate) fn head(&self) -> Option<K> {
        self.head
    }

    pub(crate) fn tail(&self) -> Option<K> {
        self.tail
    }

    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    pub(crate) fn vacant(&self) -> bool {
        self.head.is_none()
    }

    /// The records in order of arrival.
    pub(crate) fn iter<'a, T>(
        &self,
        arena: &'a SlotMap<K, T>,
        links: impl Fn(&T) -> &Links<K> + 'a,
    ) -> impl Iterator<Item = (K, &'a T)> + 'a {
        let mut next = self.head;
        core::iter::from_fn(move || {
            let id = next?;
            let record = arena.get(id)?;
            next = links(record).next;
            Some((id, record))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;
    use slotmap::DefaultKey;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Against a plain vector, for any sequence of appending and removing.
        #[test]
        fn keeps_the_order_of_arrival(steps in prop::collection::vec(prop::option::of(0usize..16), 0..64)) {
            let mut arena: SlotMap<DefaultKey, Links<DefaultKey>> = SlotMap::new();
            let mut list = List::default();
            let mut model: Vec<DefaultKey> = Vec::new();
            for step in steps {
                match step {
                    Some(at) if at < model.len() => {
                        let id = model.remove(at);
                        list.remove(&mut arena, id, |links| links);
                        arena.remove(id);
                    }
                    _ => {
                        let id = arena.insert(Links::default());
                        list.push_back(&mut arena, id, |links| links);
                        model.push(id);
                    }
                }
                let order: Vec<_> = list.iter(&arena, |links| links).map(|(id, _)| id).collect();
                prop_assert_eq!(&order, &model);
                prop_assert_eq!(list.len() as usize, model.len());
                prop_assert_eq!(list.vacant(), model.is_empty());
            }
        }
    }
}
