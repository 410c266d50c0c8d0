//! What a server machine is told.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

use bitflags::bitflags;

use super::owners::{DelegationKind, OwnerLock, Reservation};
use super::scale::{BreakId, PersistSeq, Ticket};
use super::sequence::LockSequence;
use crate::locks::{Actor, Intent};
use crate::persist::Record;
use crate::state::{Access, CreateAction, CreateOptions, Dialect, Disposition, OplockLevel, ShareMode};
use crate::status::Status;
use crate::types::{
    ClientGuid, ConnId, CreateGuid, FileId, FileKey, OwnerId, Protocol, RequestId, SessionId, TreeId, UserId,
};
use crate::wire::{AppInstanceId, AppInstanceVersion, DurableFlags, Lease, LeaseAck, OplockBreak};

/// An event of [`Server`](super::Server).
#[derive(Clone, Debug)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[non_exhaustive]
pub enum Event {
    /// NEGOTIATE is done on a new connection.
    Connected {
        /// The connection.
        conn: ConnId,
        /// The ClientGuid of its NEGOTIATE request. Leases belong to it.
        client: ClientGuid,
        /// What was negotiated.
        terms: Terms,
    },
    /// A session is valid on a connection: its first channel, or a further one.
    SessionBound {
        /// The connection.
        conn: ConnId,
        /// The session.
        session: SessionId,
    },
    /// The transport is gone. What could not be sent on it is reported as [`Event::Undelivered`], before this or behind it: where
    /// the opens go with the connection, behind it nobody has waited for a break of theirs.
    Disconnected {
        /// The connection.
        conn: ConnId,
    },
    /// A session has ended otherwise than with its last connection.
    SessionEnded {
        /// The session.
        session: SessionId,
        /// How.
        end: SessionEnd,
    },
    /// TREE_DISCONNECT: every open of the tree connect is closed (MS-SMB2 3.3.5.8).
    TreeDisconnected {
        /// Answered by `Closed`.
        request: RequestId,
        /// The session.
        session: SessionId,
        /// The tree connect.
        tree: TreeId,
    },
    /// CREATE (MS-SMB2 3.3.5.9).
    Create(Create),
    /// FSCTL_LMR_REQUEST_RESILIENCY (MS-SMB2 3.3.5.15.9): answered by `Accepted` or `Refused`.
    RequestResilience {
        /// The request.
        request: RequestId,
        /// Whence it came.
        origin: Origin,
        /// Who asks.
        user: UserId,
        /// The open.
        file_id: FileId,
        /// Timeout, in milliseconds; 0 leaves it to the server.
        timeout: u32,
    },
    /// The open was used in a way that the machine does not see: IOCTL, QUERY_INFO, QUERY_DIRECTORY, CHANGE_NOTIFY. Its CREATE
    /// cannot be replayed any more (MS-SMB2 3.3.5.9.10).
    Used {
        /// The open.
        file_id: FileId,
    },
    /// CREATE with DHnC or DH2C that counts (MS-SMB2 3.3.5.9.7, 3.3.5.9.12): an open that lost its connection is wanted back.
    Reconnect(Reconnect),
    /// Answers `OpenFile`: the file system has opened the file, or not.
    Opened {
        /// From the action.
        file_id: FileId,
        /// What came of it.
        result: Result<Opened, Status>,
    },
    /// Something is about to happen to a file: answered by `Proceed` when it may, or by `Refused`. What concerns the whole file
    /// (renames, links, deletion, attributes) names its unnamed stream. Access is for the driver to check.
    Operate {
        /// The request.
        request: RequestId,
        /// Whence it came; `None` if not by SMB.
        origin: Option<Origin>,
        /// The file.
        file: FileKey,
        /// Who acts.
        actor: Actor,
        /// What is about to happen.
        intent: Intent,
    },
    /// Answers `Proceed`: the operation has ended.
    Done {
        /// From the action.
        ticket: Ticket,
        /// What came of it. What failed has changed nothing: no lease of a directory breaks for it. Where that has something stored,
        /// the client is answered when it is durable.
        result: Result<(), Status>,
    },
    /// LOCK (MS-SMB2 3.3.5.14): answered by `Accepted`, perhaps after waiting, or by `Refused`. That the open may read or write
    /// is for the driver to see to.
    Lock(Lock),
    /// A byte-range lock of another protocol: answered by `Accepted`, perhaps after `Interim`, or by `Refused`; or by
    /// `Repeated`, if it is one that waits already.
    OwnerLock(OwnerLock),
    /// An unlock of another protocol: of the octets that are locked, whichever they are. Answered by `Accepted`, or by `Refused` with
    /// STATUS_INSUFFICIENT_RESOURCES where it would make two locks of one.
    OwnerUnlock {
        /// The request.
        request: RequestId,
        /// Who unlocks.
        owner: OwnerId,
        /// The file.
        file: FileKey,
        /// First octet.
        offset: u64,
        /// How many octets; `u64::MAX`: all from there on.
        len: u64,
    },
    /// Whether a lock could be had (NLM TEST, LOCKT, F_GETLK): answered by `Tested`, at once, or by `Refused` while nobody knows as yet
    /// ([`Config::reclaim_grace`](super::Config::reclaim_grace)). Nothing is broken for it.
    TestLock(OwnerLock),
    /// An OPEN of NFSv4, or NLM_SHARE: answered by `Accepted`, perhaps after `Interim`, or by `Refused`.
    Reserve(Reservation),
    /// The reservation ends: CLOSE of NFSv4, NLM_UNSHARE. Answered by nothing.
    Unreserve {
        /// Whose.
        owner: OwnerId,
        /// The file.
        file: FileKey,
    },
    /// Whether a client that has the file open can have it delegated: answered at once, by `Accepted` or by `Refused` with
    /// STATUS_OPLOCK_NOT_GRANTED.
    Delegate {
        /// The request.
        request: RequestId,
        /// Who has it open.
        owner: OwnerId,
        /// The file.
        file: FileKey,
        /// Which.
        kind: DelegationKind,
        /// Whether it had it before a restart of the server (CLAIM_PREVIOUS).
        reclaims: bool,
    },
    /// DELEGRETURN: asked for by `Recall`, or of its own accord. Answered by nothing.
    Returned {
        /// Whose.
        owner: OwnerId,
        /// The file.
        file: FileKey,
    },
    /// An owner of another protocol is gone, with everything that it has and waits for. What waits is answered with STATUS_CANCELLED.
    OwnerGone {
        /// Who.
        owner: OwnerId,
    },
    /// A client of another protocol is gone or has restarted (NSM NOTIFY, FREE_ALL, an expired lease): likewise, for all its owners.
    HostGone {
        /// What it speaks.
        protocol: Protocol,
        /// Which.
        host: u64,
    },
    /// Nobody is left who could have something again: the time of [`Config::reclaim_grace`](super::Config::reclaim_grace) ends early.
    GraceOver,
    /// CANCEL (MS-SMB2 3.3.5.16), NLM CANCEL. A break once sent goes on.
    Cancel {
        /// The request to cancel. One that does not wait is left alone.
        request: RequestId,
    },
    /// CLOSE (MS-SMB2 3.3.5.10).
    Close {
        /// Answered by `Closed`, or by `Refused` with STATUS_FILE_CLOSED.
        request: RequestId,
        /// The session on which it came.
        session: SessionId,
        /// The open.
        file_id: FileId,
    },
    /// Lease Break Acknowledgment (MS-SMB2 3.3.5.22.2).
    LeaseAck {
        /// Answered by `AnswerLeaseAck`.
        request: RequestId,
        /// The connection on which it came. Any of the client will do.
        conn: ConnId,
        /// The body.
        ack: LeaseAck,
    },
    /// Oplock Break Acknowledgment (MS-SMB2 3.3.5.22.1).
    OplockAck {
        /// Answered by `AnswerOplockAck`.
        request: RequestId,
        /// The session on which it came.
        session: SessionId,
        /// The body.
        ack: OplockBreak,
    },
    /// A record that a former life of the server left, before [`Event::Recovered`]: from the latest to the earliest by
    /// [`Record::written`]. Its file is there, and the driver can open it. Answered by nothing, or by `CloseFile` and `Persist` where a
    /// later record shows that it is over, or not all of it was restored.
    Restore {
        /// The record.
        record: Box<Record>,
        /// How long its client has been away: since the record says so, or since the server went down.
        elapsed: Duration,
    },
    /// Every record is restored: requests may come. The time of grace begins ([`Config::grace`](super::Config::grace)).
    Recovered,
    /// Changes are durable: all of that shard up to this one, but for those that failed.
    Persisted {
        /// From the action.
        up_to: PersistSeq,
    },
    /// A change could not be stored, and is not durable: what waits for it is refused, or granted without a promise. Data that a former
    /// record lets somebody read from a cache behind a restart are not changed: whoever waits to is refused, and the record is written
    /// again when somebody else comes to do so. Not so where a record could not be removed: try that again, since others go on, and it
    /// comes back with the next life of the server, with what was cached under it, until its time is over.
    PersistFailed {
        /// From the action.
        seq: PersistSeq,
    },
    /// A break could not be sent on the connection that the action named.
    Undelivered {
        /// From the action.
        id: BreakId,
        /// From the action.
        conn: ConnId,
    },
}

