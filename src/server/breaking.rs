//! Breaks in flight: told, acknowledged, sent again, given up.

use alloc::vec::Vec;
use core::mem;
use core::time::Duration;

use super::action::Action;
use super::hold::{Hold, Notice};
use super::lease::{Lease, LeaseName};
use super::oplock::Oplock;
use super::records::{Caching, FileSlot, Open, PresenceSlot, Stage};
use super::scale::{Arrival, BreakId, Due, HolderId, OpenSlot, Outgoing, RegistryInput, Route};
use super::shard::{Out, Shard, perform, tell};
use crate::locks::{Break, Level};
use crate::state::{LeaseState, OplockLevel};
use crate::stats::{count, count_latency};
use crate::status::Status;
use crate::types::{Epoch, FileId, RequestId, SessionId};
use crate::wire::{LeaseAck, OplockBreak};

impl Shard {
    /// Sends what the last judgement demands. Returns whether opens were closed for that, or waiters may go on.
    pub(super) fn tell_holders(&mut self, out: Out<'_>) -> bool {
        let purged = self.purge(out);
        let mut breaks: Vec<Break<HolderId>> = mem::take(&mut self.breaks);
        for Break { id, to } in breaks.drain(..) {
            if self.kept_for(id) {
                self.amend(id, to);
                continue;
            }
            let notice = match id {
                HolderId::Lease(slot) => self.leases.get_mut(slot).and_then(|lease| lease.lower(to)),
                HolderId::Oplock(slot) => {
                    self.change_oplock(slot, |oplock| oplock.lower(Level::within(to))).flatten()
                }
                HolderId::Delegation(_) => self.hold_mut(id).and_then(|hold| hold.lower(to, || Epoch::ZERO)),
            };
            if let Some(notice) = notice {
                self.send(id, notice, out);
            }
        }
        self.breaks = breaks;
        purged
    }

    /// Keeps a break for a client that is not there (MS-SMB2 3.3.4.7), unless it is told as much already.
    fn amend(&mut self, id: HolderId, to: LeaseState) {
        let told = self.hold_mut(id).and_then(|hold| hold.told());
        if told.is_some_and(|told| within(id, to).contains(told)) {
            return;
        }
        count(&mut self.stats.breaks_kept);
        self.change_hold(id, |hold| hold.amend(within(id, to)));
    }

    /// What nobody has heard of comes down without a word: its client will be told of what is left.
    pub(super) fn hush(&mut self, id: HolderId, to: LeaseState) {
        self.change_hold(id, |hold| hold.hush(within(id, to)));
        self.stop_deadline(id);
    }

    /// Changes what somebody holds without a notification.
    fn change_hold(&mut self, id: HolderId, change: impl FnOnce(&mut Hold)) {
        match id {
            HolderId::Lease(slot) => {
                if let Some(lease) = self.leases.get_mut(slot) {
                    change(&mut lease.hold);
                }
            }
            HolderId::Oplock(slot) => {
                self.change_oplock(slot, |oplock| change(&mut oplock.hold));
            }
            HolderId::Delegation(_) => {
                if let Some(hold) = self.hold_mut(id) {
                    change(hold);
                }
            }
        }
        self.touch_holder(id);
    }

    /// Changes an oplock, and counts whether it still holds anything.
    fn change_oplock<T>(&mut self, slot: OpenSlot, change: impl FnOnce(&mut Oplock) -> T) -> Option<T> {
        let open = self.opens.get_mut(slot)?;
        let file = open.file;
        let oplock = open.oplock_mut()?;
        let before = oplock.level();
        let result = change(oplock);
        if before != Level::None && oplock.level() == Level::None {
            if let Some(file) = self.files.get_mut(file) {
                file.oplocks = file.oplocks.saturating_sub(1);
            }
        }
        Some(result)
    }

