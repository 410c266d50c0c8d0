//! What a client machine is told.

use core::time::Duration;

use super::{AckId, FileRef, OpenRef, Opening};
use crate::persist::ClientRecord;
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
    /// An open of a former life of this client, from its record: before the first connection, in the order of their ids, under the same
    /// ClientGuid. Answered by `Restored`, and later by `Regained` or `Lost`, if anybody needs it. A name has of its cache what is told of it then: `Flush`,
    /// `Purge`, `Allow`; of a name without a record nothing in the cache is of use.
    Restore {
        /// The record.
        record: ClientRecord,
        /// How long ago the former life ended, as far as it is known: so much less of what the server has promised is left.
        elapsed: Duration,
    },
    /// A connection is there, with a valid session on it.
    Connected {
        /// The connection.
        conn: ConnId,
        /// The session. All connections of a machine carry the same: further ones are its channels. With another session than before, the
        /// connections that are there carry nothing any more.
        session: SessionId,
        /// What is known of the session before, if there was one.
        previous: PreviousSession,
        /// What NEGOTIATE agreed on.
        terms: Terms,
    },
    /// The transport is gone.
    Disconnected {
        /// The connection.
        conn: ConnId,
    },
    /// The session is there again, on the connections that are: authenticated again, or another one, with its tree connects. If it
    /// is another one, answers to what was under way are not told any more.
    SessionReady {
        /// The session.
        session: SessionId,
        /// What is known of the session before.
        previous: PreviousSession,
    },
    /// The session has ended without the transport, or the driver knows more than the transport. Answers to what was under way are
    /// not told any more, but for `Expired`: what that refuses, the driver sends again.
    SessionLost {
        /// The session.
        session: SessionId,
        /// How.
        reason: SessionLoss,
    },
    /// The application wants a file. Answered by `Ready` or `Failed`.
    Open(Opening),
    /// FSCTL_LMR_REQUEST_RESILIENCY has succeeded: the open outlives its connection for this time (MS-SMB2 3.2.5.14.9).
    Resilient {
        /// The open.
        open: OpenRef,
        /// What was asked for; 0 leaves it to the server.
        timeout: Duration,
    },
    /// A CREATE that asked for an open again was answered (MS-SMB2 3.2.5.8).
    Reconnected {
        /// From the action.
        open: OpenRef,
        /// What it got.
        result: Result<CreateReply, Status>,
    },
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
    /// The server does not know an open any more, which a READ, WRITE or other request through it has shown: STATUS_FILE_CLOSED (an
    /// administrator, or another with the same AppInstanceId, MS-SMB2 3.3.5.9.13), STATUS_NETWORK_NAME_DELETED (its tree connect is gone, and
    /// every open under it). What it held is held no more, and no break will say so. Answered by `Lost`.
    HandleLost {
        /// The open.
        open: OpenRef,
        /// What the server answered.
        status: Status,
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

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[non_exhaustive]
pub enum SessionLoss {
    /// Its user has to authenticate again; the opens are there (STATUS_NETWORK_SESSION_EXPIRED).
    Expired,
    /// It is gone (STATUS_USER_SESSION_DELETED). The server keeps what is durable.
    Deleted,
    /// The server has restarted: it keeps what is persistent, and nothing else.
    ServerRestart,
}

/// Whether the server may still have the opens of a former session under it: then they are not found by a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[allow(clippy::exhaustive_enums, reason = "known, or not")]
pub enum PreviousSession {
    /// SESSION_SETUP named it as PreviousSessionId, or there was none.
    Ended,
    /// The server may not have seen its end.
    Unknown,
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
