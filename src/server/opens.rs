//! Opens: reserved, granted, closed, and swept away with their session or tree connect.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem;

use slotmap::Key;

use super::action::{Action, Link};
use super::event::{Opened, Origin, SessionEnd};
use super::granting::entry_of;
use super::journal::HeldBack;
use super::judging::Own;
use super::operations::tell_directory;
use super::records::{
    Fate, FileSlot, Job, Lane, LaneKey, LaneSlot, Open, Place, Session, SessionSlot, Stage,
};
use super::scale::{Admission, HolderId, LeaseSlot, OpenSlot, Route, Scope};
use super::shard::{Out, Shard, perform, release};
use crate::locks::range::Owner;
use crate::locks::{Level, Operation};
use crate::state::CreateOptions;
use crate::status::Status;
use crate::store::list::{Links, List};
use crate::store::table::Full;
use crate::types::{ConnId, FileId, LeaseKey, RequestId, SessionId, TreeId};

impl Shard {
    /// Reserves the open and has the driver open the file. Until it has, nobody is granted what this open takes away.
    pub(super) fn reserve(&mut self, slot: FileSlot, admission: Box<Admission>, out: Out<'_>) {
        let request = admission.create.request;
        self.reserve_serials(out);
        match self.try_reserve(slot, admission) {
            Ok(file_id) => perform(out, Action::OpenFile { request, file_id }),
            Err(admission) => {
                self.refuse(Job::Create(admission), Status::INSUFFICIENT_RESOURCES, out);
            }
        }
    }

    fn try_reserve(&mut self, slot: FileSlot, admission: Box<Admission>) -> Result<FileId, Box<Admission>> {
        let route = self.files.get(slot).map(|file| Route::of_file(file.key, self.config.route_seed));
        let origin = admission.create.origin;
        let Some(persistent) = route.and_then(|route| route.persistent(self.serial)) else {
            return Err(admission);
        };
        let Ok(lane) = self.lane(LaneKey::Conn(origin.conn)) else { return Err(admission) };
        let Ok(session) = self.session(origin.session) else {
            self.reap_lane(Some(lane));
            return Err(admission);
        };
        self.serial = self.serial.saturating_add(1);
        let guid = admission.guid();
        let instance = admission.instance().map(Box::new);
        let (desired, disposition) = (admission.create.desired, admission.create.disposition);
        let (options, bound, claim) = (admission.create.options, admission.name(), admission.claim());
        let (place, leased) = (admission.place(), admission.lease.is_some());
        let since = self.now;
        let open = self.opens.insert_with_key(|open| Open {
            since,
            file_id: FileId { persistent, volatile: open.data().as_ffi() },
            file: slot,
            session: Some(session),
            tree: origin.tree,
            desired,
            disposition,
            options,
            claim,
            bound,
            leased,
            place,
            modified: false,
            waiting: 0,
            instance,
            replay: None,
            durable: None,
            locks: Owner::new(persistent),
            stage: Stage::Reserved { admission, lane },
            in_file: Links::default(),
            in_session: Links::default(),
            in_lane: Links::default(),
        });
        if let Some(file) = self.files.get_mut(slot) {
            file.opens.push_back(&mut self.opens, open, |open| &mut open.in_file);
            file.shares.add(claim);
        }
        let replay = guid.and_then(|name| self.guid_opens(name, open));
        if let Some(open) = self.opens.get_mut(open) {
            open.replay = replay;
        }
        if let Some(session) = self.sessions.get_mut(session) {
            session.opens.push_back(&mut self.opens, open, |open| &mut open.in_session);
        }
        if let Some(lane) = self.lanes.get_mut(lane) {
            lane.reserved.push_back(&mut self.opens, open, |open| &mut open.in_lane);
        }
        Ok(FileId { persistent, volatile: open.data().as_ffi() })
    }

