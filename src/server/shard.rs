//! Everything about some of the files: requests are admitted, wait for leases to come down, and run.
//!
//! ```text
//!              judge: Go
//! request ─────────────────────────────────────────────► Reserved (CREATE) or running (operation)
//!    │ judge: Wait                                            ▲
//!    └────────────► waiting ──holder came down, judge: Go─────┘
//! ```
//!
//! A request that waits is judged again from the start whenever a holder has come down; nothing is carried over but the
//! request. A new request is judged at once: it may be the very flush that the holder has to send first.

use alloc::vec::Vec;
use core::mem;

use slotmap::{Key, KeyData, SlotMap};

use super::action::Action;
use super::event::LockElement;
use super::lease::{Lease, LeaseName};
use super::profile::{LeaseIdentity, Profile};
use super::ranges::Demand;
use super::records::{
    File, FileSlot, Job, Lane, LaneSlot, Open, Place, Run, Session, SessionSlot, Waiter, WaiterSlot,
};
use super::scale::{
    HolderId, LeaseSlot, OpenSlot, RegistryInput, Route, RunSlot, ShardAction, ShardInput, Ticket,
    ToRegistry, ToShard,
};
use super::{Config, Misuse};
use crate::locks::range::{LockKind, Range, RangeArena};
use crate::locks::share::Claim;
use crate::locks::{self, Actor, Break, Holder, Intent, Level, Operation, Verdict};
use crate::machine::Machine;
use crate::state::LeaseState;
use crate::stats::{Stats, count};
use crate::status::Status;
use crate::store::list::{Links, List};
use crate::store::table::{Full, Table};
use crate::store::timer::Timers;
use crate::time::Instant;
use crate::types::{ConnId, FileId, FileKey, LeaseKey, RequestId, SessionId};

/// The files of some routes: a machine that a driver can give a core of its own.
#[derive(Clone, Debug)]
pub struct Shard {
    pub(super) config: Config,
    pub(super) files: Table<FileSlot, File>,
    pub(super) leases: Table<LeaseSlot, Lease>,
    pub(super) opens: SlotMap<OpenSlot, Open>,
    pub(super) sessions: Table<SessionSlot, Session>,
    pub(super) lanes: Table<LaneSlot, Lane>,
    pub(super) waiters: Table<WaiterSlot, Waiter>,
    pub(super) running: SlotMap<RunSlot, Run>,
    pub(super) timers: Timers<HolderId>,
    pub(super) ranges: RangeArena<OpenSlot>,
    pub(super) serial: u64,
    pub(super) now: Instant,
    pub(super) stats: Stats,
    /// What the last judgement demands.
    pub(super) breaks: Vec<Break<HolderId>>,
    /// Of `waiting`, kept for its capacity.
    pub(super) scratch: Vec<WaiterSlot>,
}

/// Where a shard appends what it has to say.
pub(super) type Out<'a> = &'a mut Vec<ShardAction>;

impl Shard {
    /// A shard without files. The shards of a server share a configuration; each has its own part of the limits.
    pub fn new(config: Config) -> Self {
        let Config { hash_key, limits, first_serial, .. } = config;
        Self {
            files: Table::new(hash_key, limits.files),
            leases: Table::new(hash_key, limits.leases),
            opens: SlotMap::with_key(),
            sessions: Table::new(hash_key, limits.sessions),
            lanes: Table::new(hash_key, limits.connections),
            waiters: Table::new(hash_key, limits.waiters),
            running: SlotMap::with_key(),
            timers: Timers::default(),
            ranges: RangeArena::new(limits.locks),
            serial: first_serial,
            now: Instant::ZERO,
            stats: Stats::default(),
            breaks: Vec::new(),
            scratch: Vec::new(),
            config,
        }
    }

    /// What this shard has done, and what it holds.
    pub fn stats(&self) -> Stats {
        Stats {
            opens: self.opens.len() as u64,
            leases: self.leases.len() as u64,
            breaking: self.timers.len() as u64,
            waiters: self.waiters.len() as u64,
            locks: self.ranges.len() as u64,
            ..self.stats
        }
    }
}

