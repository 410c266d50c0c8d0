//! What an open may cache beside everything else on its file (MS-SMB2 3.3.5.9.8, 3.3.5.9.11, MS-FSA 2.1.5.18).

use alloc::boxed::Box;

use super::action::{Action, Grant};
use super::event::{Create, ObjectKind, Opened, ShareFlags, ShareKind};
use super::lease::{Lease, LeaseName};
use super::operations::tell_directory;
use super::oplock::Oplock;
use super::owners::DelegationKind;
use super::records::{Caching, Open, Place, Stage};
use super::scale::{Admission, DirectoryLeasing, HolderId, LeaseSlot, OpenSlot};
use super::shard::{Out, Shard, perform, release};
use crate::locks::{self, Kind, Level, Operation};
use crate::state::{CreateAction, CreateOptions, Dialect, LeaseState, OplockLevel};
use crate::stats::count;
use crate::wire;

impl Shard {
    /// Makes a reserved open a live one, with what may be cached now.
    pub(super) fn grant(&mut self, slot: OpenSlot, admission: Box<Admission>, opened: Opened, out: Out<'_>) {
        let caching = self.caching(slot, &admission, opened);
        let leased = matches!(caching, Caching::Lease(_));
        let Some(open) = self.opens.get_mut(slot) else { return };
        if !leased {
            release(open.bound.take(), out);
        }
        open.leased = matches!(caching, Caching::Lease(_) | Caching::Guest(_));
        open.stage = Stage::Live(caching);
        let (file, place, name) = (open.file, open.place, open.bound);
        // Before the client knows of it, so that it finds the key free.
        if admission.create.options.contains(CreateOptions::DELETE_ON_CLOSE) {
            self.relax(file, name, true, out);
        }
        self.make_durable(slot, &admission, opened);
        self.guid_granted(slot, &admission, opened, out);
        if self.is_promised(slot) {
            self.hold_back(slot, admission, out);
        } else {
            self.tell_granted(slot, &admission, opened.action, out);
            self.admissions.recycle(admission);
        }
        entry_of(opened, place, out);
    }

    /// Answers a CREATE, with what its open has by now.
    pub(super) fn tell_granted(
        &mut self,
        slot: OpenSlot,
        admission: &Admission,
        action: CreateAction,
        out: Out<'_>,
    ) {
        let Some(open) = self.opens.get(slot) else { return };
        let durable = open.durable.and_then(|durable| self.durables.get(durable));
        let durable = durable.and_then(|durable| durable.grant(admission.create.durability));
        let (file_id, level, replayable) = (open.file_id, open.level(), open.replay.is_some());
        let grant = Grant { file_id, action, level, durable, lease: self.lease_context(open), replayable };
        let kept = |lease: &Lease| lease.hold.breaking().is_some() && !lease.hold.is_told();
        let lease = open.lease().and_then(|lease| self.leases.get(lease));
        let (request, kept) = (admission.create.request, lease.is_some_and(kept));
        count(&mut self.stats.granted);
        perform(out, Action::Granted { request, grant });
        // The client is back, with another open than the one that it left behind.
        if kept {
            self.remind(slot, out);
        }
    }

    /// The lease context that the CREATE of an open is answered with.
    pub(super) fn lease_context(&self, open: &Open) -> Option<wire::Lease> {
        let lease = open.lease().and_then(|lease| self.leases.get(lease));
        lease.map(Lease::context).or_else(|| open.guest().copied())
    }

    /// What the open may cache.
    fn caching(&mut self, slot: OpenSlot, admission: &Admission, opened: Opened) -> Caching {
        let directory = opened.kind == ObjectKind::Directory;
        let Create { level, share, .. } = admission.create;
        // MS-SMB2 2.2.14: nothing is cached of pipes and printers.
        if share.kind != ShareKind::Disk {
            return Caching::Nothing;
        }
        match admission.lease {
            // MS-SMB2 3.3.5.9.8, 3.3.5.9.11: a directory has no lease unless both sides agreed on it.
            Some(_) if directory && admission.directory_leasing == DirectoryLeasing::Absent => {
                Caching::Nothing
            }
            Some(asked) if !admission.joins => Caching::Guest(Box::new(Lease::nothing(&asked))),
            Some(wanted) => {
                self.grant_lease(slot, admission, &wanted, opened).map_or(Caching::Nothing, Caching::Lease)
            }
            // MS-FSA 2.1.5.18: a directory has no oplock.
            None if directory => Caching::Nothing,
            None => self.grant_oplock(slot, admission, level, opened),
        }
    }

