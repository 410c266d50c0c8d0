//! The server: who may cache what, decided for one file at a time.
//!
//! [`Server`] is one [`Registry`] and one [`Shard`] with the messages between them relayed inside. A larger server drives
//! one registry and as many shards as it has cores; both run the same code.

mod action;
mod breaking;
mod channel;
mod conflicts;
mod delegations;
mod durable;
mod event;
mod failover;
mod granting;
mod hold;
mod holders;
mod journal;
mod judging;
mod lease;
mod line;
mod opens;
mod operations;
mod oplock;
mod owners;
mod profile;
mod ranges;
mod reconnect;
mod records;
mod registry;
mod replay;
mod restore;
mod scale;
mod sequence;
mod shard;
mod snapshot;
mod waiting;

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::num::NonZeroU16;
use core::time::Duration;

pub use action::{Action, Grant, Link, LockHolder, Protection};
pub use channel::{ChannelSequence, Effect, Outstanding};
pub use durable::{Asked, DurableGrant};
pub use event::{
    AppInstance, Capabilities, Create, Durability, Event, Lock, LockElement, LockFlags, ObjectKind, Opened,
    Origin, Reconnect, SessionEnd, Share, ShareFlags, ShareKind, Terms,
};
pub use holders::{Holder, Holding, What};
pub use owners::{DelegationKind, OwnerLock, Reservation};
pub use profile::{
    AbsentHolder, ChannelChoice, DenyModes, FollowUp, FollowUpEpoch, LeaseIdentity, LockReach, OpensInGrace,
    OvertakenAck, PendingReplay, Profile, UnexpectedAck, UnknownReplay,
};
pub use registry::Registry;
pub use scale::{
    BreakId, PersistSeq, RegistryAction, RegistryEvent, RouteSeed, ShardAction, ShardId, Ticket, ToRegistry,
    ToShard,
};
pub use sequence::{LockSequence, LockSequences};
pub use shard::Shard;
pub use snapshot::{FileSnapshot, LeaseSnapshot, LockSnapshot, OpenSnapshot, OwnerSnapshot, Snapshot};

use crate::limits::Limits;
use crate::machine::Machine;
use crate::stats::Stats;
use crate::store::hash::HashKey;
use crate::time::Instant;
use crate::types::FileKey;