bitflags! {
    /// Capabilities in force on a connection, as the NEGOTIATE response announces them (MS-SMB2 2.2.4).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Capabilities: u32 {
        /// SMB2_GLOBAL_CAP_LEASING
        const LEASING = 0x02;
        /// SMB2_GLOBAL_CAP_MULTI_CHANNEL
        const MULTI_CHANNEL = 0x08;
        /// SMB2_GLOBAL_CAP_PERSISTENT_HANDLES
        const PERSISTENT_HANDLES = 0x10;
        /// SMB2_GLOBAL_CAP_DIRECTORY_LEASING
        const DIRECTORY_LEASING = 0x20;
        const _ = !0;
    }
}
crate::state::arbitrary_bits!(Capabilities);

/// What NEGOTIATE agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[non_exhaustive]
pub struct Terms {
    /// The dialect.
    pub dialect: Dialect,
    /// The capabilities in force.
    pub capabilities: Capabilities,
}

impl Terms {
    /// What NEGOTIATE agreed on.
    pub const fn new(dialect: Dialect, capabilities: Capabilities) -> Self {
        Self { dialect, capabilities }
    }
}

/// Whence a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[non_exhaustive]
pub struct Origin {
    /// The connection.
    pub conn: ConnId,
    /// The session.
    pub session: SessionId,
    /// The tree connect.
    pub tree: TreeId,
}

