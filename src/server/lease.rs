//! One lease of the server: what it holds, what its client was told, and what it has to come down to.

use super::records::FileSlot;
use super::scale::LeaseSlot;
use crate::state::LeaseState;
use crate::status::Status;
use crate::store::list::Links;
use crate::store::table::Keyed;
use crate::store::timer::TimerId;
use crate::types::{ClientGuid, Epoch, LeaseKey};
use crate::wire;
use crate::wire::{BreakFlags, LeaseBreak, LeaseFlags, LeaseV1, LeaseV2};

/// What names a lease: two clients that use the same key never meet (MS-SMB2 3.3.1.11).
pub(super) type LeaseName = (ClientGuid, LeaseKey);

/// A lease (MS-SMB2 3.3.1.12). It lives as long as an open of it, with state NONE too.
#[derive(Clone, Debug)]
pub(super) struct Lease {
    pub(super) name: LeaseName,
    pub(super) file: FileSlot,
    pub(super) held: LeaseState,
    pub(super) phase: Phase,
    /// Counted for version 1 as well, and never sent there.
    pub(super) epoch: Epoch,
    version: Version,
    parent: Option<LeaseKey>,
    pub(super) opens: u32,
    pub(super) in_file: Links<LeaseSlot>,
    /// Runs while breaking.
    pub(super) timer: Option<TimerId>,
    /// The last notification, in case that it could not be sent.
    last: Option<Notice>,
}

/// ```text
///          lower (H or W held)               acknowledge, within `needed`
/// Held ───────────────────────────► Breaking ─────────────────────────────► Held
///  │ ▲                               │   ▲ │
///  └─┘ lower (R alone): at once NONE │   └─┘ acknowledge, more than `needed`: the next notification
///                                    └─────► Held, NONE: the deadline passed, or nobody could be told
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Held,
    /// The client was told `told` and must end at or below `needed`. `held` ⊋ `told` ⊇ `needed` (MS-SMB2 3.3.4.7: one
    /// notification at a time, however many conflicts).
    Breaking {
        told: LeaseState,
        needed: LeaseState,
    },
}

/// The lease keeps the version of the context that made it (MS-SMB2 3.3.5.9.8, 3.3.5.9.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

/// A notification that has to go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Notice {
    /// Counts the notifications of this lease.
    pub(super) number: u32,
    pub(super) body: LeaseBreak,
}

/// Whether a follow-up notification counts as a change of its own (MS-SMB2 3.3.4.7 <248>).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[allow(clippy::exhaustive_enums, reason = "it does or it does not")]
pub enum FollowUpEpoch {
    /// Its epoch is the next: Windows with the updates of 2024, and the text.
    #[default]
    Next,
    /// Its epoch is that of the first notification: older Windows, Samba.
    Same,
}

impl Lease {
    /// A new lease that `asked` was answered with `granted`.
    pub(super) fn new(client: ClientGuid, file: FileSlot, asked: &wire::Lease, granted: LeaseState) -> Self {
        // Choice: the counter starts at the client's, as every deployed server has it (MS-SMB2 3.3.5.9.11 says 0).
        let epoch = asked.epoch().unwrap_or_default();
        Self {
            name: (client, asked.key()),
            file,
            held: granted,
            phase: Phase::Held,
            epoch: if granted.is_empty() { epoch } else { epoch.next() },
            version: match asked {
                wire::Lease::V1(_) => Version::V1,
                wire::Lease::V2(_) => Version::V2,
            },
            parent: asked.parent(),
            opens: 0,
            in_file: Links::default(),
            timer: None,
            last: None,
        }
    }

    /// Raises the state. The caller has seen that it may be held, and that no break is in flight.
    pub(super) fn raise(&mut self, to: LeaseState) {
        self.held = to;
        self.epoch = self.epoch.next();
    }

    /// Has the lease come down to `to`, which is below what it holds. Returns the notification, if one has to go out.
    pub(super) fn lower(&mut self, to: LeaseState) -> Option<Notice> {
        match &mut self.phase {
            Phase::Held => {
                self.epoch = self.epoch.next();
                Some(self.notify(to, to))
            }
            // MS-SMB2 3.3.4.7: no message, no epoch, no new deadline; the acknowledgment will show that it is not enough.
            Phase::Breaking { needed, .. } => {
                *needed = needed.intersection(to).normalized();
                None
            }
        }
    }

