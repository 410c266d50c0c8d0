//! What has to be stored, and who waits for it: a client is told of a promise when it is durable, not before.
//!
//! ```text
//! what changes ──Put, Delete──► Persist ──► the driver ──► Persisted ──────► what was held back goes out
//!                                                     └──► PersistFailed ──► it is refused, or granted without a promise
//! ```
//!
//! A record is written ahead of what it says, or in the call that made it so. A lease that breaks is stored with what its client was
//! told: after a restart others wait for its answer as before.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::mem;

use super::action::Action;
use super::durable::{Durable, Kind, Promise};
use super::event::{Lock, ObjectKind};
use super::lease::Lease;
use super::ranges::demanded;
use super::records::{DurableSlot, FileSlot, LaneKey, Open, PresenceSlot, Stage};
use super::replay::REPLAYED;
use super::scale::{Admission, HolderId, OpenSlot, PersistSeq, RegistryInput, Route, Ticket};
use super::shard::{Out, Shard, perform, tell};
use crate::locks::range::LockKind;
use crate::locks::{Intent, Operation};
use crate::persist::{Change, LockRecord, Record};
use crate::state::{CreateAction, LeaseState};
use crate::stats::count;
use crate::status::Status;
use crate::time::Instant;
use crate::types::{FileKey, OwnerId, RequestId};

/// Serial numbers of FileIds are reserved by that many.
const RESERVE: u64 = 1 << 20;

/// The changes of one shard.
#[derive(Clone, Debug, Default)]
pub(super) struct Journal {
    /// The number of the last change.
    pub(super) last: u64,
    /// The number of the last change of what an open has.
    last_of_opens: u64,
    /// All up to this one are durable, or failed.
    answered: u64,
    /// Those above that failed: never more than the driver has to store.
    failed: BTreeSet<u64>,
    /// Those above that by which an open may not read from its cache any more. Nobody is answered by them.
    taken: BTreeMap<u64, DurableSlot>,
    /// The highest [`Record::written`].
    pub(super) written: u64,
    /// In the order of the changes that they wait for.
    held: VecDeque<Held>,
    /// Whose records are to be written at the end of the call.
    dirty: Vec<DurableSlot>,
    /// A route of this shard.
    home: Route,
    /// Serial numbers below this are reserved for certain.
    pub(super) reserved: u64,
    /// As above, once the last change about them is durable.
    reserving: u64,
    /// Until when files with opens that nobody has claimed yet are kept from others.
    pub(super) grace: Option<Instant>,
}

/// What waits for a change to be durable.
#[derive(Clone, Debug)]
struct Held {
    change: u64,
    what: HeldBack,
}

#[derive(Clone, Debug)]
pub(super) enum HeldBack {
    /// The answer to the CREATE of this open.
    Grant(DurableSlot),
    /// As above, of an open that could not be stored, until nothing of it is left in the store.
    Withdrawn(DurableSlot),
    /// The answer to a LOCK that has locked.
    Locked(Box<Lock>),
    /// The answer to a LOCK that has unlocked.
    Unlocked(Box<Lock>),
    /// The answer to a request for resilience.
    Accept(RequestId),
    /// What an owner of another protocol is told to have.
    Had(Had),
    /// An operation that changes the record.
    Proceed(RequestId, Ticket),
    /// The answer to a CLOSE.
    Closed(RequestId),
    /// The answer to a TREE_DISCONNECT.
    Swept(RequestId),
    /// FileIds below this serial number.
    Serials(u64),
    /// Everybody else on a file: somebody has lost what it had there, and does not know.
    Others(FileKey),
    /// As above, who come to change data: somebody may not read them from its cache any more.
    Changes(FileKey),
}

/// What an owner of another protocol has, and has not been told of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Had {
    pub(super) request: RequestId,
    pub(super) owner: OwnerId,
    /// If it is a delegation.
    pub(super) delegation: Option<PresenceSlot>,
}

impl Journal {
    /// Takes out what owners have not been told of, and will not be.
    pub(super) fn take_back(&mut self, which: impl Fn(&Had) -> bool) -> Vec<RequestId> {
        let had = |held: &Held| {
            if let HeldBack::Had(had) = &held.what { which(had).then_some(had.request) } else { None }
        };
        let requests = self.held.iter().filter_map(had).collect();
        self.held.retain(|held| had(held).is_none());
        requests
    }

