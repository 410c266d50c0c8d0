//! What a client machine has its driver do.

use super::{AckId, FileRef, LossReason, OpenRef, Renewal};
use crate::persist::ClientChange;
use crate::state::{LeaseState, OplockLevel};
use crate::status::Status;
use crate::types::{ConnId, FileId, RequestId};
use crate::wire::{LeaseAck, OplockBreak, RequestContexts};

/// An action of [`Client`](super::Client). Exhaustive on purpose: a new duty must not compile unnoticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "a driver that ignores a new duty must not compile")]
pub enum Action {
    /// Store, if [`ClientConfig::persistence`](super::ClientConfig::persistence) says so. It comes before everything that rests on it: a
    /// driver that carries out what follows only when this is durable loses no handle by a crash.
    Persist {
        /// The change.
        change: ClientChange,
    },
    /// Send a CREATE for the application's request; answer with `Event::Created`.
    SendCreate {
        /// The application's request: it says name, access and disposition.
        request: RequestId,
        /// The open that is to be.
        open: OpenRef,
        /// The connection to send it on.
        conn: ConnId,
        /// RequestedOplockLevel
        level: OplockLevel,
        /// Whether SMB2_FLAGS_REPLAY_OPERATION goes into the header.
        replay: Replay,
        /// The create contexts that are ours; the application's go beside them.
        contexts: RequestContexts,
    },
    /// Send a CREATE that asks for an open again; answer with `Event::Reconnected` (MS-SMB2 3.2.4.4). SecurityFlags and
    /// ImpersonationLevel are 0; name, access, attributes, share mode, disposition and options are those of the first CREATE;
    /// no other contexts; the REPLAY flag is clear. Then locks that were under way go out again, with their numbers.
    SendReconnect {
        /// The open.
        open: OpenRef,
        /// The connection to send it on.
        conn: ConnId,
        /// RequestedOplockLevel
        level: OplockLevel,
        /// All create contexts.
        contexts: RequestContexts,
    },
    /// Renew the session or the tree connects; answer with `Event::SessionReady`, or disconnect. Reconnects and CREATEs wait.
    RenewSession {
        /// A connection that is there.
        conn: ConnId,
        /// What is to be renewed.
        renewal: Renewal,
    },
    /// Send a CLOSE; answer with `Event::Closed`.
    SendClose {
        /// The open.
        open: OpenRef,
        /// The connection to send it on.
        conn: ConnId,
        /// FileId
        file_id: FileId,
    },
    /// Send a Lease Break Acknowledgment; answer with `Event::AckAnswered`.
    SendLeaseAck {
        /// For the answer.
        ack: AckId,
        /// The connection to send it on.
        conn: ConnId,
        /// An open that is left: its session and tree connect go into the header.
        via: OpenRef,
        /// The body.
        body: LeaseAck,
    },
    /// Send an Oplock Break Acknowledgment; answer with `Event::AckAnswered`.
    SendOplockAck {
        /// For the answer.
        ack: AckId,
        /// The connection to send it on.
        conn: ConnId,
        /// The open: its session and tree connect go into the header.
        via: OpenRef,
        /// The body.
        body: OplockBreak,
    },
    /// The cache may now do this much, and no more.
    Allow {
        /// The file.
        file: FileRef,
        /// R: serve reads. W: keep writes and locks back. H: keep handles open.
        state: LeaseState,
    },
    /// Write back what is dirty, then the locks that were kept back; answer with `Event::Flushed`, also if that failed, and
    /// also if the connection was lost meanwhile.
    Flush {
        /// The file.
        file: FileRef,
    },
    /// Drop cached data; answer with `Event::Purged`. The answers to READs that are under way must not fill the cache again:
    /// they may be older.
    Purge {
        /// The file.
        file: FileRef,
    },
    /// The application has its file.
    Ready {
        /// Its request.
        request: RequestId,
        /// The open.
        open: OpenRef,
        /// Where it comes from.
        served: Served,
    },
    /// The application does not get its file.
    Failed {
        /// Its request.
        request: RequestId,
        /// Why.
        status: Status,
    },
    /// The open of a record. It is away: what follows is as after `Away`; an open that nobody needs is closed, and nothing said of it.
    Restored {
        /// [`ClientRecord::id`](crate::persist::ClientRecord::id)
        id: u64,
        /// The open.
        open: OpenRef,
    },
    /// An open has no connection, and may come back: `Regained` or `Lost` follows. Nothing can be read or written through it; what
    /// the cache has, dirty data too, it keeps.
    Away {
        /// The open.
        open: OpenRef,
    },
    /// An open is back, with the FileId of the answer.
    Regained {
        /// The open.
        open: OpenRef,
    },
    /// An open is gone, and with it its locks. It is not opened anew: others may have changed the file.
    Lost {
        /// The open.
        open: OpenRef,
        /// Why.
        reason: LossReason,
        /// The last answer of the server, or STATUS_CONNECTION_DISCONNECTED.
        status: Status,
        /// What the cache was allowed before: with W, what it had not written back is lost with the last open of the name, which
        /// the `Purge` that follows says.
        held: LeaseState,
    },
}

/// Whether a CREATE goes out for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[allow(clippy::exhaustive_enums, reason = "a flag of the header")]
pub enum Replay {
    /// The flag is clear.
    First,
    /// SMB2_FLAGS_REPLAY_OPERATION: it may have been carried out already; its CreateGuid is the same.
    Again,
}

/// Where an open comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Served {
    /// From the server, by a CREATE.
    Server,
    /// From a handle that was kept: the file is open as it was before, as if by FILE_OPENED.
    Kept,
}