impl Origin {
    /// Whence a request came.
    pub const fn new(conn: ConnId, session: SessionId, tree: TreeId) -> Self {
        Self { conn, session, tree }
    }
}

/// A CREATE reduced to what caching and sharing depend on (MS-SMB2 2.2.13).
#[derive(Clone, Debug)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[non_exhaustive]
pub struct Create {
    /// Answered by `Granted`, `Refused` or `Resolve`.
    pub request: RequestId,
    /// Whence it came.
    pub origin: Origin,
    /// The file that the name leads to.
    pub file: FileKey,
    /// DesiredAccess as asked, generic bits mapped, MAXIMUM_ALLOWED kept.
    pub desired: Access,
    /// What was granted of it by the access check: never MAXIMUM_ALLOWED.
    pub granted: Access,
    /// ShareAccess
    pub sharing: ShareMode,
    /// CreateDisposition
    pub disposition: Disposition,
    /// CreateOptions
    pub options: CreateOptions,
    /// RequestedOplockLevel
    pub level: OplockLevel,
    /// RqLs as found in the request. Whether it counts is decided here.
    pub lease: Option<Lease>,
    /// What is special about the share.
    pub share: Share,
    /// The directory in which the name stands: its leases break when something about the file changes. `None` for a root,
    /// and for a named stream.
    pub directory: Option<FileKey>,
    /// Who asks.
    pub user: UserId,
    /// DHnQ or DH2Q, if one counts: [`Asked::of`](super::Asked::of).
    pub durability: Durability,
    /// SMB2_FLAGS_REPLAY_OPERATION of the header.
    pub replay: bool,
    /// AppInstanceId and AppInstanceVersion: an application that fails over takes its opens along (MS-SMB2 3.3.5.9.13).
    pub instance: Option<AppInstance>,
    /// What the user could be granted at most: taking over needs GENERIC_READ of it.
    pub maximal: Access,
    /// ChannelSequence of the header: it is kept in the record of a persistent open (MS-SMB2 3.3.5.2.10).
    pub channel_sequence: u16,
}

