//! What a lease or an oplock holds, what its client was told, and what it has to come down to.

use core::num::NonZeroU32;

use super::profile::FollowUp;
use crate::state::LeaseState;
use crate::store::timer::TimerId;
use crate::types::Epoch;

/// What one holder may cache. An oplock says it in the terms of leases: [`Level::caches`](crate::locks::Level::caches).
#[derive(Clone, Debug)]
pub(super) struct Hold {
    state: Small,
    phase: Phase,
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
enum Phase {
    Held,
    /// As `Held`, with NONE: but the client may not have heard of it.
    GivenUp,
    /// The client was told `told` and must end at or below `needed`. `state` ⊋ `told` ⊇ `needed` (MS-SMB2 3.3.4.7: one
    /// notification at a time, however many conflicts).
    Breaking {
        told: Small,
        needed: Small,
    },
}

/// A state that can be held, in one octet: there are millions of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Small(u8);

impl From<LeaseState> for Small {
    fn from(state: LeaseState) -> Self {
        let [low, ..] = state.normalized().bits().to_le_bytes();
        Self(low)
    }
}

impl From<Small> for LeaseState {
    fn from(small: Small) -> Self {
        Self::from_bits_retain(small.0.into())
    }
}

/// A notification that has to go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Notice {
    /// Counts the notifications of this holder.
    pub(super) number: NonZeroU32,
    /// The epoch that it was given.
    pub(super) epoch: Epoch,
    current: Small,
    new: Small,
}

impl Notice {
    pub(super) fn current(&self) -> LeaseState {
        self.current.into()
    }

    pub(super) fn new_state(&self) -> LeaseState {
        self.new.into()
    }

    /// MS-SMB2 3.3.4.6, 3.3.4.7: a client that loses nothing but R is not asked.
    pub(super) fn needs_acknowledgment(&self) -> bool {
        self.current() != LeaseState::R
    }
}

impl Hold {
    pub(super) fn new(state: LeaseState) -> Self {
        Self { state: state.into(), phase: Phase::Held, timer: None, last: None }
    }

    pub(super) fn state(&self) -> LeaseState {
        self.state.into()
    }

    /// Lets the holder have more. The caller has seen that it may, and that no break is in flight.
    pub(super) fn raise(&mut self, to: LeaseState) {
        (self.state, self.phase) = (to.into(), Phase::Held);
    }

    /// What the client was told, and what is needed in the end.
    pub(super) fn breaking(&self) -> Option<(LeaseState, LeaseState)> {
        match self.phase {
            Phase::Held | Phase::GivenUp => None,
            Phase::Breaking { told, needed } => Some((told.into(), needed.into())),
        }
    }

    /// What the client has been told to come down to and has not answered.
    pub(super) fn told(&self) -> Option<LeaseState> {
        self.breaking().map(|(told, _)| told)
    }

    /// Whether it may read from its cache, and was not told to stop.
    pub(super) fn keeps_reading(&self) -> bool {
        self.told().unwrap_or(self.state()).contains(LeaseState::READ)
    }

    /// The notification of that number, if no later one has gone out.
    pub(super) fn last(&self, number: NonZeroU32) -> Option<Notice> {
        self.last.filter(|notice| notice.number == number)
    }

    /// Has the holder come down to `to`, which is below what it holds. Returns the notification, if one has to go out: with
    /// an epoch that is asked for then.
    pub(super) fn lower(&mut self, to: LeaseState, epoch: impl FnOnce() -> Epoch) -> Option<Notice> {
        match &mut self.phase {
            Phase::Held | Phase::GivenUp => Some(self.notify(to, to, epoch())),
            // MS-SMB2 3.3.4.7: no message, no epoch, no new deadline; the acknowledgment will show that it is not enough.
            Phase::Breaking { needed, .. } => {
                *needed = LeaseState::from(*needed).intersection(to).into();
                None
            }
        }
    }

    /// Comes down to `to`, and nobody is told: nobody has heard of it.
    pub(super) fn hush(&mut self, to: LeaseState) {
        let told = self.told().unwrap_or_else(|| self.state());
        self.state = told.intersection(to).into();
        self.phase = Phase::Held;
    }