    /// Whether nothing waits.
    pub(super) fn idle(&self) -> bool {
        self.held.iter().all(|held| matches!(held.what, HeldBack::Serials(_))) && self.dirty.is_empty()
    }

    /// How much waits.
    pub(super) fn waiting(&self) -> usize {
        self.held.len()
    }

    /// Holds something back until a change is durable.
    pub(super) fn hold(&mut self, change: u64, what: HeldBack) {
        // What a call closes may be closed behind another: nearly always the end.
        let at = self.held.partition_point(|held| held.change <= change);
        self.held.insert(at, Held { change, what });
    }

    /// The store has said of all up to this change that it is durable, or failed.
    fn all_answered(&mut self, up_to: u64) {
        self.answered = self.answered.max(up_to);
        self.failed = self.failed.split_off(&self.answered.saturating_add(1));
        while self.failed.remove(&self.answered.saturating_add(1)) {
            self.answered = self.answered.saturating_add(1);
        }
        self.taken = self.taken.split_off(&self.answered.saturating_add(1));
    }

    /// As above, that this one failed.
    fn one_failed(&mut self, change: u64) {
        if (self.answered..=self.last).contains(&change) {
            self.failed.insert(change);
        }
        self.all_answered(self.answered);
    }

    /// Whether what an owner of another protocol is told now has to wait for the store.
    pub(super) fn is_behind(&self) -> bool {
        !self.dirty.is_empty() || self.unanswered(self.last_of_opens).is_some()
    }

    /// The last change up to this one of which the store has said nothing as yet.
    fn unanswered(&self, up_to: u64) -> Option<u64> {
        let failed = self.failed.range(..=up_to).rev().zip((0..=up_to).rev());
        let behind = failed.take_while(|(failed, change)| *failed == change).count();
        let last = up_to.checked_sub(u64::try_from(behind).ok()?)?;
        Some(last).filter(|last| *last > self.answered)
    }
}

impl Shard {
    fn persist(&mut self, route: Route, change: Change, out: Out<'_>) -> u64 {
        let number = self.journal.last.saturating_add(1);
        self.journal.last = number;
        match change {
            Change::Put(_) | Change::Delete { .. } => self.journal.last_of_opens = number,
            Change::Serials { .. } => {}
        }
        perform(out, Action::Persist { seq: PersistSeq { route, number }, change });
        number
    }

    /// Writes the record of an open now.
    pub(super) fn put(&mut self, slot: DurableSlot, out: Out<'_>) -> u64 {
        let Some(mut record) = self.record(slot) else {
            self.anomaly("a record of nothing");
            return self.journal.last;
        };
        self.journal.written = self.journal.written.saturating_add(1);
        record.written = self.journal.written;
        let open = self.durables.get(slot).and_then(|durable| self.opens.get(durable.open));
        let reads = open.and_then(|open| self.hold(open)).is_some_and(|(hold, _)| hold.keeps_reading());
        let file = open.map(|open| open.file);
        let number =
            self.persist(Route::of_persistent(record.persistent), Change::Put(Box::new(record)), out);
        if let Some(promise) = self.durables.get_mut(slot).and_then(Durable::promise_mut) {
            promise.dirty = false;
            let taken = mem::replace(&mut promise.reads, reads) && !reads;
            if let Some(file) = file.and_then(|file| self.files.get_mut(file)).filter(|_| taken) {
                file.taken = number;
                self.journal.taken.insert(number, slot);
            }
        }
        number
    }

    /// The record of an open is not needed any more.
    pub(super) fn expunge(&mut self, persistent: u64, out: Out<'_>) -> u64 {
        self.persist(Route::of_persistent(persistent), Change::Delete { persistent }, out)
    }

    /// An open that is persistent is about to be closed. Returns the change by which its record goes.
    pub(super) fn break_promise(&mut self, open: OpenSlot, out: Out<'_>) -> Option<u64> {
        let slot = self.opens.get(open)?.durable?;
        let durable = self.durables.get(slot)?;
        durable.promise()?;
        let persistent = durable.persistent;
        self.forget_guid(slot, out);
        self.claimed(slot);
        self.told(open);
        self.count_promised(open, |count| count.saturating_sub(1));
        Some(self.expunge(persistent, out))
    }

