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

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::mem;

use slotmap::{KeyData, SlotMap};

use super::action::Action;
use super::durable::Durable;
use super::journal::{HeldBack, Journal};
use super::judging::Party;
use super::lease::{Lease, LeaseName};
use super::opens::Swept;
use super::records::{
    DurableSlot, File, FileSlot, Job, Lane, LaneKey, LaneSlot, Open, Presence, PresenceSlot, ReplaySlot, Run,
    Session, SessionSlot, Waiter, WaiterSlot,
};
use super::replay::Replayable;
use super::scale::{
    Admission, Due, HolderId, LeaseSlot, OpenSlot, RegistryInput, RunSlot, ShardAction, ShardInput,
    ToRegistry, ToShard,
};
use super::{Config, Misuse};
use crate::locks::range::{Owner, RangeArena};
use crate::locks::waits::Locker;
use crate::locks::{Actor, Break, Verdict};
use crate::machine::Machine;
use crate::stats::{Stats, count};
use crate::status::Status;
use crate::store::list::{Links, List};
use crate::store::pool::Pool;
use crate::store::table::{Full, Table};
use crate::store::timer::Timers;
use crate::time::Instant;
use crate::types::{FileId, FileKey, OwnerId, RequestId, SessionId};

/// The files of some routes: a machine that a driver can give a core of its own.
#[derive(Clone, Debug)]
pub struct Shard {
    pub(super) config: Config,
    pub(super) files: Table<FileSlot, File>,
    pub(super) leases: Table<LeaseSlot, Lease>,
    pub(super) opens: SlotMap<OpenSlot, Open>,
    /// What lets opens outlive their connections, by the persistent half of the FileId.
    pub(super) durables: Table<DurableSlot, Durable>,
    /// CREATEs that can be replayed, by client and CreateGuid.
    pub(super) replays: Table<ReplaySlot, Replayable>,
    pub(super) sessions: Table<SessionSlot, Session>,
    pub(super) lanes: Table<LaneSlot, Lane>,
    pub(super) waiters: Table<WaiterSlot, Waiter>,
    pub(super) running: SlotMap<RunSlot, Run>,
    pub(super) timers: Timers<Due>,
    /// How many of them are for clients to return.
    pub(super) orphans: usize,
    pub(super) ranges: RangeArena<u64>,
    /// What owners of other protocols have on files, and where to find it.
    pub(super) presences: SlotMap<PresenceSlot, Presence>,
    pub(super) by_owner: BTreeMap<(OwnerId, FileKey), PresenceSlot>,
    pub(super) posix: RangeArena<OwnerId>,
    /// Locks that wait, in line.
    pub(super) queued: RangeArena<Locker>,
    /// How many waits of somebody for somebody are over: a circle that the graph saw before may be open by now.
    pub(super) over: u32,
    /// Until when only what was had before a restart is given to owners of other protocols.
    pub(super) grace: Option<Instant>,
    /// Whether that is so now.
    pub(super) reclaiming: bool,
    pub(super) journal: Journal,
    pub(super) admissions: Pool<Admission>,
    pub(super) serial: u64,
    pub(super) now: Instant,
    pub(super) stats: Stats,
    /// What the last judgement demands.
    pub(super) breaks: Vec<Break<HolderId>>,
    /// Of `waiting`, kept for its capacity.
    pub(super) scratch: Vec<WaiterSlot>,
    /// Files that a sweep has closed opens of, kept for its capacity.
    pub(super) unsettled: Vec<FileSlot>,
}

/// Where a shard appends what it has to say.
pub(super) type Out<'a> = &'a mut Vec<ShardAction>;

/// Who of those that wait for a file is judged again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Again {
    Nobody,
    /// Those who wait for locks.
    Line,
    Everybody,
}

impl Shard {
    /// A shard without files. The shards of a server share a configuration; each has its own part of the limits.
    pub fn new(config: Config) -> Self {
        let Config { hash_key, limits, first_serial, expected_leases, .. } = config;
        Self {
            files: Table::with_room(hash_key, limits.files, expected_leases),
            leases: Table::with_room(hash_key, limits.leases, expected_leases),
            opens: SlotMap::with_capacity_and_key(expected_leases.min(limits.opens)),
            durables: Table::new(hash_key, limits.opens),
            replays: Table::new(hash_key, limits.opens.saturating_add(limits.waiters)),
            sessions: Table::new(hash_key, limits.sessions),
            // Clients of other protocols have one for as long as something of theirs waits.
            lanes: Table::new(hash_key, limits.connections.saturating_add(limits.waiters)),
            waiters: Table::new(hash_key, limits.waiters),
            running: SlotMap::with_key(),
            timers: Timers::default(),
            orphans: 0,
            ranges: RangeArena::new(limits.locks),
            presences: SlotMap::with_key(),
            by_owner: BTreeMap::new(),
            posix: RangeArena::new(limits.owner_locks),
            queued: RangeArena::new(limits.waiters),
            over: 0,
            grace: None,
            reclaiming: !config.reclaim_grace.is_zero(),
            journal: Journal::default(),
            admissions: Pool::default(),
            serial: first_serial,
            now: Instant::ZERO,
            stats: Stats::default(),
            breaks: Vec::new(),
            scratch: Vec::new(),
            unsettled: Vec::new(),
            config,
        }
    }

