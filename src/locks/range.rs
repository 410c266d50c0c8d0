//! Byte-range locks: who locked which bytes of a file, and what that forbids to whom. Pure, without time and without waiting:
//! a request that conflicts leaves nothing behind, and whoever wants to wait asks again.
//!
//! # What conflicts
//!
//! Only where ranges overlap (MS-FSA 2.1.4.10; MS-SMB2 2.2.26.1 says the same of the flags):
//!
//! | wanted         | own shared | another's shared | own exclusive | another's exclusive |
//! |----------------|------------|------------------|---------------|---------------------|
//! | read           | –          | –                | –             | conflict            |
//! | write          | conflict   | conflict         | –             | conflict            |
//! | shared lock    | –          | –                | –             | conflict            |
//! | exclusive lock | conflict   | conflict         | conflict      | conflict            |
//!
//! A lock neither splits, merges nor converts another: each stands for itself and is undone by its very range.
//!
//! | what                                     | where from                                                      |
//! |------------------------------------------|-----------------------------------------------------------------|
//! | which ranges there are                   | MS-FSA 2.1.5.8, 2.1.5.9: [`Range::new`]                         |
//! | when ranges overlap, also empty ones     | MS-FSA 2.1.4.10: [`Range::overlaps`]                            |
//! | a lock, several in one request           | MS-SMB2 3.3.5.14.2: [`Locks::try_lock`], [`Locks::try_lock_all`]|
//! | an unlock                                | MS-FSA 2.1.5.9, MS-SMB2 3.3.5.14.1: [`Locks::unlock`]           |
//! | what a lock forbids to reads and writes  | MS-FSA 2.1.5.3, 2.1.5.4: [`Locks::conflict_with_read`], `_write`|
//! | all locks of an open go with it          | MS-FSA 2.1.5.5: [`Locks::release`]                              |
//! | whether caching may be granted           | MS-FSA 2.1.5.18: [`Locks::any_below`]                           |
//!
//! The tree is in [`tree`](super::tree).

pub(crate) use super::tree::RangeArena;
use super::tree::{Iter, LockSlot};
use crate::store::list::List;
use crate::time::Instant;

/// Bytes of a file, none beyond offset 2^64 - 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Range {
    offset: u64,
    len: u64,
}

impl Range {
    /// `None` if the range has bytes beyond 2^64 - 1, which is STATUS_INVALID_LOCK_RANGE for locks and unlocks alike
    /// (MS-FSA 2.1.5.8, 2.1.5.9). The byte at 2^64 - 1 itself can be locked, and a range without bytes can lie anywhere.
    pub(crate) const fn new(offset: u64, len: u64) -> Option<Self> {
        match len.checked_sub(1) {
            Some(more) if offset.checked_add(more).is_none() => None,
            _ => Some(Self { offset, len }),
        }
    }

    pub(crate) const fn offset(self) -> u64 {
        self.offset
    }

    pub(crate) const fn len(self) -> u64 {
        self.len
    }

    /// Whether they have a byte in common, or one is empty and lies strictly inside the other.
    ///
    /// That is the comparison of last bytes in MS-FSA 2.1.4.10, where the last byte of an empty range is the one before it:
    /// an empty range at the edge of another, or on another empty one, does not overlap it. The empty range at 0 has no byte
    /// before it and overlaps nothing.
    pub(crate) fn overlaps(self, other: Self) -> bool {
        Some(self.offset) <= other.last() && Some(other.offset) <= self.last()
    }

    /// Whether whatever overlaps the other overlaps this.
    pub(crate) fn covers(self, other: Self) -> bool {
        self.offset <= other.offset && other.last() <= self.last()
    }

    /// `None`, which is less than any offset, for the empty range at 0.
    pub(crate) const fn last(self) -> Option<u64> {
        match self.len.checked_sub(1) {
            Some(more) => self.offset.checked_add(more),
            None => self.offset.checked_sub(1),
        }
    }
}