    /// What the holder has is another: the records of its opens are written at the end of the call. O(1) if none is persistent.
    pub(super) fn touch_holder(&mut self, id: HolderId) {
        match id {
            HolderId::Oplock(open) => self.touch(open),
            HolderId::Delegation(_) => {}
            HolderId::Lease(lease) => {
                let Some(record) = self.leases.get(lease).filter(|lease| lease.promised > 0) else { return };
                self.touch_opens(record.file, |open| open.lease() == Some(lease));
            }
        }
    }

    /// As [`touch_holder`](Self::touch_holder), for some opens of a file.
    pub(super) fn touch_opens(&mut self, file: FileSlot, which: impl Fn(&Open) -> bool) {
        let Some(file) = self.files.get(file).filter(|file| file.promised > 0) else { return };
        let mut next = file.opens.head();
        while let Some(slot) = next {
            let Some(open) = self.opens.get(slot) else { return };
            next = open.in_file.next();
            if which(open) {
                self.touch(slot);
            }
        }
    }

    /// As [`touch_holder`](Self::touch_holder), for one open.
    pub(super) fn touch(&mut self, open: OpenSlot) {
        let Some(slot) = self.opens.get(open).and_then(|open| open.durable) else { return };
        let Some(promise) = self.durables.get_mut(slot).and_then(Durable::promise_mut) else { return };
        if !promise.dirty && !promise.withdrawn {
            promise.dirty = true;
            self.journal.dirty.push(slot);
        }
    }

    /// The end of a call: writes the records that are not what they were.
    pub(super) fn flush(&mut self, out: Out<'_>) {
        let mut dirty = mem::take(&mut self.journal.dirty);
        for slot in dirty.drain(..) {
            let promise = self.durables.get(slot).and_then(Durable::promise);
            if promise.is_some_and(|promise| promise.dirty && !promise.withdrawn) {
                self.put(slot, out);
            }
        }
        self.journal.dirty = dirty;
    }

    pub(super) fn promise_mut(&mut self, open: OpenSlot) -> Option<&mut Promise> {
        let slot = self.opens.get(open)?.durable?;
        self.durables.get_mut(slot)?.promise_mut()
    }

    /// What an open asked for, and the store does not know of yet, is answered before it goes.
    pub(super) fn answer_held(&mut self, open: OpenSlot, out: Out<'_>) {
        let Some(file) = self.opens.get(open).and_then(|open| self.files.get(open.file)) else { return };
        let running = file.running.iter(&self.running, |run| &run.in_file);
        let own: Vec<_> = running
            .filter(|(_, run)| run.own.open == Some(open) && is_recorded(run.intent))
            .map(|(slot, _)| slot)
            .collect();
        for slot in own {
            let waits =
                |held: &Held| matches!(held.what, HeldBack::Proceed(_, ticket) if ticket.slot() == slot);
            let Some(at) = self.journal.held.iter().position(waits) else { continue };
            if let Some(Held { what: HeldBack::Proceed(request, ticket), .. }) = self.journal.held.remove(at)
            {
                self.decline(request, Status::FILE_CLOSED, out);
                self.done(ticket, Err(Status::FILE_CLOSED), out);
            }
        }
    }

    /// Carries out what the record of an open has to say first: at once, if it has none.
    pub(super) fn when_durable(&mut self, open: OpenSlot, what: HeldBack, out: Out<'_>) {
        match self.opens.get(open).filter(|open| self.promised(open)).and_then(|open| open.durable) {
            Some(durable) => {
                let change = self.put(durable, out);
                self.journal.hold(change, what);
            }
            None => self.stored(what, out),
        }
    }

    /// Tells an owner of another protocol that it has something. What gave way to it may be on its way to the store still, and would be
    /// back after a restart, when its client wants to have again what it was told to have: nothing overtakes the store.
    pub(super) fn tell_owner(&mut self, had: Had, out: Out<'_>) {
        self.flush(out);
        self.when_answered(self.journal.last_of_opens, HeldBack::Had(had), out);
    }

    /// Carries out what follows when the store has said of all up to a change that it is durable, or failed.
    fn when_answered(&mut self, up_to: u64, what: HeldBack, out: Out<'_>) {
        match self.journal.unanswered(up_to) {
            Some(change) => self.journal.hold(change, what),
            None => self.stored(what, out),
        }
    }

