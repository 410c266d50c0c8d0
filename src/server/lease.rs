//! One lease of the server: what it holds, what its client was told, and what it has to come down to.

use super::hold::{Hold, Notice};
use super::profile::{FollowUpEpoch, Profile};
use super::records::FileSlot;
use super::scale::LeaseSlot;
use crate::state::LeaseState;
use crate::status::Status;
use crate::store::list::Links;
use crate::store::table::Keyed;
use crate::time::Instant;
use crate::types::{ClientGuid, Epoch, LeaseKey};
use crate::wire;
use crate::wire::{BreakFlags, LeaseBreak, LeaseFlags, LeaseV1, LeaseV2};

/// What names a lease: two clients that use the same key never share one (MS-SMB2 3.3.1.11).
pub(super) type LeaseName = (ClientGuid, LeaseKey);

/// A lease (MS-SMB2 3.3.1.12). It lives as long as an open of it, with state NONE too.
#[derive(Clone, Debug)]
pub(super) struct Lease {
    pub(super) name: LeaseName,
    pub(super) file: FileSlot,
    pub(super) hold: Hold,
    /// Counted for version 1 as well, and never sent there.
    pub(super) epoch: Epoch,
    version: Version,
    parent: Option<LeaseKey>,
    pub(super) opens: u32,
    /// How many of them have lost their connection.
    pub(super) orphans: u32,
    /// How many of them are persistent.
    pub(super) promised: u32,
    /// How many of them nobody has heard of as yet.
    pub(super) unheard: u32,
    /// Whether the server was started anew, and its client has not said since what it knows.
    pub(super) restored: bool,
    /// Lease.FileDeleteOnClose: the key may name another file meanwhile.
    pub(super) relaxed: bool,
    pub(super) since: Instant,
    pub(super) in_file: Links<LeaseSlot>,
}

/// The lease keeps the version of the context that made it (MS-SMB2 3.3.5.9.8, 3.3.5.9.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

impl Lease {
    /// A new lease that `asked` was answered with `granted`.
    pub(super) fn new(client: ClientGuid, file: FileSlot, asked: &wire::Lease, granted: LeaseState) -> Self {
        // Choice: the counter starts at the client's, as every deployed server has it (MS-SMB2 3.3.5.9.11 says 0).
        let epoch = asked.epoch().unwrap_or_default();
        Self {
            name: (client, asked.key()),
            file,
            hold: Hold::new(granted),
            epoch: if granted.is_empty() { epoch } else { epoch.next() },
            version: match asked {
                wire::Lease::V1(_) => Version::V1,
                wire::Lease::V2(_) => Version::V2,
            },
            parent: asked.parent(),
            opens: 0,
            orphans: 0,
            promised: 0,
            unheard: 0,
            restored: false,
            relaxed: false,
            since: Instant::ZERO,
            in_file: Links::default(),
        }
    }

    /// A lease of which a record says this much, and of which `state` may be held.
    pub(super) fn restored(
        name: LeaseName,
        file: FileSlot,
        context: &wire::Lease,
        state: LeaseState,
    ) -> Self {
        let lease = Self::new(name.0, file, context, state);
        Self { epoch: context.epoch().unwrap_or_default(), restored: true, ..lease }
    }

    /// An earlier record of it: what it says of the state was over by then.
    pub(super) fn restore(&mut self, context: &wire::Lease) {
        self.catch_up(context.epoch().unwrap_or_default());
    }

    /// The first client that comes back after a restart says what it knows: no more is given back, and its epoch counts
    /// (MS-SMB2 3.3.5.9.12 <353>).
    pub(super) fn reconcile(&mut self, context: &wire::Lease) {
        self.restored = false;
        self.hold.cut(context.state());
        self.catch_up(context.epoch().unwrap_or_default());
        if self.hold.state() != context.state().normalized() {
            self.epoch = self.epoch.next();
        }
    }

    /// What was not worth waiting for while nobody was there is granted anew, from the epoch of the client (*choice:* as current
    /// Windows has it). Beside locks that is nothing, without W.
    pub(super) fn regrant(&mut self, context: &wire::Lease, locked: bool) {
        let state = self.hold.state();
        let writes = state.contains(LeaseState::WRITE);
        if state.is_empty() || (state.contains(LeaseState::HANDLE) && (writes || !locked)) {
            return;
        }
        if locked && !writes {
            self.hold.cut(LeaseState::NONE);
        }
        let asked = context.epoch().unwrap_or_default();
        self.catch_up(if self.hold.state() == LeaseState::R { asked.next() } else { asked });
    }