/// SMB2_LOCKFLAG_SHARED_LOCK or SMB2_LOCKFLAG_EXCLUSIVE_LOCK (MS-SMB2 2.2.26.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum LockKind {
    Shared,
    Exclusive,
}

/// A lock that is held. In the order of snapshots: by offset, length, owner and kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Lock<O> {
    pub(crate) range: Range,
    pub(crate) owner: O,
    pub(crate) kind: LockKind,
}

/// Which locks are in the way of something, where they overlap: the rows of the table above. Whoever asks without being an
/// owner, such as a local process, is `None` and equal to nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InTheWay<O> {
    /// Of a read or a shared lock.
    ExclusiveOfOthers(Option<O>),
    /// Of a write, which shared locks forbid even to those who hold them.
    AllButOwnExclusive(Option<O>),
    /// Of an exclusive lock of an owner whose own locks give way to it.
    AllOfOthers(O),
    /// Of an exclusive lock.
    All,
}

impl<O: Eq> InTheWay<O> {
    /// MS-FSA 2.1.4.10.
    pub(super) fn includes(&self, kind: LockKind, owner: O) -> bool {
        match self {
            Self::ExclusiveOfOthers(who) => kind == LockKind::Exclusive && *who != Some(owner),
            Self::AllButOwnExclusive(who) => kind == LockKind::Shared || *who != Some(owner),
            Self::AllOfOthers(who) => *who != owner,
            Self::All => true,
        }
    }
}

/// Somebody who locks bytes of one file, with the list of what it holds there. For SMB that is an open: neither process nor
/// session matters (MS-SMB2 2.2.26). Whoever locks several files has one of these for each.
#[derive(Clone, Debug)]
pub(crate) struct Owner<O> {
    id: O,
    held: List<LockSlot>,
}

impl<O: Copy> Owner<O> {
    pub(crate) fn new(id: O) -> Self {
        Self { id, held: List::default() }
    }

    #[cfg(test)]
    fn id(&self) -> O {
        self.id
    }

    /// Its locks, in the order in which they were taken.
    pub(crate) fn iter<'a>(&self, arena: &'a RangeArena<O>) -> impl Iterator<Item = Lock<O>> + 'a
    where
        O: Ord,
    {
        self.held.iter(&arena.nodes, |node| &node.in_owner).filter_map(|(slot, _)| arena.lock(slot))
    }

    /// As [`iter`](Self::iter), with when each was taken.
    pub(crate) fn taken<'a>(&self, arena: &'a RangeArena<O>) -> impl Iterator<Item = (Lock<O>, Instant)> + 'a
    where
        O: Ord,
    {
        let held = self.held.iter(&arena.nodes, |node| &node.in_owner);
        held.filter_map(|(slot, node)| Some((arena.lock(slot)?, node.since)))
    }

    /// Open.LockCount (MS-SMB2 3.3.1.10).
    pub(crate) fn lock_count(&self) -> u32 {
        self.held.len()
    }
}

/// Why a lock was not granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal<O> {
    /// STATUS_LOCK_NOT_GRANTED, or a reason to wait: the first lock in the way.
    Conflict(Lock<O>),
    /// STATUS_INSUFFICIENT_RESOURCES: the arena holds as many locks as it may.
    Full,
}

/// STATUS_RANGE_NOT_LOCKED: the owner has no lock of exactly this range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotLocked;

/// The locks on one file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Locks {
    root: Option<LockSlot>,
}

impl Locks {
    /// Locks a range, unless that conflicts. O(log locks on the file).
    pub(crate) fn try_lock<O: Copy + Ord>(
        &mut self,
        arena: &mut RangeArena<O>,
        owner: &mut Owner<O>,
        range: Range,
        kind: LockKind,
    ) -> Result<(), Refusal<O>> {
        if let Some(lock) = self.conflict_with_lock(arena, range, kind, owner.id) {
            return Err(Refusal::Conflict(lock));
        }
        self.add(arena, owner, range, kind).ok_or(Refusal::Full)
    }