    /// What this shard has done, and what it holds.
    pub fn stats(&self) -> Stats {
        Stats {
            opens: self.opens.len() as u64,
            leases: self.leases.len() as u64,
            breaking: self.timers.len().saturating_sub(self.orphans) as u64,
            orphans: self.orphans as u64,
            waiters: self.waiters.len() as u64,
            locks: self.ranges.len().saturating_add(self.posix.len()) as u64,
            owners: self.presences.len() as u64,
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
            ShardInput::Create(admission) => {
                self.note_guid(&admission, out);
                let admission = self.admissions.put(admission);
                self.arrive(admission.create.file, Job::Create(admission), out);
            }
            ShardInput::Operate { request, origin, file, actor, intent } => {
                let session = origin.map(|origin| origin.session);
                if let Actor::Open(file_id) = actor {
                    if self.live(file_id, session).is_some() {
                        self.used_by_name(file_id, out);
                    }
                }
                let since = self.serial;
                self.arrive(file, Job::Operate { request, origin, actor, intent, since }, out);
            }
            ShardInput::Opened { file_id, result } => self.opened(file_id, result, out),
            ShardInput::Done { ticket, result } => self.done(ticket, result, out),
            ShardInput::Lock(lock) => self.lock(lock, out),
            ShardInput::OwnerLock(lock) => self.owner_lock(lock, out),
            ShardInput::OwnerUnlock { request, owner, file, offset, len } => {
                self.owner_unlock(request, owner, file, (offset, len), out);
            }
            ShardInput::TestLock(lock) => self.test_lock(&lock, out),
            ShardInput::Reserve(reservation) => self.owner_reserve(reservation, out),
            ShardInput::Unreserve { owner, file } => self.unreserve(owner, file, out),
            ShardInput::Delegate { request, owner, file, kind, reclaims } => match self.in_grace(reclaims) {
                Ok(()) => self.delegate(request, owner, file, kind, out),
                Err(status) => self.decline(request, status, out),
            },
            ShardInput::Returned { owner, file } => self.delegation_returned(owner, file, out),
            ShardInput::OwnerGone { owner } => self.owner_gone(owner, out),
            ShardInput::HostGone { protocol, host } => self.host_gone(protocol, host, out),
            ShardInput::GraceOver => self.reclaiming = false,
            ShardInput::Waits { request, round, result } => self.may_wait_for(request, round, result, out),
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
            ShardInput::SessionGone { session, end } => {
                self.sweep(session, Swept::Session(end), out);
            }
            ShardInput::Again(admission) => self.again(admission, out),
            ShardInput::Used { file_id } => self.used_by_name(file_id, out),
            ShardInput::Resilience { request, session, file_id, client, user, timeout } => {
                self.make_resilient(request, (session, file_id), (client, user), timeout, out);
            }
            ShardInput::Inherit { session, from, to } => self.inherit(session, from, to),
            ShardInput::Reconnect { reconnect, client, continuous } => {
                self.reconnect(reconnect, client, continuous, out);
            }
            ShardInput::Return { admission, persistent } => self.come_back(&admission, persistent, out),
            ShardInput::Restore { record, elapsed, joins } => self.restore(&record, elapsed, joins, out),
            ShardInput::Recovered { home } => self.recovered(home, out),
            ShardInput::Persisted { up_to } => self.persisted(up_to, out),
            ShardInput::PersistFailed { number } => self.persist_failed(number, out),
            ShardInput::TreeGone { request, session, tree } => {
                let change = self.sweep(session, Swept::Tree(tree), out);
                self.when_gone(change, HeldBack::Swept(request), out);
            }
        }
        self.flush(out);
        Ok(())
    }