    /// No epoch goes back.
    fn catch_up(&mut self, epoch: Epoch) {
        if epoch.since(self.epoch).is_some() {
            self.epoch = epoch;
        }
    }

    /// What a context that joins no lease is answered with (MS-SMB2 3.3.5.9.8).
    pub(super) fn nothing(asked: &wire::Lease) -> wire::Lease {
        Self::new(ClientGuid::default(), FileSlot::default(), asked, LeaseState::NONE).context()
    }

    /// What a record has to say of it: what it is, and what its client was told to come down to.
    pub(super) fn stored(&self) -> (wire::Lease, Option<LeaseState>) {
        let flags = LeaseFlags::empty();
        let context = match self.context() {
            wire::Lease::V1(context) => wire::Lease::V1(LeaseV1 { flags, ..context }),
            wire::Lease::V2(context) => wire::Lease::V2(LeaseV2 { flags, ..context }),
        };
        (context, self.hold.told())
    }

    /// Whether nobody is connected who could be told of a break.
    pub(super) fn deserted(&self) -> bool {
        self.orphans >= self.opens
    }

    /// Whether a context is of the version of the lease (MS-SMB2 3.3.5.9.7, 3.3.5.9.12).
    pub(super) fn is_of_version(&self, context: &wire::Lease) -> bool {
        match context {
            wire::Lease::V1(_) => self.version == Version::V1,
            wire::Lease::V2(_) => self.version == Version::V2,
        }
    }

    /// Raises the state. The caller has seen that it may be held, and that no break is in flight.
    pub(super) fn raise(&mut self, to: LeaseState) {
        self.hold.raise(to);
        self.epoch = self.epoch.next();
    }

    /// Has the lease come down to `to`, which is below what it holds. Returns the notification, if one has to go out.
    pub(super) fn lower(&mut self, to: LeaseState) -> Option<Notice> {
        let Self { hold, epoch, .. } = self;
        hold.lower(to, || {
            *epoch = epoch.next();
            *epoch
        })
    }

    /// The notification that was kept, if there is one (MS-SMB2 3.3.5.9.12: behind the answer, by the next epoch).
    pub(super) fn renew(&mut self) -> Option<Notice> {
        let Self { hold, epoch, .. } = self;
        hold.renew(|| {
            *epoch = epoch.next();
            *epoch
        })
    }

    /// Takes an acknowledgment (MS-SMB2 3.3.5.22.2). Returns the state that is left, and the next notification if one has
    /// to go out.
    pub(super) fn acknowledge(
        &mut self,
        state: LeaseState,
        profile: &Profile,
    ) -> Result<(LeaseState, Option<Notice>), Status> {
        let Some(told) = self.hold.told() else { return Err(Status::UNSUCCESSFUL) };
        // Bits without a meaning are dropped, as in a request.
        if !told.contains(state.intersection(LeaseState::RWH)) {
            return Err(Status::REQUEST_NOT_ACCEPTED);
        }
        let Self { hold, epoch, .. } = self;
        let notice = hold.accept(state, profile.follow_up, || {
            if profile.follow_up_epoch == FollowUpEpoch::Next {
                *epoch = epoch.next();
            }
            *epoch
        });
        Ok((state.normalized(), notice))
    }

    /// The body of a notification.
    pub(super) fn notification(&self, notice: Notice) -> LeaseBreak {
        let epoch = match self.version {
            Version::V1 => Epoch::ZERO,
            Version::V2 => notice.epoch,
        };
        let required = notice.needs_acknowledgment();
        let flags = if required { BreakFlags::ACK_REQUIRED } else { BreakFlags::empty() };
        LeaseBreak { epoch, flags, key: self.name.1, current: notice.current(), new: notice.new_state() }
    }

    /// The lease context of a CREATE response (MS-SMB2 2.2.14.2.10, 2.2.14.2.11).
    pub(super) fn context(&self) -> wire::Lease {
        let breaking = self.hold.is_told();
        let flags = if breaking { LeaseFlags::BREAK_IN_PROGRESS } else { LeaseFlags::empty() };
        let (key, state) = (self.name.1, self.hold.state());
        match self.version {
            Version::V1 => wire::Lease::V1(LeaseV1 { key, state, flags }),
            Version::V2 => {
                wire::Lease::V2(LeaseV2 { key, state, flags, parent: self.parent, epoch: self.epoch })
            }
        }
    }
}

impl Keyed for Lease {
    type Key = LeaseName;