    /// Has the registry choose a connection for a notification that is new. Its deadline begins now, a little before it is
    /// sent (MS-SMB2 3.3.2.1, 3.3.2.5).
    pub(super) fn send(&mut self, id: HolderId, notice: Notice, out: Out<'_>) {
        self.touch_holder(id);
        if notice.needs_acknowledgment() {
            self.start_deadline(id);
        }
        count(match id {
            HolderId::Lease(_) => &mut self.stats.lease_breaks_sent,
            HolderId::Oplock(_) => &mut self.stats.oplock_breaks_sent,
            HolderId::Delegation(_) => &mut self.stats.recalls_sent,
        });
        self.hand_out(id, notice, None, out);
    }

    /// The client has its full time from now on, on whatever connection it is told (MS-SMB2 3.3.4.6, 3.3.4.7).
    fn start_deadline(&mut self, id: HolderId) {
        let due = self.now.saturating_add(self.timeout(id));
        self.stop_deadline(id);
        let timer = self.timers.start(due, Due::Answer(id));
        match self.hold_mut(id) {
            Some(hold) => hold.timer = Some(timer),
            None => self.timers.stop(timer),
        }
    }

    fn timeout(&self, id: HolderId) -> Duration {
        let config = &self.config;
        match (id, self.promises(id)) {
            (HolderId::Lease(_), true) => config.persistent_lease_break_timeout,
            (HolderId::Lease(_), false) => config.lease_break_timeout,
            (HolderId::Oplock(_), true) => config.persistent_oplock_break_timeout,
            (HolderId::Oplock(_), false) => config.oplock_break_timeout,
            (HolderId::Delegation(_), _) => config.recall_timeout,
        }
    }

    pub(super) fn stop_deadline(&mut self, id: HolderId) {
        if let Some(timer) = self.hold_mut(id).and_then(|hold| hold.timer.take()) {
            self.timers.stop(timer);
        }
    }

    pub(super) fn hold_mut(&mut self, id: HolderId) -> Option<&mut Hold> {
        match id {
            HolderId::Lease(slot) => self.leases.get_mut(slot).map(|lease| &mut lease.hold),
            HolderId::Oplock(slot) => {
                self.opens.get_mut(slot).and_then(|open| open.oplock_mut()).map(|oplock| &mut oplock.hold)
            }
            HolderId::Delegation(slot) => {
                let delegated = self.presences.get_mut(slot)?.delegated.as_mut();
                delegated.map(|delegated| &mut delegated.hold)
            }
        }
    }

    fn hand_out(&self, holder: HolderId, notice: Notice, after: Option<Arrival>, out: Out<'_>) {
        let found = match holder {
            HolderId::Lease(slot) => self
                .leases
                .get(slot)
                .map(|lease| (lease.file, Outgoing::Lease(lease.name.0, lease.notification(notice)))),
            HolderId::Oplock(slot) => self.opens.get(slot).and_then(|open| {
                let session = self.sessions.get(open.session?)?.id;
                let body =
                    OplockBreak { level: Level::within(notice.new_state()).on_wire(), file_id: open.file_id };
                Some((open.file, Outgoing::Oplock(session, body)))
            }),
            HolderId::Delegation(slot) => return self.recall(slot, notice, out),
        };
        let Some((file, what)) = found else { return };
        let Some(file) = self.files.get(file) else { return };
        let route = Route::of_file(file.key, self.config.route_seed);
        let id = BreakId::new(route, holder, notice.number);
        tell(out, RegistryInput::Break { id, after, what });
    }

    /// There is one way to a client of NFSv4, which its driver knows.
    fn recall(&self, slot: PresenceSlot, notice: Notice, out: Out<'_>) {
        let Some(presence) = self.presences.get(slot) else { return };
        let (Some(file), Some(delegated)) = (self.files.get(presence.file), &presence.delegated) else {
            return;
        };
        let route = Route::of_file(file.key, self.config.route_seed);
        let id = BreakId::new(route, HolderId::Delegation(slot), notice.number);
        let (owner, file, kind) = (presence.owner, file.key, delegated.kind);
        perform(out, Action::Recall { id, owner, file, kind });
    }

