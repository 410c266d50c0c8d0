//! LOCK: what a request asks for, and what becomes of it (MS-SMB2 3.3.5.14).

use alloc::boxed::Box;

use super::action::Action;
use super::event::{Lock, LockElement, LockFlags};
use super::journal::HeldBack;
use super::records::{FileSlot, Job};
use super::scale::OpenSlot;
use super::shard::{Out, Shard, perform};
use crate::locks::range::{LockKind, Range, Refusal};
use crate::locks::waits::Locker;
use crate::status::Status;

/// Looks a LOCK that does not unlock through (MS-SMB2 3.3.5.14.2). Returns the lock that it would rather wait for than
/// fail; one that waits is alone.
pub(super) fn awaited(elements: &[LockElement]) -> Result<Option<(Range, LockKind)>, Status> {
    let kinds = || elements.iter().map(kind);
    let waits = elements.iter().any(|element| !element.flags.contains(LockFlags::FAIL_IMMEDIATELY));
    if kinds().any(|kind| kind.is_none()) || (waits && elements.len() > 1) {
        return Err(Status::INVALID_PARAMETER);
    }
    if !elements.iter().all(|element| range(element).is_some()) {
        return Err(Status::INVALID_LOCK_RANGE);
    }
    Ok(demanded(elements).next().filter(|_| waits))
}

/// The locks of a LOCK that was looked through.
pub(super) fn demanded(elements: &[LockElement]) -> impl Iterator<Item = (Range, LockKind)> + Clone + '_ {
    elements.iter().filter_map(|element| Some((range(element)?, kind(element)?)))
}

fn kind(element: &LockElement) -> Option<LockKind> {
    match element.flags.difference(LockFlags::FAIL_IMMEDIATELY) {
        LockFlags::SHARED => Some(LockKind::Shared),
        LockFlags::EXCLUSIVE => Some(LockKind::Exclusive),
        _ => None,
    }
}

/// MS-FSA 2.1.5.8, 2.1.5.9.
fn range(element: &LockElement) -> Option<Range> {
    Range::new(element.offset, element.len)
}

impl Shard {
    /// A LOCK has come: unlocked at once, or judged like any request.
    pub(super) fn lock(&mut self, lock: Lock, out: Out<'_>) {
        let request = lock.request;
        let Some((slot, open)) = self.live(lock.file_id, Some(lock.origin.session)) else {
            return self.decline(request, Status::FILE_CLOSED, out);
        };
        let (file, before) = (open.file, open.locks.lock_count());
        self.used(slot, out);
        // MS-SMB2 3.3.5.14: nothing is known of the entry until this one is carried out.
        if let (Some(sequence), Some(promise)) = (lock.sequence, self.promise_mut(slot)) {
            promise.sequences.undone(sequence);
        }
        let Some(first) = lock.elements.first() else {
            return self.decline(request, Status::INVALID_PARAMETER, out);
        };
        if lock.elements.len() > self.config.limits.locks_per_request {
            return self.decline(request, Status::INSUFFICIENT_RESOURCES, out);
        }
        if first.flags == LockFlags::UNLOCK {
            let result = self.unlock(file, slot, &lock.elements);
            // What was unlocked before an error stays so.
            let unlocked = self.opens.get(slot).is_some_and(|open| open.locks.lock_count() < before);
            match result {
                Ok(()) => self.accept_lock(slot, lock, HeldBack::Unlocked, out),
                Err(status) => {
                    if unlocked {
                        self.touch(slot);
                    }
                    self.decline(request, status, out);
                }
            }
            if unlocked {
                self.resume(file, out);
            }
            return;
        }
        let key = self.files.get(file).map(|file| file.key);
        match (awaited(&lock.elements), key) {
            (Ok(_), Some(key)) => self.arrive(key, Job::Lock(lock), out),
            (Ok(_), None) => self.decline(request, Status::FILE_CLOSED, out),
            (Err(status), _) => self.decline(request, status, out),
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
            let range = range(element).ok_or(Status::INVALID_LOCK_RANGE)?;
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

    /// Locks all or nothing, tells everybody in `breaks`, and answers. *Choice:* what fails takes nothing from anybody, as Samba has
    /// it; the text breaks first (MS-FSA 2.1.5.8). Returns whether it has done so.
    pub(super) fn take_locks(&mut self, file: FileSlot, slot: OpenSlot, lock: Lock, out: Out<'_>) -> bool {
        let who = Locker::Open(lock.file_id.persistent);
        let mut elements = demanded(&lock.elements);
        // Among its own and each other they are judged one by one, below.
        let foreign = elements.any(|(range, kind)| self.is_owned_by_others(file, who, range, kind));
        drop(elements);
        let result = match (self.files.get_mut(file), self.opens.get_mut(slot)) {
            (Some(_), Some(_)) if foreign => Err(Status::LOCK_NOT_GRANTED),
            (Some(file), Some(open)) => {
                let wanted = demanded(&lock.elements);
                let done = file.locks.try_lock_all(&mut self.ranges, &mut open.locks, wanted);
                done.map_err(|refusal| match refusal {
                    Refusal::Conflict(_) => Status::LOCK_NOT_GRANTED,
                    Refusal::Full => Status::INSUFFICIENT_RESOURCES,
                })
            }
            (None, _) | (_, None) => Err(Status::FILE_CLOSED),
        };
        match result {
            Ok(()) => {
                self.tell_holders(out);
                self.accept_lock(slot, lock, HeldBack::Locked, out);
                true
            }
            Err(status) => {
                self.breaks.clear();
                let job = Job::Lock(lock);
                if status == Status::LOCK_NOT_GRANTED {
                    self.count_refused(file, &job);
                }
                self.refuse(job, status, out);
                false
            }
        }
    }

    /// Answers a LOCK that is carried out: that of a persistent open, when its record is durable.
    fn accept_lock(&mut self, slot: OpenSlot, lock: Lock, held: fn(Box<Lock>) -> HeldBack, out: Out<'_>) {
        let Some(promise) = self.promise_mut(slot) else {
            return perform(out, Action::Accepted { request: lock.request });
        };
        if let Some(sequence) = lock.sequence {
            promise.sequences.done(sequence);
        }
        self.when_durable(slot, held(Box::new(lock)), out);
    }
}
