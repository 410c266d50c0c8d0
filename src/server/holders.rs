//! Who holds what on one file, of all protocols: for whoever has to explain why somebody waits.

use alloc::vec::Vec;

use super::owners::DelegationKind;
use super::shard::Shard;
use crate::locks::range::{Lock, LockKind};
use crate::locks::{Level, Locker};
use crate::state::{Access, LeaseState, OplockLevel, ShareMode};
use crate::time::Instant;
use crate::types::{ClientGuid, FileId, FileKey, LeaseKey, OwnerId, RequestId, SessionId};

/// One thing that somebody holds on a file, or waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holding {
    /// Who.
    pub holder: Holder,
    /// What.
    pub what: What,
    /// Since when, by the clock of the machine. What was restored: since the restart.
    pub since: Instant,
}

/// Who holds something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Holder {
    /// An SMB open.
    Open {
        /// FileId
        file_id: FileId,
        /// Its session; `None` while nobody is connected.
        session: Option<SessionId>,
    },
    /// An SMB lease.
    Lease {
        /// Its client.
        client: ClientGuid,
        /// Its key.
        key: LeaseKey,
    },
    /// An owner of another protocol.
    Owner(OwnerId),
    /// Somebody who has nothing on the file as yet.
    Nobody,
}

/// What somebody holds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum What {
    /// The file is open.
    Open {
        /// DesiredAccess
        access: Access,
        /// ShareAccess
        sharing: ShareMode,
    },
    /// Caching, by a lease.
    Lease {
        /// LeaseState
        state: LeaseState,
        /// What its client was told to come down to.
        breaking: Option<LeaseState>,
    },
    /// Caching, by an oplock.
    Oplock {
        /// OplockLevel
        level: OplockLevel,
        /// What its client was told to come down to.
        breaking: Option<OplockLevel>,
    },
    /// A byte-range lock.
    Lock {
        /// First octet.
        offset: u64,
        /// How many octets.
        len: u64,
        /// Whether it is exclusive.
        exclusive: bool,
    },
    /// A share reservation.
    Reservation {
        /// `share_access`
        access: Access,
        /// What `share_deny` leaves.
        sharing: ShareMode,
    },
    /// A delegation.
    Delegation {
        /// Which.
        kind: DelegationKind,
        /// Whether it is to be returned.
        recalled: bool,
    },
    /// Nothing as yet: it waits.
    Waits {
        /// The request.
        request: RequestId,
        /// For the locks of these, and of those whom they wait for themselves; for breaks and recalls, if there are none.
        on: Vec<Locker>,
    },
}

impl Shard {
    /// Who holds what on a file, and who waits: SMB's opens with their oplocks and locks, leases, owners of other protocols, requests in
    /// the order of their arrival. O(what there is).
    pub fn holders(&self, file: FileKey) -> Vec<Holding> {
        let mut holdings = Vec::new();
        let Some(file) = self.files.find(file).and_then(|file| self.files.get(file)) else { return holdings };
        for (_, open) in file.opens.iter(&self.opens, |open| &open.in_file) {
            let session =
                open.session.and_then(|session| self.sessions.get(session)).map(|session| session.id);
            let (holder, since) = (Holder::Open { file_id: open.file_id, session }, open.since);
            let mut add = |what, since| holdings.push(Holding { holder, what, since });
            add(What::Open { access: open.desired, sharing: open.claim.leaves() }, since);
            if let Some(oplock) = open.oplock().filter(|oplock| oplock.level() != Level::None) {
                let breaking = oplock.hold.told().map(|told| Level::within(told).on_wire());
                add(What::Oplock { level: oplock.level().on_wire(), breaking }, since);
            }
            for (lock, since) in open.locks.taken(&self.ranges) {
                add(locked(&lock), since);
            }
        }
        for (_, lease) in file.leases.iter(&self.leases.records, |lease| &lease.in_file) {
            let holder = Holder::Lease { client: lease.name.0, key: lease.name.1 };
            let what = What::Lease { state: lease.hold.state(), breaking: lease.hold.told() };
            holdings.push(Holding { holder, what, since: lease.since });
        }
        for presence in self.presences_on(file) {
            let holder = Holder::Owner(presence.owner);
            let mut add = |what, since| holdings.push(Holding { holder, what, since });
            if let Some(reserved) = &presence.reserved {
                let (access, sharing) = (reserved.access, reserved.sharing);
                add(What::Reservation { access, sharing }, reserved.since);
            }
            if let Some(delegated) = &presence.delegated {
                let recalled = delegated.hold.breaking().is_some();
                add(What::Delegation { kind: delegated.kind, recalled }, delegated.since);
            }
            for (lock, since) in presence.held.taken(&self.posix) {
                add(locked(&lock), since);
            }
        }
        for (_, waiter) in file.waiters.iter(&self.waiters.records, |waiter| &waiter.in_file) {
            let open =
                waiter.job.open().and_then(|file_id| self.open(file_id)).map(|(_, open)| Holder::Open {
                    file_id: open.file_id,
                    session: waiter.job.origin().map(|origin| origin.session),
                });
            let holder = open.or_else(|| waiter.job.owner().map(Holder::Owner)).unwrap_or(Holder::Nobody);
            let what = What::Waits { request: waiter.job.request(), on: waiter.on.clone() };
            holdings.push(Holding { holder, what, since: waiter.since });
        }
        holdings
    }
}

fn locked<O>(lock: &Lock<O>) -> What {
    let (offset, len, exclusive) = (lock.range.offset(), lock.range.len(), lock.kind == LockKind::Exclusive);
    What::Lock { offset, len, exclusive }
}