    /// Locks a range, whatever is in the way. `None` if there is no room. O(log locks on the file).
    pub(crate) fn add<O: Copy + Ord>(
        &mut self,
        arena: &mut RangeArena<O>,
        owner: &mut Owner<O>,
        range: Range,
        kind: LockKind,
    ) -> Option<()> {
        let slot = arena.insert(&mut self.root, Lock { range, owner: owner.id, kind })?;
        owner.held.push_back(&mut arena.nodes, slot, |node| &mut node.in_owner);
        Some(())
    }

    /// Whether an owner of this name has a lock of exactly this range and kind. O(log locks on the file).
    pub(crate) fn contains<O: Copy + Ord>(
        &self,
        arena: &RangeArena<O>,
        owner: O,
        range: Range,
        kind: LockKind,
    ) -> bool {
        arena.contains(self.root, &Lock { range, owner, kind })
    }

    /// Locks all ranges of one request or none (MS-SMB2 3.3.5.14.2). They are taken in their order and conflict with each
    /// other as with any. O(ranges · log locks on the file).
    pub(crate) fn try_lock_all<O: Copy + Ord>(
        &mut self,
        arena: &mut RangeArena<O>,
        owner: &mut Owner<O>,
        wanted: impl Iterator<Item = (Range, LockKind)> + Clone,
    ) -> Result<(), Refusal<O>> {
        for (done, (range, kind)) in wanted.clone().enumerate() {
            if let Err(refusal) = self.try_lock(arena, owner, range, kind) {
                for (range, kind) in wanted.take(done) {
                    self.remove(arena, owner, range, kind);
                }
                return Err(refusal);
            }
        }
        Ok(())
    }

    /// Undoes one lock of exactly this range; among several an exclusive one (MS-FSA 2.1.5.9), then the latest.
    /// O(log locks on the file).
    pub(crate) fn unlock<O: Copy + Ord>(
        &mut self,
        arena: &mut RangeArena<O>,
        owner: &mut Owner<O>,
        range: Range,
    ) -> Result<(), NotLocked> {
        self.remove(arena, owner, range, LockKind::Exclusive)
            .or_else(|| self.remove(arena, owner, range, LockKind::Shared))
            .ok_or(NotLocked)
    }

    /// Undoes one lock of exactly this range and kind. O(log locks on the file).
    pub(crate) fn undo<O: Copy + Ord>(
        &mut self,
        arena: &mut RangeArena<O>,
        owner: &mut Owner<O>,
        range: Range,
        kind: LockKind,
    ) {
        self.remove(arena, owner, range, kind);
    }

    /// Undoes all locks of an owner. O(its locks · log locks on the file).
    pub(crate) fn release<O: Copy + Ord>(&mut self, arena: &mut RangeArena<O>, owner: &mut Owner<O>) {
        while let Some(lock) = owner.held.head().and_then(|slot| arena.lock(slot)) {
            if self.remove(arena, owner, lock.range, lock.kind).is_none() {
                debug_assert!(false, "a lock in its owner's list but not on the file");
                return;
            }
        }
    }

    /// The first lock that forbids a read: STATUS_FILE_LOCK_CONFLICT. O(log locks on the file).
    pub(crate) fn conflict_with_read<O: Copy + Ord>(
        &self,
        arena: &RangeArena<O>,
        range: Range,
        who: Option<O>,
    ) -> Option<Lock<O>> {
        self.conflict(arena, range, &InTheWay::ExclusiveOfOthers(who))
    }

    /// The first lock that forbids a write: STATUS_FILE_LOCK_CONFLICT. O(log locks on the file).
    pub(crate) fn conflict_with_write<O: Copy + Ord>(
        &self,
        arena: &RangeArena<O>,
        range: Range,
        who: Option<O>,
    ) -> Option<Lock<O>> {
        self.conflict(arena, range, &InTheWay::AllButOwnExclusive(who))
    }