    fn handle_timeout(&mut self, now: Instant, out: Out<'_>) {
        self.now = self.now.max(now);
        (self.ranges.now, self.posix.now) = (self.now, self.now);
        let until = *self.grace.get_or_insert(self.now.saturating_add(self.config.reclaim_grace));
        self.reclaiming &= self.now < until;
        for _ in 0..self.config.limits.deadlines_per_call {
            match self.timers.expire(self.now) {
                None => break,
                Some(Due::Return(open)) => self.expire(open, out),
                Some(Due::Answer(holder)) => {
                    if let Some(hold) = self.hold_mut(holder) {
                        hold.timer = None;
                    }
                    self.expire_break(holder, out);
                }
            }
        }
        self.flush(out);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next_due()
    }
}

impl Shard {
    /// What only a driver can get wrong, before anything is changed.
    fn check(&self, event: &ShardInput) -> Result<(), Misuse> {
        let known = match event {
            ShardInput::Opened { file_id, .. } => self.open(*file_id).is_some_and(|(_, open)| open.opening()),
            ShardInput::Done { ticket, .. } => self.running.contains_key(ticket.slot()),
            ShardInput::Restore { record, .. } => return self.check_record(record),
            ShardInput::Persisted { up_to: number } | ShardInput::PersistFailed { number } => {
                *number <= self.journal.last
            }
            ShardInput::Create(_)
            | ShardInput::Operate { .. }
            | ShardInput::Lock(_)
            | ShardInput::OwnerLock(_)
            | ShardInput::OwnerUnlock { .. }
            | ShardInput::TestLock(_)
            | ShardInput::Reserve(_)
            | ShardInput::Unreserve { .. }
            | ShardInput::Delegate { .. }
            | ShardInput::Returned { .. }
            | ShardInput::OwnerGone { .. }
            | ShardInput::HostGone { .. }
            | ShardInput::GraceOver
            | ShardInput::Waits { .. }
            | ShardInput::OplockAck { .. }
            | ShardInput::EntryChanged { .. }
            | ShardInput::Cancel { .. }
            | ShardInput::Close { .. }
            | ShardInput::LeaseAck { .. }
            | ShardInput::Undelivered { .. }
            | ShardInput::Undeliverable { .. }
            | ShardInput::Abandon { .. }
            | ShardInput::SessionGone { .. }
            | ShardInput::Reconnect { .. }
            | ShardInput::Return { .. }
            | ShardInput::Recovered { .. }
            | ShardInput::Again(_)
            | ShardInput::Used { .. }
            | ShardInput::Resilience { .. }
            | ShardInput::Inherit { .. }
            | ShardInput::TreeGone { .. } => true,
        };
        if known { Ok(()) } else { Err(Misuse::UnknownTicket) }
    }

    /// A request is new.
    pub(super) fn arrive(&mut self, key: FileKey, job: Job, out: Out<'_>) {
        let known = self.files.find(key);
        let Some(file) = known.or_else(|| self.files.insert(File::new(key)).ok()) else {
            return self.refuse(job, Status::INSUFFICIENT_RESOURCES, out);
        };
        let mut purged = false;
        if let Job::Create(admission) = &job {
            match self.fail_over(file, admission, out) {
                Ok(closed) => purged = closed,
                Err(status) => {
                    self.refuse(job, status, out);
                    return self.reap(file);
                }
            }
        }
        let heard = loop {
            let party =
                self.party(file, &job).map(|party| match party.passes() || !self.is_asked(file, party.own) {
                    true => party,
                    false => party.passing(),
                });
            let heard = party.and_then(|party| Ok((self.judge(file, party)?, party)));
            if heard.is_err() || !self.purge(out) {
                break heard;
            }
            purged = true;
        };
        self.count_conflicts(file, &job, &heard);
        let heard = match heard {
            Ok((Verdict::Go, party)) => {
                let waits = self.has_to_be_stored_first(file, party.operation, out);
                waits.map(|waits| (if waits { Verdict::Wait } else { Verdict::Go }, party))
            }
            heard => heard,
        };
        if purged && self.goes_now(file).is_some() {
            self.look_again(job, out);
        } else {
            match heard {
                Ok((Verdict::Go, party)) => {
                    let again = self.admit(file, job, party, out);
                    self.judge_again(file, again, out);
                }
                Ok((Verdict::Wait, party)) => self.park(file, job, party.passes(), out),
                Err(status) => self.refuse(job, status, out),
            }
        }
        if purged {
            self.settle(file, out);
        }
        self.reap(file);
    }

