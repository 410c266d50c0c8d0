//! The sharded server from outside: who owns what, how requests find their shard, and what passes between the machines.
//!
//! ```text
//! connections ──Event──► Registry (ClientGuid) ──ToShard──► Shard 0..n (FileKey) ──ToRegistry──► Registry
//!                           │                                  │
//!                           └───────────────Action─────────────┴──────────────► connections
//! ```
//!
//! A driver gives each core one [`Shard`](super::Shard) and one core a [`Registry`](super::Registry); what passes between
//! them is opaque. What one machine says is passed on in its order, messages and actions alike, and a registry has one inbox:
//! that a lease key is free when a CLOSE is answered rests on it. After a LOGOFF or a lost connection, which have no answer
//! here, a key is free when the shards' messages have come in. Every id that a shard makes carries its route, so an answer
//! finds its shard without a table.

use core::num::{NonZeroU16, NonZeroU32};

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

use slotmap::{Key, KeyData, new_key_type};

use super::action::Action;
use super::event::{Create, Event, Lock, Opened, Origin, Reconnect, SessionEnd};
use super::lease::LeaseName;
use super::owners::{DelegationKind, OwnerLock, Reservation};
use super::records::{Place, PresenceSlot};
use crate::locks::share::Claim;
use crate::locks::waits::{Deadlock, Locker};
use crate::locks::{Actor, Intent};
use crate::persist::Record;
use crate::state::{Dialect, LeaseState, OplockLevel};
use crate::status::Status;
use crate::store::hash::HashKey;
use crate::types::{
    ClientGuid, ConnId, CreateGuid, FileId, FileKey, LeaseKey, OwnerId, Protocol, RequestId, SessionId,
    TreeId, UserId,
};
use crate::wire::{Lease, LeaseBreak, OplockBreak};

new_key_type! {
    /// An open in the arena of its shard; also the volatile half of its FileId.
    pub(super) struct OpenSlot;
    /// A lease in the arena of its shard.
    pub(super) struct LeaseSlot;
    /// A running operation in the arena of its shard.
    pub(super) struct RunSlot;
}

/// Sixteen octets from which the route of every file follows. Stable for as long as any handle is to survive a restart,
/// unlike [`HashKey`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct RouteSeed(HashKey);

impl RouteSeed {
    /// Wraps the octets.
    pub const fn new(octets: [u8; 16]) -> Self {
        Self(HashKey::new(octets))
    }
}

/// Names a shard: 0 to n - 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(u16);

impl ShardId {
    /// The number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

/// Sixteen bits of a hash of the file's key: they name the shard for any number of shards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub(super) struct Route(u16);

impl Route {
    /// A route of that shard.
    pub(super) const fn of_shard(shard: u16) -> Self {
        Self(shard)
    }

    pub(super) fn of_file(file: FileKey, seed: RouteSeed) -> Self {
        let [low, high, ..] = seed.0.hash(&file).to_le_bytes();
        Self(u16::from_le_bytes([low, high]))
    }

    /// The upper sixteen bits of the persistent half.
    pub(super) fn of_id(id: FileId) -> Self {
        Self::of_persistent(id.persistent)
    }

    pub(super) fn of_persistent(persistent: u64) -> Self {
        let [.., low, high] = persistent.to_le_bytes();
        Self(u16::from_le_bytes([low, high]))
    }

    /// The persistent half of a FileId; `None` once 2^48 of them were issued, and never all ones (MS-SMB2 3.3.5.9).
    pub(super) fn persistent(self, serial: u64) -> Option<u64> {
        const SERIALS: u64 = 1 << 48;
        (serial < SERIALS - 1).then_some((u64::from(self.0) << 48) | serial)
    }

    /// The serial number in the persistent half.
    pub(super) fn serial_of(id: FileId) -> u64 {
        const SERIAL: u64 = (1 << 48) - 1;
        id.persistent & SERIAL
    }

    pub(super) fn shard(self, shards: NonZeroU16) -> ShardId {
        ShardId(self.0 % shards)
    }
}

/// Names an operation that the driver was told to carry out. Opaque; goes back with the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct Ticket {
    pub(super) route: Route,
    /// The slot of the operation, as a number.
    run: u64,
}

impl Ticket {
    pub(super) fn new(route: Route, run: RunSlot) -> Self {
        Self { route, run: run.data().as_ffi() }
    }

    pub(super) fn slot(self) -> RunSlot {
        KeyData::from_ffi(self.run).into()
    }
}

/// Names a change that is to be stored; of one shard, a later one has a higher number. Opaque; goes back with the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct PersistSeq {
    pub(super) route: Route,
    pub(super) number: u64,
}

impl PersistSeq {
    /// The number, from 1, one more for each change of the shard.
    pub const fn number(self) -> u64 {
        self.number
    }
}

