//! ChannelSequence: what an open has to say of a request before anybody else hears of it (MS-SMB2 3.3.5.2.10).

use leasehold::server::{Effect, Outstanding};
use leasehold::{ConnId, Dialect, FileId, Status};

use super::driver::Driver;
use super::peers::Whence;
use super::request::{Attempt, Command};

/// A request that is not answered yet.
#[derive(Debug)]
pub(super) struct Counted {
    conn: ConnId,
    file_id: FileId,
    outstanding: Outstanding,
}

impl Driver<'_> {
    /// Counts a request about an open, unless that has heard of a later one. Any but CLOSE uses the open (MS-SMB2 3.3.5.9.10).
    pub(super) fn count(
        &mut self,
        seq: u64,
        whence: Whence,
        attempt: Attempt,
        command: &Command,
        file: Option<FileId>,
    ) -> Result<(), Status> {
        let Whence { origin, dialect, .. } = whence;
        let effect = effect(command).filter(|_| dialect >= Dialect::Smb300);
        let (Some(effect), Some(file_id)) = (effect, file) else { return Ok(()) };
        let open = self.opens.get_mut(&file_id.persistent);
        let open = open.filter(|open| open.file_id == file_id && open.session == origin.session);
        let Some(open) = open else { return Ok(()) };
        let outstanding = open.sequence.admit(attempt.sequence, attempt.replay, effect)?;
        if !matches!(command, Command::Close { .. }) {
            open.guid = None;
        }
        self.counted.insert(seq, Counted { conn: origin.conn, file_id, outstanding });
        Ok(())
    }

    /// A request is answered.
    pub(super) fn uncount_request(&mut self, seq: u64) {
        let Some(Counted { file_id, outstanding, .. }) = self.counted.remove(&seq) else { return };
        let open = self.opens.get_mut(&file_id.persistent);
        if let Some(open) = open.filter(|open| open.file_id == file_id) {
            open.sequence.answered(outstanding);
        }
    }

    /// A connection is lost: whatever waited there comes to nothing, so none of it can be late.
    pub(super) fn uncount(&mut self, conn: ConnId) {
        let on_it = self.counted.iter().filter(|(_, counted)| counted.conn == conn);
        for seq in on_it.map(|(seq, _)| *seq).collect::<Vec<_>>() {
            self.uncount_request(seq);
        }
    }
}

/// What a command does to the file that it names; `None` for one that names none.
fn effect(command: &Command) -> Option<Effect> {
    match command {
        Command::Write { .. } | Command::SetInfo { .. } | Command::Ioctl { .. } => Some(Effect::Changes),
        Command::Close { .. }
        | Command::Flush { .. }
        | Command::Read { .. }
        | Command::QueryInfo { .. }
        | Command::QueryDirectory { .. }
        | Command::OplockAck { .. }
        | Command::Lock { .. }
        | Command::ChangeNotify { .. } => Some(Effect::Looks),
        Command::Negotiate { .. }
        | Command::SessionSetup { .. }
        | Command::TreeConnect { .. }
        | Command::Logoff
        | Command::TreeDisconnect
        | Command::Create(_)
        | Command::LeaseAck { .. }
        | Command::Cancel { .. }
        | Command::Echo
        | Command::Unknown(_) => None,
    }
}

#[cfg(test)]
mod tests;