impl Machine for Shard {
    type Event = ToShard;
    type Action = ShardAction;
    type Misuse = Misuse;

    fn handle(&mut self, now: Instant, event: ToShard, out: Out<'_>) -> Result<(), Misuse> {
        self.check(&event.0)?;
        self.handle_timeout(now, out);
        match event.0 {
            ShardInput::Create(admission) => self.arrive(admission.create.file, Job::Create(admission), out),
            ShardInput::Operate { request, origin, file, actor, intent } => {
                self.arrive(file, Job::Operate { request, origin, actor, intent }, out);
            }
            ShardInput::Opened { file_id, result } => self.opened(file_id, result, out),
            ShardInput::Done { ticket, result } => self.done(ticket, result, out),
            ShardInput::Lock(lock) => self.lock(lock, out),
            ShardInput::OplockAck { request, session, file_id, level } => {
                self.acknowledge_oplock(request, session, file_id, level, out);
            }
            ShardInput::EntryChanged { directory, parent } => self.entry_changed(directory, parent, out),
            ShardInput::Cancel { request } => self.cancel(request, out),
            ShardInput::Close { request, session, file_id } => self.close(request, session, file_id, out),
            ShardInput::LeaseAck { request, name, state } => self.acknowledge(request, name, state, out),
            ShardInput::Undelivered { id, tried } => self.redeliver(id, tried, out),
            ShardInput::Undeliverable { id } => self.undeliverable(id, out),
            ShardInput::Abandon { conn, scope } => self.abandon(conn, scope, out),
            ShardInput::SessionGone { session } => self.sweep(session, None, out),
            ShardInput::TreeGone { request, session, tree } => {
                self.sweep(session, Some(tree), out);
                tell(out, RegistryInput::TreeSwept { request });
            }
        }
        Ok(())
    }

    fn handle_timeout(&mut self, now: Instant, out: Out<'_>) {
        self.now = self.now.max(now);
        while let Some(id) = self.timers.expire(self.now) {
            if let Some(hold) = self.hold_mut(id) {
                hold.timer = None;
            }
            count(&mut self.stats.breaks_timed_out);
            self.give_up(id, out);
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next_due()
    }
}

impl Shard {
    /// What only a driver can get wrong, before anything is changed.
    fn check(&self, event: &ShardInput) -> Result<(), Misuse> {
        let known = match event {
            ShardInput::Opened { file_id, .. } => self.open(*file_id).is_some_and(|(_, open)| !open.live()),
            ShardInput::Done { ticket, .. } => self.running.contains_key(run_slot(*ticket)),
            ShardInput::Create(_)
            | ShardInput::Operate { .. }
            | ShardInput::Lock(_)
            | ShardInput::OplockAck { .. }
            | ShardInput::EntryChanged { .. }
            | ShardInput::Cancel { .. }
            | ShardInput::Close { .. }
            | ShardInput::LeaseAck { .. }
            | ShardInput::Undelivered { .. }
            | ShardInput::Undeliverable { .. }
            | ShardInput::Abandon { .. }
            | ShardInput::SessionGone { .. }
            | ShardInput::TreeGone { .. } => true,
        };
        if known { Ok(()) } else { Err(Misuse::UnknownTicket) }
    }

    /// A request is new.
    pub(super) fn arrive(&mut self, key: FileKey, job: Job, out: Out<'_>) {
        let known = self.files.find(key);
        let Some(file) = known.or_else(|| self.files.insert(File::new(key)).ok()) else {
            return self.refuse(&job, Status::INSUFFICIENT_RESOURCES, out);
        };
        match self.party(file, &job).and_then(|party| Ok((self.judge(file, party)?, party))) {
            Ok((Verdict::Go, party)) => self.admit(file, job, party, out),
            Ok((Verdict::Wait, _)) => self.park(file, job, out),
            Err(status) => self.refuse(&job, status, out),
        }
        self.reap(file);
    }