    pub(super) fn session(&mut self, id: SessionId) -> Result<SessionSlot, Full> {
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
            (Some(admission), Ok(opened)) => self.grant(slot, admission, opened, out),
            (Some(admission), Err(status)) => {
                let Some(place) = self.opens.get(slot).map(|open| open.place) else { return };
                let file = self.forget(slot, out);
                self.refuse(Job::Create(admission), status, out);
                self.unlink_if_last(file, place, out);
                self.settle(file, out);
            }
            (None, Ok(opened)) => {
                let Some(Open { place, file, .. }) = self.opens.get(slot) else { return };
                let (place, file) = (*place, *file);
                // Nobody is told, but what was created or overwritten is.
                entry_of(opened, place, out);
                self.shut(slot, out);
                self.settle(file, out);
            }
            (None, Err(_)) => {
                let Some(Open { place, bound, .. }) = self.opens.get(slot) else { return };
                let (place, name) = (*place, *bound);
                let file = self.forget(slot, out);
                release(name, out);
                self.unlink_if_last(file, place, out);
                self.settle(file, out);
            }
        }
    }

    /// Takes an open that nobody has heard of out of the lane of its connection; its CREATE is returned, and not there any more.
    /// `None` if there is none. Where the file is open already, the open stays.
    pub(super) fn leave_lane(&mut self, slot: OpenSlot) -> Option<Box<Admission>> {
        let open = self.opens.get_mut(slot)?;
        let (admission, lane) = match mem::replace(&mut open.stage, Stage::Abandoned) {
            Stage::Reserved { admission, lane } => (admission, lane),
            Stage::Unheard { caching, admission, lane } => {
                open.stage = Stage::Live(caching);
                (admission, lane)
            }
            other @ (Stage::Live(_) | Stage::Orphaned(_) | Stage::Abandoned) => {
                open.stage = other;
                return None;
            }
        };
        if let Some(record) = self.lanes.get_mut(lane) {
            record.reserved.remove(&mut self.opens, slot, |open| &mut open.in_lane);
        }
        self.reap_lane(Some(lane));
        Some(admission)
    }

    /// CLOSE (MS-SMB2 3.3.5.10).
    pub(super) fn close(&mut self, request: RequestId, session: SessionId, file_id: FileId, out: Out<'_>) {
        let Some((slot, open)) = self.live(file_id, Some(session)) else {
            return self.decline(request, Status::FILE_CLOSED, out);
        };
        let file = open.file;
        let change = self.shut(slot, out);
        self.settle(file, out);
        self.when_gone(change, HeldBack::Closed(request), out);
    }

    /// Closes an open, however it came to that (MS-SMB2 3.3.4.17). Its file has to be settled. Returns the change by which its
    /// record goes, if it has one.
    pub(super) fn shut(&mut self, slot: OpenSlot, out: Out<'_>) -> Option<u64> {
        let open = self.opens.get(slot)?;
        let (file, file_id, name, lease) = (open.file, open.file_id, open.bound, open.lease());
        let (place, modified, orphan) = (open.place, open.modified, open.orphaned());
        let delete = open.options.contains(CreateOptions::DELETE_ON_CLOSE);
        self.answer_for(slot, out);
        self.answer_held(slot, out);
        if delete {
            if let Some(file) = self.files.get_mut(file) {
                file.dispose(true, place.parent);
            }
            // Written ahead: when this handle is out of the store, those that are left know what it wanted.
            self.touch_opens(file, |open| open.file_id != file_id);
            self.flush(out);
        }
        let change = self.break_promise(slot, out);
        self.forget(slot, out);
        self.leave_lease(lease, orphan, out);
        if delete {
            self.judge_operation(file, Own { lease: name, ..Own::default() }, Operation::DeleteOnClose);
        }
        release(name, out);
        let goes = self.goes_now(file);
        let link = if goes.is_some() { Link::Remove } else { Link::Keep };
        perform(out, Action::CloseFile { file_id, link });
        if let Some(by) = goes {
            removed(place, by, out);
        } else if modified {
            tell_directory(out, place.directory, place.parent);
        }
        // Behind its own close: what is purged here may be the last to go, and takes the name along.
        if delete {
            self.tell_holders(out);
        }
        change
    }

    /// Who made a file go, if it goes and nobody has it open any more.
    pub(super) fn goes_now(&self, file: FileSlot) -> Option<Option<LeaseKey>> {
        match self.files.get(file).filter(|file| file.opens.vacant())?.fate {
            Fate::Goes(by) => Some(by),
            Fate::Stays => None,
        }
    }

    /// A file that was to be deleted lived on for an open that came to nothing, or was to be deleted when its last handle had
    /// been closed: no close is left to take its name along.
    pub(super) fn unlink_if_last(&self, file: FileSlot, place: Place, out: Out<'_>) {
        if let (Some(by), Some(record)) = (self.goes_now(file), self.files.get(file)) {
            perform(out, Action::Unlink { file: record.key });
            removed(place, by, out);
        }
    }

    /// Takes an open out of everything it is in. Returns its file.
    fn forget(&mut self, slot: OpenSlot, out: Out<'_>) -> FileSlot {
        let Some(file) = self.opens.get(slot).map(|open| open.file) else { return FileSlot::null() };
        self.drop_durable(slot);
        self.used(slot, out);
        self.stop_deadline(HolderId::Oplock(slot));
        if let (Some(record), Some(open)) = (self.files.get_mut(file), self.opens.get_mut(slot)) {
            record.locks.release(&mut self.ranges, &mut open.locks);
            record.shares.remove(open.claim);
            if open.oplock().is_some_and(|oplock| oplock.level() != Level::None) {
                record.oplocks = record.oplocks.saturating_sub(1);
            }
            record.opens.remove(&mut self.opens, slot, |open| &mut open.in_file);
        }
        self.leave_session(slot);
        self.opens.remove(slot);
        file
    }

    /// An open of the lease is gone; with the last one goes the lease, and with it a break in flight
    /// (MS-SMB2 3.3.4.17 <251>).
    fn leave_lease(&mut self, lease: Option<LeaseSlot>, orphan: bool, out: Out<'_>) {
        let Some((slot, lease)) = lease.and_then(|slot| Some((slot, self.leases.get_mut(slot)?))) else {
            return;
        };
        lease.opens = lease.opens.saturating_sub(1);
        lease.orphans = lease.orphans.saturating_sub(orphan.into());
        if lease.opens > 0 {
            // The last who could be told: what was said to it may be for others, who hear of it when they are back.
            if self.kept_for(HolderId::Lease(slot)) {
                self.stop_deadline(HolderId::Lease(slot));
            }
            return;
        }
        let (file, name) = (lease.file, lease.name);
        // What follows under the same key is another lease.
        self.relax(file, Some(name), false, out);
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
        self.send_back(file, |_| true, out);
        self.reap(file);
    }

    /// Requests that wait for a file are sent to look where their names lead now.
    pub(super) fn send_back(&mut self, file: FileSlot, which: impl Fn(&Job) -> bool, out: Out<'_>) {
        let mut waiting = self.waiting(file);
        for slot in waiting.drain(..) {
            let concerned = self.waiters.get(slot).is_some_and(|waiter| which(&waiter.job));
            let Some(job) = concerned.then(|| self.unpark(slot, out)).flatten() else { continue };
            self.look_again(job, out);
        }
        self.scratch = waiting;
    }

    /// Operations that wait on behalf of an open are answered before it goes. O(1) if there are none.
    pub(super) fn answer_for(&mut self, open: OpenSlot, out: Out<'_>) {
        let Some(Open { file, file_id, .. }) = self.opens.get(open).filter(|open| open.waiting > 0) else {
            return;
        };
        let (file, file_id) = (*file, *file_id);
        let mut waiting = self.waiting(file);
        for slot in waiting.drain(..) {
            let acts = self.waiters.get(slot).is_some_and(|waiter| waiter.job.open() == Some(file_id));
            if let Some(job) = acts.then(|| self.unpark(slot, out)).flatten() {
                let status = match job {
                    // Choice: as Windows has it.
                    Job::Lock(_) => Status::RANGE_NOT_LOCKED,
                    Job::Create(_) | Job::Operate { .. } | Job::OwnerLock(_) | Job::Reserve(_) => {
                        Status::FILE_CLOSED
                    }
                };
                self.refuse(job, status, out);
            }
        }
        self.scratch = waiting;
    }

    /// Closes the opens of a session, or of one of its tree connects, and answers the CREATEs that are being carried out.
    /// Those of a lost connection were abandoned before, without an answer. O(opens of the session). Returns the last change by
    /// which a record goes.
    pub(super) fn sweep(&mut self, session: SessionId, what: Swept, out: Out<'_>) -> Option<u64> {
        let tree = match what {
            Swept::Tree(tree) => Some(tree),
            Swept::Session(_) => None,
        };
        let opens = self.sessions.find(session).and_then(|session| self.sessions.get(session));
        let mut next = opens.and_then(|session| session.opens.head());
        let status = match tree {
            Some(_) => Status::NETWORK_NAME_DELETED,
            None => Status::USER_SESSION_DELETED,
        };
        let mut change = None;
        let mut unsettled = mem::take(&mut self.unsettled);
        while let Some(slot) = next {
            let Some(open) = self.opens.get(slot) else { break };
            next = open.in_session.next();
            let file = open.file;
            if tree.is_some_and(|tree| open.tree != tree) {
                continue;
            }
            // If the driver is opening the file as yet, it is closed, and the lease key free, when that has ended.
            let refused = self.leave_lane(slot);
            let known = refused.is_none();
            if let Some(admission) = refused {
                self.decline(admission.create.request, status, out);
                self.admissions.recycle(admission);
            }
            if !self.opens.get(slot).is_some_and(Open::live) {
                continue;
            }
            match what {
                Swept::Session(end) if known && self.is_kept(slot, end) => self.orphan(slot, out),
                Swept::Session(end) => {
                    let gone = self.shut(slot, out);
                    // A client whose user was refused has asked for none of this, and may be back after a restart.
                    if let Some(gone) = gone.filter(|_| end == SessionEnd::Refused) {
                        self.bar_others(file, gone);
                    }
                    change = gone.or(change);
                }
                Swept::Tree(_) => change = self.shut(slot, out).or(change),
            }
            unsettled.extend(self.unsettle(file));
        }
        // Once for each file, however many of its opens went.
        for file in unsettled.drain(..) {
            if let Some(record) = self.files.get_mut(file) {
                record.unsettled = false;
            }
            self.settle(file, out);
        }
        self.unsettled = unsettled;
        change
    }

    /// A file that has to be settled, if that is not known already.
    fn unsettle(&mut self, file: FileSlot) -> Option<FileSlot> {
        let record = self.files.get_mut(file).filter(|file| !file.unsettled)?;
        record.unsettled = true;
        Some(file)
    }

    /// A connection, or a session or tree connect on it, is gone: what it has waiting is answered, or dropped where nobody
    /// is left to answer; what is being opened for it will be closed.
    pub(super) fn abandon(&mut self, conn: ConnId, scope: Scope, out: Out<'_>) {
        let Some(lane) = self.lanes.find(LaneKey::Conn(conn)) else { return };
        let concerns = |origin: Origin| match scope {
            Scope::Connection | Scope::Channel => true,
            Scope::Session(session) => origin.session == session,
            Scope::Tree(session, tree) => origin.session == session && origin.tree == tree,
        };
        let mut next = self.lanes.get(lane).and_then(|lane| lane.waiters.head());
        let mut lines: Vec<FileSlot> = Vec::new();
        while let Some(slot) = next {
            let Some(waiter) = self.waiters.get(slot) else { break };
            next = waiter.in_lane.next();
            if !waiter.job.origin().is_some_and(concerns) {
                continue;
            }
            let file = waiter.file;
            // What ends altogether is swept next, and the line judged behind that: nobody is told to give up what is about to go.
            let outlived = match scope {
                Scope::Channel => true,
                Scope::Tree(_, tree) => {
                    let open = waiter.job.open().and_then(|file_id| self.open(file_id));
                    open.is_some_and(|(_, open)| open.tree != tree)
                }
                Scope::Connection | Scope::Session(_) => false,
            };
            lines.extend((outlived && matches!(waiter.job, Job::Lock(_))).then_some(file));
            if let Some(job) = self.unpark(slot, out) {
                match scope {
                    Scope::Connection | Scope::Channel => self.unbind(job, out),
                    Scope::Session(_) | Scope::Tree(..) if matches!(job, Job::Lock(_)) => {
                        self.refuse(job, Status::RANGE_NOT_LOCKED, out);
                    }
                    Scope::Session(_) => self.refuse(job, Status::USER_SESSION_DELETED, out),
                    Scope::Tree(..) => self.refuse(job, Status::NETWORK_NAME_DELETED, out),
                }
            }
            self.reap(file);
        }
        // Who stood in line behind them goes on.
        lines.sort_unstable();
        lines.dedup();
        for file in lines {
            self.resume_line(file, out);
        }
        if matches!(scope, Scope::Connection | Scope::Channel) {
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

/// What is swept away.
#[derive(Clone, Copy)]
pub(super) enum Swept {
    Tree(TreeId),
    /// All of a session that ended so.
    Session(SessionEnd),
}

/// A name is gone from its directory. *Choice:* as Samba has it, a lease there is spared only by those who asked for it from
/// first to last.
fn removed(place: Place, by: Option<LeaseKey>, out: Out<'_>) {
    tell_directory(out, place.directory, place.parent.filter(|_| by == place.parent));
}
