//! CREATE sent again: CreateGuids that are in use, and the answer that was given before (MS-SMB2 3.3.5.9, 3.3.5.9.10).

use super::action::{Action, Grant};
use super::durable::{DurableGrant, survives};
use super::event::{Durability, ObjectKind, Opened, ShareFlags, ShareKind};
use super::oplock::Oplock;
use super::profile::PendingReplay;
use super::records::{Job, LaneKey, LaneSlot, Open, ReplaySlot, Stage, WaiterSlot};
use super::scale::{Admission, LeaseSlot, OpenSlot, RegistryInput};
use super::shard::{Out, Shard, perform, tell};
use crate::locks::Level;
use crate::state::{Access, CreateAction, OplockLevel};
use crate::stats::count;
use crate::status::Status;
use crate::store::table::Keyed;
use crate::types::{ClientGuid, ConnId, CreateGuid, FileId, RequestId, SessionId, UserId};
use crate::wire;

/// What names a CREATE for replay.
pub(super) type CreateName = (ClientGuid, CreateGuid);

/// A CreateGuid in use: by a CREATE in flight, or by an open that nobody has used yet.
#[derive(Clone, Debug)]
pub(super) struct Replayable {
    pub(super) name: CreateName,
    user: UserId,
    /// From the moment when the driver opens the file.
    pub(super) open: Option<OpenSlot>,
    /// CreateAction of the first answer.
    action: CreateAction,
}

impl Keyed for Replayable {
    type Key = CreateName;

    fn key(&self) -> CreateName {
        self.name
    }
}

/// An open with none of these rights is created anew instead of replayed (MS-SMB2 3.3.5.9.10).
pub(super) const REPLAYED: Access = Access::READ_DATA
    .union(Access::EXECUTE)
    .union(Access::WRITE_DATA)
    .union(Access::APPEND_DATA)
    .union(Access::DELETE);

impl Shard {
    /// Remembers the CreateGuid of a CREATE.
    pub(super) fn note_guid(&mut self, admission: &Admission, out: Out<'_>) {
        let Some(name) = admission.guid() else { return };
        let (user, action) = (admission.create.user, CreateAction::Opened);
        let full = self.replays.find(name).is_none()
            && self.replays.insert(Replayable { name, user, open: None, action }).is_err();
        // A table that is full forgets: the CREATE cannot be replayed, and is carried out all the same.
        if full {
            tell(out, RegistryInput::GuidReleased { client: name.0, guid: name.1 });
        }
    }

    /// The CREATE has come so far that the driver opens the file.
    pub(super) fn guid_opens(&mut self, name: CreateName, open: OpenSlot) -> Option<ReplaySlot> {
        let slot = self.replays.find(name)?;
        self.replays.get_mut(slot)?.open = Some(open);
        Some(slot)
    }

    /// The CREATE is answered: what it got can be asked for again, until somebody uses it (MS-SMB2 3.3.5.9.10).
    pub(super) fn guid_granted(
        &mut self,
        open: OpenSlot,
        admission: &Admission,
        opened: Opened,
        out: Out<'_>,
    ) {
        let Some(slot) = self.opens.get(open).and_then(|open| open.replay) else { return };
        let create = &admission.create;
        let file = opened.kind == ObjectKind::File && create.share.kind == ShareKind::Disk;
        if !(self.is_promised(open) || file && create.granted.intersects(REPLAYED)) {
            return self.used(open, out);
        }
        if let Some(entry) = self.replays.get_mut(slot) {
            entry.action = opened.action;
        }
    }

    /// A CREATE has come to nothing: its CreateGuid is free.
    pub(super) fn free_guid(&mut self, admission: &Admission, out: Out<'_>) {
        let slot = admission.guid().and_then(|name| self.replays.find(name));
        if let Some(slot) =
            slot.filter(|slot| self.replays.get(*slot).is_some_and(|entry| entry.open.is_none()))
        {
            self.release_guid(slot, out);
        }
    }