    /// Who acts, and what it does. What there is no room for is refused before anything is broken for it.
    fn party(&self, file: FileSlot, job: &Job) -> Result<Party, Status> {
        let limits = &self.config.limits;
        let room = |free| if free { Ok(()) } else { Err(Status::INSUFFICIENT_RESOURCES) };
        match job {
            Job::Create(admission) => {
                let create = &admission.create;
                let operation = locks::operation_of_open(create.desired, create.disposition);
                let own = Own { lease: admission.name(), ..Own::default() };
                room(self.opens.len() < limits.opens)?;
                Ok(Party { own, operation, condition: Condition::Shared(admission.claim()) })
            }
            Job::Operate { actor, origin, intent, .. } => {
                let session = origin.map(|origin| origin.session);
                let own = match actor {
                    Actor::Open(file_id) => self.own(file, *file_id, session)?,
                    Actor::Lease { client, key } => Own { lease: Some((*client, *key)), ..Own::default() },
                    Actor::Other => Own::default(),
                };
                room(self.running.len() < limits.running)?;
                Ok(Party::of_intent(own, *intent, &self.config.profile))
            }
            Job::Lock(lock) => {
                let own = self.own(file, lock.file_id, Some(lock.origin.session))?;
                room(own.open.is_some_and(|open| self.has_room_for(open, lock)))?;
                // MS-FSA 2.1.5.8: what lies beyond the data is cached by nobody.
                let inside = |element: &LockElement| element.offset < lock.allocation;
                let operation =
                    if lock.elements.iter().any(inside) { Operation::Lock } else { Operation::Stat };
                let awaited = Demand::read(&lock.elements)?.awaited();
                let condition =
                    awaited.map_or(Condition::None, |(range, kind)| Condition::Unlocked(range, kind));
                Ok(Party { own, operation, condition })
            }
        }
    }

    /// Who acts through an open.
    fn own(&self, file: FileSlot, file_id: FileId, session: Option<SessionId>) -> Result<Own, Status> {
        let open = self.live(file_id, session).filter(|(_, open)| open.file == file);
        let (slot, open) = open.ok_or(Status::FILE_CLOSED)?;
        Ok(Own { lease: open.bound, open: Some(slot), spared: None })
    }

    /// Judges a request: what must come down is left in `breaks`.
    fn judge(&mut self, slot: FileSlot, party: Party) -> Result<Verdict, Status> {
        let Party { own, operation, condition } = party;
        self.breaks.clear();
        let Some(file) = self.files.get(slot) else { return Err(Status::INSUFFICIENT_RESOURCES) };
        let (conflict, denied) = match condition {
            Condition::None => return Ok(self.judge_operation(slot, own, operation)),
            Condition::Unlocked(range, kind) => {
                let verdict = self.judge_operation(slot, own, operation);
                return Ok(if self.is_locked_out(slot, own, range, kind) { Verdict::Wait } else { verdict });
            }
            Condition::Shared(_) if file.goes() => return Err(Status::DELETE_PENDING),
            // MS-FSA 2.1.5.1.2: BATCH comes down before sharing is looked at.
            Condition::Shared(_) if self.judge_batch(slot, operation) == Verdict::Wait => {
                return Ok(Verdict::Wait);
            }
            Condition::Shared(claim) => {
                (self.conflict(slot, own, |open| !claim.fits(open.claim)), Status::SHARING_VIOLATION)
            }
            Condition::NoDeleter => {
                let foreign = |open: &Open| open.claim.deletes() && !self.is_own(own, open);
                (self.conflict(slot, own, foreign), Status::SHARING_VIOLATION)
            }
            Condition::Closed => (self.conflict(slot, own, |_| true), Status::ACCESS_DENIED),
        };
        // MS-FSA 2.1.5.1.2.2: nothing else is broken for what may fail yet.
        match (conflict, condition) {
            (Conflict::None, Condition::Shared(_)) => Ok(self.judge_operation(slot, own, operation)),
            (Conflict::None, _) => Ok(Verdict::Go),
            (Conflict::Curable, Condition::Closed) => Ok(self.judge_operation(slot, own, Operation::Evict)),
            (Conflict::Curable, _) => Ok(self.judge_operation(slot, own, Operation::ShareConflict)),
            (Conflict::Certain, _) => Err(denied),
        }
    }