    /// Carries out what follows a close whose record goes by this change, if there is one.
    pub(super) fn when_gone(&mut self, change: Option<u64>, what: HeldBack, out: Out<'_>) {
        match change.filter(|_| self.config.gate_close) {
            Some(change) => self.journal.hold(change, what),
            None => self.stored(what, out),
        }
    }

    /// Whether an open is persistent.
    pub(super) fn promised(&self, open: &Open) -> bool {
        open.durable
            .and_then(|slot| self.durables.get(slot))
            .is_some_and(|durable| durable.promise().is_some())
    }

    /// As [`promised`](Self::promised), by its slot.
    pub(super) fn is_promised(&self, open: OpenSlot) -> bool {
        self.opens.get(open).is_some_and(|open| self.promised(open))
    }

    /// Whether somebody holds what is cached under a persistent open.
    pub(super) fn promises(&self, id: HolderId) -> bool {
        match id {
            HolderId::Lease(lease) => self.leases.get(lease).is_some_and(|lease| lease.promised > 0),
            HolderId::Oplock(open) => self.is_promised(open),
            HolderId::Delegation(_) => false,
        }
    }

    /// Counts a persistent open in, or out.
    pub(super) fn count_promised(&mut self, open: OpenSlot, next: impl Fn(u32) -> u32) {
        let Some((file, lease)) = self.opens.get(open).map(|open| (open.file, open.lease())) else { return };
        if let Some(file) = self.files.get_mut(file) {
            file.promised = next(file.promised);
        }
        if let Some(lease) = lease.and_then(|lease| self.leases.get_mut(lease)) {
            lease.promised = next(lease.promised);
        }
    }

    /// A restored open is claimed, or closed.
    pub(super) fn claimed(&mut self, slot: DurableSlot) {
        let Some(durable) = self.durables.get_mut(slot) else { return };
        let open = durable.open;
        let Some(promise) = durable.promise_mut().filter(|promise| promise.unclaimed) else { return };
        promise.unclaimed = false;
        let file = self.opens.get(open).and_then(|open| self.files.get_mut(open.file));
        if let Some(file) = file {
            file.unclaimed = file.unclaimed.saturating_sub(1);
        }
    }

    /// Everything about an open that has to survive.
    pub(super) fn record(&self, slot: DurableSlot) -> Option<Record> {
        let durable = self.durables.get(slot)?;
        let promise = durable.promise()?;
        let open = self.opens.get(durable.open)?;
        let file = self.files.get(open.file)?;
        let lease = open.lease().and_then(|lease| self.leases.get(lease));
        let mut record =
            Record::new(durable.persistent, file.key, durable.client, durable.owner, durable.create_guid);
        record.directory = open.place.directory;
        record.parent = open.place.parent;
        record.instance = open.instance.as_ref().map(|instance| instance.app);
        (record.desired, record.granted, record.sharing) = (open.desired, promise.granted, promise.sharing);
        (record.disposition, record.options) = (open.disposition, open.options);
        (record.action, record.kind) = (promise.action, promise.kind);
        record.timeout = u32::try_from(durable.timeout.as_millis()).unwrap_or(u32::MAX);
        record.channel_sequence = promise.channel_sequence;
        record.connected = !open.orphaned();
        record.goes = file.goes();
        record.level = open.level();
        let stored = lease.map(Lease::stored);
        record.lease = stored.map(|(context, _)| context).or_else(|| open.guest().copied());
        record.told = match open.oplock() {
            Some(oplock) => oplock.hold.told(),
            None => stored.and_then(|(_, told)| told).or(open.guest().map(|_| LeaseState::NONE)),
        };
        record.relaxed = lease.is_some_and(|lease| lease.relaxed);
        let locks = open.locks.iter(&self.ranges).map(|lock| LockRecord {
            offset: lock.range.offset(),
            len: lock.range.len(),
            exclusive: lock.kind == LockKind::Exclusive,
        });
        record.locks.extend(locks);
        record.sequences = promise.sequences;
        // What may be carried out already.
        for (_, run) in file.running.iter(&self.running, |run| &run.in_file) {
            if run.own.open == Some(durable.open) {
                write_ahead(&mut record, run.intent);
            }
        }
        Some(record)
    }