    /// Lets a request run that was judged so, and tells everybody in `breaks` first. Returns who of those that wait for the file
    /// has to be judged again: they wait for less than before, or for somebody else as well.
    fn admit(&mut self, slot: FileSlot, job: Job, party: Party, out: Out<'_>) -> Again {
        let passes = party.passes();
        let when = |needed, again| if needed { again } else { Again::Nobody };
        match (job, party.own.open) {
            (Job::Create(admission), _) => {
                self.tell_holders(out);
                self.reserve(slot, admission, out);
                Again::Nobody
            }
            (Job::Lock(lock), Some(open)) => {
                when(self.take_locks(slot, open, lock, out) && passes, Again::Line)
            }
            (job @ Job::Lock(_), None) => {
                self.refuse(job, Status::FILE_CLOSED, out);
                Again::Nobody
            }
            (Job::OwnerLock(lock), _) => when(self.take_owner_lock(slot, &lock, passes, out), Again::Line),
            (Job::Reserve(reservation), _) => {
                self.tell_holders(out);
                when(self.take_reservation(slot, &reservation, out), Again::Everybody)
            }
            (Job::Operate { request, intent, .. }, _) => {
                self.tell_holders(out);
                self.start(slot, request, intent, party, out);
                Again::Nobody
            }
        }
    }

