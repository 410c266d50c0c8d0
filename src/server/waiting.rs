//! Locks that wait: in the order of their requests, and only for who does not wait for them (MS-SMB2 3.3.5.14, XNFS NLM_LOCK).

use alloc::vec::Vec;

use super::action::{Action, LockHolder};
use super::journal::Had;
use super::judging::Own;
use super::line::in_the_way;
use super::owners::OwnerLock;
use super::ranges;
use super::records::{FileSlot, Job, WaiterSlot};
use super::scale::{RegistryInput, Route};
use super::shard::{Out, Shard, perform, tell};
use crate::locks::posix::Full;
use crate::locks::range::{Lock, LockKind, Range};
use crate::locks::waits::{Deadlock, Locker};
use crate::stats::count;
use crate::status::Status;
use crate::types::{FileKey, OwnerId, RequestId};

/// The octets of an owner's lock; `u64::MAX` is up to the end of the file. That is before the octet at 2^64 - 1, which no file has and
/// nobody locks by itself (RFC 8881 18.10.3): else all of a file would be one octet more than a range can have.
pub(super) fn range(offset: u64, len: u64) -> Result<Range, Status> {
    let room = u64::MAX.saturating_sub(offset);
    let len = match len {
        0 => return Err(Status::INVALID_PARAMETER),
        u64::MAX => room,
        len => len,
    };
    let fits = (1..=room).contains(&len);
    Range::new(offset, len).filter(|_| fits).ok_or(Status::INVALID_LOCK_RANGE)
}

impl OwnerLock {
    fn kind(&self) -> LockKind {
        if self.exclusive { LockKind::Exclusive } else { LockKind::Shared }
    }

    /// What it locks, once it was looked through.
    pub(super) fn wanted(&self) -> Option<(Range, LockKind)> {
        Some((range(self.offset, self.len).ok()?, self.kind()))
    }

    fn repeats(&self, other: &Self) -> bool {
        let what = |lock: &Self| (lock.owner, lock.file, lock.offset, lock.len, lock.exclusive, lock.waits);
        what(self) == what(other)
    }
}

impl Job {
    /// The lock that it waits for, if it would rather wait than fail.
    pub(super) fn awaited(&self) -> Option<(Range, LockKind)> {
        match self {
            Self::Lock(lock) => ranges::awaited(&lock.elements).ok().flatten(),
            Self::OwnerLock(lock) => lock.wanted().filter(|_| lock.waits),
            Self::Create(_) | Self::Operate { .. } | Self::Reserve(_) => None,
        }
    }

    /// As [`awaited`](Self::awaited), with whose it is.
    pub(super) fn wish(&self) -> Option<Lock<Locker>> {
        let (owner, (range, kind)) = (self.locker()?, self.awaited()?);
        Some(Lock { range, owner, kind })
    }

    pub(super) fn locker(&self) -> Option<Locker> {
        match self {
            Self::Lock(lock) => Some(Locker::Open(lock.file_id.persistent)),
            Self::OwnerLock(lock) => Some(Locker::Owner(lock.owner)),
            Self::Create(_) | Self::Operate { .. } | Self::Reserve(_) => None,
        }
    }
}

impl Shard {
    /// A lock of another protocol has come.
    pub(super) fn owner_lock(&mut self, lock: OwnerLock, out: Out<'_>) {
        if let Err(status) = range(lock.offset, lock.len) {
            return self.decline(lock.request, status, out);
        }
        if let Some(first) = self.repeated(&lock) {
            return perform(out, Action::Repeated { request: lock.request, first });
        }
        match self.in_grace(lock.reclaims) {
            Ok(()) => self.arrive(lock.file, Job::OwnerLock(lock), out),
            Err(status) => self.decline(lock.request, status, out),
        }
    }

    /// The request that waits for the same: NLM sends again what was not answered, and what was answered with BLOCKED.
    fn repeated(&self, lock: &OwnerLock) -> Option<RequestId> {
        let lane = self.lanes.find(Job::OwnerLock(*lock).lane()?)?;
        let waiters = self.lanes.get(lane)?.waiters.iter(&self.waiters.records, |waiter| &waiter.in_lane);
        waiters.map(|(_, waiter)| &waiter.job).find_map(|job| match job {
            Job::OwnerLock(other) if lock.repeats(other) => Some(other.request),
            Job::OwnerLock(_) | Job::Create(_) | Job::Operate { .. } | Job::Lock(_) | Job::Reserve(_) => None,
        })
    }

