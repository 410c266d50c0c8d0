//! Coming back: opens are asked for again, file by file and a few at a time (MS-SMB2 3.2.4.4, 3.2.5.8).

use core::time::Duration;

use super::away::{Away, Holder, LossReason, Overdue, Phase};
use super::event::{CreateReply, PreviousSession};
use super::file::{File, Turn, Version};
use super::level::Level;
use super::open::{Stage, Under};
use super::retry::{Outcome, Renewal, outcome};
use super::{Action, Client, Due, Misuse, OpenRef, OpenSlot, Out};
use super::{open_ref, open_slot};
use crate::state::{LeaseState, OplockLevel};
use crate::status::Status;
use crate::types::{ConnId, FileId, LeaseKey, SessionId};
use crate::wire::{Lease, LeaseFlags, LeaseV1, LeaseV2, RequestContexts};

impl Client {
    /// The session is valid, and its tree connects are there: what waits goes out.
    pub(super) fn session_ready(&mut self, session: SessionId, previous: PreviousSession) {
        // A further channel, or the same user again, says nothing of the session before.
        if self.session.id != Some(session) {
            (self.session.channel_sequence, self.session.previous) = (0, previous);
        }
        self.session.renewal = None;
        (self.session.id, self.session.valid) = (Some(session), true);
    }

    /// Where requests go now.
    pub(super) fn ready(&self) -> Option<ConnId> {
        self.channels().next().map(|channel| channel.conn).filter(|_| self.session.valid)
    }

    /// Sends what waits, as far as the window allows.
    pub(super) fn pump(&mut self, out: Out<'_>) {
        while let Some(conn) = self.ready().filter(|_| self.in_flight < self.config.reconnects.max(1)) {
            let Some((_, slot)) = self.queue.pop_first() else { return };
            match self.opens.get(slot).map(|open| (open.stage, open.file)) {
                Some((Stage::Creating, file)) if !self.away(file) => {
                    self.stop_waiting(slot);
                    self.send_create(slot, conn, out);
                }
                // Behind the opens of its name that are away it waits without a place in the queue.
                Some((Stage::Creating, _)) | None => {}
                Some(_) => self.send_reconnect(slot, conn, out),
            }
        }
    }

    /// MS-SMB2 3.2.4.4: the level, the lease and the FileId that were, and nothing else.
    fn send_reconnect(&mut self, slot: OpenSlot, conn: ConnId, out: Out<'_>) {
        let Some(open) = self.opens.get_mut(slot) else { return };
        let Some(file_id) = open.stage.file_id() else { return };
        if let Some(away) = open.away.as_mut() {
            away.phase = Phase::Sent { conn, overdue: Overdue::No };
        }
        self.in_flight = self.in_flight.saturating_add(1);
        let (file, under, durable) = (open.file, open.under, open.durability.reconnect(file_id));
        let parent = self.parent_key(file);
        let (level, lease) = match under {
            Under::Lease => (OplockLevel::Lease, self.files.get(file).map(|file| lease_again(file, parent))),
            Under::Oplock(level) => (level.to_wire(), None),
        };
        let contexts = RequestContexts { lease, durable, ..RequestContexts::default() };
        out.push(Action::SendReconnect { open: open_ref(slot), conn, level, contexts });
    }

    pub(super) fn reconnected(
        &mut self,
        open: OpenRef,
        result: Result<CreateReply, Status>,
        out: Out<'_>,
    ) -> Result<(), Misuse> {
        let slot = open_slot(open);
        let away = self.opens.get(slot).and_then(|open| open.away).ok_or(Misuse::UnknownOpen)?;
        let Phase::Sent { .. } = away.phase else { return Err(Misuse::UnknownOpen) };
        match result {
            Ok(reply) => self.regained(slot, &reply, out),
            Err(status) => self.try_again(slot, status, out),
        }
        self.forget_early();
        Ok(())
    }

