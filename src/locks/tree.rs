//! The locks of a file as a balanced tree that finds one conflicting lock without visiting those that do not conflict.
//!
//! In order of (offset, length, owner, kind), equal locks by arrival. Every node knows of its subtree:
//!
//! * how many locks there are, which also balances the tree: neither side of a node weighs more than three times the other.
//!   Insertion and removal keep that for the parameters 3 and 2 (Hirai and Yamamoto, Balancing weight-balanced trees, 2011),
//!   so no path is longer than log n / log (4/3), which is 77 for any n here;
//! * for either kind, the last byte that any lock reaches, whose that is, and the last byte that the locks of all others reach: enough
//!   to tell for everybody how far the locks of others reach.
//!
//! Why our own: no interval tree for `no_std` that we found (intervaltree, interavl, store-interval-tree, augmented-rbtree)
//! lets trees share an arena, puts a node into a list besides, or leaves out an owner in its search.

use alloc::vec::Vec;
use core::cmp::Ordering;

use slotmap::{SlotMap, new_key_type};

use super::range::{InTheWay, Lock, LockKind, Range};
use crate::store::list::Links;
use crate::time::Instant;

new_key_type! {
    /// A lock in the arena.
    pub(crate) struct LockSlot;
}

/// The locks of all files of a shard, by files and by owners.
#[derive(Clone, Debug)]
pub(crate) struct RangeArena<O> {
    pub(super) nodes: SlotMap<LockSlot, Node<O>>,
    limit: usize,
    /// When a lock is taken that is taken now.
    pub(crate) now: Instant,
}

/// A lock, at the top of a subtree.
#[derive(Clone, Debug)]
pub(super) struct Node<O> {
    range: Range,
    owner: O,
    kind: LockKind,
    pub(super) since: Instant,
    /// How many locks are in the subtree.
    count: u32,
    left: Option<LockSlot>,
    right: Option<LockSlot>,
    reach: Reach<O>,
    pub(super) in_owner: Links<LockSlot>,
}

/// The last bytes that the locks of a subtree reach, by kind. The empty range at 0 reaches none and conflicts with nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reach<O> {
    shared: Far<O>,
    exclusive: Far<O>,
}

/// How far locks reach: enough to tell for everybody how far those of others do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Far<O> {
    /// Any of them.
    farthest: Option<(u64, O)>,
    /// Those of other owners than that of `farthest`.
    others: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Left,
    Right,
}

impl Side {
    const fn opposite(self) -> Self {
        match self {
            Self::Left => Self::Right,
            Self::Right => Self::Left,
        }
    }
}

impl<O: Copy + Ord> Far<O> {
    const NOWHERE: Self = Self { farthest: None, others: None };

    fn join(self, other: Self) -> Self {
        let (farthest, others) = match (self.farthest, other.farthest) {
            (Some((one, owner)), Some((two, same))) if owner == same => {
                (Some((one.max(two), owner)), self.others.max(other.others))
            }
            // Nothing of the nearer side lies beyond its own farthest, which belongs to another owner.
            (Some((one, _)), Some((two, _))) if one >= two => (self.farthest, self.others.max(Some(two))),
            (Some((one, _)), Some(_)) => (other.farthest, other.others.max(Some(one))),
            (Some(_), None) => (self.farthest, self.others),
            (None, _) => (other.farthest, other.others),
        };
        Self { farthest, others }
    }

    fn any(&self) -> Option<u64> {
        self.farthest.map(|(last, _)| last)
    }

    /// Of all but this owner.
    fn but(&self, who: Option<O>) -> Option<u64> {
        match self.farthest {
            Some((_, owner)) if who == Some(owner) => self.others,
            Some((last, _)) => Some(last),
            None => None,
        }
    }
}

impl<O: Copy + Ord> Reach<O> {
    const NOTHING: Self = Self { shared: Far::NOWHERE, exclusive: Far::NOWHERE };

    fn of(lock: &Lock<O>) -> Self {
        let far = Far { farthest: lock.range.last().map(|last| (last, lock.owner)), others: None };
        match lock.kind {
            LockKind::Shared => Self { shared: far, ..Self::NOTHING },
            LockKind::Exclusive => Self { exclusive: far, ..Self::NOTHING },
        }
    }