    /// Locks what was judged, tells everybody in `breaks`, and answers. Returns whether who stands in line has one more to wait for, or
    /// has to wait for less: an exclusive lock has become a shared one.
    pub(super) fn take_owner_lock(
        &mut self,
        file: FileSlot,
        lock: &OwnerLock,
        passes: bool,
        out: Out<'_>,
    ) -> bool {
        let request = lock.request;
        let lowers = lock.wanted().is_some_and(|(range, kind)| {
            let presence = self.presence(lock.owner, file).and_then(|slot| self.presences.get(slot));
            presence.is_some_and(|presence| presence.held.lowers(range, kind))
        });
        let taken = match lock.wanted() {
            Some((range, kind)) if !self.is_locked_out(file, Locker::Owner(lock.owner), range, kind) => {
                self.set_owner_lock(file, lock.owner, range, Some(kind))
            }
            Some(_) => Err(Status::LOCK_NOT_GRANTED),
            None => Err(Status::INVALID_LOCK_RANGE),
        };
        match taken {
            Ok(()) => {
                self.tell_holders(out);
                self.tell_owner(Had { request, owner: lock.owner, delegation: None }, out);
                lowers || passes
            }
            Err(status) => {
                self.breaks.clear();
                if status == Status::LOCK_NOT_GRANTED {
                    self.count_refused(file, &Job::OwnerLock(*lock));
                }
                self.decline(request, status, out);
                false
            }
        }
    }

    /// An unlock of another protocol.
    pub(super) fn owner_unlock(
        &mut self,
        request: RequestId,
        owner: OwnerId,
        key: FileKey,
        octets: (u64, u64),
        out: Out<'_>,
    ) {
        let range = match range(octets.0, octets.1) {
            Ok(range) => range,
            Err(status) => return self.decline(request, status, out),
        };
        let file = self.files.find(key).filter(|file| self.presence(owner, *file).is_some());
        let Some(file) = file else { return perform(out, Action::Accepted { request }) };
        match self.set_owner_lock(file, owner, range, None) {
            Ok(()) => perform(out, Action::Accepted { request }),
            Err(status) => return self.decline(request, status, out),
        }
        self.settle(file, out);
    }

    /// Whether a lock could be had.
    pub(super) fn test_lock(&self, lock: &OwnerLock, out: Out<'_>) {
        let request = lock.request;
        let (range, kind) = match range(lock.offset, lock.len) {
            Ok(range) => (range, lock.kind()),
            Err(status) => return perform(out, Action::Refused { request, status }),
        };
        // XNFS LCK_DENIED_GRACE_PERIOD: nobody knows as yet.
        if let Err(status) = self.in_grace(false) {
            return perform(out, Action::Refused { request, status });
        }
        let conflict = self.files.find(lock.file).and_then(|slot| {
            let file = self.files.get(slot)?;
            let (of_opens, of_owners) = in_the_way(Locker::Owner(lock.owner), kind);
            let of_opens = file.locks.first_in_the_way(&self.ranges, range, &of_opens);
            let of_opens = of_opens.map(|lock| (Locker::Open(lock.owner), lock.range, lock.kind));
            of_opens.or_else(|| {
                let lock = file.posix.first_in_the_way(&self.posix, range, &of_owners)?;
                Some((Locker::Owner(lock.owner), lock.range, lock.kind))
            })
        });
        let conflict = conflict.map(|(locker, range, kind)| LockHolder {
            locker,
            offset: range.offset(),
            len: range.len(),
            exclusive: kind == LockKind::Exclusive,
        });
        perform(out, Action::Tested { request, conflict });
    }

    fn set_owner_lock(
        &mut self,
        file: FileSlot,
        owner: OwnerId,
        range: Range,
        kind: Option<LockKind>,
    ) -> Result<(), Status> {
        let slot = self.enter_presence(owner, file).ok_or(Status::INSUFFICIENT_RESOURCES)?;
        let (Some(presence), Some(file)) = (self.presences.get_mut(slot), self.files.get_mut(file)) else {
            return Err(Status::INSUFFICIENT_RESOURCES);
        };
        let done = presence.held.set(&mut file.posix, &mut self.posix, range, kind);
        self.reap_presence(slot);
        done.map_err(|Full| Status::INSUFFICIENT_RESOURCES)
    }