    /// MS-SMB2 3.2.5.8. What the server has less than before is a break; it never has more.
    fn regained(&mut self, slot: OpenSlot, reply: &CreateReply, out: Out<'_>) {
        let Some((stage, file, under)) = self.opens.get(slot).map(|open| (open.stage, open.file, open.under))
        else {
            return;
        };
        let lease = reply.contexts.lease.filter(|_| reply.level == OplockLevel::Lease);
        self.unidentify(slot);
        if self.identify(slot, reply.file_id).is_err() {
            // A handle that is open already: a CLOSE would hit the other.
            return self.lost(slot, LossReason::Refused, Status::INVALID_NETWORK_RESPONSE, out);
        }
        let conn = match self.opens.get(slot).and_then(|open| open.away) {
            Some(Away { phase: Phase::Sent { conn, .. }, .. }) => conn,
            Some(_) | None => return,
        };
        if !self.fits(file, under, lease) {
            // Somebody else's lease: the handle is of no use, and is the server's to close.
            return self.abandon(slot, conn, reply.file_id, out);
        }
        self.stop_waiting(slot);
        let Some(open) = self.opens.get_mut(slot) else { return };
        (open.conn, open.stage, open.tries) = (conn, stage.again(reply.file_id), 0);
        open.under = match (under, lease) {
            (Under::Lease, Some(_)) => Under::Lease,
            (Under::Lease, None) => Under::Oplock(Level::granted(reply.level)),
            (Under::Oplock(held), _) => Under::Oplock(held.lower(Level::granted(reply.level))),
        };
        match stage {
            Stage::Closing { .. } => {
                out.push(Action::SendClose { open: open_ref(slot), conn, file_id: reply.file_id });
            }
            Stage::Creating | Stage::Live { .. } | Stage::Kept { .. } | Stage::Parting { .. } => {
                out.push(Action::Regained { open: open_ref(slot) });
            }
        }
        if let (Some(lease), Some(file)) = (lease, self.files.get_mut(file)) {
            take_back(file, &lease);
        }
        self.late_break(reply.file_id);
        self.descend(file, out);
    }

    /// Gives up an open whose handle is open at the server.
    fn abandon(&mut self, slot: OpenSlot, conn: ConnId, file_id: FileId, out: Out<'_>) {
        let held = self.stop_waiting(slot).map_or(LeaseState::NONE, |away| away.held);
        self.no_longer_kept(slot);
        let Some(record) = self.opens.get_mut(slot) else { return };
        let stage = core::mem::replace(&mut record.stage, Stage::Closing { file_id });
        record.conn = conn;
        let (file, open) = (record.file, open_ref(slot));
        if !matches!(stage, Stage::Closing { .. }) {
            let (reason, status) = (LossReason::Refused, Status::INVALID_NETWORK_RESPONSE);
            out.push(Action::Lost { open, reason, status, held });
        }
        out.push(Action::SendClose { open, conn, file_id });
        self.bereaved(file);
        self.descend(file, out);
    }

    /// A reconnect has come to nothing: once more, or the open is gone (MS-SMB2 3.2.5.8).
    pub(super) fn try_again(&mut self, slot: OpenSlot, status: Status, out: Out<'_>) {
        let Some(open) = self.opens.get_mut(slot) else { return };
        let Some(away) = open.away else { return };
        let (tries, serial) = (open.tries.saturating_add(1), open.serial);
        open.tries = tries;
        let overdue = matches!(away.phase, Phase::Sent { overdue: Overdue::Yes, .. });
        let exhausted = !open.durability.insists() && tries >= self.config.retry.attempts;
        let verdict = match outcome(status) {
            Outcome::LostUnlessHeld => self.unless_held(slot, away.holder),
            other @ (Outcome::Lost | Outcome::Retry | Outcome::Renew(_)) => other,
        };
        match verdict {
            Outcome::Lost | Outcome::LostUnlessHeld => self.lost(slot, LossReason::Refused, status, out),
            Outcome::Retry | Outcome::Renew(_) if overdue => {
                self.lost(slot, LossReason::Expired, status, out)
            }
            Outcome::Retry | Outcome::Renew(_) if exhausted => {
                self.lost(slot, LossReason::GivenUp, status, out);
            }
            Outcome::Renew(renewal) => {
                self.wait(slot, self.config.retry.delay(tries, serial));
                // Under a session that is gone, or about to go, nobody is told of a break.
                if renewal == Renewal::Replace || status == Status::USER_SESSION_DELETED {
                    self.opens_lost(LossReason::SessionDeleted, out);
                }
                self.renew(renewal, out);
            }
            Outcome::Retry => {
                // The former session goes in its own time: at once would be too early.
                let delay = match status {
                    Status::OBJECT_NAME_NOT_FOUND => self.config.retry.wait(0, tries, serial),
                    _ => self.config.retry.delay(tries, serial),
                };
                self.wait(slot, delay);
            }
        }
    }

