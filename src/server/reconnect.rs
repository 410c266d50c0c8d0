//! Opens without a connection: kept, purged, expired, and given back (MS-SMB2 3.3.5.9.7, 3.3.5.9.12, 3.3.6.2, 3.3.7.1).

use alloc::boxed::Box;
use core::mem;
use core::time::Duration;

use slotmap::Key;

use super::action::{Action, Grant};
use super::durable::{Durable, Kind, Promise, survives};
use super::event::{Durability, ObjectKind, Opened, Origin, Reconnect, SessionEnd};
use super::hold::Hold;
use super::journal::HeldBack;
use super::lease::Lease;
use super::records::{Caching, FileSlot, Open, Stage};
use super::scale::{Admission, Due, HolderId, LeaseSlot, OpenSlot, RegistryInput, Route};
use super::sequence::LockSequences;
use super::shard::{Out, Shard, perform, tell};
use crate::locks::Break;
use crate::state::{CreateAction, LeaseState};
use crate::stats::count;
use crate::status::Status;
use crate::store::list::Links;
use crate::types::{ClientGuid, CreateGuid, Epoch, FileId, RequestId, SessionId, UserId};
use crate::wire;
use crate::wire::DurableFlags;

impl Shard {
    /// Makes an open durable or persistent, if what it was granted lets it be (MS-SMB2 3.3.5.9.6, 3.3.5.9.10).
    pub(super) fn make_durable(&mut self, slot: OpenSlot, admission: &Admission, opened: Opened) {
        let config = &self.config;
        let create = &admission.create;
        let (timeout, create_guid) = match create.durability {
            Durability::None => return,
            Durability::V1 => (config.durable_timeout, CreateGuid::default()),
            Durability::V2 { timeout, create_guid, .. } => {
                let timeout = match (timeout, create.share.ca_timeout) {
                    (0, 0) => config.durable_v2_timeout,
                    (0, millis) => Duration::from_millis(millis.into()),
                    (millis, _) => Duration::from_millis(millis.into()).min(config.durable_v2_max),
                };
                (timeout, create_guid)
            }
        };
        let Some(open) = self.opens.get(slot) else { return };
        let kind = if admission.continuous {
            Kind::Persistent(Box::new(Promise {
                granted: create.granted,
                sharing: create.sharing,
                action: opened.action,
                kind: opened.kind,
                channel_sequence: create.channel_sequence,
                sequences: LockSequences::default(),
                stored: false,
                told: false,
                withdrawn: false,
                dirty: false,
                reads: false,
                unclaimed: false,
            }))
        } else if opened.kind == ObjectKind::Directory || !self.caches_enough(open) || !self.is_reserved(open)
        {
            return;
        } else {
            Kind::Durable
        };
        let (persistent, client, owner) = (open.file_id.persistent, admission.client, create.user);
        let durable =
            Durable { persistent, open: slot, client, owner, create_guid, timeout, kind, timer: None };
        let durable = self.durables.insert(durable).ok();
        if let Some(open) = self.opens.get_mut(slot) {
            open.durable = durable;
        }
        if admission.continuous && durable.is_some() {
            self.count_promised(slot, |count| count.saturating_add(1));
        }
    }

    /// Whether the FileId of an open will not be given out again, whatever happens: a handle must not lead to another open after a
    /// restart.
    pub(super) fn is_reserved(&self, open: &Open) -> bool {
        !self.config.persistence || Route::serial_of(open.file_id) < self.journal.reserved
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
        let timeout = match timeout {
            0 => self.config.resilient_default,
            millis => Duration::from_millis(millis.into()),
        };
        let Some((slot, _)) = self.live(file_id, Some(session)) else {
            return self.decline(request, Status::FILE_CLOSED, out);
        };
        self.used(slot, out);
        if timeout > self.config.resilient_max {
            return self.decline(request, Status::INVALID_PARAMETER, out);
        }
        match self.set_resilient(slot, (client, owner), timeout) {
            Ok(()) => self.when_durable(slot, HeldBack::Accept(request), out),
            Err(status) => self.decline(request, status, out),
        }
    }

