//! What a shard remembers: files, opens, sessions, requests that wait and operations that run.

use alloc::boxed::Box;

use slotmap::new_key_type;

use super::event::Origin;
use super::lease::LeaseName;
use super::scale::{Admission, LeaseSlot, OpenSlot, RunSlot};
use crate::locks::share::Claim;
use crate::locks::{Actor, Intent, Operation};
use crate::state::{Access, CreateOptions, Disposition};
use crate::store::list::{Links, List};
use crate::store::table::Keyed;
use crate::types::{ConnId, FileId, FileKey, RequestId, SessionId, TreeId};

new_key_type! {
    pub(super) struct FileSlot;
    pub(super) struct SessionSlot;
    pub(super) struct LaneSlot;
    pub(super) struct WaiterSlot;
}

/// A file with anything on it. Gone when the last list is empty.
#[derive(Clone, Debug)]
pub(super) struct File {
    pub(super) key: FileKey,
    pub(super) opens: List<OpenSlot>,
    pub(super) leases: List<LeaseSlot>,
    /// In order of arrival, which is the order in which they are judged again.
    pub(super) waiters: List<WaiterSlot>,
    pub(super) running: List<RunSlot>,
    pub(super) fate: Fate,
}

/// What becomes of the name at the last close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Stays,
    /// Delete-pending (MS-FSA 2.1.5.5): no new opens.
    Goes,
}

impl File {
    pub(super) fn new(key: FileKey) -> Self {
        Self {
            key,
            opens: List::default(),
            leases: List::default(),
            waiters: List::default(),
            running: List::default(),
            fate: Fate::Stays,
        }
    }

    pub(super) fn idle(&self) -> bool {
        self.opens.vacant() && self.waiters.vacant() && self.running.vacant()
    }
}

/// An open (MS-SMB2 3.3.1.10), from the moment when the driver is told to open the file.
#[derive(Clone, Debug)]
pub(super) struct Open {
    pub(super) file_id: FileId,
    pub(super) file: FileSlot,
    pub(super) session: SessionSlot,
    pub(super) tree: TreeId,
    pub(super) desired: Access,
    pub(super) disposition: Disposition,
    pub(super) options: CreateOptions,
    pub(super) claim: Claim,
    /// The lease key that this open has bound, with or without a lease as yet.
    pub(super) bound: Option<LeaseName>,
    pub(super) stage: Stage,
    pub(super) in_file: Links<OpenSlot>,
    pub(super) in_session: Links<OpenSlot>,
    /// In the lane of the connection, while the file is being opened.
    pub(super) in_lane: Links<OpenSlot>,
}

/// ```text
/// Reserved ──Opened(Ok)──► Live ──► closed
///    │  └────Opened(Err)──► refused
///    └─connection, session or tree gone─► Abandoned ──Opened──► closed without an answer
/// ```
#[derive(Clone, Debug)]
pub(super) enum Stage {
    /// The driver is opening the file.
    Reserved {
        admission: Box<Admission>,
        lane: LaneSlot,
    },
    /// The driver is opening the file for nobody.
    Abandoned,
    Live {
        lease: Option<LeaseSlot>,
    },
}

impl Open {
    pub(super) fn lease(&self) -> Option<LeaseSlot> {
        match self.stage {
            Stage::Live { lease, .. } => lease,
            Stage::Reserved { .. } | Stage::Abandoned => None,
        }
    }
}

/// The opens of a session on this shard.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) id: SessionId,
    pub(super) opens: List<OpenSlot>,
}

/// What a connection has in flight on this shard.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    pub(super) conn: ConnId,
    pub(super) waiters: List<WaiterSlot>,
    pub(super) reserved: List<OpenSlot>,
}

/// A request that waits for a lease to come down.
#[derive(Clone, Debug)]
pub(super) struct Waiter {
    pub(super) file: FileSlot,
    pub(super) lane: Option<LaneSlot>,
    pub(super) job: Job,
    pub(super) in_file: Links<WaiterSlot>,
    pub(super) in_lane: Links<WaiterSlot>,
}

/// A request, as long as it is not carried out.
#[derive(Clone, Debug)]
pub(super) enum Job {
    Create(Box<Admission>),
    Operate { request: RequestId, origin: Option<Origin>, actor: Actor, intent: Intent },
}

impl Job {
    pub(super) fn request(&self) -> RequestId {
        match self {
            Self::Create(admission) => admission.create.request,
            Self::Operate { request, .. } => *request,
        }
    }

    pub(super) fn origin(&self) -> Option<Origin> {
        match self {
            Self::Create(admission) => Some(admission.create.origin),
            Self::Operate { origin, .. } => *origin,
        }
    }

    /// Whether it is an operation on behalf of that open.
    pub(super) fn acts_for(&self, file_id: FileId) -> bool {
        match self {
            Self::Create(_) => false,
            Self::Operate { actor, .. } => *actor == Actor::Open(file_id),
        }
    }
}

/// An operation between `Proceed` and `Done`: nobody is granted what it would have broken.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) file: FileSlot,
    pub(super) operation: Operation,
    /// The lease of the actor.
    pub(super) own: Option<LeaseName>,
    pub(super) in_file: Links<RunSlot>,
}

macro_rules! keyed {
    ($record:ty, $key:ty, |$this:ident| $value:expr) => {
        impl Keyed for $record {
            type Key = $key;

            fn key(&self) -> $key {
                let $this = self;
                $value
            }
        }
    };
}

keyed!(File, FileKey, |file| file.key);
keyed!(Session, SessionId, |session| session.id);
keyed!(Lane, ConnId, |lane| lane.conn);
keyed!(Waiter, RequestId, |waiter| waiter.job.request());
