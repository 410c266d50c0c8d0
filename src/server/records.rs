//! What a shard remembers: files, opens, sessions, requests that wait and operations that run.

use alloc::boxed::Box;
use alloc::vec::Vec;

use slotmap::new_key_type;

use super::event::{AppInstance, Lock, Origin};
use super::judging::Own;
use super::lease::LeaseName;
use super::oplock::Oplock;
use super::owners::{Delegated, OwnerLock, Reservation, Reserved};
use super::scale::{Admission, HolderId, LeaseSlot, OpenSlot, RunSlot};
use crate::locks::posix::Held;
use crate::locks::range::{Locks, Owner};
use crate::locks::share::{Claim, Shares};
use crate::locks::waits::Locker;
use crate::locks::{Actor, Intent, Operation};
use crate::state::{Access, CreateOptions, Disposition, OplockLevel};
use crate::store::list::{Links, List};
use crate::store::table::Keyed;
use crate::time::Instant;
use crate::types::{
    ClientGuid, ConnId, FileId, FileKey, LeaseKey, OwnerId, Protocol, RequestId, SessionId, TreeId,
};
use crate::wire;

new_key_type! {
    pub(super) struct FileSlot;
    pub(super) struct SessionSlot;
    pub(super) struct LaneSlot;
    pub(super) struct WaiterSlot;
    pub(super) struct DurableSlot;
    pub(super) struct ReplaySlot;
    /// Also the holder of a delegation.
    pub(super) struct PresenceSlot;
}

/// A file with anything on it. Gone when the last list is empty.
#[derive(Clone, Debug)]
pub(super) struct File {
    pub(super) key: FileKey,
    pub(super) opens: List<OpenSlot>,
    pub(super) leases: List<LeaseSlot>,
    /// How many of the opens hold an oplock that is not NONE.
    pub(super) oplocks: u32,
    /// The share modes of the opens.
    pub(super) shares: Shares,
    /// Of SMB's opens: mandatory.
    pub(super) locks: Locks,
    /// Of owners of other protocols: advisory among each other.
    pub(super) posix: Locks,
    /// Owners of other protocols who have anything here.
    pub(super) presences: List<PresenceSlot>,
    /// Ranges that locks wait for.
    pub(super) queue: Locks,
    /// How many of the opens are persistent.
    pub(super) promised: u32,
    /// How many of them are restored, and nobody has claimed them yet.
    pub(super) unclaimed: u32,
    /// The last change by which a persistent open may not read from its cache any more.
    pub(super) taken: u64,
    /// Whether one such change could not be stored.
    pub(super) untaken: bool,
    /// Whether those who waited for it are told so now.
    pub(super) unstorable: bool,
    /// How many changes have to be durable before anybody goes on here.
    pub(super) barred: u32,
    /// How many operations run that need the file not to be open.
    pub(super) evictions: u32,
    /// How many operations run that need nobody to be able to delete the file.
    pub(super) guards: u32,
    /// Whether it waits to be settled.
    pub(super) unsettled: bool,
    /// In order of arrival, which is the order in which they are judged again.
    pub(super) waiters: List<WaiterSlot>,
    pub(super) running: List<RunSlot>,
    pub(super) fate: Fate,
}

/// What becomes of the name at the last close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Stays,
    /// Delete-pending (MS-FSA 2.1.5.5): no new opens. Who wanted it names this parent.
    Goes(Option<LeaseKey>),
}

/// Where a name stands, and whose directory lease is spared when something about it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) directory: Option<FileKey>,
    /// Open.ParentOplockKey (MS-FSA 2.1.1.6): the ParentLeaseKey of the CREATE.
    pub(super) parent: Option<LeaseKey>,
}

impl File {
    pub(super) fn new(key: FileKey) -> Self {
        Self {
            key,
            opens: List::default(),
            leases: List::default(),
            oplocks: 0,
            shares: Shares::default(),
            promised: 0,
            unclaimed: 0,
            taken: 0,
            untaken: false,
            unstorable: false,
            barred: 0,
            evictions: 0,
            guards: 0,
            unsettled: false,
            locks: Locks::default(),
            posix: Locks::default(),
            presences: List::default(),
            queue: Locks::default(),
            waiters: List::default(),
            running: List::default(),
            fate: Fate::Stays,
        }
    }