    fn set_resilient(
        &mut self,
        slot: OpenSlot,
        (client, owner): (ClientGuid, UserId),
        timeout: Duration,
    ) -> Result<(), Status> {
        let full = Status::INSUFFICIENT_RESOURCES;
        let open = self.opens.get(slot).filter(|open| self.is_reserved(open)).ok_or(full)?;
        let persistent = open.file_id.persistent;
        if let Some(durable) = open.durable.and_then(|durable| self.durables.get_mut(durable)) {
            (durable.timeout, durable.owner) = (timeout, owner);
            // Choice: what outlives the server does not become less by that.
            if durable.purgeable() {
                durable.kind = Kind::Resilient;
            }
            self.touch(slot);
            return Ok(());
        }
        let (create_guid, kind) = (CreateGuid::default(), Kind::Resilient);
        let durable =
            Durable { persistent, open: slot, client, owner, create_guid, timeout, kind, timer: None };
        let durable = self.durables.insert(durable).map_err(|_| full)?;
        if let Some(open) = self.opens.get_mut(slot) {
            open.durable = Some(durable);
        }
        Ok(())
    }

    /// Whether an open survives on its own, whatever it caches.
    fn is_kept_by_itself(&self, open: &Open) -> bool {
        let durable = open.durable.and_then(|durable| self.durables.get(durable));
        durable.is_some_and(|durable| !durable.purgeable())
    }