    /// Whether opens that are in the way may be gone when H is. A handle that is only kept open by H may be closed when H
    /// goes, so a conflict is curable if every open in the way belongs to another lease that has it, or has BATCH.
    /// O(opens of the file).
    fn conflict(&self, file: FileSlot, own: Own, in_the_way: impl Fn(&Open) -> bool) -> Conflict {
        let Some(file) = self.files.get(file) else { return Conflict::None };
        let opens = file.opens.iter(&self.opens, |open| &open.in_file);
        let in_the_way = opens.map(|(_, open)| open).filter(|open| in_the_way(open));
        let curable = |open: &Open| {
            let lease = open.lease().and_then(|lease| self.leases.get(lease));
            let defers_closes = lease.is_some_and(|lease| lease.hold.state().contains(LeaseState::HANDLE));
            let batch = open.oplock().is_some_and(|oplock| oplock.level() == Level::Batch);
            (defers_closes || batch) && !self.is_own(own, open)
        };
        in_the_way.fold(Conflict::None, |found, open| match found {
            Conflict::Certain => Conflict::Certain,
            Conflict::None | Conflict::Curable if curable(open) => Conflict::Curable,
            Conflict::None | Conflict::Curable => Conflict::Certain,
        })
    }

    fn is_own(&self, own: Own, open: &Open) -> bool {
        open.bound.is_some_and(|name| own.spares(name, self.config.profile.lease_identity))
            || own.open.is_some_and(|own| self.opens.get(own).is_some_and(|own| own.file_id == open.file_id))
    }

    /// Judges an operation against every lease and oplock on the file but its own.
    pub(super) fn judge_operation(&mut self, file: FileSlot, own: Own, operation: Operation) -> Verdict {
        self.breaks.clear();
        let Self { files, leases, opens, breaks, config, .. } = self;
        let Some(file) = files.get(file) else { return Verdict::Go };
        let identity = config.profile.lease_identity;
        let leases = file
            .leases
            .iter(&leases.records, |lease| &lease.in_file)
            .filter(|(_, lease)| !own.spares(lease.name, identity))
            .map(|(slot, lease)| Holder {
                id: HolderId::Lease(slot),
                kind: locks::Kind::Lease,
                held: lease.hold.state(),
                breaking: lease.hold.breaking(),
            });
        // Level II has no key: it is broken by its own holder too (MS-FSA 2.1.4.12.2).
        let oplocks = oplocks(file, opens).filter(|holder| {
            holder.held == Level::II.caches() || own.open.map(HolderId::Oplock) != Some(holder.id)
        });
        locks::judge(leases.chain(oplocks), operation, breaks)
    }

    /// Judges an open against BATCH alone.
    fn judge_batch(&mut self, file: FileSlot, operation: Operation) -> Verdict {
        self.breaks.clear();
        let Self { files, opens, breaks, .. } = self;
        let Some(file) = files.get(file) else { return Verdict::Go };
        let batch = oplocks(file, opens).filter(|holder| holder.held == Level::Batch.caches());
        locks::judge(batch, operation, breaks)
    }

    /// Lets a request run that was judged so, once everybody in `breaks` is told.
    fn admit(&mut self, slot: FileSlot, job: Job, party: Party, out: Out<'_>) {
        self.tell_holders(out);
        match (job, party.own.open) {
            (Job::Create(admission), _) => self.reserve(slot, admission, out),
            (Job::Lock(lock), Some(open)) => self.take_locks(slot, open, lock, out),
            (job @ Job::Lock(_), None) => self.refuse(&job, Status::FILE_CLOSED, out),
            (Job::Operate { request, intent, .. }, open) if self.locked(slot, open, intent) => {
                count(&mut self.stats.refused);
                perform(out, Action::Refused { request, status: Status::FILE_LOCK_CONFLICT });
            }
            (Job::Operate { request, intent, .. }, open) => {
                let by = open.and_then(|slot| Some((slot, self.opens.get(slot)?.place)));
                let Party { own, operation, .. } = party;
                let run =
                    Run { file: slot, operation, intent, own: own.lease, by, in_file: Links::default() };
                let run = self.running.insert(run);
                let Some(file) = self.files.get_mut(slot) else { return };
                file.running.push_back(&mut self.running, run, |run| &mut run.in_file);
                let route = Route::of_file(file.key, self.config.route_seed);
                perform(out, Action::Proceed { request, ticket: Ticket { route, run: run.data().as_ffi() } });
            }
        }
    }

