//! The way down from what is held: less is allowed, then written back, dropped, closed, answered (MS-SMB2 3.2.5.19).

use super::file::{Answer, Cache, File, Presence, Task, Turn};
use super::open::{Debt, Open, Stage, Under};
use super::open_ref;
use super::{AckId, Acked, Action, Client, FileRef, FileSlot, Misuse, Out, Sent};
use crate::state::LeaseState;
use crate::types::ConnId;
use crate::wire::{LeaseAck, OplockBreak};

impl Client {
    /// A step on the way down is done.
    pub(super) fn finished(
        &mut self,
        name: FileRef,
        task: impl Fn(&mut File) -> &mut Task,
        out: Out<'_>,
    ) -> Result<(), Misuse> {
        let slot = self.files.find(name).ok_or(Misuse::UnknownFile)?;
        let task = self.files.get_mut(slot).map(task).ok_or(Misuse::UnknownFile)?;
        if !matches!(task, Task::Running | Task::Again) {
            return Err(Misuse::UnknownFile);
        }
        task.finish();
        self.descend(slot, out);
        Ok(())
    }

    /// Does the next thing that a file needs, as far as it can go: allow less, write back, drop, close, answer, allow more.
    pub(super) fn descend(&mut self, slot: FileSlot, out: Out<'_>) {
        self.touch(slot);
        self.part(slot);
        let away = self.away(slot);
        let Some(file) = self.files.get_mut(slot) else { return };
        let name = file.name;
        file.presence = if away { Presence::Away } else { Presence::Here };
        let less = file.allowed.intersection(file.permitted());
        if less != file.allowed {
            file.allowed = less;
            out.push(Action::Allow { file: name, state: less });
        }
        // Who waits for an answer here does not wait for a handle that may never come back.
        if away && !self.can_answer(slot) {
            return;
        }
        let Some(file) = self.files.get_mut(slot) else { return };
        // What is being dropped is not written back meanwhile: nothing is dirty while a purge goes on.
        let purging = matches!(file.descent.purge, Task::Running | Task::Again);
        if file.descent.flush == Task::Due && !purging {
            file.descent.flush = Task::Running;
            out.push(Action::Flush { file: name });
        }
        if file.descent.flush != Task::Idle {
            return;
        }
        if file.descent.purge == Task::Due {
            file.descent.purge = Task::Running;
            out.push(Action::Purge { file: name });
        }
        if file.descent.purge != Task::Idle {
            return;
        }
        file.descent.cache = Cache::Valid;
        self.close_what_is_done(slot, out);
        self.answer(slot, out);
        self.answer_oplocks(slot, out);
        if away {
            return;
        }
        let Some(file) = self.files.get_mut(slot) else { return };
        if file.allowed != file.held() {
            file.allowed = file.held();
            out.push(Action::Allow { file: name, state: file.allowed });
        }
        self.enqueue_creates(slot);
        self.dismiss(slot);
    }

    /// Whether a break can be answered while other opens of the name are away: one that is here has been told, and writes back what
    /// has to be. Choice: what only an open that is away may write waits for it, as long as the server does.
    fn can_answer(&self, slot: FileSlot) -> bool {
        let Some(file) = self.files.get(slot) else { return false };
        let here = || {
            let opens = file.opens.iter(&self.opens, |open| &open.in_file).map(|(_, open)| open);
            opens.filter(|open| open.away.is_none() && open.stage.usable())
        };
        let told = |open: &Open| match (file.descent.answer, open.stage) {
            (_, Stage::Live { oplock: Debt::Due, .. }) => true,
            (Answer::Due { .. }, _) => open.under == Under::Lease,
            (Answer::None, _) => false,
        };
        let clean = file.descent.flush == Task::Idle;
        here().any(told) && (clean || here().any(|open| open.asked.may_write()))
    }

    /// Forgets a name that nobody needs any more, and then its directory, and so on.
    pub(super) fn dismiss(&mut self, slot: FileSlot) {
        let mut next = Some(slot);
        while let Some((slot, file)) = next.and_then(|slot| Some((slot, self.files.get(slot)?))) {
            let busy = file.descent.flush != Task::Idle || file.descent.purge != Task::Idle;
            if busy || !file.opens.vacant() || file.children > 0 {
                return;
            }
            let (key, parent) = (file.key, file.parent);
            self.files.remove(slot);
            if let Some(name) = self.names.find(key) {
                self.names.remove(name);
            }
            self.acks.retain(|sent| sent.file() != Some(slot));
            if let Some(parent) = parent.and_then(|parent| self.files.get_mut(parent)) {
                parent.children = parent.children.saturating_sub(1);
            }
            next = parent;
        }
    }

