//! Requests about an open file.

use leasehold::server::{Event, Lock, LockElement, LockSequence};
use leasehold::wire::{LeaseAck, OplockBreak};
use leasehold::{ConnId, FileId, RequestId, Status};

use super::{Body, Host, Whence};
use crate::fs::operations::{OperationKind, Subject};
use crate::fs::{Handle, MemFs, nt};

/// A request that `Accepted` answers.
#[derive(Debug)]
pub(super) struct Accepting {
    pub(super) conn: ConnId,
    file_id: FileId,
    kind: AcceptingKind,
}

#[derive(Debug)]
enum AcceptingKind {
    Lock(Option<LockSequence>),
    Resilience,
}

impl Host {
    /// CLOSE.
    pub fn close(&mut self, request: RequestId, whence: &Whence, file_id: FileId, query_attributes: bool) {
        let session = whence.origin.session;
        if query_attributes
            && let Ok(open) = self.open(session, file_id)
            && let Ok(info) = self.fs.info(open.handle)
        {
            self.closing.insert(request, info);
        }
        self.ask(request, Event::Close { request, session, file_id });
    }

    /// Something to be done to an open file when it may.
    pub fn operate(&mut self, request: RequestId, whence: &Whence, file_id: FileId, kind: OperationKind) {
        let open = match self.open(whence.origin.session, file_id) {
            Ok(open) => open,
            Err(status) => return self.answer(request, status, Body::Nothing),
        };
        let (key, handle, lease) = (open.key, open.handle, open.lease);
        let subject = Subject { origin: whence.origin, file_id, key, handle, lease };
        let progress = self.operations.begin(&mut self.fs, request, subject, kind);
        for event in self.progress(request, progress) {
            self.ask(request, event);
        }
    }

    /// What the machine does not see of an open: the file system is asked at once.
    ///
    /// # Errors
    ///
    /// STATUS_FILE_CLOSED, or what the file system says.
    pub fn look<T>(
        &mut self,
        whence: &Whence,
        file_id: FileId,
        look: impl FnOnce(&mut MemFs, Handle) -> Result<T, Status>,
    ) -> Result<T, Status> {
        let handle = self.open(whence.origin.session, file_id)?.handle;
        look(&mut self.fs, handle)
    }

    /// LOCK (MS-SMB2 3.3.5.14).
    pub fn lock(
        &mut self,
        request: RequestId,
        whence: &Whence,
        file_id: FileId,
        sequence: u32,
        elements: Vec<LockElement>,
    ) {
        let origin = whence.origin;
        let (handle, lasting) = match self.open(origin.session, file_id) {
            Ok(open) => (open.handle, open.lasting),
            Err(status) => return self.answer(request, status, Body::Nothing),
        };
        let sequence = LockSequence::from_wire(sequence).filter(|_| lasting || whence.multi_channel);
        if let (Some(sequence), Some(open)) = (sequence, self.opens.get_mut(&file_id.persistent))
            && open.locks.seen(sequence)
        {
            return self.answer(request, Status::SUCCESS, Body::Nothing);
        }
        if let Err(status) = self.fs.lockable(handle) {
            return self.answer(request, status, Body::Nothing);
        }
        let kind = AcceptingKind::Lock(sequence);
        self.accepting.insert(request, Accepting { conn: origin.conn, file_id, kind });
        let allocation = self.fs.allocation(handle);
        let lock = Lock::new(request, origin, file_id, allocation, elements).sequence(sequence);
        self.ask(request, Event::Lock(lock));
    }

    /// FSCTL_LMR_REQUEST_RESILIENCY (MS-SMB2 3.3.5.15.9).
    pub fn request_resilience(&mut self, request: RequestId, whence: &Whence, file_id: FileId, timeout: u32) {
        let (origin, user) = (whence.origin, whence.user);
        let kind = AcceptingKind::Resilience;
        self.accepting.insert(request, Accepting { conn: origin.conn, file_id, kind });
        self.ask(request, Event::RequestResilience { request, origin, user, file_id, timeout });
    }

    /// A LOCK is done, or an open is resilient.
    pub(super) fn accepted(&mut self, request: RequestId) {
        let Some(Accepting { file_id, kind, .. }) = self.accepting.remove(&request) else { return };
        let open = self.opens.get_mut(&file_id.persistent).filter(|open| open.file_id == file_id);
        let Some(open) = open else { return };
        match kind {
            AcceptingKind::Lock(Some(sequence)) => open.locks.done(sequence),
            AcceptingKind::Lock(None) => {}
            AcceptingKind::Resilience => open.lasting = true,
        }
    }

    /// Begins to wait for a change in a directory (MS-SMB2 3.3.5.19). Changes are not looked for: it ends when it is
    /// cancelled, or the directory is closed.
    pub fn watch(&mut self, request: RequestId, whence: &Whence, file_id: FileId) {
        match self.look(whence, file_id, |fs, handle| fs.watchable(handle)) {
            Ok(()) => {
                self.watches.insert(request, (whence.origin.conn, file_id));
                self.outputs.push_back(super::Output::Interim(request));
            }
            Err(status) => self.answer(request, status, Body::Nothing),
        }
    }

    /// A directory is closed: nobody waits for changes in it any more (MS-SMB2 3.3.5.10).
    pub(super) fn end_watches(&mut self, file_id: FileId) {
        let of_it = |watched: &FileId| watched.persistent == file_id.persistent;
        let ended =
            self.watches.iter().filter(|(_, (_, watched))| of_it(watched)).map(|(request, _)| *request);
        for request in ended.collect::<Vec<_>>() {
            self.watches.remove(&request);
            self.answer(request, nt::NOTIFY_CLEANUP, Body::Nothing);
        }
    }

    /// CANCEL (MS-SMB2 3.3.5.16).
    pub fn cancel(&mut self, request: RequestId) {
        if self.watches.remove(&request).is_some() {
            return self.answer(request, Status::CANCELLED, Body::Nothing);
        }
        // One that does not wait, or not any more.
        self.tell(Event::Cancel { request });
    }

    /// TREE_DISCONNECT (MS-SMB2 3.3.5.8).
    pub fn tree_disconnect(&mut self, request: RequestId, whence: &Whence) {
        let (session, tree) = (whence.origin.session, whence.origin.tree);
        self.ask(request, Event::TreeDisconnected { request, session, tree });
    }

    /// Lease Break Acknowledgment (MS-SMB2 3.3.5.22.2).
    pub fn acknowledge_lease(&mut self, request: RequestId, whence: &Whence, ack: LeaseAck) {
        // It uses the opens of the lease (MS-SMB2 3.3.5.9.10).
        let lease = Some((whence.client, ack.key));
        for open in self.opens.values_mut().filter(|open| open.lease == lease) {
            open.guid = None;
        }
        let conn = whence.origin.conn;
        self.ask(request, Event::LeaseAck { request, conn, ack });
    }

    /// Oplock Break Acknowledgment (MS-SMB2 3.3.5.22.1).
    pub fn acknowledge_oplock(&mut self, request: RequestId, whence: &Whence, ack: OplockBreak) {
        let session = whence.origin.session;
        self.ask(request, Event::OplockAck { request, session, ack });
    }
}
