//! Connections and sessions that are lost (MS-SMB2 3.2.7.1).

use alloc::vec::Vec;

use super::away::{Holder, LossReason, Overdue, Phase};
use super::event::SessionLoss;
use super::file::{File, Turn};
use super::open::{Debt, Open, Stage};
use super::{Acked, Action, Client, FileSlot, Misuse, OpenSlot, Out};
use super::{OpenRef, open_ref, open_slot};
use crate::state::LeaseState;
use crate::status::Status;
use crate::types::{ConnId, SessionId};

impl Client {
    /// MS-SMB2 3.2.7.1: another connection carries on; with the last one opens wait to come back, or are gone.
    pub(super) fn disconnected(&mut self, conn: ConnId, out: Out<'_>) -> Result<(), Misuse> {
        let at =
            self.conns.iter().position(|channel| channel.conn == conn).ok_or(Misuse::UnknownConnection)?;
        // One that a former session has left behind carries nothing.
        if Some(self.conns.remove(at).session) != self.session.id {
            return Ok(());
        }
        let instead = self.channels().next().map(|channel| channel.conn);
        match instead {
            Some(instead) => self.channel_lost(conn, instead, out),
            None => self.all_lost(LossReason::Network, out),
        }
        Ok(())
    }

    pub(super) fn session_lost(
        &mut self,
        session: SessionId,
        reason: SessionLoss,
        out: Out<'_>,
    ) -> Result<(), Misuse> {
        if self.session.id != Some(session) {
            return Err(Misuse::OtherSession);
        }
        self.session.valid = false;
        match reason {
            // The opens are there; the user authenticates again.
            SessionLoss::Expired => {}
            SessionLoss::Deleted => self.all_lost(LossReason::SessionDeleted, out),
            SessionLoss::ServerRestart => self.all_lost(LossReason::ServerRestart, out),
        }
        Ok(())
    }

    /// Another session takes the place of one that was not said to have ended: nothing is open under it.
    pub(super) fn supersede(&mut self, session: SessionId, out: Out<'_>) {
        let other = self.channels().next().is_some() && self.session.id != Some(session);
        if other {
            self.session.valid = false;
            self.all_lost(LossReason::SessionDeleted, out);
        }
    }

    /// The server has closed an open by itself. One that is away, or about to close, has its end in another way.
    pub(super) fn handle_lost(&mut self, open: OpenRef, status: Status, out: Out<'_>) -> Result<(), Misuse> {
        let slot = open_slot(open);
        let open = self.opens.get(slot).ok_or(Misuse::UnknownOpen)?;
        if open.away.is_none() && open.stage.usable() {
            self.lost(slot, LossReason::Closed, status, out);
        }
        Ok(())
    }

    /// The opens that meet a condition, in the order in which they were opened, and their files.
    fn affected(&self, which: impl Fn(&Open) -> bool) -> (Vec<(OpenSlot, Open)>, Vec<FileSlot>) {
        let found = self.opens.iter().filter(|(_, open)| which(open));
        let mut opens: Vec<(OpenSlot, Open)> = found.map(|(slot, open)| (slot, open.clone())).collect();
        opens.sort_unstable_by_key(|(_, open)| open.serial);
        let mut files: Vec<FileSlot> = opens.iter().map(|(_, open)| open.file).collect();
        files.sort_unstable();
        files.dedup();
        (opens, files)
    }

    /// A channel less: what was under way on it goes out on another, with a ChannelSequence that is one higher.
    fn channel_lost(&mut self, conn: ConnId, instead: ConnId, out: Out<'_>) {
        self.session.channel_sequence = self.session.channel_sequence.wrapping_add(1);
        let on_it = |open: &Open| match open.away.map(|away| away.phase) {
            Some(Phase::Sent { conn: on, .. }) => on == conn,
            Some(Phase::Waiting | Phase::Delayed { .. }) => false,
            None => open.conn == conn,
        };
        let (opens, files) = self.affected(on_it);
        let (away, here): (Vec<_>, Vec<_>) = opens.into_iter().partition(|(_, open)| open.away.is_some());
        for (slot, open) in here {
            match open.stage {
                Stage::Creating => self.create_lost(slot, &open, Some(instead), out),
                Stage::Closing { file_id } => {
                    // Its answer may be lost with the connection; a second CLOSE does no harm.
                    self.redirect(slot, instead);
                    out.push(Action::SendClose { open: open_ref(slot), conn: instead, file_id });
                }
                Stage::Live { .. } | Stage::Kept { .. } | Stage::Parting { .. } => {
                    self.redirect(slot, instead);
                }
            }
        }
        self.forget_early();
        self.send_again(conn);
        for slot in files {
            self.descend(slot, out);
        }
        // After the others: what is lost has its file come down, and that on a connection which is there.
        for (slot, open) in away {
            if let Some(Phase::Sent { overdue: Overdue::Yes, .. }) = open.away.map(|away| away.phase) {
                self.lost(slot, LossReason::Expired, Status::CONNECTION_DISCONNECTED, out);
            } else {
                self.held_by(slot, Holder::Present);
                self.waits(slot, Phase::Waiting);
            }
        }
        if let Some((_, renewal)) = self.session.renewal.filter(|(asked, _)| *asked == conn) {
            self.session.renewal = Some((instead, renewal));
            out.push(Action::RenewSession { conn: instead, renewal });
        }
    }

