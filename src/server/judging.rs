//! Judging: a request becomes what the arbiter knows, and the opens of the file have their say.

use slotmap::SlotMap;

use super::durable::survives;
use super::event::{LockElement, LockFlags};
use super::journal::is_recorded;
use super::lease::LeaseName;
use super::owners::DelegationKind;
use super::profile::{AbsentHolder, DenyModes, LeaseIdentity, LockReach, OpensInGrace, Profile};
use super::ranges;
use super::records::{File, FileSlot, Job, LaneKey, Open};
use super::scale::{Admission, HolderId, OpenSlot, Route};
use super::shard::Shard;
use crate::locks::range::{LockKind, Range};
use crate::locks::share::{Claim, Shares};
use crate::locks::{self, Actor, Holder, Intent, Level, Operation, Verdict};
use crate::state::{Dialect, Disposition, LeaseState, ShareMode};
use crate::status::Status;
use crate::types::{FileId, LeaseKey, OwnerId, SessionId};

impl Shard {
    /// Who acts, and what it does. What there is no room for is refused before anything is broken for it.
    pub(super) fn party(&self, file: FileSlot, job: &Job) -> Result<Party, Status> {
        let limits = &self.config.limits;
        let room = |free| if free { Ok(()) } else { Err(Status::INSUFFICIENT_RESOURCES) };
        match job {
            Job::Create(admission) => {
                let create = &admission.create;
                self.meet_absent(file, admission)?;
                let operation =
                    locks::operation_of_open(create.desired, admission.claim(), create.disposition);
                let held = self.config.profile.opens_in_grace == OpensInGrace::Refuse;
                if held && admission.claim().meets_reservations() {
                    self.in_grace(false)?;
                }
                let own = Own { lease: admission.name(), ..Own::default() };
                let of_file = self.files.get(file).map_or(0, |file| file.opens.len());
                let session = self.sessions.find(create.origin.session);
                let of_session = session.and_then(|session| self.sessions.get(session));
                let of_session = of_session.map_or(0, |session| session.opens.len());
                let new_session = session.is_none() && self.sessions.is_full();
                let new_lane =
                    self.lanes.is_full() && self.lanes.find(LaneKey::Conn(create.origin.conn)).is_none();
                let new_lease = self.leases.is_full()
                    && admission.name().is_some_and(|name| self.leases.find(name).is_none());
                room(
                    self.opens.len() < limits.opens
                        && of_file < limits.opens_per_file
                        && of_session < limits.opens_per_session
                        && !(new_session || new_lane || new_lease)
                        && self.has_room_to_store(admission.continuous),
                )?;
                Ok(Party { own, operation, condition: Condition::Shared(admission.claim()) })
            }
            Job::Operate { actor, origin, intent, since, .. } => {
                let session = origin.map(|origin| origin.session);
                let own = match actor {
                    Actor::Open(file_id) => self.own(file, *file_id, session)?,
                    Actor::Lease { client, key } => Own { lease: Some((*client, *key)), ..Own::default() },
                    Actor::Other => Own::default(),
                    Actor::Owner(owner) => Own { owner: Some(*owner), ..Own::default() },
                };
                let promised = is_recorded(*intent) && own.open.is_some_and(|open| self.is_promised(open));
                room(self.running.len() < limits.running && self.has_room_to_store(promised))?;
                let party = Party::of_intent(own, *intent, *since, &self.config.profile);
                match (party.condition, own.owner) {
                    (Condition::Allowed(claim), Some(owner))
                        if self.reclaiming && !self.cannot_be_denied(owner, file, claim) =>
                    {
                        self.in_grace(false)?;
                    }
                    _ => {}
                }
                Ok(party)
            }
            Job::OwnerLock(lock) => {
                let own = Own { owner: Some(lock.owner), ..Own::default() };
                let (range, kind) = lock.wanted().ok_or(Status::INVALID_LOCK_RANGE)?;
                room(self.has_room_to_tell() && self.has_room_for_owner(lock.owner, file))?;
                room(self.has_room_to_lock(lock, file))?;
                let awaited = lock.waits.then_some((range, kind));
                let condition = awaited.map_or(Condition::None, Condition::unlocked);
                Ok(Party { own, operation: Operation::Lock, condition })
            }
            Job::Reserve(reservation) => {
                room(self.has_room_to_tell() && self.has_room_for_owner(reservation.owner, file))?;
                let own = Own { owner: Some(reservation.owner), ..Own::default() };
                let claim = reservation.claim();
                let disposition =
                    if reservation.overwrites { Disposition::Overwrite } else { Disposition::Open };
                let operation = locks::operation_of_open(reservation.access, claim, disposition);
                Ok(Party { own, operation, condition: Condition::Shared(claim) })
            }
            Job::Lock(lock) => {
                self.in_grace(false)?;
                let own = self.own(file, lock.file_id, Some(lock.origin.session))?;
                let fits =
                    |open| self.has_room_for(open, lock) && self.has_room_to_store(self.is_promised(open));
                room(own.open.is_some_and(fits))?;
                let inside = |element: &LockElement| match self.config.profile.lock_reach {
                    LockReach::Everywhere => true,
                    LockReach::Allocation => element.offset < lock.allocation,
                };
                let awaited = ranges::awaited(&lock.elements)?;
                let excludes = |element: &LockElement| element.flags.contains(LockFlags::EXCLUSIVE);
                let operation = match lock.elements.iter().any(inside) {
                    true if lock.elements.iter().any(excludes) => Operation::LockFromReaders,
                    true => Operation::Lock,
                    false => Operation::LockBeyond,
                };
                let condition = awaited.map_or(Condition::None, Condition::unlocked);
                Ok(Party { own, operation, condition })
            }
        }
    }

