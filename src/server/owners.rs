//! What owners of other protocols hold on files: byte-range locks, share reservations, delegations; and how all of it ends.

use alloc::vec::Vec;

use super::hold::Hold;
use super::journal::Had;
use super::records::{File, FileSlot, Job, LaneKey, Presence, PresenceSlot};
use super::scale::HolderId;
use super::shard::{Out, Shard};
use crate::locks::posix::Held;
use crate::locks::share::Claim;
use crate::state::{Access, ShareMode};
use crate::status::Status;
use crate::store::list::Links;
use crate::time::Instant;
use crate::types::{FileKey, OwnerId, Protocol, RequestId};

/// A byte-range lock of an owner of another protocol (NLM LOCK; RFC 8881 18.10; fcntl). It replaces what the same owner has there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[non_exhaustive]
pub struct OwnerLock {
    /// Answered by `Accepted`, perhaps after `Interim`, or by `Refused`.
    pub request: RequestId,
    /// Who locks.
    pub owner: OwnerId,
    /// The file.
    pub file: FileKey,
    /// First octet.
    pub offset: u64,
    /// How many octets; `u64::MAX`: up to the end of the file, wherever that will be. None at all is STATUS_INVALID_PARAMETER.
    pub len: u64,
    /// For writing; else for reading.
    pub exclusive: bool,
    /// Whether it waits for what is in its way; else it is refused with STATUS_LOCK_NOT_GRANTED.
    pub waits: bool,
    /// Whether the owner had it before a restart of the server: only during [`Config::reclaim_grace`](super::Config::reclaim_grace).
    pub reclaims: bool,
}

impl OwnerLock {
    /// A lock that does not wait.
    pub const fn new(request: RequestId, owner: OwnerId, file: FileKey, exclusive: bool) -> Self {
        let (offset, len, waits, reclaims) = (0, u64::MAX, false, false);
        Self { request, owner, file, offset, len, exclusive, waits, reclaims }
    }

    /// Of these octets; else it is the whole file.
    #[must_use]
    pub const fn range(self, offset: u64, len: u64) -> Self {
        Self { offset, len, ..self }
    }

    /// That waits for what is in its way.
    #[must_use]
    pub const fn waiting(self) -> Self {
        Self { waits: true, ..self }
    }

    /// That is had again after a restart of the server.
    #[must_use]
    pub const fn reclaiming(self) -> Self {
        Self { reclaims: true, ..self }
    }
}

/// A share reservation (RFC 8881 9.7): what an OPEN of NFSv4 wants to do, and denies to others. A further one of the same owner takes the
/// place of the one before: OPEN with more, OPEN_DOWNGRADE with less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[non_exhaustive]
pub struct Reservation {
    /// Answered by `Accepted`, perhaps after `Interim`, or by `Refused`: STATUS_SHARING_VIOLATION is NFS4ERR_SHARE_DENIED.
    pub request: RequestId,
    /// Who opens.
    pub owner: OwnerId,
    /// The file.
    pub file: FileKey,
    /// `share_access`: READ_DATA, WRITE_DATA or both.
    pub access: Access,
    /// What `share_deny` leaves to others.
    pub sharing: ShareMode,
    /// Whether the data go: OPEN4_CREATE with a size of 0, O_TRUNC.
    pub overwrites: bool,
    /// Whether the owner had it before a restart of the server (CLAIM_PREVIOUS).
    pub reclaims: bool,
}

impl Reservation {
    /// An open that denies nothing.
    pub const fn new(request: RequestId, owner: OwnerId, file: FileKey, access: Access) -> Self {
        let (sharing, overwrites, reclaims) = (ShareMode::ALL, false, false);
        Self { request, owner, file, access, sharing, overwrites, reclaims }
    }

    /// That leaves no more than this to others.
    #[must_use]
    pub const fn sharing(self, sharing: ShareMode) -> Self {
        Self { sharing, ..self }
    }

    /// That takes the data away.
    #[must_use]
    pub const fn overwriting(self) -> Self {
        Self { overwrites: true, ..self }
    }

    /// That is had again after a restart of the server.
    #[must_use]
    pub const fn reclaiming(self) -> Self {
        Self { reclaims: true, ..self }
    }

    pub(super) fn claim(&self) -> Claim {
        let disposition = if self.overwrites {
            crate::state::Disposition::Overwrite
        } else {
            crate::state::Disposition::Open
        };
        Claim::new(self.access, self.sharing, disposition)
    }
}

/// Which delegation (RFC 8881 10.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[allow(clippy::exhaustive_enums, reason = "fixed by RFC 8881 10.4")]
pub enum DelegationKind {
    /// OPEN_DELEGATE_READ
    Read,
    /// OPEN_DELEGATE_WRITE
    Write,
}

/// A reservation that stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reserved {
    pub(super) claim: Claim,
    pub(super) access: Access,
    pub(super) sharing: ShareMode,
    pub(super) since: Instant,
}

