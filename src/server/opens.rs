//! Opens: reserved, granted, closed, and swept away with their session or tree connect.

use alloc::boxed::Box;
use core::mem;

use slotmap::Key;

use super::action::{Action, Grant, Link};
use super::event::{Create, ObjectKind, Opened, Origin, ShareFlags, ShareKind};
use super::lease::{Lease, LeaseName};
use super::oplock::Oplock;
use super::records::{Caching, Fate, FileSlot, Job, Lane, LaneSlot, Open, Session, SessionSlot, Stage};
use super::scale::{Admission, DirectoryLeasing, HolderId, LeaseSlot, OpenSlot, Route, Scope};
use super::shard::{Out, Own, Shard, perform, release, tell_directory};
use crate::locks::range::Owner;
use crate::locks::{self, Kind, Level, Operation};
use crate::state::{CreateAction, CreateOptions, Dialect, LeaseState, OplockLevel};
use crate::stats::count;
use crate::status::Status;
use crate::store::list::{Links, List};
use crate::store::table::Full;
use crate::types::{ConnId, FileId, RequestId, SessionId, TreeId};
use crate::wire;

impl Shard {
    /// Reserves the open and has the driver open the file. Until it has, nobody is granted what this open takes away.
    pub(super) fn reserve(&mut self, slot: FileSlot, admission: Box<Admission>, out: Out<'_>) {
        let request = admission.create.request;
        match self.try_reserve(slot, admission) {
            Ok(file_id) => perform(out, Action::OpenFile { request, file_id }),
            Err(admission) => {
                self.refuse(&Job::Create(admission), Status::INSUFFICIENT_RESOURCES, out);
            }
        }
    }

    fn try_reserve(&mut self, slot: FileSlot, admission: Box<Admission>) -> Result<FileId, Box<Admission>> {
        let route = self.files.get(slot).map(|file| Route::of_file(file.key, self.config.route_seed));
        let origin = admission.create.origin;
        let Some(persistent) = route.and_then(|route| route.persistent(self.serial)) else {
            return Err(admission);
        };
        let Ok(lane) = self.lane(origin.conn) else { return Err(admission) };
        let Ok(session) = self.session(origin.session) else {
            self.reap_lane(Some(lane));
            return Err(admission);
        };
        self.serial = self.serial.saturating_add(1);
        let (desired, disposition) = (admission.create.desired, admission.create.disposition);
        let (options, bound, claim) = (admission.create.options, admission.name(), admission.claim());
        let place = admission.place();
        let open = self.opens.insert_with_key(|open| Open {
            file_id: FileId { persistent, volatile: open.data().as_ffi() },
            file: slot,
            session,
            tree: origin.tree,
            desired,
            disposition,
            options,
            claim,
            bound,
            place,
            modified: false,
            locks: Owner::new(open),
            stage: Stage::Reserved { admission, lane },
            in_file: Links::default(),
            in_session: Links::default(),
            in_lane: Links::default(),
        });
        if let Some(file) = self.files.get_mut(slot) {
            file.opens.push_back(&mut self.opens, open, |open| &mut open.in_file);
        }
        if let Some(session) = self.sessions.get_mut(session) {
            session.opens.push_back(&mut self.opens, open, |open| &mut open.in_session);
        }
        if let Some(lane) = self.lanes.get_mut(lane) {
            lane.reserved.push_back(&mut self.opens, open, |open| &mut open.in_lane);
        }
        Ok(FileId { persistent, volatile: open.data().as_ffi() })
    }

    fn session(&mut self, id: SessionId) -> Result<SessionSlot, Full> {
        match self.sessions.find(id) {
            Some(session) => Ok(session),
            None => self.sessions.insert(Session { id, opens: List::default() }),
        }
    }

