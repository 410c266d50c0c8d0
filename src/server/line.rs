//! Who is in the way of a lock, and behind whom it stands: the edges of the graph of waits, as few as say it all.
//!
//! A lock waits for everybody in its way: those who hold locks, and those who came before it. Most of them are behind one another, so that
//! an edge to the last of these is enough: whoever is reached by all edges is reached by these, and a line of n has n of them, not n²/2.

use alloc::vec::Vec;

use super::judging::Own;
use super::ranges;
use super::records::{FileSlot, Job, WaiterSlot};
use super::shard::Shard;
use crate::locks::posix;
use crate::locks::range::{InTheWay, Lock, LockKind, Range, in_the_way_of};
use crate::locks::waits::Locker;
use crate::status::Status;
use crate::types::OwnerId;

/// How many of those just ahead are looked at for one that all others are behind.
const NEAREST: usize = 16;

impl Shard {
    /// Whether a lock cannot be had as yet: for locks of others, of whatever protocol.
    pub(super) fn is_locked_out(&self, file: FileSlot, who: Locker, range: Range, kind: LockKind) -> bool {
        let Some(file) = self.files.get(file) else { return false };
        let (of_opens, of_owners) = in_the_way(who, kind);
        file.locks.first_in_the_way(&self.ranges, range, &of_opens).is_some()
            || file.posix.first_in_the_way(&self.posix, range, &of_owners).is_some()
    }

    /// Whether an owner of another protocol has locked what an open wants to lock.
    pub(super) fn is_owned_by_others(
        &self,
        file: FileSlot,
        who: Locker,
        range: Range,
        kind: LockKind,
    ) -> bool {
        let of_owners = in_the_way(who, kind).1;
        let file = self.files.get(file).filter(|file| !file.posix.vacant());
        file.is_some_and(|file| file.posix.first_in_the_way(&self.posix, range, &of_owners).is_some())
    }

    /// Whether a lock that would rather wait has to: for locks of others, or for requests that came before it. First come, first served:
    /// else one shared lock after the other would keep an exclusive one waiting for ever.
    pub(super) fn has_to_wait(&self, file: FileSlot, who: Locker, range: Range, kind: LockKind) -> bool {
        let ahead = self
            .files
            .get(file)
            .and_then(|file| file.queue.first_in_the_way(&self.queued, range, &ahead_of(who, kind)));
        ahead.is_some() || self.is_locked_out(file, who, range, kind)
    }

    /// All locks that are held and in the way of one.
    pub(super) fn each_in_the_way(
        &self,
        file: FileSlot,
        wanted: Lock<Locker>,
        visit: &mut dyn FnMut(Lock<Locker>),
    ) {
        let Some(file) = self.files.get(file) else { return };
        let (of_opens, of_owners) = in_the_way(wanted.owner, wanted.kind);
        let mut open = |Lock { range, owner, kind }| visit(Lock { range, owner: Locker::Open(owner), kind });
        file.locks.each_in_the_way(&self.ranges, wanted.range, &of_opens, &mut open);
        let mut owner =
            |Lock { range, owner, kind }| visit(Lock { range, owner: Locker::Owner(owner), kind });
        file.posix.each_in_the_way(&self.posix, wanted.range, &of_owners, &mut owner);
    }

    /// Whose locks refuse a lock that would rather fail than wait.
    pub(super) fn refused_by(&self, file: FileSlot, job: &Job) -> Vec<Locker> {
        let mut by = Vec::new();
        let wanted = match job {
            Job::Lock(lock) => ranges::demanded(&lock.elements).collect(),
            Job::OwnerLock(lock) => Vec::from_iter(lock.wanted()),
            Job::Create(_) | Job::Operate { .. } | Job::Reserve(_) => Vec::new(),
        };
        let Some(owner) = job.locker() else { return by };
        for (range, kind) in wanted {
            self.each_in_the_way(file, Lock { range, owner, kind }, &mut |lock| by.push(lock.owner));
        }
        by
    }

    /// Whom a request waits for, if it waits for locks: those who hold them, and, unless it passes them, those who came before it.
    pub(super) fn waits_on(&self, file: FileSlot, job: &Job, passes: bool) -> Vec<Locker> {
        let Some(wanted) = job.wish() else { return Vec::new() };
        let mut on = Vec::new();
        self.each_in_the_way(file, wanted, &mut |lock| on.push(lock.owner));
        if let Some(file) = self.files.get(file).filter(|_| !passes) {
            let ahead = ahead_of(wanted.owner, wanted.kind);
            file.queue.each_in_the_way(&self.queued, wanted.range, &ahead, &mut |lock| on.push(lock.owner));
        }
        others(on, wanted.owner)
    }