    fn join(self, other: Self) -> Self {
        Self { shared: self.shared.join(other.shared), exclusive: self.exclusive.join(other.exclusive) }
    }

    /// How far those locks reach that are in the way.
    fn by(&self, in_the_way: &InTheWay<O>) -> Option<u64> {
        match in_the_way {
            InTheWay::ExclusiveOfOthers(who) => self.exclusive.but(*who),
            InTheWay::AllButOwnExclusive(who) => self.exclusive.but(*who).max(self.shared.any()),
            InTheWay::AllOfOthers(who) => self.exclusive.but(Some(*who)).max(self.shared.but(Some(*who))),
            InTheWay::All => self.exclusive.any().max(self.shared.any()),
        }
    }
}

impl<O: Copy + Ord> Node<O> {
    fn lock(&self) -> Lock<O> {
        Lock { range: self.range, owner: self.owner, kind: self.kind }
    }

    fn child(&self, side: Side) -> Option<LockSlot> {
        match side {
            Side::Left => self.left,
            Side::Right => self.right,
        }
    }
}

impl<O: Copy + Ord> RangeArena<O> {
    pub(crate) fn new(limit: usize) -> Self {
        Self { nodes: SlotMap::with_key(), limit, now: Instant::ZERO }
    }

    /// Adds a lock after all that are equal to it. `None` if there is no room.
    pub(super) fn insert(&mut self, root: &mut Option<LockSlot>, lock: Lock<O>) -> Option<LockSlot> {
        if self.nodes.len() >= self.limit {
            return None;
        }
        let slot = self.nodes.insert(Node {
            range: lock.range,
            owner: lock.owner,
            kind: lock.kind,
            since: self.now,
            count: 1,
            left: None,
            right: None,
            reach: Reach::of(&lock),
            in_owner: Links::default(),
        });
        *root = Some(self.attach(*root, slot, &lock));
        Some(slot)
    }

    /// Takes the last of all equal locks out of the tree, but not out of the arena.
    pub(super) fn take(&mut self, root: &mut Option<LockSlot>, lock: &Lock<O>) -> Option<LockSlot> {
        let (rest, taken) = self.detach(*root, lock)?;
        *root = rest;
        Some(taken)
    }

    /// Whether there is one equal to this. O(log locks).
    pub(super) fn contains(&self, root: Option<LockSlot>, lock: &Lock<O>) -> bool {
        let mut at = self.node(root);
        while let Some(node) = at {
            match lock.cmp(&node.lock()) {
                Ordering::Equal => return true,
                Ordering::Less => at = self.node(node.left),
                Ordering::Greater => at = self.node(node.right),
            }
        }
        false
    }

    /// How many locks all files have.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// How many more there may be.
    pub(crate) fn room(&self) -> usize {
        self.limit.saturating_sub(self.nodes.len())
    }

    pub(super) fn lock(&self, slot: LockSlot) -> Option<Lock<O>> {
        self.nodes.get(slot).map(Node::lock)
    }

    pub(super) fn count(&self, at: Option<LockSlot>) -> u32 {
        self.node(at).map_or(0, |node| node.count)
    }

    /// The first lock in order.
    pub(super) fn first(&self, root: Option<LockSlot>) -> Option<Lock<O>> {
        let mut node = self.node(root)?;
        while let Some(left) = self.node(node.left) {
            node = left;
        }
        Some(node.lock())
    }

    /// Whether there is one that could be in the way somewhere. O(1).
    pub(super) fn any(&self, root: Option<LockSlot>, in_the_way: &InTheWay<O>) -> bool {
        self.node(root).is_some_and(|node| node.reach.by(in_the_way).is_some())
    }

    /// The first lock in order that overlaps a range and is in the way.
    ///
    /// One path: if the left side reaches the range, a lock that does so either overlaps it or begins behind it, and then
    /// everything on the right begins behind it too.
    pub(super) fn first_overlap(
        &self,
        root: Option<LockSlot>,
        range: Range,
        in_the_way: &InTheWay<O>,
    ) -> Option<Lock<O>> {
        let mut at = self.node(root);
        while let Some(node) = at {
            let left = self.node(node.left);
            if left.is_some_and(|left| left.reach.by(in_the_way) >= Some(range.offset())) {
                at = left;
            } else if Some(node.range.offset()) > range.last() {
                return None;
            } else if in_the_way.includes(node.kind, node.owner) && node.range.overlaps(range) {
                return Some(node.lock());
            } else {
                at = self.node(node.right);
            }
        }
        None
    }

