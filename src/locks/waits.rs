//! Who waits for whom: deadlocks over files, shards and protocols are refused before anybody waits for ever.
//!
//! An edge leads from the owner of a lock request that waits to every owner who has to give something up first: of each lock in its
//! way, shared ones too, and of each request ahead of it in the same line; but for those whom another of them waits for anyway. Two threads
//! of one owner are one: an owner does not wait for itself.
//!
//! A request that waits for a lease, an oplock or a delegation to come down waits no longer than until their deadline. It makes no
//! edge: a circle through it opens by itself, and refusing it would fail what would have gone well.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use crate::types::{OwnerId, RequestId};

/// Who locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(clippy::exhaustive_enums, reason = "SMB, or not")]
pub enum Locker {
    /// An SMB open, by the persistent half of its FileId. Processes and sessions do not matter (MS-SMB2 2.2.26).
    Open(u64),
    /// An owner of another protocol.
    Owner(OwnerId),
}

/// A request would wait for somebody who waits for its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Deadlock;

/// The graph. A circle is never in it: whoever would close one is refused.
#[derive(Clone, Debug, Default)]
pub(crate) struct Waits {
    requests: BTreeMap<RequestId, Wait>,
    /// The requests of each owner.
    by_owner: BTreeSet<(Locker, RequestId)>,
    edges: usize,
}

#[derive(Clone, Debug)]
struct Wait {
    owner: Locker,
    on: Vec<Locker>,
}

impl Waits {
    /// Checks and inserts in one step: the request waits for these from now on, and for nobody else. If that would close a circle the
    /// request waits for nobody. O((owners + edges that can be reached) · log requests).
    pub(crate) fn insert(
        &mut self,
        request: RequestId,
        owner: Locker,
        mut on: Vec<Locker>,
    ) -> Result<(), Deadlock> {
        self.remove(request);
        on.sort_unstable();
        on.dedup();
        on.retain(|other| *other != owner);
        if self.reaches(&on, owner) {
            return Err(Deadlock);
        }
        self.edges = self.edges.saturating_add(on.len());
        self.by_owner.insert((owner, request));
        self.requests.insert(request, Wait { owner, on });
        Ok(())
    }

    /// The request waits no more: granted, refused, cancelled, or its owner is gone.
    pub(crate) fn remove(&mut self, request: RequestId) {
        if let Some(wait) = self.requests.remove(&request) {
            self.edges = self.edges.saturating_sub(wait.on.len());
            self.by_owner.remove(&(wait.owner, request));
        }
    }

    /// How many requests wait.
    pub(crate) fn len(&self) -> usize {
        self.requests.len()
    }

    /// How many edges there are.
    #[cfg(test)]
    fn edges(&self) -> usize {
        self.edges
    }

    /// Whether one of these waits for `goal`, over however many others.
    fn reaches(&self, from: &[Locker], goal: Locker) -> bool {
        let mut seen: BTreeSet<Locker> = from.iter().copied().collect();
        let mut next: Vec<Locker> = from.to_vec();
        while let Some(owner) = next.pop() {
            let of_owner = (owner, RequestId::new(0))..=(owner, RequestId::new(u64::MAX));
            let waits = self.by_owner.range(of_owner).filter_map(|(_, request)| self.requests.get(request));
            for other in waits.flat_map(|wait| &wait.on) {
                if *other == goal {
                    return true;
                }
                if seen.insert(*other) {
                    next.push(*other);
                }
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn open(id: u64) -> Locker {
        Locker::Open(id)
    }

    fn index(id: u64) -> usize {
        usize::try_from(id).unwrap()
    }

    fn request(id: u64) -> RequestId {
        RequestId::new(id)
    }

    #[test]
    fn a_circle_of_any_length_is_refused_and_leaves_nothing() {
        for length in 2..50 {
            let mut waits = Waits::default();
            for at in 1..length {
                waits.insert(request(at), open(at), vec![open(at + 1)]).unwrap();
            }
            assert_eq!(waits.insert(request(length), open(length), vec![open(1)]), Err(Deadlock));
            assert_eq!((waits.len(), waits.edges()), (index(length) - 1, index(length) - 1));
            waits.remove(request(1));
            waits.insert(request(length), open(length), vec![open(1)]).unwrap();
        }
    }

    #[test]
    fn an_owner_does_not_wait_for_itself() {
        let mut waits = Waits::default();
        waits.insert(request(1), open(1), vec![open(1)]).unwrap();
        assert_eq!(waits.edges(), 0);
    }

    #[test]
    fn an_edge_goes_to_every_owner_of_a_shared_lock() {
        let mut waits = Waits::default();
        waits.insert(request(1), open(1), vec![open(2), open(3), open(4)]).unwrap();
        for other in 2..5 {
            assert_eq!(waits.insert(request(9), open(other), vec![open(1)]), Err(Deadlock));
        }
    }

    #[test]
    fn requests_of_one_owner_are_one_owners() {
        let mut waits = Waits::default();
        waits.insert(request(1), open(1), vec![open(2)]).unwrap();
        waits.insert(request(2), open(1), vec![open(3)]).unwrap();
        assert_eq!(waits.insert(request(3), open(3), vec![open(1)]), Err(Deadlock));
        waits.remove(request(2));
        waits.insert(request(3), open(3), vec![open(1)]).unwrap();
        assert_eq!(waits.insert(request(4), open(2), vec![open(3)]), Err(Deadlock));
    }

    #[test]
    fn a_wait_that_is_told_anew_replaces_the_old_one() {
        let mut waits = Waits::default();
        waits.insert(request(1), open(1), vec![open(2)]).unwrap();
        waits.insert(request(1), open(1), vec![open(3)]).unwrap();
        waits.insert(request(2), open(2), vec![open(1)]).unwrap();
        // The lock has changed hands: what was no circle before is one now.
        assert_eq!(waits.insert(request(1), open(1), vec![open(2)]), Err(Deadlock));
        assert_eq!(waits.len(), 1);
    }

    proptest! {
        /// Against a graph that looks at every path.
        #[test]
        fn refused_is_exactly_what_would_close_a_circle(
            steps in prop::collection::vec((0..8_u64, 0..5_u64, prop::collection::vec(0..5_u64, 0..4), any::<bool>()), 1..60),
        ) {
            let mut waits = Waits::default();
            let mut model: Vec<(u64, u64, Vec<u64>)> = Vec::new();
            for (id, owner, on, ends) in steps {
                model.retain(|(other, ..)| *other != id);
                if ends {
                    waits.remove(request(id));
                    continue;
                }
                let mut reach = [[false; 5]; 5];
                for (_, from, to) in &model {
                    to.iter().filter(|to| *to != from).for_each(|to| reach[index(*from)][index(*to)] = true);
                }
                for over in 0..5 {
                    for from in 0..5 {
                        for to in 0..5 {
                            reach[from][to] |= reach[from][over] && reach[over][to];
                        }
                    }
                }
                let circle = on.iter().any(|to| *to != owner && reach[index(*to)][index(owner)]);
                let done = waits.insert(request(id), open(owner), on.iter().copied().map(open).collect());
                prop_assert_eq!(done.is_err(), circle);
                if !circle {
                    model.push((id, owner, on));
                }
                prop_assert_eq!(waits.len(), model.len());
            }
        }
    }
}
