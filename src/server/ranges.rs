//! LOCK: what a request asks for, and what becomes of it (MS-SMB2 3.3.5.14).

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::action::Action;
use super::event::{Lock, LockElement, LockFlags};
use super::records::{FileSlot, Job};
use super::scale::OpenSlot;
use super::shard::{Out, Own, Shard, perform};
use crate::locks::range::{LockKind, Range, Refusal};
use crate::stats::count;
use crate::status::Status;

/// What a LOCK wants locked, and whether it waits for that.
pub(super) struct Demand {
    ranges: Vec<(Range, LockKind)>,
    waits: bool,
}

impl Demand {
    /// Reads the elements of a LOCK that does not unlock (MS-SMB2 3.3.5.14.2).
    pub(super) fn read(elements: &[LockElement]) -> Result<Self, Status> {
        let kind = |element: &LockElement| match element.flags.difference(LockFlags::FAIL_IMMEDIATELY) {
            LockFlags::SHARED => Ok(LockKind::Shared),
            LockFlags::EXCLUSIVE => Ok(LockKind::Exclusive),
            _ => Err(Status::INVALID_PARAMETER),
        };
        let kinds = elements.iter().map(kind).collect::<Result<Vec<_>, _>>()?;
        let waits = elements.iter().any(|element| !element.flags.contains(LockFlags::FAIL_IMMEDIATELY));
        if waits && elements.len() > 1 {
            return Err(Status::INVALID_PARAMETER);
        }
        let ranges = elements.iter().zip(kinds).map(|(element, kind)| Ok((range(element)?, kind)));
        Ok(Self { ranges: ranges.collect::<Result<_, Status>>()?, waits })
    }

    /// The lock that it waits for rather than fail. One that waits is alone.
    pub(super) fn awaited(&self) -> Option<(Range, LockKind)> {
        self.ranges.first().copied().filter(|_| self.waits)
    }
}

impl Shard {
    /// A LOCK has come: unlocked at once, or judged like any request.
    pub(super) fn lock(&mut self, lock: Box<Lock>, out: Out<'_>) {
        let refuse = |shard: &mut Self, status, out: Out<'_>| {
            count(&mut shard.stats.refused);
            perform(out, Action::Refused { request: lock.request, status });
        };
        let Some((slot, open)) = self.live(lock.file_id, Some(lock.origin.session)) else {
            return refuse(self, Status::FILE_CLOSED, out);
        };
        let file = open.file;
        let Some(first) = lock.elements.first() else {
            return refuse(self, Status::INVALID_PARAMETER, out);
        };
        if lock.elements.len() > self.config.limits.locks_per_request {
            return refuse(self, Status::INSUFFICIENT_RESOURCES, out);
        }
        if first.flags == LockFlags::UNLOCK {
            let before = open.locks.lock_count();
            let result = self.unlock(file, slot, &lock.elements);
            match result {
                Ok(()) => perform(out, Action::Accepted { request: lock.request }),
                Err(status) => refuse(self, status, out),
            }
            // What was unlocked before an error stays so.
            if self.opens.get(slot).is_some_and(|open| open.locks.lock_count() < before) {
                self.resume(file, out);
            }
            return;
        }
        let key = self.files.get(file).map(|file| file.key);
        match (Demand::read(&lock.elements), key) {
            (Ok(_), Some(key)) => self.arrive(key, Job::Lock(lock), out),
            (Ok(_), None) => refuse(self, Status::FILE_CLOSED, out),
            (Err(status), _) => refuse(self, status, out),
        }
    }

    /// Unlocks one range after the other (MS-SMB2 3.3.5.14.1).
    fn unlock(&mut self, file: FileSlot, slot: OpenSlot, elements: &[LockElement]) -> Result<(), Status> {
        let (Some(file), Some(open)) = (self.files.get_mut(file), self.opens.get_mut(slot)) else {
            return Err(Status::FILE_CLOSED);
        };
        for element in elements {
            if element.flags != LockFlags::UNLOCK {
                return Err(Status::INVALID_PARAMETER);
            }
            let range = range(element)?;
            let done = file.locks.unlock(&mut self.ranges, &mut open.locks, range);
            done.map_err(|_| Status::RANGE_NOT_LOCKED)?;
        }
        Ok(())
    }

    /// Whether there is room for the locks, whatever is locked.
    pub(super) fn has_room_for(&self, slot: OpenSlot, lock: &Lock) -> bool {
        let limits = &self.config.limits;
        let more = lock.elements.len();
        let held = self.opens.get(slot).map_or(0, |open| open.locks.lock_count() as usize);
        self.ranges.len().saturating_add(more) <= limits.locks
            && held.saturating_add(more) <= limits.locks_per_open as usize
    }

    /// Whether a lock cannot be had as yet.
    pub(super) fn is_locked_out(&self, file: FileSlot, own: Own, range: Range, kind: LockKind) -> bool {
        let (Some(file), Some(slot)) = (self.files.get(file), own.open) else { return false };
        file.locks.conflict_with_lock(&self.ranges, range, kind, slot).is_some()
    }

    /// Locks all or nothing, and answers.
    pub(super) fn take_locks(&mut self, file: FileSlot, slot: OpenSlot, lock: Box<Lock>, out: Out<'_>) {
        let result = match (self.files.get_mut(file), self.opens.get_mut(slot), Demand::read(&lock.elements))
        {
            (Some(file), Some(open), Ok(demand)) => {
                let done = file.locks.try_lock_all(&mut self.ranges, &mut open.locks, &demand.ranges);
                done.map_err(|refusal| match refusal {
                    Refusal::Conflict(_) => Status::LOCK_NOT_GRANTED,
                    Refusal::Full => Status::INSUFFICIENT_RESOURCES,
                })
            }
            (_, _, Err(status)) => Err(status),
            (None, _, _) | (_, None, _) => Err(Status::FILE_CLOSED),
        };
        match result {
            Ok(()) => perform(out, Action::Accepted { request: lock.request }),
            Err(status) => self.refuse(&Job::Lock(lock), status, out),
        }
    }
}

/// MS-FSA 2.1.5.8, 2.1.5.9.
fn range(element: &LockElement) -> Result<Range, Status> {
    Range::new(element.offset, element.len).ok_or(Status::INVALID_LOCK_RANGE)
}
