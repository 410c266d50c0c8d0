//! Opens without a connection, and CREATEs that wait for one: who they are, and when they are given up (MS-SMB2 3.2.7.1).

use core::time::Duration;

use super::open::{Open, Stage};
use super::open_ref;
use super::{Action, Client, Due, FileSlot, OpenSlot, Out};
use crate::state::LeaseState;
use crate::status::Status;
use crate::store::timer::TimerId;
use crate::types::ConnId;

/// What an open is that has lost its last connection, or a CREATE that is not on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Away {
    /// What the cache was allowed before.
    pub(super) held: LeaseState,
    pub(super) phase: Phase,
    pub(super) holder: Holder,
    pub(super) deadline: Option<TimerId>,
}

/// ```text
///     ┌──────────────────timer──────────────┐
///     ▼                                     │
/// Waiting ──a place in the window──► Sent ──┴──tried again later──► Delayed
///     ▲                               │
///     └──connection lost, at once─────┘
/// ```
#[derive(Clone, Copy, Debug)]
pub(super) enum Phase {
    /// In the queue, or behind opens of the same name that are away.
    Waiting,
    Sent {
        conn: ConnId,
        overdue: Overdue,
    },
    Delayed {
        timer: TimerId,
    },
}

/// Which session the server may still have the open under: a reconnect does not find it then (MS-SMB2 3.3.5.9.7, 3.3.5.9.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    /// The one before, if it was not said to have ended.
    Former,
    /// The present one: a reconnect was under way on a channel that is gone, and may have arrived.
    Present,
    Nobody,
}

/// Whether the deadline has passed while an answer was awaited: the answer decides then, and there is no further try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overdue {
    No,
    Yes,
}

/// Why an open is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[non_exhaustive]
pub enum LossReason {
    /// The last connection is gone, and nothing was promised for this case.
    Network,
    /// The session has ended, and nothing was promised for this case.
    SessionDeleted,
    /// The server has restarted, and the open is not persistent.
    ServerRestart,
    /// The time that the server had promised passed without a connection.
    Expired,
    /// The server has it no more, or does not give it back: `status` says what it answered.
    Refused,
    /// The server has closed it: `status` is what it answered to a request.
    Closed,
    /// It was tried as often as [`Retry`](super::Retry) says: `status` is the last answer.
    GivenUp,
}

impl Client {
    /// An open goes away, or a CREATE waits. It is given up when this time is over.
    ///
    /// Its FileId means nothing until the answer says it anew: a break under it comes before that answer, or is another's.
    pub(super) fn send_away(&mut self, slot: OpenSlot, held: LeaseState, timeout: Duration) {
        self.unidentify(slot);
        let deadline = self.timers.start(self.now.saturating_add(timeout), Due::Deadline(slot));
        if let Some(open) = self.opens.get_mut(slot) {
            open.away =
                Some(Away { held, phase: Phase::Waiting, holder: Holder::Former, deadline: Some(deadline) });
        }
        self.enqueue(slot);
    }

    pub(super) fn enqueue(&mut self, slot: OpenSlot) {
        if let Some(place) = self.place(slot) {
            self.queue.insert(place, slot);
        }
    }

    pub(super) fn dequeue(&mut self, slot: OpenSlot) {
        if let Some(place) = self.place(slot) {
            self.queue.remove(&place);
        }
    }

    /// File by file in the order in which they were opened, and open by open.
    fn place(&self, slot: OpenSlot) -> Option<(u64, u64)> {
        let open = self.opens.get(slot)?;
        Some((self.files.get(open.file)?.serial, open.serial))
    }

    /// Ends the waiting of an open, whatever comes after: no timer, no place in the queue or in the window.
    pub(super) fn stop_waiting(&mut self, slot: OpenSlot) -> Option<Away> {
        self.dequeue(slot);
        let away = self.opens.get_mut(slot)?.away.take()?;
        if let Some(deadline) = away.deadline {
            self.timers.stop(deadline);
        }
        match away.phase {
            Phase::Waiting => {}
            Phase::Sent { .. } => self.in_flight = self.in_flight.saturating_sub(1),
            Phase::Delayed { timer } => self.timers.stop(timer),
        }
        Some(away)
    }

