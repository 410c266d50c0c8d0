//! Opens without a connection: kept, purged, expired, and given back (MS-SMB2 3.3.5.9.7, 3.3.5.9.12, 3.3.6.2, 3.3.7.1).

use core::mem;
use core::time::Duration;

use slotmap::Key;

use super::action::{Action, Grant};
use super::durable::{Durable, Kind, survives};
use super::event::{Durability, ObjectKind, Opened, Origin, Reconnect, SessionEnd};
use super::lease::Lease;
use super::records::{Caching, DurableSlot, Open, Stage};
use super::scale::{Admission, Due, HolderId, LeaseSlot, OpenSlot};
use super::shard::{Out, Shard, perform};
use crate::state::{CreateAction, LeaseState, OplockLevel};
use crate::stats::count;
use crate::status::Status;
use crate::store::list::Links;
use crate::types::{ClientGuid, CreateGuid, FileId, RequestId, SessionId, UserId};

impl Shard {
    /// Makes an open durable, if what it was granted lets it be (MS-SMB2 3.3.5.9.6, 3.3.5.9.10).
    pub(super) fn make_durable(&mut self, slot: OpenSlot, admission: &Admission, opened: Opened) {
        let config = &self.config;
        let (timeout, create_guid) = match admission.create.durability {
            Durability::None => return,
            Durability::V1 => (config.durable_timeout, CreateGuid::default()),
            Durability::V2 { timeout: 0, create_guid, .. } => (config.durable_v2_timeout, create_guid),
            Durability::V2 { timeout, create_guid, .. } => {
                (Duration::from_millis(timeout.into()).min(config.durable_v2_max), create_guid)
            }
        };
        let Some(open) = self.opens.get(slot) else { return };
        if opened.kind == ObjectKind::Directory || !self.caches_enough(open) {
            return;
        }
        let (persistent, client, owner) = (open.file_id.persistent, admission.client, admission.create.user);
        let kind = Kind::Durable;
        let durable =
            Durable { persistent, open: slot, client, owner, create_guid, timeout, kind, timer: None };
        let durable = self.durables.insert(durable).ok();
        if let Some(open) = self.opens.get_mut(slot) {
            open.durable = durable;
        }
    }

    /// FSCTL_LMR_REQUEST_RESILIENCY (MS-SMB2 3.3.5.15.9): the open leaves the rules of durable ones.
    pub(super) fn make_resilient(
        &mut self,
        request: RequestId,
        (session, file_id): (SessionId, FileId),
        (client, owner): (ClientGuid, UserId),
        timeout: u32,
        out: Out<'_>,
    ) {
        self.used_by_name(file_id, out);
        let timeout = match timeout {
            0 => self.config.resilient_default,
            millis => Duration::from_millis(millis.into()),
        };
        let open = self.live(file_id, Some(session)).map(|(slot, open)| (slot, open.durable));
        let result = match open {
            None => Err(Status::FILE_CLOSED),
            Some(_) if timeout > self.config.resilient_max => Err(Status::INVALID_PARAMETER),
            Some((slot, durable)) => self.set_resilient(slot, durable, (client, owner), timeout),
        };
        match result {
            Ok(()) => perform(out, Action::Accepted { request }),
            Err(status) => {
                count(&mut self.stats.refused);
                perform(out, Action::Refused { request, status });
            }
        }
    }

    fn set_resilient(
        &mut self,
        open: OpenSlot,
        durable: Option<DurableSlot>,
        (client, owner): (ClientGuid, UserId),
        timeout: Duration,
    ) -> Result<(), Status> {
        let kind = Kind::Resilient;
        if let Some(durable) = durable.and_then(|durable| self.durables.get_mut(durable)) {
            (durable.kind, durable.timeout, durable.owner) = (kind, timeout, owner);
            return Ok(());
        }
        let Some(record) = self.opens.get_mut(open) else { return Err(Status::FILE_CLOSED) };
        let (persistent, create_guid) = (record.file_id.persistent, CreateGuid::default());
        let durable = Durable { persistent, open, client, owner, create_guid, timeout, kind, timer: None };
        record.durable = self.durables.insert(durable).ok();
        if record.durable.is_some() { Ok(()) } else { Err(Status::INSUFFICIENT_RESOURCES) }
    }

