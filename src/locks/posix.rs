//! Byte-range locks as POSIX has them: what NLM, NFSv4 and local processes lock (RFC 1813 and XNFS of NLM, RFC 8881 18.10, fcntl).
//!
//! Other than those of SMB ([`range`](super::range)) they are by owner: a lock replaces what the same owner had there, so that it may
//! widen, narrow, raise or lower it, and an unlock leaves what lies beside the range. An owner's locks never overlap, and such of one
//! kind that touch are one. They are advisory among each other; what they mean to SMB is in the table of
//! [`protocols`](crate::protocols).

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::range::{InTheWay, Lock, LockKind, Locks, Owner, Range, RangeArena};
use crate::time::Instant;
use crate::types::OwnerId;

/// What an owner has locked on one file.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    owner: Owner<OwnerId>,
    /// By offset: length, kind.
    by_offset: BTreeMap<u64, (u64, LockKind)>,
}

/// First and last octet, kind.
type Piece = (u64, u64, LockKind);

/// What a lock or an unlock does to what an owner has.
struct Change {
    gone: Vec<Piece>,
    pieces: Vec<Piece>,
}

/// There is no room: the arena holds as many locks as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// What is in the way of a lock of this owner.
pub(crate) const fn in_the_way(kind: LockKind, owner: OwnerId) -> InTheWay<OwnerId> {
    match kind {
        LockKind::Shared => InTheWay::ExclusiveOfOthers(Some(owner)),
        LockKind::Exclusive => InTheWay::AllOfOthers(owner),
    }
}