    /// Whether an open has locks, or another of its lease.
    pub(super) fn has_locks(&self, open: &Open) -> bool {
        let Some(file) = self.files.get(open.file).filter(|file| !file.locks.vacant()) else { return false };
        let lease = open.lease();
        let of_lease = |other: &Open| lease.is_some() && other.lease() == lease;
        let mut opens = file.opens.iter(&self.opens, |open| &open.in_file);
        open.locks.lock_count() > 0 || opens.any(|(_, other)| of_lease(other) && other.locks.lock_count() > 0)
    }

    /// Whether more may wait for the store, if it has to.
    fn has_room_to_store(&self, has_to: bool) -> bool {
        !has_to || self.journal.waiting() < self.config.limits.unstored
    }

    /// As above, for what an owner of another protocol is to be told.
    pub(super) fn has_room_to_tell(&self) -> bool {
        self.has_room_to_store(self.journal.is_behind())
    }

    /// Whether an open may be judged at all beside persistent ones whose clients are not connected (MS-SMB2 3.3.5.9 <301>).
    /// O(1) if there is none, else O(opens of the file).
    fn meet_absent(&self, file: FileSlot, admission: &Admission) -> Result<(), Status> {
        let Some(file) = self.files.get(file).filter(|file| file.promised > 0) else { return Ok(()) };
        let grace = file.unclaimed > 0 && self.journal.grace.is_some_and(|until| self.now < until);
        let refused = |open: &Open| {
            let Some((hold, oplock)) = self.hold(open) else { return true };
            let state = hold.state();
            self.config.profile.absent_holder == AbsentHolder::Refuse
                || !survives(state, oplock)
                || (!state.contains(LeaseState::WRITE) && self.has_locks(open))
        };
        let opens = file.opens.iter(&self.opens, |open| &open.in_file);
        let mut absent = opens.filter(|(_, open)| open.orphaned() && self.promised(open));
        // Dialects 2.x know of no such handles: they are judged by what is held.
        if grace || (admission.dialect >= Dialect::Smb300 && absent.any(|(_, open)| refused(open))) {
            return Err(Status::FILE_NOT_AVAILABLE);
        }
        Ok(())
    }