    /// Keeps the answer to a CREATE back until its record is durable.
    pub(super) fn hold_back(&mut self, slot: OpenSlot, admission: Box<Admission>, out: Out<'_>) {
        let Ok(lane) = self.lane(LaneKey::Conn(admission.create.origin.conn)) else {
            return self.anomaly("no room for a connection that was there");
        };
        let Some(open) = self.opens.get_mut(slot) else { return };
        let Stage::Live(caching) = mem::replace(&mut open.stage, Stage::Abandoned) else { return };
        open.stage = Stage::Unheard { caching, admission, lane };
        let (durable, lease) = (open.durable, open.lease());
        if let Some(lane) = self.lanes.get_mut(lane) {
            lane.reserved.push_back(&mut self.opens, slot, |open| &mut open.in_lane);
        }
        if let Some(lease) = lease.and_then(|lease| self.leases.get_mut(lease)) {
            lease.unheard = lease.unheard.saturating_add(1);
        }
        if let Some(durable) = durable {
            self.introduce(durable, out);
            let change = self.put(durable, out);
            self.journal.hold(change, HeldBack::Grant(durable));
        }
    }

    /// Serial numbers are reserved well before they are used.
    pub(super) fn reserve_serials(&mut self, out: Out<'_>) {
        let Journal { home, reserving, .. } = self.journal;
        if self.config.persistence && self.serial.saturating_add(RESERVE / 2) >= reserving {
            let below = self.serial.saturating_add(RESERVE);
            self.journal.reserving = below;
            let change = self.persist(home, Change::Serials { below }, out);
            self.journal.hold(change, HeldBack::Serials(below));
        }
    }

    /// The records are restored.
    pub(super) fn recovered(&mut self, home: Route, out: Out<'_>) {
        self.journal.home = home;
        self.journal.grace = Some(self.now.saturating_add(self.config.grace));
        // Both begin when requests may come: restoring takes its time.
        self.grace = Some(self.now.saturating_add(self.config.reclaim_grace));
        self.reclaiming = !self.config.reclaim_grace.is_zero();
        self.reserve_serials(out);
    }

    /// Changes are durable.
    pub(super) fn persisted(&mut self, up_to: u64, out: Out<'_>) {
        self.journal.all_answered(up_to);
        while self.journal.held.front().is_some_and(|held| held.change <= up_to) {
            let Some(held) = self.journal.held.pop_front() else { return };
            self.stored(held.what, out);
        }
    }

    /// A change could not be stored.
    pub(super) fn persist_failed(&mut self, change: u64, out: Out<'_>) {
        count(&mut self.stats.persists_failed);
        if let Some(durable) = self.journal.taken.remove(&change) {
            self.not_taken(durable);
        }
        self.journal.one_failed(change);
        let first = self.journal.held.partition_point(|held| held.change < change);
        let end = self.journal.held.partition_point(|held| held.change <= change);
        // All at once: some of it waits on, for an earlier change.
        let failed: Vec<Held> = self.journal.held.drain(first..end).collect();
        for held in failed {
            self.unstored(held.what, change, out);
        }
    }

    /// Whether data may not be changed as yet: somebody may not read them from its cache any more, is not waited for, and would have that
    /// back after a restart without ever having heard of it. Then everybody waits; who waited until it could not be stored is told so, and
    /// whoever comes next has it tried again. O(1) where no open of the file is persistent.
    pub(super) fn has_to_be_stored_first(
        &mut self,
        slot: FileSlot,
        what: Operation,
        out: Out<'_>,
    ) -> Result<bool, Status> {
        let changes = matches!(what, Operation::Write | Operation::SetSize | Operation::Overwrite);
        if !changes || self.files.get(slot).is_none_or(|file| file.promised == 0) {
            return Ok(false);
        }
        self.tell_holders(out);
        self.flush(out);
        self.take_again(slot, out)?;
        let taken = self.files.get(slot).map(|file| file.taken);
        // If that one failed, what came before may be on its way still: of another open of the same lease.
        let Some(taken) = taken.and_then(|taken| self.journal.unanswered(taken)) else { return Ok(false) };
        self.bar(slot, taken, HeldBack::Changes);
        Ok(true)
    }