    /// Lease Break Acknowledgment (MS-SMB2 3.3.5.22.2): the answer first, then what follows from it.
    pub(super) fn acknowledge(
        &mut self,
        request: RequestId,
        name: LeaseName,
        state: LeaseState,
        out: Out<'_>,
    ) {
        let slot = self.leases.find(name);
        let Some((slot, lease)) = slot.and_then(|slot| Some((slot, self.leases.get_mut(slot)?))) else {
            count(&mut self.stats.acknowledgments_refused);
            let result = Err(Status::OBJECT_NAME_NOT_FOUND);
            return perform(out, Action::AnswerLeaseAck { request, result });
        };
        let (file, before) = (lease.file, lease.stored());
        let (result, notice) = match lease.acknowledge(state, &self.config.profile) {
            Ok((held, notice)) => (Ok(LeaseAck { key: name.1, state: held }), notice),
            Err(status) => (Err(status), None),
        };
        // Mostly a client does what it was told, and that is stored.
        if lease.stored() != before {
            self.touch_holder(HolderId::Lease(slot));
        }
        self.lease_used(slot, out);
        self.count_acknowledgment(HolderId::Lease(slot), result.is_ok());
        let accepted = result.is_ok();
        perform(out, Action::AnswerLeaseAck { request, result });
        if accepted {
            self.go_on(HolderId::Lease(slot), notice, file, out);
        }
    }

    /// Oplock Break Acknowledgment (MS-SMB2 3.3.5.22.1): the answer first, then what follows from it.
    pub(super) fn acknowledge_oplock(
        &mut self,
        request: RequestId,
        session: SessionId,
        file_id: FileId,
        level: OplockLevel,
        out: Out<'_>,
    ) {
        let Some((slot, open)) = self.live(file_id, Some(session)) else {
            count(&mut self.stats.acknowledgments_refused);
            let result = Err(Status::FILE_CLOSED);
            return perform(out, Action::AnswerOplockAck { request, result });
        };
        let file = open.file;
        let leased = matches!(open.stage, Stage::Live(Caching::Lease(_) | Caching::Guest(_)));
        let breaking = open.oplock().is_some_and(|oplock| oplock.hold.breaking().is_some());
        let before = open.oplock().map(|oplock| (oplock.level(), oplock.hold.told()));
        let profile = self.config.profile;
        let (result, notice) = match self.change_oplock(slot, |oplock| oplock.acknowledge(level, &profile)) {
            Some((result, notice)) => (result, notice),
            // Choice: a lease is acknowledged by its key, and is not touched (the text ends nowhere).
            None if leased => (Err(Status::INVALID_OPLOCK_PROTOCOL), None),
            None => (Err(profile.unexpected_ack.status()), None),
        };
        self.used(slot, out);
        let oplock = self.opens.get(slot).and_then(Open::oplock);
        if oplock.map(|oplock| (oplock.level(), oplock.hold.told())) != before {
            self.touch(slot);
        }
        self.count_acknowledgment(HolderId::Oplock(slot), result.is_ok());
        let result = result.map(|level| OplockBreak { level, file_id });
        perform(out, Action::AnswerOplockAck { request, result });
        // A wrong one ends the break as well.
        if breaking {
            self.go_on(HolderId::Oplock(slot), notice, file, out);
        }
    }

    /// Before the deadline is stopped: it says when the client was told.
    fn count_acknowledgment(&mut self, id: HolderId, accepted: bool) {
        if !accepted {
            return count(&mut self.stats.acknowledgments_refused);
        }
        count(&mut self.stats.breaks_acknowledged);
        let due = self.hold_mut(id).and_then(|hold| hold.timer).and_then(|timer| self.timers.due(timer));
        if let Some(due) = due {
            let left = due.saturating_since(self.now);
            let latency = self.timeout(id).saturating_sub(left);
            count_latency(&mut self.stats.acknowledgment_latency, latency);
        }
    }