    /// Takes an acknowledgment (MS-SMB2 3.3.5.22.2). Returns the state that is left, and the next notification if one has
    /// to go out.
    pub(super) fn acknowledge(
        &mut self,
        state: LeaseState,
        follow_up: FollowUpEpoch,
    ) -> Result<(LeaseState, Option<Notice>), Status> {
        let Phase::Breaking { told, needed } = self.phase else {
            return Err(Status::UNSUCCESSFUL);
        };
        if !told.contains(state) {
            return Err(Status::REQUEST_NOT_ACCEPTED);
        }
        self.held = state.normalized();
        self.phase = Phase::Held;
        let accepted = self.held;
        if needed.contains(accepted) {
            return Ok((accepted, None));
        }
        // The way to NONE leads through R while H or W is held; R alone goes without an acknowledgment.
        let next = if accepted == LeaseState::R { needed } else { needed.union(LeaseState::R) };
        if follow_up == FollowUpEpoch::Next {
            self.epoch = self.epoch.next();
        }
        Ok((accepted, Some(self.notify(next, needed))))
    }

    /// The deadline passed, or nobody could be told: nothing is left, whatever was asked for (MS-SMB2 3.3.6.5).
    pub(super) fn give_up(&mut self) {
        self.held = LeaseState::NONE;
        self.phase = Phase::Held;
    }

    /// What the client has been told to come down to and has not answered.
    pub(super) fn told(&self) -> Option<LeaseState> {
        self.breaking().map(|(told, _)| told)
    }

    /// What the client was told, and what is needed in the end.
    pub(super) fn breaking(&self) -> Option<(LeaseState, LeaseState)> {
        match self.phase {
            Phase::Held => None,
            Phase::Breaking { told, needed } => Some((told, needed)),
        }
    }

    /// The notification of that number, if no later one has gone out.
    pub(super) fn last(&self, number: u32) -> Option<Notice> {
        self.last.filter(|notice| notice.number == number)
    }

    /// The lease context of a CREATE response (MS-SMB2 2.2.14.2.10, 2.2.14.2.11).
    pub(super) fn context(&self) -> wire::Lease {
        let flags = match self.phase {
            Phase::Held => LeaseFlags::empty(),
            Phase::Breaking { .. } => LeaseFlags::BREAK_IN_PROGRESS,
        };
        let (key, state) = (self.name.1, self.held);
        match self.version {
            Version::V1 => wire::Lease::V1(LeaseV1 { key, state, flags }),
            Version::V2 => {
                wire::Lease::V2(LeaseV2 { key, state, flags, parent: self.parent, epoch: self.epoch })
            }
        }
    }

    /// Puts the lease into the phase in which its client is told `told`. R alone goes at once (MS-SMB2 3.3.4.7).
    fn notify(&mut self, told: LeaseState, needed: LeaseState) -> Notice {
        let current = self.held;
        let flags = if current == LeaseState::R {
            self.held = LeaseState::NONE;
            BreakFlags::empty()
        } else {
            self.phase = Phase::Breaking { told, needed };
            BreakFlags::ACK_REQUIRED
        };
        let epoch = match self.version {
            Version::V1 => Epoch::ZERO,
            Version::V2 => self.epoch,
        };
        let body = LeaseBreak { epoch, flags, key: self.name.1, current, new: told };
        let number = self.last.map_or(0, |last| last.number.wrapping_add(1));
        let notice = Notice { number, body };
        self.last = Some(notice);
        notice
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
            notice = lease.lower(lease.held.intersection(*target).normalized()).or(notice);
        }
        while let Some(Notice { body, .. }) = notice {
            let ack = body.flags.contains(BreakFlags::ACK_REQUIRED);
            seen.push((body.current, body.new, ack));
            notice = if ack { lease.acknowledge(body.new, FollowUpEpoch::Next).unwrap().1 } else { None };
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
        assert_eq!(first.body.epoch, Epoch::new(11));
        assert_eq!(lease.lower(LeaseState::NONE), None);
        assert_eq!(lease.epoch, Epoch::new(11));
        let mut older = lease.clone();
        let next = lease.acknowledge(LeaseState::RH, FollowUpEpoch::Next).unwrap().1.unwrap();
        assert_eq!(next.body.epoch, Epoch::new(12));
        let same = older.acknowledge(LeaseState::RH, FollowUpEpoch::Same).unwrap().1.unwrap();
        assert_eq!(same.body.epoch, Epoch::new(11));
    }

    #[test]
    fn every_acknowledgment_has_its_status() {
        // MS-SMB2 3.3.5.22.2, for all eight values against a lease told RH.
        for bits in 0..8 {
            let mut lease = lease(LeaseState::RWH);
            lease.lower(LeaseState::RH);
            let state = LeaseState::from_bits_retain(bits);
            let result = lease.acknowledge(state, FollowUpEpoch::Next);
            if LeaseState::RH.contains(state) {
                assert_eq!(result, Ok((state.normalized(), None)), "{state}");
                assert_eq!(lease.held, state.normalized());
                assert_eq!(lease.acknowledge(state, FollowUpEpoch::Next), Err(Status::UNSUCCESSFUL));
            } else {
                assert_eq!(result, Err(Status::REQUEST_NOT_ACCEPTED), "{state}");
                assert_eq!(lease.told(), Some(LeaseState::RH));
            }
        }
    }
}