impl Create {
    /// Opens an existing file for reading, with everything shared and nothing cached.
    pub const fn new(request: RequestId, origin: Origin, file: FileKey) -> Self {
        Self {
            request,
            origin,
            file,
            desired: Access::READ_DATA,
            granted: Access::READ_DATA,
            sharing: ShareMode::ALL,
            disposition: Disposition::Open,
            options: CreateOptions::empty(),
            level: OplockLevel::None,
            lease: None,
            share: Share::DISK,
            directory: None,
            user: UserId::new([0; 16]),
            durability: Durability::None,
            replay: false,
            instance: None,
            maximal: Access::empty(),
            channel_sequence: 0,
        }
    }

    /// With this DesiredAccess, granted as it was asked, and this ShareAccess.
    #[must_use]
    pub const fn access(self, desired: Access, sharing: ShareMode) -> Self {
        Self { desired, granted: desired, sharing, ..self }
    }

    /// With this access granted, where that is not the DesiredAccess: it had MAXIMUM_ALLOWED.
    #[must_use]
    pub const fn granted(self, granted: Access) -> Self {
        Self { granted, ..self }
    }

    /// With this CreateDisposition and these CreateOptions.
    #[must_use]
    pub const fn disposition(self, disposition: Disposition, options: CreateOptions) -> Self {
        Self { disposition, options, ..self }
    }

    /// With this RequestedOplockLevel and, if there is one, this lease context.
    #[must_use]
    pub const fn caching(self, level: OplockLevel, lease: Option<Lease>) -> Self {
        Self { level, lease, ..self }
    }

    /// For this user, made durable in this way if it can be.
    #[must_use]
    pub const fn durable(self, user: UserId, durability: Durability) -> Self {
        Self { user, durability, ..self }
    }

    /// For this instance of an application, of a user who could be granted that much.
    #[must_use]
    pub const fn instance(self, instance: AppInstance, maximal: Access) -> Self {
        Self { instance: Some(instance), maximal, ..self }
    }

    /// Sent again, by SMB2_FLAGS_REPLAY_OPERATION.
    #[must_use]
    pub const fn replayed(self) -> Self {
        Self { replay: true, ..self }
    }

    /// On this share, with the name in this directory.
    #[must_use]
    pub const fn place(self, share: Share, directory: Option<FileKey>) -> Self {
        Self { share, directory, ..self }
    }
}

/// How a session ends decides what survives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[allow(clippy::exhaustive_enums, reason = "a further one must not pass unnoticed")]
pub enum SessionEnd {
    /// LOGOFF: durable opens stay, whatever they cache (MS-SMB2 3.3.5.6).
    LoggedOff,
    /// Another session names it as PreviousSessionId: as if its last connection were lost (MS-SMB2 3.3.5.5.3).
    Replaced,
    /// Its user could not be authenticated again, or the server ends it: nothing stays (MS-SMB2 3.3.5.5.3).
    Refused,
}

/// How long an open is to outlive its connection (MS-SMB2 2.2.13.2.3, 2.2.13.2.11).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[non_exhaustive]
pub enum Durability {
    /// It is not.
    #[default]
    None,
    /// DHnQ
    V1,
    /// DH2Q
    V2 {
        /// Timeout, in milliseconds; 0 leaves it to the server.
        timeout: u32,
        /// CreateGuid
        create_guid: CreateGuid,
        /// SMB2_DHANDLE_FLAG_PERSISTENT: to outlive the server as well, on a share that is continuously available.
        persistent: bool,
    },
}