    fn is_resilient(&self, open: &Open) -> bool {
        let durable = open.durable.and_then(|durable| self.durables.get(durable));
        durable.is_some_and(|durable| durable.kind == Kind::Resilient)
    }

    /// Whether what an open caches now would let it outlive its connection: a break in flight does not count yet.
    fn caches_enough(&self, open: &Open) -> bool {
        match open.caching() {
            Some(Caching::Lease(lease)) => {
                self.leases.get(*lease).is_some_and(|lease| survives(lease.hold.state(), false))
            }
            Some(Caching::Oplock(oplock)) => survives(oplock.hold.state(), true),
            Some(Caching::Nothing | Caching::Guest) | None => false,
        }
    }

    /// Whether what an open caches, and is not about to lose, lets it outlive its connection.
    fn may_survive(&self, open: &Open) -> bool {
        let held = match open.caching() {
            Some(Caching::Lease(lease)) => self.leases.get(*lease).map(|lease| (&lease.hold, false)),
            Some(Caching::Oplock(oplock)) => Some((&oplock.hold, true)),
            Some(Caching::Nothing | Caching::Guest) | None => None,
        };
        held.is_some_and(|(hold, oplock)| hold.breaking().is_none() && survives(hold.state(), oplock))
    }

    /// Whether an open is kept when its session goes in this way (MS-SMB2 3.3.5.6, 3.3.7.1).
    pub(super) fn is_kept(&self, slot: OpenSlot, end: SessionEnd) -> bool {
        let Some(open) = self.opens.get(slot).filter(|open| open.durable.is_some()) else { return false };
        match end {
            // One that caches too little could not be had back, and an oplock that breaks could not be answered for.
            SessionEnd::LoggedOff => {
                let breaks = open.oplock().is_some_and(|oplock| oplock.hold.breaking().is_some());
                self.is_resilient(open) || (self.caches_enough(open) && !breaks)
            }
            SessionEnd::Replaced if self.is_resilient(open) => true,
            // Choice: as Samba has it, locks are only kept for those who have W: others may read what is locked.
            SessionEnd::Replaced => {
                self.may_survive(open) && (open.locks.lock_count() == 0 || self.caches_writes(open))
            }
            SessionEnd::Refused => false,
        }
    }

    fn caches_writes(&self, open: &Open) -> bool {
        let lease = open.lease().and_then(|lease| self.leases.get(lease)).map(|lease| lease.hold.state());
        let state = lease.or_else(|| open.oplock().map(|oplock| oplock.hold.state()));
        state.is_some_and(|state| state.contains(LeaseState::WRITE))
    }

    /// An open has lost its session and waits for its client. Its time begins to run.
    pub(super) fn orphan(&mut self, slot: OpenSlot, out: Out<'_>) {
        self.answer_for(slot, out);
        self.leave_session(slot);
        let Some(open) = self.opens.get_mut(slot) else { return };
        let Stage::Live(caching) = mem::replace(&mut open.stage, Stage::Abandoned) else { return };
        open.stage = Stage::Orphaned(caching);
        let (lease, durable) = (open.lease(), open.durable);
        // Nobody is left to answer for its oplock.
        if open.oplock().is_some_and(|oplock| oplock.hold.breaking().is_some()) {
            self.forsake(HolderId::Oplock(slot));
        }
        if let Some(lease) = lease.and_then(|lease| self.leases.get_mut(lease)) {
            lease.orphans = lease.orphans.saturating_add(1);
        }
        if let Some(durable) = durable.and_then(|durable| self.durables.get_mut(durable)) {
            let due = self.now.saturating_add(durable.timeout);
            durable.timer = Some(self.timers.start(due, Due::Return(slot)));
        }
        count(&mut self.stats.orphaned);
    }

    /// Nobody came back in time (MS-SMB2 3.3.6.2).
    pub(super) fn expire(&mut self, slot: OpenSlot, out: Out<'_>) {
        let Some(open) = self.opens.get(slot) else { return self.anomaly("a deadline of no open") };
        let (file, durable) = (open.file, open.durable);
        if let Some(durable) = durable.and_then(|durable| self.durables.get_mut(durable)) {
            durable.timer = None;
        }
        count(&mut self.stats.orphans_expired);
        self.shut(slot, out);
        self.settle(file, out);
    }