    /// Makes it go with its last open, or stay after all. Who made it go first is who counts.
    pub(super) fn dispose(&mut self, goes: bool, parent: Option<LeaseKey>) {
        match (self.fate, goes) {
            (Fate::Goes(_), true) => {}
            (Fate::Stays, true) => self.fate = Fate::Goes(parent),
            (Fate::Goes(_) | Fate::Stays, false) => self.fate = Fate::Stays,
        }
    }

    /// Whether it is to go with its last open.
    pub(super) fn goes(&self) -> bool {
        matches!(self.fate, Fate::Goes(_))
    }

    /// Counts an operation that keeps others from opening the file while it runs. Returns whether it does.
    pub(super) fn bar(&mut self, intent: Intent, next: impl Fn(u32) -> u32) -> bool {
        let count = match intent {
            Intent::Replaced | Intent::AncestorMoved => &mut self.evictions,
            Intent::RenameWithin => &mut self.guards,
            Intent::Read { .. }
            | Intent::Write { .. }
            | Intent::Flush
            | Intent::SetSize
            | Intent::SetAttributes
            | Intent::SetSecurity
            | Intent::Rename { .. }
            | Intent::Link { .. }
            | Intent::Delete { .. }
            | Intent::Unlink
            | Intent::EntryChanged { .. } => return false,
        };
        *count = next(*count);
        true
    }

    /// Whether it can be forgotten.
    pub(super) fn idle(&self) -> bool {
        self.empty() && self.barred == 0
    }

    /// Whether there is nothing on it.
    pub(super) fn empty(&self) -> bool {
        self.opens.vacant() && self.waiters.vacant() && self.running.vacant() && self.presences.vacant()
    }
}

/// An open (MS-SMB2 3.3.1.10), from the moment when the driver is told to open the file.
#[derive(Clone, Debug)]
pub(super) struct Open {
    pub(super) file_id: FileId,
    pub(super) file: FileSlot,
    /// `None` while nobody is connected.
    pub(super) session: Option<SessionSlot>,
    pub(super) tree: TreeId,
    pub(super) desired: Access,
    pub(super) disposition: Disposition,
    pub(super) options: CreateOptions,
    pub(super) claim: Claim,
    /// The lease key that this open has bound, with or without a lease as yet.
    pub(super) bound: Option<LeaseName>,
    /// Whether it is answered, or is to be answered, with a lease context.
    pub(super) leased: bool,
    pub(super) place: Place,
    /// Whether it wrote: its close breaks the leases of the directory (MS-FSA 2.1.5.5).
    pub(super) modified: bool,
    /// How many operations wait on its behalf.
    pub(super) waiting: u32,
    /// The application that has it open.
    pub(super) instance: Option<Box<Instance>>,
    /// Until it is used.
    pub(super) replay: Option<ReplaySlot>,
    /// What lets it outlive its connection.
    pub(super) durable: Option<DurableSlot>,
    /// Its locks, by the persistent half of the FileId, which stays.
    pub(super) locks: Owner<u64>,
    pub(super) since: Instant,
    pub(super) stage: Stage,
    pub(super) in_file: Links<OpenSlot>,
    pub(super) in_session: Links<OpenSlot>,
    /// In the lane of the connection, while the file is being opened.
    pub(super) in_lane: Links<OpenSlot>,
}

/// Open.AppInstanceId, Open.ApplicationInstanceVersion and Open.ClientGuid (MS-SMB2 3.3.1.10).
#[derive(Clone, Debug)]
pub(super) struct Instance {
    pub(super) app: AppInstance,
    pub(super) client: ClientGuid,
}