    /// Visits every lock that overlaps a range and is in the way, in order. O(log locks) for each.
    pub(super) fn each_overlap(
        &self,
        root: Option<LockSlot>,
        range: Range,
        in_the_way: &InTheWay<O>,
        visit: &mut dyn FnMut(Lock<O>),
    ) {
        let Some(node) = self.node(root).filter(|node| node.reach.by(in_the_way) >= Some(range.offset()))
        else {
            return;
        };
        self.each_overlap(node.left, range, in_the_way, visit);
        if Some(node.range.offset()) > range.last() {
            return;
        }
        if in_the_way.includes(node.kind, node.owner) && node.range.overlaps(range) {
            visit(node.lock());
        }
        self.each_overlap(node.right, range, in_the_way, visit);
    }

    pub(super) fn iter(&self, root: Option<LockSlot>) -> Iter<'_, O> {
        let mut iter = Iter { arena: self, ahead: Vec::new() };
        iter.descend(root);
        iter
    }

    fn node(&self, at: Option<LockSlot>) -> Option<&Node<O>> {
        self.nodes.get(at?)
    }

    /// Puts a new node below `at` and returns what is on top then. As deep as the tree, like all that follows.
    fn attach(&mut self, at: Option<LockSlot>, slot: LockSlot, lock: &Lock<O>) -> LockSlot {
        let Some((top, node)) = at.zip(self.node(at)) else { return slot };
        let side = if *lock < node.lock() { Side::Left } else { Side::Right };
        let child = self.attach(node.child(side), slot, lock);
        self.link(top, side, Some(child));
        self.balance(top)
    }

    /// Takes the last of all equal locks from below `at`, and returns what is on top then and what was taken.
    fn detach(&mut self, at: Option<LockSlot>, lock: &Lock<O>) -> Option<(Option<LockSlot>, LockSlot)> {
        let top = at?;
        let node = self.node(at)?;
        let (left, right) = (node.left, node.right);
        let order = lock.cmp(&node.lock());
        let (side, child) = match order {
            Ordering::Less => (Side::Left, left),
            Ordering::Equal | Ordering::Greater => (Side::Right, right),
        };
        match self.detach(child, lock) {
            Some((rest, taken)) => {
                self.link(top, side, rest);
                Some((Some(self.balance(top)), taken))
            }
            None if order == Ordering::Equal => Some((self.concatenate(left, right), top)),
            None => None,
        }
    }

    /// One tree of two that were the sides of one node.
    fn concatenate(&mut self, left: Option<LockSlot>, right: Option<LockSlot>) -> Option<LockSlot> {
        match (left, right) {
            (Some(_), Some(right)) => {
                let (rest, first) = self.detach_first(right);
                self.link(first, Side::Left, left);
                self.link(first, Side::Right, rest);
                Some(self.balance(first))
            }
            (one, None) | (None, one) => one,
        }
    }

    fn detach_first(&mut self, top: LockSlot) -> (Option<LockSlot>, LockSlot) {
        let (left, right) = self.nodes.get(top).map_or((None, None), |node| (node.left, node.right));
        let Some(left) = left else { return (right, top) };
        let (rest, first) = self.detach_first(left);
        self.link(top, Side::Left, rest);
        (Some(self.balance(top)), first)
    }

    /// Makes a node right whose sides are, and of which one has gained or lost a lock. Returns what is on top then.
    fn balance(&mut self, top: LockSlot) -> LockSlot {
        self.refresh(top);
        let (left, right) = (self.weight(top, Side::Left), self.weight(top, Side::Right));
        if left > right.saturating_mul(DELTA) {
            self.relieve(top, Side::Left)
        } else if right > left.saturating_mul(DELTA) {
            self.relieve(top, Side::Right)
        } else {
            top
        }
    }

    /// Lifts the heavy side, or its inner side if that is what weighs.
    fn relieve(&mut self, top: LockSlot, heavy: Side) -> LockSlot {
        let light = heavy.opposite();
        if let Some(child) = self.nodes.get(top).and_then(|node| node.child(heavy)) {
            if self.weight(child, light) >= self.weight(child, heavy).saturating_mul(GAMMA) {
                let lifted = self.rotate(child, heavy);
                self.link(top, heavy, Some(lifted));
            }
        }
        self.rotate(top, light)
    }

    /// Moves a node down to a side, and the child on the other side up.
    fn rotate(&mut self, top: LockSlot, down: Side) -> LockSlot {
        let Some(lifted) = self.nodes.get(top).and_then(|node| node.child(down.opposite())) else {
            return top;
        };
        let between = self.nodes.get(lifted).and_then(|node| node.child(down));
        self.link(top, down.opposite(), between);
        self.refresh(top);
        self.link(lifted, down, Some(top));
        self.refresh(lifted);
        lifted
    }

    fn link(&mut self, at: LockSlot, side: Side, child: Option<LockSlot>) {
        let Some(node) = self.nodes.get_mut(at) else { return };
        match side {
            Side::Left => node.left = child,
            Side::Right => node.right = child,
        }
    }

    /// Says again what a node knows of its subtree.
    fn refresh(&mut self, at: LockSlot) {
        let Some(node) = self.nodes.get(at) else { return };
        let (mut count, mut reach) = (1_u32, Reach::of(&node.lock()));
        for child in [self.node(node.left), self.node(node.right)].into_iter().flatten() {
            count = count.saturating_add(child.count);
            reach = reach.join(child.reach);
        }
        if let Some(node) = self.nodes.get_mut(at) {
            (node.count, node.reach) = (count, reach);
        }
    }

    /// One more than there are locks on a side.
    fn weight(&self, at: LockSlot, side: Side) -> u64 {
        let count = self.nodes.get(at).map_or(0, |node| self.count(node.child(side)));
        u64::from(count).saturating_add(1)
    }
}