    /// Puts a lock that waits behind all others in line, and says whom it waits for now.
    pub(super) fn queue_up(&mut self, slot: WaiterSlot, on: Vec<Locker>, out: Out<'_>) {
        let Some(waiter) = self.waiters.get_mut(slot) else { return };
        let Some(Lock { range, owner, kind }) = waiter.job.wish() else { return };
        let Some(record) = self.files.get_mut(waiter.file) else { return };
        // Requests of one owner for the same have one place: that of the first that is left.
        if !record.queue.contains(&self.queued, owner, range, kind)
            && record.queue.add(&mut self.queued, &mut waiter.place, range, kind).is_none()
        {
            return self.anomaly("no room in the line");
        }
        if waiter.on == on {
            return;
        }
        if waiter.on.iter().any(|other| on.binary_search(other).is_err()) {
            self.over = self.over.wrapping_add(1);
        }
        waiter.on = on;
        self.ask(slot, out);
    }

    /// Says whom a lock waits for, and asks whether it may.
    fn ask(&mut self, slot: WaiterSlot, out: Out<'_>) {
        let Some(waiter) = self.waiters.get_mut(slot) else { return };
        let (Some(file), Some(owner)) = (self.files.get(waiter.file), waiter.job.locker()) else { return };
        waiter.round = waiter.round.wrapping_add(1);
        waiter.over = self.over;
        let (request, round, on) = (waiter.job.request(), waiter.round, waiter.on.clone());
        let route = Route::of_file(file.key, self.config.route_seed);
        // It waits for a break alone, which has an end of its own.
        tell(
            out,
            if on.is_empty() {
                RegistryInput::WaitOver { request }
            } else {
                RegistryInput::Waits { request, route, round, owner, on }
            },
        );
    }

    /// Takes a lock that waits out of the line.
    pub(super) fn leave_line(&mut self, slot: WaiterSlot) {
        let Some(waiter) = self.waiters.get_mut(slot) else { return };
        if let Some(file) = self.files.get_mut(waiter.file) {
            file.queue.release(&mut self.queued, &mut waiter.place);
        }
    }

    /// What the graph of all waits says: the client hears that its request waits, or that it must not. That there is a
    /// circle through those whom it waited for before, and does not any more, counts for nothing.
    pub(super) fn may_wait_for(
        &mut self,
        request: RequestId,
        round: u32,
        result: Result<(), Deadlock>,
        out: Out<'_>,
    ) {
        let Some(slot) = self.waiters.find(request) else { return };
        match result {
            Ok(()) => self.say_that_it_waits(slot, out),
            Err(Deadlock) if self.waiters.get(slot).is_none_or(|waiter| waiter.round != round) => {
                self.say_what_has_an_end(slot, out);
            }
            // It may be open since.
            Err(Deadlock) if self.waiters.get(slot).is_none_or(|waiter| waiter.over != self.over) => {
                self.ask(slot, out);
            }
            Err(Deadlock) if self.may_pass(slot) => self.resume_passing(slot, out),
            Err(Deadlock) => {
                let file = self.waiters.get(slot).map(|waiter| waiter.file);
                if let Some(job) = self.unpark(slot, out) {
                    count(&mut self.stats.deadlocks);
                    self.refuse(job, Status::POSSIBLE_DEADLOCK, out);
                }
                // Who stood behind it goes on.
                if let Some(file) = file {
                    self.resume_line(file, out);
                }
            }
        }
    }

    fn resume_passing(&mut self, slot: WaiterSlot, out: Out<'_>) {
        let Some(waiter) = self.waiters.get_mut(slot) else { return };
        waiter.passes = true;
        // The graph knows no wait of it: it is asked again, though it be for the same.
        waiter.on.clear();
        self.over = self.over.wrapping_add(1);
        let file = waiter.file;
        self.resume_line(file, out);
    }

    /// Who waits for locks is told when it is known that this has an end.
    pub(super) fn say_what_has_an_end(&mut self, slot: WaiterSlot, out: Out<'_>) {
        if self.waiters.get(slot).is_some_and(|waiter| waiter.on.is_empty()) {
            self.say_that_it_waits(slot, out);
        }
    }

    /// STATUS_PENDING, NLM4_BLOCKED, NFS4ERR_DELAY: once.
    pub(super) fn say_that_it_waits(&mut self, slot: WaiterSlot, out: Out<'_>) {
        let Some(waiter) = self.waiters.get_mut(slot).filter(|waiter| waiter.lane.is_some() && !waiter.told)
        else {
            return;
        };
        waiter.told = true;
        perform(out, Action::Interim { request: waiter.job.request() });
    }

    pub(super) fn locker_of(&self, own: Own) -> Option<Locker> {
        let open = own.open.and_then(|open| self.opens.get(open));
        open.map(|open| Locker::Open(open.file_id.persistent)).or(own.owner.map(Locker::Owner))
    }
}