/// ```text
/// Reserved ──Opened(Ok)──► Live ◄──► Orphaned ──► closed
///    │  │ └─persistent─► Unheard ─stored─► Live
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
    /// Granted, and nobody is told before it is stored.
    Unheard {
        caching: Caching,
        admission: Box<Admission>,
        lane: LaneSlot,
    },
    Live(Caching),
    /// Nobody is connected, and the open is kept for its client (MS-SMB2 3.3.7.1).
    Orphaned(Caching),
}

/// Under what an open may cache.
#[derive(Clone, Debug)]
pub(super) enum Caching {
    /// Nothing was asked for, or nothing of the kind exists for this open.
    Nothing,
    /// A lease key that names another file still, which is about to go: state NONE, and no lease.
    Guest(Box<wire::Lease>),
    Lease(LeaseSlot),
    /// Level NONE too.
    Oplock(Oplock),
}

impl Open {
    pub(super) fn caching(&self) -> Option<&Caching> {
        match &self.stage {
            Stage::Live(caching) | Stage::Orphaned(caching) | Stage::Unheard { caching, .. } => Some(caching),
            Stage::Reserved { .. } | Stage::Abandoned => None,
        }
    }

    pub(super) fn lease(&self) -> Option<LeaseSlot> {
        match self.caching()? {
            Caching::Lease(lease) => Some(*lease),
            Caching::Nothing | Caching::Guest(_) | Caching::Oplock(_) => None,
        }
    }

    pub(super) fn oplock(&self) -> Option<&Oplock> {
        match self.caching()? {
            Caching::Oplock(oplock) => Some(oplock),
            Caching::Nothing | Caching::Guest(_) | Caching::Lease(_) => None,
        }
    }

    pub(super) fn oplock_mut(&mut self) -> Option<&mut Oplock> {
        match &mut self.stage {
            Stage::Live(caching) | Stage::Orphaned(caching) | Stage::Unheard { caching, .. } => match caching
            {
                Caching::Oplock(oplock) => Some(oplock),
                Caching::Nothing | Caching::Guest(_) | Caching::Lease(_) => None,
            },
            Stage::Reserved { .. } | Stage::Abandoned => None,
        }
    }

    /// Under what it holds what it caches, and is told of breaks.
    pub(super) fn holder(&self, slot: OpenSlot) -> HolderId {
        self.lease().map_or(HolderId::Oplock(slot), HolderId::Lease)
    }

    /// The level that its CREATE is answered with (MS-SMB2 3.3.5.9.8: LEASE even where the state is NONE).
    pub(super) fn level(&self) -> OplockLevel {
        match self.caching() {
            None | Some(Caching::Nothing) => OplockLevel::None,
            Some(Caching::Oplock(oplock)) => oplock.level().on_wire(),
            Some(Caching::Guest(_) | Caching::Lease(_)) => OplockLevel::Lease,
        }
    }

    /// What its CREATE was answered with, where its lease key joined no lease.
    pub(super) fn guest(&self) -> Option<&wire::Lease> {
        match self.caching()? {
            Caching::Guest(context) => Some(context),
            Caching::Nothing | Caching::Lease(_) | Caching::Oplock(_) => None,
        }
    }

    pub(super) fn orphaned(&self) -> bool {
        matches!(self.stage, Stage::Orphaned(_))
    }

    /// Whether the driver is opening the file as yet.
    pub(super) fn opening(&self) -> bool {
        matches!(self.stage, Stage::Reserved { .. } | Stage::Abandoned)
    }

    /// Whether it is granted, and nobody is told as yet.
    pub(super) fn unheard(&self) -> bool {
        matches!(self.stage, Stage::Unheard { .. })
    }

    pub(super) fn live(&self) -> bool {
        matches!(self.stage, Stage::Live(_))
    }
}

/// The opens of a session on this shard.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) id: SessionId,
    pub(super) opens: List<OpenSlot>,
}