    /// The first lock that forbids another: STATUS_LOCK_NOT_GRANTED, or a reason to wait. O(log locks on the file).
    pub(crate) fn conflict_with_lock<O: Copy + Ord>(
        &self,
        arena: &RangeArena<O>,
        range: Range,
        kind: LockKind,
        owner: O,
    ) -> Option<Lock<O>> {
        arena.first_overlap(self.root, range, &in_the_way_of(kind, owner))
    }

    /// Visits every lock that forbids another, of somebody who has none here.
    pub(crate) fn each_in_the_way<O: Copy + Ord>(
        &self,
        arena: &RangeArena<O>,
        range: Range,
        in_the_way: &InTheWay<O>,
        visit: &mut dyn FnMut(Lock<O>),
    ) {
        arena.each_overlap(self.root, range, in_the_way, visit);
    }

    /// The first lock that is in the way of another. O(log locks on the file).
    pub(crate) fn first_in_the_way<O: Copy + Ord>(
        &self,
        arena: &RangeArena<O>,
        range: Range,
        in_the_way: &InTheWay<O>,
    ) -> Option<Lock<O>> {
        arena.first_overlap(self.root, range, in_the_way)
    }

    /// Whether a lock begins below the allocation size, which forbids read caching (MS-FSA 2.1.5.18).
    /// O(log locks on the file).
    pub(crate) fn any_below<O: Copy + Ord>(&self, arena: &RangeArena<O>, allocation: u64) -> bool {
        arena.first(self.root).is_some_and(|lock| lock.range.offset < allocation)
    }

    /// Whether one of the locks is exclusive, and of any octet. O(1).
    pub(crate) fn any_exclusive<O: Copy + Ord>(&self, arena: &RangeArena<O>) -> bool {
        arena.any(self.root, &InTheWay::ExclusiveOfOthers(None))
    }

    /// How many locks there are. O(1).
    #[cfg(test)]
    fn len<O: Copy + Ord>(&self, arena: &RangeArena<O>) -> u32 {
        arena.count(self.root)
    }

    /// O(1).
    pub(crate) fn vacant(&self) -> bool {
        self.root.is_none()
    }

    /// All locks in order, equal ones by arrival. Taken again from such a list, first all exclusive ones and then all shared
    /// ones, they never conflict.
    pub(crate) fn iter<'a, O: Copy + Ord>(&self, arena: &'a RangeArena<O>) -> Iter<'a, O> {
        arena.iter(self.root)
    }

    #[cfg(test)]
    pub(super) fn audit<O: Copy + Ord + core::fmt::Debug>(&self, arena: &RangeArena<O>) {
        arena.audit(self.root);
    }

    fn remove<O: Copy + Ord>(
        &mut self,
        arena: &mut RangeArena<O>,
        owner: &mut Owner<O>,
        range: Range,
        kind: LockKind,
    ) -> Option<()> {
        let slot = arena.take(&mut self.root, &Lock { range, owner: owner.id, kind })?;
        owner.held.remove(&mut arena.nodes, slot, |node| &mut node.in_owner);
        arena.nodes.remove(slot).map(|_| ())
    }

    fn conflict<O: Copy + Ord>(
        &self,
        arena: &RangeArena<O>,
        range: Range,
        in_the_way: &InTheWay<O>,
    ) -> Option<Lock<O>> {
        // Choice: whoever transfers nothing is not stopped, not even inside an exclusive lock, as deployed servers have it.
        if range.len == 0 {
            return None;
        }
        arena.first_overlap(self.root, range, in_the_way)
    }
}

/// What a lock cannot have beside it.
pub(crate) fn in_the_way_of<O>(kind: LockKind, owner: O) -> InTheWay<O> {
    match kind {
        LockKind::Shared => InTheWay::ExclusiveOfOthers(Some(owner)),
        LockKind::Exclusive => InTheWay::All,
    }
}

