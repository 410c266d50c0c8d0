//! What a server machine has its driver do.

use super::durable::DurableGrant;
use super::owners::DelegationKind;
use super::scale::{BreakId, PersistSeq, Ticket};
use crate::locks::Locker;
use crate::persist::Change;
use crate::state::{CreateAction, OplockLevel};
use crate::status::Status;
use crate::types::{ConnId, FileId, FileKey, OwnerId, RequestId, SessionId};
use crate::wire::{Lease, LeaseAck, LeaseBreak, OplockBreak, ResponseContexts};

/// An action of [`Server`](super::Server). Exhaustive on purpose: a new duty must not compile unnoticed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "a driver that ignores a new duty must not compile")]
pub enum Action {
    /// Open the file now, overwriting as the request says; answer with `Event::Opened`.
    ///
    /// The file is that of the request's `FileKey`, to which the name led when it was looked up. If the name leads elsewhere by
    /// now, open that file all the same, or fail with the status that the name deserves.
    ///
    /// If that succeeds, the handle is the driver's until `CloseFile`, even if the CREATE is never granted.
    OpenFile {
        /// The CREATE.
        request: RequestId,
        /// The open that is to be.
        file_id: FileId,
    },
    /// The file that was judged has gone meanwhile, or has another name: resolve the name again and send a new event.
    Resolve {
        /// The request that waited for it.
        request: RequestId,
    },
    /// Send STATUS_PENDING: the request waits for a break, for a range to be unlocked, or for a rename to end (MS-SMB2 3.3.4.2). Of another
    /// protocol: NLM4_BLOCKED, NFS4ERR_DELAY; who answers so and will not wait cancels it.
    Interim {
        /// The request.
        request: RequestId,
    },
    /// The operation may run; answer with `Event::Done`. Its open may be closed before that; then it is still the last to know
    /// where the name stood.
    Proceed {
        /// The request.
        request: RequestId,
        /// For the answer.
        ticket: Ticket,
    },
    /// Answer the CREATE. Where an open is given back, the volatile half of its FileId is new and the persistent one is not: that
    /// one is the driver's name for its handle.
    Granted {
        /// The CREATE.
        request: RequestId,
        /// What it got.
        grant: Grant,
    },
    /// Answer with an error.
    Refused {
        /// The request.
        request: RequestId,
        /// The error.
        status: Status,
    },
    /// A CLOSE or TREE_DISCONNECT is done.
    Closed {
        /// The request.
        request: RequestId,
    },
    /// A LOCK is done: everything it names is locked, or unlocked. Or an open is resilient from now on. Of another protocol: the lock, the
    /// reservation or the delegation is had; behind an `Interim` that is what NLM says by GRANTED and NFSv4 by CB_NOTIFY_LOCK.
    Accepted {
        /// The request.
        request: RequestId,
    },
    /// Send a Lease Break Notification: header of [`Header::notification`](crate::wire::Header::notification) with
    /// SessionId 0 (MS-SMB2 3.3.4.7). Report it as `Event::Undelivered` if it cannot be sent.
    SendLeaseBreak {
        /// For the report.
        id: BreakId,
        /// The connection to send it on.
        conn: ConnId,
        /// How.
        protection: Protection,
        /// The body.
        body: LeaseBreak,
    },
    /// Send an Oplock Break Notification: header of [`Header::notification`](crate::wire::Header::notification) with this
    /// SessionId (MS-SMB2 3.3.4.6). Report it as `Event::Undelivered` if it cannot be sent.
    SendOplockBreak {
        /// For the report.
        id: BreakId,
        /// The connection to send it on.
        conn: ConnId,
        /// The session of the open.
        session: SessionId,
        /// How.
        protection: Protection,
        /// The body.
        body: OplockBreak,
    },
    /// Recall a delegation (CB_RECALL): `Event::Returned` answers. Until then, or until `Revoked`, its client may act on it.
    Recall {
        /// Names the recall.
        id: BreakId,
        /// Whose.
        owner: OwnerId,
        /// The file.
        file: FileKey,
        /// Which.
        kind: DelegationKind,
    },
    /// A delegation was not returned in time and is no more: NFS4ERR_DELEG_REVOKED from now on.
    Revoked {
        /// Whose.
        owner: OwnerId,
        /// The file.
        file: FileKey,
    },
    /// The request repeats one that waits: answer it as that one was answered by `Interim`. What follows is said of the first.
    Repeated {
        /// The request.
        request: RequestId,
        /// The one that waits.
        first: RequestId,
    },
    /// Answer a test.
    Tested {
        /// The request.
        request: RequestId,
        /// The first lock in the way; `None`: it could be had now.
        conflict: Option<LockHolder>,
    },
    /// Answer a Lease Break Acknowledgment (MS-SMB2 2.2.25.2).
    AnswerLeaseAck {
        /// The acknowledgment.
        request: RequestId,
        /// The body of the response, or the error.
        result: Result<LeaseAck, Status>,
    },
    /// Answer an Oplock Break Acknowledgment (MS-SMB2 2.2.25.1).
    AnswerOplockAck {
        /// The acknowledgment.
        request: RequestId,
        /// The body of the response, or the error.
        result: Result<OplockBreak, Status>,
    },
    /// Store a change, and say when it is durable: `Event::Persisted`, or `Event::PersistFailed`. What a client is told of it is held
    /// back until then, so one flush can serve many. Only with [`Config::persistence`](super::Config::persistence).
    Persist {
        /// For the answer.
        seq: PersistSeq,
        /// What to store.
        change: Change,
    },
    /// Remove the name of a file that was to be deleted: its last handle is closed already.
    Unlink {
        /// The file.
        file: FileKey,
    },
    /// Release the file system's handle of an open; `link` says whether the name goes with it.
    CloseFile {
        /// The open.
        file_id: FileId,
        /// What becomes of the name.
        link: Link,
    },
}