    /// Closes the opens of those in `breaks` whom nobody can tell: a break purges them, and delays nobody (MS-SMB2 3.3.4.6,
    /// 3.3.4.7). Their files have to be settled. *Choice:* also a break that would leave them H, as deployed servers have it.
    pub(super) fn purge(&mut self, out: Out<'_>) -> bool {
        let mut purged = false;
        let mut at = 0;
        while let Some(holder) = self.breaks.get(at).map(|wanted| wanted.id) {
            let deserted = match holder {
                HolderId::Lease(lease) => self.leases.get(lease).is_some_and(Lease::deserted),
                HolderId::Oplock(open) => self.opens.get(open).is_some_and(Open::orphaned),
            };
            if !deserted {
                at = at.saturating_add(1);
                continue;
            }
            self.breaks.swap_remove(at);
            purged = true;
            let others = mem::take(&mut self.breaks);
            match holder {
                HolderId::Lease(lease) => self.purge_lease(lease, out),
                HolderId::Oplock(open)
                    if self.opens.get(open).is_some_and(|open| self.is_resilient(open)) =>
                {
                    self.forsake(holder);
                }
                HolderId::Oplock(open) => self.shut(open, out),
            }
            self.breaks = others;
            count(&mut self.stats.orphans_purged);
        }
        purged
    }

    pub(super) fn purge_lease(&mut self, lease: LeaseSlot, out: Out<'_>) {
        // From the start each time: what closes may purge others in its turn.
        while let Some(slot) = self.orphan_of(lease) {
            self.shut(slot, out);
        }
        // What is left of it are resilient opens: they stay, and cache nothing (MS-SMB2 3.3.4.7).
        self.forsake(HolderId::Lease(lease));
    }

    /// A lease that has lost H keeps nobody who is not connected: they could not be had back (MS-SMB2 3.3.4.7).
    pub(super) fn shed_orphans(&mut self, lease: LeaseSlot, out: Out<'_>) {
        let sheds = |lease: &Lease| lease.orphans > 0 && !lease.hold.state().contains(LeaseState::HANDLE);
        while self.leases.get(lease).is_some_and(sheds) {
            let Some(slot) = self.orphan_of(lease) else { return };
            self.shut(slot, out);
        }
    }

    /// An open of a lease that is kept for what it caches, without a connection.
    fn orphan_of(&self, lease: LeaseSlot) -> Option<OpenSlot> {
        let file = self.files.get(self.leases.get(lease)?.file)?;
        let mut opens = file.opens.iter(&self.opens, |open| &open.in_file);
        let found = opens
            .find(|(_, open)| open.lease() == Some(lease) && open.orphaned() && !self.is_resilient(open));
        found.map(|(slot, _)| slot)
    }

    /// DHnC, DH2C (MS-SMB2 3.3.5.9.7, 3.3.5.9.12). Whatever fails leaves the open as it is.
    pub(super) fn reconnect(&mut self, reconnect: &Reconnect, client: ClientGuid, out: Out<'_>) {
        let found =
            self.reclaimable(reconnect, client).and_then(|slot| self.give_back(slot, reconnect.origin));
        let request = reconnect.request;
        match found {
            Ok(grant) => {
                count(&mut self.stats.reconnected);
                perform(out, Action::Granted { request, grant });
            }
            Err(status) => {
                count(&mut self.stats.refused);
                perform(out, Action::Refused { request, status });
            }
        }
    }

    /// The open that is wanted back, if it may be had.
    fn reclaimable(&self, reconnect: &Reconnect, client: ClientGuid) -> Result<OpenSlot, Status> {
        let gone = Status::OBJECT_NAME_NOT_FOUND;
        let durable = self.durables.find(reconnect.persistent).and_then(|slot| self.durables.get(slot));
        let durable = durable.ok_or(gone)?;
        let open = self.opens.get(durable.open).filter(|open| open.orphaned()).ok_or(gone)?;
        // A CreateGuid of zeros is that of an open made durable by DHnQ, and DHnC asks for none.
        let same_guid = reconnect.create_guid.is_none_or(|guid| guid == durable.create_guid);
        if !self.in_time(open) || !same_guid {
            return Err(gone);
        }
        let lease = open.lease().and_then(|lease| self.leases.get(lease));
        match (lease, &reconnect.lease) {
            (Some(lease), Some(context)) => {
                let same = durable.client == client
                    && lease.name.1 == context.key()
                    && lease.is_of_version(context)
                    && (durable.kind == Kind::Resilient || lease.hold.state().contains(LeaseState::HANDLE));
                if !same {
                    return Err(gone);
                }
            }
            (None, None) if durable.kind == Kind::Resilient || self.may_survive(open) => {}
            (Some(_), None) | (None, _) => return Err(gone),
        }
        if durable.owner != reconnect.user {
            return Err(Status::ACCESS_DENIED);
        }
        let named = self.files.get(open.file).map(|file| file.key);
        if lease.is_some_and(|lease| !lease.relaxed) && named != reconnect.file {
            return Err(Status::INVALID_PARAMETER);
        }
        Ok(durable.open)
    }