    /// Who acts through an open.
    fn own(&self, file: FileSlot, file_id: FileId, session: Option<SessionId>) -> Result<Own, Status> {
        let open = self.live(file_id, session).filter(|(_, open)| open.file == file);
        let (slot, open) = open.ok_or(Status::FILE_CLOSED)?;
        Ok(Own { lease: open.bound, open: Some(slot), ..Own::default() })
    }

    /// Judges a request: what must come down is left in `breaks`.
    pub(super) fn judge(&mut self, slot: FileSlot, party: Party) -> Result<Verdict, Status> {
        let Party { own, operation, condition } = party;
        self.breaks.clear();
        if self.files.get(slot).is_some_and(|file| file.barred > 0) {
            return Ok(Verdict::Wait);
        }
        if let (Condition::Shared(claim), Some(file)) = (condition, self.files.get(slot)) {
            // RFC 8881 18.18: OPEN_DOWNGRADE opens nothing anew.
            if file.goes() && !own.owner.is_some_and(|owner| self.has_reserved(owner, file.key, claim)) {
                return Err(Status::DELETE_PENDING);
            }
            // Whoever was told to proceed has the file to itself until it is done.
            let barred = file.evictions > 0 || (file.guards > 0 && claim.deletes());
            // MS-FSA 2.1.5.1.2: BATCH comes down before sharing is looked at.
            if barred || self.judge_batch(slot, operation) == Verdict::Wait {
                return Ok(Verdict::Wait);
            }
        }
        // Likewise for who opens nothing.
        if matches!(condition, Condition::Allowed(_)) && self.judge_batch(slot, operation) == Verdict::Wait {
            return Ok(Verdict::Wait);
        }
        let Some(file) = self.files.get(slot) else { return Err(Status::INSUFFICIENT_RESOURCES) };
        let (conflict, denied) = match condition {
            Condition::None => return Ok(self.judge_operation(slot, own, operation)),
            Condition::Unlocked { range, kind, passes } => {
                let verdict = self.judge_operation(slot, own, operation);
                let waits = self.locker_of(own).is_some_and(|who| match passes {
                    true => self.is_locked_out(slot, who, range, kind),
                    false => self.has_to_wait(slot, who, range, kind),
                });
                return Ok(if waits { Verdict::Wait } else { verdict });
            }
            Condition::Shared(claim) | Condition::Allowed(claim) if self.shares(file, own).fit(claim) => {
                return Ok(self.judge_operation(slot, own, operation));
            }
            Condition::Shared(claim) | Condition::Allowed(claim) => {
                let of_opens = self.conflict(slot, own, |open| !claim.fits(open.claim));
                (of_opens.max(self.conflict_with_reservations(file, own, claim)), Status::SHARING_VIOLATION)
            }
            Condition::NoDeleter => {
                let foreign = |open: &Open| open.claim.deletes() && !self.is_own(own, open);
                (self.conflict(slot, own, foreign), Status::SHARING_VIOLATION)
            }
            Condition::Closed { since } => {
                // MS-FSA 2.1.5.15.12, as Samba has it: an open that came meanwhile ends the wait.
                let opens = file.opens.iter(&self.opens, |open| &open.in_file);
                // Nobody waits for one whose client is away (MS-SMB2 3.3.5.9).
                let bars = |open: &Open| {
                    Route::serial_of(open.file_id) >= since || (open.orphaned() && self.promised(open))
                };
                if opens.map(|(_, open)| open).any(bars) {
                    return Err(Status::ACCESS_DENIED);
                }
                (self.conflict(slot, own, |_| true), Status::ACCESS_DENIED)
            }
        };
        // MS-FSA 2.1.5.1.2.2: nothing else is broken for what may fail yet.
        let cure = match (conflict, condition) {
            (Conflict::None, Condition::Shared(_) | Condition::Allowed(_)) => {
                return Ok(self.judge_operation(slot, own, operation));
            }
            // No open of SMB is left, but a client of NFSv4 may have it delegated.
            (Conflict::None, Condition::Closed { .. }) => {
                return Ok(self.judge_operation(slot, own, Operation::Evict));
            }
            (Conflict::None, _) => return Ok(Verdict::Go),
            (Conflict::Curable, Condition::Closed { .. }) => Operation::Evict,
            (Conflict::Curable, _) => Operation::ShareConflict,
            (Conflict::Certain, _) => return Err(denied),
        };
        match self.judge_operation(slot, own, cure) {
            Verdict::Wait => Ok(Verdict::Wait),
            // Nobody comes down, so nobody goes.
            Verdict::Go => Err(denied),
        }
    }