/// How a server behaves.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Config {
    /// For hash tables; fresh at each start. No action depends on it.
    pub hash_key: HashKey,
    /// From which file ids get their route; stable as long as handles are to survive.
    pub route_seed: RouteSeed,
    /// Above every serial number of a FileId that earlier lives of this server gave out.
    pub first_serial: u64,
    /// Upper bounds.
    pub limits: Limits,
    /// Leases for which room is made at the start, each with a file and an open, so that no table grows before. A shard of
    /// several gets its part.
    pub expected_leases: usize,
    /// How long a client may take to acknowledge a lease break: 35 s (MS-SMB2 3.3.2.5 <220>).
    pub lease_break_timeout: Duration,
    /// How long a client may take to acknowledge an oplock break: 35 s (MS-SMB2 3.3.2.1 <217>).
    pub oplock_break_timeout: Duration,
    /// How long an open made durable by DHnQ is kept without a connection: 120 s (MS-SMB2 3.3.5.9.6 <335>).
    pub durable_timeout: Duration,
    /// As above for DH2Q, if the client leaves it to the server: 60 s (MS-SMB2 3.3.5.9.10 <344>).
    pub durable_v2_timeout: Duration,
    /// As above, if the client asks for more: 300 s (MS-SMB2 3.3.5.9.10).
    pub durable_v2_max: Duration,
    /// How long a resilient open is kept without a connection, if the client leaves it to the server: 120 s (MS-SMB2 3.3.5.15.9
    /// <401>).
    pub resilient_default: Duration,
    /// The longest time that a client may ask for: 300 s (MS-SMB2 3.3.5.15.9 <226>).
    pub resilient_max: Duration,
    /// Whether there is a stable store: opens can be persistent, and the server starts with its records
    /// ([`Event::Restore`], [`Event::Recovered`]). Without it nothing is stored.
    pub persistence: bool,
    /// Whether a CLOSE of a persistent open is answered only when its record is removed. Otherwise the open may come back as a ghost
    /// after a crash, until its time is over.
    pub gate_close: bool,
    /// How long after a restart nobody else may open a file with opens that nobody has claimed yet: 60 s.
    pub grace: Duration,
    /// How long an open that was restored is kept at least, however long the server was away: 60 s.
    pub restored_min: Duration,
    /// How long a client may take to acknowledge a lease break if an open of the lease is persistent: 180 s (MS-SMB2 3.3.2.5 <247>).
    pub persistent_lease_break_timeout: Duration,
    /// How long a client may take to acknowledge an oplock break if the open is persistent: 60 s (MS-SMB2 3.3.2.1 <246>).
    pub persistent_oplock_break_timeout: Duration,
    /// How long a client of NFSv4 may take to return a delegation: 90 s, a usual lease time (RFC 8881 10.4.2).
    pub recall_timeout: Duration,
    /// How long after its start, or [`Event::Recovered`], the server gives owners of other protocols only what they had before
    /// (RFC 8881 8.4.2), and nobody opens or locks anew, see [`protocols`](crate::protocols): none, where none had anything.
    /// [`Event::GraceOver`] ends it early. Others are refused with STATUS_FILE_NOT_AVAILABLE, which is NFS4ERR_GRACE; who comes too
    /// late, with STATUS_REQUEST_NOT_ACCEPTED, which is NFS4ERR_NO_GRACE.
    pub reclaim_grace: Duration,
    /// Where deployed servers differ.
    pub profile: Profile,
}

impl Config {
    /// The defaults of MS-SMB2 and current Windows.
    pub fn new(hash_key: HashKey, route_seed: RouteSeed, first_serial: u64) -> Self {
        Self {
            hash_key,
            route_seed,
            first_serial,
            limits: Limits::default(),
            expected_leases: 0,
            lease_break_timeout: Duration::from_secs(35),
            oplock_break_timeout: Duration::from_secs(35),
            durable_timeout: Duration::from_secs(120),
            durable_v2_timeout: Duration::from_secs(60),
            durable_v2_max: Duration::from_secs(300),
            resilient_default: Duration::from_secs(120),
            resilient_max: Duration::from_secs(300),
            persistence: false,
            gate_close: true,
            grace: Duration::from_secs(60),
            restored_min: Duration::from_secs(60),
            persistent_lease_break_timeout: Duration::from_secs(180),
            persistent_oplock_break_timeout: Duration::from_secs(60),
            recall_timeout: Duration::from_secs(90),
            reclaim_grace: Duration::ZERO,
            profile: Profile::default(),
        }
    }
}

/// How a driver can break the contract. The machine is as it was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Misuse {
    /// An event names a connection that is not there.
    #[error("no such connection")]
    UnknownConnection,
    /// A connection arrives twice.
    #[error("this connection is there already")]
    DuplicateConnection,
    /// An event names a session that is not there, or not on that connection.
    #[error("no such session on this connection")]
    UnknownSession,
    /// An answer to nothing that was asked.
    #[error("nothing was asked under this name")]
    UnknownTicket,
    /// [`Limits::connections`] or [`Limits::connections_per_client`]: refuse the connection.
    #[error("too many connections")]
    TooManyConnections,
    /// A request before [`Event::Recovered`].
    #[error("the server is recovering")]
    Recovering,
    /// [`Event::Restore`] or [`Event::Recovered`] to a server that serves already.
    #[error("the server is not recovering")]
    NotRecovering,
    /// [`Event::Restore`]: there is no room for the record. Raise the [`Limits`] and start anew: its open would be lost, and a
    /// registry may have its lease key by the time a shard says so.
    #[error("no room to restore a record")]
    NoRoom,
    /// [`Event::Restore`]: a record that was written after one that was restored already. Begin with the highest
    /// [`Record::written`](crate::persist::Record::written).
    #[error("a record that is later than the one before")]
    OutOfOrder,
    /// [`Event::Restore`]: a record that another [`RouteSeed`] made, or a second one of the same open.
    #[error("a record that does not fit")]
    ForeignRecord,
    /// [`Limits::sessions`]: refuse the session.
    #[error("too many sessions")]
    TooManySessions,
}