    /// Whether an open may still be wanted back. Its time may have passed in a call that had no room for its deadline.
    pub(super) fn in_time(&self, open: &Open) -> bool {
        let timer =
            open.durable.and_then(|durable| self.durables.get(durable)).and_then(|durable| durable.timer);
        timer.and_then(|timer| self.timers.due(timer)).is_some_and(|due| due > self.now)
    }

    /// Gives an open to the session of the request: with a new volatile half, so that nobody mistakes it for what it was.
    pub(super) fn give_back(&mut self, slot: OpenSlot, origin: Origin) -> Result<Grant, Status> {
        let session = self.session(origin.session).map_err(|_| Status::INSUFFICIENT_RESOURCES)?;
        let gone = Status::OBJECT_NAME_NOT_FOUND;
        let file = self.opens.get(slot).map(|open| open.file).ok_or(gone)?;
        if let Some(file) = self.files.get_mut(file) {
            file.opens.remove(&mut self.opens, slot, |open| &mut open.in_file);
        }
        let mut open = self.opens.remove(slot).ok_or(gone)?;
        (open.in_file, open.in_session) = (Links::default(), Links::default());
        (open.session, open.tree) = (Some(session), origin.tree);
        open.stage = match mem::replace(&mut open.stage, Stage::Abandoned) {
            Stage::Orphaned(caching) => Stage::Live(caching),
            other @ (Stage::Live(_) | Stage::Reserved { .. } | Stage::Abandoned) => other,
        };
        let slot = self.opens.insert_with_key(|slot| {
            open.file_id.volatile = slot.data().as_ffi();
            open
        });
        if let Some(file) = self.files.get_mut(file) {
            file.opens.push_back(&mut self.opens, slot, |open| &mut open.in_file);
        }
        if let Some(session) = self.sessions.get_mut(session) {
            session.opens.push_back(&mut self.opens, slot, |open| &mut open.in_session);
        }
        self.end_of_wait(slot);
        if let Some(entry) = self.opens.get(slot).and_then(|open| self.replays.get_mut(open.replay?)) {
            entry.open = Some(slot);
        }
        let open = self.opens.get(slot).ok_or(gone)?;
        let (file_id, lease) = (open.file_id, open.lease());
        let level = match (open.oplock(), lease) {
            (Some(oplock), _) => oplock.level().on_wire(),
            (None, Some(_)) => OplockLevel::Lease,
            (None, None) => OplockLevel::None,
        };
        if let Some(lease) = lease.and_then(|lease| self.leases.get_mut(lease)) {
            lease.orphans = lease.orphans.saturating_sub(1);
        }
        let lease = lease.and_then(|lease| self.leases.get(lease)).map(Lease::context);
        let replayable = open.replay.is_some();
        Ok(Grant { file_id, action: CreateAction::Opened, level, durable: None, lease, replayable })
    }

    /// An open has moved, and its client is there: its time runs no more.
    fn end_of_wait(&mut self, slot: OpenSlot) {
        let Some(open) = self.opens.get_mut(slot) else { return };
        if let Some(durable) = open.durable.and_then(|durable| self.durables.get_mut(durable)) {
            durable.open = slot;
            if let Some(timer) = durable.timer.take() {
                self.timers.stop(timer);
            }
        }
    }

    /// Takes an open out of its session.
    pub(super) fn leave_session(&mut self, slot: OpenSlot) {
        let session = self.opens.get_mut(slot).and_then(|open| open.session.take());
        let Some(session) = session else { return };
        if let Some(record) = self.sessions.get_mut(session) {
            record.opens.remove(&mut self.opens, slot, |open| &mut open.in_session);
            if record.opens.vacant() {
                self.sessions.remove(session);
            }
        }
    }
}