    /// Whether opens that are in the way may be gone when H is. A handle that is only kept open by H may be closed when H
    /// goes, so a conflict is curable if every open in the way belongs to another lease that has it, or has BATCH.
    /// O(opens of the file).
    fn conflict(&self, file: FileSlot, own: Own, in_the_way: impl Fn(&Open) -> bool) -> Conflict {
        let Some(file) = self.files.get(file) else { return Conflict::None };
        let opens = file.opens.iter(&self.opens, |open| &open.in_file);
        let in_the_way = opens.map(|(_, open)| open).filter(|open| in_the_way(open));
        let curable = |open: &Open| {
            let lease = open.lease().and_then(|lease| self.leases.get(lease));
            let defers_closes = lease.is_some_and(|lease| lease.hold.state().contains(LeaseState::HANDLE));
            let batch = open.oplock().is_some_and(|oplock| oplock.level() == Level::Batch);
            (defers_closes || batch) && !self.is_own(own, open)
        };
        let each = in_the_way.map(|open| if curable(open) { Conflict::Curable } else { Conflict::Certain });
        each.max().unwrap_or(Conflict::None)
    }

    fn is_own(&self, own: Own, open: &Open) -> bool {
        open.bound.is_some_and(|name| own.spares(name, self.config.profile.lease_identity))
            || own.open.is_some_and(|own| self.opens.get(own).is_some_and(|own| own.file_id == open.file_id))
    }

    /// Judges an operation against every lease and oplock on the file but its own.
    pub(super) fn judge_operation(&mut self, file: FileSlot, own: Own, operation: Operation) -> Verdict {
        self.breaks.clear();
        let Self { files, leases, opens, presences, breaks, config, .. } = self;
        let Some(file) = files.get(file) else { return Verdict::Go };
        let identity = config.profile.lease_identity;
        let leases = file
            .leases
            .iter(&leases.records, |lease| &lease.in_file)
            .filter(|(_, lease)| !own.spares(lease.name, identity))
            .map(|(slot, lease)| Holder {
                id: HolderId::Lease(slot),
                kind: locks::Kind::Lease,
                held: lease.hold.state(),
                breaking: lease.hold.breaking(),
            });
        // Level II has no key: it is broken by its own holder too (MS-FSA 2.1.4.12.2).
        let oplocks = oplocks(file, opens).filter(|holder| {
            holder.held == Level::II.caches() || own.open.map(HolderId::Oplock) != Some(holder.id)
        });
        let presences = file.presences.iter(presences, |presence| &presence.in_file);
        let delegations = presences.filter_map(|(slot, presence)| {
            let delegated = presence.delegated.as_ref()?;
            let mine = own.owner.is_some_and(|owner| owner.same_host(presence.owner));
            (!mine).then(|| Holder {
                id: HolderId::Delegation(slot),
                kind: locks::Kind::Delegation,
                held: delegated.hold.state(),
                breaking: delegated.hold.breaking(),
            })
        });
        locks::judge(leases.chain(oplocks).chain(delegations), operation, breaks)
    }

    /// The share modes of a file, but for what an owner has reserved itself.
    fn shares(&self, file: &File, own: Own) -> Shares {
        let mut shares = file.shares;
        for claim in self.reservations(file).filter(|(owner, _)| own.reserves(*owner)).map(|(_, claim)| claim)
        {
            shares.remove(claim);
        }
        shares
    }

