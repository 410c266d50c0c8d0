//! Breaks of leases and of oplocks, and the answers to acknowledgments (MS-SMB2 3.2.5.19).

use super::file::{Turn, Version};
use super::level::{Level, Reply};
use super::open::{Debt, Stage, Under};
use super::{AckId, Acked, Client, Early, OpenSlot, Out, Sent};
use crate::state::LeaseState;
use crate::status::Status;
use crate::types::FileId;
use crate::wire::{BreakFlags, LeaseBreak, OplockBreak};

impl Client {
    /// MS-SMB2 3.2.5.19.2. A key that nobody knows is ignored: there is nothing to come down from.
    pub(super) fn lease_broken(&mut self, body: &LeaseBreak, out: Out<'_>) {
        let named = self.names.find(body.key).and_then(|name| self.names.get(name)).copied();
        let Some((slot, file)) = named.and_then(|named| Some((named.file, self.files.get_mut(named.file)?)))
        else {
            return;
        };
        // A second answer would be refused, and cost the lease: a notification that comes twice is one. The next of the same epoch, of
        // a server that counts so, leaves less.
        if file.version == Version::V2 && file.heard == Some((body.epoch, body.new)) {
            return;
        }
        let held = file.held();
        let answer = body.flags.contains(BreakFlags::ACK_REQUIRED);
        let steps = match file.version {
            Version::V1 => Some(0),
            Version::V2 => body.epoch.since(file.epoch),
        };
        match steps {
            Some(steps) => {
                let before = file.state;
                // Choice: the same epoch may lower too; a follow-up break of an older server has it (MS-SMB2 3.3.4.7 <248>).
                file.lower(body.new);
                if file.version == Version::V2 {
                    file.epoch = body.epoch;
                }
                // A change that was not seen lies between: what is cached may be stale.
                if file.state == before && steps > 1 {
                    file.void();
                }
            }
            // Overtaken by something newer: it changes nothing by itself, but what is acknowledged is held from then on.
            None if answer => file.lower(body.new),
            None => {}
        }
        if answer {
            file.answer_due(body.new);
            file.heard = Some((body.epoch, body.new));
        }
        let (name, lost) = (file.name, held.difference(file.held()));
        self.habits.note(self.now, name, lost);
        self.descend(slot, out);
    }

    /// MS-SMB2 3.2.5.19.1. The FileId alone names the open: the session in the header may be zero.
    ///
    /// Choice: by the text a break of an unknown FileId is dropped. It may have overtaken, on another channel, the answer that
    /// makes the open known; dropped, it would leave a cache that nobody invalidates. So it waits as long as a CREATE or
    /// a reconnect is under way.
    pub(super) fn oplock_broken(&mut self, body: &OplockBreak, out: Out<'_>) {
        if let Some(open) = self.identified(body.file_id) {
            self.oplock_lowered(open, body);
            if let Some(file) = self.opens.get(open).map(|open| open.file) {
                self.descend(file, out);
            }
        } else if self.creating > 0 || self.in_flight > 0 {
            if self.early.len() >= self.config.early_breaks.max(1) {
                self.early.remove(0);
            }
            self.early.push(Early(*body));
        }
    }

    fn identified(&self, file_id: FileId) -> Option<OpenSlot> {
        self.ids.get(self.ids.find(file_id)?).map(|known| known.open)
    }

    /// The table of MS-SMB2 3.2.5.19.1: a handle that is kept and loses H closes, and that is the answer.
    fn oplock_lowered(&mut self, slot: OpenSlot, body: &OplockBreak) {
        let Some(open) = self.opens.get_mut(slot) else { return };
        let Under::Oplock(level) = open.under else { return };
        let Some((to, reply)) = level.breaks_to(body.level) else { return };
        open.under = Under::Oplock(to);
        if let (Stage::Live { oplock, .. }, Reply::Acknowledgment) = (&mut open.stage, reply) {
            *oplock = Debt::Due;
        }
        let lost = level.permits().difference(to.permits());
        if let Some(file) = self.files.get_mut(open.file) {
            // Whatever others of the name have: the break may be older than what they got.
            if lost.contains(LeaseState::READ) {
                file.void();
            }
            self.habits.note(self.now, file.name, lost);
        }
    }

    /// An open is known: what came for it before is due now, in the order in which it came.
    pub(super) fn late_break(&mut self, file_id: FileId) {
        let Some(open) = self.identified(file_id) else { return };
        let mut at = 0;
        while let Some(Early(body)) = self.early.get(at).copied() {
            if body.file_id == file_id {
                self.early.remove(at);
                self.oplock_lowered(open, &body);
            } else {
                at = at.saturating_add(1);
            }
        }
    }

    /// A CREATE or reconnect less is under way: with the last one nobody is left whom an unknown FileId could mean.
    pub(super) fn forget_early(&mut self) {
        if self.creating == 0 && self.in_flight == 0 {
            self.early.clear();
        }
    }

    /// MS-SMB2 3.2.5.19.3, 3.2.5.19.4: whatever the error, nothing is held any more. But a lease's that was sent again may find that
    /// the first did arrive, and then what it said is held.
    pub(super) fn answered(&mut self, ack: AckId, result: Result<(), Status>, out: Out<'_>) {
        let Some(at) = self.acks.iter().position(|sent| sent.ack == ack) else { return };
        let Sent { of, .. } = self.acks.remove(at);
        let Err(status) = result else { return };
        match of {
            Acked::Lease { file: slot, state, turn } => {
                let Some(file) = self.files.get_mut(slot) else { return };
                let arrived = turn == Turn::Again && status == Status::UNSUCCESSFUL && file.state == state;
                if !arrived {
                    file.lower(LeaseState::NONE);
                    self.descend(slot, out);
                }
            }
            Acked::Oplock { open: slot } => {
                let Some(open) = self.opens.get_mut(slot) else { return };
                if let Under::Oplock(_) = open.under {
                    open.under = Under::Oplock(Level::None);
                }
                let file = open.file;
                self.descend(file, out);
            }
        }
    }
}