    /// Whether a lock of another forbids to read or write there: looked at when every break is through (MS-FSA 2.1.5.3,
    /// 2.1.5.4).
    fn locked(&self, file: FileSlot, who: Option<OpenSlot>, intent: Intent) -> bool {
        let Some(file) = self.files.get(file).filter(|file| !file.locks.vacant()) else { return false };
        // Nothing is stored beyond 2^64 - 1.
        let range = |offset: u64, len: u64| {
            Range::new(offset, len)
                .or_else(|| Range::new(offset, u64::MAX.saturating_sub(offset).saturating_add(1)))
        };
        match intent {
            Intent::Read { offset, len } => range(offset, len)
                .is_some_and(|range| file.locks.conflict_with_read(&self.ranges, range, who).is_some()),
            Intent::Write { offset, len } => range(offset, len)
                .is_some_and(|range| file.locks.conflict_with_write(&self.ranges, range, who).is_some()),
            Intent::Flush
            | Intent::SetSize
            | Intent::SetAttributes
            | Intent::SetSecurity
            | Intent::Rename { .. }
            | Intent::Link { .. }
            | Intent::Delete { .. }
            | Intent::Replaced
            | Intent::AncestorMoved
            | Intent::RenameWithin
            | Intent::EntryChanged { .. } => false,
        }
    }

    /// An operation has ended.
    fn done(&mut self, ticket: Ticket, result: Result<(), Status>, out: Out<'_>) {
        let slot = run_slot(ticket);
        let Some(file) = self.running.get(slot).map(|run| run.file) else { return };
        if let Some(record) = self.files.get_mut(file) {
            record.running.remove(&mut self.running, slot, |run| &mut run.in_file);
        }
        if let Some(run) = self.running.remove(slot).filter(|_| result.is_ok()) {
            self.follow(&run, out);
        }
        self.reap(file);
    }

    /// What follows from an operation that has succeeded: for the file's fate, and for the leases of directories.
    fn follow(&mut self, run: &Run, out: Out<'_>) {
        let place = run.by.map(|(_, place)| place);
        let by = run.by.and_then(|(slot, _)| Some((slot, self.opens.get_mut(slot)?)));
        match run.intent {
            Intent::Write { .. } => match (by, place) {
                // MS-FSA 2.1.5.5: the directory hears of it when the handle is closed.
                (Some((_, open)), _) => open.modified = true,
                (None, Some(place)) => tell_directory(out, place.directory, place.parent),
                (None, None) => {}
            },
            Intent::SetSize | Intent::SetAttributes => {
                if let Some(place) = place {
                    tell_directory(out, place.directory, place.parent);
                }
            }
            Intent::Link { to } => {
                if let Some(place) = place {
                    tell_directory(out, to, place.parent);
                }
            }
            Intent::Rename { to } => {
                if let Some(from) = place {
                    self.moved(run, from, to, out);
                }
            }
            Intent::Delete { pending } => self.dispose(run, pending, out),
            Intent::Read { .. }
            | Intent::Flush
            | Intent::SetSecurity
            | Intent::Replaced
            | Intent::AncestorMoved
            | Intent::RenameWithin
            | Intent::EntryChanged { .. } => {}
        }
    }

    /// A file has a new name: the other opens of it stand there as well (MS-FSA 2.1.5.15.12).
    fn moved(&mut self, run: &Run, from: Place, to: Option<FileKey>, out: Out<'_>) {
        tell_directory(out, from.directory, from.parent);
        if to != from.directory {
            tell_directory(out, to, from.parent);
        }
        let mut next = self.files.get(run.file).and_then(|file| file.opens.head());
        while let Some(open) = next.and_then(|slot| self.opens.get_mut(slot)) {
            next = open.in_file.next();
            if open.place.directory == from.directory {
                open.place.directory = to;
            }
        }
        // MS-SMB2 3.3.5.21.1: the lease has the new name.
        self.relax(run.own, false, out);
    }