/// A delegation that its client has: RH to read, RWH to write.
#[derive(Clone, Debug)]
pub(super) struct Delegated {
    pub(super) kind: DelegationKind,
    pub(super) hold: Hold,
    pub(super) since: Instant,
}

impl Presence {
    pub(super) fn new(owner: OwnerId, file: FileSlot) -> Self {
        Self {
            owner,
            file,
            held: Held::new(owner),
            reserved: None,
            delegated: None,
            in_file: Links::default(),
        }
    }

    fn holds_nothing(&self) -> bool {
        self.held.is_empty() && self.reserved.is_none() && self.delegated.is_none()
    }
}

impl Shard {
    /// What an owner has on a file, if anything.
    pub(super) fn presence(&self, owner: OwnerId, file: FileSlot) -> Option<PresenceSlot> {
        let key = self.files.get(file)?.key;
        self.by_owner.get(&(owner, key)).copied()
    }

    /// What owners have on a file.
    pub(super) fn presences_on<'a>(&'a self, file: &'a File) -> impl Iterator<Item = &'a Presence> + 'a {
        file.presences.iter(&self.presences, |presence| &presence.in_file).map(|(_, presence)| presence)
    }

    /// As [`presence`](Self::presence), with room for it. `None` at the limit.
    pub(super) fn enter_presence(&mut self, owner: OwnerId, file: FileSlot) -> Option<PresenceSlot> {
        if let Some(slot) = self.presence(owner, file) {
            return Some(slot);
        }
        if self.presences.len() >= self.config.limits.owners {
            return None;
        }
        let slot = self.presences.insert(Presence::new(owner, file));
        let record = self.files.get_mut(file)?;
        record.presences.push_back(&mut self.presences, slot, |presence| &mut presence.in_file);
        let key = record.key;
        self.by_owner.insert((owner, key), slot);
        Some(slot)
    }

    /// Whether an owner could get a first or a further thing on a file.
    pub(super) fn has_room_for_owner(&self, owner: OwnerId, file: FileSlot) -> bool {
        self.presence(owner, file).is_some() || self.presences.len() < self.config.limits.owners
    }

    /// Whether what an owner has by then fits: a lock may leave a piece on either side of one that it replaces.
    pub(super) fn has_room_to_lock(&self, lock: &OwnerLock, file: FileSlot) -> bool {
        // By more than that no lock grows.
        if self.posix.room() >= 2 {
            return true;
        }
        let presence = self.presence(lock.owner, file).and_then(|slot| self.presences.get(slot));
        let more = lock
            .wanted()
            .map_or(0, |(range, kind)| presence.map_or(1, |presence| presence.held.grows(range, kind)));
        more <= self.posix.room()
    }

    /// Forgets what has become nothing.
    pub(super) fn reap_presence(&mut self, slot: PresenceSlot) {
        let Some(presence) = self.presences.get(slot).filter(|presence| presence.holds_nothing()) else {
            return;
        };
        let (owner, file) = (presence.owner, presence.file);
        if let Some(record) = self.files.get_mut(file) {
            record.presences.remove(&mut self.presences, slot, |presence| &mut presence.in_file);
            let key = record.key;
            self.by_owner.remove(&(owner, key));
        }
        self.presences.remove(slot);
    }

    /// A reservation has come. That it is in time counts now: it may wait for a break for longer than others may reclaim.
    pub(super) fn owner_reserve(&mut self, reservation: Reservation, out: Out<'_>) {
        // OPEN_DOWNGRADE: who has as much already opens nothing anew (RFC 8881 18.18).
        let reclaims = reservation.reclaims
            || (self.reclaiming && {
                self.has_reserved(reservation.owner, reservation.file, reservation.claim())
            });
        match self.in_grace(reclaims) {
            Ok(()) => self.arrive(reservation.file, Job::Reserve(reservation), out),
            Err(status) => self.decline(reservation.request, status, out),
        }
    }

    /// Whether an owner may do already what it asks for, and denies as much.
    pub(super) fn has_reserved(&self, owner: OwnerId, file: FileKey, claim: Claim) -> bool {
        let slot = self.by_owner.get(&(owner, file));
        let reserved = slot.and_then(|slot| self.presences.get(*slot)?.reserved);
        reserved.is_some_and(|reserved| reserved.claim.contains(claim))
    }

    /// NFSv4 CLOSE, NLM_UNSHARE: an owner's reservation ends.
    pub(super) fn unreserve(&mut self, owner: OwnerId, key: FileKey, out: Out<'_>) {
        let Some(slot) = self.by_owner.get(&(owner, key)).copied() else { return };
        let Some(presence) = self.presences.get_mut(slot) else { return };
        let (file, reserved) = (presence.file, presence.reserved.take());
        if let (Some(reserved), Some(file)) = (reserved, self.files.get_mut(file)) {
            file.shares.remove(reserved.claim);
        }
        self.reap_presence(slot);
        self.settle(file, out);
    }

    /// A reservation was judged and may stand. Returns whether others may go on: OPEN_DOWNGRADE.
    pub(super) fn take_reservation(
        &mut self,
        file: FileSlot,
        reservation: &Reservation,
        out: Out<'_>,
    ) -> bool {
        let request = reservation.request;
        let Some(slot) = self.enter_presence(reservation.owner, file) else {
            self.decline(request, Status::INSUFFICIENT_RESOURCES, out);
            return false;
        };
        let (claim, since) = (reservation.claim(), self.now);
        let reserved = Reserved { claim, access: reservation.access, sharing: reservation.sharing, since };
        let before = self.presences.get_mut(slot).and_then(|presence| presence.reserved.replace(reserved));
        if let Some(file) = self.files.get_mut(file) {
            if let Some(before) = before {
                file.shares.remove(before.claim);
            }
            file.shares.add(claim);
        }
        self.tell_owner(Had { request, owner: reservation.owner, delegation: None }, out);
        before.is_some()
    }

    /// An owner is gone: its process has ended, RELEASE_LOCKOWNER.
    pub(super) fn owner_gone(&mut self, owner: OwnerId, out: Out<'_>) {
        self.depart(owner, owner, out);
    }

    /// A client of another protocol is gone, or has restarted: NSM NOTIFY, an expired lease of NFSv4. O(what it holds).
    pub(super) fn host_gone(&mut self, protocol: Protocol, host: u64, out: Out<'_>) {
        self.depart(OwnerId::new(protocol, host, 0), OwnerId::new(protocol, host, u64::MAX), out);
    }

    fn depart(&mut self, first: OwnerId, last: OwnerId, out: Out<'_>) {
        for request in self.journal.take_back(|had| (first..=last).contains(&had.owner)) {
            self.decline(request, Status::CANCELLED, out);
        }
        let mut lines = self.drop_waiting_of(first, last, out);
        let (from, to) = ((first, FileKey::new(0)), (last, FileKey::new(u128::MAX)));
        let slots: Vec<PresenceSlot> = self.by_owner.range(from..=to).map(|(_, slot)| *slot).collect();
        let mut files: Vec<FileSlot> = Vec::new();
        for slot in slots {
            self.stop_deadline(HolderId::Delegation(slot));
            let Some(presence) = self.presences.get_mut(slot) else { continue };
            presence.delegated = None;
            files.push(presence.file);
            let reserved = presence.reserved.take();
            if let Some(file) = self.files.get_mut(presence.file) {
                presence.held.release(&mut file.posix, &mut self.posix);
                if let Some(reserved) = reserved {
                    file.shares.remove(reserved.claim);
                }
            }
            self.reap_presence(slot);
        }
        // When all of it is gone, and once for each file: those who waited go on in their order.
        files.sort_unstable();
        files.dedup();
        lines.retain(|file| files.binary_search(file).is_err());
        for file in files {
            self.settle(file, out);
        }
        for file in lines {
            self.resume_line(file, out);
        }
    }

    /// What waits for owners that are gone is answered to nobody. Returns the files on which it waited.
    fn drop_waiting_of(&mut self, first: OwnerId, last: OwnerId, out: Out<'_>) -> Vec<FileSlot> {
        let Some(lane) = self.lanes.find(LaneKey::Host(first.protocol, first.host)) else {
            return Vec::new();
        };
        let mut next = self.lanes.get(lane).and_then(|lane| lane.waiters.head());
        let mut files: Vec<FileSlot> = Vec::new();
        while let Some((slot, waiter)) = next.and_then(|slot| Some((slot, self.waiters.get(slot)?))) {
            next = waiter.in_lane.next();
            if !waiter.job.owner().is_some_and(|owner| first <= owner && owner <= last) {
                continue;
            }
            files.push(waiter.file);
            if let Some(job) = self.unpark(slot, out) {
                self.refuse(job, Status::CANCELLED, out);
            }
        }
        files.sort_unstable();
        files.dedup();
        files
    }
}

impl Shard {
    /// Whether a request that comes now has to be refused because of the time of grace behind a restart: only what is had again is given
    /// then, and nothing is had again later (RFC 8881 8.4.2).
    pub(super) fn in_grace(&self, reclaims: bool) -> Result<(), Status> {
        match (self.reclaiming, reclaims) {
            (true, true) | (false, false) => Ok(()),
            (true, false) => Err(Status::FILE_NOT_AVAILABLE),
            (false, true) => Err(Status::REQUEST_NOT_ACCEPTED),
        }
    }
}

impl Job {
    /// The owner of another protocol whose it is.
    pub(super) fn owner(&self) -> Option<OwnerId> {
        match self {
            Self::OwnerLock(lock) => Some(lock.owner),
            Self::Reserve(reservation) => Some(reservation.owner),
            Self::Operate { actor: crate::locks::Actor::Owner(owner), .. } => Some(*owner),
            Self::Operate { .. } | Self::Create(_) | Self::Lock(_) => None,
        }
    }
}
