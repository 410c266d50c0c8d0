//! Delegations of NFSv4: given, recalled, returned, revoked (RFC 8881 10.4).

use super::action::Action;
use super::hold::Hold;
use super::journal::Had;
use super::owners::{Delegated, DelegationKind};
use super::records::{FileSlot, Presence, PresenceSlot};
use super::scale::HolderId;
use super::shard::{Out, Shard, perform};
use crate::locks::{self, Level};
use crate::state::LeaseState;
use crate::stats::count;
use crate::status::Status;
use crate::types::{FileKey, OwnerId, RequestId};

impl DelegationKind {
    /// In the letters of leases: opens are kept at the client, and with WRITE data too.
    pub(super) const fn holds(self) -> LeaseState {
        match self {
            Self::Read => LeaseState::RH,
            Self::Write => LeaseState::RWH,
        }
    }
}

impl Shard {
    /// A client that has the file open would like to have it delegated. It is told at once, and nothing is broken for it: a delegation
    /// is a gift (RFC 8881 10.4.1).
    pub(super) fn delegate(
        &mut self,
        request: RequestId,
        owner: OwnerId,
        key: FileKey,
        kind: DelegationKind,
        out: Out<'_>,
    ) {
        let file = self.files.find(key);
        // Who has it again waits for no store.
        let told = self.reclaiming || self.has_room_to_tell();
        let free = told && file.is_some_and(|file| self.may_delegate(file, owner, kind));
        let slot = file.filter(|_| free).and_then(|file| self.enter_presence(owner, file));
        let since = self.now;
        match slot.and_then(|slot| self.presences.get_mut(slot)) {
            Some(presence) => {
                presence.delegated = Some(Delegated { kind, hold: Hold::new(kind.holds()), since });
                count(&mut self.stats.delegations_granted);
                // Who has it again has it anyway, and nothing has given way to it in this life.
                match self.reclaiming {
                    true => perform(out, Action::Accepted { request }),
                    false => self.tell_owner(Had { request, owner, delegation: slot }, out),
                }
            }
            None => self.decline(request, Status::OPLOCK_NOT_GRANTED, out),
        }
    }

    /// Whether nobody has, wants or does anything that a delegation would have to be recalled for. O(opens and holders of the file).
    fn may_delegate(&self, file: FileSlot, owner: OwnerId, kind: DelegationKind) -> bool {
        let Some(file) = self.files.get(file) else { return false };
        let wanted = kind.holds();
        let mine = |presence: &Presence| presence.owner.same_host(owner);
        // Only who has it open there, and once.
        let presences = || self.presences_on(file);
        let open = presences().any(|presence| mine(presence) && presence.reserved.is_some());
        let others = || presences().filter(|presence| !mine(presence));
        let held = presences().any(|presence| mine(presence) && presence.delegated.is_some());
        let conflicts =
            |claim: &locks::share::Claim| kind == DelegationKind::Write || claim.disturbs_readers();
        let writers = kind == DelegationKind::Write;
        let among_owners = others().any(|presence| {
            presence.reserved.as_ref().is_some_and(|reserved| conflicts(&reserved.claim))
                || presence
                    .delegated
                    .as_ref()
                    .is_some_and(|other| writers || other.kind == DelegationKind::Write)
                || (writers && !presence.held.is_empty())
        });
        let opens = || file.opens.iter(&self.opens, |open| &open.in_file).map(|(_, open)| open);
        let among_opens = opens().any(|open| {
            let operation = locks::operation_of_open(open.desired, open.claim, open.disposition);
            let oplock = open.oplock().map_or(Level::None, |oplock| oplock.level());
            operation.rule().delegation(wanted) != wanted
                || oplock > if writers { Level::None } else { Level::II }
        });
        let leases = file.leases.iter(&self.leases.records, |lease| &lease.in_file).map(|(_, lease)| lease);
        let mut caching = leases.map(|lease| lease.hold.state());
        let among_leases =
            caching.any(|state| state.contains(LeaseState::WRITE) || (writers && !state.is_empty()));
        let running = file.running.iter(&self.running, |run| &run.in_file).map(|(_, run)| run);
        let mut others_run = running.filter(|run| !run.own.owner.is_some_and(|other| other.same_host(owner)));
        let running = others_run.any(|run| run.operation.rule().delegation(wanted) != wanted);
        let waiting = !file.waiters.vacant();
        let locked = if writers { !file.locks.vacant() } else { file.locks.any_exclusive(&self.ranges) };
        let barred = file.goes() || file.barred > 0 || waiting || locked;
        open && !(held || among_owners || among_opens || among_leases || running || barred)
    }

    /// DELEGRETURN: who waited for it goes on.
    pub(super) fn delegation_returned(&mut self, owner: OwnerId, key: FileKey, out: Out<'_>) {
        let Some(slot) = self.by_owner.get(&(owner, key)).copied() else { return };
        self.end_delegation(slot, out);
    }

    /// Nobody has heard of it as yet, and nobody will: a gift that could not be given.
    pub(super) fn withdraw_delegation(&mut self, slot: PresenceSlot, out: Out<'_>) {
        for request in self.journal.take_back(|had| had.delegation == Some(slot)) {
            self.decline(request, Status::OPLOCK_NOT_GRANTED, out);
        }
        if let Some(presence) = self.presences.get_mut(slot) {
            presence.delegated = None;
        }
        self.reap_presence(slot);
    }

    /// Its client has not returned it in time: it is told by the driver that it has it no more (NFS4ERR_DELEG_REVOKED).
    pub(super) fn revoke(&mut self, slot: PresenceSlot, out: Out<'_>) {
        let Some(presence) = self.presences.get(slot).filter(|presence| presence.delegated.is_some()) else {
            return;
        };
        let (owner, file) = (presence.owner, presence.file);
        count(&mut self.stats.delegations_revoked);
        if let Some(file) = self.files.get(file).map(|file| file.key) {
            perform(out, Action::Revoked { owner, file });
        }
        self.end_delegation(slot, out);
    }

    fn end_delegation(&mut self, slot: PresenceSlot, out: Out<'_>) {
        self.stop_deadline(HolderId::Delegation(slot));
        let Some(presence) = self.presences.get_mut(slot) else { return };
        presence.delegated = None;
        let file = presence.file;
        self.reap_presence(slot);
        self.settle(file, out);
    }
}