/// Names one break in flight. Never reused while the machine lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct BreakId {
    pub(super) route: Route,
    holder: RawHolder,
    /// Counts the notifications of this holder.
    pub(super) number: NonZeroU32,
}

/// A slot as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
enum RawHolder {
    Lease(u64),
    Oplock(u64),
    Delegation(u64),
}

/// Who holds caching: a lease, an open by itself, or a client of NFSv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HolderId {
    Lease(LeaseSlot),
    Oplock(OpenSlot),
    Delegation(PresenceSlot),
}

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// The answer to a break.
    Answer(HolderId),
    /// The return of the client of an open.
    Return(OpenSlot),
}

impl BreakId {
    pub(super) fn new(route: Route, holder: HolderId, number: NonZeroU32) -> Self {
        let holder = match holder {
            HolderId::Lease(slot) => RawHolder::Lease(slot.data().as_ffi()),
            HolderId::Oplock(slot) => RawHolder::Oplock(slot.data().as_ffi()),
            HolderId::Delegation(slot) => RawHolder::Delegation(slot.data().as_ffi()),
        };
        Self { route, holder, number }
    }

    pub(super) fn holder(self) -> HolderId {
        match self.holder {
            RawHolder::Lease(slot) => HolderId::Lease(KeyData::from_ffi(slot).into()),
            RawHolder::Oplock(slot) => HolderId::Oplock(KeyData::from_ffi(slot).into()),
            RawHolder::Delegation(slot) => HolderId::Delegation(KeyData::from_ffi(slot).into()),
        }
    }
}

/// The order in which connections arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Arrival(pub(super) u64);

/// An event of a [`Registry`](super::Registry).
#[derive(Clone, Debug)]
#[allow(clippy::exhaustive_enums, reason = "there are two sources")]
#[allow(clippy::large_enum_variant, reason = "it passes by value once")]
pub enum RegistryEvent {
    /// From the driver.
    Driver(Event),
    /// From a shard.
    Shard(ToRegistry),
}

/// An action of a [`Registry`](super::Registry).
#[derive(Clone, Debug)]
#[allow(clippy::exhaustive_enums, reason = "a driver that ignores one must not compile")]
pub enum RegistryAction {
    /// Hand this to one shard.
    Shard(ShardId, ToShard),
    /// Hand this to every shard.
    Broadcast(ToShard),
    /// For the driver.
    Driver(Action),
}

/// An action of a [`Shard`](super::Shard).
#[derive(Clone, Debug)]
#[allow(clippy::exhaustive_enums, reason = "a driver that ignores one must not compile")]
pub enum ShardAction {
    /// Hand this to the registry.
    Registry(ToRegistry),
    /// For the driver.
    Driver(Action),
}

/// From a registry to a shard. Opaque: only the crate looks inside.
#[derive(Clone, Debug)]
pub struct ToShard(pub(super) ShardInput);

/// From a shard to its registry. Opaque: only the crate looks inside.
#[derive(Clone, Debug)]
pub struct ToRegistry(pub(super) RegistryInput);

#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "a box would be allocated for each request")]
pub(super) enum ShardInput {
    Create(Admission),
    /// A CREATE whose CreateGuid is in use here.
    Again(Admission),
    Used {
        file_id: FileId,
    },
    Resilience {
        request: RequestId,
        session: SessionId,
        file_id: FileId,
        client: ClientGuid,
        user: UserId,
        timeout: u32,
    },
    /// CREATEs of a session that can be replayed are answered for another of its connections, where one is lost.
    Inherit {
        session: SessionId,
        from: ConnId,
        to: ConnId,
    },
    Opened {
        file_id: FileId,
        result: Result<Opened, Status>,
    },
    Operate {
        request: RequestId,
        origin: Option<Origin>,
        file: FileKey,
        actor: Actor,
        intent: Intent,
    },
    Done {
        ticket: Ticket,
        result: Result<(), Status>,
    },
    Lock(Lock),
    OwnerLock(OwnerLock),
    OwnerUnlock {
        request: RequestId,
        owner: OwnerId,
        file: FileKey,
        offset: u64,
        len: u64,
    },
    TestLock(OwnerLock),
    Reserve(Reservation),
    Unreserve {
        owner: OwnerId,
        file: FileKey,
    },
    Delegate {
        request: RequestId,
        owner: OwnerId,
        file: FileKey,
        kind: DelegationKind,
        reclaims: bool,
    },
    Returned {
        owner: OwnerId,
        file: FileKey,
    },
    OwnerGone {
        owner: OwnerId,
    },
    HostGone {
        protocol: Protocol,
        host: u64,
    },
    GraceOver,
    /// What the graph of all waits says of a request that waits for locks.
    Waits {
        request: RequestId,
        round: u32,
        result: Result<(), Deadlock>,
    },
    OplockAck {
        request: RequestId,
        session: SessionId,
        file_id: FileId,
        level: OplockLevel,
    },
    /// An entry of the directory is another.
    EntryChanged {
        directory: FileKey,
        parent: Option<LeaseKey>,
    },
    Cancel {
        request: RequestId,
    },
    Close {
        request: RequestId,
        session: SessionId,
        file_id: FileId,
    },
    LeaseAck {
        request: RequestId,
        name: LeaseName,
        state: LeaseState,
    },
    /// The break did not go out on the connection that arrived then.
    Undelivered {
        id: BreakId,
        tried: Option<Arrival>,
    },
    /// No connection can carry the break.
    Undeliverable {
        id: BreakId,
    },
    /// What waits on behalf of this is answered, or dropped where there is nobody to answer.
    Abandon {
        conn: ConnId,
        scope: Scope,
    },
    /// The last channel of the session is gone, or it was logged off.
    SessionGone {
        session: SessionId,
        end: SessionEnd,
    },
    Reconnect {
        reconnect: Reconnect,
        client: ClientGuid,
        /// Whether a persistent open can be wanted back: flag, share and connection allow it.
        continuous: bool,
    },
    /// A CREATE that is sent again, for a persistent open.
    Return {
        admission: Admission,
        persistent: u64,
    },
    Restore {
        record: Box<Record>,
        elapsed: Duration,
        /// Whether its lease key is bound to the file.
        joins: bool,
    },
    Recovered {
        home: Route,
    },
    Persisted {
        up_to: u64,
    },
    PersistFailed {
        number: u64,
    },
    TreeGone {
        request: RequestId,
        session: SessionId,
        tree: TreeId,
    },
}