/// Locks in order.
#[derive(Clone, Debug)]
pub(crate) struct Iter<'a, O> {
    arena: &'a RangeArena<O>,
    /// Nodes that come with their right sides, the next one last.
    ahead: Vec<LockSlot>,
}

impl<O: Copy + Ord> Iter<'_, O> {
    fn descend(&mut self, mut at: Option<LockSlot>) {
        while let Some((slot, node)) = at.zip(self.arena.node(at)) {
            self.ahead.push(slot);
            at = node.left;
        }
    }
}

impl<O: Copy + Ord> Iterator for Iter<'_, O> {
    type Item = Lock<O>;

    fn next(&mut self) -> Option<Lock<O>> {
        let node = self.arena.nodes.get(self.ahead.pop()?)?;
        self.descend(node.right);
        Some(node.lock())
    }
}

/// How much heavier one side may be than the other.
const DELTA: u64 = 3;
/// From when on a single rotation would not do.
const GAMMA: u64 = 2;

// A node with an owner of eight octets.
const _: () = assert!(size_of::<Node<LockSlot>>() <= 144);

#[cfg(test)]
impl<O: Copy + Ord + core::fmt::Debug> RangeArena<O> {
    /// Checks a tree by looking at every node: order, balance, and what each knows of its subtree. Returns its depth.
    pub(super) fn audit(&self, root: Option<LockSlot>) -> usize {
        let locks: Vec<Lock<O>> = self.iter(root).collect();
        assert!(locks.is_sorted(), "out of order: {locks:?}");
        self.audit_below(root, &locks)
    }