    /// The driver has opened the file of a reserved open, or failed to.
    pub(super) fn opened(&mut self, file_id: FileId, result: Result<Opened, Status>, out: Out<'_>) {
        let Some((slot, _)) = self.open(file_id) else { return };
        let admission = self.leave_lane(slot);
        match (admission, result) {
            (Some(admission), Ok(opened)) => self.grant(slot, &admission, opened, out),
            (Some(admission), Err(status)) => {
                let file = self.forget(slot);
                self.refuse(&Job::Create(admission), status, out);
                self.unlink_if_last(file, out);
                self.settle(file, out);
            }
            (None, Ok(_)) => self.shut(slot, out),
            (None, Err(_)) => {
                let name = self.opens.get(slot).and_then(|open| open.bound);
                let file = self.forget(slot);
                release(name, out);
                self.unlink_if_last(file, out);
                self.settle(file, out);
            }
        }
    }

    /// Takes a reserved open out of the lane of its connection; its CREATE is returned, and not there any more. `None` if
    /// it was abandoned.
    fn leave_lane(&mut self, slot: OpenSlot) -> Option<Box<Admission>> {
        let open = self.opens.get_mut(slot)?;
        let Stage::Reserved { admission, lane } = mem::replace(&mut open.stage, Stage::Abandoned) else {
            return None;
        };
        if let Some(record) = self.lanes.get_mut(lane) {
            record.reserved.remove(&mut self.opens, slot, |open| &mut open.in_lane);
        }
        self.reap_lane(Some(lane));
        Some(admission)
    }

    /// Makes a reserved open a live one, with what may be cached now.
    fn grant(&mut self, slot: OpenSlot, admission: &Admission, opened: Opened, out: Out<'_>) {
        let caching = self.caching(slot, admission, opened);
        let (level, lease) = match &caching {
            Caching::Nothing => (OplockLevel::None, None),
            Caching::Oplock(oplock) => (oplock.level().on_wire(), None),
            // MS-SMB2 3.3.5.9.8: the level is LEASE even where the state is NONE.
            Caching::Guest => {
                let nothing = |asked| Lease::new(admission.client, FileSlot::null(), asked, LeaseState::NONE);
                (OplockLevel::Lease, admission.lease.as_ref().map(|asked| nothing(asked).context()))
            }
            Caching::Lease(lease) => (OplockLevel::Lease, self.leases.get(*lease).map(Lease::context)),
        };
        let leased = matches!(caching, Caching::Lease(_));
        let Some(open) = self.opens.get_mut(slot) else { return };
        if !leased {
            release(open.bound.take(), out);
        }
        open.stage = Stage::Live(caching);
        let (file_id, place, name) = (open.file_id, open.place, open.bound);
        let grant = Grant { file_id, action: opened.action, level, lease };
        count(&mut self.stats.granted);
        perform(out, Action::Granted { request: admission.create.request, grant });
        if admission.create.options.contains(CreateOptions::DELETE_ON_CLOSE) {
            self.relax(name, true, out);
        }
        if opened.action != CreateAction::Opened {
            tell_directory(out, place.directory, place.parent);
        }
    }

    /// What the open may cache.
    fn caching(&mut self, slot: OpenSlot, admission: &Admission, opened: Opened) -> Caching {
        let directory = opened.kind == ObjectKind::Directory;
        let Create { level, share, .. } = admission.create;
        // MS-SMB2 2.2.14: nothing is cached of pipes and printers.
        if share.kind != ShareKind::Disk {
            return Caching::Nothing;
        }
        match admission.lease {
            // MS-SMB2 3.3.5.9.8, 3.3.5.9.11: a directory has no lease unless both sides agreed on it.
            Some(_) if directory && admission.directory_leasing == DirectoryLeasing::Absent => {
                Caching::Nothing
            }
            Some(_) if !admission.joins => Caching::Guest,
            Some(wanted) => {
                self.grant_lease(slot, admission, &wanted, opened).map_or(Caching::Nothing, Caching::Lease)
            }
            // MS-FSA 2.1.5.18: a directory has no oplock.
            None if directory => Caching::Nothing,
            None => self.grant_oplock(slot, admission, level, opened),
        }
    }

