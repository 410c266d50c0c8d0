//! Byte-range locks against the lists of the specification.

use std::vec::Vec;

use proptest::prelude::*;

use super::LockKind::{Exclusive, Shared};
use super::*;

/// MS-FSA 2.1.4.10, 2.1.5.8 and 2.1.5.9 as they are written: a list that is walked, and arithmetic modulo 2^64.
#[derive(Default)]
struct Model(Vec<Lock<u8>>);

#[derive(Clone, Copy, PartialEq)]
enum Intent {
    Lock,
    Transfer,
}

impl Model {
    fn conflict(&self, range: Range, kind: LockKind, intent: Intent, who: u8) -> Option<Lock<u8>> {
        if (range.offset(), range.len()) == (0, 0) {
            return None;
        }
        let conflicting = self.0.iter().filter(|lock| {
            if (lock.range.offset, lock.range.len) == (0, 0) {
                return false;
            }
            let last = range.offset.wrapping_add(range.len).wrapping_sub(1);
            let lock_last = lock.range.offset.wrapping_add(lock.range.len).wrapping_sub(1);
            if range.offset > lock_last || last < lock.range.offset {
                return false;
            }
            match lock.kind {
                Exclusive => lock.owner != who || (kind == Exclusive && intent == Intent::Lock),
                Shared => kind == Exclusive,
            }
        });
        conflicting.min().copied()
    }

    fn lock(&mut self, lock: Lock<u8>) -> Option<Lock<u8>> {
        let conflict = self.conflict(lock.range, lock.kind, Intent::Lock, lock.owner);
        if conflict.is_none() {
            self.0.push(lock);
        }
        conflict
    }

    fn unlock(&mut self, range: Range, owner: u8) -> bool {
        let mut found = None;
        for (at, lock) in self.0.iter().enumerate() {
            if lock.range == range && lock.owner == owner {
                found = Some(at);
                if lock.kind == Exclusive {
                    break;
                }
            }
        }
        found.map(|at| self.0.remove(at)).is_some()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Lock(Vec<(Range, LockKind)>),
    Unlock(Vec<Range>),
    Release,
}

fn any_range() -> impl Strategy<Value = Range> {
    let offset = prop_oneof![8 => 0u64..12, 1 => u64::MAX - 3..=u64::MAX];
    let len = prop_oneof![8 => 0u64..5, 1 => Just(u64::MAX), 1 => Just(1 << 63)];
    (offset, len).prop_filter_map("wraps", |(offset, len)| Range::new(offset, len))
}

fn any_step() -> impl Strategy<Value = Step> {
    let kind = prop_oneof![2 => Just(Shared), 1 => Just(Exclusive)];
    prop_oneof![
        8 => prop::collection::vec((any_range(), kind), 1..4).prop_map(Step::Lock),
        4 => prop::collection::vec(any_range(), 1..3).prop_map(Step::Unlock),
        1 => Just(Step::Release),
    ]
}

/// Ranges at which both are asked after every step.
fn probes() -> Vec<Range> {
    let offsets = (0..14).chain([1 << 63, u64::MAX - 2, u64::MAX - 1, u64::MAX]);
    offsets.flat_map(|offset| [0, 1, 2, 4, u64::MAX].map(|len| Range::new(offset, len))).flatten().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Against the specification's own lists, on two files that share an arena.
    #[test]
    fn does_what_the_specification_does(
        steps in prop::collection::vec((0usize..2, 0u8..3, any_step()), 0..60),
    ) {
        let mut arena = RangeArena::new(usize::MAX);
        let mut files: [(Locks, [Owner<u8>; 3], Model); 2] =
            core::array::from_fn(|_| (Locks::default(), [0, 1, 2].map(Owner::new), Model::default()));
        for (file, id, step) in steps {
            let (locks, owners, model) = &mut files[file];
            let owner = &mut owners[usize::from(id)];
            match step {
                Step::Lock(wanted) => {
                    let before = model.0.clone();
                    let conflict =
                        wanted.iter().find_map(|(range, kind)| {
                            model.lock(Lock { range: *range, owner: id, kind: *kind })
                        });
                    if conflict.is_some() {
                        model.0 = before;
                    }
                    let expected = conflict.map_or(Ok(()), |lock| Err(Refusal::Conflict(lock)));
                    prop_assert_eq!(locks.try_lock_all(&mut arena, owner, wanted.iter().copied()), expected);
                }
                Step::Unlock(ranges) => {
                    let all = ranges.iter().all(|range| model.unlock(*range, id));
                    prop_assert_eq!(ranges.iter().all(|range| locks.unlock(&mut arena, owner, *range).is_ok()), all);
                }
                Step::Release => {
                    model.0.retain(|lock| lock.owner != id);
                    locks.release(&mut arena, owner);
                }
            }

            arena.audit(locks.root);
            let mut expected = model.0.clone();
            expected.sort();
            prop_assert!(locks.iter(&arena).eq(expected.iter().copied()));
            prop_assert_eq!(locks.len(&arena) as usize, model.0.len());
            prop_assert_eq!(locks.vacant(), model.0.is_empty());
            for owner in owners.iter() {
                let slots = owner.held.iter(&arena.nodes, |node| &node.in_owner);
                let mut held: Vec<_> = slots.map(|(slot, _)| arena.lock(slot).unwrap()).collect();
                held.sort();
                prop_assert_eq!(owner.lock_count() as usize, held.len());
                prop_assert!(held.iter().eq(expected.iter().filter(|lock| lock.owner == owner.id())));
            }
            for range in probes() {
                for id in 0..3 {
                    let (read, write) = match range.len {
                        0 => (None, None),
                        _ => (
                            model.conflict(range, Shared, Intent::Transfer, id),
                            model.conflict(range, Exclusive, Intent::Transfer, id),
                        ),
                    };
                    prop_assert_eq!(locks.conflict_with_read(&arena, range, Some(id)), read);
                    prop_assert_eq!(locks.conflict_with_write(&arena, range, Some(id)), write);
                }
                let below = model.0.iter().any(|lock| lock.range.offset < range.offset);
                prop_assert_eq!(locks.any_below(&arena, range.offset), below);
            }
            prop_assert_eq!(arena.len(), files.iter().map(|(.., model)| model.0.len()).sum::<usize>());
        }

        // What a snapshot holds can be locked anew.
        for (locks, ..) in files {
            let (mut again, mut owners) = (Locks::default(), [0, 1, 2].map(Owner::new));
            for kind in [Exclusive, Shared] {
                for lock in locks.iter(&arena.clone()).filter(|lock| lock.kind == kind) {
                    let owner = &mut owners[usize::from(lock.owner)];
                    prop_assert_eq!(again.try_lock(&mut arena, owner, lock.range, kind), Ok(()));
                }
            }
            prop_assert!(again.iter(&arena).eq(locks.iter(&arena)));
        }
    }
}