/// A lock and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs, reason = "what NLM and NFSv4 answer with")]
pub struct LockHolder {
    /// Whose.
    pub locker: Locker,
    /// First octet.
    pub offset: u64,
    /// How many octets.
    pub len: u64,
    /// Whether it is exclusive.
    pub exclusive: bool,
}

/// How a notification travels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[allow(clippy::exhaustive_enums, reason = "in clear text or not")]
pub enum Protection {
    /// Neither signed nor encrypted, whatever the session demands.
    #[default]
    Plain,
    /// Encrypted if the session encrypts (MS-SMB2 3.3.4.1.4). Never signed.
    OfSession,
}

/// What becomes of a file's name when one of its opens is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "a name stays or goes")]
pub enum Link {
    /// It stays.
    Keep,
    /// It goes: this was the last open of a file that was to be deleted.
    Remove,
}

/// What a CREATE got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Grant {
    /// FileId
    pub file_id: FileId,
    /// CreateAction
    pub action: CreateAction,
    /// OplockLevel
    pub level: OplockLevel,
    /// How the open was made durable; `None` also where one is given back.
    pub durable: Option<DurableGrant>,
    /// Whether the CREATE can be replayed until the open is used: of any use but `Operate`, `Lock` and acknowledgments the
    /// machine is told by `Event::Used`.
    pub replayable: bool,
    /// RqLs of the response, of the version that the lease has (MS-SMB2 3.3.5.9.8, 3.3.5.9.11).
    pub lease: Option<Lease>,
}

impl Grant {
    /// The create contexts of the response that are ours.
    pub fn contexts(&self) -> ResponseContexts {
        let mut contexts = ResponseContexts { lease: self.lease, ..ResponseContexts::default() };
        match self.durable {
            Some(DurableGrant::V1(response)) => contexts.durable = Some(response),
            Some(DurableGrant::V2(response)) => contexts.durable_v2 = Some(response),
            None => {}
        }
        contexts
    }
}