    /// FileDispositionInformation has been set (MS-FSA 2.1.5.15.3).
    fn dispose(&mut self, run: &Run, pending: bool, out: Out<'_>) {
        let place = run.by.map_or(Place { directory: None, parent: None }, |(_, place)| place);
        if let Some(file) = self.files.get_mut(run.file) {
            file.dispose(pending, place);
        }
        // MS-SMB2 3.3.5.21.1: whatever the value is.
        self.relax(run.own, true, out);
        if self.files.get(run.file).is_some_and(|file| file.goes() && file.opens.vacant()) {
            self.settle(run.file, out);
        }
    }

    /// Lease.FileDeleteOnClose.
    pub(super) fn relax(&mut self, name: Option<LeaseName>, relaxed: bool, out: Out<'_>) {
        let Some((client, key)) = name else { return };
        let lease = self.leases.find((client, key)).and_then(|slot| self.leases.get_mut(slot));
        if let Some(lease) = lease.filter(|lease| lease.relaxed != relaxed) {
            lease.relaxed = relaxed;
            tell(out, RegistryInput::Relaxed { client, key, relaxed });
        }
    }

    /// An entry of a directory of this shard is another (MS-FSA 2.1.4.12.2).
    fn entry_changed(&mut self, directory: FileKey, spared: Option<LeaseKey>, out: Out<'_>) {
        let Some(file) = self.files.find(directory) else { return };
        self.judge_operation(file, Own { spared, ..Own::default() }, Operation::EntryChanged);
        self.tell_holders(out);
    }

    /// Parks a request, if there is room for it, and tells everybody in `breaks`.
    fn park(&mut self, file: FileSlot, job: Job, out: Out<'_>) {
        let request = job.request();
        let lane = match job.origin() {
            Some(origin) => self.lane(origin.conn).map(Some),
            None => Ok(None),
        };
        let Ok(lane) = lane else { return self.refuse(&job, Status::INSUFFICIENT_RESOURCES, out) };
        if !self.may_wait(file, lane) {
            self.reap_lane(lane);
            return self.refuse(&job, Status::INSUFFICIENT_RESOURCES, out);
        }
        self.tell_holders(out);
        let waiter = Waiter { file, lane, job, in_file: Links::default(), in_lane: Links::default() };
        let Ok(slot) = self.waiters.insert(waiter) else { return self.anomaly("no room for a waiter") };
        if let Some(file) = self.files.get_mut(file) {
            file.waiters.push_back(&mut self.waiters.records, slot, |waiter| &mut waiter.in_file);
        }
        if let Some(lane) = lane.and_then(|lane| self.lanes.get_mut(lane)) {
            lane.waiters.push_back(&mut self.waiters.records, slot, |waiter| &mut waiter.in_lane);
            perform(out, Action::Interim { request });
        }
        count(&mut self.stats.waited);
    }

    fn may_wait(&self, file: FileSlot, lane: Option<LaneSlot>) -> bool {
        let limits = &self.config.limits;
        let of_file = self.files.get(file).map_or(0, |file| file.waiters.len());
        let of_lane = lane.and_then(|lane| self.lanes.get(lane)).map_or(0, |lane| lane.waiters.len());
        self.waiters.len() < limits.waiters
            && of_file < limits.waiters_per_file
            && of_lane < limits.waiters_per_connection
    }

    /// Takes a request out of everything that it waits in.
    pub(super) fn unpark(&mut self, slot: WaiterSlot) -> Option<Job> {
        let (file, lane) = self.waiters.get(slot).map(|waiter| (waiter.file, waiter.lane))?;
        if let Some(file) = self.files.get_mut(file) {
            file.waiters.remove(&mut self.waiters.records, slot, |waiter| &mut waiter.in_file);
        }
        if let Some(lane) = lane.and_then(|lane| self.lanes.get_mut(lane)) {
            lane.waiters.remove(&mut self.waiters.records, slot, |waiter| &mut waiter.in_lane);
        }
        self.reap_lane(lane);
        self.waiters.remove(slot).map(|waiter| waiter.job)
    }

