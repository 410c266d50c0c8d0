//! Connections that are lost (MS-SMB2 3.2.7.1).

use alloc::vec::Vec;

use super::file::{File, Turn};
use super::open::{Debt, Open, Stage};
use super::open_ref;
use super::{Acked, Action, Client, FileSlot, Misuse, OpenSlot, Out};
use crate::state::LeaseState;
use crate::status::Status;
use crate::types::ConnId;

impl Client {
    /// MS-SMB2 3.2.7.1: another connection carries on; with the last one every open is gone.
    pub(super) fn disconnected(&mut self, conn: ConnId, out: Out<'_>) -> Result<(), Misuse> {
        let at = self.conns.iter().position(|(other, _)| *other == conn).ok_or(Misuse::UnknownConnection)?;
        self.conns.remove(at);
        let instead = self.conns.first().map(|(conn, _)| *conn);
        let opens: Vec<(OpenSlot, Open)> = self
            .opens
            .iter()
            .filter(|(_, open)| open.conn == conn)
            .map(|(slot, open)| (slot, open.clone()))
            .collect();
        let mut files: Vec<FileSlot> = opens.iter().map(|(_, open)| open.file).collect();
        files.sort_unstable();
        files.dedup();
        // What is at stake is said of every open before anything is given up.
        for (slot, Open { file, stage, under, asked, .. }) in opens {
            match (stage, instead) {
                (Stage::Creating, _) => {
                    self.answer_to_create(file, under);
                    self.forget(slot);
                    out.push(Action::Failed {
                        request: asked.request,
                        status: Status::CONNECTION_DISCONNECTED,
                    });
                }
                (Stage::Closing { file_id }, Some(other)) => {
                    // Its answer may be lost with the connection; a second CLOSE does no harm.
                    self.redirect(slot, other);
                    out.push(Action::SendClose { open: open_ref(slot), conn: other, file_id });
                }
                (Stage::Closing { .. }, None) => self.forget(slot),
                (Stage::Live { .. } | Stage::Kept { .. } | Stage::Parting { .. }, Some(other)) => {
                    self.redirect(slot, other);
                }
                (Stage::Live { .. } | Stage::Kept { .. } | Stage::Parting { .. }, None) => {
                    let held = self.files.get(file).map_or(LeaseState::NONE, File::at_stake);
                    self.forget(slot);
                    out.push(Action::Lost { open: open_ref(slot), held });
                }
            }
        }
        self.creates_less();
        self.send_again(conn, instead);
        for slot in files {
            if let Some(file) = self.files.get_mut(slot).filter(|_| instead.is_none()) {
                file.lose();
            }
            self.descend(slot, out);
        }
        Ok(())
    }

    /// Acknowledgments that were under way on a lost connection are due again, if there is another (MS-SMB2 3.2.7.1).
    fn send_again(&mut self, conn: ConnId, instead: Option<ConnId>) {
        let Self { acks, files, opens, .. } = self;
        acks.retain(|sent| {
            if sent.conn == conn && instead.is_some() {
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