    fn key(&self) -> LeaseName {
        self.name
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn lease(held: LeaseState) -> Lease {
        let key = LeaseKey::new([1; 16]);
        let asked =
            LeaseV2 { key, state: held, flags: LeaseFlags::empty(), parent: None, epoch: Epoch::new(9) };
        Lease::new(ClientGuid::new(Uuid::nil()), FileSlot::default(), &wire::Lease::V2(asked), held)
    }

    /// Lowers to each target in turn, acknowledges as told, and returns (current, new, acknowledgment required).
    fn chain(held: LeaseState, targets: &[LeaseState]) -> std::vec::Vec<(LeaseState, LeaseState, bool)> {
        let mut lease = lease(held);
        let mut seen = std::vec::Vec::new();
        let mut notice = None;
        for target in targets {
            notice = lease.lower(lease.hold.state().intersection(*target).normalized()).or(notice);
        }
        while let Some(sent) = notice {
            let LeaseBreak { current, new, flags, .. } = lease.notification(sent);
            let ack = flags.contains(BreakFlags::ACK_REQUIRED);
            seen.push((current, new, ack));
            notice = if ack { lease.acknowledge(new, &Profile::default()).unwrap().1 } else { None };
        }
        seen
    }

    #[test]
    fn a_second_conflict_during_a_break_is_never_lost() {
        // MS-SMB2 3.3.4.7, as deployed: one notification at a time, through R while H or W is held.
        const NONE: LeaseState = LeaseState::NONE;
        const R: LeaseState = LeaseState::R;
        const RH: LeaseState = LeaseState::RH;
        const RW: LeaseState = LeaseState::RW;
        const RWH: LeaseState = LeaseState::RWH;
        assert_eq!(chain(RWH, &[RH, NONE]), [(RWH, RH, true), (RH, R, true), (R, NONE, false)]);
        assert_eq!(chain(RWH, &[RH, RW]), [(RWH, RH, true), (RH, R, true)]);
        assert_eq!(chain(RWH, &[RW, RH]), [(RWH, RW, true), (RW, R, true)]);
        assert_eq!(chain(RWH, &[RW, NONE]), [(RWH, RW, true), (RW, R, true), (R, NONE, false)]);
        assert_eq!(chain(RWH, &[NONE, RH]), [(RWH, NONE, true)]);
        assert_eq!(chain(RW, &[R, NONE]), [(RW, R, true), (R, NONE, false)]);
        assert_eq!(chain(RH, &[R, NONE]), [(RH, R, true), (R, NONE, false)]);
        assert_eq!(chain(RH, &[NONE, R]), [(RH, NONE, true)]);
        assert_eq!(chain(R, &[NONE]), [(R, NONE, false)]);
    }

    #[test]
    fn epochs_count_grants_and_breaks_and_nothing_else() {
        // MS-SMB2 3.3.5.9.11, 3.3.4.7 <248>.
        let mut lease = lease(LeaseState::RWH);
        assert_eq!(lease.epoch, Epoch::new(10));
        let first = lease.lower(LeaseState::RH).unwrap();
        assert_eq!(first.epoch, Epoch::new(11));
        assert_eq!(lease.lower(LeaseState::NONE), None);
        assert_eq!(lease.epoch, Epoch::new(11));
        let mut older = lease.clone();
        let next = lease.acknowledge(LeaseState::RH, &Profile::default()).unwrap().1.unwrap();
        assert_eq!(next.epoch, Epoch::new(12));
        let profile = Profile { follow_up_epoch: FollowUpEpoch::Same, ..Profile::default() };
        let same = older.acknowledge(LeaseState::RH, &profile).unwrap().1.unwrap();
        assert_eq!(same.epoch, Epoch::new(11));
    }

    #[test]
    fn every_acknowledgment_has_its_status() {
        // MS-SMB2 3.3.5.22.2, for all eight values against a lease told RH.
        for bits in 0..8 {
            let mut lease = lease(LeaseState::RWH);
            lease.lower(LeaseState::RH);
            let state = LeaseState::from_bits_retain(bits);
            let result = lease.acknowledge(state, &Profile::default());
            if LeaseState::RH.contains(state) {
                assert_eq!(result, Ok((state.normalized(), None)), "{state}");
                assert_eq!(lease.hold.state(), state.normalized());
                assert_eq!(lease.acknowledge(state, &Profile::default()), Err(Status::UNSUCCESSFUL));
            } else {
                assert_eq!(result, Err(Status::REQUEST_NOT_ACCEPTED), "{state}");
                assert_eq!(lease.hold.told(), Some(LeaseState::RH));
            }
        }
    }
}