    /// What an open caches under, and whether that is an oplock.
    pub(super) fn hold<'a>(&'a self, open: &'a Open) -> Option<(&'a Hold, bool)> {
        match open.caching()? {
            Caching::Lease(lease) => self.leases.get(*lease).map(|lease| (&lease.hold, false)),
            Caching::Oplock(oplock) => Some((&oplock.hold, true)),
            Caching::Nothing | Caching::Guest(_) => None,
        }
    }

    /// Whether what an open caches now would let it outlive its connection: a break in flight does not count yet.
    pub(super) fn caches_enough(&self, open: &Open) -> bool {
        self.hold(open).is_some_and(|(hold, oplock)| survives(hold.state(), oplock))
    }

    /// Whether what an open caches, and is not about to lose, lets it outlive its connection.
    fn may_survive(&self, open: &Open) -> bool {
        self.caches_enough(open) && self.hold(open).is_some_and(|(hold, _)| hold.breaking().is_none())
    }

    /// Whether an open is kept when its session goes in this way (MS-SMB2 3.3.5.6, 3.3.7.1).
    pub(super) fn is_kept(&self, slot: OpenSlot, end: SessionEnd) -> bool {
        let Some(open) = self.opens.get(slot).filter(|open| open.durable.is_some()) else { return false };
        match end {
            SessionEnd::Refused => false,
            SessionEnd::LoggedOff | SessionEnd::Replaced if self.is_kept_by_itself(open) => true,
            // One that caches too little could not be had back, and an oplock that breaks could not be answered for.
            SessionEnd::LoggedOff => {
                let breaks = open.oplock().is_some_and(|oplock| oplock.hold.breaking().is_some());
                self.caches_enough(open) && !breaks
            }
            // Choice: as Samba has it, locks are only kept for those who have W: others may read what is locked.
            SessionEnd::Replaced => {
                self.may_survive(open) && (open.locks.lock_count() == 0 || self.caches_writes(open))
            }
        }
    }

    fn caches_writes(&self, open: &Open) -> bool {
        self.hold(open).is_some_and(|(hold, _)| hold.state().contains(LeaseState::WRITE))
    }

    /// An open has lost its session and waits for its client. Its time begins to run.
    pub(super) fn orphan(&mut self, slot: OpenSlot, out: Out<'_>) {
        self.answer_for(slot, out);
        self.leave_session(slot);
        let Some(open) = self.opens.get_mut(slot) else { return };
        let Stage::Live(caching) = mem::replace(&mut open.stage, Stage::Abandoned) else { return };
        open.stage = Stage::Orphaned(caching);
        let (lease, durable, holder) = (open.lease(), open.durable, open.holder(slot));
        let breaking = open.oplock().is_some_and(|oplock| oplock.hold.breaking().is_some());
        if let Some(lease) = lease.and_then(|lease| self.leases.get_mut(lease)) {
            lease.orphans = lease.orphans.saturating_add(1);
        }
        if self.kept_for(holder) {
            // The notification is sent again when somebody is there to answer (MS-SMB2 3.3.4.7).
            self.stop_deadline(holder);
        } else if breaking {
            // Nobody is left to answer for its oplock.
            self.forsake(holder);
        }
        self.touch(slot);
        let timeout = durable.and_then(|durable| self.durables.get(durable)).map(|durable| durable.timeout);
        if let Some(timeout) = timeout {
            self.await_return(slot, timeout);
        }
        count(&mut self.stats.orphaned);
    }

    /// Nobody came back in time (MS-SMB2 3.3.6.2).
    pub(super) fn expire(&mut self, slot: OpenSlot, out: Out<'_>) {
        let Some(open) = self.opens.get(slot) else { return self.anomaly("a deadline of no open") };
        let file = open.file;
        self.stop_waiting(slot);
        count(&mut self.stats.orphans_expired);
        if let Some(change) = self.shut(slot, out) {
            self.bar_others(file, change);
        }
        self.settle(file, out);
    }

    /// Sees to those in `breaks` whom nobody can tell: a break closes their opens, and delays nobody (MS-SMB2 3.3.4.6, 3.3.4.7).
    /// Their files have to be settled, and what is left judged again. *Choice:* also a break that would leave them H, as deployed
    /// servers have it. What nobody has heard of comes down at once, and the break of a persistent open is kept.
    pub(super) fn purge(&mut self, out: Out<'_>) -> bool {
        let mut purged = false;
        let mut at = 0;
        while let Some(Break { id: holder, to }) = self.breaks.get(at).copied() {
            let unheard = self.unheard_of(holder);
            if !unheard && !self.is_purgeable(holder) {
                at = at.saturating_add(1);
                continue;
            }
            let wanted = self.breaks.swap_remove(at);
            purged = true;
            if unheard {
                match holder {
                    HolderId::Delegation(slot) => self.withdraw_delegation(slot, out),
                    HolderId::Lease(_) | HolderId::Oplock(_) => self.hush(holder, to),
                }
                continue;
            }
            let others = mem::take(&mut self.breaks);
            match holder {
                HolderId::Lease(lease) => self.purge_lease(lease, out),
                HolderId::Oplock(open)
                    if self.opens.get(open).is_some_and(|open| self.is_kept_by_itself(open)) =>
                {
                    self.forsake(holder);
                }
                HolderId::Oplock(open) => {
                    self.shut(open, out);
                }
                HolderId::Delegation(_) => {}
            }
            self.breaks = others;
            // Beside those who are closed there are persistent ones, for whom it is kept.
            if self.kept_for(holder) {
                self.breaks.push(wanted);
            }
            count(&mut self.stats.orphans_purged);
        }
        purged
    }

    /// Whether nobody can be told, and something has to be done about that.
    fn is_purgeable(&self, holder: HolderId) -> bool {
        let kept = self.kept_for(holder);
        match holder {
            HolderId::Lease(lease) => {
                self.leases.get(lease).is_some_and(Lease::deserted)
                    && (!kept || self.orphan_of(lease).is_some())
            }
            HolderId::Oplock(open) => self.opens.get(open).is_some_and(Open::orphaned) && !kept,
            HolderId::Delegation(_) => false,
        }
    }

    pub(super) fn purge_lease(&mut self, lease: LeaseSlot, out: Out<'_>) {
        // From the start each time: what closes may purge others in its turn.
        while let Some(slot) = self.orphan_of(lease) {
            self.shut(slot, out);
        }
        // What is left of it are resilient opens, which stay and cache nothing (MS-SMB2 3.3.4.7), or persistent ones.
        if !self.kept_for(HolderId::Lease(lease)) {
            self.forsake(HolderId::Lease(lease));
        }
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
        let found = opens.find(|(_, open)| {
            open.lease() == Some(lease) && open.orphaned() && !self.is_kept_by_itself(open)
        });
        found.map(|(slot, _)| slot)
    }

    /// DHnC, DH2C (MS-SMB2 3.3.5.9.7, 3.3.5.9.12). Whatever fails leaves the open as it is.
    pub(super) fn reconnect(
        &mut self,
        reconnect: Reconnect,
        client: ClientGuid,
        continuous: bool,
        out: Out<'_>,
    ) {
        if continuous && self.durables.find(reconnect.persistent).is_none() {
            return tell(out, RegistryInput::ByGuid { reconnect: Box::new(reconnect), client });
        }
        let found = self
            .reclaimable(&reconnect, client)
            .and_then(|slot| self.give_back(slot, reconnect.origin, reconnect.lease));
        let request = reconnect.request;
        match found {
            Ok((slot, grant)) => {
                count(&mut self.stats.reconnected);
                perform(out, Action::Granted { request, grant });
                self.remind(slot, out);
            }
            Err(status) => self.decline(request, status, out),
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
                    && (!durable.purgeable() || lease.hold.state().contains(LeaseState::HANDLE));
                if !same {
                    return Err(gone);
                }
            }
            (None, None) if open.guest().is_none() && (!durable.purgeable() || self.may_survive(open)) => {}
            (None, Some(context)) => {
                let same = |guest: &wire::Lease| durable.client == client && guest.key() == context.key();
                if !open.guest().is_some_and(same) {
                    return Err(gone);
                }
            }
            (Some(_), None) | (None, None) => return Err(gone),
        }
        // DHnC has no flag.
        let asked = reconnect.create_guid.is_some() && reconnect.flags.contains(DurableFlags::PERSISTENT);
        match durable.promise() {
            // Its first record is on its way.
            Some(promise) if !promise.stored => return Err(Status::FILE_NOT_AVAILABLE),
            Some(_) if !asked => return Err(gone),
            None if asked => return Err(Status::INVALID_PARAMETER),
            Some(_) | None => {}
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
    /// Returns where it is by now. What is to be said of breaks is said by [`remind`](Self::remind).
    pub(super) fn give_back(
        &mut self,
        slot: OpenSlot,
        origin: Origin,
        context: Option<wire::Lease>,
    ) -> Result<(OpenSlot, Grant), Status> {
        let gone = Status::OBJECT_NAME_NOT_FOUND;
        let file = self.opens.get(slot).map(|open| open.file).ok_or(gone)?;
        let full = Status::INSUFFICIENT_RESOURCES;
        let of_session = self.sessions.find(origin.session).and_then(|session| self.sessions.get(session));
        if of_session.is_some_and(|session| session.opens.len() >= self.config.limits.opens_per_session) {
            return Err(full);
        }
        let session = self.session(origin.session).map_err(|_| full)?;
        self.reconcile(slot, context);
        if let Some(file) = self.files.get_mut(file) {
            file.opens.remove(&mut self.opens, slot, |open| &mut open.in_file);
        }
        let old = slot;
        let mut open = self.opens.remove(old).ok_or(gone)?;
        (open.in_file, open.in_session) = (Links::default(), Links::default());
        (open.session, open.tree) = (Some(session), origin.tree);
        open.stage = match mem::replace(&mut open.stage, Stage::Abandoned) {
            Stage::Orphaned(caching) => Stage::Live(caching),
            other @ (Stage::Live(_) | Stage::Reserved { .. } | Stage::Abandoned | Stage::Unheard { .. }) => {
                other
            }
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
        self.follow_open(file, old, slot);
        if let Some(entry) = self.opens.get(slot).and_then(|open| self.replays.get_mut(open.replay?)) {
            entry.open = Some(slot);
        }
        let open = self.opens.get(slot).ok_or(gone)?;
        let (file_id, lease, durable) = (open.file_id, open.lease(), open.durable);
        let (level, replayable) = (open.level(), open.replay.is_some());
        if let Some(lease) = lease.and_then(|lease| self.leases.get_mut(lease)) {
            lease.orphans = lease.orphans.saturating_sub(1);
        }
        if let Some(durable) = durable {
            self.claimed(durable);
        }
        self.told(slot);
        self.touch(slot);
        let lease = self.opens.get(slot).and_then(|open| self.lease_context(open));
        Ok((slot, Grant { file_id, action: CreateAction::Opened, level, durable: None, lease, replayable }))
    }

    /// Operations that run on behalf of an open know it where it is now.
    fn follow_open(&mut self, file: FileSlot, from: OpenSlot, to: OpenSlot) {
        let mut next = self.files.get(file).and_then(|file| file.running.head());
        while let Some(run) = next.and_then(|slot| self.running.get_mut(slot)) {
            next = run.in_file.next();
            if run.own.open == Some(from) {
                run.own.open = Some(to);
                run.by = run.by.map(|(_, place)| (to, place));
            }
        }
    }

    /// What a lease is when the first open of it comes back.
    fn reconcile(&mut self, slot: OpenSlot, context: Option<wire::Lease>) {
        let Some(open) = self.opens.get(slot).filter(|open| self.promised(open)) else { return };
        let locked = self.has_locks(open);
        let Some(slot) = open.lease() else { return };
        let holder = HolderId::Lease(slot);
        let lease = self.leases.get_mut(slot).filter(|lease| lease.deserted());
        let (Some(lease), Some(context)) = (lease, context) else { return };
        let before = lease.stored();
        if lease.restored {
            lease.reconcile(&context);
        } else {
            lease.regrant(&context, locked);
        }
        if lease.stored() != before {
            self.touch_holder(holder);
        }
    }

    /// Behind the answer: a notification that was kept, or that may have been lost with the connection, goes out (MS-SMB2
    /// 3.3.5.9.7, 3.3.5.9.12).
    pub(super) fn remind(&mut self, slot: OpenSlot, out: Out<'_>) {
        let Some(open) = self.opens.get(slot) else { return };
        let file = open.file;
        let holder = open.holder(slot);
        let notice = match holder {
            HolderId::Lease(lease) => self.leases.get_mut(lease).and_then(Lease::renew),
            HolderId::Oplock(_) | HolderId::Delegation(_) => {
                self.hold_mut(holder).and_then(|hold| hold.renew(|| Epoch::ZERO))
            }
        };
        if let Some(notice) = notice {
            self.send(holder, notice, out);
        }
        // What it holds may be less than it was.
        if self.files.get(file).is_some_and(|file| file.promised > 0) {
            self.settle(file, out);
        }
    }

    /// An open has moved, and its client is there: its time runs no more.
    fn end_of_wait(&mut self, slot: OpenSlot) {
        let durable = self.opens.get(slot).and_then(|open| self.durables.get_mut(open.durable?));
        if let Some(durable) = durable {
            durable.open = slot;
        }
        self.stop_waiting(slot);
    }

    /// An open waits for its client, for so long.
    pub(super) fn await_return(&mut self, slot: OpenSlot, time: Duration) {
        let durable = self.opens.get(slot).and_then(|open| self.durables.get_mut(open.durable?));
        if let Some(durable) = durable {
            durable.timer = Some(self.timers.start(self.now.saturating_add(time), Due::Return(slot)));
            self.orphans = self.orphans.saturating_add(1);
        }
    }

    /// An open waits for nobody any more. The timer may have expired.
    pub(super) fn stop_waiting(&mut self, slot: OpenSlot) {
        let durable = self.opens.get(slot).and_then(|open| self.durables.get_mut(open.durable?));
        if let Some(timer) = durable.and_then(|durable| durable.timer.take()) {
            self.timers.stop(timer);
            self.orphans = self.orphans.saturating_sub(1);
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