    /// As [`conflict`](Self::conflict), of what others have reserved: who has a delegation may have kept its CLOSE back (RFC 8881 10.4).
    fn conflict_with_reservations(&self, file: &File, own: Own, claim: Claim) -> Conflict {
        let curable = |owner: OwnerId| {
            let mut presences = self.presences_on(file);
            presences.any(|presence| presence.delegated.is_some() && presence.owner.same_host(owner))
        };
        let in_the_way =
            self.reservations(file).filter(|(owner, other)| !own.reserves(*owner) && !claim.fits(*other));
        let each = in_the_way.map(|(owner, _)| match curable(owner) {
            true => Conflict::Curable,
            false => Conflict::Certain,
        });
        each.max().unwrap_or(Conflict::None)
    }

    /// Whether nobody can have denied an owner this before a restart: it has it open itself, its client has it delegated, or nobody
    /// denies that.
    fn cannot_be_denied(&self, owner: OwnerId, file: FileSlot, claim: Claim) -> bool {
        let Some(file) = self.files.get(file) else { return false };
        let mut own = self.presences_on(file).filter(|other| owner.same_host(other.owner));
        !claim.meets_reservations()
            || own.any(|presence| {
                let reserved = presence.reserved.filter(|_| presence.owner == owner);
                let delegated = presence.delegated.as_ref().map(|delegated| delegated.kind);
                reserved.is_some_and(|reserved| reserved.claim.covers(claim))
                    || delegated.is_some_and(|kind| kind == DelegationKind::Write || !claim.writes())
            })
    }

    pub(super) fn reservations<'a>(&'a self, file: &'a File) -> impl Iterator<Item = (OwnerId, Claim)> + 'a {
        self.presences_on(file).filter_map(|presence| Some((presence.owner, presence.reserved?.claim)))
    }

    /// Judges an open against BATCH alone.
    fn judge_batch(&mut self, file: FileSlot, operation: Operation) -> Verdict {
        self.breaks.clear();
        let Self { files, opens, breaks, .. } = self;
        let Some(file) = files.get(file) else { return Verdict::Go };
        let batch = oplocks(file, opens).filter(|holder| holder.held == Level::Batch.caches());
        locks::judge(batch, operation, breaks)
    }
}

/// A request, as the arbiter sees it.
#[derive(Clone, Copy)]
pub(super) struct Party {
    pub(super) own: Own,
    pub(super) operation: Operation,
    condition: Condition,
}

impl Party {
    /// As one that waits for nobody in line.
    pub(super) fn passing(mut self) -> Self {
        if let Condition::Unlocked { passes, .. } = &mut self.condition {
            *passes = true;
        }
        self
    }

    /// Whether it is granted without a look at those in line.
    pub(super) fn passes(&self) -> bool {
        !matches!(self.condition, Condition::Unlocked { passes: false, .. })
    }

    /// What it wants of the share modes of others, if it opens nothing.
    pub(super) fn claim(&self) -> Option<Claim> {
        match self.condition {
            Condition::Allowed(claim) => Some(claim),
            Condition::None
            | Condition::Shared(_)
            | Condition::NoDeleter
            | Condition::Closed { .. }
            | Condition::Unlocked { .. } => None,
        }
    }