    /// An open was not found: a session that still has it may be the reason (MS-SMB2 3.3.5.9.7, 3.3.5.9.12).
    fn unless_held(&mut self, slot: OpenSlot, holder: Holder) -> Outcome {
        match holder {
            Holder::Former if self.session.previous == PreviousSession::Unknown => {
                self.held_by(slot, Holder::Nobody);
                Outcome::Retry
            }
            Holder::Former | Holder::Nobody => Outcome::Lost,
            Holder::Present if self.may_replace_session() => Outcome::Renew(Renewal::Replace),
            Holder::Present => Outcome::Retry,
        }
    }

    /// Whether nothing would be lost with the session: every open comes back under another.
    fn may_replace_session(&self) -> bool {
        self.opens.values().all(|open| match open.stage {
            Stage::Creating => open.away.is_some(),
            Stage::Closing { .. } => true,
            Stage::Live { .. } | Stage::Kept { .. } | Stage::Parting { .. } => {
                open.durability.timeout().is_some()
            }
        })
    }

    /// Tries again after this time.
    fn wait(&mut self, slot: OpenSlot, delay: Duration) {
        if delay.is_zero() {
            self.waits(slot, Phase::Waiting);
        } else {
            let timer = self.timers.start(self.now.saturating_add(delay), Due::Retry(slot));
            self.waits(slot, Phase::Delayed { timer });
        }
    }

    /// Nothing goes out before the session is there again; the driver is asked once.
    fn renew(&mut self, renewal: Renewal, out: Out<'_>) {
        if let Some(conn) = self.ready() {
            self.session.valid = false;
            self.session.renewal = Some((conn, renewal));
            out.push(Action::RenewSession { conn, renewal });
        }
    }
}

/// RqLs of a reconnect (MS-SMB2 3.2.4.4): key, state and epoch as they are, in the version that the lease has.
fn lease_again(file: &File, parent: Option<LeaseKey>) -> Lease {
    let (key, state, flags) = (file.key, file.state, LeaseFlags::empty());
    match file.version {
        Version::V1 => Lease::V1(LeaseV1 { key, state, flags }),
        Version::V2 => Lease::V2(LeaseV2 { key, state, flags, parent, epoch: file.epoch }),
    }
}

/// The lease after a reconnect. Choice: an epoch that is more than one step off, in either direction, means changes that nobody has
/// told, so what is cached may be stale. A server that has built the lease anew is one step on.
fn take_back(file: &mut File, lease: &Lease) {
    let before = file.state;
    // The server tells no break twice that it has told once: what was said to have come down is, and else nothing is known of it.
    if lease.flags().contains(LeaseFlags::BREAK_IN_PROGRESS) {
        let same = lease.epoch().is_none_or(|epoch| epoch == file.epoch);
        let heard = same && lease.state() != before;
        file.lower(if heard { lease.state() } else { LeaseState::NONE });
        file.answer_due(file.state);
        file.turn = Turn::Again;
    }
    file.lower(lease.state());
    if let Lease::V2(LeaseV2 { epoch, .. }) = *lease {
        let near = epoch.since(file.epoch).is_some_and(|steps| steps <= 1);
        if file.state == before && !near {
            file.void();
        }
        file.epoch = epoch;
    }
}