    /// An open is used: its CREATE cannot be replayed any more.
    pub(super) fn used(&mut self, open: OpenSlot, out: Out<'_>) {
        if let Some(slot) = self.opens.get_mut(open).and_then(|open| open.replay.take()) {
            self.release_guid(slot, out);
        }
    }

    pub(super) fn used_by_name(&mut self, file_id: FileId, out: Out<'_>) {
        if let Some((slot, _)) = self.open(file_id) {
            self.used(slot, out);
        }
    }

    fn release_guid(&mut self, slot: ReplaySlot, out: Out<'_>) {
        if let Some(Replayable { name: (client, guid), .. }) = self.replays.remove(slot) {
            tell(out, RegistryInput::GuidReleased { client, guid });
        }
    }

    /// A lease is acknowledged: all its opens are used (MS-SMB2 3.3.5.22.2). O(1) while nothing can be replayed.
    pub(super) fn lease_used(&mut self, lease: LeaseSlot, out: Out<'_>) {
        if self.replays.len() == 0 {
            return;
        }
        let file = self.leases.get(lease).and_then(|lease| self.files.get(lease.file));
        let mut next = file.and_then(|file| file.opens.head());
        while let Some(slot) = next {
            let Some(open) = self.opens.get(slot) else { break };
            next = open.in_file.next();
            if open.lease() == Some(lease) && !open.unheard() {
                self.used(slot, out);
            }
        }
    }

    /// A connection is lost, and its session has another: CREATEs that can be replayed go on, and are answered when they are
    /// asked for again (MS-SMB2 3.3.7.1).
    pub(super) fn inherit(&mut self, session: SessionId, from: ConnId, to: ConnId) {
        let conn = to;
        let Some(from) = self.lanes.find(LaneKey::Conn(from)) else { return };
        let Ok(to) = self.lane(LaneKey::Conn(to)) else { return };
        let mut next = self.lanes.get(from).and_then(|lane| lane.waiters.head());
        while let Some(slot) = next {
            let Some(waiter) = self.waiters.get(slot) else { break };
            next = waiter.in_lane.next();
            let heritable = match &waiter.job {
                Job::Create(admission) => {
                    admission.create.origin.session == session && admission.guid().is_some()
                }
                Job::Operate { .. } | Job::Lock(_) | Job::OwnerLock(_) | Job::Reserve(_) => false,
            };
            if heritable {
                self.move_waiter(slot, from, (to, conn));
            }
        }
        let mut next = self.lanes.get(from).and_then(|lane| lane.reserved.head());
        while let Some(slot) = next {
            let Some(open) = self.opens.get(slot) else { break };
            next = open.in_lane.next();
            let heritable = open.replay.is_some()
                && open.session.and_then(|of| self.sessions.get(of)).is_some_and(|of| of.id == session);
            if heritable {
                self.move_reserved(slot, from, (to, conn));
            }
        }
        self.reap_lane(Some(to));
    }

    fn move_waiter(&mut self, slot: WaiterSlot, from: LaneSlot, (to, conn): (LaneSlot, ConnId)) {
        if let Some(lane) = self.lanes.get_mut(from) {
            lane.waiters.remove(&mut self.waiters.records, slot, |waiter| &mut waiter.in_lane);
        }
        let Some(lane) = self.lanes.get_mut(to) else { return };
        lane.waiters.push_back(&mut self.waiters.records, slot, |waiter| &mut waiter.in_lane);
        if let Some(waiter) = self.waiters.get_mut(slot) {
            waiter.lane = Some(to);
            if let Job::Create(admission) = &mut waiter.job {
                admission.create.origin.conn = conn;
            }
        }
    }

    fn move_reserved(&mut self, slot: OpenSlot, from: LaneSlot, (to, conn): (LaneSlot, ConnId)) {
        if let Some(lane) = self.lanes.get_mut(from) {
            lane.reserved.remove(&mut self.opens, slot, |open| &mut open.in_lane);
        }
        let Some(lane) = self.lanes.get_mut(to) else { return };
        lane.reserved.push_back(&mut self.opens, slot, |open| &mut open.in_lane);
        let stage = self.opens.get_mut(slot).map(|open| &mut open.stage);
        if let Some(Stage::Reserved { lane, admission } | Stage::Unheard { lane, admission, .. }) = stage {
            *lane = to;
            admission.create.origin.conn = conn;
        }
    }