/// What of a connection has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    Connection,
    /// As above, where a session of it goes on with others.
    Channel,
    Session(SessionId),
    Tree(SessionId, TreeId),
}

/// A CREATE on its way to the shard, with what the registry knows about it.
#[derive(Clone, Debug)]
pub(super) struct Admission {
    pub(super) create: Create,
    pub(super) client: ClientGuid,
    /// The lease context, if it counts.
    pub(super) lease: Option<Lease>,
    /// Whether its key is bound to the file, once for each such CREATE and open.
    pub(super) joins: bool,
    pub(super) dialect: Dialect,
    /// Whether the open can be persistent: flag, share and connection allow it.
    pub(super) continuous: bool,
    /// Whether directory leasing was negotiated.
    pub(super) directory_leasing: DirectoryLeasing,
}

impl Admission {
    /// The lease that the CREATE asks to be part of.
    pub(super) fn name(&self) -> Option<LeaseName> {
        self.lease.filter(|_| self.joins).map(|lease| (self.client, lease.key()))
    }

    /// Where its name stands.
    pub(super) fn place(&self) -> Place {
        Place { directory: self.create.directory, parent: self.lease.and_then(|lease| lease.parent()) }
    }

    /// What it wants to do with the file, and leaves to others.
    pub(super) fn claim(&self) -> Claim {
        Claim::new(self.create.granted, self.create.sharing, self.create.disposition)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DirectoryLeasing {
    Negotiated,
    Absent,
}

/// A notification and who is told: leases belong to clients, oplocks to sessions (MS-SMB2 3.3.4.6, 3.3.4.7).
#[derive(Clone, Copy, Debug)]
pub(super) enum Outgoing {
    Lease(ClientGuid, LeaseBreak),
    Oplock(SessionId, OplockBreak),
}

#[derive(Clone, Debug)]
pub(super) enum RegistryInput {
    /// A request waits for these owners of locks, and no others; it is asked whether it may.
    Waits { request: RequestId, route: Route, round: u32, owner: Locker, on: Vec<Locker> },
    /// It waits no more.
    WaitOver { request: RequestId },
    /// Choose a connection and send. After `after`, if it was tried there already.
    Break { id: BreakId, after: Option<Arrival>, what: Outgoing },
    /// Whether the key may name another file as well.
    Relaxed { client: ClientGuid, key: LeaseKey, relaxed: bool },
    /// Break the leases of a directory.
    EntryChanged { directory: FileKey, parent: Option<LeaseKey> },
    /// A CreateGuid is free.
    GuidReleased { client: ClientGuid, guid: CreateGuid },
    /// A CREATE that came too late to be a replay.
    Anew { admission: Box<Admission> },
    /// A persistent open has this CreateGuid.
    Promised { guid: CreateGuid, client: ClientGuid, persistent: u64 },
    /// It has gone, or is persistent no more.
    Forgotten { guid: CreateGuid, persistent: u64 },
    /// A persistent open is wanted back whose FileId leads nowhere.
    ByGuid { reconnect: Box<Reconnect>, client: ClientGuid },
    /// One reference to a lease key is gone.
    Released { client: ClientGuid, key: LeaseKey },
    /// A shard has closed the opens of a tree connect.
    TreeSwept { request: RequestId },
}