    /// Makes the open part of its lease: a new one, or the one that there is, raised if that can be had in full.
    fn grant_lease(
        &mut self,
        slot: OpenSlot,
        admission: &Admission,
        wanted: &wire::Lease,
        opened: Opened,
    ) -> Option<LeaseSlot> {
        let file = self.opens.get(slot)?.file;
        let name = admission.name()?;
        let asked = match opened.kind {
            ObjectKind::File => wanted.state().normalized(),
            // MS-SMB2 3.3.5.9.11: never W on a directory.
            ObjectKind::Directory => wanted.state().without(LeaseState::WRITE),
        };
        let asked = capped(admission, Kind::Lease, asked);
        let may_have = self.grantable(slot, Some(name), asked, opened);
        let lease = match self.leases.find(name) {
            Some(lease) => {
                let record = self.leases.get_mut(lease)?;
                // MS-SMB2 3.3.5.9.8: all or nothing, a superset only, and not during a break.
                let held = record.hold.state();
                let superset = asked.contains(held) && asked != held;
                if superset && may_have == asked && record.hold.told().is_none() {
                    record.raise(asked);
                    count(&mut self.stats.leases_raised);
                }
                lease
            }
            None => {
                let lease = Lease::new(admission.client, file, wanted, may_have);
                let lease = self.leases.insert(lease).ok()?;
                let record = self.files.get_mut(file)?;
                record.leases.push_back(&mut self.leases.records, lease, |lease| &mut lease.in_file);
                if !may_have.is_empty() {
                    count(&mut self.stats.leases_granted);
                }
                lease
            }
        };
        let record = self.leases.get_mut(lease)?;
        record.opens = record.opens.saturating_add(1);
        Some(lease)
    }

    /// Gives the open an oplock of its own, of the level asked for or of a lower one (MS-FSA 2.1.5.18.1, .2).
    fn grant_oplock(
        &mut self,
        slot: OpenSlot,
        admission: &Admission,
        level: OplockLevel,
        opened: Opened,
    ) -> Caching {
        let asked = match level {
            OplockLevel::II => Level::II,
            OplockLevel::Exclusive => Level::Exclusive,
            OplockLevel::Batch => Level::Batch,
            // MS-SMB2 2.2.13: LEASE without a context that counts, and undefined levels, are NONE.
            OplockLevel::None | OplockLevel::Lease | OplockLevel::Undefined(_) => return Caching::Nothing,
        };
        let asked = capped(admission, Kind::Oplock, asked.caches());
        let level = Level::within(self.grantable(slot, None, asked, opened));
        let file = self.opens.get(slot).and_then(|open| self.files.get_mut(open.file));
        match (level, file) {
            (Level::None, _) | (_, None) => Caching::Nothing,
            (level, Some(file)) => {
                file.oplocks = file.oplocks.saturating_add(1);
                count(&mut self.stats.oplocks_granted);
                Caching::Oplock(Oplock::new(level))
            }
        }
    }

