//! What a client machine is told.

use super::{AckId, FileRef, OpenRef, Opening};
use crate::server::Terms;
use crate::state::OplockLevel;
use crate::status::Status;
use crate::types::{ConnId, FileId, SessionId};
use crate::wire::{LeaseBreak, OplockBreak, ResponseContexts};

/// An event of [`Client`](super::Client).
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[non_exhaustive]
pub enum Event {
    /// A connection is there, with a valid session on it.
    Connected {
        /// The connection.
        conn: ConnId,
        /// What NEGOTIATE agreed on.
        terms: Terms,
    },
    /// The transport is gone.
    Disconnected {
        /// The connection.
        conn: ConnId,
    },
    /// The application wants a file. Answered by `Ready` or `Failed`.
    Open(Opening),
    /// A CREATE was answered.
    Created {
        /// From the action.
        open: OpenRef,
        /// What it got.
        result: Result<CreateReply, Status>,
    },
    /// The application is done with an open. With H the close may be kept back.
    Release {
        /// The open.
        open: OpenRef,
    },
    /// A CLOSE was answered, whatever the answer.
    Closed {
        /// From the action.
        open: OpenRef,
    },
    /// Answers `Flush`. A flush that failed was reported to the application; the break goes on (MS-SMB2 3.2.5.19.2).
    Flushed {
        /// From the action.
        file: FileRef,
    },
    /// Answers `Purge`.
    Purged {
        /// From the action.
        file: FileRef,
    },
    /// A Lease Break Notification arrived on any connection.
    LeaseBroken {
        /// The body.
        body: LeaseBreak,
    },
    /// An Oplock Break Notification arrived on any connection.
    OplockBroken {
        /// The connection.
        conn: ConnId,
        /// SessionId of the header; 0 is legal (MS-SMB2 3.2.5.19).
        session: SessionId,
        /// The body.
        body: OplockBreak,
    },
    /// An acknowledgment of either kind was answered.
    AckAnswered {
        /// From the action.
        ack: AckId,
        /// Success or the error.
        result: Result<(), Status>,
    },
}

/// What a CREATE response says about caching.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[non_exhaustive]
pub struct CreateReply {
    /// FileId
    pub file_id: FileId,
    /// OplockLevel
    pub level: OplockLevel,
    /// The contexts that are ours.
    pub contexts: ResponseContexts,
}

impl CreateReply {
    /// What a CREATE response says about caching.
    pub const fn new(file_id: FileId, level: OplockLevel, contexts: ResponseContexts) -> Self {
        Self { file_id, level, contexts }
    }
}