/// An SMB2 server's mind: one registry, one shard.
#[derive(Clone, Debug)]
pub struct Server {
    registry: Registry,
    shard: Shard,
    inbox: VecDeque<ToShard>,
    registry_out: Vec<RegistryAction>,
    shard_out: Vec<ShardAction>,
}

impl Server {
    /// A server without clients.
    pub fn new(config: Config) -> Self {
        Self {
            registry: Registry::new(config, NonZeroU16::MIN),
            shard: Shard::new(config),
            inbox: VecDeque::new(),
            registry_out: Vec::new(),
            shard_out: Vec::new(),
        }
    }

    /// Who holds what on a file, of all protocols, and who waits: see [`Shard::holders`].
    pub fn holders(&self, file: FileKey) -> Vec<Holding> {
        self.shard.holders(file)
    }

    /// What was done, and what is held.
    pub fn stats(&self) -> Stats {
        self.registry.stats().sum(self.shard.stats())
    }

    /// Everything that is held, in an order that does not depend on how it came about.
    pub fn snapshot(&self) -> Snapshot {
        self.shard.snapshot()
    }

    /// Whether nothing is left: no client, no file, no request.
    pub fn idle(&self) -> bool {
        self.registry.idle() && self.shard.idle()
    }
}

impl Machine for Server {
    type Event = Event;
    type Action = Action;
    type Misuse = Misuse;

    fn handle(&mut self, now: Instant, event: Event, actions: &mut Vec<Action>) -> Result<(), Misuse> {
        if let (Event::Restore { record, .. }, true) = (&event, self.registry.recovering()) {
            self.shard.check_record(record)?;
        }
        self.registry.handle(now, RegistryEvent::Driver(event), &mut self.registry_out)?;
        self.relay(now, actions)
    }

    fn handle_timeout(&mut self, now: Instant, actions: &mut Vec<Action>) {
        self.shard.handle_timeout(now, &mut self.shard_out);
        let done = self.relay(now, actions);
        debug_assert_eq!(done, Ok(()), "time misuses nothing");
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.shard.poll_timeout()
    }
}

impl Server {
    /// Carries messages between the two until none is left, and the driver's actions out in order.
    fn relay(&mut self, now: Instant, actions: &mut Vec<Action>) -> Result<(), Misuse> {
        loop {
            for action in self.shard_out.drain(..) {
                match action {
                    ShardAction::Driver(action) => actions.push(action),
                    ShardAction::Registry(message) => {
                        self.registry.handle(now, RegistryEvent::Shard(message), &mut self.registry_out)?;
                        sort(&mut self.registry_out, &mut self.inbox, actions);
                    }
                }
            }
            sort(&mut self.registry_out, &mut self.inbox, actions);
            let Some(message) = self.inbox.pop_front() else { return Ok(()) };
            self.shard.handle(now, message, &mut self.shard_out)?;
        }
    }
}

/// What the registry wants done: by the shard later, by the driver in this order.
fn sort(from: &mut Vec<RegistryAction>, inbox: &mut VecDeque<ToShard>, actions: &mut Vec<Action>) {
    for action in from.drain(..) {
        match action {
            RegistryAction::Shard(_, message) | RegistryAction::Broadcast(message) => {
                inbox.push_back(message)
            }
            RegistryAction::Driver(action) => actions.push(action),
        }
    }
}