    /// Kept handles part when H is gone, and the lease ends with its last open. Before either, what is dirty is written back: by
    /// the handle that may write, and while there is a lease.
    fn part(&mut self, slot: FileSlot) {
        let Some(file) = self.files.get(slot) else { return };
        let mut next = file.opens.head();
        let (mut held, mut state, mut oplocks) = (file.creating > 0, file.state, LeaseState::NONE);
        while let Some((open_slot, open)) = next.and_then(|slot| Some((slot, self.opens.get_mut(slot)?))) {
            next = open.in_file.next();
            // MS-SMB2 <342>: without BATCH or H the server will not keep it. Of one that is away, its answer says so; of one that
            // is to close, what is held says nothing: it has been given up here, and is kept there.
            if matches!(open.stage, Stage::Live { .. } | Stage::Kept { .. }) && open.away.is_none() {
                open.durability = open.durability.beside(open.caches(state));
            }
            if matches!(open.stage, Stage::Kept { .. }) && !open.may_stay(state) {
                self.part_with(open_slot);
                continue;
            }
            held |= open.holds_lease();
            oplocks |= open.oplock();
        }
        if !held {
            state = LeaseState::NONE;
        }
        if let Some(file) = self.files.get_mut(slot) {
            file.hold(state, oplocks);
        }
    }

    /// Sends the CLOSE of every handle that nothing keeps open any more.
    fn close_what_is_done(&mut self, slot: FileSlot, out: Out<'_>) {
        let Some(file) = self.files.get(slot) else { return };
        let opens = || file.opens.iter(&self.opens, |open| &open.in_file);
        // The lease would end with this CLOSE and begin anew with the CREATE that is on its way: it waits for the answer.
        let waits = file.creating > 0 && !opens().any(|(_, open)| open.holds_lease());
        let mut next = file.opens.head();
        while let Some((open_slot, open)) = next.and_then(|slot| Some((slot, self.opens.get_mut(slot)?))) {
            next = open.in_file.next();
            if open.away.is_some() || (waits && open.under == Under::Lease) {
                continue;
            }
            if let Stage::Parting { file_id } = open.stage {
                open.stage = Stage::Closing { file_id };
                out.push(Action::SendClose { open: open_ref(open_slot), conn: open.conn, file_id });
            }
        }
    }

    /// Acknowledges with what is held now and was told, through an open that is left; without one the CLOSE was the answer
    /// (MS-SMB2 3.2.5.19.2).
    fn answer(&mut self, slot: FileSlot, out: Out<'_>) {
        let Some(file) = self.files.get(slot) else { return };
        let Answer::Due { told } = file.descent.answer else { return };
        // <202>: not while a CREATE of this lease is on its way, whose answer may still change what is held.
        if file.creating > 0 {
            return;
        }
        let opens = || file.opens.iter(&self.opens, |open| &open.in_file);
        let left = opens().find(|(_, open)| open.holds_lease() && open.away.is_none());
        let left = left.map(|(via, open)| (via, open.conn));
        // One that is away answers when it is back.
        if left.is_none() && opens().any(|(_, open)| open.holds_lease()) {
            return;
        }
        let Some(file) = self.files.get_mut(slot) else { return };
        file.descent.answer = Answer::None;
        let turn = core::mem::replace(&mut file.turn, Turn::First);
        let (key, state) = (file.key, file.state.intersection(told).normalized());
        let Some((via, conn)) = left else { return };
        let ack = self.sent(conn, Acked::Lease { file: slot, state, turn });
        out.push(Action::SendLeaseAck { ack, conn, via: open_ref(via), body: LeaseAck { key, state } });
    }

    /// Acknowledges oplocks, each with the level that is left (MS-SMB2 3.2.5.19.1).
    fn answer_oplocks(&mut self, slot: FileSlot, out: Out<'_>) {
        let mut next = self.files.get(slot).and_then(|file| file.opens.head());
        while let Some((open_slot, open)) = next.and_then(|slot| Some((slot, self.opens.get_mut(slot)?))) {
            next = open.in_file.next();
            let Under::Oplock(level) = open.under else { continue };
            if let Stage::Live { file_id, oplock: oplock @ Debt::Due } = &mut open.stage {
                *oplock = Debt::None;
                let (conn, body) = (open.conn, OplockBreak { level: level.to_wire(), file_id: *file_id });
                let ack = self.sent(conn, Acked::Oplock { open: open_slot });
                out.push(Action::SendOplockAck { ack, conn, via: open_ref(open_slot), body });
            }
        }
    }

    fn sent(&mut self, conn: ConnId, of: Acked) -> AckId {
        let ack = AckId(self.next_ack);
        self.next_ack = self.next_ack.saturating_add(1);
        if self.acks.len() >= self.config.acknowledgments.max(1) {
            self.acks.remove(0);
        }
        self.acks.push(Sent { ack, conn, of });
        ack
    }
}
