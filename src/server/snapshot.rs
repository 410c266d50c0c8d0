//! A canonical view of what is held: for diagnosis, for tests, for comparing two histories.

use alloc::vec::Vec;
use core::time::Duration;

use super::hold::Hold;
use super::owners::DelegationKind;
use super::records::Open;
use super::shard::Shard;
use crate::locks::Level;
use crate::locks::range::{Lock, LockKind};
use crate::state::{Access, LeaseState, OplockLevel, ShareMode};
use crate::types::{ClientGuid, Epoch, FileId, FileKey, LeaseKey, OwnerId, RequestId};

/// Everything that a server holds, ordered by key. Two servers that hold the same have equal snapshots.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Snapshot {
    /// By key.
    pub files: Vec<FileSnapshot>,
}

/// What is on one file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct FileSnapshot {
    /// The file.
    pub key: FileKey,
    /// Opens that their clients know of, in order of arrival.
    pub opens: Vec<OpenSnapshot>,
    /// Files that the driver is opening, in order of arrival.
    pub opening: Vec<FileId>,
    /// By client and key.
    pub leases: Vec<LeaseSnapshot>,
    /// By offset, length, owner and kind.
    pub locks: Vec<LockSnapshot>,
    /// Owners of other protocols, in order.
    pub owners: Vec<OwnerSnapshot>,
    /// Whether the file goes with its last open.
    pub goes: bool,
    /// Requests that wait, in order of arrival.
    pub waiting: Vec<RequestId>,
    /// Operations between `Proceed` and `Done`.
    pub running: u32,
}

/// One open.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct OpenSnapshot {
    /// FileId
    pub file_id: FileId,
    /// Whether its client is connected; else it waits to be wanted back.
    pub connected: bool,
    /// Its oplock; LEASE if it is part of a lease, NONE also if its lease key joined none.
    pub oplock: OplockLevel,
    /// What its client was told to come down to, and what it must come down to in the end; `None` if it is not breaking.
    pub breaking: Option<(OplockLevel, OplockLevel)>,
    /// How long its client has left to answer, or to come back.
    pub remaining: Option<Duration>,
}

/// One byte-range lock.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct LockSnapshot {
    /// First octet.
    pub offset: u64,
    /// How many octets.
    pub len: u64,
    /// Its open.
    pub file_id: FileId,
    /// Whether it is exclusive.
    pub exclusive: bool,
}

/// What an owner of another protocol has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct OwnerSnapshot {
    /// Who.
    pub owner: OwnerId,
    /// Its locks, by offset: first octet, how many, whether exclusive.
    pub locks: Vec<(u64, u64, bool)>,
    /// Its reservation: what it may do, what it leaves to others.
    pub reserved: Option<(Access, ShareMode)>,
    /// Its delegation.
    pub delegated: Option<DelegationKind>,
    /// How long it has left to return it; `None` if it need not.
    pub remaining: Option<Duration>,
}

/// One lease.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct LeaseSnapshot {
    /// Its client.
    pub client: ClientGuid,
    /// Its key.
    pub key: LeaseKey,
    /// What it holds.
    pub state: LeaseState,
    /// What its client was told to come down to, and what it must come down to in the end; `None` if it is not breaking.
    pub breaking: Option<(LeaseState, LeaseState)>,
    /// How long its client has left to answer.
    pub remaining: Option<Duration>,
    /// Its epoch.
    pub epoch: Epoch,
    /// How many opens it has.
    pub opens: u32,
}