    /// As [`lower`](Self::lower), while nobody can be told: the notification is kept, and says all of it when it goes out.
    pub(super) fn amend(&mut self, to: LeaseState) {
        match &mut self.phase {
            Phase::Held | Phase::GivenUp => {
                self.notify(to, to, Epoch::ZERO);
            }
            Phase::Breaking { told, needed } => {
                *needed = LeaseState::from(*needed).intersection(to).into();
                *told = LeaseState::from(*told).intersection(to).into();
            }
        }
    }

    /// Nothing follows what was told last.
    pub(super) fn curtail(&mut self) {
        if let Phase::Breaking { told, needed } = &mut self.phase {
            *needed = *told;
        }
    }

    /// The notification that was kept, or may have been lost, if there is one: by an epoch of its own, which is asked for then.
    pub(super) fn renew(&mut self, epoch: impl FnOnce() -> Epoch) -> Option<Notice> {
        let (told, needed) = self.breaking().filter(|_| self.timer.is_none())?;
        Some(self.notify(told, needed, epoch()))
    }

    /// Whether the client was told to come down, on a connection that it may still have.
    pub(super) fn is_told(&self) -> bool {
        self.breaking().is_some() && self.timer.is_some()
    }

    /// The notification of that number, if it was given up before it was known that nobody had it: of what it said nothing is left, and
    /// nobody waits for an answer any more.
    pub(super) fn belated(&self, number: NonZeroU32) -> Option<Notice> {
        let notice = self.last(number).filter(|_| self.phase == Phase::GivenUp)?;
        Some(Notice { current: LeaseState::R.into(), new: LeaseState::NONE.into(), ..notice })
    }

    /// The client says that it has no more than this. Ends a break that wanted no less.
    pub(super) fn cut(&mut self, state: LeaseState) {
        self.state = self.state().intersection(state).into();
        let Some((told, needed)) = self.breaking() else { return };
        let (told, needed) = (told.intersection(self.state()), needed.intersection(self.state()));
        let ends = needed.normalized() == self.state();
        self.phase =
            if ends { Phase::Held } else { Phase::Breaking { told: told.into(), needed: needed.into() } };
    }

    /// The client has come down to `state`, which is within what it was told. Returns the next notification, if that is not
    /// enough, with an epoch that is asked for then.
    pub(super) fn accept(
        &mut self,
        state: LeaseState,
        follow_up: FollowUp,
        epoch: impl FnOnce() -> Epoch,
    ) -> Option<Notice> {
        let needed = self.breaking().map_or(LeaseState::NONE, |(_, needed)| needed);
        self.state = state.into();
        self.phase = Phase::Held;
        if needed.contains(self.state()) {
            return None;
        }
        // The way to NONE leads through R while H or W is held; R alone goes without an acknowledgment.
        let next = match follow_up {
            FollowUp::ThroughRead if self.state() != LeaseState::R => needed.union(LeaseState::R),
            FollowUp::ThroughRead | FollowUp::Straight => needed,
        };
        Some(self.notify(next, needed, epoch()))
    }

    /// The deadline passed, nobody could be told, or the client answered nonsense: nothing is left, whatever was asked for
    /// (MS-SMB2 3.3.6.1, 3.3.6.5).
    pub(super) fn give_up(&mut self) {
        self.state = LeaseState::NONE.into();
        self.phase = Phase::Held;
    }

    /// As [`give_up`](Self::give_up), by the deadline: the client may be there, and may hear of it yet.
    pub(super) fn expire(&mut self) {
        self.give_up();
        self.phase = Phase::GivenUp;
    }

    /// The client is told `told`. R alone goes at once (MS-SMB2 3.3.4.7).
    fn notify(&mut self, told: LeaseState, needed: LeaseState, epoch: Epoch) -> Notice {
        let number = self.last.map_or(NonZeroU32::MIN, |last| last.number.saturating_add(1));
        let notice = Notice { number, epoch, current: self.state, new: told.into() };
        if notice.needs_acknowledgment() {
            self.phase = Phase::Breaking { told: told.into(), needed: needed.into() };
        } else {
            self.state = LeaseState::NONE.into();
            self.phase = Phase::Held;
        }
        self.last = Some(notice);
        notice
    }
}
