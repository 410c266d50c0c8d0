//! Behind whom a lock stands: the edges of the graph of waits, as few as say it all.
//!
//! A lock waits for everybody in its way: those who hold locks, and those who came before it. Most of them are behind one another, so that
//! an edge to the last of these is enough: whoever is reached by all edges is reached by these, and a line of n has n of them, not n²/2.

use alloc::vec::Vec;

use super::judging::Own;
use super::records::{FileSlot, Job, WaiterSlot};
use super::shard::Shard;
use super::waiting::ahead_of;
use crate::locks::range::{Lock, LockKind};
use crate::locks::waits::Locker;

/// How many of those just ahead are looked at for one that all others are behind.
const NEAREST: usize = 16;

impl Shard {
    /// Whom a request has to wait for, as in [`waits_on`](Self::waits_on), but for those whom another of them waits for anyway. `ahead` is
    /// the last of all that came before it to this file. O(log locks) behind a lock that has all of its octets, else
    /// O(locks in its way · log locks).
    pub(super) fn waits_behind(
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
                return sorted(on);
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
        on.retain(|other| *other != wanted.owner);
        sorted(on)
    }

    /// Whether somebody was asked to come down from what it caches: it stands behind nobody in line, since those who asked wait for it, and
    /// it may have to lock first what it has locked by itself (MS-SMB2 3.2.5.19.1, RFC 8881 10.4.5). O(owners on the file).
    pub(super) fn is_asked(&self, file: FileSlot, own: Own) -> bool {
        let open = own.open.and_then(|open| self.opens.get(open)).and_then(|open| self.hold(open));
        open.is_some_and(|(hold, _)| hold.breaking().is_some())
            || own.owner.zip(self.files.get(file)).is_some_and(|(owner, file)| {
                let presences = file.presences.iter(&self.presences, |presence| &presence.in_file);
                let mut own = presences.filter(|(_, presence)| presence.owner.same_host(owner));
                own.any(|(_, presence)| {
                    presence.delegated.as_ref().is_some_and(|delegated| delegated.hold.breaking().is_some())
                })
            })
    }
}

/// Whether one of the two has to wait for the other.
pub(super) fn exclude(one: Lock<Locker>, other: Lock<Locker>) -> bool {
    one.owner != other.owner
        && (one.kind == LockKind::Exclusive || other.kind == LockKind::Exclusive)
        && one.range.overlaps(other.range)
}

fn sorted(mut on: Vec<Locker>) -> Vec<Locker> {
    on.sort_unstable();
    on.dedup();
    on
}