/// An instance of an application, on whatever client it runs (MS-SMB2 2.2.13.2.13, 2.2.13.2.15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[allow(clippy::exhaustive_structs, reason = "fixed by MS-SMB2 2.2.13.2.13")]
pub struct AppInstance {
    /// AppInstanceId
    pub id: AppInstanceId,
    /// AppInstanceVersion; it counts on dialect 3.1.1.
    pub version: Option<AppInstanceVersion>,
}

/// A CREATE that wants an open back (MS-SMB2 3.3.5.9.7, 3.3.5.9.12). Everything else in such a request is ignored by rule.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[non_exhaustive]
pub struct Reconnect {
    /// Answered by `Granted` or `Refused`.
    pub request: RequestId,
    /// Whence it came.
    pub origin: Origin,
    /// Who asks.
    pub user: UserId,
    /// FileId.Persistent: the volatile half says nothing any more.
    pub persistent: u64,
    /// CreateGuid of DH2C; `None` for DHnC.
    pub create_guid: Option<CreateGuid>,
    /// RqLs: its key and version are compared, its state is not.
    pub lease: Option<Lease>,
    /// What the name leads to; compared only if the open has a lease.
    pub file: Option<FileKey>,
    /// Flags of DH2C.
    pub flags: DurableFlags,
    /// The share.
    pub share: Share,
}

impl Reconnect {
    /// Wants an open without a lease back, by DHnC.
    pub const fn new(request: RequestId, origin: Origin, user: UserId, persistent: u64) -> Self {
        Self {
            request,
            origin,
            user,
            persistent,
            create_guid: None,
            lease: None,
            file: None,
            flags: DurableFlags::empty(),
            share: Share::DISK,
        }
    }

    /// By DH2C.
    #[must_use]
    pub const fn with_guid(self, create_guid: CreateGuid) -> Self {
        Self { create_guid: Some(create_guid), ..self }
    }

    /// By DH2C with these flags, on this share.
    #[must_use]
    pub const fn flags(self, flags: DurableFlags, share: Share) -> Self {
        Self { flags, share, ..self }
    }

    /// With RqLs, by a name that leads to this file.
    #[must_use]
    pub const fn lease(self, lease: Lease, file: Option<FileKey>) -> Self {
        Self { lease: Some(lease), file, ..self }
    }
}

/// What a share is, as far as it limits caching (MS-SMB2 3.3.5.9, 3.3.5.9.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[non_exhaustive]
pub struct Share {
    /// What it leads to.
    pub kind: ShareKind,
    /// What is special about it.
    pub flags: ShareFlags,
    /// Share.CATimeout, in milliseconds: how long an open made by DH2Q is kept if the client leaves it to the server; 0 for
    /// [`Config::durable_v2_timeout`](super::Config::durable_v2_timeout) (MS-SMB2 3.3.5.9.10 <344>).
    pub ca_timeout: u32,
}

impl Share {
    /// A share of files with nothing special about it.
    pub const DISK: Self = Self::new(ShareKind::Disk, ShareFlags::empty());

    /// A share.
    pub const fn new(kind: ShareKind, flags: ShareFlags) -> Self {
        Self { kind, flags, ca_timeout: 0 }
    }

    /// With this Share.CATimeout, in milliseconds.
    #[must_use]
    pub const fn ca_timeout(self, ca_timeout: u32) -> Self {
        Self { ca_timeout, ..self }
    }
}

/// What a share leads to (MS-SMB2 2.2.10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[allow(clippy::exhaustive_enums, reason = "fixed by MS-SMB2 2.2.10")]
pub enum ShareKind {
    /// SMB2_SHARE_TYPE_DISK
    Disk,
    /// SMB2_SHARE_TYPE_PIPE: nothing is cached.
    Pipe,
    /// SMB2_SHARE_TYPE_PRINT: nothing is cached.
    Print,
}