    fn audit_below(&self, at: Option<LockSlot>, locks: &[Lock<O>]) -> usize {
        use alloc::collections::BTreeSet;

        let Some(node) = self.node(at) else {
            assert!(at.is_none() && locks.is_empty());
            return 0;
        };
        assert_eq!(node.count as usize, locks.len());
        let middle = self.count(node.left) as usize;
        assert_eq!(node.lock(), locks[middle]);
        let (left, right) = (middle + 1, locks.len() - middle);
        assert!(left <= 3 * right && right <= 3 * left, "{left} and {right}");

        let last = |lock: &&Lock<O>| lock.range.last();
        let of = |kind| locks.iter().filter(move |lock| lock.kind == kind);
        for (kind, far) in
            [(LockKind::Shared, node.reach.shared), (LockKind::Exclusive, node.reach.exclusive)]
        {
            let owners: BTreeSet<O> = of(kind).map(|lock| lock.owner).collect();
            for owner in owners {
                let others = of(kind).filter(|lock| lock.owner != owner);
                assert_eq!(far.but(Some(owner)), others.filter_map(|lock| last(&lock)).max());
            }
            assert_eq!(far.but(None), of(kind).filter_map(|lock| last(&lock)).max());
        }

        let (left, right) = locks.split_at(middle);
        1 + self.audit_below(node.left, left).max(self.audit_below(node.right, &right[1..]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ascending, descending, from both ends, and scattered.
    const ARRIVALS: [fn(u64) -> u64; 4] = [
        |turn| turn,
        |turn| u64::MAX - 1 - turn,
        |turn| if turn % 2 == 0 { turn } else { 1 << (63 - turn % 7) | turn },
        |turn| turn.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 1,
    ];

    fn lock(offset: u64, owner: u8) -> Lock<u8> {
        let kind = if owner % 2 == 0 { LockKind::Shared } else { LockKind::Exclusive };
        Lock { range: Range::new(offset, u64::from(owner)).unwrap(), owner, kind }
    }

    /// Each side of a node has at most three quarters of its weight.
    fn deepest(count: usize) -> usize {
        core::iter::successors(Some(count + 1), |weight| Some(weight * 3 / 4))
            .take_while(|weight| *weight > 1)
            .count()
    }

    #[test]
    fn no_order_of_arrival_or_departure_makes_a_tree_deep() {
        for arrive in ARRIVALS {
            for leave in ARRIVALS {
                let (mut arena, mut root) = (RangeArena::new(usize::MAX), None);
                let mut locks: Vec<(u64, Lock<u8>)> = Vec::new();
                for (turn, owner) in (0..1000).zip((0..5).cycle()) {
                    locks.push((leave(turn), lock(arrive(turn), owner)));
                    arena.insert(&mut root, lock(arrive(turn), owner)).unwrap();
                    if turn % 100 == 0 {
                        assert!(arena.audit(root) <= deepest(locks.len()));
                    }
                }
                locks.sort();
                while let Some((_, lock)) = locks.pop() {
                    let slot = arena.take(&mut root, &lock).unwrap();
                    arena.nodes.remove(slot).unwrap();
                    if locks.len() % 100 == 0 {
                        assert!(arena.audit(root) <= deepest(locks.len()));
                    }
                }
                assert!(root.is_none() && arena.nodes.is_empty());
            }
        }
    }

    #[test]
    fn every_tree_that_a_removal_unbalances_is_balanced_again() {
        // All sizes up to 40, built in several ways, and every lock of each removed in turn.
        for arrive in ARRIVALS {
            for count in 0..40 {
                for gone in 0..count {
                    let (mut arena, mut root) = (RangeArena::new(usize::MAX), None);
                    for turn in 0..count {
                        arena.insert(&mut root, lock(arrive(turn), 1)).unwrap();
                        arena.audit(root);
                    }
                    // One after the other from there, round the end.
                    for turn in (gone..count).chain(0..gone) {
                        let slot = arena.take(&mut root, &lock(arrive(turn), 1)).unwrap();
                        arena.nodes.remove(slot).unwrap();
                        arena.audit(root);
                    }
                    assert!(root.is_none());
                }
            }
        }
    }

    #[test]
    fn equal_locks_leave_in_reverse_order_of_arrival() {
        let (mut arena, mut root) = (RangeArena::new(usize::MAX), None);
        let mut slots: Vec<LockSlot> =
            (0..100).map(|_| arena.insert(&mut root, lock(7, 2)).unwrap()).collect();
        arena.audit(root);
        while let Some(slot) = slots.pop() {
            assert_eq!(arena.take(&mut root, &lock(7, 2)), Some(slot));
            arena.nodes.remove(slot);
            arena.audit(root);
        }
        assert_eq!(arena.take(&mut root, &lock(7, 2)), None);
    }
}