impl Shard {
    /// What this shard holds. O(everything).
    pub fn snapshot(&self) -> Snapshot {
        // What only waits for the store to say that it is over has nothing.
        let files = self.files.records.values().filter(|file| !file.empty());
        let files = files.map(|file| {
            let mut leases: Vec<_> = file
                .leases
                .iter(&self.leases.records, |lease| &lease.in_file)
                .map(|(_, lease)| LeaseSnapshot {
                    client: lease.name.0,
                    key: lease.name.1,
                    state: lease.hold.state(),
                    breaking: lease.hold.breaking(),
                    remaining: self.remaining(&lease.hold),
                    epoch: lease.epoch,
                    opens: lease.opens,
                })
                .collect();
            leases.sort_unstable_by_key(|lease| (lease.client, lease.key));
            let opens = || file.opens.iter(&self.opens, |open| &open.in_file).map(|(_, open)| open);
            let waiters = file.waiters.iter(&self.waiters.records, |waiter| &waiter.in_file);
            let locks = file.locks.iter(&self.ranges).filter_map(|lock| {
                let Lock { range, owner, kind } = lock;
                let (offset, len, exclusive) = (range.offset(), range.len(), kind == LockKind::Exclusive);
                let file_id = opens().find(|open| open.file_id.persistent == owner)?.file_id;
                Some(LockSnapshot { offset, len, file_id, exclusive })
            });
            let mut owners: Vec<_> = file
                .presences
                .iter(&self.presences, |presence| &presence.in_file)
                .map(|(_, presence)| OwnerSnapshot {
                    owner: presence.owner,
                    locks: presence
                        .held
                        .iter()
                        .map(|(range, kind)| (range.offset(), range.len(), kind == LockKind::Exclusive))
                        .collect(),
                    reserved: presence.reserved.map(|reserved| (reserved.access, reserved.sharing)),
                    delegated: presence.delegated.as_ref().map(|delegated| delegated.kind),
                    remaining: presence
                        .delegated
                        .as_ref()
                        .and_then(|delegated| self.remaining(&delegated.hold)),
                })
                .collect();
            owners.sort_unstable_by_key(|one| one.owner);
            FileSnapshot {
                owners,
                key: file.key,
                opens: opens().filter(|open| !open.opening()).map(|open| self.open_snapshot(open)).collect(),
                opening: opens().filter(|open| open.opening()).map(|open| open.file_id).collect(),
                locks: locks.collect(),
                goes: file.goes(),
                leases,
                waiting: waiters.map(|(_, waiter)| waiter.job.request()).collect(),
                running: file.running.len(),
            }
        });
        let mut files: Vec<_> = files.collect();
        files.sort_unstable_by_key(|file| file.key);
        Snapshot { files }
    }

    fn open_snapshot(&self, open: &Open) -> OpenSnapshot {
        let oplock = match (open.lease(), open.oplock()) {
            (Some(_), _) => OplockLevel::Lease,
            (None, Some(oplock)) => oplock.level().on_wire(),
            (None, None) => OplockLevel::None,
        };
        let hold = open.oplock().map(|oplock| &oplock.hold);
        let level = |state| Level::within(state).on_wire();
        let breaking = hold.and_then(Hold::breaking).map(|(told, needed)| (level(told), level(needed)));
        let remaining = hold.and_then(|hold| self.remaining(hold));
        let remaining = remaining.or_else(|| self.time_left(open));
        OpenSnapshot { file_id: open.file_id, connected: !open.orphaned(), oplock, breaking, remaining }
    }

    fn time_left(&self, open: &Open) -> Option<Duration> {
        let timer = self.durables.get(open.durable?)?.timer?;
        Some(self.timers.due(timer)?.saturating_since(self.now))
    }

    fn remaining(&self, hold: &Hold) -> Option<Duration> {
        Some(self.timers.due(hold.timer?)?.saturating_since(self.now))
    }

    /// Whether nothing is left in any table.
    pub(super) fn idle(&self) -> bool {
        self.files.len() == 0
            && self.leases.len() == 0
            && self.opens.is_empty()
            && self.durables.len() == 0
            && self.replays.len() == 0
            && self.sessions.len() == 0
            && self.lanes.len() == 0
            && self.waiters.len() == 0
            && self.running.is_empty()
            && self.timers.len() == 0
            && self.ranges.len() == 0
            && self.presences.is_empty()
            && self.by_owner.is_empty()
            && self.posix.len() == 0
            && self.queued.len() == 0
            && self.journal.idle()
    }
}