bitflags! {
    /// What a share limits (MS-SMB2 3.3.1.6). Not a field of the wire.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct ShareFlags: u32 {
        /// Share.ForceLevel2Oplock: W is never granted, BATCH and EXCLUSIVE become II.
        const FORCE_LEVEL_II = 0x1;
        /// STYPE_CLUSTER_SOFS: on dialects 3.x a lease is R at most, and BATCH becomes II.
        const SCALE_OUT = 0x2;
        /// Share.IsCA: opens may be made persistent, on dialects 3.x where that was negotiated.
        const CONTINUOUSLY_AVAILABLE = 0x4;
        const _ = !0;
    }
}
crate::state::arbitrary_bits!(ShareFlags);

/// A LOCK request (MS-SMB2 2.2.26).
#[derive(Clone, Debug)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[non_exhaustive]
pub struct Lock {
    /// Answered by `Accepted` or `Refused`.
    pub request: RequestId,
    /// Whence it came.
    pub origin: Origin,
    /// The open.
    pub file_id: FileId,
    /// The allocation size of the file, in octets. By [`LockReach::Allocation`](super::LockReach::Allocation) a lock at or
    /// beyond it disturbs no cache.
    pub allocation: u64,
    /// Locks, as they stand in the request: all are unlocks or none is.
    pub elements: Vec<LockElement>,
    /// LockSequenceNumber and LockSequenceIndex, if they count: kept in the record of a persistent open (MS-SMB2 3.3.5.14).
    pub sequence: Option<LockSequence>,
}

impl Lock {
    /// A LOCK request.
    pub const fn new(
        request: RequestId,
        origin: Origin,
        file_id: FileId,
        allocation: u64,
        elements: Vec<LockElement>,
    ) -> Self {
        Self { request, origin, file_id, allocation, elements, sequence: None }
    }

    /// With this lock sequence.
    #[must_use]
    pub fn sequence(self, sequence: Option<LockSequence>) -> Self {
        Self { sequence, ..self }
    }
}

/// SMB2_LOCK_ELEMENT (MS-SMB2 2.2.26.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[allow(clippy::exhaustive_structs, reason = "fixed by MS-SMB2 2.2.26.1")]
pub struct LockElement {
    /// Offset
    pub offset: u64,
    /// Length, in octets. A range without octets can be locked.
    pub len: u64,
    /// Flags
    pub flags: LockFlags,
}

bitflags! {
    /// Flags of an element of a LOCK request (MS-SMB2 2.2.26.1). 32 bits, little-endian on the wire.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct LockFlags: u32 {
        /// SMB2_LOCKFLAG_SHARED_LOCK
        const SHARED = 0x01;
        /// SMB2_LOCKFLAG_EXCLUSIVE_LOCK
        const EXCLUSIVE = 0x02;
        /// SMB2_LOCKFLAG_UNLOCK
        const UNLOCK = 0x04;
        /// SMB2_LOCKFLAG_FAIL_IMMEDIATELY: without it the request waits until the range is free.
        const FAIL_IMMEDIATELY = 0x10;
        const _ = !0;
    }
}
crate::state::arbitrary_bits!(LockFlags);

/// What a file is, as far as caching goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[non_exhaustive]
pub enum ObjectKind {
    /// A file, or a named stream of one.
    File,
    /// A directory: never W, and no lease at all unless directory leasing was negotiated.
    Directory,
}

/// A file that the driver has opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[non_exhaustive]
pub struct Opened {
    /// What became of the file.
    pub action: CreateAction,
    /// What it is.
    pub kind: ObjectKind,
    /// AllocationSize, in octets: only byte-range locks below it forbid caching (MS-FSA 2.1.5.18).
    pub allocation: u64,
}

impl Opened {
    /// A file that the driver has opened.
    pub const fn new(action: CreateAction, kind: ObjectKind, allocation: u64) -> Self {
        Self { action, kind, allocation }
    }
}