    /// Puts an open whose reconnect came to nothing into another phase.
    pub(super) fn waits(&mut self, slot: OpenSlot, phase: Phase) {
        let Some(away) = self.opens.get_mut(slot).and_then(|open| open.away.as_mut()) else { return };
        if let Phase::Sent { .. } = away.phase {
            self.in_flight = self.in_flight.saturating_sub(1);
        }
        away.phase = phase;
        let Some(place) = self.place(slot) else { return };
        match phase {
            Phase::Waiting => self.queue.insert(place, slot),
            Phase::Sent { .. } | Phase::Delayed { .. } => self.queue.remove(&place),
        };
    }

    /// Which session may hold the open at the server.
    pub(super) fn held_by(&mut self, slot: OpenSlot, holder: Holder) {
        if let Some(away) = self.opens.get_mut(slot).and_then(|open| open.away.as_mut()) {
            away.holder = holder;
        }
    }

    /// A timer has run out.
    pub(super) fn due(&mut self, due: Due, out: Out<'_>) {
        match due {
            Due::Retry(slot) => self.waits(slot, Phase::Waiting),
            Due::Deadline(slot) => {
                let Some(open) = self.opens.get_mut(slot) else { return };
                let Some(away) = open.away.as_mut() else { return };
                away.deadline = None;
                if let Phase::Sent { overdue, .. } = &mut away.phase {
                    *overdue = Overdue::Yes;
                } else {
                    self.lost(slot, LossReason::Expired, Status::CONNECTION_DISCONNECTED, out);
                }
            }
        }
    }

    /// An open is gone for good. What is dirty goes with the last open of its name.
    pub(super) fn lost(&mut self, slot: OpenSlot, reason: LossReason, status: Status, out: Out<'_>) {
        let away = self.stop_waiting(slot);
        let Some(Open { file, stage, asked, .. }) = self.opens.get(slot) else { return };
        let (file, stage, request) = (*file, *stage, asked.request);
        let at_stake = self.files.get(file).map_or(LeaseState::NONE, |file| file.at_stake());
        let held = away.map_or(at_stake, |away| away.held);
        self.forget(slot);
        match stage {
            Stage::Creating => out.push(Action::Failed { request, status }),
            Stage::Live { .. } | Stage::Kept { .. } | Stage::Parting { .. } => {
                out.push(Action::Lost { open: open_ref(slot), reason, status, held });
            }
            // The application is done with it, and so is the cache.
            Stage::Closing { .. } => {}
        }
        self.bereaved(file);
        self.descend(file, out);
    }

    /// Whether opens of a name are away: until they are back, or given up, nothing is served, written back, closed or answered.
    pub(super) fn away(&self, slot: FileSlot) -> bool {
        let Some(file) = self.files.get(slot) else { return false };
        let mut opens = file.opens.iter(&self.opens, |open| &open.in_file);
        opens.any(|(_, open)| open.away.is_some() && open.stage.usable())
    }

    /// CREATEs that waited for opens of their name may go out, unless one has still to close: it may be in their way.
    pub(super) fn enqueue_creates(&mut self, slot: FileSlot) {
        let Some(file) = self.files.get(slot) else { return };
        let mut opens = file.opens.iter(&self.opens, |open| &open.in_file);
        if opens.any(|(_, open)| matches!(open.stage, Stage::Parting { .. })) {
            return;
        }
        drop(opens);
        let mut next = self.files.get(slot).and_then(|file| file.opens.head());
        while let Some((slot, open)) = next.and_then(|slot| Some((slot, self.opens.get(slot)?))) {
            next = open.in_file.next();
            if open.stage == Stage::Creating && matches!(open.away, Some(Away { phase: Phase::Waiting, .. }))
            {
                self.enqueue(slot);
            }
        }
    }

    /// If no handle is left to write through, and none that may come back, there is nobody to write back to.
    pub(super) fn bereaved(&mut self, slot: FileSlot) {
        let Some(file) = self.files.get_mut(slot) else { return };
        let mut opens = file.opens.iter(&self.opens, |open| &open.in_file);
        let left = opens.any(|(_, open)| open.stage.usable());
        drop(opens);
        if !left {
            file.lose();
        }
    }
}