/// What an owner of another protocol has on a file.
#[derive(Clone, Debug)]
pub(super) struct Presence {
    pub(super) owner: OwnerId,
    pub(super) file: FileSlot,
    pub(super) held: Held,
    pub(super) reserved: Option<Reserved>,
    pub(super) delegated: Option<Delegated>,
    pub(super) in_file: Links<PresenceSlot>,
}

/// Whose requests are in flight together: what ends them together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum LaneKey {
    Conn(ConnId),
    /// A client of another protocol.
    Host(Protocol, u64),
}

/// What a connection, or a client of another protocol, has in flight on this shard.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    pub(super) key: LaneKey,
    pub(super) waiters: List<WaiterSlot>,
    pub(super) reserved: List<OpenSlot>,
}

/// A request that waits for a lease or an oplock to come down, or for a range to be unlocked.
#[derive(Clone, Debug)]
pub(super) struct Waiter {
    pub(super) file: FileSlot,
    pub(super) lane: Option<LaneSlot>,
    pub(super) job: Job,
    /// Its place in the queue of the file, if it waits for a range.
    pub(super) place: Owner<Locker>,
    /// Whom it waits for, as the graph of all waits knows.
    pub(super) on: Vec<Locker>,
    /// How often that has changed: by it an answer of the graph is known for one to a former question.
    pub(super) round: u32,
    /// How many waits of this shard were over when the graph was asked last.
    pub(super) over: u32,
    pub(super) since: Instant,
    /// Whether its client was told that it waits.
    pub(super) told: bool,
    /// Whether it waits for locks that are held alone, and not for those ahead in line: they would wait for it.
    pub(super) passes: bool,
    pub(super) in_file: Links<WaiterSlot>,
    pub(super) in_lane: Links<WaiterSlot>,
}

/// A request, as long as it is not carried out.
#[derive(Clone, Debug)]
pub(super) enum Job {
    Create(Box<Admission>),
    Operate {
        request: RequestId,
        origin: Option<Origin>,
        actor: Actor,
        intent: Intent,
        /// The serial number of the next open when it came.
        since: u64,
    },
    Lock(Lock),
    OwnerLock(OwnerLock),
    Reserve(Reservation),
}

impl Job {
    pub(super) fn request(&self) -> RequestId {
        match self {
            Self::Create(admission) => admission.create.request,
            Self::Operate { request, .. } => *request,
            Self::Lock(lock) => lock.request,
            Self::OwnerLock(lock) => lock.request,
            Self::Reserve(reservation) => reservation.request,
        }
    }

    pub(super) fn origin(&self) -> Option<Origin> {
        match self {
            Self::Create(admission) => Some(admission.create.origin),
            Self::Operate { origin, .. } => *origin,
            Self::Lock(lock) => Some(lock.origin),
            Self::OwnerLock(_) | Self::Reserve(_) => None,
        }
    }

    /// With what it is in flight.
    pub(super) fn lane(&self) -> Option<LaneKey> {
        let host = |owner: OwnerId| LaneKey::Host(owner.protocol, owner.host);
        self.origin().map(|origin| LaneKey::Conn(origin.conn)).or_else(|| self.owner().map(host))
    }

    /// The open on whose behalf it is.
    pub(super) fn open(&self) -> Option<FileId> {
        match self {
            Self::Operate { actor: Actor::Open(file_id), .. } => Some(*file_id),
            Self::Create(_) | Self::Operate { .. } | Self::OwnerLock(_) | Self::Reserve(_) => None,
            Self::Lock(lock) => Some(lock.file_id),
        }
    }
}

/// An operation between `Proceed` and `Done`: nobody is granted what it would break.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) file: FileSlot,
    pub(super) operation: Operation,
    pub(super) intent: Intent,
    /// Who is not disturbed by it.
    pub(super) own: Own,
    /// The open of the actor, and where its name stands.
    pub(super) by: Option<(OpenSlot, Place)>,
    /// Whether the close of that open deletes the file, whatever was asked by it before.
    pub(super) deletes: bool,
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
keyed!(Lane, LaneKey, |lane| lane.key);
keyed!(Waiter, RequestId, |waiter| waiter.job.request());
