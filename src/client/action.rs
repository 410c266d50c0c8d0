//! What a client machine has its driver do.

use super::{AckId, FileRef, OpenRef};
use crate::state::{LeaseState, OplockLevel};
use crate::status::Status;
use crate::types::{ConnId, FileId, RequestId};
use crate::wire::{LeaseAck, OplockBreak, RequestContexts};

/// An action of [`Client`](super::Client). Exhaustive on purpose: a new duty must not compile unnoticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "a driver that ignores a new duty must not compile")]
pub enum Action {
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
        /// The create contexts that are ours; the application's go beside them.
        contexts: RequestContexts,
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
    /// An open is gone with its connection.
    Lost {
        /// The open.
        open: OpenRef,
        /// What the cache was allowed until now: with W, what it had not written back is lost.
        held: LeaseState,
    },
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