    pub(super) fn of_intent(own: Own, intent: Intent, since: u64, profile: &Profile) -> Self {
        let plain = |operation| Self { own, operation, condition: Condition::None };
        // SMB's requests come through opens, which share modes have let in. Others open nothing.
        let met = |operation, wants, meets: bool| match own.owner {
            Some(_) if meets => {
                Self { own, operation, condition: Condition::Allowed(Claim::of_access(wants)) }
            }
            Some(_) | None => plain(operation),
        };
        let allowed = |operation, wants| met(operation, wants, profile.deny_modes != DenyModes::Nothing);
        let named =
            |operation| met(operation, ShareMode::DELETE, profile.deny_modes == DenyModes::DataAndNames);
        match intent {
            Intent::Read { .. } => allowed(Operation::Read, ShareMode::READ),
            Intent::Write { .. } => allowed(Operation::Write, ShareMode::WRITE),
            Intent::Flush => plain(Operation::Flush),
            Intent::SetSize => allowed(Operation::SetSize, ShareMode::WRITE),
            Intent::SetSecurity if profile.security_breaks_handles => plain(Operation::SetSecurity),
            Intent::SetSecurity | Intent::SetAttributes => plain(Operation::SetAttributes),
            Intent::Delete { pending: false } => plain(Operation::Stat),
            Intent::Rename { .. } => named(Operation::Rename),
            Intent::Link { .. } if profile.link_breaks_handles => plain(Operation::LinkTakingHandles),
            Intent::Link { .. } => plain(Operation::Link),
            Intent::Delete { pending: true } => plain(Operation::Delete),
            // Who keeps handles beyond their close gives them up: by BATCH too, since no SMB open comes before.
            Intent::Unlink => named(Operation::Evict),
            // Nobody is spared whose open stands in the way.
            Intent::Replaced | Intent::AncestorMoved => Self {
                own: Own::default(),
                operation: Operation::Evict,
                condition: Condition::Closed { since },
            },
            Intent::RenameWithin => {
                Self { own, operation: Operation::ShareConflict, condition: Condition::NoDeleter }
            }
            Intent::EntryChanged { parent } => {
                let own = Own { spared: parent, ..Own::default() };
                Self { own, operation: Operation::EntryChanged, condition: Condition::None }
            }
        }
    }
}

/// Whose caching does not stand in the way.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Own {
    pub(super) lease: Option<LeaseName>,
    pub(super) open: Option<OpenSlot>,
    /// An owner of another protocol: what its client was given is not in its way.
    pub(super) owner: Option<OwnerId>,
    /// The key of a directory lease, whosoever it is (MS-FSA 2.1.4.12.2).
    pub(super) spared: Option<LeaseKey>,
}

impl Own {
    /// Whether a reservation is of its own client, or its own.
    fn reserves(self, owner: OwnerId) -> bool {
        self.owner == Some(owner)
    }

    pub(super) fn spares(self, name: LeaseName, identity: LeaseIdentity) -> bool {
        self.spared == Some(name.1) || self.lease.is_some_and(|own| identity.same(own, name))
    }
}

impl LeaseIdentity {
    /// Whether two names stand for one holder.
    pub(super) fn same(self, one: LeaseName, other: LeaseName) -> bool {
        one.1 == other.1 && (self == Self::KeyAlone || one.0 == other.0)
    }
}

/// What has to be so of the opens of a file, besides caching.
#[derive(Clone, Copy)]
enum Condition {
    None,
    /// The share modes fit, and the file is not about to go.
    Shared(Claim),
    /// The share modes of others leave that much to somebody who opens nothing.
    Allowed(Claim),
    /// Nobody else may delete it.
    NoDeleter,
    /// Nobody has it open, and nobody opens it meanwhile: serial numbers of opens tell.
    Closed {
        since: u64,
    },
    /// A lock that would rather wait than fail: nobody has locked it, nor, unless it passes them, did others stand in line before.
    Unlocked {
        range: Range,
        kind: LockKind,
        passes: bool,
    },
}

impl Condition {
    fn unlocked((range, kind): (Range, LockKind)) -> Self {
        Self::Unlocked { range, kind, passes: false }
    }
}

/// What the opens of a file say to a request: the worst of it counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Conflict {
    None,
    /// They exclude it, but may be gone when they have lost H.
    Curable,
    Certain,
}

/// The oplocks on a file that hold anything. O(1) if there is none, else O(opens of the file).
fn oplocks<'a>(
    file: &'a File,
    opens: &'a SlotMap<OpenSlot, Open>,
) -> impl Iterator<Item = Holder<HolderId>> + 'a {
    let opens = (file.oplocks > 0).then(|| file.opens.iter(opens, |open| &open.in_file));
    opens.into_iter().flatten().filter_map(|(slot, open)| {
        let oplock = open.oplock().filter(|oplock| oplock.level() != Level::None)?;
        let hold = &oplock.hold;
        let id = HolderId::Oplock(slot);
        Some(Holder { id, kind: locks::Kind::Oplock, held: hold.state(), breaking: hold.breaking() })
    })
}