    /// A break has come to an end, or to its next step.
    fn go_on(&mut self, id: HolderId, notice: Option<Notice>, file: FileSlot, out: Out<'_>) {
        self.stop_deadline(id);
        match (id, notice) {
            // Nobody is connected who could be told of the next step.
            (HolderId::Lease(lease), Some(_)) if self.leases.get(lease).is_some_and(Lease::deserted) => {
                self.purge_lease(lease, out);
                // What is kept has no further steps: whoever needs more asks for it.
                if self.kept_for(id) {
                    self.change_hold(id, Hold::curtail);
                }
            }
            (_, Some(notice)) => self.send(id, notice, out),
            (_, None) => {}
        }
        if let HolderId::Lease(lease) = id {
            self.shed_orphans(lease, out);
        }
        self.settle(file, out);
    }

    /// A notification did not go out where it was tried: the next connection, unless a later one has overtaken it.
    pub(super) fn redeliver(&mut self, id: BreakId, tried: Option<Arrival>, out: Out<'_>) {
        let holder = id.holder();
        // It is kept, and goes out when its client is back. A recall is its driver's to send again.
        if self.kept_for(holder) || matches!(holder, HolderId::Delegation(_)) {
            return;
        }
        let Some(hold) = self.hold_mut(holder) else { return };
        let Some(mut notice) = hold.last(id.number) else { return };
        if let Some(belated) = hold.belated(id.number) {
            notice = belated;
        } else if notice.needs_acknowledgment() {
            // Answered meanwhile: there is nothing to tell.
            if hold.told().is_none() {
                return;
            }
            self.start_deadline(holder);
        }
        self.hand_out(holder, notice, tried, out);
    }

    /// No connection of the client can carry the notification (MS-SMB2 3.3.4.6, 3.3.4.7).
    pub(super) fn undeliverable(&mut self, id: BreakId, out: Out<'_>) {
        let current = |hold: &mut Hold| hold.told().is_some() && hold.last(id.number).is_some();
        // A persistent open has until the deadline to lose its connection as well: then the notification is kept (MS-SMB2 3.3.4.7).
        if !self.promises(id.holder()) && self.hold_mut(id.holder()).is_some_and(current) {
            count(&mut self.stats.breaks_undeliverable);
            self.give_up(id.holder(), out);
        }
    }

    /// Nobody can be told, and the opens stay: they cache nothing from now on.
    pub(super) fn forsake(&mut self, id: HolderId) {
        self.change_hold(id, Hold::give_up);
        self.stop_deadline(id);
    }

    /// Nobody can be told: the holder holds nothing any more, and who waited for it goes on (MS-SMB2 3.3.4.6, 3.3.4.7).
    pub(super) fn give_up(&mut self, id: HolderId, out: Out<'_>) {
        self.end(id, Hold::give_up, out);
    }

    /// The deadline has passed: likewise (MS-SMB2 3.3.6.1, 3.3.6.5).
    pub(super) fn expire_break(&mut self, id: HolderId, out: Out<'_>) {
        count(&mut self.stats.breaks_timed_out);
        match id {
            HolderId::Delegation(slot) => self.revoke(slot, out),
            HolderId::Lease(_) | HolderId::Oplock(_) => self.end(id, Hold::expire, out),
        }
    }

    fn end(&mut self, id: HolderId, how: fn(&mut Hold), out: Out<'_>) {
        let file = match id {
            HolderId::Lease(slot) => self.leases.get(slot).map(|lease| lease.file),
            HolderId::Oplock(slot) => self.opens.get(slot).map(|open| open.file),
            HolderId::Delegation(slot) => self.presences.get(slot).map(|presence| presence.file),
        };
        let Some(file) = file else { return self.anomaly("a break of nobody") };
        self.change_hold(id, how);
        self.stop_deadline(id);
        if self.files.get(file).is_some_and(|file| file.promised > 0) {
            let before = self.journal.last;
            self.flush(out);
            if self.journal.last > before {
                self.bar_others(file, self.journal.last);
            }
        }
        self.go_on(id, None, file, out);
    }
}

/// What of a state somebody can be left with: an oplock has fewer of them.
fn within(id: HolderId, state: LeaseState) -> LeaseState {
    match id {
        HolderId::Lease(_) | HolderId::Delegation(_) => state,
        HolderId::Oplock(_) => Level::within(state).caches(),
    }
}