    /// Judges every request that waits for a file again, in order of arrival. One that must go on waiting keeps its place.
    pub(super) fn resume(&mut self, file: FileSlot, out: Out<'_>) {
        let mut waiting = self.waiting(file);
        for slot in waiting.drain(..) {
            let Some(waiter) = self.waiters.get(slot) else { continue };
            let party = self.party(file, &waiter.job);
            let verdict = party.and_then(|party| Ok((self.judge(file, party)?, party)));
            if let Ok((Verdict::Wait, _)) = verdict {
                self.tell_holders(out);
                continue;
            }
            let Some(job) = self.unpark(slot) else { continue };
            match verdict {
                Ok((_, party)) => self.admit(file, job, party, out),
                Err(status) => self.refuse(&job, status, out),
            }
        }
        self.scratch = waiting;
        self.reap(file);
    }

    /// The requests that wait for a file, in the scratch vector, which goes back when it is drained.
    pub(super) fn waiting(&mut self, file: FileSlot) -> Vec<WaiterSlot> {
        let mut waiting = mem::take(&mut self.scratch);
        let waiters = self.files.get(file).map(|file| file.waiters).unwrap_or_default();
        waiting.extend(waiters.iter(&self.waiters.records, |waiter| &waiter.in_file).map(|(slot, _)| slot));
        waiting
    }

    /// Answers a request with an error. It holds its lease key no longer.
    pub(super) fn refuse(&mut self, job: &Job, status: Status, out: Out<'_>) {
        self.unbind(job, out);
        count(&mut self.stats.refused);
        perform(out, Action::Refused { request: job.request(), status });
    }

    /// A request ends without an open: its lease key is free again.
    pub(super) fn unbind(&mut self, job: &Job, out: Out<'_>) {
        match job {
            Job::Create(admission) => release(admission.name(), out),
            Job::Operate { .. } | Job::Lock(_) => {}
        }
    }

    fn cancel(&mut self, request: RequestId, out: Out<'_>) {
        let Some(slot) = self.waiters.find(request) else { return };
        let file = self.waiters.get(slot).map(|waiter| waiter.file);
        if let Some(job) = self.unpark(slot) {
            self.refuse(&job, Status::CANCELLED, out);
        }
        if let Some(file) = file {
            self.reap(file);
        }
    }

    /// An open of this shard in any stage.
    pub(super) fn open(&self, file_id: FileId) -> Option<(OpenSlot, &Open)> {
        let slot = OpenSlot::from(KeyData::from_ffi(file_id.volatile));
        self.opens.get(slot).filter(|open| open.file_id == file_id).map(|open| (slot, open))
    }

    /// An open that its client knows of. With `session`, only if it belongs to it.
    pub(super) fn live(&self, file_id: FileId, session: Option<SessionId>) -> Option<(OpenSlot, &Open)> {
        let (slot, open) = self.open(file_id)?;
        let of = self.sessions.get(open.session)?.id;
        let known = open.live() && session.is_none_or(|session| session == of);
        known.then_some((slot, open))
    }

    /// What a connection has in flight here.
    pub(super) fn lane(&mut self, conn: ConnId) -> Result<LaneSlot, Full> {
        match self.lanes.find(conn) {
            Some(lane) => Ok(lane),
            None => self.lanes.insert(Lane { conn, waiters: List::default(), reserved: List::default() }),
        }
    }

    /// Forgets a file with nothing on it.
    pub(super) fn reap(&mut self, file: FileSlot) {
        if self.files.get(file).is_some_and(File::idle) {
            self.files.remove(file);
        }
    }