    /// Parks a request, if there is room for it, and tells everybody in `breaks`.
    fn park(&mut self, file: FileSlot, job: Job, passes: bool, out: Out<'_>) {
        let lane = job.lane().map(|key| self.lane(key)).transpose();
        let Ok(lane) = lane else { return self.refuse(job, Status::INSUFFICIENT_RESOURCES, out) };
        let behind = match self.joins(file, &job, passes) {
            Ok(behind) if self.may_wait(file, lane) => behind,
            Ok(_) | Err(_) => {
                self.reap_lane(lane);
                return self.refuse(job, Status::INSUFFICIENT_RESOURCES, out);
            }
        };
        self.tell_holders(out);
        self.count_waiting(&job, |count| count.saturating_add(1));
        // Any owner: what stands in line is found by its range.
        let place = Owner::new(job.locker().unwrap_or(Locker::Open(0)));
        let (on, round, told) = (Vec::new(), 0, false);
        let over = self.over;
        let (in_file, in_lane) = (Links::default(), Links::default());
        let since = self.now;
        let waiter =
            Waiter { file, lane, job, place, on, round, over, since, told, passes, in_file, in_lane };
        let Ok(slot) = self.waiters.insert(waiter) else { return self.anomaly("no room for a waiter") };
        if let Some(file) = self.files.get_mut(file) {
            file.waiters.push_back(&mut self.waiters.records, slot, |waiter| &mut waiter.in_file);
        }
        if let Some(lane) = lane.and_then(|lane| self.lanes.get_mut(lane)) {
            lane.waiters.push_back(&mut self.waiters.records, slot, |waiter| &mut waiter.in_lane);
        }
        self.queue_up(slot, behind, out);
        self.say_what_has_an_end(slot, out);
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
    pub(super) fn unpark(&mut self, slot: WaiterSlot, out: Out<'_>) -> Option<Job> {
        self.leave_line(slot);
        let waiter = self.waiters.get(slot)?;
        let (file, lane) = (waiter.file, waiter.lane);
        if !waiter.on.is_empty() {
            self.over = self.over.wrapping_add(1);
            tell(out, RegistryInput::WaitOver { request: waiter.job.request() });
        }
        if let Some(file) = self.files.get_mut(file) {
            file.waiters.remove(&mut self.waiters.records, slot, |waiter| &mut waiter.in_file);
        }
        if let Some(lane) = lane.and_then(|lane| self.lanes.get_mut(lane)) {
            lane.waiters.remove(&mut self.waiters.records, slot, |waiter| &mut waiter.in_lane);
        }
        self.reap_lane(lane);
        let job = self.waiters.remove(slot).map(|waiter| waiter.job)?;
        self.count_waiting(&job, |count| count.saturating_sub(1));
        Some(job)
    }

    /// Counts what waits on behalf of an open.
    fn count_waiting(&mut self, job: &Job, next: impl Fn(u32) -> u32) {
        let open = job.open().and_then(|file_id| self.open(file_id)).map(|(slot, _)| slot);
        if let Some(open) = open.and_then(|slot| self.opens.get_mut(slot)) {
            open.waiting = next(open.waiting);
        }
    }

    /// Judges every request that waits for a file again, in order of arrival. One that must go on waiting keeps its place.
    pub(super) fn resume(&mut self, file: FileSlot, out: Out<'_>) {
        self.judge_again(file, Again::Everybody, out);
    }

    /// As [`resume`](Self::resume), for the locks among them.
    pub(super) fn resume_line(&mut self, file: FileSlot, out: Out<'_>) {
        self.judge_again(file, Again::Line, out);
    }

    fn judge_again(&mut self, file: FileSlot, who: Again, out: Out<'_>) {
        if who == Again::Nobody {
            return;
        }
        let mut waiting = self.waiting(file);
        if who == Again::Line {
            waiting
                .retain(|slot| self.waiters.get(*slot).is_some_and(|waiter| waiter.job.awaited().is_some()));
        }
        let mut again = Again::Nobody;
        // In line anew, one by one: each behind those that came before it.
        for slot in &waiting {
            self.leave_line(*slot);
        }
        for slot in waiting.drain(..) {
            let Some(waiter) = self.waiters.get(slot) else { continue };
            let passes = waiter.passes;
            let party =
                self.party(file, &waiter.job).map(|party| if passes { party.passing() } else { party });
            let verdict = party.and_then(|party| Ok((self.judge(file, party)?, party)));
            if verdict.is_ok() && self.purge(out) {
                // From the start: with those that are left.
                again = Again::Everybody;
                break;
            }
            let verdict = match verdict {
                Ok((Verdict::Go, party)) => match self.has_to_be_stored_first(file, party.operation, out) {
                    Ok(true) => continue,
                    Ok(false) => Ok((Verdict::Go, party)),
                    Err(status) => Err(status),
                },
                Ok((Verdict::Wait, _)) => {
                    self.tell_holders(out);
                    match self.stays(slot) {
                        Ok(behind) => {
                            self.queue_up(slot, behind, out);
                            self.say_what_has_an_end(slot, out);
                            continue;
                        }
                        Err(status) => Err(status),
                    }
                }
                verdict => verdict,
            };
            let Some(job) = self.unpark(slot, out) else { continue };
            match verdict {
                Ok((_, party)) => again = again.max(self.admit(file, job, party, out)),
                Err(status) => self.refuse(job, status, out),
            }
        }
        waiting.clear();
        self.scratch = waiting;
        match again {
            Again::Everybody => self.settle(file, out),
            Again::Line => self.resume_line(file, out),
            Again::Nobody => self.reap(file),
        }
    }

    /// The requests that wait for a file, in the scratch vector, which goes back when it is drained.
    pub(super) fn waiting(&mut self, file: FileSlot) -> Vec<WaiterSlot> {
        let mut waiting = mem::take(&mut self.scratch);
        let waiters = self.files.get(file).map(|file| file.waiters).unwrap_or_default();
        waiting.extend(waiters.iter(&self.waiters.records, |waiter| &waiter.in_file).map(|(slot, _)| slot));
        waiting
    }

    /// The name of a request leads elsewhere.
    pub(super) fn look_again(&mut self, job: Job, out: Out<'_>) {
        let request = job.request();
        self.unbind(job, out);
        perform(out, Action::Resolve { request });
    }

    /// Answers a request with an error. It holds its lease key no longer.
    pub(super) fn refuse(&mut self, job: Job, status: Status, out: Out<'_>) {
        let request = job.request();
        self.unbind(job, out);
        self.decline(request, status, out);
    }

    /// Answers with an error, where nothing else is to be done.
    pub(super) fn decline(&mut self, request: RequestId, status: Status, out: Out<'_>) {
        count(&mut self.stats.refused);
        if status == Status::SHARING_VIOLATION {
            count(&mut self.stats.sharing_violations);
        }
        perform(out, Action::Refused { request, status });
    }

    /// A request ends without an open: its lease key is free again.
    pub(super) fn unbind(&mut self, job: Job, out: Out<'_>) {
        match job {
            Job::Create(admission) => {
                release(admission.name(), out);
                self.free_guid(&admission, out);
                self.admissions.recycle(admission);
            }
            Job::Operate { .. } | Job::Lock(_) | Job::OwnerLock(_) | Job::Reserve(_) => {}
        }
    }

    fn cancel(&mut self, request: RequestId, out: Out<'_>) {
        let Some(slot) = self.waiters.find(request) else { return };
        let file = self.waiters.get(slot).map(|waiter| waiter.file);
        if let Some(job) = self.unpark(slot, out) {
            self.refuse(job, Status::CANCELLED, out);
        }
        // Who stood in line behind it goes on.
        if let Some(file) = file {
            self.resume_line(file, out);
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
        let of = self.sessions.get(open.session?)?.id;
        let known = open.live() && session.is_none_or(|session| session == of);
        known.then_some((slot, open))
    }

    /// What a connection has in flight here.
    pub(super) fn lane(&mut self, key: LaneKey) -> Result<LaneSlot, Full> {
        match self.lanes.find(key) {
            Some(lane) => Ok(lane),
            None => self.lanes.insert(Lane { key, waiters: List::default(), reserved: List::default() }),
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