    /// The records of opens that may not read from their caches any more are written again, where that could not be stored; unless it is
    /// just that which was heard of.
    fn take_again(&mut self, slot: FileSlot, out: Out<'_>) -> Result<(), Status> {
        let Some(file) = self.files.get(slot).filter(|file| file.untaken) else { return Ok(()) };
        let unstorable = file.unstorable;
        let opens = file.opens.iter(&self.opens, |open| &open.in_file);
        let untaken = opens.filter(|(_, open)| {
            let promise = open.durable.and_then(|slot| self.durables.get(slot)).and_then(Durable::promise);
            promise.is_some_and(|promise| promise.reads && !promise.withdrawn)
                && !self.hold(open).is_some_and(|(hold, _)| hold.keeps_reading())
        });
        let untaken: Vec<OpenSlot> = untaken.map(|(slot, _)| slot).collect();
        if unstorable && !untaken.is_empty() {
            return Err(Status::INSUFFICIENT_RESOURCES);
        }
        if let Some(file) = self.files.get_mut(slot) {
            file.untaken = false;
        }
        untaken.into_iter().for_each(|open| self.touch(open));
        self.flush(out);
        Ok(())
    }

    /// That an open may not read from its cache any more could not be stored.
    fn not_taken(&mut self, slot: DurableSlot) {
        let Some(durable) = self.durables.get_mut(slot) else { return };
        let open = durable.open;
        let Some(promise) = durable.promise_mut() else { return };
        promise.reads = true;
        let file = self.opens.get(open).map(|open| open.file);
        if let Some(file) = file.and_then(|file| self.files.get_mut(file)) {
            file.untaken = true;
        }
    }

    /// Somebody who is not there to hear of it has lost what it had: others go on when that is durable. Otherwise it might have it
    /// back after a restart, beside what they did.
    pub(super) fn bar_others(&mut self, file: FileSlot, change: u64) {
        self.bar(file, change, HeldBack::Others);
    }

    fn bar(&mut self, file: FileSlot, change: u64, what: fn(FileKey) -> HeldBack) {
        let Some(file) = self.files.get_mut(file) else { return };
        file.barred = file.barred.saturating_add(1);
        self.journal.hold(change, what(file.key));
    }

    fn unbar(&mut self, key: FileKey, unstorable: bool, out: Out<'_>) {
        let Some(slot) = self.files.find(key) else { return };
        if let Some(file) = self.files.get_mut(slot) {
            file.barred = file.barred.saturating_sub(1);
            file.unstorable = unstorable;
        }
        self.settle(slot, out);
        if let Some(file) = self.files.get_mut(slot) {
            file.unstorable = false;
        }
    }

    fn stored(&mut self, what: HeldBack, out: Out<'_>) {
        match what {
            HeldBack::Grant(durable) => {
                let Some(record) = self.durables.get_mut(durable) else { return };
                let open = record.open;
                let Some(promise) = record.promise_mut() else { return };
                promise.stored = true;
                let action = promise.action;
                self.hear(open, action, out);
            }
            HeldBack::Withdrawn(durable) => self.unpromise(durable, out),
            HeldBack::Locked(lock) => perform(out, Action::Accepted { request: lock.request }),
            HeldBack::Unlocked(lock) => perform(out, Action::Accepted { request: lock.request }),
            HeldBack::Accept(request) | HeldBack::Had(Had { request, .. }) => {
                perform(out, Action::Accepted { request });
            }
            HeldBack::Proceed(request, ticket) => perform(out, Action::Proceed { request, ticket }),
            HeldBack::Closed(request) => perform(out, Action::Closed { request }),
            HeldBack::Swept(request) => tell(out, RegistryInput::TreeSwept { request }),
            HeldBack::Serials(below) => self.journal.reserved = below,
            HeldBack::Others(file) | HeldBack::Changes(file) => self.unbar(file, false, out),
        }
    }