    /// The session is gone, or about to go, and what is under way on it is answered all the same: the opens are away or gone.
    pub(super) fn opens_lost(&mut self, reason: LossReason, out: Out<'_>) {
        self.acks.clear();
        self.lose_here(reason, |open| open.stage.usable(), out);
    }

    /// The last connection, or the session: every open is away or gone.
    fn all_lost(&mut self, reason: LossReason, out: Out<'_>) {
        self.acks.clear();
        self.early.clear();
        self.session.renewal = None;
        let away = self.affected(|open| open.away.is_some()).0;
        self.lose_here(reason, |_| true, out);
        // What was away already is no worse off, unless the server has it no more.
        for (slot, open) in away {
            match open.away.map(|away| away.phase) {
                Some(_) if !stays(reason, &open) && open.stage != Stage::Creating => {
                    self.lost(slot, reason, Status::CONNECTION_DISCONNECTED, out);
                }
                Some(Phase::Sent { .. }) => {
                    self.held_by(slot, Holder::Former);
                    self.try_again(slot, Status::CONNECTION_DISCONNECTED, out);
                }
                Some(Phase::Waiting | Phase::Delayed { .. }) | None => {
                    if open.away.is_some_and(|away| away.holder == Holder::Present) {
                        self.held_by(slot, Holder::Former);
                    }
                }
            }
        }
    }

    /// Of the opens that have a connection, those that meet a condition.
    fn lose_here(&mut self, reason: LossReason, which: impl Fn(&Open) -> bool, out: Out<'_>) {
        let (here, files) = self.affected(|open| open.away.is_none() && which(open));
        for (slot, open) in here {
            // What is at stake is said of every open before anything is given up.
            let held = self.files.get(open.file).map_or(LeaseState::NONE, File::at_stake);
            let promised = open.durability.timeout().filter(|_| stays(reason, &open));
            match (open.stage, promised) {
                (Stage::Creating, _) => self.create_lost(slot, &open, None, out),
                // A CLOSE that may not have arrived: only a persistent open would be in the way of others for long.
                (Stage::Closing { .. }, Some(timeout)) if open.durability.outlives_the_server() => {
                    self.send_away(slot, LeaseState::NONE, timeout);
                }
                (Stage::Closing { .. }, _) => self.forget(slot),
                (Stage::Live { .. } | Stage::Kept { .. } | Stage::Parting { .. }, Some(timeout)) => {
                    self.send_away(slot, held, timeout);
                    out.push(Action::Away { open: open_ref(slot) });
                }
                (Stage::Live { .. } | Stage::Kept { .. } | Stage::Parting { .. }, None) => {
                    self.gone(slot, reason, held, out);
                }
            }
        }
        self.forget_early();
        for slot in files {
            self.bereaved(slot);
            if self.away(slot) {
                if let Some(file) = self.files.get_mut(slot) {
                    file.interrupted();
                }
            }
            self.descend(slot, out);
        }
    }

    fn gone(&mut self, slot: OpenSlot, reason: LossReason, held: LeaseState, out: Out<'_>) {
        self.forget(slot);
        let status = Status::CONNECTION_DISCONNECTED;
        out.push(Action::Lost { open: open_ref(slot), reason, status, held });
    }

    /// A CREATE whose answer is lost is sent again if it has a CreateGuid, and then with the REPLAY flag (MS-SMB2
    /// 3.2.7.1).
    fn create_lost(&mut self, slot: OpenSlot, lost: &Open, instead: Option<ConnId>, out: Out<'_>) {
        self.answer_to_create(lost.file, lost.under);
        let again = lost.durability.replayable() && lost.tries < self.config.replays;
        // Without a channel of the session only a persistent open can be found again (MS-SMB2 3.3.5.9).
        if again && (instead.is_some() || lost.durability.outlives_the_server()) {
            if let Some(open) = self.opens.get_mut(slot) {
                open.tries = open.tries.saturating_add(1);
            }
            match instead {
                Some(conn) if self.session.valid => self.send_create(slot, conn, out),
                Some(_) | None => self.send_away(slot, LeaseState::NONE, self.config.create_timeout),
            }
        } else {
            self.forget(slot);
            let status = Status::CONNECTION_DISCONNECTED;
            out.push(Action::Failed { request: lost.asked.request, status });
        }
    }

    /// Acknowledgments that were under way on a lost channel are due again (MS-SMB2 3.2.7.1).
    fn send_again(&mut self, conn: ConnId) {
        let Self { acks, files, opens, .. } = self;
        acks.retain(|sent| {
            if sent.conn == conn {
                match sent.of {
                    Acked::Lease { file, state, .. } => {
                        if let Some(file) = files.get_mut(file) {
                            file.answer_due(state);
                            file.turn = Turn::Again;
                        }
                    }
                    Acked::Oplock { open } => {
                        if let Some(Stage::Live { oplock, .. }) =
                            opens.get_mut(open).map(|open| &mut open.stage)
                        {
                            *oplock = Debt::Due;
                        }
                    }
                }
            }
            sent.conn != conn
        });
    }

    fn redirect(&mut self, slot: OpenSlot, conn: ConnId) {
        if let Some(open) = self.opens.get_mut(slot) {
            open.conn = conn;
        }
    }
}

/// Whether the server still has an open that it has promised to keep.
fn stays(reason: LossReason, open: &Open) -> bool {
    reason != LossReason::ServerRestart || open.durability.outlives_the_server()
}