impl Held {
    pub(crate) fn new(owner: OwnerId) -> Self {
        Self { owner: Owner::new(owner), by_offset: BTreeMap::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_offset.is_empty()
    }

    /// Gives a range this kind, or none: whatever the owner had there gives way. The caller has seen that nothing is in the way.
    /// O((replaced + 1) · log locks on the file).
    ///
    /// An unlock in the middle of a lock makes two of one, and needs room for that (RFC 8881 18.12: NFS4ERR_RESOURCE is lawful).
    pub(crate) fn set(
        &mut self,
        locks: &mut Locks,
        arena: &mut RangeArena<OwnerId>,
        range: Range,
        kind: Option<LockKind>,
    ) -> Result<(), Full> {
        let Some(Change { gone, pieces }) = self.change(range, kind) else { return Ok(()) };
        if arena.room() < pieces.len().saturating_sub(gone.len()) {
            return Err(Full);
        }
        for (first, last, kind) in gone {
            self.by_offset.remove(&first);
            if let Some(range) = between(first, last) {
                locks.undo(arena, &mut self.owner, range, kind);
            }
        }
        for (first, last, kind) in pieces {
            let Some(range) = between(first, last) else { continue };
            if locks.add(arena, &mut self.owner, range, kind).is_some() {
                self.by_offset.insert(first, (range.len(), kind));
            }
        }
        Ok(())
    }

    /// How many more locks there would be behind [`set`](Self::set).
    pub(crate) fn grows(&self, range: Range, kind: LockKind) -> usize {
        self.change(range, Some(kind))
            .map_or(0, |change| change.pieces.len().saturating_sub(change.gone.len()))
    }

    /// `None`: nothing changes.
    fn change(&self, range: Range, kind: Option<LockKind>) -> Option<Change> {
        // Nobody locks nothing: the driver is told so.
        let last = range.last().filter(|_| range.len() > 0)?;
        let gone = self.replaced(range.offset(), last, kind);
        let mut pieces = Vec::new();
        let (mut first, mut end) = (range.offset(), last);
        for (old_first, old_last, old) in gone.iter().copied() {
            let both = (first.min(old_first), end.max(old_last));
            // All 2^64 octets at once are no range: there the two stay apart.
            if Some(old) == kind && between(both.0, both.1).is_some() {
                (first, end) = both;
                continue;
            }
            if let Some(before) = range.offset().checked_sub(1).filter(|before| old_first <= *before) {
                pieces.push((old_first, before, old));
            }
            if let Some(behind) = last.checked_add(1).filter(|behind| *behind <= old_last) {
                pieces.push((behind, old_last, old));
            }
        }
        pieces.extend(kind.map(|kind| (first, end, kind)));
        Some(Change { gone, pieces })
    }

    /// Whether an exclusive lock, or a piece of one, would become a shared one.
    pub(crate) fn lowers(&self, range: Range, kind: LockKind) -> bool {
        let Some(last) = range.last().filter(|_| kind == LockKind::Shared) else { return false };
        self.replaced(range.offset(), last, None).iter().any(|(.., held)| *held == LockKind::Exclusive)
    }

    /// Gives up everything.
    pub(crate) fn release(&mut self, locks: &mut Locks, arena: &mut RangeArena<OwnerId>) {
        self.by_offset.clear();
        locks.release(arena, &mut self.owner);
    }

    /// Its locks that overlap a range, or touch it and are of that kind.
    fn replaced(&self, first: u64, last: u64, kind: Option<LockKind>) -> Vec<Piece> {
        let (from, to) = (first.saturating_sub(1), last.saturating_add(1));
        let before = self.by_offset.range(..from).next_back();
        let of = |(offset, (len, kind)): (&u64, &(u64, LockKind))| {
            let last = offset.saturating_add(len.saturating_sub(1));
            (*offset, last, *kind)
        };
        before
            .into_iter()
            .chain(self.by_offset.range(from..=to))
            .map(of)
            .filter(|(one, end, held)| {
                let overlaps = *one <= last && first <= *end;
                let touches = *one <= to && from <= *end;
                overlaps || (touches && Some(*held) == kind)
            })
            .collect()
    }
}

fn between(first: u64, last: u64) -> Option<Range> {
    Range::new(first, last.checked_sub(first)?.checked_add(1)?)
}

impl Held {
    /// Its locks, in the order in which they were taken, and when that was.
    pub(crate) fn taken<'a>(
        &self,
        arena: &'a RangeArena<OwnerId>,
    ) -> impl Iterator<Item = (Lock<OwnerId>, Instant)> + 'a {
        self.owner.taken(arena)
    }

    /// Its locks, in the order of offsets.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Range, LockKind)> + '_ {
        self.by_offset.iter().filter_map(|(offset, (len, kind))| Some((Range::new(*offset, *len)?, *kind)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::vec::Vec;

    use super::LockKind::{Exclusive, Shared};
    use super::*;
    use crate::types::Protocol;

    const SPACE: u64 = 24;

    fn at(octet: u64) -> usize {
        usize::try_from(octet).unwrap()
    }

    fn owner(id: u64) -> OwnerId {
        OwnerId::new(Protocol::Nlm, 1, id)
    }

    struct Scene {
        arena: RangeArena<OwnerId>,
        locks: Locks,
        owners: [Held; 3],
    }

    impl Scene {
        fn new(limit: usize) -> Self {
            let owners = [0, 1, 2].map(|id| Held::new(owner(id)));
            Self { arena: RangeArena::new(limit), locks: Locks::default(), owners }
        }

        /// As a server does: only what nobody is in the way of.
        fn set(&mut self, who: usize, range: Range, kind: Option<LockKind>) -> Option<Result<(), Full>> {
            let in_the_way = kind.map(|kind| in_the_way(kind, owner(who as u64)));
            let free =
                in_the_way.is_none_or(|way| self.locks.first_in_the_way(&self.arena, range, &way).is_none());
            free.then(|| self.owners[who].set(&mut self.locks, &mut self.arena, range, kind))
        }

        /// What each owner has on each octet.
        fn octets(&self) -> Vec<[Option<LockKind>; 3]> {
            let mut octets = std::vec![[None; 3]; at(SPACE)];
            for lock in self.locks.iter(&self.arena) {
                for octet in lock.range.offset()..=lock.range.last().unwrap() {
                    let cell = &mut octets[at(octet)][at(lock.owner.id)];
                    assert_eq!(*cell, None, "an owner's locks do not overlap");
                    *cell = Some(lock.kind);
                }
            }
            octets
        }

        /// Two of one kind that touch would be one.
        fn assert_merged(&self) {
            for held in &self.owners {
                let locks: Vec<_> = held.iter().collect();
                for pair in locks.windows(2) {
                    let [(one, kind), (two, other)] = pair else { unreachable!() };
                    assert!(one.last().unwrap() < two.offset());
                    assert!(kind != other || one.last().unwrap() + 1 < two.offset(), "{locks:?}");
                }
            }
            self.locks.audit(&self.arena);
        }
    }

    fn range(offset: u64, len: u64) -> Range {
        Range::new(offset, len).unwrap()
    }

    #[test]
    fn a_second_lock_of_an_owner_converts_and_an_unlock_splits() {
        // NLM: a lock again with another mode (chimera 1096); fcntl: an unlock in the middle.
        let mut scene = Scene::new(8);
        scene.set(0, range(0, 10), Some(Shared)).unwrap().unwrap();
        scene.set(0, range(2, 4), Some(Exclusive)).unwrap().unwrap();
        let all = |scene: &Scene| scene.owners[0].iter().collect::<Vec<_>>();
        assert_eq!(all(&scene), [(range(0, 2), Shared), (range(2, 4), Exclusive), (range(6, 4), Shared)]);
        scene.set(0, range(2, 4), Some(Shared)).unwrap().unwrap();
        assert_eq!(all(&scene), [(range(0, 10), Shared)]);
        scene.set(0, range(4, 2), None).unwrap().unwrap();
        assert_eq!(all(&scene), [(range(0, 4), Shared), (range(6, 4), Shared)]);
        scene.set(0, range(0, u64::MAX), None).unwrap().unwrap();
        assert!(scene.owners[0].is_empty() && scene.arena.len() == 0);
    }

    #[test]
    fn without_room_nothing_changes() {
        let mut scene = Scene::new(2);
        scene.set(0, range(0, 10), Some(Shared)).unwrap().unwrap();
        assert_eq!(scene.set(0, range(4, 2), Some(Exclusive)), Some(Err(Full)));
        assert_eq!(scene.owners[0].iter().collect::<Vec<_>>(), [(range(0, 10), Shared)]);
        scene.set(0, range(4, 2), None).unwrap().unwrap();
        assert_eq!(scene.arena.len(), 2);
    }

    #[test]
    fn an_upgrade_waits_for_other_readers_and_not_for_oneself() {
        let mut scene = Scene::new(8);
        scene.set(0, range(0, 10), Some(Shared)).unwrap().unwrap();
        scene.set(1, range(5, 10), Some(Shared)).unwrap().unwrap();
        assert_eq!(scene.set(0, range(0, 10), Some(Exclusive)), None);
        assert_eq!(scene.set(0, range(0, 5), Some(Exclusive)), Some(Ok(())));
        scene.set(1, range(0, 20), None).unwrap().unwrap();
        assert_eq!(scene.set(0, range(0, 10), Some(Exclusive)), Some(Ok(())));
        assert_eq!(scene.owners[0].iter().collect::<Vec<_>>(), [(range(0, 10), Exclusive)]);
    }

    #[test]
    fn the_ends_of_all_files_are_no_edge() {
        let mut scene = Scene::new(8);
        scene.set(0, range(0, u64::MAX), Some(Shared)).unwrap().unwrap();
        scene.set(0, range(u64::MAX, 1), Some(Exclusive)).unwrap().unwrap();
        scene.set(0, range(0, 1), None).unwrap().unwrap();
        let all = |scene: &Scene| scene.owners[0].iter().collect::<Vec<_>>();
        assert_eq!(all(&scene), [(range(1, u64::MAX - 1), Shared), (range(u64::MAX, 1), Exclusive)]);
        scene.set(0, range(0, 1), Some(Shared)).unwrap().unwrap();
        scene.set(0, range(u64::MAX, 1), Some(Shared)).unwrap().unwrap();
        assert_eq!(all(&scene), [(range(0, u64::MAX), Shared), (range(u64::MAX, 1), Shared)]);
    }

    proptest! {
        #[test]
        fn every_octet_has_what_was_said_last(
            steps in prop::collection::vec((0..3_usize, 0..SPACE, 1..SPACE, 0..3_u8), 1..60),
        ) {
            let mut scene = Scene::new(usize::MAX);
            let mut model = std::vec![[None; 3]; at(SPACE)];
            for (who, offset, len, kind) in steps {
                let len = len.min(SPACE - offset);
                let kind = [None, Some(Shared), Some(Exclusive)][usize::from(kind)];
                let cells = at(offset)..at(offset + len);
                let others = |cell: &[Option<LockKind>; 3]| (0..3).filter(|other| *other != who).any(|other| match kind {
                    None => false,
                    Some(Shared) => cell[other] == Some(Exclusive),
                    Some(Exclusive) => cell[other].is_some(),
                });
                let free = !model[cells.clone()].iter().any(others);
                let done = scene.set(who, range(offset, len), kind);
                prop_assert_eq!(done.is_some(), free);
                if free {
                    model[cells].iter_mut().for_each(|cell: &mut [Option<LockKind>; 3]| cell[who] = kind);
                }
                prop_assert_eq!(scene.octets(), model.clone());
                scene.assert_merged();
            }
            for who in 0..3 {
                let Scene { arena, locks, owners } = &mut scene;
                owners[who].release(locks, arena);
            }
            prop_assert!(scene.locks.vacant() && scene.arena.len() == 0);
        }
    }
}