    /// An invariant of ours is broken. The caller takes the cautious way out.
    pub(super) fn anomaly(&mut self, what: &'static str) {
        debug_assert!(false, "{what}");
        count(&mut self.stats.anomalies);
    }
}

/// A request, as the arbiter sees it.
#[derive(Clone, Copy)]
struct Party {
    own: Own,
    operation: Operation,
    condition: Condition,
}

impl Party {
    fn of_intent(own: Own, intent: Intent, profile: &Profile) -> Self {
        let plain = |operation| Self { own, operation, condition: Condition::None };
        match intent {
            Intent::Read { .. } => plain(Operation::Read),
            Intent::Write { .. } => plain(Operation::Write),
            Intent::Flush => plain(Operation::Flush),
            Intent::SetSize => plain(Operation::SetSize),
            Intent::SetSecurity if profile.security_breaks_handles => plain(Operation::SetSecurity),
            Intent::SetSecurity | Intent::SetAttributes | Intent::Delete { pending: false } => {
                plain(Operation::Stat)
            }
            Intent::Rename { .. } => plain(Operation::Rename),
            Intent::Link { .. } if profile.link_breaks_handles => plain(Operation::LinkTakingHandles),
            Intent::Link { .. } => plain(Operation::Link),
            Intent::Delete { pending: true } => plain(Operation::Delete),
            // Nobody is spared whose open stands in the way.
            Intent::Replaced | Intent::AncestorMoved => {
                Self { own: Own::default(), operation: Operation::Evict, condition: Condition::Closed }
            }
            Intent::RenameWithin => Self { own, operation: Operation::Stat, condition: Condition::NoDeleter },
            Intent::EntryChanged { parent } => {
                let own = Own { spared: parent, ..own };
                Self { own, operation: Operation::EntryChanged, condition: Condition::None }
            }
        }
    }
}

/// Whose caching does not stand in the way.
#[derive(Clone, Copy, Default)]
pub(super) struct Own {
    pub(super) lease: Option<LeaseName>,
    pub(super) open: Option<OpenSlot>,
    /// The key of a directory lease, whosoever it is (MS-FSA 2.1.4.12.2).
    pub(super) spared: Option<LeaseKey>,
}

impl Own {
    pub(super) fn spares(self, name: LeaseName, identity: LeaseIdentity) -> bool {
        self.spared == Some(name.1) || self.lease.is_some_and(|own| identity.same(own, name))
    }
}

impl LeaseIdentity {
    /// Whether two names stand for one holder.
    pub(super) fn same(self, one: LeaseName, other: LeaseName) -> bool {
        one.1 == other.1 && (self == Self::KeyAlone || one.0 == other.0)
    }
}

/// What has to be so of the opens of a file, besides caching.
#[derive(Clone, Copy)]
enum Condition {
    None,
    /// The share modes fit, and the file is not about to go.
    Shared(Claim),
    /// Nobody else may delete it.
    NoDeleter,
    /// Nobody has it open.
    Closed,
    /// A lock that would rather wait than fail.
    Unlocked(Range, LockKind),
}

/// What the opens of a file say to a request.
#[derive(Clone, Copy)]
enum Conflict {
    None,
    /// They exclude it, but may be gone when they have lost H.
    Curable,
    Certain,
}

/// The oplocks on a file that hold anything. O(1) if there is none, else O(opens of the file).
fn oplocks<'a>(
    file: &'a File,
    opens: &'a SlotMap<OpenSlot, Open>,
) -> impl Iterator<Item = Holder<HolderId>> + 'a {
    let opens = (file.oplocks > 0).then(|| file.opens.iter(opens, |open| &open.in_file));
    opens.into_iter().flatten().filter_map(|(slot, open)| {
        let oplock = open.oplock().filter(|oplock| oplock.level() != Level::None)?;
        let hold = &oplock.hold;
        let id = HolderId::Oplock(slot);
        Some(Holder { id, kind: locks::Kind::Oplock, held: hold.state(), breaking: hold.breaking() })
    })
}

/// Has the leases of a directory broken, but one.
pub(super) fn tell_directory(out: Out<'_>, directory: Option<FileKey>, spared: Option<LeaseKey>) {
    if let Some(directory) = directory {
        tell(out, RegistryInput::EntryChanged { directory, parent: spared });
    }
}

fn run_slot(ticket: Ticket) -> RunSlot {
    KeyData::from_ffi(ticket.run).into()
}

/// One reference to a lease key is gone.
pub(super) fn release(name: Option<LeaseName>, out: Out<'_>) {
    if let Some((client, key)) = name {
        tell(out, RegistryInput::Released { client, key });
    }
}

pub(super) fn tell(out: Out<'_>, input: RegistryInput) {
    out.push(ShardAction::Registry(ToRegistry(input)));
}

pub(super) fn perform(out: Out<'_>, action: Action) {
    out.push(ShardAction::Driver(action));
}
