//! What an open counts before anybody else hears of a request: ChannelSequence (MS-SMB2 3.3.5.2.10).

use leasehold::server::{Effect, Event, Outstanding};
use leasehold::{ConnId, Dialect, FileId, RequestId, Status};

use super::{Host, Whence};

/// What the header of a request says of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attempt {
    /// SMB2_FLAGS_REPLAY_OPERATION
    pub replay: bool,
    /// ChannelSequence
    pub sequence: u16,
}

/// A request that is not answered yet.
#[derive(Debug)]
pub(super) struct Counted {
    conn: ConnId,
    file_id: FileId,
    outstanding: Outstanding,
}

impl Host {
    /// Counts a request about an open, unless that has heard of a later one. Any but CLOSE uses the open
    /// (MS-SMB2 3.3.5.9.10).
    ///
    /// # Errors
    ///
    /// STATUS_FILE_NOT_AVAILABLE: the request is not to be carried out.
    pub fn count(
        &mut self,
        request: RequestId,
        whence: &Whence,
        attempt: Attempt,
        file_id: FileId,
        effect: Effect,
        uses: bool,
    ) -> Result<(), Status> {
        if whence.dialect < Dialect::Smb300 {
            return Ok(());
        }
        let open = self.opens.get_mut(&file_id.persistent);
        let open = open.filter(|open| open.file_id == file_id && open.session == whence.origin.session);
        let Some(open) = open else { return Ok(()) };
        let outstanding = open.sequence.admit(attempt.sequence, attempt.replay, effect)?;
        let used = uses && open.guid.take().is_some();
        self.counted.insert(request, Counted { conn: whence.origin.conn, file_id, outstanding });
        if used {
            // Some of it the machine would see by itself.
            self.tell(Event::Used { file_id });
        }
        Ok(())
    }

    /// A request is answered: every one has to be told, whoever answers it.
    pub fn answered(&mut self, request: RequestId) {
        let Some(Counted { file_id, outstanding, .. }) = self.counted.remove(&request) else { return };
        let open = self.opens.get_mut(&file_id.persistent);
        if let Some(open) = open.filter(|open| open.file_id == file_id) {
            open.sequence.answered(outstanding);
        }
    }

    /// A connection is lost: whatever waited there comes to nothing, so none of it can be late.
    pub(super) fn uncount(&mut self, conn: ConnId) {
        let on_it = self.counted.iter().filter(|(_, counted)| counted.conn == conn);
        for request in on_it.map(|(request, _)| *request).collect::<Vec<_>>() {
            self.answered(request);
        }
    }
}