    /// Whom a request has to wait for, as in [`waits_on`](Self::waits_on), but for those whom another of them waits for anyway. `ahead` is
    /// the last of all that came before it to this file. O(log locks) behind a lock that has all of its octets, else
    /// O(locks in its way · log locks).
    fn waits_behind(
        &self,
        file: FileSlot,
        job: &Job,
        passes: bool,
        ahead: Option<WaiterSlot>,
    ) -> Vec<Locker> {
        let (Some(wanted), Some(record)) = (job.wish(), self.files.get(file)) else { return Vec::new() };
        let mut on = Vec::new();
        // Who waits for whatever is in the way of it: but who passes the line waits for none that stand in it.
        let mut nearest: Vec<Lock<Locker>> = Vec::new();
        let mut next = ahead.filter(|_| !passes);
        for _ in 0..NEAREST {
            let Some(waiter) = next.and_then(|slot| self.waiters.get(slot)) else { break };
            next = waiter.in_file.prev();
            let wish = waiter.job.wish().filter(|wish| exclude(*wish, wanted));
            let Some(wish) = wish.filter(|wish| !nearest.iter().any(|near| exclude(*near, *wish))) else {
                continue;
            };
            on.push(wish.owner);
            if waiter.passes {
                continue;
            }
            nearest.push(wish);
            if wish.kind == LockKind::Exclusive && wish.range.covers(wanted.range) {
                return others(on, wanted.owner);
            }
        }
        let mut also = |other: Lock<Locker>| {
            if !nearest.iter().any(|near| exclude(*near, other)) {
                on.push(other.owner);
            }
        };
        if !passes {
            let ahead = ahead_of(wanted.owner, wanted.kind);
            record.queue.each_in_the_way(&self.queued, wanted.range, &ahead, &mut also);
        }
        self.each_in_the_way(file, wanted, &mut also);
        others(on, wanted.owner)
    }

    /// As [`waits_behind`](Self::waits_behind) of a request that is to wait last of all, if that is not for too many.
    pub(super) fn joins(&self, file: FileSlot, job: &Job, passes: bool) -> Result<Vec<Locker>, Status> {
        let last = self.files.get(file).and_then(|file| file.waiters.tail());
        self.not_too_many(self.waits_behind(file, job, passes, last))
    }

    /// As above, of one that waits already.
    pub(super) fn stays(&self, slot: WaiterSlot) -> Result<Vec<Locker>, Status> {
        let on = self
            .waiters
            .get(slot)
            .map(|waiter| self.waits_behind(waiter.file, &waiter.job, waiter.passes, waiter.in_file.prev()));
        self.not_too_many(on.unwrap_or_default())
    }

    fn not_too_many(&self, on: Vec<Locker>) -> Result<Vec<Locker>, Status> {
        if on.len() > self.config.limits.waited_for { Err(Status::INSUFFICIENT_RESOURCES) } else { Ok(on) }
    }

    /// Whether a request would wait for less without those ahead in line, who wait for it: a lock that its owner has already, and is
    /// asked for again, or raised.
    pub(super) fn may_pass(&self, slot: WaiterSlot) -> bool {
        let Some(waiter) = self.waiters.get(slot).filter(|waiter| !waiter.passes) else { return false };
        let Some(wish) = waiter.job.wish() else { return false };
        let held = self.waits_on(waiter.file, &waiter.job, true);
        let mut next = waiter.in_file.prev();
        while let Some(ahead) = next.and_then(|slot| self.waiters.get(slot)) {
            next = ahead.in_file.prev();
            let in_the_way = ahead.job.wish().filter(|ahead| exclude(*ahead, wish));
            if in_the_way.is_some_and(|ahead| held.binary_search(&ahead.owner).is_err()) {
                return true;
            }
        }
        false
    }

    /// Whether somebody was asked to come down from what it caches: it stands behind nobody in line, since those who asked wait for it, and
    /// it may have to lock first what it has locked by itself (MS-SMB2 3.2.5.19.1, RFC 8881 10.4.5). O(owners on the file).
    pub(super) fn is_asked(&self, file: FileSlot, own: Own) -> bool {
        let open = own.open.and_then(|open| self.opens.get(open)).and_then(|open| self.hold(open));
        open.is_some_and(|(hold, _)| hold.breaking().is_some())
            || own.owner.zip(self.files.get(file)).is_some_and(|(owner, file)| {
                let mut own = self.presences_on(file).filter(|presence| presence.owner.same_host(owner));
                own.any(|presence| {
                    presence.delegated.as_ref().is_some_and(|delegated| delegated.hold.breaking().is_some())
                })
            })
    }
}

/// Whether one of the two has to wait for the other.
fn exclude(one: Lock<Locker>, other: Lock<Locker>) -> bool {
    one.owner != other.owner
        && (one.kind == LockKind::Exclusive || other.kind == LockKind::Exclusive)
        && one.range.overlaps(other.range)
}

/// Each of them once, in order, but for who asks.
fn others(mut on: Vec<Locker>, who: Locker) -> Vec<Locker> {
    on.retain(|other| *other != who);
    on.sort_unstable();
    on.dedup();
    on
}

/// What forbids a lock to somebody who has none of that kind of his own.
fn of_strangers<O>(kind: LockKind) -> InTheWay<O> {
    match kind {
        LockKind::Shared => InTheWay::ExclusiveOfOthers(None),
        LockKind::Exclusive => InTheWay::All,
    }
}

/// What is in the way of a lock: among those of SMB's opens, and among those of all other owners.
pub(super) fn in_the_way(who: Locker, kind: LockKind) -> (InTheWay<u64>, InTheWay<OwnerId>) {
    match who {
        Locker::Open(open) => (in_the_way_of(kind, open), of_strangers(kind)),
        Locker::Owner(owner) => (of_strangers(kind), posix::in_the_way(kind, owner)),
    }
}

/// What is in the way of a lock among those that stand in line.
fn ahead_of(who: Locker, kind: LockKind) -> InTheWay<Locker> {
    match kind {
        LockKind::Shared => InTheWay::ExclusiveOfOthers(Some(who)),
        LockKind::Exclusive => InTheWay::AllOfOthers(who),
    }
}