    /// Makes the open part of its lease: a new one, or the one that there is, raised if that can be had in full.
    fn grant_lease(
        &mut self,
        slot: OpenSlot,
        admission: &Admission,
        wanted: &wire::Lease,
        opened: Opened,
    ) -> Option<LeaseSlot> {
        let file = self.opens.get(slot)?.file;
        let name = admission.name()?;
        let asked = match opened.kind {
            ObjectKind::File => wanted.state().normalized(),
            // MS-SMB2 3.3.5.9.11: never W on a directory.
            ObjectKind::Directory => wanted.state().without(LeaseState::WRITE),
        };
        let asked = capped(admission, Kind::Lease, opened.kind, asked);
        let may_have = self.grantable(slot, Some(name), asked, opened, Since::Now);
        let lease = match self.leases.find(name) {
            Some(lease) => {
                let record = self.leases.get_mut(lease)?;
                // MS-SMB2 3.3.5.9.8: all or nothing, a superset only, and not during a break.
                let held = record.hold.state();
                let superset = asked.contains(held) && asked != held;
                // W that a restart has to give back comes by who waits until it is stored, and nobody else is told of it before.
                let stored = record.promised == 0 || (admission.continuous && record.unheard == 0);
                let stored = stored || !asked.contains(LeaseState::WRITE);
                if superset && may_have == asked && record.hold.told().is_none() && stored {
                    record.raise(asked);
                    count(&mut self.stats.leases_raised);
                    self.touch_holder(HolderId::Lease(lease));
                }
                lease
            }
            None => {
                let lease = Lease::new(admission.client, file, wanted, may_have);
                let lease = self.leases.insert(lease).ok()?;
                let record = self.files.get_mut(file)?;
                record.leases.push_back(&mut self.leases.records, lease, |lease| &mut lease.in_file);
                if !may_have.is_empty() {
                    count(&mut self.stats.leases_granted);
                }
                lease
            }
        };
        let now = self.now;
        let record = self.leases.get_mut(lease)?;
        if record.opens == 0 {
            record.since = now;
        }
        record.opens = record.opens.saturating_add(1);
        Some(lease)
    }

    /// Gives the open an oplock of its own, of the level asked for or of a lower one (MS-FSA 2.1.5.18.1, .2).
    fn grant_oplock(
        &mut self,
        slot: OpenSlot,
        admission: &Admission,
        level: OplockLevel,
        opened: Opened,
    ) -> Caching {
        let asked = match level {
            OplockLevel::II => Level::II,
            OplockLevel::Exclusive => Level::Exclusive,
            OplockLevel::Batch => Level::Batch,
            // MS-SMB2 2.2.13: LEASE without a context that counts, and undefined levels, are NONE.
            OplockLevel::None | OplockLevel::Lease | OplockLevel::Undefined(_) => return Caching::Nothing,
        };
        let asked = capped(admission, Kind::Oplock, opened.kind, asked.caches());
        let level = Level::within(self.grantable(slot, None, asked, opened, Since::Now));
        let file = self.opens.get(slot).and_then(|open| self.files.get_mut(open.file));
        match (level, file) {
            (Level::None, _) | (_, None) => Caching::Nothing,
            (level, Some(file)) => {
                file.oplocks = file.oplocks.saturating_add(1);
                count(&mut self.stats.oplocks_granted);
                Caching::Oplock(Oplock::new(level))
            }
        }
    }

