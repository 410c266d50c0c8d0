//! Handles that survive their connection: what makes an open durable, what a loss keeps, and how a client gets it back
//! (MS-SMB2 3.3.5.9.6, .7, .10, .12, 3.3.7.1).

use alloc::boxed::Box;
use core::time::Duration;

use super::event::{Durability, ObjectKind};
use super::sequence::LockSequences;
use crate::state::{Access, CreateAction, Dialect, LeaseState, ShareMode};
use crate::status::Status;
use crate::store::table::Keyed;
use crate::store::timer::TimerId;
use crate::types::{ClientGuid, CreateGuid, UserId};
use crate::wire::{
    DurableContexts, DurableFlags, DurableHandleReconnect, DurableHandleReconnectV2, DurableHandleRequestV2,
    DurableHandleResponse, DurableHandleResponseV2,
};

use super::scale::OpenSlot;

/// What the durable contexts of a CREATE ask for, once it is clear which of them count (MS-SMB2 3.3.5.9.6, .7, .10, .12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "fixed by MS-SMB2 3.3.5.9")]
pub enum Asked {
    /// Nothing, or nothing that the dialect knows.
    Nothing,
    /// DHnQ
    Durable,
    /// DH2Q
    DurableV2(DurableHandleRequestV2),
    /// DHnC: an open that is there already.
    Reconnect(DurableHandleReconnect),
    /// DH2C: an open that is there already.
    ReconnectV2(DurableHandleReconnectV2),
}

impl Asked {
    /// Which of the contexts counts.
    ///
    /// # Errors
    ///
    /// STATUS_INVALID_PARAMETER for two that exclude each other: all pairs but DHnC with DHnQ. It precedes every look-up.
    pub const fn of(contexts: &DurableContexts, dialect: Dialect) -> Result<Self, Status> {
        let modern = matches!(dialect, Dialect::Smb300 | Dialect::Smb302 | Dialect::Smb311);
        match (contexts.dhnq, contexts.dhnc, contexts.dh2q, contexts.dh2c) {
            (_, Some(dhnc), None, None) => Ok(Self::Reconnect(dhnc)),
            // MS-SMB2 3.3.5.9.7 has no condition on the dialect.
            (_, Some(_), _, _) => Err(Status::INVALID_PARAMETER),
            (Some(_), None, Some(_), _) | (Some(_), None, _, Some(_)) => Err(Status::INVALID_PARAMETER),
            (None, None, Some(_), Some(_)) if modern => Err(Status::INVALID_PARAMETER),
            (Some(_), None, None, None) => Ok(Self::Durable),
            (None, None, Some(dh2q), None) if modern => Ok(Self::DurableV2(dh2q)),
            (None, None, None, Some(dh2c)) if modern => Ok(Self::ReconnectV2(dh2c)),
            (None, None, _, _) => Ok(Self::Nothing),
        }
    }
}

/// How an open was made durable, as its CREATE is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "fixed by MS-SMB2 2.2.14.2")]
pub enum DurableGrant {
    /// DHnQ
    V1(DurableHandleResponse),
    /// DH2Q
    V2(DurableHandleResponseV2),
}

/// What an open needs to be found again (MS-SMB2 3.3.1.10): IsDurable, DurableOwner, CreateGuid, DurableOpenTimeout.
#[derive(Clone, Debug)]
pub(super) struct Durable {
    /// The persistent half of the FileId.
    pub(super) persistent: u64,
    pub(super) open: OpenSlot,
    pub(super) client: ClientGuid,
    pub(super) owner: UserId,
    /// Zero for an open made durable by DHnQ.
    pub(super) create_guid: CreateGuid,
    pub(super) timeout: Duration,
    pub(super) kind: Kind,
    /// Runs while nobody is connected.
    pub(super) timer: Option<TimerId>,
}

/// IsDurable, IsResilient or IsPersistent: one of them decides what becomes of the open (MS-SMB2 3.3.5.9.10, 3.3.5.15.9).
#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// Kept as long as it may cache what it was granted, and purged by a break.
    Durable,
    /// Kept whatever it caches, and whatever others do.
    Resilient,
    /// As resilient ones, and kept for longer than the server lives.
    Persistent(Box<Promise>),
}

/// What a client was promised, or is about to be: what of a persistent open the open itself does not know.
#[derive(Clone, Debug)]
pub(super) struct Promise {
    pub(super) granted: Access,
    pub(super) sharing: ShareMode,
    /// CreateAction of the first answer.
    pub(super) action: CreateAction,
    pub(super) kind: ObjectKind,
    pub(super) channel_sequence: u16,
    pub(super) sequences: LockSequences,
    /// Whether the first record is durable: before, nobody hears of the open.
    pub(super) stored: bool,
    /// Whether the client was told. Until then nobody has heard of what it caches.
    pub(super) told: bool,
    /// Whether it could not be stored: the record is on its way out of the store.
    pub(super) withdrawn: bool,
    /// Whether the record is another than the one that was stored last.
    pub(super) dirty: bool,
    /// Whether, by its last record, or an older one that may be in the store still, it may read from its cache.
    pub(super) reads: bool,
    /// Whether the server was started anew, and nobody has claimed it since.
    pub(super) unclaimed: bool,
}

impl Durable {
    pub(super) fn promise(&self) -> Option<&Promise> {
        match &self.kind {
            Kind::Persistent(promise) => Some(promise),
            Kind::Durable | Kind::Resilient => None,
        }
    }

    pub(super) fn promise_mut(&mut self) -> Option<&mut Promise> {
        match &mut self.kind {
            Kind::Persistent(promise) => Some(promise),
            Kind::Durable | Kind::Resilient => None,
        }
    }

    /// Whether it lives on what it caches: a break that nobody can be told of closes it.
    pub(super) fn purgeable(&self) -> bool {
        matches!(self.kind, Kind::Durable)
    }

    pub(super) fn grant(&self, asked: Durability) -> Option<DurableGrant> {
        match asked {
            Durability::None => None,
            Durability::V1 => Some(DurableGrant::V1(DurableHandleResponse)),
            Durability::V2 { .. } => Some(DurableGrant::V2(DurableHandleResponseV2 {
                timeout: u32::try_from(self.timeout.as_millis()).unwrap_or(u32::MAX),
                flags: match self.kind {
                    Kind::Persistent(_) => DurableFlags::PERSISTENT,
                    Kind::Durable | Kind::Resilient => DurableFlags::empty(),
                },
            })),
        }
    }
}

impl Keyed for Durable {
    type Key = u64;

    fn key(&self) -> u64 {
        self.persistent
    }
}

/// Whether what an open caches lets it outlive its connection (MS-SMB2 3.3.5.9.6, 3.3.5.9.10 <342>): BATCH, or a lease with H.
pub(super) fn survives(state: LeaseState, oplock: bool) -> bool {
    if oplock { state.contains(LeaseState::RWH) } else { state.contains(LeaseState::HANDLE) }
}