    /// A CREATE whose CreateGuid is in use here.
    pub(super) fn again(&mut self, admission: Admission, out: Out<'_>) {
        let entry = admission.guid().and_then(|name| self.replays.find(name));
        let Some(entry) = entry.and_then(|slot| self.replays.get(slot)) else {
            // It was freed while this was on its way: the registry has heard of that by the time it hears of this.
            return tell(out, RegistryInput::Anew { admission: self.admissions.put(admission) });
        };
        let entry = entry.clone();
        if self.config.profile.pending_replay == PendingReplay::Unnoticed && self.answered(&entry).is_none() {
            return self.unnoticed(admission, out);
        }
        let request = admission.create.request;
        let found = self.replayed(&entry, &admission);
        self.answer_replay(request, found, out);
    }

    /// A CREATE whose first attempt is not answered yet counts for itself: share modes hold it up as they do the first, and
    /// behind them there is an open already that cannot be replayed.
    fn unnoticed(&mut self, mut admission: Admission, out: Out<'_>) {
        let file = self.files.find(admission.create.file).and_then(|file| self.files.get(file));
        if file.is_none_or(|file| file.shares.fit(admission.claim())) {
            return self.decline(admission.create.request, Status::ACCESS_DENIED, out);
        }
        admission.create.durability = Durability::None;
        let admission = self.admissions.put(admission);
        self.arrive(admission.create.file, Job::Create(admission), out);
    }

    /// The open that a CREATE got, once it is answered.
    fn answered(&self, entry: &Replayable) -> Option<(OpenSlot, &Open)> {
        let found = entry.open.and_then(|slot| Some((slot, self.opens.get(slot)?)));
        found.filter(|(_, open)| !open.opening() && !open.unheard())
    }

    fn answer_replay(
        &mut self,
        request: RequestId,
        found: Result<(Option<OpenSlot>, Grant), Status>,
        out: Out<'_>,
    ) {
        match found {
            Ok((returned, grant)) => {
                count(&mut self.stats.replayed);
                perform(out, Action::Granted { request, grant });
                if let Some(slot) = returned {
                    self.remind(slot, out);
                }
            }
            Err(status) => self.decline(request, status, out),
        }
    }

    /// A CREATE that is sent again for a persistent open, after that was used or the server was started anew (MS-SMB2 3.3.5.9).
    pub(super) fn come_back(&mut self, admission: &Admission, persistent: u64, out: Out<'_>) {
        let found = self.returned(admission, persistent).map(|(slot, grant)| (Some(slot), grant));
        self.answer_replay(admission.create.request, found, out);
    }

    fn returned(&mut self, admission: &Admission, persistent: u64) -> Result<(OpenSlot, Grant), Status> {
        let away = Status::FILE_NOT_AVAILABLE;
        let create = &admission.create;
        let durable = self.durables.find(persistent).and_then(|slot| self.durables.get(slot)).ok_or(away)?;
        let promise = durable.promise().filter(|promise| promise.stored).ok_or(away)?;
        let (slot, action) = (durable.open, promise.action);
        let open = self.opens.get(slot).filter(|open| open.orphaned() && self.in_time(open)).ok_or(away)?;
        if durable.owner != create.user {
            return Err(Status::ACCESS_DENIED);
        }
        let elsewhere = self.files.get(open.file).is_none_or(|file| file.key != create.file);
        if elsewhere
            || open.options != create.options
            || open.desired != create.desired
            || promise.sharing != create.sharing
        {
            return Err(Status::CONTEXT_MISMATCH);
        }
        let lease = open.lease().and_then(|lease| self.leases.get(lease));
        if lease.is_some_and(|lease| lease.name.0 != admission.client) {
            return Err(Status::ACCESS_DENIED);
        }
        let durable = durable.grant(create.durability);
        let (slot, grant) = self.give_back(slot, create.origin, admission.lease)?;
        Ok((slot, Grant { action, durable, ..grant }))
    }