    /// What of `asked` the open can hold beside everything else on the file: by the lease `own`, or by an oplock.
    /// O(holders).
    pub(super) fn grantable(
        &self,
        me: OpenSlot,
        own: Option<LeaseName>,
        asked: LeaseState,
        opened: Opened,
        since: Since,
    ) -> LeaseState {
        let opening = self.opens.get(me).and_then(|open| Some((open, self.files.get(open.file)?)));
        let Some((my, file)) = opening else { return LeaseState::NONE };
        // Others may have again what nobody could cache beside (RFC 8881 8.4.2.1).
        if self.reclaiming && since == Since::Now {
            return LeaseState::NONE;
        }
        let identity = self.config.profile.lease_identity;
        let kind = if own.is_some() { Kind::Lease } else { Kind::Oplock };
        let foreign = |name: Option<LeaseName>| {
            !own.is_some_and(|own| name.is_some_and(|name| identity.same(own, name)))
        };
        let (mut state, mut locked_by_others) = (asked, false);
        // MS-FSA 2.1.5.18.1, .2: no H on what is about to go.
        if file.goes() {
            state = state.without(LeaseState::HANDLE);
        }
        for (slot, open) in file.opens.iter(&self.opens, |open| &open.in_file) {
            if slot == me || !foreign(open.bound) {
                continue;
            }
            // Choice: as deployed servers have it, an open for attributes alone gets no oplock beside others.
            if own.is_none()
                && since == Since::Now
                && locks::operation_of_open(my.desired, my.claim, my.disposition) == Operation::Stat
            {
                return LeaseState::NONE;
            }
            let oplock = open.oplock();
            locked_by_others |= open.locks.lock_count() > 0;
            // Choice: foreign caching forbids W even at state NONE, as deployed servers have it. But it takes none that was there first.
            let caching = since == Since::Now && (open.leased || oplock.is_some());
            if caching || locks::forbids_write_caching(open.desired, open.disposition) {
                state = state.without(LeaseState::WRITE);
            }
            // What is being opened now has broken what it had to; nobody gets it back before that open is there.
            if open.opening() {
                let operation = locks::operation_of_open(open.desired, open.claim, open.disposition);
                state = untouched(kind, operation, state);
            }
            match oplock.map_or(Level::None, Oplock::level) {
                Level::None => {}
                // MS-FSA 2.1.5.18: H and an oplock exclude each other.
                Level::II => state = state.without(LeaseState::HANDLE.union(LeaseState::WRITE)),
                Level::Exclusive | Level::Batch => state = LeaseState::NONE,
            }
        }
        for (_, run) in file.running.iter(&self.running, |run| &run.in_file) {
            let spared = own.is_some_and(|own| run.own.spares(own, identity));
            if !spared {
                state = untouched(kind, run.operation, state);
            }
        }
        let leases = file.leases.iter(&self.leases.records, |lease| &lease.in_file).map(|(_, lease)| lease);
        for lease in leases.filter(|lease| foreign(Some(lease.name))) {
            // MS-FSA 2.1.5.18.1: beside a foreign W, which only an open for attributes can meet, there is nothing to have;
            // nor for an oplock beside H (MS-FSA 2.1.5.18.2).
            let refuses =
                if own.is_none() { LeaseState::RWH.difference(LeaseState::R) } else { LeaseState::WRITE };
            if lease.hold.state().intersects(refuses) {
                return LeaseState::NONE;
            }
            // Nor is there W beside whatever another reads from.
            if lease.hold.state().contains(LeaseState::READ) {
                state = state.without(LeaseState::WRITE);
            }
        }
        for presence in self.presences_on(file) {
            locked_by_others |= !presence.held.is_empty();
            // Who has it open may read and write it, and one who has it delegated may do so untold.
            if presence.reserved.is_some() || presence.delegated.is_some() {
                state = state.without(LeaseState::WRITE);
            }
            if presence.delegated.as_ref().is_some_and(|one| one.kind == DelegationKind::Write) {
                return LeaseState::NONE;
            }
        }
        if locked_by_others {
            state = state.without(LeaseState::WRITE);
        }
        // MS-FSA 2.1.5.18: no R while octets are locked, but to those who hold W and all the locks. What was just overwritten
        // has no such octets.
        let kept = opened.action == CreateAction::Opened || opened.action == CreateAction::Created;
        let below = file.locks.any_below(&self.ranges, opened.allocation)
            || file.posix.any_below(&self.posix, opened.allocation);
        let locked = kept && below;
        if locked && !state.contains(LeaseState::WRITE) { LeaseState::NONE } else { state }
    }
}

/// Since when somebody has what is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Since {
    /// It is asked for.
    Now,
    /// A former life of the server gave it, and nothing has taken it since, as far as is stored.
    Before,
}

/// A file that was created or overwritten is another entry of its directory (MS-FSA 2.1.5.1.1, 2.1.5.1.2).
pub(super) fn entry_of(opened: Opened, place: Place, out: Out<'_>) {
    if opened.action != CreateAction::Opened {
        tell_directory(out, place.directory, place.parent);
    }
}

/// What the share lets anybody cache (MS-SMB2 3.3.5.9, 3.3.5.9.8, 3.3.5.9.11).
fn capped(admission: &Admission, kind: Kind, object: ObjectKind, asked: LeaseState) -> LeaseState {
    let flags = admission.create.share.flags;
    let asked =
        if flags.contains(ShareFlags::FORCE_LEVEL_II) { asked.without(LeaseState::WRITE) } else { asked };
    // Only BATCH becomes II there; EXCLUSIVE stays.
    let whole = kind == Kind::Lease || asked.contains(LeaseState::HANDLE);
    if flags.contains(ShareFlags::SCALE_OUT) && admission.dialect >= Dialect::Smb300 && whole {
        match object {
            ObjectKind::File => asked.without(LeaseState::WRITE.union(LeaseState::HANDLE)),
            // Choice: as Windows has it, where the text does not tell directories apart.
            ObjectKind::Directory => LeaseState::NONE,
        }
    } else {
        asked
    }
}

/// What of a state an operation would leave alone.
fn untouched(kind: Kind, operation: Operation, state: LeaseState) -> LeaseState {
    let rule = operation.rule();
    match kind {
        Kind::Lease => state.without(rule.revokes),
        Kind::Delegation => rule.delegation(state),
        Kind::Oplock => {
            let levels = [Level::Batch, Level::Exclusive, Level::II];
            let mut within = levels.into_iter().filter(|level| state.contains(level.caches()));
            within.find(|level| rule.oplock(*level) == *level).map_or(LeaseState::NONE, Level::caches)
        }
    }
}