    /// What of `asked` the open can hold beside everything else on the file: by the lease `own`, or by an oplock.
    /// O(holders).
    fn grantable(
        &self,
        me: OpenSlot,
        own: Option<LeaseName>,
        asked: LeaseState,
        opened: Opened,
    ) -> LeaseState {
        let opening = self.opens.get(me).and_then(|open| Some((open, self.files.get(open.file)?)));
        let Some((my, file)) = opening else { return LeaseState::NONE };
        let identity = self.config.profile.lease_identity;
        let foreign = |name: Option<LeaseName>| {
            !own.is_some_and(|own| name.is_some_and(|name| identity.same(own, name)))
        };
        let mut state = asked;
        // MS-FSA 2.1.5.18.1, .2: no H on what is about to go.
        if file.goes() {
            state = state.without(LeaseState::HANDLE);
        }
        for (slot, open) in file.opens.iter(&self.opens, |open| &open.in_file) {
            if slot == me || !foreign(open.bound) {
                continue;
            }
            // Choice: as deployed servers have it, an open for attributes alone has no oplock beside others.
            if own.is_none() && locks::operation_of_open(my.desired, my.disposition) == Operation::Stat {
                return LeaseState::NONE;
            }
            let oplock = open.oplock();
            // Choice: foreign caching forbids W even at state NONE, as deployed servers have it.
            let caching = open.bound.is_some() || oplock.is_some();
            if caching || locks::forbids_write_caching(open.desired, open.disposition) {
                state = state.without(LeaseState::WRITE);
            }
            // What is being opened now has broken what it had to; nobody gets it back before that open is there.
            if !open.live() {
                state =
                    state.without(locks::operation_of_open(open.desired, open.disposition).rule().revokes);
            }
            match oplock.map_or(Level::None, Oplock::level) {
                Level::None => {}
                // MS-FSA 2.1.5.18: H and an oplock exclude each other.
                Level::II => state = state.without(LeaseState::HANDLE),
                Level::Exclusive | Level::Batch => state = LeaseState::NONE,
            }
        }
        for (_, run) in file.running.iter(&self.running, |run| &run.in_file) {
            if foreign(run.own) {
                state = state.without(run.operation.rule().revokes);
            }
        }
        for (_, lease) in file.leases.iter(&self.leases.records, |lease| &lease.in_file) {
            // MS-FSA 2.1.5.18.1: beside a foreign W, which only an open for attributes can meet, there is nothing to have;
            // nor for an oplock beside H (MS-FSA 2.1.5.18.2).
            let refuses =
                if own.is_none() { LeaseState::RWH.difference(LeaseState::R) } else { LeaseState::WRITE };
            if foreign(Some(lease.name)) && lease.hold.state().intersects(refuses) {
                return LeaseState::NONE;
            }
        }
        // MS-FSA 2.1.5.18: no R while octets are locked; W is only had by the one who locked them. What was just
        // overwritten has no such octets.
        let kept = opened.action == CreateAction::Opened || opened.action == CreateAction::Created;
        let locked = kept && file.locks.any_below(&self.ranges, opened.allocation);
        if locked && !state.contains(LeaseState::WRITE) { LeaseState::NONE } else { state }
    }

    /// CLOSE (MS-SMB2 3.3.5.10).
    pub(super) fn close(&mut self, request: RequestId, session: SessionId, file_id: FileId, out: Out<'_>) {
        let Some((slot, _)) = self.live(file_id, Some(session)) else {
            count(&mut self.stats.refused);
            return perform(out, Action::Refused { request, status: Status::FILE_CLOSED });
        };
        self.shut(slot, out);
        perform(out, Action::Closed { request });
    }

    /// Closes an open, however it came to that (MS-SMB2 3.3.4.17).
    fn shut(&mut self, slot: OpenSlot, out: Out<'_>) {
        let Some(open) = self.opens.get(slot) else { return };
        let (file, file_id, name, lease) = (open.file, open.file_id, open.bound, open.lease());
        let (place, modified) = (open.place, open.modified);
        let delete = open.options.contains(CreateOptions::DELETE_ON_CLOSE);
        self.answer_for(file, file_id, out);
        self.forget(slot);
        self.leave_lease(lease);
        if delete {
            if let Some(file) = self.files.get_mut(file) {
                file.dispose(true, place);
            }
            self.judge_operation(file, Own { lease: name, ..Own::default() }, Operation::DeleteOnClose);
            self.tell_holders(out);
        }
        release(name, out);
        let fate = self.files.get(file).filter(|file| file.opens.vacant()).map(|file| file.fate);
        match fate {
            Some(Fate::Goes(by)) => {
                perform(out, Action::CloseFile { file_id, link: Link::Remove });
                // Choice: as Samba has it, a directory lease is spared only by those who asked for it from first to last.
                tell_directory(out, place.directory, place.parent.filter(|_| by.parent == place.parent));
            }
            Some(Fate::Stays) | None => {
                perform(out, Action::CloseFile { file_id, link: Link::Keep });
                if modified {
                    tell_directory(out, place.directory, place.parent);
                }
            }
        }
        self.settle(file, out);
    }