    /// The checks in their order (MS-SMB2 3.3.5.9), and the answer of the first time; and the open, if it is given back by that.
    fn replayed(
        &mut self,
        entry: &Replayable,
        admission: &Admission,
    ) -> Result<(Option<OpenSlot>, Grant), Status> {
        let create = &admission.create;
        let (slot, open) = self.answered(entry).ok_or(Status::FILE_NOT_AVAILABLE)?;
        let promise = open.durable.and_then(|slot| self.durables.get(slot)?.promise());
        let absent = promise.is_some() && open.orphaned();
        if !create.replay {
            let elsewhere = absent && create.share.flags.contains(ShareFlags::SCALE_OUT);
            return Err(if elsewhere { Status::FILE_NOT_AVAILABLE } else { Status::DUPLICATE_OBJECTID });
        }
        let lease = open.lease().and_then(|lease| self.leases.get(lease));
        let key = lease.map(|lease| lease.name.1).or_else(|| open.guest().map(wire::Lease::key));
        let same_lease = key == admission.lease.map(|lease| lease.key());
        if entry.user != create.user || !same_lease {
            return Err(Status::ACCESS_DENIED);
        }
        if promise.is_some_and(|promise| !promise.stored) {
            return Err(Status::FILE_NOT_AVAILABLE);
        }
        let without_flag = promise.is_some() && !admission.continuous;
        let session = open.session.and_then(|session| self.sessions.get(session));
        let returned = match session {
            Some(session) if session.id == create.origin.session => {
                if without_flag {
                    return Err(Status::INVALID_PARAMETER);
                }
                None
            }
            Some(_) => return Err(Status::DUPLICATE_OBJECTID),
            None if without_flag => return Err(Status::INVALID_PARAMETER),
            // Choice: as deployed servers have it, whoever replays comes back by that.
            None if self.in_time(open) => Some(self.give_back(slot, create.origin, admission.lease)?.0),
            None => return Err(Status::DUPLICATE_OBJECTID),
        };
        let open = self.opens.get(returned.unwrap_or(slot)).ok_or(Status::FILE_NOT_AVAILABLE)?;
        let lease = open.lease().and_then(|lease| self.leases.get(lease));
        // Choice: without a lease the level is that which is asked this time, as deployed servers have it; never more than is held.
        let held = open.oplock().map_or(Level::None, Oplock::level);
        let level = level_of(create.level).min(held);
        let state = lease.map_or_else(|| level.caches(), |lease| lease.hold.state());
        let leased = lease.is_some() || open.guest().is_some();
        let level = if leased { OplockLevel::Lease } else { level.on_wire() };
        let durable = open.durable.and_then(|durable| self.durables.get(durable));
        let durable =
            durable.filter(|durable| durable.promise().is_some() || survives(state, lease.is_none()));
        let durable: Option<DurableGrant> = durable.and_then(|durable| durable.grant(create.durability));
        let lease = self.lease_context(open);
        let (file_id, action) = (open.file_id, entry.action);
        Ok((returned, Grant { file_id, action, level, durable, lease, replayable: true }))
    }
}

/// The level that a request asks for.
pub(super) fn level_of(level: OplockLevel) -> Level {
    match level {
        OplockLevel::II => Level::II,
        OplockLevel::Exclusive => Level::Exclusive,
        OplockLevel::Batch => Level::Batch,
        OplockLevel::None | OplockLevel::Lease | OplockLevel::Undefined(_) => Level::None,
    }
}

impl Admission {
    /// The CreateGuid of DH2Q (MS-SMB2 3.3.5.9.10).
    pub(super) fn guid(&self) -> Option<CreateName> {
        match self.create.durability {
            Durability::V2 { create_guid, .. } => Some((self.client, create_guid)),
            Durability::None | Durability::V1 => None,
        }
    }
}