    fn unstored(&mut self, what: HeldBack, change: u64, out: Out<'_>) {
        let full = Status::INSUFFICIENT_RESOURCES;
        match what {
            HeldBack::Grant(durable) => self.withdraw(durable, out),
            HeldBack::Withdrawn(durable) => self.unpromise(durable, out),
            HeldBack::Locked(lock) => {
                self.unlock_again(&lock, out);
                self.decline(lock.request, full, out);
            }
            HeldBack::Unlocked(lock) => self.decline(lock.request, full, out),
            HeldBack::Accept(request) | HeldBack::Closed(request) => self.decline(request, full, out),
            HeldBack::Proceed(request, ticket) => {
                self.decline(request, full, out);
                self.done(ticket, Err(full), out);
            }
            // What gave way to it may be back after a restart: there is nothing better to wait for. Earlier records that went with this
            // one may be on their way still.
            HeldBack::Had(_) | HeldBack::Swept(_) => self.when_answered(change, what, out),
            HeldBack::Others(file) | HeldBack::Changes(file) => match self.journal.unanswered(change) {
                Some(change) => self.journal.hold(change, what),
                None => self.unbar(file, matches!(what, HeldBack::Changes(_)), out),
            },
            // What is above stays unreserved: the next that are asked for cover it.
            HeldBack::Serials(_) => self.journal.reserving = self.journal.reserved,
        }
    }

    /// A client hears of its open, if it is still waiting for that.
    fn hear(&mut self, slot: OpenSlot, action: CreateAction, out: Out<'_>) {
        if !self.opens.get(slot).is_some_and(Open::unheard) {
            return;
        }
        self.told(slot);
        if let Some(admission) = self.leave_lane(slot) {
            self.tell_granted(slot, &admission, action, out);
            self.admissions.recycle(admission);
        }
    }

    /// A client knows of its open, or will never do so.
    pub(super) fn told(&mut self, slot: OpenSlot) {
        let Some(open) = self.opens.get(slot) else { return };
        let (lease, durable) = (open.lease(), open.durable.and_then(|slot| self.durables.get_mut(slot)));
        let Some(promise) = durable.and_then(Durable::promise_mut).filter(|promise| !promise.told) else {
            return;
        };
        promise.told = true;
        if let Some(lease) = lease.and_then(|lease| self.leases.get_mut(lease)) {
            lease.unheard = lease.unheard.saturating_sub(1);
        }
    }

    /// A record could not be stored. The store may have a part of it, or a later one of the same open.
    fn withdraw(&mut self, slot: DurableSlot, out: Out<'_>) {
        let Some(durable) = self.durables.get_mut(slot) else { return };
        let persistent = durable.persistent;
        let Some(promise) = durable.promise_mut() else { return };
        promise.withdrawn = true;
        let change = self.expunge(persistent, out);
        self.journal.hold(change, HeldBack::Withdrawn(slot));
    }

    /// An open could not be stored: it is what it would be on any other share.
    fn unpromise(&mut self, slot: DurableSlot, out: Out<'_>) {
        let Some(durable) = self.durables.get(slot) else { return };
        let open = durable.open;
        let Some(Promise { action, kind, granted, .. }) = durable.promise() else { return };
        let (action, directory) = (*action, *kind == ObjectKind::Directory);
        let replayable = !directory && granted.intersects(REPLAYED);
        let Some(record) = self.opens.get(open) else { return };
        let (file, orphaned) = (record.file, record.orphaned());
        let holder = record.holder(open);
        let durable = !directory && self.caches_enough(record) && self.is_reserved(record);
        self.told(open);
        self.count_promised(open, |count| count.saturating_sub(1));
        self.forget_guid(slot, out);
        if let Some(record) = self.durables.get_mut(slot).filter(|_| durable) {
            record.kind = Kind::Durable;
        } else {
            self.drop_durable(open);
        }
        // Directories, and files that are not open for data, are replayed for their promise alone.
        if !replayable {
            self.used(open, out);
        }
        if self.opens.get(open).is_some_and(Open::unheard) {
            if let Some(admission) = self.leave_lane(open) {
                self.tell_granted(open, &admission, action, out);
                self.admissions.recycle(admission);
            }
        }
        let breaking = self.hold_mut(holder).is_some_and(|hold| hold.breaking().is_some());
        if orphaned && (!durable || breaking) {
            self.shut(open, out);
            self.settle(file, out);
        }
    }