    /// A file that was to be deleted lived on for an open that came to nothing: no close is left to take its name along.
    fn unlink_if_last(&self, file: FileSlot, out: Out<'_>) {
        if let Some(file) = self.files.get(file).filter(|file| file.opens.vacant()) {
            if let Fate::Goes(by) = file.fate {
                perform(out, Action::Unlink { file: file.key });
                tell_directory(out, by.directory, None);
            }
        }
    }

    /// Takes an open out of everything it is in. Returns its file.
    fn forget(&mut self, slot: OpenSlot) -> FileSlot {
        let Some((file, session)) = self.opens.get(slot).map(|open| (open.file, open.session)) else {
            return FileSlot::null();
        };
        self.stop_deadline(HolderId::Oplock(slot));
        if let (Some(record), Some(open)) = (self.files.get_mut(file), self.opens.get_mut(slot)) {
            record.locks.release(&mut self.ranges, &mut open.locks);
            if open.oplock().is_some_and(|oplock| oplock.level() != Level::None) {
                record.oplocks = record.oplocks.saturating_sub(1);
            }
            record.opens.remove(&mut self.opens, slot, |open| &mut open.in_file);
        }
        if let Some(record) = self.sessions.get_mut(session) {
            record.opens.remove(&mut self.opens, slot, |open| &mut open.in_session);
            if record.opens.vacant() {
                self.sessions.remove(session);
            }
        }
        self.opens.remove(slot);
        file
    }

    /// An open of the lease is gone; with the last one goes the lease, and with it a break in flight
    /// (MS-SMB2 3.3.4.17 <251>).
    fn leave_lease(&mut self, lease: Option<LeaseSlot>) {
        let Some((slot, lease)) = lease.and_then(|slot| Some((slot, self.leases.get_mut(slot)?))) else {
            return;
        };
        lease.opens = lease.opens.saturating_sub(1);
        if lease.opens > 0 {
            return;
        }
        let file = lease.file;
        self.stop_deadline(HolderId::Lease(slot));
        if let Some(file) = self.files.get_mut(file) {
            file.leases.remove(&mut self.leases.records, slot, |lease| &mut lease.in_file);
        }
        self.leases.remove(slot);
    }

    /// An open has gone from a file: what waits there is judged again, or sent to look where its name leads now.
    pub(super) fn settle(&mut self, file: FileSlot, out: Out<'_>) {
        let Some(record) = self.files.get_mut(file) else { return };
        if !record.goes() || !record.opens.vacant() {
            return self.resume(file, out);
        }
        record.fate = Fate::Stays;
        let mut waiting = self.waiting(file);
        for slot in waiting.drain(..) {
            let Some(job) = self.unpark(slot) else { continue };
            self.unbind(&job, out);
            perform(out, Action::Resolve { request: job.request() });
        }
        self.scratch = waiting;
        self.reap(file);
    }

    /// Operations that wait on behalf of an open are answered before it goes.
    fn answer_for(&mut self, file: FileSlot, file_id: FileId, out: Out<'_>) {
        let mut waiting = self.waiting(file);
        for slot in waiting.drain(..) {
            let acts = self.waiters.get(slot).is_some_and(|waiter| waiter.job.acts_for(file_id));
            if let Some(job) = acts.then(|| self.unpark(slot)).flatten() {
                let status = match job {
                    // Choice: as Windows has it.
                    Job::Lock(_) => Status::RANGE_NOT_LOCKED,
                    Job::Create(_) | Job::Operate { .. } => Status::FILE_CLOSED,
                };
                self.refuse(&job, status, out);
            }
        }
        self.scratch = waiting;
    }

