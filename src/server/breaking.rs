//! Breaks in flight: told, acknowledged, sent again, given up.

use alloc::vec::Vec;
use core::mem;

use slotmap::{Key, KeyData};

use super::action::Action;
use super::lease::{Lease, LeaseName, Notice};
use super::scale::{Arrival, BreakId, LeaseSlot, RegistryInput, Route};
use super::shard::{Out, Shard, perform, tell};
use crate::locks::Break;
use crate::state::LeaseState;
use crate::stats::count;
use crate::status::Status;
use crate::types::RequestId;
use crate::wire::{BreakFlags, LeaseAck};

impl Shard {
    /// Sends what the last judgement demands.
    pub(super) fn tell_holders(&mut self, out: Out<'_>) {
        let mut breaks: Vec<Break<LeaseSlot>> = mem::take(&mut self.breaks);
        for Break { id, to } in breaks.drain(..) {
            if let Some(notice) = self.leases.get_mut(id).and_then(|lease| lease.lower(to)) {
                self.send(id, notice, out);
            }
        }
        self.breaks = breaks;
    }

    /// Has the registry choose a connection for a notification that is new. Its deadline begins now, a little before it is
    /// sent (MS-SMB2 3.3.2.5).
    fn send(&mut self, slot: LeaseSlot, notice: Notice, out: Out<'_>) {
        if notice.body.flags.contains(BreakFlags::ACK_REQUIRED) {
            self.start_deadline(slot);
        }
        count(&mut self.stats.breaks_sent);
        self.hand_out(slot, notice, None, out);
    }

    /// The client has its full time from now on, on whatever connection it is told (MS-SMB2 3.3.4.7).
    fn start_deadline(&mut self, slot: LeaseSlot) {
        let due = self.now.saturating_add(self.config.lease_break_timeout);
        let Some(lease) = self.leases.get_mut(slot) else { return };
        if let Some(timer) = lease.timer.take() {
            self.timers.stop(timer);
        }
        lease.timer = Some(self.timers.start(due, slot));
    }

    fn hand_out(&self, slot: LeaseSlot, notice: Notice, after: Option<Arrival>, out: Out<'_>) {
        let Some(lease) = self.leases.get(slot) else { return };
        let Some(file) = self.files.get(lease.file) else { return };
        let route = Route::of_file(file.key, self.config.route_seed);
        let id = BreakId { route, lease: slot.data().as_ffi(), number: notice.number };
        tell(out, RegistryInput::Break { id, client: lease.name.0, after, body: notice.body });
    }

    /// Lease Break Acknowledgment (MS-SMB2 3.3.5.22.2): the answer first, then what follows from it.
    pub(super) fn acknowledge(
        &mut self,
        request: RequestId,
        name: LeaseName,
        state: LeaseState,
        out: Out<'_>,
    ) {
        let answer = |out, result| perform(out, Action::AnswerLeaseAck { request, result });
        let Some(slot) = self.leases.find(name) else {
            count(&mut self.stats.acknowledgments_refused);
            return answer(out, Err(Status::OBJECT_NAME_NOT_FOUND));
        };
        let follow_up = self.config.follow_up_epoch;
        let Some(lease) = self.leases.get_mut(slot) else { return };
        match lease.acknowledge(state, follow_up) {
            Err(status) => {
                count(&mut self.stats.acknowledgments_refused);
                answer(out, Err(status));
            }
            Ok((held, notice)) => {
                let file = lease.file;
                if let Some(timer) = lease.timer.take() {
                    self.timers.stop(timer);
                }
                count(&mut self.stats.breaks_acknowledged);
                answer(out, Ok(LeaseAck { key: name.1, state: held }));
                if let Some(notice) = notice {
                    self.send(slot, notice, out);
                }
                self.resume(file, out);
            }
        }
    }

    /// A notification did not go out where it was tried: the next connection, unless a later one has overtaken it.
    pub(super) fn redeliver(&mut self, id: BreakId, tried: Option<Arrival>, out: Out<'_>) {
        let slot = lease_slot(id);
        let Some(lease) = self.leases.get(slot) else { return };
        let Some(notice) = lease.last(id.number) else { return };
        if notice.body.flags.contains(BreakFlags::ACK_REQUIRED) {
            // Answered or given up meanwhile: there is nothing to tell.
            if lease.told().is_none() {
                return;
            }
            self.start_deadline(slot);
        }
        self.hand_out(slot, notice, tried, out);
    }

    /// No connection of the client can carry the notification (MS-SMB2 3.3.4.7).
    pub(super) fn undeliverable(&mut self, id: BreakId, out: Out<'_>) {
        let slot = lease_slot(id);
        let current = |lease: &Lease| lease.told().is_some() && lease.last(id.number).is_some();
        if self.leases.get(slot).is_some_and(current) {
            count(&mut self.stats.breaks_undeliverable);
            self.give_up(slot, out);
        }
    }

    /// Nobody answers for the lease: it holds nothing any more, and who waited for it goes on (MS-SMB2 3.3.6.5).
    pub(super) fn give_up(&mut self, slot: LeaseSlot, out: Out<'_>) {
        let Some(lease) = self.leases.get_mut(slot) else { return self.anomaly("a break of no lease") };
        lease.give_up();
        let file = lease.file;
        if let Some(timer) = lease.timer.take() {
            self.timers.stop(timer);
        }
        self.resume(file, out);
    }
}

fn lease_slot(id: BreakId) -> LeaseSlot {
    KeyData::from_ffi(id.lease).into()
}