    /// Undoes what a LOCK has locked.
    fn unlock_again(&mut self, lock: &Lock, out: Out<'_>) {
        let slot = self.durables.find(lock.file_id.persistent).and_then(|slot| self.durables.get(slot));
        let Some(slot) = slot.map(|durable| durable.open) else { return };
        if let (Some(sequence), Some(promise)) = (lock.sequence, self.promise_mut(slot)) {
            promise.sequences.undone(sequence);
        }
        // A later LOCK of the same octets stands for what is locked by now.
        let later = self.journal.held.iter().filter_map(|held| match &held.what {
            HeldBack::Locked(other) | HeldBack::Unlocked(other) => Some(other),
            HeldBack::Grant(_)
            | HeldBack::Withdrawn(_)
            | HeldBack::Accept(_)
            | HeldBack::Had(_)
            | HeldBack::Proceed(..)
            | HeldBack::Closed(_)
            | HeldBack::Swept(_)
            | HeldBack::Serials(_)
            | HeldBack::Others(_)
            | HeldBack::Changes(_) => None,
        });
        let mut again: Vec<(u64, u64)> = Vec::new();
        for other in later.filter(|other| other.file_id.persistent == lock.file_id.persistent) {
            again.extend(other.elements.iter().map(|element| (element.offset, element.len)));
        }
        let Some(open) = self.opens.get_mut(slot) else { return };
        let file = open.file;
        if let Some(record) = self.files.get_mut(file) {
            let wanted = demanded(&lock.elements);
            for (range, kind) in wanted.filter(|(range, _)| !again.contains(&(range.offset(), range.len()))) {
                record.locks.undo(&mut self.ranges, &mut open.locks, range, kind);
            }
        }
        self.touch(slot);
        self.resume(file, out);
    }

    /// Nothing lets an open outlive its connection any more.
    pub(super) fn drop_durable(&mut self, open: OpenSlot) {
        self.stop_waiting(open);
        if let Some(slot) = self.opens.get_mut(open).and_then(|open| open.durable.take()) {
            self.durables.remove(slot);
        }
    }

    /// A persistent open can be found by its CreateGuid.
    fn introduce(&mut self, slot: DurableSlot, out: Out<'_>) {
        let Some(Durable { create_guid, client, persistent, .. }) = self.durables.get(slot) else { return };
        let (guid, client, persistent) = (*create_guid, *client, *persistent);
        tell(out, RegistryInput::Promised { guid, client, persistent });
    }

    /// The CreateGuid of a persistent open leads nowhere any more.
    pub(super) fn forget_guid(&mut self, slot: DurableSlot, out: Out<'_>) {
        let Some(Durable { create_guid, persistent, .. }) = self.durables.get(slot) else { return };
        tell(out, RegistryInput::Forgotten { guid: *create_guid, persistent: *persistent });
    }

    /// Whether what an open caches nobody has heard of.
    pub(super) fn unheard_of(&self, id: HolderId) -> bool {
        match id {
            HolderId::Lease(lease) => {
                self.leases.get(lease).is_some_and(|lease| lease.unheard >= lease.opens)
            }
            HolderId::Oplock(open) => {
                let durable = self.opens.get(open).and_then(|open| self.durables.get(open.durable?));
                durable.and_then(Durable::promise).is_some_and(|promise| !promise.told)
            }
            HolderId::Delegation(slot) => self
                .journal
                .held
                .iter()
                .any(|held| matches!(held.what, HeldBack::Had(had) if had.delegation == Some(slot))),
        }
    }

    /// Whether nobody is connected who could be told, and a promise keeps what is held all the same.
    pub(super) fn kept_for(&self, id: HolderId) -> bool {
        let deserted = match id {
            HolderId::Lease(lease) => self.leases.get(lease).is_some_and(Lease::deserted),
            HolderId::Oplock(open) => self.opens.get(open).is_some_and(Open::orphaned),
            HolderId::Delegation(_) => false,
        };
        deserted && self.promises(id)
    }
}

/// Whether an operation is to be seen in the record of its open.
pub(super) fn is_recorded(intent: Intent) -> bool {
    matches!(intent, Intent::Rename { .. } | Intent::Delete { .. })
}

fn write_ahead(record: &mut Record, intent: Intent) {
    match intent {
        Intent::Rename { to } => record.directory = to,
        Intent::Delete { pending } => record.goes = pending,
        Intent::Read { .. }
        | Intent::Write { .. }
        | Intent::Flush
        | Intent::SetSize
        | Intent::SetAttributes
        | Intent::SetSecurity
        | Intent::Link { .. }
        | Intent::Unlink
        | Intent::Replaced
        | Intent::AncestorMoved
        | Intent::RenameWithin
        | Intent::EntryChanged { .. } => {}
    }
}