    /// Closes the opens of a session, or of one of its tree connects, and answers the CREATEs that are being carried out.
    /// Those of a lost connection were abandoned before, without an answer. O(opens of the session).
    pub(super) fn sweep(&mut self, session: SessionId, tree: Option<TreeId>, out: Out<'_>) {
        let opens = self.sessions.find(session).and_then(|session| self.sessions.get(session));
        let mut next = opens.and_then(|session| session.opens.head());
        while let Some(slot) = next {
            let Some(open) = self.opens.get(slot) else { break };
            next = open.in_session.next();
            if tree.is_none_or(|tree| open.tree == tree) {
                match open.stage {
                    Stage::Live(_) => self.shut(slot, out),
                    // The driver is opening the file: it is closed, and the lease key free, when that has ended.
                    Stage::Reserved { .. } => {
                        let status = match tree {
                            Some(_) => Status::NETWORK_NAME_DELETED,
                            None => Status::USER_SESSION_DELETED,
                        };
                        if let Some(admission) = self.leave_lane(slot) {
                            count(&mut self.stats.refused);
                            perform(out, Action::Refused { request: admission.create.request, status });
                        }
                    }
                    Stage::Abandoned => {}
                }
            }
        }
    }

    /// A connection, or a session or tree connect on it, is gone: what it has waiting is answered, or dropped where nobody
    /// is left to answer; what is being opened for it will be closed.
    pub(super) fn abandon(&mut self, conn: ConnId, scope: Scope, out: Out<'_>) {
        let Some(lane) = self.lanes.find(conn) else { return };
        let concerns = |origin: Origin| match scope {
            Scope::Connection => true,
            Scope::Session(session) => origin.session == session,
            Scope::Tree(session, tree) => origin.session == session && origin.tree == tree,
        };
        let mut next = self.lanes.get(lane).and_then(|lane| lane.waiters.head());
        while let Some(slot) = next {
            let Some(waiter) = self.waiters.get(slot) else { break };
            next = waiter.in_lane.next();
            if !waiter.job.origin().is_some_and(concerns) {
                continue;
            }
            let file = waiter.file;
            if let Some(job) = self.unpark(slot) {
                match scope {
                    Scope::Connection => self.unbind(&job, out),
                    Scope::Session(_) | Scope::Tree(..) if matches!(job, Job::Lock(_)) => {
                        self.refuse(&job, Status::RANGE_NOT_LOCKED, out);
                    }
                    Scope::Session(_) => self.refuse(&job, Status::USER_SESSION_DELETED, out),
                    Scope::Tree(..) => self.refuse(&job, Status::NETWORK_NAME_DELETED, out),
                }
            }
            self.reap(file);
        }
        if scope == Scope::Connection {
            let mut next = self.lanes.get(lane).and_then(|lane| lane.reserved.head());
            while let Some(slot) = next {
                next = self.opens.get(slot).and_then(|open| open.in_lane.next());
                self.leave_lane(slot);
            }
        }
        self.reap_lane(Some(lane));
    }

    /// Forgets a connection with nothing in flight.
    pub(super) fn reap_lane(&mut self, lane: Option<LaneSlot>) {
        let idle = |lane: &Lane| lane.waiters.vacant() && lane.reserved.vacant();
        if let Some(lane) = lane.filter(|lane| self.lanes.get(*lane).is_some_and(idle)) {
            self.lanes.remove(lane);
        }
    }
}

/// What the share lets anybody cache (MS-SMB2 3.3.5.9, 3.3.5.9.8, 3.3.5.9.11).
fn capped(admission: &Admission, kind: Kind, asked: LeaseState) -> LeaseState {
    let flags = admission.create.share.flags;
    let asked =
        if flags.contains(ShareFlags::FORCE_LEVEL_II) { asked.without(LeaseState::WRITE) } else { asked };
    // Only BATCH becomes II there; EXCLUSIVE stays.
    let whole = kind == Kind::Lease || asked.contains(LeaseState::HANDLE);
    if flags.contains(ShareFlags::SCALE_OUT) && admission.dialect >= Dialect::Smb300 && whole {
        asked.without(LeaseState::WRITE.union(LeaseState::HANDLE))
    } else {
        asked
    }
}