#[cfg(test)]
mod laws;

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::LockKind::{Exclusive, Shared};
    use super::*;

    fn range(offset: u64, len: u64) -> Range {
        Range::new(offset, len).unwrap()
    }

    /// One file and three opens of it.
    struct Scene {
        arena: RangeArena<u8>,
        locks: Locks,
        owners: [Owner<u8>; 3],
    }

    impl Scene {
        fn new() -> Self {
            Self { arena: RangeArena::new(64), locks: Locks::default(), owners: [0, 1, 2].map(Owner::new) }
        }

        fn lock(&mut self, owner: usize, offset: u64, len: u64, kind: LockKind) -> Result<(), Refusal<u8>> {
            let owner = &mut self.owners[owner];
            self.locks.try_lock(&mut self.arena, owner, range(offset, len), kind)
        }

        fn lock_all(&mut self, owner: usize, wanted: &[(Range, LockKind)]) -> Result<(), Refusal<u8>> {
            self.locks.try_lock_all(&mut self.arena, &mut self.owners[owner], wanted.iter().copied())
        }

        fn unlock(&mut self, owner: usize, offset: u64, len: u64) -> Result<(), NotLocked> {
            self.locks.unlock(&mut self.arena, &mut self.owners[owner], range(offset, len))
        }

        fn unlock_all(&mut self, owner: usize, ranges: &[Range]) -> Result<(), NotLocked> {
            ranges
                .iter()
                .try_for_each(|range| self.locks.unlock(&mut self.arena, &mut self.owners[owner], *range))
        }

        fn release(&mut self, owner: usize) {
            self.locks.release(&mut self.arena, &mut self.owners[owner]);
        }

        fn held(&self) -> Vec<Lock<u8>> {
            self.locks.iter(&self.arena).collect()
        }

        fn read_conflicts(&self, owner: u8, offset: u64, len: u64) -> bool {
            self.locks.conflict_with_read(&self.arena, range(offset, len), Some(owner)).is_some()
        }

        fn write_conflicts(&self, owner: u8, offset: u64, len: u64) -> bool {
            self.locks.conflict_with_write(&self.arena, range(offset, len), Some(owner)).is_some()
        }
    }

    #[test]
    fn a_range_may_end_with_the_last_byte_but_not_beyond() {
        // MS-FSA 2.1.5.8, as deployed servers have it.
        assert_eq!(Range::new(u64::MAX, u64::MAX), None);
        assert_eq!(Range::new(u64::MAX, 2), None);
        assert_eq!(Range::new(2, u64::MAX), None);
        for (offset, len) in [(u64::MAX, 1), (1, u64::MAX), (0, u64::MAX), (u64::MAX, 0), (0, 0)] {
            assert!(Range::new(offset, len).is_some(), "{offset} {len}");
        }
    }

    #[test]
    fn an_empty_range_conflicts_only_inside_another() {
        // MS-FSA 2.1.4.10, for one open and for two, as deployed servers have it.
        let table = [
            ((10, 0), (10, 0), false),
            ((10, 0), (9, 1), false),
            ((10, 0), (10, 1), false),
            ((10, 0), (11, 1), false),
            ((10, 0), (9, 2), true),
            ((10, 0), (10, 2), false),
            ((10, 0), (9, 3), true),
            ((0, 0), (0, 0), false),
            ((0, 0), (0, u64::MAX), false),
            ((1, 0), (0, u64::MAX), true),
            ((u64::MAX, 0), (u64::MAX - 1, 2), true),
            ((u64::MAX, 0), (u64::MAX, 1), false),
        ];
        for (one, two, conflict) in table {
            for (first, second) in [(one, two), (two, one)] {
                for second_owner in [0, 1] {
                    let mut scene = Scene::new();
                    scene.lock(0, first.0, first.1, Exclusive).unwrap();
                    let refused = scene.lock(second_owner, second.0, second.1, Exclusive).is_err();
                    assert_eq!(refused, conflict, "{first:?} then {second:?} of {second_owner}");
                }
            }
        }
    }

    #[test]
    fn adjacent_ranges_do_not_conflict_and_overlapping_ones_do() {
        // Samba 10685 was off by one here.
        let mut scene = Scene::new();
        scene.lock(0, 10, 10, Exclusive).unwrap();
        for (offset, len, conflict) in [
            (0, 10, false),
            (0, 11, true),
            (19, 1, true),
            (20, 1, false),
            (19, u64::MAX - 18, true),
            (20, u64::MAX - 19, false),
            (0, u64::MAX, true),
        ] {
            assert_eq!(scene.read_conflicts(1, offset, len), conflict, "{offset} {len}");
            assert_eq!(scene.write_conflicts(1, offset, len), conflict, "{offset} {len}");
        }
        scene.lock(1, u64::MAX, 1, Exclusive).unwrap();
        assert!(scene.read_conflicts(0, u64::MAX, 1));
        assert!(!scene.read_conflicts(0, u64::MAX - 1, 1));
    }

    #[test]
    fn every_cell_of_the_table_of_conflicts_holds() {
        // MS-FSA 2.1.4.10, as deployed servers have it.
        // Against: own shared, another's shared, own exclusive, another's exclusive.
        const HELD: [(usize, LockKind); 4] = [(0, Shared), (1, Shared), (0, Exclusive), (1, Exclusive)];
        for (at, (holder, kind)) in HELD.into_iter().enumerate() {
            let mut scene = Scene::new();
            scene.lock(holder, 0, 10, kind).unwrap();
            assert_eq!(scene.read_conflicts(0, 5, 10), [false, false, false, true][at], "read {at}");
            assert_eq!(scene.write_conflicts(0, 5, 10), [true, true, false, true][at], "write {at}");
            assert_eq!(scene.lock(0, 5, 10, Shared).is_err(), [false, false, false, true][at], "shared {at}");
            assert!(scene.lock(0, 5, 10, Exclusive).is_err(), "exclusive {at}");
        }
    }

    #[test]
    fn whoever_is_no_owner_is_equal_to_none() {
        let mut scene = Scene::new();
        scene.lock(0, 0, 10, Exclusive).unwrap();
        let lock = Some(Lock { range: range(0, 10), owner: 0, kind: Exclusive });
        assert_eq!(scene.locks.conflict_with_read(&scene.arena, range(5, 1), None), lock);
        assert_eq!(scene.locks.conflict_with_write(&scene.arena, range(5, 1), None), lock);
    }

    #[test]
    fn a_transfer_of_nothing_conflicts_with_nothing() {
        // As deployed servers have it.
        let mut scene = Scene::new();
        scene.lock(0, 0, 10, Exclusive).unwrap();
        assert!(!scene.read_conflicts(1, 5, 0));
        assert!(!scene.write_conflicts(1, 5, 0));
    }

    #[test]
    fn an_unlock_takes_the_exclusive_lock_first() {
        // MS-FSA 2.1.5.9 with and without bytes, as deployed servers have it.
        for len in [0, 10] {
            let mut scene = Scene::new();
            scene.lock(0, 10, len, Exclusive).unwrap();
            scene.lock(0, 10, len, Shared).unwrap();
            scene.lock(0, 10, len, Shared).unwrap();
            assert!(scene.lock(1, 5, 10, Shared).is_err());
            scene.unlock(0, 10, len).unwrap();
            scene.lock(1, 5, 10, Shared).unwrap();
            scene.unlock(0, 10, len).unwrap();
            scene.unlock(0, 10, len).unwrap();
            assert_eq!(scene.unlock(0, 10, len), Err(NotLocked));
            assert_eq!(scene.owners[0].lock_count(), 0);
        }
    }

    #[test]
    fn only_the_very_range_of_the_very_owner_can_be_unlocked() {
        // MS-SMB2 2.2.26.1, as deployed servers have it.
        let mut scene = Scene::new();
        scene.lock(0, 110, 4, Shared).unwrap();
        scene.lock(0, 112, 4, Shared).unwrap();
        for (owner, offset, len) in [(0, 110, 6), (0, 110, 3), (0, 111, 3), (1, 110, 4)] {
            assert_eq!(scene.unlock(owner, offset, len), Err(NotLocked));
        }
        assert_eq!(scene.held().len(), 2);
    }

    #[test]
    fn a_request_locks_all_or_nothing() {
        // MS-SMB2 3.3.5.14.2, as deployed servers have it.
        let mut scene = Scene::new();
        scene.lock(0, 10, 10, Exclusive).unwrap();
        let before = scene.held();
        let wanted = [(range(0, 10), Exclusive), (range(10, 10), Exclusive)];
        let in_the_way = Lock { range: range(10, 10), owner: 0, kind: Exclusive };
        assert_eq!(scene.lock_all(0, &wanted), Err(Refusal::Conflict(in_the_way)));
        assert_eq!(scene.held(), before);
        // The ranges of one request conflict with each other as well.
        let wanted = [(range(30, 4), Exclusive), (range(33, 4), Exclusive)];
        assert!(scene.lock_all(1, &wanted).is_err());
        assert_eq!(scene.held(), before);
        scene.lock_all(1, &[(range(30, 4), Exclusive), (range(33, 4), Shared)]).unwrap();
        assert_eq!(scene.owners[1].lock_count(), 2);
    }

    #[test]
    fn a_request_unlocks_up_to_the_first_that_is_not_locked() {
        // MS-SMB2 3.3.5.14.1, as deployed servers have it.
        let ranges = [range(0, 10), range(10, 10)];
        let mut scene = Scene::new();
        scene.lock(0, 10, 10, Exclusive).unwrap();
        assert_eq!(scene.unlock_all(0, &ranges), Err(NotLocked));
        assert_eq!(scene.owners[0].lock_count(), 1);
        scene.unlock(0, 10, 10).unwrap();
        scene.lock(0, 0, 10, Exclusive).unwrap();
        assert_eq!(scene.unlock_all(0, &ranges), Err(NotLocked));
        assert_eq!(scene.owners[0].lock_count(), 0);
    }

    #[test]
    fn a_close_undoes_the_locks_of_that_open_alone() {
        // A server once forgot whose lock had begun first.
        let mut scene = Scene::new();
        scene.lock(0, 0, 8, Shared).unwrap();
        scene.lock(1, 0, 1, Shared).unwrap();
        scene.release(0);
        scene.lock(2, 7, 1, Exclusive).unwrap();
        assert!(scene.lock(2, 0, 1, Exclusive).is_err());
    }

    #[test]
    fn a_refused_lock_leaves_nothing_behind() {
        // Samba 10673: records of locks that were waited for piled up.
        let mut scene = Scene::new();
        scene.lock(0, 0, 10, Exclusive).unwrap();
        for _ in 0..10_000 {
            scene.lock(1, 5, 10, Exclusive).unwrap_err();
        }
        assert_eq!((scene.arena.len(), scene.owners[1].lock_count()), (1, 0));
    }

    #[test]
    fn a_full_arena_refuses_and_undoes() {
        let mut scene = Scene::new();
        for offset in 0..63 {
            scene.lock(0, offset, 1, Exclusive).unwrap();
        }
        assert_eq!(scene.lock_all(1, &[(range(70, 1), Shared), (range(71, 1), Shared)]), Err(Refusal::Full));
        assert_eq!(scene.arena.len(), 63);
        scene.lock(1, 70, 1, Shared).unwrap();
        assert_eq!(scene.lock(1, 71, 1, Shared), Err(Refusal::Full));
        scene.unlock(0, 5, 1).unwrap();
        scene.lock(1, 71, 1, Shared).unwrap();
    }

    #[test]
    fn a_file_without_locks_costs_a_key() {
        assert_eq!(size_of::<Locks>(), 8);
    }
}
